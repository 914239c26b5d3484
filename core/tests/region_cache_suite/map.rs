//! Finding regions by key, by end key, by id, and in a row.

use super::*;

#[test]
fn a_region_contains_its_start_but_not_its_end() {
    let contains = |start: &[u8], end: &[u8], key: &[u8]| sample(start, end).contains(key);
    assert!(contains(&[], &[], &[]) && contains(&[], &[], &[10]));
    assert!(!contains(&[10], &[], &[]) && !contains(&[10], &[], &[9]));
    assert!(contains(&[10], &[], &[10]));
    assert!(contains(&[], &[10], &[]) && contains(&[], &[10], &[9]));
    assert!(!contains(&[], &[10], &[10]));
    assert!(!contains(&[10], &[20], &[]) && !contains(&[10], &[20], &[30]));
    assert!(contains(&[10], &[20], &[15]));
}

#[test]
fn seen_from_the_end_it_contains_its_end_but_not_its_start() {
    let contains = |start: &[u8], end: &[u8], key: &[u8]| sample(start, end).contains_end(key);
    assert!(contains(&[], &[], &[]) && contains(&[], &[], &[10]));
    assert!(contains(&[10], &[], &[]) && contains(&[10], &[], &[11]));
    assert!(!contains(&[10], &[], &[10]));
    assert!(!contains(&[], &[10], &[]) && !contains(&[], &[10], &[11]));
    assert!(contains(&[], &[10], &[10]));
    assert!(!contains(&[10], &[20], &[]) && !contains(&[10], &[20], &[30]));
    assert!(contains(&[10], &[20], &[15]));
}

#[test]
fn a_split_region_is_found_again_piece_by_piece() {
    let mut pd = Pd::new(2);
    let region = pd.locate("x");
    let right = pd.split(1, "m");
    region.invalidate(InvalidReason::Other);
    pd.check_cache(0);
    assert_eq!(pd.locate("x").id(), right);
    pd.check_cache(1);
    assert_eq!(pd.load("a").id(), 1);
    let before = pd.map.lookup_end(b"m", pd.now).hit().unwrap();
    assert_eq!(before.id(), 1, "the keys just below m");
    pd.check_cache(2);
}

#[test]
fn merged_regions_are_found_as_one() {
    let mut pd = Pd::new(2);
    let right = pd.split(1, "m");
    let region = pd.locate("x");
    assert_eq!(region.id(), right);
    pd.merge(1, right);
    region.invalidate(InvalidReason::Other);
    pd.check_cache(0);
    assert_eq!(pd.locate("x").id(), 1);
    pd.check_cache(1);
}

#[test]
fn an_invalid_region_is_loaded_again() {
    let mut pd = Pd::new(2);
    let region = pd.locate("a");
    assert!(region.invalidate(InvalidReason::EpochNotMatch));
    assert!(
        !region.invalidate(InvalidReason::Other),
        "the first reason stays"
    );
    let miss = MissReason::Invalid(InvalidReason::EpochNotMatch);
    assert_eq!(pd.map.lookup(b"a", pd.now), Lookup::Miss(miss));
    assert_eq!(miss.name(), "Expired:Invalid:EpochNotMatch");
    assert_eq!((pd.locate("a").id(), pd.usable()), (1, 1));
}

#[test]
fn a_hole_at_the_beginning_is_a_hole() {
    let mut pd = Pd::new(1);
    pd.split(1, "b");
    pd.load("b");
    assert_eq!(pd.consecutive("").len(), 0);
    assert_eq!(
        pd.map.lookup(b"a", pd.now),
        Lookup::Miss(MissReason::Missing)
    );
    assert_eq!(
        pd.map.lookup_end(b"b", pd.now),
        Lookup::Miss(MissReason::Missing)
    );
}

#[test]
fn the_end_of_all_keys_is_in_the_last_region() {
    // client-go asked PD every time, and got the first region.
    let mut pd = Pd::new(1);
    let right = pd.split(1, "m");
    pd.load("a");
    assert_eq!(
        pd.map.lookup_end(b"", pd.now),
        Lookup::Miss(MissReason::Missing)
    );
    pd.load("x");
    assert_eq!(pd.map.lookup_end(b"", pd.now).hit().unwrap().id(), right);
}

#[test]
fn a_region_marked_in_any_way_is_not_used_as_it_is() {
    let invalid: fn(&Pd, &Region) = |_, r| assert!(r.invalidate(InvalidReason::Other));
    let on_access: fn(&Pd, &Region) = |_, r| r.mark_reload_on_access();
    let delayed: fn(&Pd, &Region) = |pd, r| {
        r.mark_delayed_reload();
        assert!(
            pd.try_locate("k").is_some(),
            "only once the sweep has come by"
        );
        pd.map.gc(pd.now, 10);
        assert_eq!(r.reload_reason(), Some(ReloadReason::Delayed));
    };
    for mark in [invalid, on_access, delayed] {
        let mut pd = Pd::new(2);
        let region = pd.locate("k");
        pd.split(1, "k");
        mark(&pd, &region);
        assert!(pd.try_locate("").is_none() && pd.try_locate("k").is_none());
        assert!(pd.consecutive("").is_empty());
        assert!(!pd.locate("").contains(b"k"));
        assert!(pd.locate("k").contains(b"k"));
    }
}

#[test]
fn a_reload_is_due_until_it_is_done_or_taken() {
    let mut pd = Pd::new(2);
    let region = pd.locate("a");
    region.mark_reload_on_access();
    assert!(!region.is_valid(pd.now));
    let due = Lookup::Reload(region.clone(), ReloadReason::OnAccess);
    assert_eq!(pd.map.lookup(b"a", pd.now), due);
    assert_eq!(pd.map.lookup_id(1, pd.now), due, "everybody is told");
    assert_eq!(region.take_reload(), Some(ReloadReason::OnAccess));
    assert_eq!(region.take_reload(), None, "one takes it");
    assert!(pd.try_locate("a").is_some(), "others go on meanwhile");

    // PD lags behind: the reload is done, although it brought nothing.
    let older = pd.of("a");
    pd.region(1).version.conf_ver += 1;
    let region = pd.load("a");
    region.mark_reload_on_access();
    assert!(matches!(pd.insert(older), Ok(Insert::Stale(_))));
    assert!(pd.try_locate("a").is_some());
}

#[test]
fn consecutive_regions_end_at_holes_and_bounds() {
    let mut pd = Pd::new(2);
    let mut last = 1;
    for border in ["b", "d", "f", "h"] {
        last = pd.split(last, border);
    }
    let starts = |pd: &Pd, start: &str, end: &str, limit: usize| -> Vec<Bytes> {
        let run = pd
            .map
            .consecutive(start.as_bytes(), end.as_bytes(), limit, pd.now);
        run.iter().map(|r| r.start().clone()).collect()
    };
    for key in ["a", "c", "e", "i"] {
        pd.load(key);
    }
    assert_eq!(starts(&pd, "", "", 100), ["", "b", "d"]);
    assert_eq!(starts(&pd, "c", "", 100), ["b", "d"]);
    assert_eq!(starts(&pd, "c", "d", 100), ["b"]);
    assert_eq!(starts(&pd, "c", "d1", 100), ["b", "d"]);
    assert_eq!(starts(&pd, "a", "", 2), ["", "b"]);
    assert_eq!(starts(&pd, "a", "", 0), [""; 0]);
    assert_eq!(starts(&pd, "g", "", 100), [""; 0]);
    assert_eq!(starts(&pd, "z", "", 100), ["h"]);
    pd.load("g");
    assert_eq!(starts(&pd, "", "", 100).len(), 5);
    // client-go left marked regions out of the middle.
    pd.locate("c").mark_reload_on_access();
    assert_eq!(starts(&pd, "", "", 100), [""]);
}

#[test]
fn a_region_is_found_by_its_id() {
    let mut pd = Pd::new(2);
    let right = pd.split(1, "b");
    assert_eq!(
        pd.map.lookup_id(right, pd.now),
        Lookup::Miss(MissReason::Missing)
    );
    let info = pd.of("x");
    let built = pd.map.build(info, &pd.stores, pd.now, &mut pd.rng).unwrap();
    assert_eq!(built.id(), right);
    assert!(
        pd.map.get(built.version()).is_none(),
        "building is not inserting"
    );
    let region = pd.load("x");
    assert_eq!(pd.map.lookup_id(right, pd.now), Lookup::Hit(region.clone()));
    assert_eq!(pd.map.get(region.version()), Some(region));
}
