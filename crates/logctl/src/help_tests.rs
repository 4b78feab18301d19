//! The command tree against its own words: every command that help, an error or a document mentions exists, and
//! the reference in `docs/logctl.md` is what the tree says.

use std::{fs, path::Path};

use clap::{Command, CommandFactory as _};
use corduroy_types::{CONFIG_CODES, CONFIG_KEYS, EVENT_CODES, ErrorCode, explain, explain_topic_config};
use regex::Regex;

use crate::cli::Cli;

/// A terminal that no one has enlarged.
const SCREEN_LINES: usize = 28;

fn tree() -> Command {
    let mut tree = Cli::command().term_width(100);
    tree.build();
    tree
}

/// Every command, with the words that call it.
fn all_commands(command: &Command, path: &str, visit: &mut dyn FnMut(&str, &Command)) {
    visit(path, command);
    for sub in command.get_subcommands() {
        all_commands(sub, &format!("{path} {}", sub.get_name()), visit);
    }
}

/// Why a `logctl ..` of some text does not exist: its words must lead through the tree, its flags belong to the end.
fn mistake(tree: &Command, words: &[&str]) -> Option<String> {
    let mut command = tree;
    for word in words {
        if word.is_empty() {
            // Two dots stand for whatever may follow.
            return None;
        }
        if let Some(flag) = word.strip_prefix('-') {
            let flag = flag.trim_start_matches('-').split('=').next().unwrap_or_default();
            let known = command.get_arguments().any(|arg| {
                arg.get_long() == Some(flag) || arg.get_short().is_some_and(|short| flag.starts_with(short))
            });
            // A number that begins with a dash is a value.
            if !known && !flag.is_empty() && !flag.starts_with(|c: char| c.is_ascii_digit()) {
                return Some(format!("{} has no flag {word}", command.get_name()));
            }
        } else if command.has_subcommands() {
            match command.find_subcommand(word) {
                Some(sub) => command = sub,
                None => return Some(format!("{} has no command {word}", command.get_name())),
            }
        }
    }
    command
        .has_subcommands()
        .then(|| format!("{} alone does nothing", command.get_name()))
        .filter(|_| !words.iter().any(|word| *word == "--help" || *word == "-h"))
}

/// Every `logctl ..` in a text, as words up to what ends a command there.
fn mentions(text: &str) -> Vec<Vec<String>> {
    let call = Regex::new(r"(?:^|[\s`|(])logctl ([^`|;>\n\\]*)").unwrap();
    let ended = |word: &str| matches!(word, "&&" | "<" | "#" | "2>&1");
    let text = Regex::new("(?m)^Usage: .*$").unwrap().replace_all(text, "");
    call.captures_iter(&text)
        .map(|found| {
            let words = found[1].split_whitespace().take_while(|word| !ended(word));
            words.map(|word| word.trim_end_matches(['.', ',', ')', ':', '"', '\'']).to_owned()).collect()
        })
        .filter(|words: &Vec<String>| !words.is_empty())
        .collect()
}

fn check(tree: &Command, origin: &str, text: &str) {
    for words in mentions(text) {
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        if let Some(mistake) = mistake(tree, &words) {
            panic!("{origin}: `logctl {}`: {mistake}", words.join(" "));
        }
    }
}

#[test]
fn the_tree_is_sound() {
    Cli::command().debug_assert();
}

#[test]
fn every_command_leads_its_help_with_examples_that_parse() {
    let tree = tree();
    all_commands(&tree, "logctl", &mut |path, command| {
        let help = command.clone().render_long_help().to_string();
        assert!(help.starts_with("Examples:\n  "), "{path}: {help}");
        let examples = help.split("\n\n").next().unwrap_or_default();
        assert!(examples.lines().skip(1).all(|line| line.contains("logctl ")), "{path}");
        check(&tree, path, &help);
    });
}

#[test]
fn short_help_fits_one_screen() {
    all_commands(&tree(), "logctl", &mut |path, command| {
        let lines = command.clone().render_help().to_string().lines().count();
        assert!(lines <= SCREEN_LINES, "{path} -h has {lines} lines");
    });
}

#[test]
fn what_codes_advise_exists() {
    let tree = tree();
    let codes = ErrorCode::ALL.iter().map(ToString::to_string);
    let others = CONFIG_CODES.iter().chain(EVENT_CODES).map(|text| text.code.to_owned());
    for code in codes.chain(others) {
        check(&tree, &code, &explain(&code).unwrap());
    }
    for key in CONFIG_KEYS {
        check(&tree, key, &explain_topic_config(key).unwrap());
    }
}

/// Hints are made where errors are, so the sources are searched: ours, the client's, the broker's.
#[test]
fn what_hints_mention_exists() {
    let tree = tree();
    let crates = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let filled_in = Regex::new(r"\{[^}]*\}").unwrap();
    let mut searched = 0;
    for name in ["logctl", "client", "broker", "brokerd", "log", "types", "metadata", "partition", "testing"]
    {
        let mut dirs = vec![crates.join(name).join("src")];
        while let Some(dir) = dirs.pop() {
            for entry in fs::read_dir(&dir).unwrap().map(|entry| entry.unwrap().path()) {
                if entry.is_dir() {
                    dirs.push(entry);
                } else if entry.extension().is_some_and(|ext| ext == "rs")
                    && !entry.ends_with("help_tests.rs")
                {
                    let text = fs::read_to_string(&entry).unwrap();
                    // What a format string fills in is a value; a comment that ends a line ends a mention.
                    let text = filled_in.replace_all(&text, "VALUE");
                    check(&tree, &entry.display().to_string(), &text);
                    searched += 1;
                }
            }
        }
    }
    assert!(searched > 50);
}

#[test]
fn a_command_that_does_not_exist_would_be_found() {
    let tree = tree();
    for text in [
        "see `logctl queue ls`",
        "try logctl topic craete orders",
        "logctl topic ls --bogus",
        "`logctl topic`",
    ] {
        let found = mentions(text);
        let words: Vec<&str> = found[0].iter().map(String::as_str).collect();
        assert!(mistake(&tree, &words).is_some(), "{text}");
    }
    assert_eq!(mentions("seq 3 | logctl produce load -z lz4 && x"), [["produce", "load", "-z", "lz4"]]);
}

/// The reference: the long help of every command.
fn reference() -> String {
    let mut text = String::from(
        "# logctl\n\n<!-- Generated from the command tree in crates/logctl; a test compares it. UPDATE_DOCS=1 rewrites it. -->\n",
    );
    text.push_str(
        "\nEvery command takes the global options. Data goes to stdout, everything else to stderr.\n\n",
    );
    text.push_str("| exit status | means |\n|---|---|\n");
    for (code, meaning) in [
        ("0", "done"),
        ("1", "failed"),
        ("2", "the command line is wrong"),
        ("3", "what was named does not exist"),
        ("4", "something is in the way, or a condition did not hold"),
        (
            "6",
            "unreachable, not ready, or too slow; `details.outcome` says whether records are certainly not written",
        ),
        ("7", "some items failed; they are listed on stderr"),
        ("8", "an answer is needed, and no one can be asked"),
        ("9", "a check has findings"),
        ("130, 143", "ended by Ctrl-C, by SIGTERM or a closed terminal"),
    ] {
        text.push_str(&format!("| {code} | {meaning} |\n"));
    }
    text.push_str("\n| variable | stands for |\n|---|---|\n");
    for (name, meaning) in crate::env::KNOWN {
        text.push_str(&format!("| `{name}` | {meaning} |\n"));
    }
    let tree = tree();
    let globals: Vec<clap::Id> =
        tree.get_arguments().filter(|arg| arg.is_global_set()).map(|a| a.get_id().clone()).collect();
    all_commands(&tree, "logctl", &mut |path, command| {
        let mut command = command.clone();
        if path != "logctl" {
            for id in &globals {
                command = command.mut_arg(id.clone(), |arg| arg.hide(true));
            }
        }
        let help = command.render_long_help().to_string();
        let help: Vec<&str> = help.lines().map(str::trim_end).collect();
        text.push_str(&format!("\n## {path}\n\n```text\n{}\n```\n", help.join("\n").trim_end()));
    });
    text
}

#[test]
fn the_reference_is_up_to_date() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/logctl.md");
    let reference = reference();
    if std::env::var_os("UPDATE_DOCS").is_some() {
        fs::write(&file, &reference).unwrap();
    }
    let stored = fs::read_to_string(&file).unwrap_or_default();
    assert!(stored == reference, "run: UPDATE_DOCS=1 cargo test -p corduroy-logctl the_reference");
}
