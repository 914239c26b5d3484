//! From a configuration to a running client.

use std::{fmt, sync::Arc, time::Duration};

use tikv_core::{
    codec::{ApiVersion as CoreApi, KeyCodec, KeyMode, keyspace_name},
    facts::{Facts, RegionMapOptions},
    failure::FailureKind,
    pd::{PdCall, PdFacts},
    port::Transport as _,
    rpc::{Head, Metadata, PdReply, PdRequest, Reply, Request, Rpc},
};
use tikv_proto::{keyspacepb, kvrpcpb, pdpb};

use crate::{
    Result,
    config::{ApiVersion, Config, Timeouts},
    driver::{Hooks, Hub, HubOptions, Limit},
    error::{Error, ErrorKind},
    op::Run,
    request::RequestOptions,
    runtime::AnyRuntime,
    transport::AnyTransport,
};

/// A connected client: what raw and transactional handles are made of.
#[derive(Clone)]
pub(crate) struct Client {
    hub: Arc<Hub>,
    config: Arc<Config>,
    /// Whether the transport was made for this client, and goes with it.
    owns_transport: bool,
}

impl Client {
    pub(crate) const fn hub(&self) -> &Arc<Hub> {
        &self.hub
    }

    pub(crate) fn config(&self) -> Arc<Config> {
        Arc::clone(&self.config)
    }

    pub(crate) fn timeouts(&self) -> &Timeouts {
        &self.config.timeouts
    }

    pub(crate) fn cluster_id(&self) -> u64 {
        self.hub.links().facts.pd.cluster_id()
    }

    /// Whether the cluster, as far as the configuration knows, keeps no times to live.
    pub(crate) fn keeps_no_ttl(&self) -> bool {
        self.hub.links().facts.codec().api() == CoreApi::V1
    }

    /// The context fields that all requests of a handle share.
    pub(crate) fn context(&self, request: &RequestOptions) -> kvrpcpb::Context {
        let codec = self.hub.links().facts.codec();
        let mut context = request.to_context();
        context.cluster_id = self.cluster_id();
        // A store that keeps times to live with API V1 wants the plain V1 in requests.
        context.api_version = match codec.api() {
            CoreApi::V2 => CoreApi::V2.to_wire(),
            _ => CoreApi::V1.to_wire(),
        };
        if let Some(keyspace) = codec.keyspace() {
            context.keyspace = Some(kvrpcpb::context::Keyspace::KeyspaceId(keyspace));
            context.keyspace_name =
                keyspace_name(self.config.keyspace.as_deref().unwrap_or("")).to_owned();
        }
        context
    }

    /// The hooks of a handle; `None` when it has none.
    pub(crate) fn hooks(&self, request: &RequestOptions) -> Option<Arc<Hooks>> {
        Hooks::of(request, self.config.zone.as_deref())
    }

    /// Refuses new calls, ends the background tasks, closes the connections, and waits until all is gone.
    pub(crate) async fn close(&self, limit: Limit) -> Result<()> {
        let links = self.hub.links();
        let runtime = Arc::clone(&links.runtime);
        let deadline = limit.from(runtime.now());
        self.hub.stop();
        if self.owns_transport {
            let mut closing = links.transport.close();
            let mut late = runtime.sleep_until(deadline);
            let closed = std::future::poll_fn(|cx| match closing.as_mut().poll(cx) {
                std::task::Poll::Pending => late.as_mut().poll(cx).map(|()| false),
                std::task::Poll::Ready(()) => std::task::Poll::Ready(true),
            })
            .await;
            if !closed {
                return Err(Error::deadline("close"));
            }
        }
        while self.hub.running() > 0 {
            if runtime.now() >= deadline {
                return Err(Error::deadline("close"));
            }
            runtime
                .sleep_until(runtime.now() + Duration::from_millis(1))
                .await;
        }
        Ok(())
    }
}

/// Without what is known of regions: their borders are keys.
impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("cluster_id", &self.cluster_id())
            .field("endpoints", &self.config.endpoints)
            .field("closed", &self.hub.is_closed())
            .finish_non_exhaustive()
    }
}

/// Connects, as [`RawClient::connect`](crate::RawClient::connect) documents it.
pub(crate) async fn connect(mut config: Config, mode: KeyMode, limit: Limit) -> Result<Client> {
    config.validate()?;
    let runtime = config.runtime.clone().or_else(AnyRuntime::current).ok_or_else(|| {
        Error::new(
            ErrorKind::InvalidConfig,
            "connect",
            "no async runtime found: call connect inside tokio, or set Config::runtime (for example to tikv::runtime::smol())",
        )
    })?;
    config.runtime = Some(runtime.clone());
    let owns_transport = config.transport.is_none();
    let transport = match config.transport.take() {
        Some(transport) => transport,
        None => AnyTransport::for_runtime(&runtime, &config)?,
    };
    let api = config.api_version();
    let first = KeyCodec::v1(mode);
    let hub = start(&config, &runtime, &transport, first, seeds(&config)?);
    let deadline = limit.from(runtime.runtime().now());
    find_pd(&hub, deadline).await?;
    compare_clusters(&hub, deadline).await?;
    let codec = match api {
        ApiVersion::V1 => first,
        ApiVersion::V1Ttl => KeyCodec::v1_ttl(),
        ApiVersion::V2 => {
            let id = keyspace_id(&hub, &config, deadline).await?;
            KeyCodec::v2(mode, id)
                .map_err(|e| Error::new(ErrorKind::PdError, "connect", e.to_string()))?
        }
    };
    let hub = if codec.api() == CoreApi::V1 {
        hub
    } else {
        // The map of regions is kept in user keys, so another key form needs facts of its own.
        let pd = hub.links().facts.pd.fork();
        hub.stop();
        start(&config, &runtime, &transport, codec, pd)
    };
    Ok(Client {
        hub,
        config: Arc::new(config),
        owns_transport,
    })
}

fn seeds(config: &Config) -> Result<PdFacts> {
    let seeds = config.addresses()?.into_iter().map(Arc::from).collect();
    let caller = config
        .pd
        .caller
        .clone()
        .unwrap_or_else(|| "tikv-rust-client".into());
    Ok(PdFacts::new(seeds, caller))
}

fn start(
    config: &Config,
    runtime: &AnyRuntime,
    transport: &AnyTransport,
    codec: KeyCodec,
    pd: PdFacts,
) -> Arc<Hub> {
    let options = &config.regions;
    let regions = RegionMapOptions::new(options.ttl, options.ttl_jitter, options.max_regions);
    Hub::start(HubOptions {
        facts: Facts::new(codec, pd, regions),
        transport: transport.clone(),
        runtime: runtime.runtime(),
    })
}

/// Asks PD's leader for its members: that finds the leader, proves that it is one, and learns the cluster's id.
async fn find_pd(hub: &Arc<Hub>, deadline: tikv_core::time::Instant) -> Result<()> {
    let request = PdRequest::GetMembers(pdpb::GetMembersRequest::default());
    match ask(hub, request, deadline).await {
        Ok(_) => Ok(()),
        Err(error) => Err(error.of_connecting("finding PD's leader")),
    }
}

/// How long an address that is no member's may take to say which cluster it belongs to.
const COMPARE: Duration = Duration::from_secs(1);

/// Asks the addresses that were given and are none of the members': they may be other names of the same ones, or a
/// mistake that would have the client work on one cluster today and on another one tomorrow. Those that do not answer
/// soon are not waited for.
async fn compare_clusters(hub: &Arc<Hub>, deadline: tikv_core::time::Instant) -> Result<()> {
    let links = hub.links();
    let members = links.facts.pd.members();
    let others = links.facts.pd.addresses().into_iter();
    let others = others.filter(|address| !members.all.contains(address));
    let deadline = deadline.min(links.runtime.now() + COMPARE);
    let answers = others.map(|to| {
        links.transport.call(Rpc {
            to,
            head: Head::None,
            request: Request::Pd(Box::new(PdRequest::GetMembers(
                pdpb::GetMembersRequest::default(),
            ))),
            metadata: Metadata::None,
            deadline,
        })
    });
    let expected = links.facts.pd.cluster_id();
    for answer in futures_util::future::join_all(answers).await {
        let Ok(Reply::Pd(reply)) = answer else {
            continue;
        };
        let found = reply.header().map_or(0, |header| header.cluster_id);
        if found != 0 && found != expected {
            let failure = FailureKind::WrongCluster { expected, found }.into();
            return Err(Error::from_failure(failure, "connect", Duration::ZERO));
        }
    }
    Ok(())
}

async fn keyspace_id(
    hub: &Arc<Hub>,
    config: &Config,
    deadline: tikv_core::time::Instant,
) -> Result<u32> {
    let name = keyspace_name(config.keyspace.as_deref().unwrap_or(""));
    let request = PdRequest::LoadKeyspace(keyspacepb::LoadKeyspaceRequest {
        name: name.to_owned(),
        ..Default::default()
    });
    let refused = |why: String| Err(Error::new(ErrorKind::PdError, "connect", why));
    let answer = match ask(hub, request, deadline).await {
        Ok(answer) => answer,
        Err(error) => return Err(error.of_connecting(&format!("keyspace {name:?}"))),
    };
    let PdReply::LoadKeyspace(answer) = answer else {
        return refused("PD answered with another command's reply".into());
    };
    let Some(meta) = answer.keyspace else {
        return refused(format!("PD knows no keyspace {name:?}"));
    };
    if meta.state() != keyspacepb::KeyspaceState::Enabled {
        return refused(format!(
            "keyspace {name:?} is {}, not enabled",
            meta.state().as_str_name()
        ));
    }
    match meta.keyspace {
        Some(keyspacepb::keyspace_meta::Keyspace::Id(id)) => Ok(id),
        // A keyspace without a number in the message has the number 0.
        None => Ok(0),
        Some(_) => refused(format!(
            "keyspace {name:?} has no numeric id, which this client needs"
        )),
    }
}

async fn ask(
    hub: &Arc<Hub>,
    request: PdRequest,
    deadline: tikv_core::time::Instant,
) -> Result<PdReply> {
    let machine = PdCall::new(Request::Pd(Box::new(request)), deadline);
    let mut run = Run::new(hub, machine, Duration::ZERO, "connect");
    crate::op::Call::set_limit(&mut run, Limit::At(deadline));
    std::future::poll_fn(|cx| crate::op::Call::poll_call(&mut run, cx)).await
}
