//! Who waits for whom, and whether they wait in a circle.

use bytes::Bytes;
use tikv_core::time::Instant;
use tikv_proto::deadlock::WaitForEntry;

/// An edge that nobody has asked about for so long is forgotten.
const EDGE_TTL_MS: u64 = 1000;

/// Transaction `waiter` waits for `holder`.
#[derive(Clone, Debug)]
struct Edge {
    waiter: u64,
    holder: u64,
    /// The keys that it waits for, by hash.
    keys: Vec<(u64, Bytes)>,
    tag: Bytes,
    since: Instant,
}

impl Edge {
    fn to_entry(&self) -> WaitForEntry {
        let (key_hash, key) = self.keys.first().cloned().unwrap_or_default();
        WaitForEntry {
            txn: self.waiter,
            wait_for_txn: self.holder,
            key_hash,
            key,
            resource_group_tag: self.tag.clone(),
            ..Default::default()
        }
    }
}

/// A new wait.
#[derive(Clone, Debug)]
pub(super) struct Wait {
    pub(super) waiter: u64,
    pub(super) holder: u64,
    pub(super) hash: u64,
    pub(super) key: Bytes,
    pub(super) tag: Bytes,
}

/// The detector. In a real cluster it runs on the leader of the first region, and asking it is best effort.
#[derive(Clone, Debug, Default)]
pub(super) struct Detector {
    edges: Vec<Edge>,
}

impl Detector {
    /// Adds a wait, unless it would close a circle: then gives the hash of the key that the waiter itself holds in it,
    /// and the chain of waits from the holder back to the waiter.
    pub(super) fn detect(&mut self, now: Instant, wait: &Wait) -> Option<(u64, Vec<WaitForEntry>)> {
        let same = |e: &&mut Edge| e.waiter == wait.waiter && e.holder == wait.holder;
        if let Some(edge) = self.edges.iter_mut().find(same) {
            if !edge.keys.iter().any(|(hash, _)| *hash == wait.hash) {
                edge.keys.push((wait.hash, wait.key.clone()));
            }
            (edge.since, edge.tag) = (now, wait.tag.clone());
            return None;
        }
        let ttl_end = |e: &Edge| e.since.as_millis() + EDGE_TTL_MS;
        self.edges.retain(|e| ttl_end(e) > now.as_millis());
        if let Some(chain) = self.chain(wait.holder, wait.waiter) {
            return Some((chain.last()?.key_hash, chain));
        }
        self.edges.push(Edge {
            waiter: wait.waiter,
            holder: wait.holder,
            keys: vec![(wait.hash, wait.key.clone())],
            tag: wait.tag.clone(),
            since: now,
        });
        None
    }

    /// The waits that lead from one transaction to another.
    fn chain(&self, from: u64, to: u64) -> Option<Vec<WaitForEntry>> {
        let mut stack = vec![from];
        let mut seen: Vec<(u64, Option<&Edge>)> = vec![(from, None)];
        while let Some(current) = stack.pop() {
            for edge in self.edges.iter().filter(|e| e.waiter == current) {
                if edge.holder == to {
                    let mut chain = vec![edge.to_entry()];
                    let mut at = current;
                    while let Some((_, Some(before))) = seen.iter().find(|(ts, _)| *ts == at) {
                        chain.push(before.to_entry());
                        at = before.waiter;
                    }
                    chain.reverse();
                    return Some(chain);
                }
                if !seen.iter().any(|(ts, _)| *ts == edge.holder) {
                    seen.push((edge.holder, Some(edge)));
                    stack.push(edge.holder);
                }
            }
        }
        None
    }

    /// Takes back a wait for one key.
    pub(super) fn clean_up(&mut self, waiter: u64, holder: u64, hash: u64) {
        let same = |e: &Edge| e.waiter == waiter && e.holder == holder;
        if let Some(edge) = self.edges.iter_mut().find(|e| same(e)) {
            edge.keys.retain(|(known, _)| *known != hash);
            if edge.keys.is_empty() {
                self.edges.retain(|e| !same(e));
            }
        }
    }

    /// The detector has moved, and begins anew.
    pub(super) fn clear(&mut self) {
        self.edges.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_circle_is_found_and_told_in_order() {
        let wait = |waiter, holder, hash| Wait {
            waiter,
            holder,
            hash,
            key: Bytes::new(),
            tag: Bytes::new(),
        };
        let mut detector = Detector::default();
        let now = Instant::ZERO;
        assert!(detector.detect(now, &wait(1, 2, 12)).is_none());
        assert!(detector.detect(now, &wait(2, 3, 23)).is_none());
        let (hash, chain) = detector.detect(now, &wait(3, 1, 31)).unwrap();
        let waits: Vec<_> = chain
            .iter()
            .map(|e| (e.txn, e.wait_for_txn, e.key_hash))
            .collect();
        assert_eq!((hash, waits), (23, vec![(1, 2, 12), (2, 3, 23)]));
        detector.clean_up(2, 3, 23);
        assert!(detector.detect(now, &wait(3, 1, 31)).is_none());
        let later = now + std::time::Duration::from_secs(1);
        assert!(detector.detect(later, &wait(1, 3, 13)).is_none());
    }
}
