//! Forgetting regions.

use std::sync::Arc;

use bytes::Bytes;

use crate::{codec::next_key, time::Instant};

use super::{
    insert::without,
    region::RegionRef,
    region_map::{Ledger, RegionMap},
    snapshot::Snapshot,
};

/// Among how many regions the one to forget is chosen when the map is full.
const EVICTION_SAMPLE: usize = 64;

/// What a sweep did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Swept {
    /// Regions looked at.
    pub seen: usize,
    /// Regions forgotten: they had expired or were invalid.
    pub removed: usize,
    /// The end of the map was reached: the next sweep begins at the first region.
    pub wrapped: bool,
}

impl RegionMap {
    /// Looks at up to `max` regions (at least one), going on where the sweep before stopped. Forgets those that have expired
    /// or are invalid; makes delayed reloads of the others due; and lets those live one lifetime at most that have a store
    /// which failed or is not reachable.
    ///
    /// client-go looks at 50 regions every second.
    pub fn gc(&self, now: Instant, max: usize) -> Swept {
        let mut ledger = self.ledger();
        let snapshot = self.snapshot.load();
        let start = snapshot.place_of(&ledger.sweep_at);
        let (mut end, mut swept) = (start, Swept::default());
        let (mut kept, mut dead) = (Vec::new(), Vec::new());
        while swept.seen < max.max(1) {
            let Some((region, after)) = snapshot.next(end) else {
                break;
            };
            swept.seen += 1;
            end = after;
            if region.is_dead(now) {
                dead.push(Arc::clone(region));
            } else {
                region.tend();
                kept.push(Arc::clone(region));
            }
        }
        let next = snapshot.next(end).map(|(region, _)| region.start().clone());
        swept.wrapped = next.is_none();
        ledger.sweep_at = next.unwrap_or_default();
        swept.removed = dead.len();
        if !dead.is_empty() {
            let after = snapshot.splice(start..end, &kept);
            for region in &dead {
                ledger.remove(region);
            }
            self.snapshot.store(Arc::new(after));
        }
        swept
    }
}

/// The snapshot without one region that is of little use: out of the next few dozen one that is dead, or else the one that
/// would expire first. Use prolongs a region's life, so that is the one which nobody has used for longest, to within
/// [`ttl_jitter`](super::RegionMapOptions::ttl_jitter). `spare` stays.
pub(super) fn evict(
    ledger: &mut Ledger,
    snapshot: &Snapshot,
    spare: &RegionRef,
    now: Instant,
) -> Option<Snapshot> {
    let start = snapshot.place_of(&ledger.evict_at);
    let all = snapshot.iter_from(start).chain(snapshot.iter());
    let mut worst: Option<&RegionRef> = None;
    let mut last = None;
    for region in all.take(EVICTION_SAMPLE) {
        last = Some(region);
        if Arc::ptr_eq(region, spare) {
            continue;
        }
        if region.is_dead(now) {
            worst = Some(region);
            break;
        }
        if worst.is_none_or(|w| region.expires() < w.expires()) {
            worst = Some(region);
        }
    }
    // The next search goes on after the last one looked at.
    ledger.evict_at = last.map_or_else(Bytes::new, |region| next_key(region.start()));
    let worst = worst?;
    ledger.remove(worst);
    Some(without(snapshot, worst))
}
