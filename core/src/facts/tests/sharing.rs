//! Copies of the facts, and threads that share them.

use std::{
    collections::BTreeMap,
    hash::{DefaultHasher, Hasher},
    sync::atomic::{AtomicBool, Ordering},
};

use bytes::Bytes;

use crate::{
    codec::{KeyCodec, KeyMode},
    machine::Rng,
    pd::PdFacts,
    time::Instant,
};

use super::{
    super::{Facts, InvalidReason, Liveness, Lookup, RegionMap, RegionMapOptions, StoreTable},
    history::History,
    info, insert,
};

fn facts() -> Facts {
    let pd = PdFacts::new(vec!["pd:2379".into()], "test");
    Facts::new(KeyCodec::v1(KeyMode::Raw), pd, RegionMapOptions::default())
}

fn digest(facts: &Facts) -> u64 {
    let mut hasher = DefaultHasher::new();
    facts.digest(&mut hasher);
    hasher.finish()
}

#[test]
fn a_fork_lives_its_own_life() {
    let facts = facts();
    let now = Instant::from_millis(1);
    let left = insert(
        &facts.regions,
        &facts.stores,
        info((1, 1, 2), b"", b"m"),
        now,
    );
    let left = left.into_region();
    let _ = insert(
        &facts.regions,
        &facts.stores,
        info((2, 1, 2), b"m", b""),
        now,
    );
    let before = digest(&facts);
    let changes: [fn(&Facts); 6] = [
        |f| assert!(f.regions.all()[0].invalidate(InvalidReason::Other)),
        |f| f.regions.all()[1].mark_delayed_reload(),
        |f| assert!(f.stores.get(1).unwrap().bump_fail_epoch(0)),
        |f| assert!(f.stores.get(1).unwrap().set_liveness(Liveness::Unknown)),
        |f| {
            let newer = info((2, 1, 3), b"q", b"");
            let _ = insert(&f.regions, &f.stores, newer, Instant::ZERO);
        },
        |f| assert_eq!(f.regions.gc(Instant::ZERO, 1).seen, 1),
    ];
    for change in changes {
        let fork = facts.fork();
        assert_eq!(digest(&fork), before);
        change(&fork);
        assert_ne!(digest(&fork), before, "what can be seen is in the digest");
        assert_eq!(digest(&facts), before);
        assert_ne!(digest(&fork.fork()), before);
    }
    // The region's stores are the fork's.
    let fork = facts.fork();
    fork.stores
        .get(1)
        .unwrap()
        .set_liveness(Liveness::Unreachable);
    assert_eq!(
        fork.regions.all()[0].stores()[0].liveness(),
        Liveness::Unreachable
    );
    assert_eq!(left.stores()[0].liveness(), Liveness::Reachable);
}

#[test]
fn whoever_was_copied_along_finds_the_forks_region() {
    let facts = facts();
    let now = Instant::from_millis(1);
    let held = insert(
        &facts.regions,
        &facts.stores,
        info((1, 1, 1), b"", b""),
        now,
    )
    .into_region();
    let fork = facts.fork();
    let twin = fork.regions.current(&held).unwrap();
    assert!(std::ptr::eq(&*twin, &*fork.regions.all()[0]));
    twin.invalidate(InvalidReason::Other);
    assert!(held.is_valid(now) && !twin.is_valid(now));
    // Forgotten there, but not here.
    fork.regions.clear();
    assert_eq!(fork.regions.current(&held), None);
    assert_eq!(facts.regions.current(&held), Some(held));
}

/// The regions of one moment replace those of the moment before, over and over, while others look keys up.
#[test]
fn readers_never_see_half_a_change() {
    let mut history = History::new();
    let key = |n: u64| Bytes::from(format!("key/{n:04}"));
    let mut rng = Rng::new(3);
    for _ in 0..600 {
        let at = key(rng.below(10_000));
        match rng.below(5) {
            0 | 1 => history.merge(&at, rng.below(2) == 0),
            2 => history.change_members(&at),
            _ => history.split(&at, rng.below(2) == 0),
        }
    }
    let (map, stores) = (
        RegionMap::new(RegionMapOptions::default()),
        StoreTable::new(),
    );
    let now = Instant::from_millis(1);
    let done = AtomicBool::new(false);
    let read = |seed: u64| {
        let mut rng = Rng::new(seed);
        let mut newest = BTreeMap::new();
        let mut hits = 0_u64;
        while !done.load(Ordering::Acquire) {
            let at = key(rng.below(10_000));
            if let Lookup::Hit(region) = map.lookup(&at, now) {
                hits += 1;
                assert!(region.contains(&at));
                let version = region.version();
                let seen = newest.entry(version.id).or_insert(version);
                assert!(!version.is_behind(seen), "{version} after {seen}");
                *seen = version;
            }
            if let Lookup::Hit(region) = map.lookup_end(&at, now) {
                assert!(region.contains_end(&at));
            }
            let run = map.consecutive(&at, b"", 16, now);
            assert!(run.windows(2).all(|w| w[0].end() == w[1].start()));
            if let Some(region) = run.first() {
                assert!(region.contains(&at));
                // Found by version too, unless it has just been replaced.
                let known = map.get(region.version());
                assert!(known.is_some() || map.current(region).is_none());
            }
        }
        hits
    };
    std::thread::scope(|scope| {
        let readers: Vec<_> = (0..2).map(|seed| scope.spawn(move || read(seed))).collect();
        for _ in 0..10 {
            for info in &history.told {
                let _ = insert(&map, &stores, info.clone(), now);
            }
            map.gc(now, 100);
        }
        done.store(true, Ordering::Release);
        for reader in readers {
            assert!(reader.join().unwrap() > 0);
        }
    });
    assert_eq!(map.len(), history.current.len());
}
