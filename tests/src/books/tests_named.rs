//! Looking tests up by file and name.

use super::{Code, Sources};

impl Sources {
    /// Looks for a test: `path/to/file.rs::name`.
    ///
    /// A test is a function with an attribute that says so, also inside a macro; one that a macro makes from a list of
    /// names; or a case that the `main.rs` beside it lists for several runtimes.
    ///
    /// # Errors
    /// What is not there.
    pub fn find_test(&self, named: &str) -> Result<(), String> {
        let (path, name) = named
            .split_once("::")
            .ok_or_else(|| format!("{named}: write path/to/file.rs::name"))?;
        let code = self
            .file(path)
            .ok_or_else(|| format!("{named}: no file {path}"))?;
        let functions: Vec<usize> = (0..code.tokens().len())
            .filter(|&n| code.reads(n, &["fn", name]))
            .collect();
        if functions.iter().any(|&n| is_marked(code, n)) {
            return Ok(());
        }
        let words = |code: &Code| (0..code.tokens().len()).any(|n| code.at(n) == name);
        if functions.is_empty() {
            let made =
                (0..code.tokens().len()).any(|n| code.reads(n, &["fn", "$"]) && is_marked(code, n));
            return if made && words(code) {
                Ok(())
            } else {
                Err(format!("{named}: no test of that name"))
            };
        }
        let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
        let listed = self.file(&format!("{folder}/main.rs")).is_some_and(words);
        if listed {
            Ok(())
        } else {
            Err(format!("{named}: a function, but not a test"))
        }
    }
}

/// Whether an attribute with the word `test` stands before the function at a position.
fn is_marked(code: &Code, function: usize) -> bool {
    let depth = code.tokens()[function].depth;
    (0..function)
        .rev()
        .take_while(|&n| {
            let outside = code.tokens()[n].depth < depth;
            let ends = code.tokens()[n].depth == depth && matches!(code.at(n), "}" | ";");
            !outside && !ends
        })
        .any(|n| code.at(n) == "test" && code.tokens()[n].depth > depth)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tests_are_told_from_functions() {
        let sources = Sources::of(&[
            (
                "a/tests/x.rs",
                "fn helper() {} #[test] fn plain() {} #[tokio::test(start_paused = true)] async fn timed() {}
                 proptest! { #[test] fn random(v in any()) {} fn not() {} }",
            ),
            ("a/tests/y/main.rs", "cases! { calls { one, two, } }"),
            ("a/tests/y/calls.rs", "pub(crate) async fn one() {} pub(crate) fn three() {}"),
            ("a/tests/z.rs", "macro_rules! m { ($n:ident) => { #[test] fn $n() {} } } m!(made);"),
        ]);
        for named in [
            "a/tests/x.rs::plain",
            "a/tests/x.rs::timed",
            "a/tests/x.rs::random",
            "a/tests/y/calls.rs::one",
            "a/tests/z.rs::made",
        ] {
            assert_eq!(sources.find_test(named), Ok(()));
        }
        for named in [
            "a/tests/x.rs::helper",
            "a/tests/x.rs::not",
            "a/tests/x.rs::gone",
            "a/tests/y/calls.rs::three",
            "a/tests/z.rs::other",
            "a/tests/w.rs::plain",
            "plain",
        ] {
            assert!(sources.find_test(named).is_err(), "{named}");
        }
    }
}
