//! How long regions are kept: lifetimes, sweeps, the bound of the map.

use super::*;

#[test]
fn a_region_is_found_until_it_expires() {
    let mut pd = Pd::new(2);
    let region = pd.locate("a");
    assert_eq!((region.id(), region.leader_peer()), (1, peer(11, 1)));
    assert_eq!(region.peers().len(), region.stores().len());
    pd.check_cache(1);
    pd.now = at(1_000) + TTL + JITTER;
    assert_eq!(
        pd.map.lookup(b"a", pd.now),
        Lookup::Miss(MissReason::Expired)
    );
    pd.check_cache(0);
}

#[test]
fn use_prolongs_a_regions_life_by_one_jitter_at_most() {
    let mut pd = Pd::new(2);
    let region = pd.locate("a");
    let first = region.expires();
    assert!(at(1_000) + TTL <= first && first < at(1_000) + TTL + JITTER);
    assert!(pd.try_locate("a").is_some());
    assert_eq!(region.expires(), first, "still within the jitter");
    pd.now = at(1_100);
    assert!(pd.try_locate("a").is_some());
    let second = region.expires();
    assert!(at(1_100) + TTL <= second && second < at(1_100) + TTL + JITTER);
    assert!(region.is_valid(at(1_500)));
    assert_eq!(
        region.expires(),
        second,
        "asking whether it is valid changes nothing"
    );
}

#[test]
fn a_region_with_a_down_peer_lives_one_lifetime() {
    let mut pd = Pd::new(2);
    pd.region(1).down = vec![(12, 2)];
    let region = pd.locate("a");
    assert_eq!(region.peers(), [peer(11, 1)]);
    let end = region.expires();
    for second in 1_000..1_700 {
        pd.now = at(second);
        match pd.map.lookup(b"a", pd.now) {
            Lookup::Hit(_) => assert!(pd.now <= end),
            miss => assert_eq!(miss, Lookup::Miss(MissReason::Frozen)),
        }
    }
    assert_eq!(region.expires(), end);
}

#[test]
fn a_sweep_ends_the_long_life_of_regions_with_doubtful_stores() {
    let failed: fn(&Store) = |s| assert!(s.bump_fail_epoch(0));
    let silent: fn(&Store) = |s| assert!(s.set_liveness(Liveness::Unreachable));
    for harm in [failed, silent] {
        let mut pd = Pd::new(2);
        let region = pd.locate("a");
        pd.map.gc(pd.now, 10);
        assert!(!region.expires_after_ttl());
        harm(&pd.stores.get(2).unwrap());
        pd.map.gc(pd.now, 10);
        assert!(region.expires_after_ttl());
        let end = region.expires();
        pd.now = at(1_600);
        assert!(pd.try_locate("a").is_some());
        assert_eq!(region.expires(), end);
    }
}

#[test]
fn a_sweep_comes_by_every_region_alike() {
    let mut pd = Pd::new(2);
    let mut last = 1;
    for i in 0..100 {
        last = pd.split(last, &format!("t{i:08}"));
    }
    for info in pd.regions.clone() {
        pd.insert(info).unwrap();
    }
    pd.check_cache(101);
    for region in pd.map.all() {
        region.mark_delayed_reload();
    }
    let due = |pd: &Pd| {
        let all = pd.map.all();
        all.iter().filter(|r| r.reload_reason().is_some()).count()
    };
    let mut rounds = Vec::new();
    for _ in 0..3 {
        let swept = pd.map.gc(pd.now, 50);
        rounds.push((swept.seen, swept.wrapped, due(&pd)));
    }
    assert_eq!(rounds, [(50, false, 50), (50, false, 100), (1, true, 101)]);

    for region in pd.map.all() {
        region.take_reload();
    }
    let dead = |r: &RegionRef| r.id().is_multiple_of(3);
    let all = pd.map.all();
    for region in all.iter().filter(|r| dead(r)) {
        region.invalidate(InvalidReason::Other);
    }
    let expected = all.iter().filter(|r| !dead(r)).count();
    let removed: usize = (0..3).map(|_| pd.map.gc(pd.now, 50).removed).sum();
    assert_eq!((pd.map.len(), removed), (expected, 101 - expected));
    assert!(pd.map.all().iter().all(|r| !dead(r)));
    pd.check_cache(expected);
    pd.now = at(10_000);
    while !pd.map.gc(pd.now, 7).wrapped {}
    assert!(pd.map.is_empty());
    assert_eq!(
        pd.map.lookup_id(1, pd.now),
        Lookup::Miss(MissReason::Missing)
    );
}

#[test]
fn a_full_map_forgets_what_was_not_used_for_longest() {
    let mut pd = Pd::new(1);
    pd.map = RegionMap::new(RegionMapOptions::new(TTL, Duration::ZERO, 10));
    let mut last = 1;
    for i in 0..20 {
        last = pd.split(last, &format!("{i:03}"));
    }
    for (i, info) in pd.regions.clone().into_iter().enumerate() {
        // None of them expires.
        pd.now = at(1_000 + 10 * i as u64);
        pd.insert(info).unwrap();
        assert_eq!(pd.map.len(), 10.min(i + 1));
        // The first region is in use all the time.
        assert!(pd.try_locate("").is_some());
    }
    let ids: Vec<RegionId> = pd.map.all().iter().map(|r| r.id()).collect();
    let newest: Vec<RegionId> = (111..120).collect();
    assert_eq!(ids, [&[1], &newest[..]].concat());
    pd.check_cache(10);
    // One that cannot be used goes before any other.
    pd.try_locate("019")
        .unwrap()
        .invalidate(InvalidReason::Other);
    let info = pd.of("000");
    pd.insert(info).unwrap();
    pd.check_cache(10);
    let one = RegionMap::new(RegionMapOptions::new(TTL, JITTER, 0));
    one.insert(pd.of(""), &pd.stores, pd.now, &mut pd.rng)
        .unwrap();
    assert_eq!(one.len(), 1, "at least one is kept");
}
