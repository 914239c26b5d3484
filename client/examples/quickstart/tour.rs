//! Every raw operation once, with what it gives.

use std::time::Duration;

use tikv::{KeyRange, RawClient, RawOptions, Result, Ttl};

pub(crate) const PREFIX: &str = "quickstart/";

fn key(name: &str) -> String {
    format!("{PREFIX}{name}")
}

fn text(value: Option<&tikv::Value>) -> String {
    value.map_or_else(
        || "nothing".into(),
        |value| format!("{:?}", String::from_utf8_lossy(value)),
    )
}

/// Runs every operation, and says what came of it.
pub(crate) async fn tour(db: &RawClient, keeps_ttl: bool) -> Result<()> {
    println!("\nEvery raw operation once:");
    db.put(key("greeting"), "hello").await?;
    println!(
        "  put, get            {}",
        text(db.get(key("greeting")).await?.as_ref())
    );
    println!(
        "  get, no such key    {}",
        text(db.get(key("nobody")).await?.as_ref())
    );

    let fruits = ["apple", "banana", "cherry", "date", "elder"];
    db.batch_put(fruits.map(|fruit| (key(fruit), fruit.to_uppercase())))
        .await?;
    let found = db
        .batch_get([key("date"), key("nobody"), key("apple")])
        .await?;
    println!(
        "  batch_put/get       {}",
        found
            .iter()
            .map(|value| text(value.as_ref()))
            .collect::<Vec<_>>()
            .join(", ")
    );

    let up = db.scan(KeyRange::prefix(PREFIX)).limit(3).collect().await?;
    let down = db
        .scan(KeyRange::prefix(PREFIX))
        .reverse()
        .keys_only()
        .limit(3)
        .collect()
        .await?;
    println!("  scan, 3 upwards     {}", names(&up));
    println!("  scan, 3 downwards   {}", names(&down));
    println!(
        "  count               {}",
        db.scan(KeyRange::prefix(PREFIX)).count().await?
    );

    let sum = db.checksum(KeyRange::prefix(PREFIX)).await?;
    println!(
        "  checksum            {:016x} over {} pairs, {} bytes",
        sum.crc64_xor, sum.pairs, sum.bytes
    );

    let counters = db.with(RawOptions::default().atomic(true));
    counters.delete(key("counter")).await?;
    let first = counters.put_if_absent(key("counter"), "1").await?;
    let wrong = counters
        .compare_and_swap(key("counter"), Some("7".into()), "8")
        .await?;
    let right = counters
        .compare_and_swap(key("counter"), Some("1".into()), "2")
        .await?;
    println!(
        "  put_if_absent       swapped: {}\n  compare_and_swap    expected 7: {}, found {}; expected 1: {}",
        first.swapped,
        wrong.swapped,
        text(wrong.previous.as_ref()),
        right.swapped
    );

    if keeps_ttl {
        db.put_with_ttl(key("session"), "token", Duration::from_secs(60))
            .await?;
        let left = match db.ttl(key("session")).await? {
            Some(Ttl::In(left)) => format!("{} s to live", left.as_secs()),
            other => format!("{other:?}"),
        };
        println!("  put_with_ttl, ttl   {left}");
    }

    db.delete(key("greeting")).await?;
    db.batch_delete(fruits.map(key)).await?;
    db.delete_range(KeyRange::prefix(PREFIX)).await?;
    println!(
        "  delete, delete_range: {} left",
        db.scan(KeyRange::prefix(PREFIX)).count().await?
    );
    println!("  timestamp from PD   {:?}", db.pd().timestamp().await?);
    Ok(())
}

fn names(pairs: &[tikv::KvPair]) -> String {
    let name =
        |pair: &tikv::KvPair| String::from_utf8_lossy(&pair.key[PREFIX.len()..]).into_owned();
    pairs.iter().map(name).collect::<Vec<_>>().join(", ")
}
