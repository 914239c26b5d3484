//! Stores: what they are called, what they are like, whether they are there.

use super::*;

#[test]
fn stores_are_chosen_by_their_labels() {
    let table = StoreTable::new();
    for id in 1..=2 {
        let name = id.to_string();
        table.observe(&store(id, &[("id", &name), ("zone", "z")]));
    }
    let with = |labels: &[(&str, &str)]| -> Vec<StoreId> {
        let all = table.all();
        let matching = all
            .iter()
            .filter(|s| s.matches_labels(labels.iter().copied()));
        matching.map(|s| s.id()).collect()
    };
    assert_eq!(with(&[("id", "1")]), [1]);
    assert_eq!(with(&[("id", "2"), ("zone", "z")]), [2]);
    assert_eq!(with(&[("zone", "z")]), [1, 2]);
    assert_eq!(with(&[("zone", "x")]), []);
    assert_eq!(with(&[]), [1, 2], "no labels match every store");
    assert_eq!(
        table.get(1).unwrap().meta().label(StoreMeta::ZONE),
        Some("z")
    );
}

#[test]
fn a_store_is_resolved_doubted_and_buried() {
    let table = StoreTable::new();
    let first = table.get_or_create(1);
    assert_eq!(first.resolve_state(), ResolveState::Unresolved);
    assert!(!first.mark_need_check(), "there is nothing to doubt yet");
    table.observe(&store(1, &[]));
    assert_eq!(
        (first.resolve_state(), &*first.address()),
        (ResolveState::Resolved, "store1")
    );

    assert!(first.mark_need_check() && first.mark_need_check());
    assert_eq!((table.doubted(), &*first.address()), (vec![1], "store1"));
    table.observe(&store(1, &[]));
    assert_eq!(
        (first.resolve_state(), first.fail_epoch()),
        (ResolveState::Resolved, 0)
    );

    let mut dead = store(1, &[]);
    dead.state = metapb::StoreState::Tombstone as i32;
    first.mark_need_check();
    table.observe(&dead);
    assert_eq!(
        (first.resolve_state(), &*first.address()),
        (ResolveState::Tombstone, "")
    );
    assert_eq!(
        first.fail_epoch(),
        1,
        "regions that were loaded before must notice"
    );
    table.observe(&store(1, &[]));
    assert_eq!(
        first.resolve_state(),
        ResolveState::Tombstone,
        "it does not come back"
    );

    // Never resolved before: nobody can have used it.
    table.observe(&metapb::Store { id: 2, ..dead });
    let second = table.get(2).unwrap();
    assert_eq!(
        (second.resolve_state(), second.fail_epoch()),
        (ResolveState::Tombstone, 0)
    );
}

#[test]
fn a_store_that_pd_does_not_know_may_still_turn_up() {
    let table = StoreTable::new();
    table.observe_missing(1);
    let store1 = table.get(1).unwrap();
    assert!(store1.is_gone() && store1.address().is_empty() && table.is_resolved(1));
    table.observe(&store(1, &[]));
    assert_eq!(&*store1.address(), "store1");
    table.observe_missing(1);
    table.observe_missing(1);
    assert_eq!(store1.fail_epoch(), 1, "one loss counts once");
}

#[test]
fn a_store_keeps_its_identity_when_address_and_labels_change() {
    let mut pd = Pd::new(2);
    let region = pd.locate("a");
    let known = pd.stores.get(1).unwrap();
    known.set_liveness(Liveness::Unreachable);
    known.mark_need_check();
    let mut moved = store(1, &[("zone", "zone1"), ("host", "h")]);
    moved.address = "store10".into();
    pd.stores.observe(&moved);
    let held = &region.stores()[0];
    assert!(std::ptr::eq(&**held, &*known));
    assert_eq!(
        (held.resolve_state(), &*held.address()),
        (ResolveState::Resolved, "store10")
    );
    assert_eq!(held.meta().label("zone"), Some("zone1"));
    assert_eq!(
        (held.liveness(), held.fail_epoch()),
        (Liveness::Unreachable, 0)
    );
    held.set_liveness(Liveness::Reachable);
    assert_eq!(known.liveness(), Liveness::Reachable);
}

#[test]
fn only_tikv_stores_become_unreachable() {
    let table = StoreTable::new();
    table.observe(&store(1, &[("engine", "tiflash")]));
    let flash = table.get(1).unwrap();
    assert_eq!(flash.kind(), StoreKind::TiFlash);
    assert!(!flash.set_liveness(Liveness::Unreachable));
    assert_eq!(flash.liveness(), Liveness::Reachable);
}

#[test]
fn a_wait_estimate_runs_down() {
    let store = StoreTable::new().get_or_create(1);
    store.observe_wait(Duration::from_secs(5), at(10));
    assert_eq!(store.estimated_wait(at(12)), Duration::from_secs(3));
    store.observe_wait(Duration::ZERO, at(12));
    assert_eq!(
        store.estimated_wait(at(13)),
        Duration::from_secs(2),
        "zero says nothing"
    );
    assert_eq!(store.estimated_wait(at(20)), Duration::ZERO);
}
