//! What PD says about a store.

use std::sync::Arc;

use tikv_proto::metapb;

/// What runs on a store.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum StoreKind {
    /// TiKV.
    #[default]
    TiKv,
    /// TiFlash with data of its own: label `engine` is `tiflash`.
    TiFlash,
    /// TiFlash that only computes: label `engine` is `tiflash_compute`. No region has peers on it.
    TiFlashCompute,
}

/// What PD says about a store. Never changes; a store gets another one as a whole.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StoreMeta {
    /// Where requests go, as `host:port`. Empty while it is not known.
    pub address: Arc<str>,
    /// Where the other stores reach it. On TiFlash, where TiKV's requests go.
    pub peer_address: Arc<str>,
    /// Where its status server is.
    pub status_address: Arc<str>,
    /// The version of the server.
    pub version: Arc<str>,
    /// Key and value, sorted.
    pub labels: Vec<(Arc<str>, Arc<str>)>,
    /// What runs on it.
    pub kind: StoreKind,
}

impl StoreMeta {
    /// The label that says which data centre a store is in.
    pub const ZONE: &'static str = "zone";

    /// The value of a label.
    #[must_use]
    pub fn label(&self, key: &str) -> Option<&str> {
        let mut labels = self.labels.iter();
        labels.find(|(k, _)| **k == *key).map(|(_, v)| &**v)
    }

    /// Whether the store has all of these labels. No labels match every store.
    #[must_use]
    pub fn matches<'a>(&self, labels: impl IntoIterator<Item = (&'a str, &'a str)>) -> bool {
        labels.into_iter().all(|(k, v)| self.label(k) == Some(v))
    }
}

impl Default for StoreMeta {
    fn default() -> Self {
        let nothing: Arc<str> = "".into();
        Self {
            address: Arc::clone(&nothing),
            peer_address: Arc::clone(&nothing),
            status_address: Arc::clone(&nothing),
            version: nothing,
            labels: Vec::new(),
            kind: StoreKind::TiKv,
        }
    }
}

impl From<&metapb::Store> for StoreMeta {
    fn from(store: &metapb::Store) -> Self {
        let label = |l: &metapb::StoreLabel| (l.key.as_str().into(), l.value.as_str().into());
        let mut meta = Self {
            address: store.address.as_str().into(),
            peer_address: store.peer_address.as_str().into(),
            status_address: store.status_address.as_str().into(),
            version: store.version.as_str().into(),
            labels: store.labels.iter().map(label).collect(),
            kind: StoreKind::TiKv,
        };
        meta.labels.sort_unstable();
        meta.kind = match meta.label("engine") {
            Some("tiflash") => StoreKind::TiFlash,
            Some("tiflash_compute") => StoreKind::TiFlashCompute,
            _ => StoreKind::TiKv,
        };
        meta
    }
}
