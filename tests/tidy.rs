//! The house rules that a machine can check: which room may use which, how long files and functions are, where
//! drivers, tasks and clocks live, and what no text says.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Each room with the rooms it may use, from the bottom up.
const ROOMS: &[(&str, &[&str])] = &[
    ("model", &[]),
    ("tokens", &["model"]),
    ("pricing", &["model", "tokens"]),
    ("kernel", &["model"]),
    ("clock", &["model"]),
    ("random", &[]),
    ("store", &["kernel", "model", "clock", "random"]),
    ("telemetry", &[]),
    ("error", &["kernel", "model", "store"]),
    ("engine", &["store", "kernel", "model", "error", "telemetry", "random"]),
    ("journal", &["engine", "store", "kernel", "model", "error"]),
    ("ledger", &["engine", "store", "kernel", "model", "pricing", "journal", "error", "telemetry", "clock", "random"]),
    ("metering", &["ledger", "engine", "kernel", "pricing", "tokens", "model", "error", "telemetry"]),
];

/// Rooms that know nothing of the world outside.
const PURE: &[&str] = &["model", "kernel", "pricing", "tokens"];

const FILE_LINES_MAX: usize = 500;
const FUNCTION_LINES_MAX: usize = 70;

#[test]
fn arrows_between_rooms_never_point_up() {
    let mut broken = Vec::new();
    for (path, text) in sources("src") {
        let Some(room) = room_of(&path) else {
            continue;
        };
        let Some((_, allowed)) = ROOMS.iter().find(|(name, _)| *name == room) else {
            continue;
        };
        for line in code(&text) {
            for used in used_rooms(line) {
                // The crate's root names a few types of several rooms; inside the crate rooms are named themselves.
                let known = ROOMS.iter().any(|(name, _)| *name == used);
                if known && used != room && !allowed.contains(&used.as_str()) {
                    broken.push(format!("{}: {room} uses {used}: {}", path.display(), line.trim()));
                }
            }
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

#[test]
fn pure_rooms_name_nothing_impure() {
    let impure =
        ["tokio", "rusqlite", "sqlx", "async fn", "Instant::now", "SystemTime", "tracing::", "metrics::", "getrandom"];
    let mut broken = Vec::new();
    for (path, text) in sources("src") {
        if !room_of(&path).is_some_and(|room| PURE.contains(&room.as_str())) {
            continue;
        }
        for line in code(&text) {
            broken.extend(
                impure.iter().filter(|word| line.contains(**word)).map(|word| format!("{}: {word}", path.display())),
            );
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

#[test]
fn drivers_and_tasks_stay_in_their_rooms() {
    let homes: &[(&str, &[&str])] = &[
        ("rusqlite", &["src/store/sqlite"]),
        ("sqlx", &["src/store/postgres"]),
        ("spawn(", &["src/engine", "src/metering", "src/store/sqlite", "src/store/conformance", "src/testing"]),
        ("getrandom", &["src/random.rs", "src/store/sqlite"]),
        ("SystemTime::now", &["src/clock.rs"]),
    ];
    let mut broken = Vec::new();
    for (path, text) in sources("src") {
        for (word, allowed) in homes {
            let at_home = allowed.iter().any(|home| path.starts_with(home));
            if !at_home && code(&text).any(|line| line.contains(word)) {
                broken.push(format!("{} names {word}", path.display()));
            }
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

#[test]
fn files_and_functions_are_short() {
    let mut broken = Vec::new();
    for (path, text) in sources("src") {
        let lines = code_and_docs(&text).count();
        if lines > FILE_LINES_MAX {
            broken.push(format!("{}: {lines} lines outside tests", path.display()));
        }
        let mut opened: Option<(usize, usize, String)> = None;
        for (number, line) in code_and_docs(&text).enumerate() {
            let indent = line.len() - line.trim_start().len();
            if opened.is_none() && is_function(line) && !line.trim_end().ends_with(['}', ';']) {
                opened = Some((number, indent, line.trim().to_owned()));
            }
            let closes = opened.as_ref().is_some_and(|(_, at, _)| indent == *at && line.trim() == "}");
            if closes && let Some((from, _, name)) = opened.take() {
                let length = number - from + 1;
                if length > FUNCTION_LINES_MAX {
                    broken.push(format!("{}: {length} lines: {name}", path.display()));
                }
            }
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

#[test]
fn no_text_says_what_it_should_not() {
    // Spelled apart, so that this file may be read too.
    let banned: Vec<String> = [
        ["TO", "DO"],
        ["FIX", "ME"],
        ["XX", "X:"],
        ["bank ", "grade"],
        ["bank-", "grade"],
        ["exactly", "-once"],
        ["/wo", "rk/"],
        ["/tm", "p/"],
        ["#[ign", "ore"],
    ]
    .iter()
    .map(|parts| parts.concat())
    .collect();
    let mut broken = Vec::new();
    let texts =
        ["src", "tests", "examples", "benches", "migrations"].iter().flat_map(|folder| files(folder, &["rs", "sql"]));
    for path in texts.chain(["README.md", "CHANGELOG.md"].map(PathBuf::from)) {
        let text = fs::read_to_string(&path).unwrap_or_default();
        for (number, line) in text.lines().enumerate() {
            broken.extend(
                banned
                    .iter()
                    .filter(|word| line.contains(*word))
                    .map(|word| format!("{}:{}: {word}", path.display(), number + 1)),
            );
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

#[test]
fn the_manual_names_every_metric_and_no_other() {
    let named = |file: &str| -> BTreeSet<String> {
        let text = fs::read_to_string(file).unwrap();
        let names = text.split(['"', '`']).filter(|part| part.starts_with("prepaid_"));
        names.map(str::to_owned).collect()
    };
    let metrics = named("src/telemetry.rs");
    assert!(metrics.len() > 10, "{metrics:?}");
    assert_eq!(named("src/manual/operations.rs"), metrics);
}

/// The files of a folder with one of these endings.
fn files(folder: &str, endings: &[&str]) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![PathBuf::from(folder)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).into_iter().flatten() {
            let path = entry.unwrap().path();
            if path.ends_with("target") {
                // What a project of its own in here was built into is nobody's text.
                continue;
            }
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|ending| endings.iter().any(|wanted| ending == *wanted)) {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

fn sources(folder: &str) -> Vec<(PathBuf, String)> {
    let read = |path: PathBuf| (path.clone(), fs::read_to_string(path).unwrap());
    let sources: Vec<_> = files(folder, &["rs"]).into_iter().map(read).collect();
    assert!(sources.len() > 20, "the sources were not found");
    sources
}

/// `src/store/memory.rs` and `src/clock.rs` are in `store` and `clock`.
fn room_of(path: &Path) -> Option<String> {
    let inside = path.strip_prefix("src").ok()?;
    let first = inside.components().next()?.as_os_str().to_str()?;
    Some(first.trim_end_matches(".rs").to_owned())
}

/// The lines before the tests.
fn code_and_docs(text: &str) -> impl Iterator<Item = &str> {
    text.lines().take_while(|line| !line.starts_with("#[cfg(test)]"))
}

/// The lines before the tests that are no comments.
fn code(text: &str) -> impl Iterator<Item = &str> {
    code_and_docs(text).filter(|line| !line.trim_start().starts_with("//"))
}

/// The rooms a line names: `crate::store::Store`, `super::super` is inside a room.
fn used_rooms(line: &str) -> Vec<String> {
    line.split("crate::")
        .skip(1)
        .map(|rest| rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect())
        .collect()
}

fn is_function(line: &str) -> bool {
    let line = line.trim_start();
    let line = line.strip_prefix("pub").map_or(line, |rest| rest.trim_start_matches(|c: char| c != ' ').trim_start());
    ["fn ", "async fn ", "const fn ", "unsafe fn "].iter().any(|start| line.starts_with(start))
}
