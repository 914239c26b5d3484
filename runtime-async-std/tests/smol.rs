//! What is particular to smol. The cases that all runtimes share are in the transport's conformance suite.
#![cfg(feature = "smol")]

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tikv_core::port::Runtime as _;
use tikv_runtime_async_std::Smol;

#[test]
fn tasks_run_on_the_callers_executor() {
    let executor = Arc::new(smol::Executor::new());
    let runtime = Smol::on(Arc::clone(&executor));
    let done = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&done);
    runtime.spawn(Box::pin(async move { flag.store(true, Ordering::SeqCst) }));
    assert!(!done.load(Ordering::SeqCst), "nobody runs the executor yet");
    let start = runtime.now();
    smol::block_on(executor.run(runtime.sleep_until(start + Duration::from_millis(20))));
    assert!(done.load(Ordering::SeqCst));
    assert!(runtime.now() - start >= Duration::from_millis(20));
}
