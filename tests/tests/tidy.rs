//! The repository is tidy: sizes, leftovers, links.
//!
//! What breaks a rule for a reason stands in a list here, with the reason. A list entry that is no longer needed fails too.

use std::fs;

use tikv_tests::books::{Code, Sources, files, functions, links, root};

/// The most lines of a file, and of a file of tests.
const MAX_LINES: (usize, usize) = (600, 900);
/// The most lines of a function.
const MAX_FUNCTION: usize = 90;

/// Files that are longer, with the reason.
const LONG_FILES: &[(&str, &str)] = &[];

/// Functions that are longer, with the reason.
const LONG_FUNCTIONS: &[(&str, &str)] = &[
    (
        "tests/src/golden/pd_http.rs::http",
        "one table: each path of PD's HTTP interface that recordings ask for, and its answer",
    ),
    (
        "tests/src/support/stage.rs::region_errors",
        "one table: an example of each region error",
    ),
];

/// Files with `unsafe`. There are none, and there is no need for any.
const UNSAFE: &[&str] = &[];

fn sources() -> Sources {
    Sources::read(&root()).unwrap()
}

/// The text files of the repository: path and content.
fn texts() -> Vec<(String, String)> {
    let is_text = |path: &String| {
        [
            ".rs", ".md", ".toml", ".csv", ".sh", ".yml", ".yaml", ".proto", ".json",
        ]
        .iter()
        .any(|end| path.ends_with(end))
            || path.starts_with(".ci/")
    };
    files(&root())
        .unwrap()
        .into_iter()
        .filter(is_text)
        .filter_map(|path| Some((path.clone(), fs::read_to_string(root().join(&path)).ok()?)))
        .collect()
}

fn is_generated(path: &str) -> bool {
    path.contains("/generated/")
}

fn is_test(path: &str) -> bool {
    path.split('/')
        .any(|part| matches!(part, "tests" | "tests.rs" | "benches"))
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

/// What is too long and not in the list, and what is in the list without need.
fn beyond(
    found: Vec<(String, usize)>,
    limit: impl Fn(&str) -> usize,
    allowed: &[(&str, &str)],
) -> Vec<String> {
    let long: Vec<(String, usize)> = found
        .into_iter()
        .filter(|(name, lines)| *lines > limit(name))
        .collect();
    let in_list = |name: &str| allowed.iter().any(|(known, _)| *known == name);
    let new = long
        .iter()
        .filter(|(name, _)| !in_list(name))
        .map(|(name, lines)| format!("{name}: {lines} lines, more than {}", limit(name)));
    let old = allowed
        .iter()
        .filter(|(known, reason)| reason.is_empty() || !long.iter().any(|(name, _)| name == known))
        .map(|(known, _)| format!("{known} is listed without need or without a reason"));
    new.chain(old).collect()
}

#[test]
fn files_are_short() {
    let found = sources()
        .iter()
        .filter(|(path, _)| !is_generated(path))
        .map(|(path, code)| (path.to_owned(), code.text().lines().count()))
        .collect();
    let limit = |path: &str| {
        if is_test(path) {
            MAX_LINES.1
        } else {
            MAX_LINES.0
        }
    };
    assert_none(&beyond(found, limit, LONG_FILES));
}

#[test]
fn functions_are_short() {
    let found = sources()
        .iter()
        .filter(|(path, _)| !is_generated(path))
        .flat_map(|(path, code)| {
            functions(code)
                .into_iter()
                .map(move |(name, _, lines)| (format!("{path}::{name}"), lines))
        })
        .collect();
    assert_none(&beyond(found, |_| MAX_FUNCTION, LONG_FUNCTIONS));
}

/// Every place where one of some sequences of words stands.
fn places(sources: &Sources, sequences: &[&[&str]]) -> Vec<String> {
    let places = |path: &str, code: &Code| {
        (0..code.tokens().len())
            .filter(|&n| sequences.iter().any(|words| code.reads(n, words)))
            .map(|n| format!("{path}:{}: {}", code.tokens()[n].line, code.at(n)))
            .collect::<Vec<_>>()
    };
    sources
        .iter()
        .filter(|(path, _)| !is_generated(path))
        .flat_map(|(path, code)| places(path, code))
        .collect()
}

#[test]
fn nothing_is_left_to_be_done() {
    let mut problems = places(
        &sources(),
        &[
            &["todo", "!"],
            &["unimplemented", "!"],
            &["dbg", "!"],
            &["ignore", "]"],
        ],
    );
    // Put together, so that this file does not hold them.
    let marks = [
        ["FIX", "ME"].concat(),
        ["XX", "X"].concat(),
        ["TO", "DO"].concat(),
    ];
    for (path, text) in texts() {
        for (n, line) in text.lines().enumerate() {
            if marks.iter().any(|mark| line.contains(mark.as_str())) {
                problems.push(format!("{path}:{}: {}", n + 1, line.trim()));
            }
        }
    }
    assert_none(&problems);
}

#[test]
fn all_code_is_safe() {
    let found: Vec<String> = places(&sources(), &[&["unsafe"]])
        .into_iter()
        .filter(|place| !UNSAFE.iter().any(|file| place.starts_with(file)))
        .collect();
    assert_none(&found);
}

#[test]
fn nothing_speaks_of_one_machine() {
    let of_a_machine = [
        ["/wo", "rk/"].concat(),
        ["/ro", "ot/"].concat(),
        ["/tmp/", "target"].concat(),
        ["/ho", "me/"].concat(),
        ["artifac", "tory"].concat(),
        ["sparse", "+http"].concat(),
        ["replace", "-with"].concat(),
    ];
    let mut problems = Vec::new();
    for (path, text) in texts() {
        for (n, line) in text.lines().enumerate() {
            if let Some(mark) = of_a_machine
                .iter()
                .find(|mark| line.contains(mark.as_str()))
            {
                problems.push(format!("{path}:{}: {mark}", n + 1));
            }
        }
    }
    assert_none(&problems);
}

#[test]
fn every_crate_says_what_it_is() {
    let problems: Vec<String> = texts()
        .into_iter()
        .filter(|(path, text)| path.ends_with("Cargo.toml") && text.contains("[package]"))
        .filter(|(_, text)| {
            let described = |line: &str| line.starts_with("description = \"") && line.len() > 30;
            !text.lines().any(described)
        })
        .map(|(path, _)| format!("{path} has no description"))
        .collect();
    assert_none(&problems);
}

#[test]
fn links_lead_to_files() {
    let mut problems = Vec::new();
    for (path, text) in texts() {
        if !path.ends_with(".md") {
            continue;
        }
        let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
        for link in links(&text) {
            let outside = link.is_empty() || link.contains("://") || link.starts_with("mailto:");
            if !outside && !root().join(folder).join(&link).exists() {
                problems.push(format!("{path}: {link}"));
            }
        }
    }
    assert_none(&problems);
}
