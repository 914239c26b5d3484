//! What can stand in the way of an answer.

use bytes::Bytes;
use tikv_proto::{errorpb, kvrpcpb, metapb};

use crate::{
    ids::{RegionId, StoreId},
    region::Region,
    status::{Code, Status},
    store::txn::WaitToken,
};

/// Why a request is not answered with a result.
#[derive(Debug)]
pub(crate) enum Failure {
    /// It did not get as far as being run.
    Region(Box<errorpb::Error>),
    /// It was refused, in words.
    Text(String),
    /// There is no message to answer with.
    Halt(Halt),
}

/// Why there is no message to answer with, now or ever.
#[derive(Debug)]
pub(crate) enum Halt {
    /// The region has to reach a majority, or to give up, first.
    Wait(RegionId),
    /// The call fails as a whole.
    Status(Status),
    /// It is queued for a lock.
    LockWait(WaitToken),
}

impl From<Box<errorpb::Error>> for Failure {
    fn from(error: Box<errorpb::Error>) -> Self {
        Self::Region(error)
    }
}

impl From<Halt> for Failure {
    fn from(halt: Halt) -> Self {
        Self::Halt(halt)
    }
}

impl Failure {
    /// Puts it into the two places that most answers have for it.
    pub(crate) fn put(
        self,
        region: &mut Option<Box<errorpb::Error>>,
        text: &mut String,
    ) -> Result<(), Halt> {
        match self {
            Self::Region(error) => *region = Some(error),
            Self::Text(words) => *text = words,
            Self::Halt(halt) => return Err(halt),
        }
        Ok(())
    }

    /// Puts it into an answer that has a list of pairs, where words become a pair with an error.
    pub(crate) fn put_in_pairs(
        self,
        region: &mut Option<Box<errorpb::Error>>,
        pairs: &mut Vec<kvrpcpb::KvPair>,
    ) -> Result<(), Halt> {
        match self {
            Self::Region(error) => *region = Some(error),
            Self::Text(words) => pairs.push(bad_pair(words)),
            Self::Halt(halt) => return Err(halt),
        }
        Ok(())
    }
}

/// A pair that says that reading it failed.
pub(crate) fn bad_pair(words: String) -> kvrpcpb::KvPair {
    kvrpcpb::KvPair {
        error: Some(aborted(words).into()),
        ..Default::default()
    }
}

/// An error without a structure of its own.
pub(crate) fn aborted(words: String) -> kvrpcpb::KeyError {
    kvrpcpb::KeyError {
        abort: words,
        ..Default::default()
    }
}

/// The real server's process would end here. We answer what its clients would see, and live.
pub(crate) fn crash(why: &str) -> Halt {
    Halt::Status(Status::new(
        Code::Unavailable,
        format!("a real server would crash here: {why}"),
    ))
}

pub(crate) fn unimplemented() -> Halt {
    Halt::Status(Status::new(Code::Unimplemented, ""))
}

/// A region error with its text still to be filled in.
fn error(message: String) -> Box<errorpb::Error> {
    Box::new(errorpb::Error {
        message,
        ..Default::default()
    })
}

/// Bytes as people read them in messages.
pub(crate) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;

    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02X}");
        text
    })
}

/// Something that only has words.
pub(crate) fn words(message: impl Into<String>) -> Box<errorpb::Error> {
    error(message.into())
}

/// A read, or a transactional command before its read, to a region that this store has no replica of.
pub(crate) fn region_is_missing(id: u64) -> Box<errorpb::Error> {
    let mut e = error(format!("this store has no region {id}"));
    e.region_not_found = Some(errorpb::RegionNotFound { region_id: id });
    e
}

pub(crate) fn store_not_match(asked: u64, actual: StoreId) -> Box<errorpb::Error> {
    let mut e = error(format!(
        "the request is for store {asked}, this is {}",
        actual.0
    ));
    e.store_not_match = Some(errorpb::StoreNotMatch {
        request_store_id: asked,
        actual_store_id: actual.0,
    });
    e
}

pub(crate) fn mismatch_peer_id(asked: u64, actual: u64) -> Box<errorpb::Error> {
    let mut e = error(format!("the request is for peer {asked}, this is {actual}"));
    e.mismatch_peer_id = Some(errorpb::MismatchPeerId {
        request_peer_id: asked,
        store_peer_id: actual,
    });
    e
}

pub(crate) fn stale_command() -> Box<errorpb::Error> {
    let mut e = error("stale command".into());
    e.stale_command = Some(errorpb::StaleCommand {});
    e
}

pub(crate) fn not_leader(region: &Region, leader: Option<metapb::Peer>) -> Box<errorpb::Error> {
    let known = leader.map_or_else(
        || "unknown".to_owned(),
        |p| format!("peer {} on store {}", p.id, p.store_id),
    );
    let mut e = error(format!(
        "peer is not leader for region {}, leader: {known}",
        region.meta.id
    ));
    e.not_leader = Some(errorpb::NotLeader {
        region_id: region.meta.id,
        leader,
    });
    e
}

pub(crate) fn epoch_not_match(
    region: &Region,
    sent: metapb::RegionEpoch,
    current_regions: Vec<metapb::Region>,
) -> Box<errorpb::Error> {
    let current = region.epoch();
    let mut e = error(format!(
        "region {} has epoch version {} conf_ver {}, the request version {} conf_ver {}",
        region.meta.id, current.version, current.conf_ver, sent.version, sent.conf_ver
    ));
    e.epoch_not_match = Some(errorpb::EpochNotMatch { current_regions });
    e
}

pub(crate) fn key_not_in_region(key: Bytes, region: &Region) -> Box<errorpb::Error> {
    let meta = &region.meta;
    let mut e = error(format!("key {} is outside of {}", hex(&key), range(region)));
    e.key_not_in_region = Some(errorpb::KeyNotInRegion {
        key,
        region_id: meta.id,
        start_key: meta.start_key.clone(),
        end_key: meta.end_key.clone(),
    });
    e
}

/// A point read outside of the region: not a region error, for whatever reason, but words.
pub(crate) fn key_is_out(key: &[u8], region: &Region) -> Failure {
    Failure::Text(format!("key {} is out of {}", hex(key), range(region)))
}

fn range(region: &Region) -> String {
    let meta = &region.meta;
    format!(
        "region {} [{}, {})",
        meta.id,
        hex(&meta.start_key),
        hex(&meta.end_key)
    )
}

pub(crate) fn flashback_in_progress(region: &Region) -> Box<errorpb::Error> {
    let start_ts = region.meta.flashback_start_ts;
    let mut e = error(format!(
        "region {} is being flashed back, start_ts {start_ts}",
        region.meta.id
    ));
    e.flashback_in_progress = Some(errorpb::FlashbackInProgress {
        region_id: region.meta.id,
        flashback_start_ts: start_ts,
    });
    e
}

/// Without words, as the real one.
pub(crate) fn flashback_not_prepared(region: &Region) -> Box<errorpb::Error> {
    let mut e = error(String::new());
    e.flashback_not_prepared = Some(errorpb::FlashbackNotPrepared {
        region_id: region.meta.id,
    });
    e
}

pub(crate) fn data_is_not_ready(region: &Region, peer: u64, safe_ts: u64) -> Box<errorpb::Error> {
    let mut e = error(format!(
        "peer {peer} of region {} is safe to read up to {safe_ts} only",
        region.meta.id
    ));
    e.data_is_not_ready = Some(errorpb::DataIsNotReady {
        region_id: region.meta.id,
        peer_id: peer,
        safe_ts,
    });
    e
}

pub(crate) fn raft_entry_too_large(region: &Region, entry_size: u64) -> Box<errorpb::Error> {
    let mut e = error(format!(
        "a raft entry of {entry_size} bytes for region {} is too large",
        region.meta.id
    ));
    e.raft_entry_too_large = Some(errorpb::RaftEntryTooLarge {
        region_id: region.meta.id,
        entry_size,
    });
    e
}

/// A raw write of API v2 needs a timestamp that the leader cannot vouch for yet.
pub(crate) fn max_timestamp_not_synced(region: &Region) -> Box<errorpb::Error> {
    let mut e = error(format!(
        "region {} has not synchronized its maximum timestamp",
        region.meta.id
    ));
    e.max_timestamp_not_synced = Some(errorpb::MaxTimestampNotSynced {});
    e
}

pub(crate) fn scheduler_is_busy() -> Box<errorpb::Error> {
    let mut e = error(String::new());
    e.server_is_busy = Some(errorpb::ServerIsBusy {
        reason: "scheduler is busy".into(),
        ..Default::default()
    });
    e
}

pub(crate) fn bucket_version_not_match(version: u64, keys: Vec<Bytes>) -> Box<errorpb::Error> {
    let mut e = error(String::new());
    e.bucket_version_not_match = Some(errorpb::BucketVersionNotMatch { version, keys });
    e
}
