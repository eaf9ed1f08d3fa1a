//! What no file of the repository may hold, and who may use whom: rules that a compiler does not know.

#[path = "tidy/circles.rs"]
mod circles;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Nobody reads a file of this length as one question.
const LONGEST_FILE: usize = 1000;

/// Of them, lines of code: without tests, comments and empty lines.
const MOST_CODE: usize = 600;

/// A folder or file, and modules that must not be named in it. A name is looked for as a path in the code.
const EDGES: [(&str, &[&str]); 8] = [
    // Frontends do not know each other.
    ("node/src/resp", &["crate::amqp", "crate::gateway", "crate::http"]),
    ("node/src/amqp", &["crate::resp", "crate::gateway", "crate::http"]),
    ("node/src/gateway", &["crate::resp", "crate::amqp", "crate::http"]),
    ("node/src/http", &["crate::resp", "crate::amqp", "crate::gateway"]),
    // The core is synchronous: no runtime, no sockets, no database, no clock of its own.
    ("node/core/src", CORE_MUST_NOT),
    ("node/core/src/keyspace", &["crate::broker", "crate::engine", "crate::journal"]),
    // Pure functions over (state, observations, now).
    ("sentinel/src/plan.rs", &["tokio::", "tonic::", "Instant::now", "SystemTime::now"]),
    // Wire formats have no behaviour.
    ("proto/src", &["tokio::", "std::net::"]),
];

const CORE_MUST_NOT: &[&str] = &["tokio::", "tonic::", "rocksdb::", "std::net::", "Instant::now", "SystemTime::now"];

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize().expect("the workspace is above this package")
}

/// The files that git knows, as (path in the repository, text); those that are no text are left out.
fn files() -> Vec<(String, String)> {
    let root = repository();
    let output = Command::new("git")
        .args(["ls-files", "-co", "--exclude-standard"])
        .current_dir(&root)
        .output()
        .expect("git is there");
    let names =
        if output.status.success() { String::from_utf8(output.stdout).expect("names are text") } else { walk(&root) };
    let read = |name: &str| Some((name.to_owned(), fs::read_to_string(root.join(name)).ok()?));
    let files: Vec<_> = names.lines().filter_map(read).collect();
    assert!(files.len() > 20, "this is not the repository: {} files", files.len());
    files
}

/// Where there is no git: every file but what is built.
fn walk(root: &Path) -> String {
    let mut names = Vec::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("a folder of ours").flatten() {
            let path = entry.path();
            let name = path.strip_prefix(root).expect("it was found there").to_string_lossy().into_owned();
            if ["target", ".git", ".venv", ".venv-clients", ".run", "data"].contains(&name.as_str()) {
                continue;
            }
            if path.is_dir() { folders.push(path) } else { names.push(name) }
        }
    }
    names.join("\n")
}

fn is_source(name: &str) -> bool {
    Path::new(name).extension().is_some_and(|extension| extension == "rs")
}

/// Not the rules themselves.
fn is_this_file(name: &str) -> bool {
    name.ends_with("tests/tidy.rs")
}

fn expect_none(found: &[String]) {
    assert!(found.is_empty(), "\n{}\n", found.join("\n"));
}

#[test]
fn no_file_names_somebodys_machine() {
    // Homes and work folders; an index or mirror of packages that is not the language's own.
    let forbidden =
        ["/home/", "/Users/", "/root/", "/work/", "--index-url", "--extra-index-url", "--find-links", "replace-with"];
    let mut found = Vec::new();
    for (name, text) in files().iter().filter(|(name, _)| !is_this_file(name)) {
        for (number, line) in text.lines().enumerate() {
            if let Some(word) = forbidden.iter().find(|word| line.contains(*word)) {
                found.push(format!("{name}:{}: {word}", number + 1));
            }
        }
    }
    expect_none(&found);
}

#[test]
fn nothing_is_left_half_done() {
    let forbidden = ["todo!(", "unimplemented!(", "FIXME", "XXX", "dbg!(", "#[ignore"];
    let mut found = Vec::new();
    for (name, text) in files().iter().filter(|(name, _)| is_source(name) && !is_this_file(name)) {
        for (number, line) in text.lines().enumerate() {
            if let Some(word) = forbidden.iter().find(|word| line.contains(*word)) {
                found.push(format!("{name}:{}: {word}", number + 1));
            }
        }
    }
    expect_none(&found);
}

#[test]
fn every_source_file_says_which_question_it_answers_and_is_not_too_long() {
    let mut found = Vec::new();
    for (name, text) in files().iter().filter(|(name, _)| is_source(name)) {
        // `tests.rs` beside a file is that file's tests.
        if !text.starts_with("//!") && !name.ends_with("/tests.rs") {
            found.push(format!("{name}: does not begin with //!"));
        }
        found.extend(too_long(name, text));
    }
    expect_none(&found);
}

fn too_long(name: &str, text: &str) -> Option<String> {
    let (lines, code) = (text.lines().count(), lines_of_code(text));
    if code > MOST_CODE {
        return Some(format!("{name}: {code} lines of code, at most {MOST_CODE}"));
    }
    (lines > LONGEST_FILE).then(|| format!("{name}: {lines} lines, at most {LONGEST_FILE}"))
}

fn lines_of_code(text: &str) -> usize {
    let lines = lines_before_tests(text).map(|(_, line)| line.trim_start());
    lines.filter(|line| !line.is_empty() && !line.starts_with("//")).count()
}

/// Lines with their indexes, without `mod` and `use` of tests, up to the tests themselves.
fn lines_before_tests(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut lines = text.lines().enumerate().peekable();
    std::iter::from_fn(move || {
        loop {
            let (index, line) = lines.next()?;
            if !line.starts_with("#[cfg(test)]") {
                return Some((index, line));
            }
            let one = lines.next_if(|(_, item)| item.ends_with(';'))?;
            debug_assert!(one.0 == index + 1);
        }
    })
}

#[test]
fn only_code_is_counted() {
    assert_eq!(lines_of_code("//! Why.\n\nfn a() {\n    // how\n}\n#[cfg(test)]\nmod tests {}\n"), 2);
    // Not what stands before the tests only, if a module of tests is declared at the top.
    assert_eq!(lines_of_code("#[cfg(test)]\nmod testing;\nmod other;\n\nfn a() {}\n#[cfg(test)]\nmod tests {\n}\n"), 2);
}

#[test]
fn nobody_uses_whom_they_must_not() {
    let files = files();
    let sources = files.iter().filter(|(name, _)| is_source(name));
    let found: Vec<_> = sources.flat_map(|(name, text)| forbidden_uses(name, text)).collect();
    expect_none(&found);
}

fn forbidden_uses(name: &str, text: &str) -> Vec<String> {
    let rules = EDGES.iter().filter(|(place, _)| name == *place || name.starts_with(&format!("{place}/")));
    let words = rules.flat_map(|(_, words)| *words);
    words.flat_map(|word| uses(text, word).map(move |line| format!("{name}:{line}: uses {word}"))).collect()
}

/// Lines of code, numbered from 1, that name `word`; comments and what stands behind the tests' head are not code.
fn uses<'a>(text: &'a str, word: &'a str) -> impl Iterator<Item = usize> + 'a {
    lines_before_tests(text)
        .filter(move |(_, line)| !line.trim_start().starts_with("//") && line.contains(word))
        .map(|(index, _)| index + 1)
}

/// Folders of crates.
const CRATES: [&str; 6] = ["proto", "edge", "node/core", "node", "sentinel", "chaos-tests"];

/// Files that use each other still. The list only gets shorter: a file that is in no circle any more must go from it.
const KNOWN_CIRCLES: &str = include_str!("tidy/circles.txt");

#[test]
fn imports_go_in_no_circle() {
    let files = files();
    let mut found = Vec::new();
    for name in CRATES {
        let prefix = format!("{name}/src/");
        let sources = files.iter().filter(|(file, _)| is_source(file));
        let sources = sources.filter_map(|(file, text)| Some((file.strip_prefix(&prefix)?, text.as_str())));
        for circle in circles::Crate::new(sources).circles() {
            found.extend(circle.iter().map(|module| format!("{name} {}", module.join("::"))));
        }
    }
    found.sort();
    let known: Vec<String> = KNOWN_CIRCLES.lines().map(str::to_owned).collect();
    let new: Vec<_> = found
        .iter()
        .filter(|file| !known.contains(file))
        .map(|file| format!("{file}: is in a circle of imports"))
        .collect();
    expect_none(&new);
    let gone: Vec<_> = known
        .iter()
        .filter(|file| !found.contains(file))
        .map(|file| format!("{file}: take it out of tidy/circles.txt"))
        .collect();
    expect_none(&gone);
}

#[test]
fn a_planted_use_is_found_and_a_mention_is_not() {
    let text = "//! Like tokio::spawn.\nuse tokio::spawn;\n    // tokio::\n#[cfg(test)]\nuse tokio::test;\n";
    assert_eq!(uses(text, "tokio::").collect::<Vec<_>>(), [2]);
}

#[test]
fn planted_faults_are_found() {
    // An import upward, a runtime in the core, a frontend that knows another one, a file of too much code.
    let upward = forbidden_uses("node/core/src/keyspace/table.rs", "use super::entry;\nuse crate::engine::Engine;\n");
    assert_eq!(upward, ["node/core/src/keyspace/table.rs:2: uses crate::engine"]);
    let runtime =
        forbidden_uses("node/core/src/journal/gate.rs", "#[cfg(test)]\nmod tests;\nuse tokio::sync::Notify;\n");
    assert_eq!(runtime, ["node/core/src/journal/gate.rs:3: uses tokio::"]);
    assert_eq!(forbidden_uses("node/src/resp/session.rs", "use crate::amqp::Error;\n").len(), 1);
    assert_eq!(forbidden_uses("node/src/server.rs", "use crate::amqp::Error;\nuse tokio::sync::Notify;\n").len(), 0);
    let code = |lines: usize| "let a = 1;\n".repeat(lines) + "// said\n\n#[cfg(test)]\nmod tests {\n}\n";
    assert_eq!(too_long("a.rs", &code(MOST_CODE)), None);
    assert_eq!(too_long("a.rs", &code(MOST_CODE + 1)), Some("a.rs: 601 lines of code, at most 600".to_owned()));
    assert!(too_long("a.rs", &"// said\n".repeat(LONGEST_FILE + 1)).is_some());
}
