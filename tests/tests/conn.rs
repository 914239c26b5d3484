//! Connecting: what goes wrong, how soon, and what the error says.

use std::time::Duration;

use tikv::{
    Config, Error, ErrorKind, RawClient, Result,
    config::{ApiVersion, Timeouts},
    transport::{AnyTransport, Duplex, OpenStream, Transport},
};
use tikv_cluster::{ClusterOptions, EmbeddedTransport, pd::MemberId};
use tikv_core::{
    port::BoxFuture,
    rpc::{Reply, Rpc, SendError},
};
use tikv_tests::support::{Stage, poll_once};

const PATIENCE: Duration = Duration::from_secs(2);

fn impatient(config: Config) -> Config {
    config.timeouts(Timeouts::default().connect(PATIENCE))
}

/// Connects in vain, and checks that it took no longer than it may.
async fn refused(stage: &Stage, config: Config) -> Error {
    let began = stage.runtime.now();
    let error = RawClient::connect(impatient(config)).await.unwrap_err();
    let took = stage.runtime.now() - began;
    assert!(
        took <= PATIENCE + Duration::from_millis(5),
        "it took {took:?}"
    );
    assert!(!error.is_undetermined());
    error
}

fn stage() -> Stage {
    Stage::set(ClusterOptions::default())
}

fn with(stage: &Stage, endpoints: &[&str]) -> Config {
    let mut config = stage.config();
    config.endpoints = endpoints.iter().map(ToString::to_string).collect();
    config
}

#[tokio::test(start_paused = true)]
async fn no_address_is_a_mistake_in_the_configuration() {
    let stage = stage();
    let error = refused(&stage, with(&stage, &[])).await;
    assert_eq!(error.kind(), ErrorKind::InvalidConfig);
    assert_eq!(stage.rpcs().total(), 0);
}

#[tokio::test(start_paused = true)]
async fn an_address_that_cannot_be_read_is_named() {
    let stage = stage();
    let error = refused(&stage, with(&stage, &["pd-1:2379", "pd-2:port"])).await;
    assert_eq!(error.kind(), ErrorKind::InvalidConfig);
    assert!(error.to_string().contains("pd-2:port"), "{error}");
    assert_eq!(stage.rpcs().total(), 0);
}

#[test]
fn outside_of_a_runtime_nothing_is_guessed() {
    // Smol's executor polls it, but smol is not what a client takes by itself.
    let error = smol::block_on(RawClient::connect("pd-1:2379")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidConfig);
    assert!(error.to_string().contains("Config::runtime"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn addresses_where_nobody_is_are_all_named() {
    let stage = stage();
    let error = refused(&stage, with(&stage, &["nobody-1:2379", "nobody-2:2379"])).await;
    assert_eq!(error.kind(), ErrorKind::PdUnavailable);
    assert!(error.is_retryable());
    for address in ["nobody-1:2379", "nobody-2:2379"] {
        assert!(error.to_string().contains(address), "{error}");
    }
}

#[tokio::test(start_paused = true)]
async fn one_live_address_among_dead_ones_is_enough() {
    let stage = stage();
    let config = with(&stage, &["nobody-1:2379", "pd-1:2379", "nobody-2:2379"]);
    let began = stage.runtime.now();
    let db = RawClient::connect(config).await.unwrap();
    assert_eq!(db.pd().leader().as_deref(), Some("pd-1:2379"));
    assert!(stage.runtime.now() - began < Duration::from_secs(2));
}

#[tokio::test(start_paused = true)]
async fn the_address_of_a_store_is_not_pd() {
    let stage = stage();
    let store = stage.cluster.store_address(stage.leader("k")).unwrap();
    let error = refused(&stage, with(&stage, &[&store])).await;
    assert_eq!(error.kind(), ErrorKind::PdError);
    let text = error.to_string();
    assert!(text.contains(&store) && text.contains("no PD"), "{text}");
    assert!(!error.is_retryable());
}

#[tokio::test(start_paused = true)]
async fn a_frozen_pd_is_given_up_in_time_and_named() {
    let stage = stage();
    let silent = AnyTransport::custom(Silent);
    let error = refused(&stage, stage.config().transport(silent)).await;
    assert_eq!(error.kind(), ErrorKind::PdUnavailable);
    assert!(error.to_string().contains("pd-1:2379"), "{error}");
}

/// A network that swallows everything.
#[derive(Debug)]
struct Silent;

impl Transport for Silent {
    type Call = BoxFuture<'static, Result<Reply, SendError>>;

    fn call(&self, rpc: Rpc) -> Self::Call {
        let runtime = tikv::runtime::tokio();
        // The deadline is by the client's own clock, which began earlier.
        let _ = rpc;
        Box::pin(async move {
            runtime
                .sleep_until(runtime.now() + Duration::from_secs(1))
                .await;
            Err(SendError::TimedOut)
        })
    }

    fn open(&self, _: OpenStream) -> BoxFuture<'static, Result<Box<dyn Duplex>, SendError>> {
        Box::pin(std::future::pending())
    }

    fn disconnect(&self, _: &str) {}

    fn close(&self) -> BoxFuture<'static, ()> {
        Box::pin(std::future::ready(()))
    }
}

/// Two clusters in one network: the second one's PD is at `pd-b:2379`.
#[derive(Debug)]
struct Both(EmbeddedTransport, EmbeddedTransport);

impl Both {
    fn to(&self, address: &mut std::sync::Arc<str>) -> &EmbeddedTransport {
        if &**address != "pd-b:2379" {
            return &self.0;
        }
        *address = "pd-1:2379".into();
        &self.1
    }
}

impl Transport for Both {
    type Call = <EmbeddedTransport as Transport>::Call;

    fn call(&self, mut rpc: Rpc) -> Self::Call {
        self.to(&mut rpc.to).call(rpc)
    }

    fn open(
        &self,
        mut stream: OpenStream,
    ) -> BoxFuture<'static, Result<Box<dyn Duplex>, SendError>> {
        self.to(&mut stream.to).open(stream)
    }

    fn disconnect(&self, address: &str) {
        self.0.disconnect(address);
    }

    fn close(&self) -> BoxFuture<'static, ()> {
        Transport::close(&self.0)
    }
}

#[tokio::test(start_paused = true)]
async fn addresses_of_two_clusters_are_refused_in_any_order() {
    let stage = stage();
    let mut other = ClusterOptions::default();
    other.cluster_id = 42;
    let other = Stage::set(other);
    for endpoints in [["pd-1:2379", "pd-b:2379"], ["pd-b:2379", "pd-1:2379"]] {
        let both = Both(stage.cluster.transport(), other.cluster.transport());
        let config = with(&stage, &endpoints).transport(AnyTransport::custom(both));
        let error = refused(&stage, config).await;
        assert_eq!(error.kind(), ErrorKind::ClusterMismatch, "{error}");
        let text = error.to_string();
        assert!(
            text.contains("42") && text.contains("7000000000000000001"),
            "{text}"
        );
        assert!(!error.is_retryable());
    }
}

#[tokio::test(start_paused = true)]
async fn a_pd_without_a_leader_is_waited_for() {
    let mut options = ClusterOptions::default();
    options.pds = 3;
    let stage = Stage::set(options);
    let leader = stage.cluster.pd_leader().unwrap();
    stage.cluster.stop_pd(leader);
    let db = stage.connect().await;
    assert_ne!(stage.cluster.pd_leader(), Some(leader));
    assert!(db.pd().leader().is_some());
    db.put("k", "v").await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_pd_without_a_majority_is_unavailable() {
    let mut options = ClusterOptions::default();
    options.pds = 3;
    let stage = Stage::set(options);
    stage.cluster.stop_pd(MemberId(0));
    stage.cluster.stop_pd(MemberId(1));
    let error = refused(&stage, stage.config()).await;
    assert_eq!(error.kind(), ErrorKind::PdUnavailable, "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_keyspace_that_does_not_exist_is_named() {
    let mut options = ClusterOptions::default();
    options.api_version = tikv_cluster::ApiVersion::V2;
    let stage = Stage::set(options);
    let error = refused(&stage, stage.config().keyspace("orders".to_owned())).await;
    assert_eq!(error.kind(), ErrorKind::PdError);
    assert!(error.to_string().contains("orders"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn another_api_version_than_the_clusters_is_refused_by_the_first_call() {
    let stage = stage();
    let db = RawClient::connect(stage.config().api(ApiVersion::V1Ttl))
        .await
        .unwrap();
    let error = db
        .put_with_ttl("k", "v", Duration::from_secs(1))
        .await
        .unwrap_err();
    assert!(
        !error.is_undetermined() && !error.is_retryable(),
        "{error:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_is_given_up_leaves_nothing_behind() {
    let stage = stage();
    let mut connecting = RawClient::connect(with(&stage, &["nobody:2379"]));
    assert!(poll_once(&mut connecting).await.is_none());
    drop(connecting);
    // Let what is left of it run, then count.
    stage.sleep(Duration::from_secs(1)).await;
    let before = tokio::runtime::Handle::current()
        .metrics()
        .num_alive_tasks();
    assert_eq!(before, 0, "the service tasks are gone");
}

#[tokio::test(start_paused = true)]
async fn a_call_of_its_own_has_its_own_deadline() {
    let stage = stage();
    let began = stage.runtime.now();
    let timeout = Duration::from_millis(300);
    let error = RawClient::connect(with(&stage, &["nobody:2379"]))
        .timeout(timeout)
        .await
        .unwrap_err();
    assert!(stage.runtime.now() - began <= timeout + Duration::from_millis(5));
    assert!(error.to_string().contains("nobody:2379"), "{error}");
}
