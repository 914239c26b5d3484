//! The books are true: what `docs/parity.csv`, `tests/ported.csv` and `docs/divergences.md` name is there.
//!
//! `UPDATE=1 cargo test -p tikv-tests --test bookkeeping` takes the rows of `tests/ported/*.csv` over into
//! `tests/ported.csv`.

use std::{
    collections::{BTreeMap, BTreeSet},
    env, fs,
};

use tikv_tests::books::{Sources, files, parse_csv, root, write_csv};

/// The public identifiers of client-go v2: how many there are, and a hash of the list. Some are declared twice, once for
/// either value of a build tag.
const IDENTIFIERS: (usize, u64) = (2_062, 0x55bf_d7c6_51ed_c9ad);
const DECLARED_TWICE: &[&str] = &[
    "config,const,,NextGen",
    "util/intest,var,,InTest",
    "util/israce,const,,RaceEnabled",
];

/// The tests of client-go v2: how many there are, and a hash of the list.
const TESTS: (usize, u64) = (699, 0x3dbf_8a4e_098d_ed70);

type Row = Vec<String>;

/// Reads a table; its header must be `header`, and every row must be as long.
fn table(path: &str, header: &str) -> Vec<Row> {
    let text = fs::read_to_string(root().join(path)).unwrap_or_else(|e| panic!("{path}: {e}"));
    let mut rows = parse_csv(&text).unwrap_or_else(|e| panic!("{path}: {e}"));
    let found = rows.remove(0).join(",");
    assert_eq!(found, header, "{path}: the header");
    let width = header.split(',').count();
    for row in &rows {
        assert_eq!(row.len(), width, "{path}: {}", row.join(","));
    }
    rows
}

/// FNV-1a over the first columns of all rows: a list that was changed by accident has another one.
fn hash(rows: &[Row], columns: usize) -> u64 {
    let line = |row: &Row| row[..columns].join(",") + "\n";
    rows.iter()
        .map(line)
        .collect::<String>()
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
        })
}

fn parity() -> Vec<Row> {
    table("docs/parity.csv", "package,kind,type,name,rust,note")
}

const PORTED: &str = "file,suite,test,rust_test,note";

fn ported() -> Vec<Row> {
    table("tests/ported.csv", PORTED)
}

/// The tables that are kept one for each package of client-go, with their paths.
fn parts() -> Vec<(String, Vec<Row>)> {
    files(&root().join("tests/ported"))
        .unwrap()
        .into_iter()
        .filter(|name| name.ends_with(".csv"))
        .map(|name| format!("tests/ported/{name}"))
        .map(|path| (path.clone(), table(&path, PORTED)))
        .collect()
}

fn sources() -> Sources {
    Sources::read(&root()).unwrap()
}

/// Fails with every problem, not only the first.
fn assert_none(problems: &[String]) {
    assert!(
        problems.is_empty(),
        "{} problems:\n{}",
        problems.len(),
        problems.join("\n")
    );
}

#[test]
fn every_identifier_of_client_go_has_one_row() {
    let rows = parity();
    let mut seen = BTreeMap::new();
    for row in &rows {
        *seen.entry(row[..4].join(",")).or_insert(0) += 1;
    }
    let twice: Vec<&str> = seen
        .iter()
        .filter(|(_, times)| **times > 1)
        .map(|(key, _)| key.as_str())
        .collect();
    assert_eq!(twice, DECLARED_TWICE);
    assert_eq!((rows.len(), hash(&rows, 4)), IDENTIFIERS);
}

#[test]
fn every_rust_item_that_covers_one_exists() {
    let sources = sources();
    let problems: Vec<String> = parity()
        .iter()
        .flat_map(|row| {
            let paths = row[4].split(';').filter(|path| !path.is_empty());
            paths
                .filter_map(|path| sources.find_item(path).err())
                .map(|problem| format!("{}: {problem}", row[..4].join(",")))
                .collect::<Vec<_>>()
        })
        .collect();
    assert_none(&problems);
}

#[test]
fn what_is_not_covered_has_a_reason() {
    let silent = |path: &str, rows: Vec<Row>, width: usize| {
        rows.into_iter()
            .filter(|row| row[width - 2].is_empty() && row[width - 1].is_empty())
            .map(|row| format!("{path}: {} has neither an item nor a note", row.join(",")))
            .collect::<Vec<_>>()
    };
    assert_none(&silent("docs/parity.csv", parity(), 6));
    assert_none(&silent("tests/ported.csv", ported(), 5));
}

#[test]
fn misspelt_items_are_noticed() {
    let sources = sources();
    assert_eq!(sources.find_item("tikv::RawClient::get"), Ok(()));
    assert_eq!(
        sources.find_item("tikv_core::backoff::BackoffKind::PdRpc"),
        Ok(())
    );
    for wrong in [
        "tikv::RawClient::gett",
        "tikv::RawClients",
        "tikv_core::backoff::BackoffKind::PdRPC",
        "tikv_core::codec::put_byte",
        "tikv::config::WireOptions::no_such_field",
    ] {
        assert!(sources.find_item(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn every_test_of_client_go_has_one_row() {
    let rows = ported();
    let names: BTreeSet<String> = rows.iter().map(|row| row[..3].join(",")).collect();
    assert_eq!(names.len(), rows.len(), "a test has two rows");
    assert_eq!((rows.len(), hash(&rows, 3)), TESTS);
}

#[test]
fn the_tables_of_packages_and_the_whole_agree() {
    let mut rows = ported();
    let at: BTreeMap<String, usize> = rows.iter().map(|row| row[..3].join(",")).zip(0..).collect();
    let mut owners: BTreeMap<usize, String> = BTreeMap::new();
    let mut problems = Vec::new();
    let mut stale = Vec::new();
    for (path, part) in parts() {
        for row in part {
            let key = row[..3].join(",");
            let Some(&n) = at.get(&key) else {
                problems.push(format!("{path}: client-go has no test {key}"));
                continue;
            };
            if let Some(other) = owners.insert(n, path.clone()) {
                problems.push(format!("{path}: {key} is in {other} already"));
            }
            if rows[n] != row {
                stale.push(format!("{path}: {key}"));
                rows[n] = row;
            }
        }
    }
    assert_none(&problems);
    if stale.is_empty() {
        return;
    }
    if env::var_os("UPDATE").is_some() {
        let header: Row = PORTED.split(',').map(str::to_owned).collect();
        let all = std::iter::once(&header).chain(&rows).map(Vec::as_slice);
        fs::write(root().join("tests/ported.csv"), write_csv(all)).unwrap();
        return;
    }
    panic!(
        "tests/ported.csv is behind; run UPDATE=1 cargo test -p tikv-tests --test bookkeeping. Rows:\n{}",
        stale.join("\n")
    );
}

#[test]
fn every_rust_test_that_stands_for_one_exists() {
    let sources = sources();
    let parts = parts();
    let rows = parts
        .iter()
        .flat_map(|(_, rows)| rows.clone())
        .chain(ported());
    let named: BTreeSet<String> = rows
        .flat_map(|row| row[3].split(';').map(str::to_owned).collect::<Vec<_>>())
        .filter(|named| !named.is_empty())
        .collect();
    let problems: Vec<String> = named
        .iter()
        .filter_map(|named| sources.find_test(named).err())
        .collect();
    assert_none(&problems);
}

#[test]
fn every_divergence_has_a_test_that_exists() {
    let sources = sources();
    let text = fs::read_to_string(root().join("docs/divergences.md")).unwrap();
    let rows: Vec<&str> = text
        .lines()
        .filter(|line| {
            line.starts_with('|') && !line.starts_with("| rule") && !line.starts_with("|---")
        })
        .collect();
    assert!(rows.len() > 20, "the table was not found");
    let mut problems = Vec::new();
    for row in rows {
        let cells: Vec<&str> = row.trim_matches('|').split(" | ").map(str::trim).collect();
        if cells.len() != 4 || cells.iter().any(|cell| cell.is_empty()) {
            problems.push(format!("not rule, client-go, here, test: {row}"));
            continue;
        }
        let named: Vec<&str> = cells[3]
            .split('`')
            .filter(|name| name.contains("::"))
            .collect();
        if named.is_empty() {
            problems.push(format!("no test: {row}"));
        }
        problems.extend(
            named
                .iter()
                .filter_map(|named| sources.find_test(named).err()),
        );
    }
    assert_none(&problems);
}
