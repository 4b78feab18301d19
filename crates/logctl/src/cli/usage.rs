//! The parser's complaints in this program's own form.

use std::ffi::OsString;

use clap::{
    Command, CommandFactory as _,
    error::{ContextKind, ContextValue, ErrorKind},
};

use crate::{cli::Cli, connect, error::CliError};

/// Makes one of our errors of a parser's error that is not a request for help. `args`: what was parsed.
pub(crate) fn usage_error(error: &clap::Error, args: &[OsString]) -> CliError {
    let text = error.render().to_string();
    let message: Vec<&str> = text
        .lines()
        .map(str::trim)
        .take_while(|line| !line.starts_with("Usage:") && !line.starts_with("For more information"))
        .filter(|line| !line.starts_with("tip:") && !line.is_empty())
        .collect();
    let message = message.join(" ");
    let message = message.strip_prefix("error: ").unwrap_or(&message).to_owned();
    let mut ours =
        CliError::usage(if message.is_empty() { "no command was given".to_owned() } else { message });
    let mut tree = Cli::command();
    tree.build();
    let (command, path) = command_of(&tree, args);
    ours = connect::tidied(ours);
    let suggested = suggestion(error).map(|word| {
        // An alias is known; what help calls it is what people should learn.
        command.find_subcommand(&word).map_or(word, |found| found.get_name().to_owned())
    });
    ours.did_you_mean = suggested.or(ours.did_you_mean);
    if let (ErrorKind::InvalidValue, Some(ContextValue::Strings(words))) =
        (error.kind(), error.get(ContextKind::ValidValue))
        && !words.is_empty()
    {
        ours = ours.with_hint(format!("use one of: {}", words.join(", ")));
    }
    ours.with_hint(format!("{path} --help"))
}

fn suggestion(error: &clap::Error) -> Option<String> {
    let kinds = [ContextKind::SuggestedSubcommand, ContextKind::SuggestedArg, ContextKind::SuggestedValue];
    match kinds.into_iter().find_map(|kind| error.get(kind))? {
        ContextValue::String(word) => Some(word.clone()),
        ContextValue::Strings(words) => words.first().cloned(),
        _ => None,
    }
}

/// The command that the words lead to, and how it is called. What a flag takes is no word.
fn command_of<'a>(tree: &'a Command, args: &[OsString]) -> (&'a Command, String) {
    let (mut command, mut path) = (tree, tree.get_name().to_owned());
    let mut words = args.iter().skip(1).filter_map(|arg| arg.to_str());
    while let Some(word) = words.next() {
        if let Some(sub) = command.find_subcommand(word) {
            command = sub;
            path = format!("{path} {}", sub.get_name());
        } else if takes_next(command, word) {
            words.next();
        } else if !word.starts_with('-') || word == "--" {
            break;
        }
    }
    (command, path)
}

/// Whether `word` is a flag whose value is the next word.
fn takes_next(command: &Command, word: &str) -> bool {
    let flag = command.get_arguments().find(|arg| match word.strip_prefix("--") {
        Some(long) => arg.get_long() == Some(long),
        None => word
            .strip_prefix('-')
            .and_then(|short| short.parse().ok())
            .is_some_and(|c| arg.get_short() == Some(c)),
    });
    flag.is_some_and(|flag| flag.get_action().takes_values() && !flag.is_require_equals_set())
}

/// Whether errors should be JSON, found out before the command line is known to be right.
pub(crate) fn asked_for_json(args: &[OsString]) -> bool {
    let is_json = |form: &str| form == "json" || form == "jsonl";
    let mut asked = std::env::var("LOGCTL_OUTPUT").is_ok_and(|form| is_json(&form));
    let mut form_follows = false;
    for arg in args.iter().skip(1) {
        let Some(arg) = arg.to_str() else {
            form_follows = false;
            continue;
        };
        if form_follows {
            asked = is_json(arg);
            form_follows = false;
        } else if arg == "--" {
            break;
        } else if arg == "-o" || arg == "--output" {
            form_follows = true;
        } else if let Some(form) = arg.strip_prefix("--output=").or_else(|| arg.strip_prefix("-o")) {
            asked = is_json(form.trim_start_matches('='));
        }
    }
    asked
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    fn complaint(args: &[&str]) -> CliError {
        let args: Vec<OsString> = std::iter::once(&"logctl").chain(args).map(OsString::from).collect();
        usage_error(&Cli::try_parse_from(&args).unwrap_err(), &args)
    }

    #[test]
    fn typing_errors_are_corrected() {
        assert_eq!(complaint(&["tpic", "ls"]).did_you_mean.as_deref(), Some("topic"));
        let flag = complaint(&["topic", "ls", "--intrnal"]);
        assert_eq!(flag.did_you_mean.as_deref(), Some("--internal"));
        assert_eq!(flag.hints, ["logctl topic ls --help"]);
        let value = complaint(&["status", "-o", "jsn"]);
        assert_eq!(value.did_you_mean.as_deref(), Some("json"));
        let alias = complaint(&["topic", "lss"]);
        assert_eq!(
            (alias.did_you_mean.as_deref(), alias.hints.as_slice()),
            (Some("ls"), &["logctl topic --help".to_owned()][..])
        );
        assert!(value.message.contains("invalid value 'jsn' for '--output"), "{}", value.message);
    }

    #[test]
    fn a_wrong_value_names_the_right_ones_and_the_help_of_its_command() {
        let progress = complaint(&["produce", "t", "--progress", "foo"]);
        assert_eq!(progress.hints, ["use one of: bar, plain, json, none", "logctl produce --help"]);
        let place = complaint(&["-o", "json", "--server", "topic", "consume", "t", "--from", "x"]);
        assert_eq!(place.hints, ["logctl consume --help"]);
        let watch = complaint(&["topic", "ls", "--watch=soon"]);
        assert_eq!(watch.hints, ["logctl topic ls --help"]);
        assert_eq!(complaint(&["-c"]).hints, ["logctl --help"]);
    }

    #[test]
    fn a_message_is_one_line() {
        for args in [&["topic", "create"][..], &["produce"], &["consume", "t", "--from", "x"]] {
            let error = complaint(args);
            assert!(!error.message.contains('\n') && !error.message.contains("Usage"), "{}", error.message);
        }
    }

    #[test]
    fn json_is_recognised_before_parsing() {
        let asks = |args: &[&str]| asked_for_json(&args.iter().map(OsString::from).collect::<Vec<_>>());
        assert!(asks(&["logctl", "-o", "json", "x"]) && asks(&["logctl", "-ojson"]));
        assert!(asks(&["logctl", "--output=jsonl"]) && asks(&["logctl", "topic", "--output", "json"]));
        assert!(!asks(&["logctl", "-o", "table"]) && !asks(&["logctl", "--", "-o", "json"]));
    }
}
