//! Regions as PD and stores describe them, in the client's key form.

use tikv_proto::{metapb, pdpb};

use super::{Buckets, Facts, Peer, RegionInfo, RegionVersion};

impl Facts {
    /// A region as PD describes it; `None` when it makes no sense, or lies outside the client's keyspace.
    #[must_use]
    pub fn region_from_pd(&self, region: pdpb::Region) -> Option<RegionInfo> {
        let meta = region.region?;
        let mut info = self.region(&meta)?;
        info.leader = region
            .leader
            .filter(|leader| leader.id != 0)
            .map(|leader| Peer::from(&leader));
        info.down = region
            .down_peers
            .iter()
            .filter_map(|stats| stats.peer.as_ref())
            .map(|peer| (peer.id, peer.store_id))
            .collect();
        info.pending = region.pending_peers.iter().map(|peer| peer.id).collect();
        info.buckets = region.buckets.and_then(|buckets| {
            let keys = self.codec().decode_bucket_keys(buckets.keys).ok()?;
            Some(Buckets {
                version: buckets.version,
                keys,
            })
        });
        Some(info)
    }

    /// A region as a store describes it in an error: without leader.
    #[must_use]
    pub fn region_from_store(&self, meta: &metapb::Region) -> Option<RegionInfo> {
        self.region(meta)
    }

    fn region(&self, meta: &metapb::Region) -> Option<RegionInfo> {
        let (start, end) = self
            .codec()
            .decode_region_range(meta.start_key.clone(), meta.end_key.clone())
            .ok()?;
        if meta.id == 0 || (!end.is_empty() && start >= end) {
            return None;
        }
        let epoch = meta.region_epoch.unwrap_or_default();
        Some(RegionInfo {
            version: RegionVersion {
                id: meta.id,
                conf_ver: epoch.conf_ver,
                version: epoch.version,
            },
            start,
            end,
            peers: meta.peers.iter().map(Peer::from).collect(),
            leader: None,
            down: Vec::new(),
            pending: Vec::new(),
            buckets: None,
        })
    }
}
