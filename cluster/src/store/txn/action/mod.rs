//! What commands do to one key.

pub(super) mod check_txn_status;
pub(super) mod cleanup;
pub(super) mod commit;
pub(super) mod gc;
pub(super) mod pessimistic_lock;
pub(super) mod prewrite;
pub(super) mod rollback;

use super::{
    error::{Outcome, TxnError},
    key::Key,
    reader::Reader,
    record::{Write, WriteKind},
};

/// Fails if the key exists although it should not, judged by its newest record.
fn check_not_exists(
    reader: &Reader<'_>,
    should_not_exist: bool,
    write: &Write,
    commit_ts: u64,
    key: &Key,
) -> Outcome<()> {
    if !should_not_exist || write.kind == WriteKind::Delete || write.is_fenced() {
        return Ok(());
    }
    let exists = write.kind == WriteKind::Put
        || (commit_ts > 0 && reader.get_write(key, commit_ts - 1)?.is_some());
    if exists {
        return Err(Box::new(TxnError::AlreadyExist(key.raw())));
    }
    Ok(())
}
