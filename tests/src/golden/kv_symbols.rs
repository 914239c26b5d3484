//! The names that recordings have for ids, and the ids that they stand for here.

use std::collections::BTreeMap;

/// Ids that do not exist, on either side.
const ABSENT: [(&str, u64); 3] = [
    ("R404", 900_000_404),
    ("P404", 900_001_404),
    ("S404", 900_002_404),
];

/// A two-way map. A symbol is bound to an id where it is first seen.
#[derive(Clone, Debug)]
pub(super) struct Symbols {
    ids: BTreeMap<String, u64>,
    names: BTreeMap<(char, u64), String>,
}

impl Symbols {
    pub(super) fn new() -> Self {
        let mut symbols = Self {
            ids: BTreeMap::new(),
            names: BTreeMap::new(),
        };
        for (name, id) in ABSENT {
            symbols.same(name, id);
        }
        symbols
    }

    /// Whether a text has the form of a symbol: a letter for the kind of thing, and a number.
    pub(super) fn is_symbol(text: &str) -> bool {
        let mut chars = text.chars();
        let kind = chars.next().is_some_and(|c| "RPS".contains(c));
        kind && text.len() > 1 && chars.all(|c| c.is_ascii_digit())
    }

    /// Whether `name` stands for `id`, which it does from now on if neither has been seen before.
    pub(super) fn same(&mut self, name: &str, id: u64) -> bool {
        let kind = name.chars().next().unwrap_or('?');
        match (self.ids.get(name), self.names.get(&(kind, id))) {
            (Some(known), _) => *known == id,
            (None, Some(_)) => false,
            (None, None) => {
                self.ids.insert(name.to_owned(), id);
                self.names.insert((kind, id), name.to_owned());
                true
            }
        }
    }

    pub(super) fn id(&self, name: &str) -> Result<u64, String> {
        if name == "0" {
            return Ok(0);
        }
        self.ids
            .get(name)
            .copied()
            .ok_or_else(|| format!("{name} has not been seen yet"))
    }
}
