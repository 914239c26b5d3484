//! Every operation of the map against a plain list that follows the rules literally. The descriptions are arbitrary: they need
//! not make sense together.

use std::{collections::BTreeMap, time::Duration};

use bytes::Bytes;
use proptest::prelude::*;

use crate::time::Instant;

use super::{
    super::{
        Insert, InvalidReason, Lookup, MissReason, RegionInfo, RegionMap, RegionVersion,
        ReloadReason, StoreTable,
    },
    TTL, info, insert, map,
};

#[derive(Clone, Debug)]
struct Entry {
    info: RegionInfo,
    expires: Instant,
    invalid: bool,
    reload: bool,
}

/// The rules, on a list.
#[derive(Default)]
struct Model {
    entries: Vec<Entry>,
    latest: BTreeMap<u64, RegionVersion>,
    now: Instant,
}

/// What a lookup says, without the objects.
#[derive(Debug, PartialEq, Eq)]
enum Said {
    Hit(RegionVersion),
    Reload(RegionVersion),
    Miss(MissReason),
}

impl From<Lookup> for Said {
    fn from(lookup: Lookup) -> Self {
        match lookup {
            Lookup::Hit(region) => Self::Hit(region.version()),
            Lookup::Reload(region, ReloadReason::OnAccess) => Self::Reload(region.version()),
            Lookup::Reload(_, reason) => panic!("{reason:?}"),
            Lookup::Miss(reason) => Self::Miss(reason),
        }
    }
}

impl Model {
    fn by_version(&mut self, version: RegionVersion) -> Option<&mut Entry> {
        self.entries.iter_mut().find(|e| e.info.version == version)
    }

    fn insert(&mut self, info: RegionInfo) -> bool {
        let new = info.version;
        if let Some(version) = self.latest.get(&new.id).copied()
            && (version.version > new.version || version.conf_ver > new.conf_ver)
        {
            // A reload that was due is done: nothing newer is known.
            self.by_version(version).unwrap().reload = false;
            return false;
        }
        let inside =
            |start: &Bytes| *start >= info.start && (info.end.is_empty() || *start < info.end);
        let mut before = self.entries.iter().filter(|e| e.info.start < info.start);
        let left = before.next_back().filter(|e| e.info.contains(&info.start));
        let within = self.entries.iter().filter(|e| inside(&e.info.start));
        let mut overlapped = left.into_iter().chain(within);
        if let Some(newer) = overlapped.find(|e| e.info.version.version > new.version) {
            let version = newer.info.version;
            self.by_version(version).unwrap().reload = false;
            return false;
        }
        // Also an object of the same version somewhere else.
        self.retain(|e| !inside(&e.info.start) && e.info.version != new);
        self.latest.insert(new.id, new);
        let at = self.entries.partition_point(|e| e.info.start < info.start);
        let entry = Entry {
            info,
            expires: self.now + TTL,
            invalid: false,
            reload: false,
        };
        self.entries.insert(at, entry);
        true
    }

    fn retain(&mut self, keep: impl Fn(&Entry) -> bool) {
        let latest = &mut self.latest;
        self.entries.retain(|e| {
            let keep = keep(e);
            if !keep && latest.get(&e.info.version.id) == Some(&e.info.version) {
                latest.remove(&e.info.version.id);
            }
            keep
        });
    }

    fn access(&mut self, index: Option<usize>) -> Said {
        let Some(index) = index else {
            return Said::Miss(MissReason::Missing);
        };
        let (now, entry) = (self.now, &mut self.entries[index]);
        if entry.invalid {
            return Said::Miss(MissReason::Invalid(InvalidReason::EpochNotMatch));
        }
        if now > entry.expires {
            return Said::Miss(MissReason::Expired);
        }
        entry.expires = now + TTL;
        if entry.reload {
            Said::Reload(entry.info.version)
        } else {
            Said::Hit(entry.info.version)
        }
    }

    /// The last region that starts at or below the key decides, whether it reaches the key or not.
    fn lookup(&mut self, key: &[u8]) -> Said {
        let index = self.entries.iter().rposition(|e| e.info.start[..] <= *key);
        self.access(index.filter(|i| self.entries[*i].info.contains(key)))
    }

    fn lookup_end(&mut self, key: &[u8]) -> Said {
        let below = |e: &Entry| key.is_empty() || e.info.start[..] < *key;
        let index = self.entries.iter().rposition(below);
        self.access(index.filter(|i| self.entries[*i].info.contains_end(key)))
    }

    fn lookup_id(&mut self, id: u64) -> Said {
        let latest = self.latest.get(&id).copied();
        let index = self
            .entries
            .iter()
            .position(|e| Some(e.info.version) == latest);
        self.access(index)
    }

    fn consecutive(&mut self, start: &[u8], end: &[u8], limit: usize) -> Vec<RegionVersion> {
        let mut run: Vec<RegionInfo> = Vec::new();
        let first = self
            .entries
            .iter()
            .rposition(|e| e.info.start[..] <= *start)
            .filter(|i| self.entries[*i].info.contains(start));
        for index in first.map_or(0..0, |first| first..self.entries.len()) {
            let info = self.entries[index].info.clone();
            let joined = run.last().is_none_or(|last| last.end == info.start);
            let beyond = !run.is_empty() && !end.is_empty() && info.start[..] >= *end;
            let usable = joined && !beyond && run.len() < limit;
            if !usable || !matches!(self.access(Some(index)), Said::Hit(_)) {
                break;
            }
            run.push(info);
        }
        run.iter().map(|info| info.version).collect()
    }
}

#[derive(Clone, Debug)]
enum Step {
    Insert(RegionInfo),
    Lookup(Vec<u8>),
    LookupEnd(Vec<u8>),
    LookupId(u64),
    Consecutive(Vec<u8>, Vec<u8>, usize),
    Invalidate(Vec<u8>),
    MarkReload(Vec<u8>),
    Wait(u64),
    Sweep,
}

/// Short keys over three letters, so that they meet often.
fn some_key() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(prop::sample::select(vec![0, b'a', b'b']), 0..4)
}

fn some_info() -> impl Strategy<Value = RegionInfo> {
    let version = (1..6_u64, 1..4_u64, 1..5_u64);
    (version, some_key(), some_key()).prop_filter_map("an empty range", |(version, a, b)| {
        let (start, end) = if a < b || b.is_empty() {
            (a, b)
        } else {
            (b, a)
        };
        (end.is_empty() || start < end).then(|| info(version, &start, &end))
    })
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => some_info().prop_map(Step::Insert),
        3 => some_key().prop_map(Step::Lookup),
        2 => some_key().prop_map(Step::LookupEnd),
        1 => (1..6_u64).prop_map(Step::LookupId),
        2 => (some_key(), some_key(), 0..4_usize).prop_map(|(s, e, n)| Step::Consecutive(s, e, n)),
        1 => some_key().prop_map(Step::Invalidate),
        1 => some_key().prop_map(Step::MarkReload),
        1 => (1..400_u64).prop_map(Step::Wait),
        1 => Just(Step::Sweep),
    ]
}

fn take(step: Step, model: &mut Model, map: &RegionMap, stores: &StoreTable) {
    let now = model.now;
    match step {
        Step::Insert(info) => {
            let fresh = matches!(insert(map, stores, info.clone(), now), Insert::Fresh(_));
            assert_eq!(fresh, model.insert(info));
        }
        Step::Lookup(key) => assert_eq!(Said::from(map.lookup(&key, now)), model.lookup(&key)),
        Step::LookupEnd(key) => {
            assert_eq!(
                Said::from(map.lookup_end(&key, now)),
                model.lookup_end(&key)
            );
        }
        Step::LookupId(id) => {
            assert_eq!(Said::from(map.lookup_id(id, now)), model.lookup_id(id));
        }
        Step::Consecutive(start, end, limit) => {
            let run = map.consecutive(&start, &end, limit, now);
            let run: Vec<RegionVersion> = run.iter().map(|r| r.version()).collect();
            assert_eq!(run, model.consecutive(&start, &end, limit));
        }
        Step::Invalidate(key) => {
            let (found, said) = (map.lookup(&key, now), model.lookup(&key));
            if let (Some(region), Said::Hit(version)) = (found.hit(), said) {
                region.invalidate(InvalidReason::EpochNotMatch);
                model.by_version(version).unwrap().invalid = true;
            }
        }
        Step::MarkReload(key) => {
            let (found, said) = (map.lookup(&key, now), model.lookup(&key));
            if let (Some(region), Said::Hit(version)) = (found.hit(), said) {
                region.mark_reload_on_access();
                model.by_version(version).unwrap().reload = true;
            }
        }
        Step::Wait(seconds) => model.now += Duration::from_secs(seconds),
        Step::Sweep => {
            while !map.gc(now, 3).wrapped {}
            model.retain(|e| !e.invalid && now <= e.expires);
        }
    }
}

fn check(model: &Model, map: &RegionMap) {
    let all = map.all();
    let versions: Vec<RegionVersion> = all.iter().map(|r| r.version()).collect();
    let expected: Vec<RegionVersion> = model.entries.iter().map(|e| e.info.version).collect();
    assert_eq!(versions, expected);
    for region in &all {
        // What can be found by key can be found by version, and is what those who hold it go on with.
        let known = map.get(region.version()).unwrap();
        assert!(std::ptr::eq(&*known, &**region));
        assert!(std::ptr::eq(&*map.current(region).unwrap(), &**region));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn the_map_follows_the_rules(steps in prop::collection::vec(step(), 0..60)) {
        let (map, stores, mut model) = (map(1 << 20), StoreTable::new(), Model::default());
        for step in steps {
            take(step, &mut model, &map, &stores);
            check(&model, &map);
        }
    }

    #[test]
    fn a_bounded_map_stays_whole(infos in prop::collection::vec(some_info(), 0..60), bound in 1..6_usize) {
        let (map, stores) = (map(bound), StoreTable::new());
        for (second, info) in infos.into_iter().enumerate() {
            let now = Instant::ZERO + Duration::from_secs(second as u64 / 4);
            let inserted = insert(&map, &stores, info, now);
            prop_assert!(map.len() <= bound);
            if let Insert::Fresh(region) = inserted {
                prop_assert!(map.all().iter().any(|r| std::ptr::eq(&**r, &*region)));
            }
            for region in map.all() {
                prop_assert!(map.get(region.version()).is_some_and(|r| std::ptr::eq(&*r, &*region)));
            }
        }
    }
}
