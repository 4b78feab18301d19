//! The project's own rules: which crate may know which, what ARCHITECTURE.md says, and one word for one thing.
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may fail loudly, its helpers too"
)]

mod functions;
mod rules;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_path_buf()
}

fn crates() -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(root().join("crates"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

/// The `corduroy-*` crates that a manifest names in its `[dependencies]` (tests may look anywhere).
fn dependencies(name: &str) -> BTreeSet<String> {
    let manifest = fs::read_to_string(root().join("crates").join(name).join("Cargo.toml")).unwrap();
    manifest
        .lines()
        .skip_while(|line| line.trim() != "[dependencies]")
        .skip(1)
        .take_while(|line| !line.starts_with('['))
        .filter_map(|line| line.strip_prefix("corduroy-"))
        .map(|rest| rest.split(['.', ' ', '=']).next().unwrap().to_owned())
        .collect()
}

#[test]
fn dependencies_point_downwards_only() {
    let allowed: BTreeMap<&str, &[&str]> = BTreeMap::from([
        ("types", &[][..]),
        ("batch", &["types"]),
        ("log", &["types", "batch"]),
        ("partition", &["types"]),
        ("spec", &[]),
        ("group", &["types"]),
        ("member", &[]),
        ("metadata", &["types"]),
        ("checker", &["types"]),
        ("sim", &["types", "batch", "log", "partition", "checker"]),
        ("control", &["types", "partition", "metadata"]),
        ("api", &["types"]),
        ("broker", &["types", "batch", "log", "partition", "group", "member", "metadata", "api"]),
        ("brokerd", &["types", "broker", "log"]),
        ("client", &["types", "batch", "member", "api"]),
        ("testing", &["types", "log", "broker", "client"]),
        ("logctl", &["types", "batch", "log", "metadata", "client"]),
    ]);
    for name in crates() {
        let may =
            allowed.get(name.as_str()).unwrap_or_else(|| panic!("crate {name}: say here what it may know"));
        for dependency in dependencies(&name) {
            assert!(may.contains(&dependency.as_str()), "{name} must not depend on {dependency}");
        }
    }
}

#[test]
fn pure_crates_know_no_input_or_output() {
    for name in ["types", "batch", "partition", "spec", "group", "member", "metadata", "control", "checker"] {
        let manifest = fs::read_to_string(root().join("crates").join(name).join("Cargo.toml")).unwrap();
        for forbidden in ["tokio", "tonic", "rustix", "axum", "memmap2"] {
            assert!(!manifest.contains(forbidden), "{name} must not depend on {forbidden}");
        }
    }
    let log = fs::read_to_string(root().join("crates/log/Cargo.toml")).unwrap();
    assert!(!log.contains("tokio") && !log.contains("tonic"), "log knows no network and no runtime");
}

#[test]
fn the_code_map_covers_every_crate() {
    let text = fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap();
    for name in crates() {
        let heading = format!("### `{name}`");
        let section =
            text.split(&heading).nth(1).unwrap_or_else(|| panic!("ARCHITECTURE.md has no {heading}"));
        let section = section.split("\n### ").next().unwrap();
        assert!(section.contains("Never:"), "{name}: state what must not be found in it");
    }
}

/// Every text file of ours in which the losing words are searched for.
fn sources() -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut open = vec![root()];
    while let Some(dir) = open.pop() {
        for entry in fs::read_dir(&dir).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            if path.is_dir() {
                if !matches!(name.as_str(), "target" | ".git" | "golden" | "corpus" | "artifacts") {
                    open.push(path);
                }
            } else if matches!(
                path.extension().and_then(|e| e.to_str()),
                Some("rs" | "proto" | "md" | "toml" | "sh")
            ) {
                found.push(path);
            }
        }
    }
    found
}

/// The losing words: the last column of docs/words.md.
fn losing_words() -> Vec<String> {
    let words = fs::read_to_string(root().join("docs/words.md")).unwrap();
    let rows = words.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| word "));
    rows.flat_map(|row| {
        let last = row.trim_end_matches([' ', '|']).rsplit('|').next().unwrap().to_owned();
        last.split('`').skip(1).step_by(2).map(str::to_owned).collect::<Vec<_>>()
    })
    .collect()
}

#[test]
fn one_word_for_one_thing() {
    let losing = losing_words();
    assert!(losing.len() > 10, "docs/words.md was not understood: {losing:?}");
    let mut faults = Vec::new();
    for path in sources() {
        if path.ends_with("docs/words.md") || path.ends_with("project/main.rs") {
            continue;
        }
        let text = fs::read_to_string(&path).unwrap_or_default();
        for (number, line) in text.lines().enumerate() {
            let lower = line.to_lowercase();
            for word in &losing {
                if contains_word(&lower, word) && !lower.contains("kafka") {
                    faults.push(format!("{}:{}: {word:?}", path.display(), number + 1));
                }
            }
        }
    }
    assert!(faults.is_empty(), "see docs/words.md:\n{}", faults.join("\n"));
}

/// `word` in `line`, not as part of a longer identifier.
fn contains_word(line: &str, word: &str) -> bool {
    line.match_indices(word).any(|(at, _)| {
        let part = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_');
        !part(line[..at].chars().next_back()) && !part(line[at + word.len()..].chars().next())
    })
}

#[test]
fn files_stay_small_enough_to_be_about_one_thing() {
    const LINES_MAX: usize = 450;
    for path in sources() {
        let text = fs::read_to_string(&path).unwrap_or_default();
        let is_test =
            path.components().any(|part| matches!(part.as_os_str().to_str(), Some("tests" | "benches")));
        if path.extension().is_none_or(|e| e != "rs") || is_test {
            continue;
        }
        let lines = text.lines().take_while(|line| *line != "#[cfg(test)]").count();
        assert!(
            lines <= LINES_MAX,
            "{}: {lines} lines before its tests, split it by concern",
            path.display()
        );
    }
}

#[test]
fn no_file_names_a_path_of_a_developers_machine() {
    for path in sources() {
        if path.ends_with("project/main.rs") {
            continue;
        }
        let text = fs::read_to_string(&path).unwrap_or_default();
        for forbidden in ["/root/", "/work/", "/home/"] {
            assert!(!text.contains(forbidden), "{}: names {forbidden}", path.display());
        }
    }
}
