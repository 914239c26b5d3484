//! Keyspaces: named parts of the key space, each with a number that prefixes its keys.
//!
//! A client finds its keyspace by name. PD hides a keyspace from that lookup until regions exist whose bounds are the
//! keyspace's, so that nobody writes over a bound that is still to be split; by number it is visible at once.

use std::{collections::BTreeMap, fmt};

use tikv_proto::{
    keyspacepb::{self, KeyspaceMeta, KeyspaceState, keyspace_meta::Keyspace as Id},
    pdpb,
};

use super::{
    Pd,
    header::Headers,
    methods::{StreamMethod, StreamReply},
    regions::Regions,
    service::Call,
};
use crate::status::Status;

/// The largest number a keyspace can have.
const MAX_ID: u32 = 0x00FF_FFFF;
const DEFAULT_NAME: &str = "DEFAULT";
const REGION_BOUND_TYPE: &str = "region_bound_type";
const GC_MANAGEMENT_TYPE: &str = "gc_management_type";
/// Set by PD itself, never taken over from whoever makes a keyspace.
const RESERVED_CONFIG: [&str; 3] = [
    "meta_service_group_id",
    "meta_service_group_addrs",
    "tso_keyspace_group_id",
];

/// Why something cannot be done with a keyspace.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum KeyspaceRefusal {
    /// There is none of this name or number.
    NotFound,
    /// The name is taken, for ever.
    Exists,
    /// The name is too long, has other characters than letters, digits, `-` and `_`, or is PD's own.
    IllegalName,
    /// The default keyspace stays as it is.
    Protected,
    /// The state cannot follow the present one.
    IllegalTransition,
    /// The configuration cannot be changed in this state.
    NotConfigurable,
    /// This item cannot be changed afterwards.
    UnsupportedConfig,
    /// Nobody split the regions at the keyspace's bounds in time.
    SplitTimeout,
    /// The number is beyond the largest one.
    IllegalId,
}

impl fmt::Display for KeyspaceRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotFound => "there is no such keyspace",
            Self::Exists => "a keyspace of this name exists",
            Self::IllegalName => "not a legal keyspace name",
            Self::Protected => "the default keyspace cannot be changed",
            Self::IllegalTransition => "a keyspace cannot go from its state to this one",
            Self::NotConfigurable => "the configuration cannot be changed in this state",
            Self::UnsupportedConfig => "this item cannot be changed afterwards",
            Self::SplitTimeout => "the keyspace's regions were not split in time",
            Self::IllegalId => "the number is beyond the largest keyspace",
        })
    }
}

impl std::error::Error for KeyspaceRefusal {}

#[derive(Clone, Debug, Default)]
pub(super) struct Keyspaces {
    all: BTreeMap<u32, KeyspaceMeta>,
    last_id: u32,
}

impl Keyspaces {
    /// The default keyspace comes with the cluster.
    pub(super) fn bootstrap(&mut self, now_s: i64) {
        let mut meta = new_meta(0, DEFAULT_NAME, now_s);
        let bound_type = (REGION_BOUND_TYPE.to_owned(), "txn".to_owned());
        meta.config.extend([bound_type]);
        meta.state = KeyspaceState::Enabled as i32;
        self.all.entry(0).or_insert(meta);
    }

    pub(super) fn get(&self, id: u32) -> Option<&KeyspaceMeta> {
        self.all.get(&id)
    }

    pub(super) fn by_name(&self, name: &str) -> Option<(u32, &KeyspaceMeta)> {
        let mut all = self.all.iter();
        all.find(|(_, meta)| meta.name == name)
            .map(|(id, meta)| (*id, meta))
    }

    /// Those from number `start` on, at most `limit` (0: all).
    pub(super) fn range(&self, start: u32, limit: usize) -> Vec<KeyspaceMeta> {
        let limit = if limit == 0 { usize::MAX } else { limit };
        let from = self.all.range(start..).take(limit);
        from.map(|(_, meta)| meta.clone()).collect()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (u32, &KeyspaceMeta)> {
        self.all.iter().map(|(id, meta)| (*id, meta))
    }

    fn set_state(
        &mut self,
        id: u32,
        state: KeyspaceState,
        now_s: i64,
    ) -> Result<KeyspaceMeta, KeyspaceRefusal> {
        use KeyspaceState::{Archived, Disabled, Enabled, Tombstone};
        if id == 0 {
            return Err(KeyspaceRefusal::Protected);
        }
        let meta = self.all.get_mut(&id).ok_or(KeyspaceRefusal::NotFound)?;
        if meta.state() != state {
            let legal = matches!(
                (meta.state(), state),
                (Enabled, Disabled) | (Disabled, Enabled | Archived) | (Archived, Tombstone)
            );
            if !legal {
                return Err(KeyspaceRefusal::IllegalTransition);
            }
            meta.state = state as i32;
            meta.state_changed_at = now_s;
        }
        Ok(meta.clone())
    }
}

/// Whether garbage collection of this keyspace is its own affair.
pub(super) fn has_own_gc(meta: &KeyspaceMeta) -> bool {
    let kind = meta.config.get(GC_MANAGEMENT_TYPE);
    kind.is_some_and(|kind| kind == "keyspace_level")
}

fn new_meta(id: u32, name: &str, now_s: i64) -> KeyspaceMeta {
    KeyspaceMeta {
        keyspace: Some(Id::Id(id)),
        name: name.to_owned(),
        state: KeyspaceState::Disabled as i32,
        created_at: now_s,
        state_changed_at: now_s,
        ..KeyspaceMeta::default()
    }
}

fn is_legal_name(name: &str) -> bool {
    let legal = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    (1..=20).contains(&name.len()) && name.chars().all(legal) && name != DEFAULT_NAME
}

/// The key at which a keyspace begins, in the form region bounds have.
fn bound(mode: u8, id: u32) -> Vec<u8> {
    let (mode, id) = if id > MAX_ID {
        (mode + 1, 0)
    } else {
        (mode, id)
    };
    let [_, a, b, c] = id.to_be_bytes();
    // Four bytes, padded to eight, and the mark that says so.
    vec![mode, a, b, c, 0, 0, 0, 0, 0xFB]
}

fn has_regions(meta: &KeyspaceMeta, id: u32, regions: &Regions) -> bool {
    let raw = meta
        .config
        .get(REGION_BOUND_TYPE)
        .is_some_and(|t| t == "raw");
    let mode = if raw { b'r' } else { b'x' };
    [bound(mode, id), bound(mode, id + 1)].iter().all(|key| {
        let region = regions.search(key);
        region.is_some_and(|region| region.meta.start_key == key[..])
    })
}

fn error(headers: Headers, refusal: &KeyspaceRefusal) -> pdpb::ResponseHeader {
    let kind = match refusal {
        KeyspaceRefusal::NotFound => pdpb::ErrorType::EntryNotFound,
        KeyspaceRefusal::Exists => pdpb::ErrorType::DuplicatedEntry,
        _ => pdpb::ErrorType::Unknown,
    };
    headers.error(kind, refusal.to_string())
}

type Answer<T> = Result<T, Status>;

/// Keyspace calls look at leadership and cluster id, never at forwarding metadata.
impl Pd {
    pub(super) fn load_keyspace(
        &mut self,
        call: Call<'_>,
        request: keyspacepb::LoadKeyspaceRequest,
    ) -> Answer<keyspacepb::LoadKeyspaceResponse> {
        self.check_leader(call.member, &request.header)?;
        let found = self.keyspaces.by_name(&request.name);
        let regions = self.members.get(call.member).map(|m| &m.regions);
        let split = |(id, meta): &(u32, &KeyspaceMeta)| {
            regions.is_some_and(|regions| has_regions(meta, *id, regions))
        };
        Ok(self.loaded(found.filter(split).map(|(_, meta)| meta.clone())))
    }

    pub(super) fn load_keyspace_by_id(
        &mut self,
        call: Call<'_>,
        request: keyspacepb::LoadKeyspaceByIdRequest,
    ) -> Answer<keyspacepb::LoadKeyspaceResponse> {
        use keyspacepb::load_keyspace_by_id_request::Keyspace;
        self.check_leader(call.member, &request.header)?;
        let id = match request.keyspace {
            Some(Keyspace::Id(id)) => id,
            _ => 0,
        };
        Ok(self.loaded(self.keyspaces.get(id).cloned()))
    }

    fn loaded(&self, keyspace: Option<KeyspaceMeta>) -> keyspacepb::LoadKeyspaceResponse {
        let headers = self.headers();
        keyspacepb::LoadKeyspaceResponse {
            header: Some(match keyspace {
                None => error(headers, &KeyspaceRefusal::NotFound),
                Some(_) => headers.ok(),
            }),
            keyspace,
        }
    }

    pub(super) fn update_keyspace_state(
        &mut self,
        call: Call<'_>,
        request: keyspacepb::UpdateKeyspaceStateRequest,
    ) -> Answer<keyspacepb::UpdateKeyspaceStateResponse> {
        use keyspacepb::update_keyspace_state_request::Keyspace;
        self.check_leader(call.member, &request.header)?;
        let id = match request.keyspace {
            Some(Keyspace::Id(id)) => id,
            _ => 0,
        };
        let now_s = self.now_s(call.now);
        let outcome = self.change_state(id, request.state(), now_s);
        let headers = self.headers();
        Ok(keyspacepb::UpdateKeyspaceStateResponse {
            header: Some(match &outcome {
                Ok(_) => headers.ok(),
                Err(refusal) => error(headers, refusal),
            }),
            keyspace: outcome.ok(),
        })
    }

    pub(super) fn get_all_keyspaces(
        &mut self,
        call: Call<'_>,
        request: keyspacepb::GetAllKeyspacesRequest,
    ) -> Answer<keyspacepb::GetAllKeyspacesResponse> {
        use keyspacepb::get_all_keyspaces_request::StartKeyspace;
        self.check_leader(call.member, &request.header)?;
        let start = match request.start_keyspace {
            Some(StartKeyspace::StartId(id)) => id,
            _ => 0,
        };
        let headers = self.headers();
        if start > MAX_ID {
            return Ok(keyspacepb::GetAllKeyspacesResponse {
                header: Some(error(headers, &KeyspaceRefusal::IllegalId)),
                ..Default::default()
            });
        }
        Ok(keyspacepb::GetAllKeyspacesResponse {
            header: Some(headers.ok()),
            keyspaces: self.keyspaces.range(start, request.limit as usize),
        })
    }

    pub(super) fn now_s(&self, now: tikv_core::time::Instant) -> i64 {
        i64::try_from(self.now_ms(now) / 1000).unwrap_or(i64::MAX)
    }

    fn change_state(
        &mut self,
        id: u32,
        state: KeyspaceState,
        now_s: i64,
    ) -> Result<KeyspaceMeta, KeyspaceRefusal> {
        let meta = self.keyspaces.set_state(id, state, now_s)?;
        self.announce_keyspaces(vec![meta.clone()]);
        Ok(meta)
    }

    /// Tells whoever watches.
    fn announce_keyspaces(&mut self, keyspaces: Vec<KeyspaceMeta>) {
        if keyspaces.is_empty() {
            return;
        }
        let response = keyspacepb::WatchKeyspacesResponse {
            header: Some(self.headers().ok()),
            keyspaces,
        };
        for id in self.streams.of(StreamMethod::WatchKeyspaces) {
            let reply = StreamReply::WatchKeyspaces(response.clone());
            self.streams.reply(id, reply);
        }
    }

    /// All there are, for one that begins to watch.
    pub(super) fn first_keyspaces(&self) -> Option<keyspacepb::WatchKeyspacesResponse> {
        let keyspaces = self.keyspaces.range(0, 0);
        (!keyspaces.is_empty()).then(|| keyspacepb::WatchKeyspacesResponse {
            header: Some(self.headers().ok()),
            keyspaces,
        })
    }
}

/// What operators do with keyspaces, over HTTP in reality.
impl Pd {
    /// Makes a keyspace. Its number is used up even when it fails in the end.
    ///
    /// # Errors
    ///
    /// When the name is illegal or taken; when it has to wait for splits that do not come.
    pub fn create_keyspace(
        &mut self,
        now: tikv_core::time::Instant,
        name: &str,
        config: BTreeMap<String, String>,
    ) -> Result<KeyspaceMeta, KeyspaceRefusal> {
        self.advance(now);
        if !is_legal_name(name) {
            return Err(KeyspaceRefusal::IllegalName);
        }
        if self.keyspaces.by_name(name).is_some() {
            return Err(KeyspaceRefusal::Exists);
        }
        let now_s = self.now_s(now);
        self.keyspaces.last_id += 1;
        let id = self.keyspaces.last_id;
        let mut meta = new_meta(id, name, now_s);
        meta.config = config;
        for reserved in RESERVED_CONFIG {
            meta.config.remove(reserved);
        }
        self.keyspaces.all.insert(id, meta.clone());
        self.announce_keyspaces(vec![meta.clone()]);
        if self.options.wait_region_split && !self.keyspace_is_split(id, &meta) {
            self.keyspaces.all.remove(&id);
            return Err(KeyspaceRefusal::SplitTimeout);
        }
        self.change_state(id, KeyspaceState::Enabled, now_s)
    }

    fn keyspace_is_split(&self, id: u32, meta: &KeyspaceMeta) -> bool {
        let leader = self.members.leader().and_then(|l| self.members.get(l));
        leader.is_some_and(|leader| has_regions(meta, id, &leader.regions))
    }

    /// Changes the state of the keyspace of this name.
    ///
    /// # Errors
    ///
    /// When there is none, or the state cannot follow.
    pub fn set_keyspace_state(
        &mut self,
        now: tikv_core::time::Instant,
        name: &str,
        state: KeyspaceState,
    ) -> Result<KeyspaceMeta, KeyspaceRefusal> {
        self.advance(now);
        if name == DEFAULT_NAME {
            return Err(KeyspaceRefusal::Protected);
        }
        let (id, _) = self
            .keyspaces
            .by_name(name)
            .ok_or(KeyspaceRefusal::NotFound)?;
        let now_s = self.now_s(now);
        self.change_state(id, state, now_s)
    }

    /// Sets and (where the value is `None`) removes configuration items.
    ///
    /// # Errors
    ///
    /// When there is no such keyspace, its state forbids it, or an item is fixed.
    pub fn set_keyspace_config(
        &mut self,
        now: tikv_core::time::Instant,
        name: &str,
        changes: &BTreeMap<String, Option<String>>,
    ) -> Result<KeyspaceMeta, KeyspaceRefusal> {
        self.advance(now);
        let to_own_gc = changes.get(GC_MANAGEMENT_TYPE).cloned().flatten();
        if changes.contains_key(REGION_BOUND_TYPE)
            || to_own_gc.is_some_and(|kind| kind == "keyspace_level")
        {
            return Err(KeyspaceRefusal::UnsupportedConfig);
        }
        let (id, _) = self
            .keyspaces
            .by_name(name)
            .ok_or(KeyspaceRefusal::NotFound)?;
        let Some(meta) = self.keyspaces.all.get_mut(&id) else {
            return Err(KeyspaceRefusal::NotFound);
        };
        if !matches!(
            meta.state(),
            KeyspaceState::Enabled | KeyspaceState::Disabled
        ) {
            return Err(KeyspaceRefusal::NotConfigurable);
        }
        for (key, value) in changes {
            match value {
                Some(value) => meta.config.insert(key.clone(), value.clone()),
                None => meta.config.remove(key),
            };
        }
        let meta = meta.clone();
        self.announce_keyspaces(vec![meta.clone()]);
        Ok(meta)
    }

    /// The keyspaces from number `start` on, at most `limit` (0: all).
    #[must_use]
    pub fn keyspaces(&self, start: u32, limit: usize) -> Vec<KeyspaceMeta> {
        self.keyspaces.range(start, limit)
    }

    /// The keyspace of this name, split or not.
    #[must_use]
    pub fn keyspace(&self, name: &str) -> Option<KeyspaceMeta> {
        self.keyspaces.by_name(name).map(|(_, meta)| meta.clone())
    }
}
