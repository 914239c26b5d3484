//! Buckets.

use super::*;

fn buckets(version: u64, keys: &[&str]) -> Buckets {
    Buckets {
        version,
        keys: keys.iter().map(|k| key(k)).collect(),
    }
}

#[test]
fn the_newest_buckets_are_kept() {
    let mut pd = Pd::new(2);
    pd.region(1).buckets = Some(buckets(5, &["", "a", "b", ""]));
    assert_eq!(pd.locate("a").bucket_version(), 5);
    for (loaded, kept) in [(None, 5), (Some(4), 5), (Some(6), 6)] {
        pd.region(1).buckets = loaded.map(|v| buckets(v, &["", "a", "b", ""]));
        assert_eq!(pd.load("a").bucket_version(), kept);
    }
    let asked = pd.locate("a");
    pd.region(1).version.version += 1;
    pd.region(1).version.conf_ver += 1;
    pd.region(1).buckets = None;
    pd.split(1, "aa");
    let current = vec![pd.of("a"), pd.of("b")];
    pd.map
        .on_epoch_not_match(&asked, current, 1, &pd.stores, pd.now, &mut pd.rng)
        .unwrap();
    let region = pd.locate("a");
    for region in [&region, &pd.locate("b")] {
        assert_eq!(
            region.bucket_version(),
            6,
            "a store says nothing about buckets"
        );
    }
    assert!(!region.set_buckets(buckets(6, &["x"])));
    assert_eq!(*region.buckets().unwrap(), buckets(6, &["", "a", "b", ""]));
    assert!(
        region.set_buckets(buckets(7, &["a"])),
        "unless it says \"bucket version not match\""
    );
    assert_eq!(*region.buckets().unwrap(), buckets(7, &["a"]));
}

#[test]
fn every_key_of_a_region_is_in_a_bucket() {
    let bucket_of = |region: (&str, &str), keys: &[&str], wanted: &str| {
        let mut pd = Pd::new(1);
        pd.region(1).start = key(region.0);
        pd.region(1).end = key(region.1);
        pd.region(1).buckets = (keys != ["none"]).then(|| buckets(1, keys));
        let info = pd.regions[0].clone();
        let region = pd.insert(info).unwrap().into_region();
        let bucket = region.locate_bucket(wanted.as_bytes())?;
        assert!(bucket.contains(wanted.as_bytes()));
        Some((bucket.start, bucket.end))
    };
    let pair = |start: &str, end: &str| Some((key(start), key(end)));
    let all = ["", "a", "b", ""];
    for (wanted, start, end) in [
        ("", "", "a"),
        ("`", "", "a"),
        ("a", "a", "b"),
        ("a0", "a", "b"),
        ("b", "b", ""),
        ("c", "b", ""),
    ] {
        assert_eq!(bucket_of(("", ""), &all, wanted), pair(start, end));
    }
    // Holes at both ends.
    assert_eq!(bucket_of(("", ""), &["a", "b"], "`"), pair("", "a"));
    assert_eq!(bucket_of(("", ""), &["a", "b"], "c"), pair("b", ""));
    assert_eq!(bucket_of(("", ""), &["b"], "a"), pair("", "b"));
    assert_eq!(bucket_of(("", ""), &["b"], "b"), pair("b", ""));
    assert_eq!(bucket_of(("d", "k"), &[], "f"), pair("d", "k"));
    assert_eq!(bucket_of(("d", "k"), &["none"], "f"), pair("d", "k"));
    assert_eq!(bucket_of(("d", "k"), &["none"], "k"), None);
    assert_eq!(bucket_of(("d", "k"), &all, "a"), None, "not in the region");
    // Borders that are older than the region.
    assert_eq!(bucket_of(("d", "k"), &["a", "f", "z"], "e"), pair("d", "f"));
    assert_eq!(bucket_of(("d", "k"), &["a", "f", "z"], "f"), pair("f", "k"));
    assert_eq!(bucket_of(("d", "k"), &["a", "z"], "f"), pair("d", "k"));
    assert_eq!(bucket_of(("d", "k"), &["a", "b"], "f"), pair("d", "k"));
    assert_eq!(bucket_of(("d", "k"), &["x", "z"], "f"), pair("d", "k"));
    // Borders that make no sense.
    assert_eq!(
        bucket_of(("d", "k"), &["j", "e", "h", "a"], "f"),
        pair("d", "k")
    );
}

#[test]
fn a_bucket_is_cut_to_the_region() {
    for (region, bucket, cut) in [
        (("a", "z"), ("f", "m"), ("f", "m")),
        (("f", "z"), ("a", "m"), ("f", "m")),
        (("a", "m"), ("f", "z"), ("f", "m")),
        (("f", "m"), ("a", "z"), ("f", "m")),
        (("", "m"), ("a", "z"), ("a", "m")),
        (("f", ""), ("a", "z"), ("f", "z")),
        (("m", "z"), ("a", "f"), ("m", "z")),
        (("f", "z"), ("", "m"), ("f", "m")),
        (("a", "m"), ("f", ""), ("f", "m")),
        (("", "z"), ("", "m"), ("", "m")),
        (("a", ""), ("f", ""), ("f", "")),
        (("f", "m"), ("", ""), ("f", "m")),
        (("", ""), ("a", "z"), ("a", "z")),
    ] {
        let piece = |(start, end)| Bucket {
            start: key(start),
            end: key(end),
        };
        let whole = piece(bucket).clamp(&key(region.0), &key(region.1));
        assert_eq!(whole, piece(cut), "{bucket:?} in {region:?}");
    }
}
