//! Reading this repository's own files: what the tests of its bookkeeping and tidiness stand on.
//!
//! It is text, not a compiler: [`Code`] knows comments, literals and brackets of Rust, [`Sources::find_item`] follows
//! modules and re-exports by name. That is enough to notice a misspelt path and an item that is gone.

mod code;
mod csv;
mod items;
mod scan;
mod tests_named;

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
};

pub use code::{Code, Token};
pub use csv::{parse_csv, write_csv};
pub use scan::{functions, links};

/// The crates of the workspace whose items can be named, and where their sources are.
const CRATES: &[(&str, &str)] = &[
    ("tikv", "client/src"),
    ("tikv_core", "core/src"),
    ("tikv_proto", "proto/src"),
    ("tikv_cluster", "cluster/src"),
    ("tikv_transport_tonic", "transport-tonic/src"),
    ("tikv_runtime_tokio", "runtime-tokio/src"),
    ("tikv_runtime_async_std", "runtime-async-std/src"),
];

/// The root of the repository.
#[must_use]
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Every file below `root` that belongs to the repository, as paths with `/`, in order.
///
/// # Errors
/// When a directory cannot be read.
pub fn files(root: &Path) -> io::Result<Vec<String>> {
    let mut found = Vec::new();
    let mut waiting = vec![String::new()];
    while let Some(folder) = waiting.pop() {
        for entry in fs::read_dir(root.join(&folder))? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            let path = if folder.is_empty() {
                name.clone()
            } else {
                format!("{folder}/{name}")
            };
            let kind = entry.file_type()?;
            if kind.is_dir() && !["target", ".git", "node_modules"].contains(&name.as_str()) {
                waiting.push(path);
            } else if kind.is_file() {
                found.push(path);
            }
        }
    }
    found.sort();
    Ok(found)
}

/// The Rust files of the repository.
#[derive(Debug)]
pub struct Sources {
    files: BTreeMap<String, Code>,
}

impl Sources {
    /// Reads all of them.
    ///
    /// # Errors
    /// When a file cannot be read.
    pub fn read(root: &Path) -> io::Result<Self> {
        let mut sources = BTreeMap::new();
        for path in files(root)? {
            if path.ends_with(".rs") {
                let text = fs::read_to_string(root.join(&path))?;
                sources.insert(path, Code::new(text));
            }
        }
        Ok(Self { files: sources })
    }

    /// Sources from texts, for tests.
    #[must_use]
    pub fn of(files: &[(&str, &str)]) -> Self {
        Self {
            files: files
                .iter()
                .map(|(path, text)| ((*path).to_owned(), Code::new((*text).to_owned())))
                .collect(),
        }
    }

    /// Every file with its path.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Code)> {
        self.files.iter().map(|(path, code)| (path.as_str(), code))
    }

    fn file(&self, path: &str) -> Option<&Code> {
        self.files.get(path)
    }
}
