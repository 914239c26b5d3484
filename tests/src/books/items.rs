//! Looking items up by path.

use super::{CRATES, Code, Sources};

/// How many re-exports may follow one another.
const MAX_HOPS: usize = 16;

/// A module: the directory of its crate, and its path inside.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Module {
    krate: &'static str,
    path: Vec<String>,
}

impl Module {
    const fn root(krate: &'static str) -> Self {
        Self {
            krate,
            path: Vec::new(),
        }
    }

    fn child(&self, name: &str) -> Self {
        let mut child = self.clone();
        child.path.push(name.to_owned());
        child
    }

    fn file(&self, sources: &Sources) -> Option<String> {
        let inside = self.path.join("/");
        let names = if inside.is_empty() {
            vec![format!("{}/lib.rs", self.krate)]
        } else {
            vec![
                format!("{}/{inside}.rs", self.krate),
                format!("{}/{inside}/mod.rs", self.krate),
            ]
        };
        names.into_iter().find(|name| sources.file(name).is_some())
    }
}

impl Sources {
    /// Looks for a public item: `crate::module::Type::member`, where a member is a field, a variant or a function.
    ///
    /// # Errors
    /// Which part of the path is not there.
    pub fn find_item(&self, path: &str) -> Result<(), String> {
        let names: Vec<&str> = path.split("::").collect();
        let (first, rest) = names.split_first().ok_or("an empty path")?;
        let (_, krate) = CRATES
            .iter()
            .find(|(name, _)| name == first)
            .ok_or_else(|| format!("{path}: no crate `{first}`"))?;
        if rest.is_empty() {
            return Err(format!("{path}: a crate is not an item"));
        }
        self.find_in(&Module::root(krate), rest, true, MAX_HOPS)
            .map_err(|problem| format!("{path}: {problem}"))
    }

    fn find_in(
        &self,
        module: &Module,
        names: &[&str],
        shown: bool,
        hops: usize,
    ) -> Result<(), String> {
        let Some((name, rest)) = names.split_first() else {
            return Ok(());
        };
        if hops == 0 {
            return Err("the re-exports go round in circles".to_owned());
        }
        let file = module
            .file(self)
            .ok_or_else(|| format!("no file for module `{}`", module.path.join("::")))?;
        let code = &self.files[&file];
        let child = module.child(name);
        if child.file(self).is_some() && declares(code, name, shown && !rest.is_empty()) {
            return self.find_in(&child, rest, shown, hops - 1);
        }
        if let Some(item) = definition(code, name) {
            return match rest {
                [] => Ok(()),
                [member] => self.find_member(module.krate, code, item, member),
                _ => Err(format!("`{name}` is not a module")),
            };
        }
        let mut problem = format!("no `{name}` in {file}");
        for (alias, target) in exports(code) {
            let target = if alias == *name {
                target
            } else if alias == "*" {
                [target, vec![(*name).to_owned()]].concat()
            } else {
                continue;
            };
            match self.follow(module, &target, rest, hops - 1) {
                Ok(()) => return Ok(()),
                Err(inside) => problem = inside,
            }
        }
        Err(problem)
    }

    /// Goes where a re-export points to.
    fn follow(
        &self,
        from: &Module,
        target: &[String],
        rest: &[&str],
        hops: usize,
    ) -> Result<(), String> {
        let mut names: Vec<&str> = target.iter().map(String::as_str).collect();
        let mut module = from.clone();
        match names[0] {
            "crate" => {
                names.remove(0);
                module = Module::root(from.krate);
            }
            "self" => {
                names.remove(0);
            }
            "super" => {
                names.remove(0);
                module.path.pop();
            }
            first if module.child(first).file(self).is_some() => {}
            first => match CRATES.iter().find(|(name, _)| *name == first) {
                Some((_, krate)) => {
                    names.remove(0);
                    module = Module::root(krate);
                }
                None => return Err(format!("`{first}` is not part of this repository")),
            },
        }
        names.extend(rest);
        self.find_in(&module, &names, false, hops)
    }

    fn find_member(
        &self,
        krate: &str,
        code: &Code,
        item: usize,
        member: &str,
    ) -> Result<(), String> {
        let (kind, name) = (code.at(item), code.at(item + 1));
        if in_body(code, item, member) {
            return Ok(());
        }
        let inside = |path: &str| path.starts_with(krate) && path[krate.len()..].starts_with('/');
        if self
            .iter()
            .any(|(path, code)| inside(path) && in_impls(code, name, member))
        {
            return Ok(());
        }
        Err(format!("{kind} `{name}` has no `{member}`"))
    }
}

/// Whether a module is declared, and public where that matters.
fn declares(code: &Code, name: &str, public: bool) -> bool {
    (0..code.tokens().len()).any(|n| {
        code.reads(n, &["mod", name, ";"]) && (!public || (n > 0 && code.at(n - 1) == "pub"))
    })
}

/// Where a public item of a module is defined: the position of `fn`, `struct` and so on.
fn definition(code: &Code, name: &str) -> Option<usize> {
    let bodies = bodies_of_impls(code);
    (0..code.tokens().len()).find_map(|n| {
        if code.at(n) != "pub" {
            return None;
        }
        let item = behind_qualifiers(code, n + 1);
        let is_item = matches!(
            code.at(item),
            "fn" | "struct" | "enum" | "trait" | "type" | "const" | "static"
        );
        let outside = !bodies
            .iter()
            .any(|(open, close)| (open..close).contains(&&n));
        (is_item && outside && code.at(item + 1) == name).then_some(item)
    })
}

/// Skips `const`, `async` and the like in front of `fn`.
fn behind_qualifiers(code: &Code, mut n: usize) -> usize {
    while matches!(code.at(n), "const" | "async" | "unsafe" | "extern")
        && matches!(code.at(n + 1), "fn" | "async" | "unsafe" | "extern")
    {
        n += 1;
    }
    n
}

/// The positions of the bodies of `impl` blocks and traits, where functions belong to a type.
fn bodies_of_impls(code: &Code) -> Vec<(usize, usize)> {
    let starts_item =
        |n: usize| n == 0 || matches!(code.at(n - 1), "}" | ";" | "]" | "{" | "unsafe" | "pub");
    (0..code.tokens().len())
        .filter(|&n| matches!(code.at(n), "impl" | "trait") && starts_item(n))
        .filter_map(|n| {
            let open = body(code, n)?;
            Some((open, code.closing(open)))
        })
        .collect()
}

/// The `{` of an item that begins at a position; nothing when it has none.
fn body(code: &Code, item: usize) -> Option<usize> {
    let depth = code.tokens()[item].depth;
    (item..code.tokens().len())
        .take_while(|&n| code.tokens()[n].depth >= depth)
        .filter(|&n| code.tokens()[n].depth == depth)
        .find(|&n| matches!(code.at(n), "{" | ";"))
        .filter(|&n| code.at(n) == "{")
}

/// Whether the definition itself lists a member.
fn in_body(code: &Code, item: usize, member: &str) -> bool {
    let Some(open) = body(code, item) else {
        return false;
    };
    let close = code.closing(open);
    let depth = code.tokens()[open].depth + 1;
    let kind = code.at(item);
    let direct = (open + 1..close).any(|n| {
        if code.at(n) != member || code.tokens()[n].depth != depth {
            return false;
        }
        let (before, after) = (code.at(n - 1), code.at(n + 1));
        match kind {
            "struct" => before == "pub" && after == ":",
            "enum" => {
                matches!(before, "{" | "," | "]") && matches!(after, "," | "{" | "(" | "=" | "}")
            }
            _ => before == "fn",
        }
    });
    // A macro fills in the members: they are words of its call, in the same file.
    let by_macro = (open..close).any(|n| code.at(n) == "$");
    direct || (by_macro && (0..code.tokens().len()).any(|n| code.at(n) == member))
}

/// Whether an `impl` block of a type has a member.
fn in_impls(code: &Code, name: &str, member: &str) -> bool {
    (0..code.tokens().len()).any(|n| {
        if code.at(n) != "impl" {
            return false;
        }
        let Some(open) = body(code, n) else {
            return false;
        };
        let Some((of, is_trait)) = implementor(code, n, open) else {
            return false;
        };
        if of != name {
            return false;
        }
        let depth = code.tokens()[open].depth + 1;
        (open..code.closing(open)).any(|m| {
            let item = behind_qualifiers(code, m + 1);
            (code.tokens()[m].depth == depth || m == open)
                && (code.at(m) == "pub"
                    || (is_trait && matches!(code.at(m), "{" | "}" | ";" | "]")))
                && matches!(code.at(item), "fn" | "const" | "type")
                && code.at(item + 1) == member
        })
    })
}

/// The last name of the type that an `impl` block is for, and whether it implements a trait.
fn implementor(code: &Code, item: usize, open: usize) -> Option<(&str, bool)> {
    let mut n = behind_generics(code, item + 1);
    let of_trait = (n..open).find(|&m| code.at(m) == "for" && code.at(m + 1) != "<");
    if let Some(m) = of_trait {
        n = m + 1;
    }
    let mut last = None;
    while n < open {
        match code.at(n) {
            "::" | "&" => n += 1,
            word if word.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') => {
                last = Some(word);
                n += 1;
                if code.at(n) != "::" {
                    break;
                }
            }
            _ => break,
        }
    }
    last.map(|name| (name, of_trait.is_some()))
}

/// Skips `<…>` at a position.
fn behind_generics(code: &Code, n: usize) -> usize {
    if code.at(n) != "<" {
        return n;
    }
    let mut open = 0;
    for m in n..code.tokens().len() {
        match code.at(m) {
            "<" => open += 1,
            ">" if code.at(m - 1) != "-" => {
                open -= 1;
                if open == 0 {
                    return m + 1;
                }
            }
            _ => {}
        }
    }
    n
}

/// What a module passes on with `pub use`: the name there, and the path that it stands for.
fn exports(code: &Code) -> Vec<(String, Vec<String>)> {
    let mut found = Vec::new();
    for n in 0..code.tokens().len() {
        if code.reads(n, &["pub", "use"]) {
            tree(code, n + 2, &[], &mut found);
        }
    }
    found
}

/// One branch of a `use`: gives the position behind it.
fn tree(
    code: &Code,
    mut n: usize,
    prefix: &[String],
    found: &mut Vec<(String, Vec<String>)>,
) -> usize {
    let mut path = prefix.to_vec();
    loop {
        match code.at(n) {
            "{" => {
                let close = code.closing(n);
                n += 1;
                while n < close {
                    n = tree(code, n, &path, found);
                    n += usize::from(code.at(n) == ",");
                }
                return close + 1;
            }
            "::" => n += 1,
            "*" => {
                found.push(("*".to_owned(), path));
                return n + 1;
            }
            "as" => {
                found.push((code.at(n + 1).to_owned(), path));
                return n + 2;
            }
            "," | ";" | "}" | "" => {
                if path.len() > prefix.len() {
                    if path.last().is_some_and(|name| name == "self") {
                        path.pop();
                    }
                    found.push((path.last().cloned().unwrap_or_default(), path));
                }
                return n;
            }
            name => {
                path.push(name.to_owned());
                n += 1;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sources() -> Sources {
        Sources::of(&[
            (
                "client/src/lib.rs",
                "mod raw; pub mod config; pub use raw::{Client, inner::Deep as Other}; pub use tikv_core::time::Instant;
                 pub type Id = u64;",
            ),
            (
                "client/src/raw.rs",
                "mod inner;
                 /// pub fn in_a_comment
                 pub struct Client { pub open: bool, hidden: u8 }
                 impl<T: Into<Vec<u8>>> Client { pub const fn get(&self) -> impl Fn() { || () } fn secret() {} }
                 impl Clone for Client { fn clone(&self) -> Self { loop {} } }",
            ),
            ("client/src/raw/inner.rs", "pub enum Deep { A, B { x: u8 }, #[x] C(u8) }"),
            (
                "client/src/config.rs",
                "options! { pub struct Config { pub limit: usize = 10, } }
                 macro_rules! all { ($($n:ident)*) => { pub enum Command { $($n,)* } } } all! { Get Put }
                 pub(crate) struct Internal; pub(crate) fn helper() {}",
            ),
            ("core/src/lib.rs", "pub mod time;"),
            ("core/src/time.rs", "pub struct Instant(u64); pub trait Clock { fn now(&self) -> Instant; }"),
        ])
    }

    #[test]
    fn items_and_members_are_found_through_modules_and_re_exports() {
        let sources = sources();
        for path in [
            "tikv::Client",
            "tikv::Client::open",
            "tikv::Client::get",
            "tikv::Client::clone",
            "tikv::Other::A",
            "tikv::Other::B",
            "tikv::Other::C",
            "tikv::Id",
            "tikv::config",
            "tikv::Instant",
            "tikv::config::Config::limit",
            "tikv::config::Command::Put",
            "tikv_core::time::Clock::now",
        ] {
            assert_eq!(sources.find_item(path), Ok(()), "{path}");
        }
    }

    #[test]
    fn wrong_paths_say_what_is_missing() {
        let sources = sources();
        for (path, expected) in [
            ("tikv::Klient", "no `Klient` in client/src/lib.rs"),
            ("tikv::Client::put", "struct `Client` has no `put`"),
            ("tikv::Client::hidden", "struct `Client` has no `hidden`"),
            ("tikv::Client::secret", "struct `Client` has no `secret`"),
            ("tikv::Other::x", "enum `Deep` has no `x`"),
            ("tikv::get", "no `get` in client/src/lib.rs"),
            ("tikv::raw::Client", "no `raw` in client/src/lib.rs"),
            (
                "tikv::config::Internal",
                "no `Internal` in client/src/config.rs",
            ),
            (
                "tikv::config::helper",
                "no `helper` in client/src/config.rs",
            ),
            (
                "tikv::config::Command::Scan",
                "enum `Command` has no `Scan`",
            ),
            ("kv::Client", "no crate `kv`"),
            ("tikv", "a crate is not an item"),
        ] {
            let problem = sources.find_item(path).unwrap_err();
            assert_eq!(problem, format!("{path}: {expected}"));
        }
    }
}
