//! The same scenario on tokio, async-std and smol.

use std::{future::Future, pin::Pin, task::Poll};

use tikv::runtime::AnyRuntime;

/// A scenario that can be run on any runtime.
pub trait OnRuntime {
    /// Runs it.
    fn run(self, runtime: AnyRuntime) -> impl Future<Output = ()>;
}

impl<F: Future<Output = ()>, S: FnOnce(AnyRuntime) -> F> OnRuntime for S {
    fn run(self, runtime: AnyRuntime) -> impl Future<Output = ()> {
        self(runtime)
    }
}

/// On tokio, one thread, real time.
///
/// # Panics
/// When tokio does not start.
pub fn block_on_tokio(scenario: impl OnRuntime) {
    let tokio = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    match tokio {
        Ok(tokio) => tokio.block_on(async { scenario.run(tikv::runtime::tokio()).await }),
        Err(error) => panic!("tokio does not start: {error}"),
    }
}

/// On async-std's global executor.
pub fn block_on_async_std(scenario: impl OnRuntime) {
    async_std::task::block_on(scenario.run(tikv::runtime::async_std()));
}

/// On smol's global executor.
pub fn block_on_smol(scenario: impl OnRuntime) {
    smol::block_on(scenario.run(tikv::runtime::smol()));
}

/// Makes of each `async fn name(runtime)` three tests: `name::tokio`, `name::async_std`, `name::smol`.
#[macro_export]
macro_rules! on_every_runtime {
    ($(async fn $name:ident($runtime:ident: AnyRuntime) $body:block)*) => {
        $(mod $name {
            use super::*;

            async fn scenario($runtime: AnyRuntime) $body

            #[test]
            fn tokio() {
                $crate::support::block_on_tokio(scenario);
            }

            #[test]
            fn async_std() {
                $crate::support::block_on_async_std(scenario);
            }

            #[test]
            fn smol() {
                $crate::support::block_on_smol(scenario);
            }
        })*
    };
}

/// Polls a future once; what it gives if it is ready by then.
pub async fn poll_once<F: Future + Unpin>(future: &mut F) -> Option<F::Output> {
    let mut future = Pin::new(future);
    std::future::poll_fn(|cx| {
        Poll::Ready(match future.as_mut().poll(cx) {
            Poll::Ready(output) => Some(output),
            Poll::Pending => None,
        })
    })
    .await
}
