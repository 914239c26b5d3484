//! From a checked write to changed data: the size limit of a raft entry, and what is looked at when it is applied.

use bytes::Bytes;
use prost::encoding::encoded_len_varint;
use tikv_proto::kvrpcpb;

use super::{
    check::Proposal,
    errors::{self, Failure},
};
use crate::{
    engine::Modify,
    ids::{RegionId, StoreId},
    region::Region,
    world::World,
};

impl World {
    /// Has the region agree on a write and applies it.
    pub(super) fn propose(
        &mut self,
        store: StoreId,
        ctx: &kvrpcpb::Context,
        what: Proposal,
        modifies: Vec<Modify>,
    ) -> Result<(), Failure> {
        if modifies.is_empty() {
            return Err(Failure::Text("an empty request".into()));
        }
        let region = self.check_write(store, ctx, what)?;
        let size = entry_size(ctx, &modifies);
        if size > self.options.raft_entry_max_size as u64 {
            return Err(errors::raft_entry_too_large(region, size).into());
        }
        self.check_majority(region)?;
        let id = region.id();
        let checked = modifies.iter().try_for_each(|m| check_apply(region, m));
        self.count_entry(id);
        checked?;
        for modify in modifies {
            self.engine.apply(modify);
        }
        Ok(())
    }

    /// Has the region agree on ranges to be deleted of which it only takes notice.
    pub(super) fn propose_nothing(
        &mut self,
        store: StoreId,
        ctx: &kvrpcpb::Context,
        ranges: Vec<Modify>,
    ) -> Result<(), Failure> {
        let region = self.check_write(store, ctx, Proposal::Data)?;
        self.check_majority(region)?;
        let checked = ranges.iter().try_for_each(|m| check_apply(region, m));
        let id = region.id();
        self.count_entry(id);
        checked
    }

    /// Counts an entry that the region has agreed on, whatever came of it.
    pub(super) fn count_entry(&mut self, id: RegionId) {
        if let Some(region) = self.regions.get_mut(&id) {
            region.index += 1;
        }
    }
}

/// What a store looks at when it applies an entry: one bad part undoes the whole entry.
fn check_apply(region: &Region, modify: &Modify) -> Result<(), Failure> {
    let inside = |key: &Bytes| {
        if region.contains(key) {
            return Ok(());
        }
        Err(Failure::from(errors::key_not_in_region(
            key.clone(),
            region,
        )))
    };
    match modify {
        Modify::Put(_, key, _) | Modify::Delete(_, key) => inside(key),
        Modify::DeleteRange(_, start, end) => {
            if !end.is_empty() && start >= end {
                return Err(
                    errors::words("invalid delete range command: empty or inverted range").into(),
                );
            }
            inside(start)?;
            let region_end = &region.meta.end_key;
            let past_the_end = !region_end.is_empty() && (end.is_empty() || end > region_end);
            if past_the_end {
                return Err(errors::key_not_in_region(end.clone(), region).into());
            }
            Ok(())
        }
    }
}

/// How many bytes the raft command for `modifies` has as a message; clients are told the number when it is too large.
fn entry_size(ctx: &kvrpcpb::Context, modifies: &[Modify]) -> u64 {
    let number = |n: u64| if n == 0 { 0 } else { 1 + encoded_len_varint(n) };
    let bytes = |len: usize| if len == 0 { 0 } else { message(len) };
    let epoch = ctx.region_epoch.unwrap_or_default();
    let peer = ctx.peer.unwrap_or_default();
    let header = number(ctx.region_id)
        + message(number(peer.id) + number(peer.store_id))
        + message(number(epoch.conf_ver) + number(epoch.version))
        + number(ctx.term);
    let parts = modifies.iter().map(|modify| {
        let part = match modify {
            Modify::Put(cf, key, value) => {
                bytes(cf.name_in_command().len()) + bytes(key.len()) + bytes(value.len())
            }
            Modify::Delete(cf, key) => bytes(cf.name_in_command().len()) + bytes(key.len()),
            Modify::DeleteRange(_, start, end) => 9 + bytes(start.len()) + bytes(end.len()),
        };
        message(2 + message(part))
    });
    (message(header) + parts.sum::<usize>()) as u64
}

/// The size of a field that holds `len` bytes.
fn message(len: usize) -> usize {
    1 + encoded_len_varint(len as u64) + len
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::Cf;
    use tikv_proto::metapb;

    #[test]
    fn sizes_are_those_that_a_real_store_reported() {
        let ctx = kvrpcpb::Context {
            region_id: 2_100_001,
            peer: Some(metapb::Peer {
                id: 2_100_002,
                store_id: 2_100_000,
                ..Default::default()
            }),
            region_epoch: Some(metapb::RegionEpoch {
                conf_ver: 1,
                version: 1,
            }),
            ..Default::default()
        };
        let put = |len| Modify::Put(Cf::Default, "a".into(), vec![0; len].into());
        let size = entry_size(&ctx, &[put(8_388_618)]);
        assert!(size.abs_diff(8_388_663) <= 10, "{size}");
        let size = entry_size(&ctx, &[put(5_242_880), put(5_242_880)]);
        assert!(size.abs_diff(10_485_825) <= 10, "{size}");
    }
}
