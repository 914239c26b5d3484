//! Region errors.

use tikv_proto::{errorpb, metapb};

use super::cluster::Spec;

type Error = errorpb::Error;

pub(crate) fn not_leader() -> Error {
    Error {
        not_leader: Some(errorpb::NotLeader::default()),
        ..Default::default()
    }
}

pub(crate) fn leader_is(spec: &Spec, store: u64) -> Error {
    Error {
        not_leader: Some(errorpb::NotLeader {
            region_id: spec.id,
            leader: Some(spec.peer(store)),
        }),
        ..Default::default()
    }
}

/// A hint at a peer that nobody has heard of.
pub(crate) fn leader_is_a_stranger(spec: &Spec) -> Error {
    Error {
        not_leader: Some(errorpb::NotLeader {
            region_id: spec.id,
            leader: Some(metapb::Peer {
                id: 9_999,
                store_id: 99,
                ..Default::default()
            }),
        }),
        ..Default::default()
    }
}

pub(crate) fn epoch_not_match(current: &[Spec]) -> Error {
    Error {
        epoch_not_match: Some(errorpb::EpochNotMatch {
            current_regions: current.iter().map(Spec::meta).collect(),
        }),
        ..Default::default()
    }
}

pub(crate) fn busy(estimated_wait_ms: u32) -> Error {
    Error {
        server_is_busy: Some(errorpb::ServerIsBusy {
            reason: "tests".into(),
            estimated_wait_ms,
            ..Default::default()
        }),
        ..Default::default()
    }
}

pub(crate) fn message(text: &str) -> Error {
    Error {
        message: text.into(),
        ..Default::default()
    }
}

macro_rules! plain {
    ($($name:ident)*) => {
        $(pub(crate) fn $name() -> Error {
            Error { $name: Some(Default::default()), ..Default::default() }
        })*

        /// The errors that need no further words, by name.
        pub(crate) fn all_plain() -> Vec<(&'static str, Error)> {
            vec![$((stringify!($name), $name())),*]
        }
    };
}

plain! {
    bucket_version_not_match
    data_is_not_ready
    disk_full
    flashback_in_progress
    flashback_not_prepared
    is_witness
    key_not_in_region
    max_timestamp_not_synced
    mismatch_peer_id
    proposal_in_merging_mode
    raft_entry_too_large
    read_index_not_ready
    recovery_in_progress
    region_not_found
    region_not_initialized
    stale_command
    store_not_match
    undetermined_result
}

/// Every region error that a store can give about `spec`, by name. Those that say where the region is now are about what
/// `spec` says.
pub(crate) fn all(spec: &Spec) -> Vec<(&'static str, Error)> {
    let mut all = all_plain();
    all.extend([
        ("not_leader", not_leader()),
        ("leader_is_a_stranger", leader_is_a_stranger(spec)),
        ("epoch_not_match_empty", epoch_not_match(&[])),
        ("busy", busy(0)),
        ("busy_for_10_ms", busy(10)),
        ("message_only", message("something new")),
        ("deadline_message", message("Deadline is exceeded")),
        ("max_ts_message", message("invalid max_ts update")),
    ]);
    for store in &spec.stores {
        let name = ["leader_is_1", "leader_is_2", "leader_is_3"][*store as usize - 1];
        all.push((name, leader_is(spec, *store)));
    }
    let lagging = Spec {
        version: spec.version.saturating_sub(1),
        ..spec.clone()
    };
    all.push(("epoch_not_match_lagging", epoch_not_match(&[lagging])));
    all
}
