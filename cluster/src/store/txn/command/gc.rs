//! Garbage collection. Real stores do it when they compact their files, after the safe point of the placement driver has
//! moved; no request asks for it.

use crate::{
    engine::Cf,
    region::Region,
    store::txn::{action::gc::gc, draft::Draft, key::split_ts, reader::Reader},
    world::World,
};

impl World {
    /// Removes all versions that cannot be read at the safe point or later.
    pub(crate) fn collect_garbage(&mut self, safe_point: u64) {
        let mut draft = Draft::default();
        for region in self.regions.values() {
            self.collect_in(&mut draft, region, safe_point);
        }
        for change in draft.changes {
            self.engine.apply(change.into_modify());
        }
    }

    /// What is not a record of a transaction is left alone.
    fn collect_in(&self, draft: &mut Draft, region: &Region, safe_point: u64) {
        let reader = Reader::new(self, region, 0);
        let meta = &region.meta;
        let mut last = None;
        for (record, _) in self.engine.range(Cf::Write, &meta.start_key, &meta.end_key) {
            let Some((key, _)) = split_ts(record) else {
                continue;
            };
            if last.as_ref() != Some(&key) {
                let _ = gc(draft, &reader, &key, safe_point);
                last = Some(key);
            }
        }
    }
}
