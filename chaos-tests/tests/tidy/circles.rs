//! Circles of imports: files of a crate that use each other, directly or through others. Tests are not looked at.
//!
//! A name that a module hands on (`pub use`) counts as used where it is defined. `mod` is no use.

use std::collections::{BTreeMap, BTreeSet};

/// A module by its path in the crate, the root is empty.
pub(crate) type Module = Vec<String>;

/// The modules of one crate and what they use.
#[derive(Debug, Default)]
pub(crate) struct Crate {
    uses: BTreeMap<Module, Vec<Use>>,
}

/// One path that a file names, split at `::`.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Use {
    path: Vec<String>,
    /// The name under which it is handed on, if it is.
    handed_on: Option<String>,
}

impl Crate {
    /// `files` are (path below src, text).
    pub(crate) fn new<'a>(files: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let is_code = |name: &str| !name.starts_with("bin/") && !name.ends_with("tests.rs") && !name.contains("tests/");
        let files = files.into_iter().filter(|(name, _)| is_code(name));
        Self { uses: files.map(|(name, text)| (module(name), uses(&code(text)))).collect() }
    }

    /// Modules in circles, each circle once.
    pub(crate) fn circles(&self) -> Vec<BTreeSet<Module>> {
        let edges: BTreeMap<&Module, BTreeSet<&Module>> =
            self.uses.keys().map(|module| (module, self.used_by(module))).collect();
        let reach = |from: &Module| {
            let (mut seen, mut next) = (BTreeSet::new(), edges[from].iter().copied().collect::<Vec<_>>());
            while let Some(module) = next.pop() {
                if seen.insert(module) {
                    next.extend(edges[module].iter().copied());
                }
            }
            seen
        };
        let reached: BTreeMap<&Module, BTreeSet<&Module>> =
            self.uses.keys().map(|module| (module, reach(module))).collect();
        let mut circles = BTreeSet::new();
        for (module, others) in &reached {
            if others.contains(module) {
                let circle = others.iter().filter(|other| reached[**other].contains(module));
                circles.insert(circle.map(|other| (*other).clone()).collect::<BTreeSet<_>>());
            }
        }
        circles.into_iter().filter(|circle| circle.len() > 1).collect()
    }

    fn used_by(&self, module: &Module) -> BTreeSet<&Module> {
        let uses = self.uses[module].iter().filter(|one| one.handed_on.is_none());
        uses.filter_map(|one| self.resolve(module, &one.path, 0)).filter(|used| *used != module).collect()
    }

    /// The module in which what `path` names is defined, seen from `from`.
    fn resolve(&self, from: &Module, path: &[String], depth: usize) -> Option<&Module> {
        let (mut at, mut rest) = self.start(from, path)?;
        while let [first, further @ ..] = rest {
            let child: Module = at.iter().chain([first]).cloned().collect();
            if self.uses.contains_key(&child) {
                (at, rest) = (child, further);
                continue;
            }
            let handed_on = self.uses.get(&at)?.iter().find(|one| one.handed_on.as_ref() == Some(first));
            if let Some(one) = handed_on.filter(|_| depth < 8) {
                let path: Vec<String> = one.path.iter().chain(further).cloned().collect();
                return self.resolve(&at, &path, depth + 1);
            }
            break;
        }
        self.uses.get_key_value(&at).map(|(module, _)| module)
    }

    fn start<'a>(&self, from: &Module, path: &'a [String]) -> Option<(Module, &'a [String])> {
        let [first, rest @ ..] = path else { return None };
        match first.as_str() {
            "crate" => Some((Module::new(), rest)),
            "self" => Some((from.clone(), rest)),
            "super" => {
                let ups = path.iter().take_while(|part| *part == "super").count();
                Some((from[..from.len().checked_sub(ups)?].to_vec(), &path[ups..]))
            }
            // A child, or another crate.
            _ => {
                let child: Module = from.iter().chain([first]).cloned().collect();
                self.uses.contains_key(&child).then(|| (from.clone(), path))
            }
        }
    }
}

fn module(name: &str) -> Module {
    let mut parts: Module = name.trim_end_matches(".rs").split('/').map(str::to_owned).collect();
    if matches!(parts.last().map(String::as_str), Some("mod" | "lib" | "main")) {
        parts.pop();
    }
    parts
}

/// What stands before the tests, without comments and texts.
fn code(text: &str) -> String {
    let mut code = String::new();
    for (_, line) in super::lines_before_tests(text).filter(|(_, line)| !line.trim_start().starts_with("//")) {
        let mut quoted = false;
        let mut last = ' ';
        for char in line.chars() {
            if char == '/' && last == '/' && !quoted {
                code.pop();
                break;
            }
            if char == '"' && last != '\\' && last != '\'' {
                quoted = !quoted;
            } else if !quoted {
                code.push(char);
            }
            last = char;
        }
        code.push('\n');
    }
    // Who may see an item is no use.
    while let Some(at) = code.find("pub(in ") {
        let end = code[at..].find(')').map_or(code.len(), |end| at + end);
        code.replace_range(at + "pub".len()..(end + 1).min(code.len()), "");
    }
    code
}

fn uses(code: &str) -> Vec<Use> {
    let mut found = Vec::new();
    let mut rest = String::new();
    let mut left = code;
    while let Some(at) = left.find("use ") {
        let is_word = !left[..at].ends_with(|char: char| char.is_alphanumeric() || char == '_');
        let end = left[at..].find(';').map_or(left.len(), |end| at + end);
        if !is_word {
            rest.push_str(&left[..at + 4]);
            left = &left[at + 4..];
            continue;
        }
        let line = left[..at].rsplit(['\n', ';', '}', '{']).next().unwrap_or_default();
        let is_public = line.trim_start().starts_with("pub");
        rest.push_str(&left[..at]);
        for path in expand(&left[at + 4..end].split_whitespace().collect::<Vec<_>>().join(" ")) {
            let (path, name) = path.split_once(" as ").map_or((path.as_str(), None), |(path, name)| (path, Some(name)));
            let path: Vec<String> = path.split("::").map(|part| part.trim().to_owned()).collect();
            let name = name.map_or_else(|| path.last().cloned().unwrap_or_default(), str::to_owned);
            found.push(Use { path, handed_on: is_public.then_some(name) });
        }
        left = &left[end..];
    }
    rest.push_str(left);
    found.extend(paths(&rest));
    found
}

/// `a::{b, c::d}` as `a::b` and `a::c::d`.
fn expand(tree: &str) -> Vec<String> {
    let tree = tree.trim();
    let Some((head, inner)) = tree.strip_suffix('}').and_then(|tree| tree.split_once('{')) else {
        return vec![tree.to_owned()];
    };
    let (mut depth, mut items) = (0, vec![String::new()]);
    for char in inner.chars() {
        match char {
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        if char == ',' && depth == 0 {
            items.push(String::new());
        } else if let Some(item) = items.last_mut() {
            item.push(char);
        }
    }
    let items = items.iter().filter(|item| !item.trim().is_empty()).flat_map(|item| expand(item));
    items.map(|item| format!("{head}{item}")).collect()
}

/// Paths in the code itself that begin with `crate`, `super` or `self`.
fn paths(code: &str) -> Vec<Use> {
    let is_part = |char: char| char.is_alphanumeric() || char == '_' || char == ':';
    let words = code.split(|char| !is_part(char)).filter(|word| word.contains("::"));
    let paths = words.map(|word| word.split("::").map(str::to_owned).collect::<Vec<_>>());
    let ours = paths.filter(|path| ["crate", "super", "self"].contains(&path[0].as_str()));
    ours.map(|path| Use { path, handed_on: None }).collect()
}

#[test]
fn a_planted_circle_is_found() {
    let files = [
        ("lib.rs", "mod a;\nmod b;\nmod c;"),
        ("a/mod.rs", "#[cfg(test)]\nmod testing;\nmod inner;\npub(crate) use inner::Thing;"),
        ("a/inner.rs", "use crate::b::work;\npub(in crate::c) struct Thing;"),
        ("b.rs", "#[cfg(test)]\nmod tests;\nuse crate::{c, a::Thing};"),
        ("c.rs", "fn text() -> &'static str { \"crate::b\" } // crate::b\n#[cfg(test)]\nuse crate::b;"),
    ];
    let circle = ["a::inner", "b"].map(|path| path.split("::").map(str::to_owned).collect::<Module>());
    assert_eq!(Crate::new(files).circles(), [BTreeSet::from(circle)]);
    let fine = files.map(|(name, text)| (name, text.replace("use crate::b::work;", "")));
    assert_eq!(Crate::new(fine.iter().map(|(name, text)| (*name, text.as_str()))).circles(), []);
}
