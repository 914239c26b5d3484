//! What is particular to tokio. The cases that all runtimes share are in the transport's conformance suite.

use std::{sync::Arc, time::Duration};

use tikv_core::{
    port::{Runtime as _, Transport as _},
    rpc::{ColumnFamily, Head, Metadata, RawGet, Request, Rpc},
};
use tikv_runtime_tokio::Tokio;
use tikv_transport_tonic::{GrpcTransport, Tls, WireOptions};

#[test]
fn there_is_no_runtime_outside_of_one() {
    assert!(Tokio::current().is_none());
}

#[tokio::test(start_paused = true)]
async fn time_is_the_runtimes_own() {
    let runtime = Tokio::current().unwrap();
    let start = runtime.now();
    runtime.sleep_until(start + Duration::from_secs(3600)).await;
    let slept = runtime.now() - start;
    assert!(
        slept >= Duration::from_secs(3600) && slept < Duration::from_secs(3601),
        "{slept:?}"
    );
}

#[test]
fn calls_after_the_runtime_has_gone_fail() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let adapter = Tokio::from_handle(runtime.handle().clone());
    let deadline = adapter.now() + Duration::from_secs(60);
    let transport = GrpcTransport::new(Arc::new(adapter), WireOptions::default(), Tls::Off);
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let call = || {
        transport.call(Rpc {
            to: listener.local_addr().unwrap().to_string().into(),
            head: Head::None,
            request: Request::RawGet(RawGet {
                key: "k".into(),
                cf: ColumnFamily::Default,
            }),
            metadata: Metadata::None,
            deadline,
        })
    };
    let under_way = call();
    drop(runtime);
    let other = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    for call in [under_way, call()] {
        let error = other.block_on(call).unwrap_err();
        assert!(!error.may_have_been_applied(), "{error}");
    }
    // Nothing is left to wait for.
    other.block_on(transport.close());
}
