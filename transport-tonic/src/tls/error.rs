//! What can be wrong with certificates.

use std::{path::Path, sync::Arc};

/// A mistake in the TLS settings: which file or part, and what is wrong with it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("TLS: {what}: {problem}")]
pub struct TlsError {
    what: Arc<str>,
    problem: Arc<str>,
}

impl TlsError {
    /// A [`TlsProvider`](crate::TlsProvider) has no certificates to give.
    #[must_use]
    pub fn provider(problem: impl Into<Arc<str>>) -> Self {
        Self {
            what: "certificate provider".into(),
            problem: problem.into(),
        }
    }

    /// Which part of the settings is wrong: a file's path, or words like "client key".
    #[must_use]
    pub fn part(&self) -> &str {
        &self.what
    }

    pub(crate) fn file(path: &Path, error: &std::io::Error) -> Self {
        Self {
            what: path.display().to_string().into(),
            problem: error.to_string().into(),
        }
    }

    pub(crate) fn part_of(what: &str, problem: impl Into<Arc<str>>) -> Self {
        Self {
            what: what.into(),
            problem: problem.into(),
        }
    }
}
