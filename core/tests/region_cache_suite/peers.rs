//! Which peers of a region can be asked, and which of them leads.

use super::*;

#[test]
fn tiflash_peers_are_kept_apart() {
    let mut pd = Pd::new(4);
    for id in 3..=4 {
        pd.stores.observe(&store(id, &[("engine", "tiflash")]));
    }
    let region = pd.locate("a");
    assert_eq!(region.peers(), [peer(11, 1), peer(12, 2)]);
    assert_eq!(region.tiflash_peers(), [peer(13, 3), peer(14, 4)]);
    region.choose_tiflash(1);

    pd.map.clear();
    pd.region(1).down = vec![(13, 3)];
    let region = pd.locate("a");
    assert!(region.expires_after_ttl());
    assert_eq!(
        region.tiflash_peers(),
        [peer(14, 4)],
        "a peer that is down is not asked"
    );

    pd.region(1).down.clear();
    pd.now = region.expires() + Duration::from_nanos(1);
    assert_eq!(
        pd.locate("a").tiflash_peers().len(),
        2,
        "nor for longer than it is"
    );
}

#[test]
fn the_chosen_tiflash_peer_survives_a_reload() {
    let mut pd = Pd::new(4);
    for id in 3..=4 {
        pd.stores.observe(&store(id, &[("engine", "tiflash")]));
    }
    pd.locate("a").choose_tiflash(1);
    assert_eq!(pd.load("a").tiflash_choice(), 1);
}

#[test]
fn a_tiflash_peer_before_the_leader_does_not_shift_it() {
    // client-go used the index among the TiKV peers for the list of all peers.
    let mut pd = Pd::new(3);
    pd.stores.observe(&store(1, &[("engine", "tiflash")]));
    pd.region(1).leader = Some(peer(12, 2));
    let region = pd.locate("a");
    assert_eq!((region.leader(), region.leader_peer()), (0, peer(12, 2)));
    assert!(region.stores()[1].bump_fail_epoch(0));
    assert_eq!(
        region.switch_leader_to(&peer(13, 3)),
        LeaderSwitch::Switched
    );
    assert_eq!((region.store_epoch(0), region.store_epoch(1)), (0, 1));
    assert_eq!(region.tiflash_store_epoch(0), 0);
    assert_eq!(region.switch_leader_to(&peer(11, 1)), LeaderSwitch::Unknown);
}

#[test]
fn peers_that_cannot_be_asked_are_left_out() {
    let mut pd = Pd::new(2);
    assert_eq!(pd.locate("a").peers().len(), 2);

    let mut dead = store(1, &[]);
    dead.state = metapb::StoreState::Tombstone as i32;
    pd.stores.observe(&dead);
    let region = pd.load("a");
    assert_eq!((region.peers(), region.leader()), (&[peer(12, 2)][..], 0));
    pd.check_cache(1);

    pd.stores.observe_missing(2);
    let info = pd.of("a");
    assert_eq!(pd.insert(info), Err(NoPeers { region: 1 }));
}

#[test]
fn without_a_tikv_peer_there_is_no_region() {
    // client-go kept such a region and panicked when it was used.
    let mut pd = Pd::new(2);
    pd.stores.observe(&store(2, &[("engine", "tiflash")]));
    pd.region(1).down = vec![(11, 1)];
    let info = pd.of("a");
    assert_eq!(pd.insert(info), Err(NoPeers { region: 1 }));
}

#[test]
fn a_learner_on_an_unknown_store_waits_for_a_reload() {
    // It may be TiFlash, which must not be asked as if it were TiKV.
    let mut pd = Pd::new(2);
    pd.region(1).peers.push(Peer {
        role: PeerRole::Learner,
        ..peer(13, 3)
    });
    let region = pd.locate("a");
    assert_eq!(region.peers().len(), 2);
    assert!(region.is_reload_delayed());
    pd.stores.observe(&store(3, &[("engine", "tiflash")]));
    pd.map.gc(pd.now, 10);
    assert_eq!(pd.locate("a").tiflash_peers().len(), 1);
}

#[test]
fn a_named_leader_is_believed() {
    let mut pd = Pd::new(2);
    let region = pd.locate("a");
    assert_eq!(
        region.switch_leader_to(&peer(12, 2)),
        LeaderSwitch::Switched
    );
    assert_eq!(region.switch_leader_to(&peer(12, 2)), LeaderSwitch::Already);
    assert_eq!(pd.locate("a").leader_peer(), peer(12, 2));
    let last = pd.map.lookup_end(b"z", pd.now).hit().unwrap();
    assert_eq!(last.leader_peer(), peer(12, 2));
}

#[test]
fn a_leader_that_is_not_known_needs_a_reload() {
    let mut pd = Pd::new(2);
    let region = pd.locate("a");
    pd.stores.observe(&store(3, &[]));
    pd.region(1).peers.push(peer(13, 3));
    pd.region(1).version.conf_ver += 1;
    assert_eq!(region.switch_leader_to(&peer(13, 3)), LeaderSwitch::Unknown);
    region.invalidate(InvalidReason::StoreNotFound);
    let region = pd.locate("a");
    assert_eq!(
        (region.peers().len(), region.leader_peer()),
        (3, peer(11, 1))
    );
    assert_eq!(
        region.switch_leader_to(&peer(13, 3)),
        LeaderSwitch::Switched
    );
    assert_eq!(pd.locate("a").leader_peer(), peer(13, 3));
}

#[test]
fn the_next_peer_is_tried_in_turn() {
    let mut pd = Pd::new(3);
    let region = pd.locate("a");
    assert!(region.advance_leader(0));
    assert!(!region.advance_leader(0), "somebody has already moved on");
    assert_eq!(region.leader(), 1);
    assert!(region.advance_leader(1) && region.advance_leader(2));
    assert_eq!(region.leader(), 0);
    region.advance_leader(0);
    assert_eq!(
        region.switch_leader(0),
        LeaderSwitch::Switched,
        "a hint is worth more"
    );
    assert_eq!(pd.locate("a").leader_peer(), peer(11, 1));
}

#[test]
fn a_region_that_nobody_led_begins_with_another_peer() {
    let mut pd = Pd::new(2);
    let mut leaders = Vec::new();
    for _ in 0..3 {
        let region = pd.locate("a");
        leaders.push(region.leader());
        assert!(region.invalidate(InvalidReason::NoLeader));
        assert_eq!(region.invalid_reason(), Some(InvalidReason::NoLeader));
    }
    assert_eq!(leaders, [0, 1, 0]);
}

#[test]
fn one_failure_of_a_store_shows_in_all_its_regions() {
    let mut pd = Pd::new(2);
    pd.split(1, "m");
    let (left, right) = (pd.locate("a"), pd.locate("x"));
    assert!(left.stores()[0].bump_fail_epoch(left.store_epoch(0)));
    assert!(
        !right.stores()[0].bump_fail_epoch(right.store_epoch(0)),
        "counted once"
    );
    assert_ne!(right.store_epoch(0), right.stores()[0].fail_epoch());
    assert_eq!(right.store_epoch(1), right.stores()[1].fail_epoch());
}

#[test]
fn whoever_holds_a_region_learns_that_its_peers_are_others_now() {
    let down: fn(&mut RegionInfo) = |r| r.down = vec![(11, 1)];
    let witness: fn(&mut RegionInfo) = |r| r.peers[0].is_witness = true;
    for change in [down, witness] {
        let mut pd = Pd::new(2);
        let held = pd.locate("a");
        held.switch_leader_to(&peer(12, 2));
        assert!(std::ptr::eq(&*pd.map.current(&held).unwrap(), &*held));
        pd.region(1).leader = Some(peer(12, 2));
        change(pd.region(1));
        let loaded = pd.load("a");
        assert_eq!(loaded.peers(), [peer(12, 2)]);
        assert!(held.is_valid(pd.now), "it is the same version");
        assert_eq!(
            pd.map.current(&held),
            None,
            "indexes of peers do not fit any more"
        );
    }
}

#[test]
fn a_witness_is_kept_while_it_leads() {
    let mut pd = Pd::new(2);
    let witness = Peer {
        is_witness: true,
        ..peer(11, 1)
    };
    pd.region(1).peers[0] = witness;
    pd.region(1).leader = Some(witness);
    assert_eq!(pd.locate("a").leader_peer(), witness);
}
