//! What the fuzzer's targets do with their bytes. `cargo test` does the same with the committed corpora.

use bytes::Bytes;
use prost::Message;
use tikv_core::rpc::{Command, RawGetReply, RawWriteReply, Reply, SendError};
use tikv_proto::kvrpcpb;

use super::zoo;

/// The first byte chooses a machine, the others what happens to it.
pub(crate) fn laws(data: &[u8]) {
    let Some((kind, mut tape)) = data.split_first() else {
        return;
    };
    if let Err(broken) = zoo::check(usize::from(*kind) % zoo::KINDS, &mut tape) {
        panic!("machine {kind}: {broken}");
    }
}

/// The first byte chooses a command, the others are its answer.
pub(crate) fn decode(data: &[u8]) {
    let Some((command, bytes)) = data.split_first() else {
        return;
    };
    let bytes = Bytes::copy_from_slice(bytes);
    let command = Command::ALL[usize::from(*command) % Command::ALL.len()];
    match command.decode(bytes.clone()) {
        Ok(mut reply) => {
            agrees_with_prost(&reply, bytes);
            let had_error = reply.take_region_error().is_some();
            assert!(!had_error || reply.take_region_error().is_none());
        }
        Err(SendError::Malformed(_)) => {
            let understood = match command {
                Command::RawGet => kvrpcpb::RawGetResponse::decode(bytes).is_ok(),
                Command::RawPut => kvrpcpb::RawPutResponse::decode(bytes).is_ok(),
                Command::RawDelete => kvrpcpb::RawDeleteResponse::decode(bytes).is_ok(),
                _ => false,
            };
            assert!(!understood, "prost reads what we do not");
        }
        Err(error) => panic!("{error}"),
    }
}

/// Where both can read an answer of the commands that are read by hand, they read the same. (Ours takes unknown things in
/// the place of known fields for unknown fields, and replaces texts that are none; prost refuses both.)
fn agrees_with_prost(reply: &Reply, bytes: Bytes) {
    match reply {
        Reply::RawGet(RawGetReply {
            region_error,
            error,
            value,
        }) => {
            let Ok(read) = kvrpcpb::RawGetResponse::decode(bytes) else {
                return;
            };
            assert_eq!(region_error.is_some(), read.region_error.is_some());
            assert_eq!(error.as_deref().unwrap_or_default(), read.error);
            assert_eq!(*value, (!read.not_found).then_some(read.value));
        }
        Reply::RawPut(ours) => agree(ours, kvrpcpb::RawPutResponse::decode(bytes).ok(), |read| {
            (read.region_error.is_some(), read.error)
        }),
        Reply::RawDelete(ours) => {
            agree(
                ours,
                kvrpcpb::RawDeleteResponse::decode(bytes).ok(),
                |read| (read.region_error.is_some(), read.error),
            );
        }
        _ => {}
    }
}

fn agree<M>(ours: &RawWriteReply, theirs: Option<M>, parts: impl FnOnce(M) -> (bool, String)) {
    let Some(read) = theirs else { return };
    let (region_error, error) = parts(read);
    assert_eq!(ours.region_error.is_some(), region_error);
    assert_eq!(ours.error.as_deref().unwrap_or_default(), error);
}
