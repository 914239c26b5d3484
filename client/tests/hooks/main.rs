//! What a client does around its requests: interceptors, statistics, taggers and cancel tokens, on the embedded cluster in
//! tokio's paused time.

mod cancelling;
mod counting;
mod intercepting;
mod stage;
mod tagging;

use tikv::{RawClient, interceptor::Interceptors, request::CancelToken, stats::Stats};

#[test]
fn handles_are_one_pointer() {
    let pointer = size_of::<usize>();
    assert_eq!(size_of::<RawClient>(), pointer);
    assert_eq!(size_of::<CancelToken>(), pointer);
    assert_eq!(size_of::<Stats>(), pointer);
    assert_eq!(size_of::<Interceptors>(), pointer);
}
