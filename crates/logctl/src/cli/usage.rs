//! The parser's complaints in this program's own form.

use std::ffi::OsString;

use clap::error::{ContextKind, ContextValue, ErrorKind};

use crate::error::CliError;

/// Makes one of our errors of a parser's error that is not a request for help.
pub(crate) fn usage_error(error: &clap::Error) -> CliError {
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
    let suggestion =
        [ContextKind::SuggestedSubcommand, ContextKind::SuggestedArg, ContextKind::SuggestedValue]
            .into_iter()
            .find_map(|kind| error.get(kind));
    ours.did_you_mean = match suggestion {
        Some(ContextValue::String(word)) => Some(word.clone()),
        Some(ContextValue::Strings(words)) => words.first().cloned(),
        _ => None,
    };
    let command = match error.kind() {
        ErrorKind::InvalidSubcommand => "logctl --help".to_owned(),
        _ => help_command(error),
    };
    ours.with_hint(command)
}

/// The help of the command that was being parsed, from the usage line that the parser knows.
fn help_command(error: &clap::Error) -> String {
    let usage = match error.get(ContextKind::Usage) {
        Some(ContextValue::StyledStr(usage)) => usage.to_string(),
        _ => String::new(),
    };
    let usage = usage.trim_start().strip_prefix("Usage:").unwrap_or_default();
    let is_word = |word: &&str| word.starts_with(|c: char| c.is_ascii_lowercase());
    let words: Vec<&str> = usage.split_whitespace().take_while(is_word).collect();
    if words.is_empty() { "logctl --help".to_owned() } else { format!("{} --help", words.join(" ")) }
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
    use crate::cli::Cli;

    fn complaint(args: &[&str]) -> CliError {
        usage_error(&Cli::try_parse_from(std::iter::once(&"logctl").chain(args)).unwrap_err())
    }

    #[test]
    fn typing_errors_are_corrected() {
        assert_eq!(complaint(&["tpic", "ls"]).did_you_mean.as_deref(), Some("topic"));
        let flag = complaint(&["topic", "ls", "--intrnal"]);
        assert_eq!(flag.did_you_mean.as_deref(), Some("--internal"));
        assert_eq!(flag.hints, ["logctl topic ls --help"]);
        let value = complaint(&["status", "-o", "jsn"]);
        assert_eq!(value.did_you_mean.as_deref(), Some("json"));
        assert!(value.message.contains("invalid value 'jsn' for '--output"), "{}", value.message);
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
