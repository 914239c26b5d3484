//! Removes the versions of a key that nobody can read any more.

use crate::store::txn::{
    draft::Draft,
    error::Outcome,
    key::Key,
    reader::Reader,
    record::{Write, WriteKind},
};

/// Removes what lies below the newest change at the safe point; and that one, too, if it deletes the key.
pub(in crate::store::txn) fn gc(
    draft: &mut Draft,
    reader: &Reader<'_>,
    key: &Key,
    safe_point: u64,
) -> Outcome<()> {
    let mut seek_ts = Some(safe_point);
    let mut found_change = false;
    let mut deletion = None;
    while let Some(ts) = seek_ts {
        let Some((commit_ts, write)) = reader.seek_write(key, ts)? else {
            break;
        };
        seek_ts = commit_ts.checked_sub(1);
        match (found_change, write.kind) {
            (false, WriteKind::Put) => found_change = true,
            (false, WriteKind::Delete) => (found_change, deletion) = (true, Some(commit_ts)),
            (false, WriteKind::Lock | WriteKind::Rollback) | (true, _) => {
                remove(draft, key, commit_ts, &write);
            }
        }
    }
    if let Some(commit_ts) = deletion {
        draft.delete_write(key, commit_ts);
    }
    Ok(())
}

fn remove(draft: &mut Draft, key: &Key, commit_ts: u64, write: &Write) {
    draft.delete_write(key, commit_ts);
    if write.kind == WriteKind::Put && write.short_value.is_none() {
        draft.delete_value(key, write.start_ts);
    }
}
