//! The runtimes, each as a way to run a case to its end.

use std::{future::Future, pin::pin, sync::Arc, time::Duration};

use futures_util::future::{Either, select};
use tikv_core::port::Runtime;
use tikv_runtime_async_std::{AsyncStd, Smol};
use tikv_runtime_tokio::Tokio;
use tikv_transport_tonic::Net;

/// Far longer than any case takes; a case that reaches it hangs.
const HANGS: Duration = Duration::from_secs(60);

async fn bounded<F: Future<Output = ()>>(net: Arc<dyn Net>, case: impl FnOnce(Arc<dyn Net>) -> F) {
    let limit = net.sleep_until(net.now() + HANGS);
    match select(pin!(case(Arc::clone(&net))), limit).await {
        Either::Left(_) => {}
        Either::Right(_) => panic!("the case hangs"),
    }
}

pub(crate) fn tokio<F: Future<Output = ()>>(case: impl FnOnce(Arc<dyn Net>) -> F) {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async { bounded(Arc::new(Tokio::current().unwrap()), case).await });
    runtime.shutdown_background();
}

pub(crate) fn async_std<F: Future<Output = ()>>(case: impl FnOnce(Arc<dyn Net>) -> F) {
    async_std::task::block_on(bounded(Arc::new(AsyncStd::new()), case));
}

pub(crate) fn smol<F: Future<Output = ()>>(case: impl FnOnce(Arc<dyn Net>) -> F) {
    smol::block_on(bounded(Arc::new(Smol::new()), case));
}

pub(crate) async fn sleep(net: &dyn Net, time: Duration) {
    net.sleep_until(net.now() + time).await;
}

/// Waits until something holds.
pub(crate) async fn until(net: &dyn Net, mut holds: impl FnMut() -> bool) {
    while !holds() {
        sleep(net, Duration::from_millis(5)).await;
    }
}

/// Fails to compile if an adapter stops being a runtime that threads can share.
#[allow(dead_code)]
fn adapters_are_runtimes() {
    fn runtime<T: Runtime + Clone>() {}
    runtime::<Tokio>();
    runtime::<AsyncStd>();
    runtime::<Smol>();
}
