//! What is said about stores, in any order.

use proptest::prelude::*;
use tikv_proto::metapb;

use super::super::{ResolveState, StoreTable};

#[derive(Clone, Debug)]
enum Step {
    Said,
    Buried,
    Missing,
    Doubted,
}

fn take(step: &Step, table: &StoreTable) {
    let mut meta = metapb::Store {
        id: 1,
        address: "store1".into(),
        ..metapb::Store::default()
    };
    match step {
        Step::Said => table.observe(&meta),
        Step::Buried => {
            meta.state = metapb::StoreState::Tombstone as i32;
            table.observe(&meta);
        }
        Step::Missing => table.observe_missing(1),
        Step::Doubted => {
            table.get_or_create(1).mark_need_check();
        }
    }
}

fn step() -> impl Strategy<Value = Step> {
    prop::sample::select(vec![Step::Said, Step::Buried, Step::Missing, Step::Doubted])
}

proptest! {
    #[test]
    fn a_tombstone_is_the_end_in_any_order(steps in prop::collection::vec(step(), 0..10), again in any::<prop::sample::Index>()) {
        let table = StoreTable::new();
        for step in &steps {
            take(step, &table);
            let store = table.get_or_create(1);
            let state = (store.resolve_state(), store.fail_epoch(), store.address());
            take(step, &table);
            prop_assert_eq!(state, (store.resolve_state(), store.fail_epoch(), store.address()), "twice is once");
        }
        let store = table.get_or_create(1);
        let buried = steps.iter().any(|s| matches!(s, Step::Buried));
        prop_assert_eq!(buried, store.resolve_state() == ResolveState::Tombstone);
        prop_assert_eq!(store.is_gone() || store.resolve_state() == ResolveState::Unresolved, store.address().is_empty());
        if !steps.is_empty() && !buried {
            take(again.get(&steps), &table);
            take(&Step::Said, &table);
            prop_assert_eq!(&*store.address(), "store1", "PD's word brings it back");
        }
    }
}
