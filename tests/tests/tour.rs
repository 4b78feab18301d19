//! README's tour, as it stands there, against a real broker: each command's output is compared line by line.
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may fail loudly, its helpers too"
)]

mod support;

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use support::Brokerd;

/// One `$ command` of a transcript with what it prints; `[..]` stands for anything within a line.
#[derive(Debug)]
struct Step {
    command: String,
    expected: Vec<String>,
}

/// The console block that follows `heading`.
fn transcript(text: &str, heading: &str) -> Vec<Step> {
    let block =
        text.split(heading).nth(1).expect("the heading").split("```console\n").nth(1).expect("a block");
    let block = block.split("```").next().expect("its end");
    let mut steps: Vec<Step> = Vec::new();
    for line in block.lines() {
        match line.strip_prefix("$ ") {
            Some(command) => steps.push(Step { command: command.to_owned(), expected: Vec::new() }),
            None => steps.last_mut().expect("a command comes first").expected.push(line.to_owned()),
        }
    }
    steps
}

/// Whether `line` is `pattern`, where `[..]` stands for anything.
fn matches(pattern: &str, line: &str) -> bool {
    let mut parts = pattern.split("[..]");
    let Some(mut rest) = line.strip_prefix(parts.next().unwrap_or_default()) else { return false };
    let parts: Vec<_> = parts.collect();
    for (index, part) in parts.iter().enumerate() {
        let last = index + 1 == parts.len();
        let found =
            if last { rest.ends_with(part).then(|| rest.len() - part.len()) } else { rest.find(part) };
        let Some(at) = found else { return false };
        rest = &rest[at + part.len()..];
    }
    rest.is_empty()
}

/// Puts `brokerd` and `logctl` of this build first on the path.
fn programs(home: &Path) -> PathBuf {
    let bin = home.join("bin");
    fs::create_dir(&bin).unwrap();
    std::os::unix::fs::symlink(support::BROKERD, bin.join("brokerd")).unwrap();
    std::os::unix::fs::symlink(support::LOGCTL, bin.join("logctl")).unwrap();
    bin
}

#[test]
fn the_tour_prints_what_readme_says() {
    let (_dir, home) = support::scratch();
    let broker = Brokerd::start(&home.join("data"), &[]);
    let path = format!("{}:/usr/local/bin:/usr/bin:/bin", programs(&home).display());
    let readme = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../README.md")).unwrap();
    let steps = transcript(&readme, "In another terminal");
    assert!(steps.len() >= 8, "the tour was not understood: {steps:?}");
    for Step { command, expected } in steps {
        let here = |text: &str| text.replace("http://127.0.0.1:9480", &broker.grpc);
        // Both streams into one, as a terminal shows them; bash for the process substitution.
        let output = Command::new("bash")
            .args(["-c", &format!("exec 2>&1\n{}", here(&command))])
            .current_dir(&home)
            .env_clear()
            .envs([("HOME", home.as_os_str()), ("PATH", path.as_ref())])
            .output()
            .unwrap();
        let printed = String::from_utf8(output.stdout).unwrap();
        let lines: Vec<_> = printed.lines().collect();
        let same = lines.len() == expected.len()
            && expected.iter().zip(&lines).all(|(pattern, line)| matches(&here(pattern), line));
        assert!(same, "$ {command}\nREADME says:\n{}\nit printed:\n{printed}", expected.join("\n"));
    }
}

#[test]
fn wildcards_match_within_a_line() {
    assert!(matches("a [..] c", "a b c") && matches("[..]", "anything") && matches("x", "x"));
    assert!(!matches("a [..] c", "a b d") && !matches("x", "xy") && !matches("[..]y", "x"));
    assert!(matches("a[..]b[..]c", "a1b2c") && !matches("a[..]b[..]c", "a1c2b"));
}
