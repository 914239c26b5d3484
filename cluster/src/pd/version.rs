//! Store versions, by the rules of semantic versioning.

use std::{cmp::Ordering, fmt};

/// `major.minor.patch`, with an optional pre-release part.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Version {
    major: u64,
    minor: u64,
    patch: u64,
    pre: Vec<String>,
    build: String,
}

impl Version {
    /// The first version in which a region can split into more than two at once.
    pub(super) fn batch_split() -> Self {
        Self {
            major: 2,
            minor: 1,
            pre: vec!["rc".to_owned(), "1".to_owned()],
            ..Self::default()
        }
    }

    /// An empty text counts as 1.0.0, the version before stores told theirs. `None` for nonsense.
    pub(super) fn parse(text: &str) -> Option<Self> {
        if text.is_empty() {
            return Some(Self {
                major: 1,
                ..Self::default()
            });
        }
        let text = text.strip_prefix('v').unwrap_or(text);
        let (text, build) = text.split_once('+').unwrap_or((text, ""));
        let (core, pre) = match text.split_once('-') {
            Some((core, pre)) => (core, pre.split('.').map(str::to_owned).collect()),
            None => (text, Vec::new()),
        };
        let mut numbers = core.split('.').map(|part| part.parse::<u64>().ok());
        let (major, minor, patch) = (numbers.next()??, numbers.next()??, numbers.next()??);
        let legal = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '.';
        let clean = pre.iter().all(|part: &String| part.chars().all(legal));
        (numbers.next().is_none() && clean && build.chars().all(legal)).then(|| Self {
            major,
            minor,
            patch,
            pre,
            build: build.to_owned(),
        })
    }

    /// Whether a store of version `store` may join a cluster of this version: a newer one, or one of the same release
    /// series.
    pub(super) fn accepts(&self, store: &Self) -> bool {
        self < store || (self.major == store.major && self.minor == store.minor)
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.patch)?;
        if !self.pre.is_empty() {
            write!(f, "-{}", self.pre.join("."))?;
        }
        if !self.build.is_empty() {
            write!(f, "+{}", self.build)?;
        }
        Ok(())
    }
}

impl PartialOrd for Version {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Version {
    fn cmp(&self, other: &Self) -> Ordering {
        let numbers = |version: &Self| (version.major, version.minor, version.patch);
        numbers(self)
            .cmp(&numbers(other))
            .then_with(|| match (self.pre.is_empty(), other.pre.is_empty()) {
                (true, true) => Ordering::Equal,
                (true, false) => Ordering::Greater,
                (false, true) => Ordering::Less,
                (false, false) => compare_pre(&self.pre, &other.pre),
            })
            .then_with(|| self.build.cmp(&other.build))
    }
}

fn compare_pre(one: &[String], other: &[String]) -> Ordering {
    for (a, b) in one.iter().zip(other) {
        let order = match (a.parse::<u64>(), b.parse::<u64>()) {
            (Ok(a), Ok(b)) => a.cmp(&b),
            (Ok(_), Err(_)) => Ordering::Less,
            (Err(_), Ok(_)) => Ordering::Greater,
            (Err(_), Err(_)) => a.cmp(b),
        };
        if order.is_ne() {
            return order;
        }
    }
    one.len().cmp(&other.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_ordered_and_series_are_compatible() {
        let version = |text: &str| Version::parse(text).unwrap();
        assert!(version("9.0.0-beta.2") < version("9.0.0"));
        assert!(version("2.1.0-rc.1") == Version::batch_split());
        assert!(version("2.1.0-rc.2") > Version::batch_split());
        assert!(version("9.0.0").accepts(&version("v9.0.0-beta.1")));
        assert!(!version("9.0.0").accepts(&version("8.5.0")));
        assert!(version("9.0.0").accepts(&version("10.1.0")));
        assert_eq!(Version::parse("").unwrap().to_string(), "1.0.0");
        for nonsense in ["9", "x.y.z", "9.0", "9.0.0.0", "9.0.0-a b"] {
            assert_eq!(Version::parse(nonsense), None, "{nonsense}");
        }
    }
}
