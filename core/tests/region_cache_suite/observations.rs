//! What PD and stores say about regions, in any order.

use super::*;

#[test]
fn a_store_that_lags_changes_nothing() {
    let mut pd = Pd::new(1);
    pd.region(1).version = RegionVersion {
        id: 1,
        conf_ver: 10,
        version: 10,
    };
    let region = pd.locate("k1");
    for (version, conf_ver) in [(9, 10), (10, 9)] {
        let mut older = pd.of("k1");
        older.version.version = version;
        older.version.conf_ver = conf_ver;
        let current = vec![older];
        let outcome =
            pd.map
                .on_epoch_not_match(&region, current, 1, &pd.stores, pd.now, &mut pd.rng);
        assert_eq!(outcome, Ok(EpochOutcome::TikvLags));
    }
    assert!(region.is_valid(pd.now));
    assert_eq!(pd.try_locate("k1"), Some(region));
}

#[test]
fn what_a_store_says_about_new_regions_is_believed() {
    let mut pd = Pd::new(2);
    let asked = pd.locate("a");
    let right = pd.split(1, "m");
    let current = vec![pd.of("a"), pd.of("x")];
    let outcome = pd
        .map
        .on_epoch_not_match(&asked, current, 2, &pd.stores, pd.now, &mut pd.rng);
    assert_eq!(outcome, Ok(EpochOutcome::Replaced));
    assert_eq!(asked.invalid_reason(), Some(InvalidReason::EpochNotMatch));
    assert_eq!(pd.map.current(&asked), None);
    for (key, id) in [("a", 1), ("x", right)] {
        let region = pd.try_locate(key).unwrap();
        assert_eq!(
            (region.id(), region.leader_peer().store),
            (id, 2),
            "who answers leads"
        );
    }
    pd.check_cache(2);
}

#[test]
fn a_tiflash_store_that_answers_does_not_become_the_leader() {
    let mut pd = Pd::new(4);
    pd.stores.observe(&store(1, &[("engine", "tiflash")]));
    pd.region(1).leader = Some(peer(14, 4));
    for learner in 0..2 {
        pd.region(1).peers[learner].role = PeerRole::Learner;
    }
    let asked = pd.locate("a");
    assert_eq!(asked.leader_peer(), peer(14, 4));
    pd.region(1).version.conf_ver += 1;
    let current = vec![pd.of("a")];
    pd.map
        .on_epoch_not_match(&asked, current, 1, &pd.stores, pd.now, &mut pd.rng)
        .unwrap();
    let region = pd.try_locate("a").unwrap();
    assert_eq!(
        (region.leader_peer(), region.tiflash_peers().len()),
        (peer(13, 3), 1),
        "the first that can lead"
    );
}

#[test]
fn an_object_that_never_was_in_the_map_is_corrected_too() {
    let mut pd = Pd::new(1);
    let older = pd.of("a");
    pd.region(1).version.conf_ver += 1;
    pd.load("a");
    let asked = pd.insert(older).unwrap().into_region();
    let current = vec![pd.of("a")];
    pd.map
        .on_epoch_not_match(&asked, current, 1, &pd.stores, pd.now, &mut pd.rng)
        .unwrap();
    assert_eq!(asked.invalid_reason(), Some(InvalidReason::EpochNotMatch));
    assert!(pd.try_locate("a").is_some());
}

#[test]
fn an_answer_with_the_same_version_leaves_its_holders_in_peace() {
    let mut pd = Pd::new(2);
    let asked = pd.locate("a");
    let current = vec![pd.of("a")];
    pd.map
        .on_epoch_not_match(&asked, current, 2, &pd.stores, pd.now, &mut pd.rng)
        .unwrap();
    assert!(asked.is_valid(pd.now));
    let newer = pd.map.current(&asked).unwrap();
    assert_eq!(newer.leader_peer().store, 2);
    assert!(!std::ptr::eq(&*newer, &*asked));
}

#[test]
fn a_region_without_peers_does_not_spoil_the_others() {
    let mut pd = Pd::new(2);
    let asked = pd.locate("a");
    pd.split(1, "m");
    let (left, mut right) = (pd.of("a"), pd.of("x"));
    right.peers.clear();
    let outcome = pd.map.on_epoch_not_match(
        &asked,
        vec![right.clone(), left],
        1,
        &pd.stores,
        pd.now,
        &mut pd.rng,
    );
    assert_eq!(outcome, Ok(EpochOutcome::Replaced));
    assert!(pd.try_locate("a").is_some() && pd.try_locate("x").is_none());
    let asked = pd.locate("a");
    right.version.version += 5;
    let outcome =
        pd.map
            .on_epoch_not_match(&asked, vec![right], 1, &pd.stores, pd.now, &mut pd.rng);
    assert!(outcome.is_err() && !asked.is_valid(pd.now));
}

#[test]
fn a_merged_region_takes_the_place_of_those_it_covers() {
    let mut pd = Pd::new(2);
    let mut ids = vec![1];
    for border in ["b", "c", "d", "e"] {
        let last = *ids.last().unwrap();
        ids.push(pd.split(last, border));
    }
    for (key, id) in ["a", "b", "c", "d", "e"].into_iter().zip(&ids) {
        assert_eq!(pd.locate(key).id(), *id);
    }
    for id in &ids[1..4] {
        pd.merge(1, *id);
    }
    let old = pd.locate("c");
    assert_ne!(old.id(), 1, "it cannot know yet");
    assert_eq!(pd.locate("e").id(), ids[4]);
    pd.load("c");
    assert_eq!(pd.locate("c").id(), 1);
    assert_eq!(old.invalid_reason(), Some(InvalidReason::Other));
    pd.check_cache(2);
    pd.merge(1, ids[4]);
    pd.load("e");
    assert_eq!(pd.locate("e").id(), 1);
    pd.check_cache(1);
}

#[test]
fn what_the_map_knows_better_is_not_taken_in() {
    let mut pd = Pd::new(1);
    let whole = pd.of("a");
    pd.locate("a").invalidate(InvalidReason::Other);
    let middle = pd.split(1, "b");
    pd.split(middle, "c");
    assert_eq!(pd.locate("c").start(), "c");
    assert_eq!(pd.locate("b").start(), "b");
    pd.load("a");
    let stale = pd.insert(whole).unwrap();
    let Insert::Stale(stale) = stale else {
        panic!("{stale:?}")
    };
    assert!(stale.is_valid(pd.now), "it can be used once");
    assert_eq!(pd.map.current(&stale), Some(stale));
    assert_eq!(pd.consecutive("").len(), 3);
    assert_eq!(pd.locate("a").end(), "b");
}

#[test]
fn a_late_answer_about_a_region_that_was_merged_away_is_refused() {
    // client-go looked to the right of the new start only, and let it in.
    let mut pd = Pd::new(1);
    let right = pd.split(1, "m");
    let late = pd.of("x");
    pd.merge(1, right);
    pd.load("a");
    assert!(matches!(pd.insert(late), Ok(Insert::Stale(_))));
    assert_eq!(pd.locate("x").id(), 1);
}

#[test]
fn a_late_answer_does_not_undo_a_split() {
    let mut pd = Pd::new(1);
    let late = pd.of("b");
    pd.locate("a").invalidate(InvalidReason::Other);
    pd.split(1, "b");
    assert_eq!(pd.locate("b").start(), "b");
    let _ = pd.insert(late);
    assert_eq!(pd.locate("b").start(), "b");
    assert_eq!(pd.load("a").end(), "b");
    assert_eq!(pd.locate("a").end(), "b");
}

#[test]
fn a_region_to_the_left_that_reaches_in_stays_until_it_is_covered() {
    let mut pd = Pd::new(1);
    pd.locate("a");
    let described = |conf_ver, start: &'static str, end: &'static str| RegionInfo {
        version: RegionVersion {
            id: 1,
            conf_ver,
            version: 1,
        },
        start: key(start),
        end: key(end),
        ..pd.regions[0].clone()
    };
    let steps = [
        (described(2, "2", ""), 1),
        (described(3, "", "2"), 2),
        (described(4, "", "1"), 1),
    ];
    for (info, covered) in steps {
        pd.insert(info).unwrap();
        let run = pd.consecutive("");
        assert_eq!((run.len(), run[0].start().len()), (covered, 0));
    }
    assert_eq!(pd.map.len(), 2);
}

#[test]
fn loading_a_region_again_does_not_invalidate_it() {
    let mut pd = Pd::new(2);
    let region = pd.locate("b");
    pd.load("b");
    assert!(region.is_valid(pd.now));
    region.invalidate(InvalidReason::Other);
    pd.load("b");
    assert!(!region.is_valid(pd.now), "it does not come back to life");
    assert!(pd.try_locate("b").unwrap().is_valid(pd.now));
    let old = pd.locate("b");
    pd.split(1, "m");
    let info = pd.of("b");
    pd.map
        .insert_quietly(info, &pd.stores, pd.now, &mut pd.rng)
        .unwrap();
    assert!(old.is_valid(pd.now), "nobody said that anything was wrong");
    assert!(pd.try_locate("z").is_none());
}
