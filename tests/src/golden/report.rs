//! The counts of a replay and their table.

use std::{collections::BTreeMap, fmt};

/// How the steps of one family went.
#[derive(Clone, Debug, Default)]
pub struct Counts {
    /// Steps that were answered as recorded.
    pub equal: usize,
    /// Steps that were answered otherwise: where, and what was expected and answered.
    pub different: Vec<String>,
    /// Steps that were not compared, by reason.
    pub not_yet: BTreeMap<String, usize>,
}

impl Counts {
    /// Counts steps that were not compared.
    pub fn skip(&mut self, reason: impl Into<String>, steps: usize) {
        if steps > 0 {
            *self.not_yet.entry(reason.into()).or_default() += steps;
        }
    }

    /// Adds the counts of another replay.
    pub fn add(&mut self, other: Self) {
        self.equal += other.equal;
        self.different.extend(other.different);
        for (reason, steps) in other.not_yet {
            self.skip(reason, steps);
        }
    }

    /// How many steps were not compared.
    #[must_use]
    pub fn not_yet_total(&self) -> usize {
        self.not_yet.values().sum()
    }
}

/// The counts of many scenarios, by family.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// The counts of each family.
    pub families: BTreeMap<String, Counts>,
    /// How many scenarios there were.
    pub scenarios: usize,
}

impl Report {
    /// Counts one scenario.
    pub fn add(&mut self, family: &str, counts: Counts) {
        self.scenarios += 1;
        self.families
            .entry(family.to_owned())
            .or_default()
            .add(counts);
    }

    /// Adds another report.
    pub fn merge(&mut self, other: Self) {
        self.scenarios += other.scenarios;
        for (family, counts) in other.families {
            self.families.entry(family).or_default().add(counts);
        }
    }

    /// The sum over all families.
    #[must_use]
    pub fn total(&self) -> Counts {
        let mut total = Counts::default();
        self.families
            .values()
            .for_each(|counts| total.add(counts.clone()));
        total
    }

    /// Everything in one line.
    #[must_use]
    pub fn summary(&self) -> String {
        let total = self.total();
        format!(
            "{} scenarios in {} families: {} steps equal, {} different, {} not yet",
            self.scenarios,
            self.families.len(),
            total.equal,
            total.different.len(),
            total.not_yet_total()
        )
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{:<22} {:>8} {:>10} {:>8}",
            "family", "equal", "different", "not yet"
        )?;
        for (family, counts) in &self.families {
            let (equal, different) = (counts.equal, counts.different.len());
            writeln!(
                f,
                "{family:<22} {equal:>8} {different:>10} {:>8}",
                counts.not_yet_total()
            )?;
        }
        let total = self.total();
        if !total.not_yet.is_empty() {
            writeln!(f, "\nnot yet, because of")?;
        }
        for (reason, steps) in &total.not_yet {
            writeln!(f, "{steps:>8}  {reason}")?;
        }
        Ok(())
    }
}
