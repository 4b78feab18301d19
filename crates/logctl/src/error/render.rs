//! How an error looks: to people as a few lines, to scripts as one JSON object.

use std::fmt::Write as _;

use corduroy_types::{ExitClass, Outcome};
use serde_json::{Value, json};

use super::CliError;
use crate::output::escaped;

/// Red and bold for the word `error`, where colour is wanted.
fn painted(text: &str, color: bool) -> String {
    if color { format!("\u{1b}[1;31m{text}\u{1b}[0m") } else { text.to_owned() }
}

/// The lines for people, each ended. `verbose` adds the chain of causes.
pub(crate) fn render_human(error: &CliError, color: bool, verbose: bool) -> String {
    let mut text =
        format!("{}: {}\n", painted(&format!("error[{}]", error.code), color), escaped(&error.message));
    // Writing into a String cannot fail.
    if let Some(context) = &error.context {
        let _ = writeln!(text, "  context: {}", escaped(context));
    }
    if let Some(word) = &error.did_you_mean {
        let _ = writeln!(text, "  did you mean {word:?}?");
    }
    if let Some(outcome) = error.outcome {
        let _ = writeln!(text, "  outcome: {outcome}");
    }
    for hint in &error.hints {
        let _ = writeln!(text, "  hint: {}", escaped(hint));
    }
    let _ = writeln!(text, "  more: logctl explain {}", error.code);
    if verbose {
        for cause in &error.causes {
            let _ = writeln!(text, "  caused by: {}", escaped(cause));
        }
    }
    text
}

/// The one object for scripts, on one line, ended.
pub(crate) fn render_json(error: &CliError) -> String {
    let mut details = error.details.clone();
    // To repeat a command one must know whether it changed anything; what reads has not.
    let is_unavailable = error.code.exit_class() == ExitClass::Unavailable;
    let outcome = error.outcome.or(is_unavailable.then_some(Outcome::NotWritten));
    let facts = [
        ("context", error.context.clone()),
        ("did_you_mean", error.did_you_mean.clone()),
        ("outcome", outcome.map(|outcome| outcome.to_string())),
    ];
    for (key, fact) in facts {
        if let Some(fact) = fact {
            details.insert(key.to_owned(), Value::String(fact));
        }
    }
    if !error.causes.is_empty() {
        details.insert("causes".to_owned(), json!(error.causes));
    }
    let hint = match error.hints.as_slice() {
        [] => error.code.action().to_owned(),
        hints => hints.join("; "),
    };
    let object = json!({"error": {
        "code": error.code.to_string(),
        "kind": error.code.name(),
        "message": error.message,
        "hint": hint,
        "retriable": error.code.is_retriable(),
        "details": details,
    }});
    format!("{object}\n")
}

#[cfg(test)]
mod tests {
    use corduroy_types::{ErrorCode, Outcome};

    use super::*;

    fn sample() -> CliError {
        CliError::new(ErrorCode::TopicNotFound, "topic \"ordres\" does not exist")
            .in_context("prod (http://b1:9480, chosen by LOGCTL_CONTEXT)")
            .with_nearest("ordres", ["orders", "audit"])
            .with_hint("logctl topic create ordres")
    }

    #[test]
    fn people_get_the_lines_of_the_contract() {
        let text = render_human(&sample(), false, false);
        assert_eq!(
            text,
            "error[E1203]: topic \"ordres\" does not exist\n  \
             context: prod (http://b1:9480, chosen by LOGCTL_CONTEXT)\n  \
             did you mean \"orders\"?\n  \
             hint: logctl topic create ordres\n  \
             more: logctl explain E1203\n"
        );
        assert!(render_human(&sample(), true, false).starts_with("\u{1b}[1;31merror[E1203]\u{1b}[0m: "));
    }

    #[test]
    fn causes_appear_with_verbose_only() {
        let error = sample().caused_by(&std::io::Error::other("socket closed"));
        assert!(!render_human(&error, false, false).contains("socket closed"));
        assert!(render_human(&error, false, true).contains("caused by: socket closed"));
    }

    #[test]
    fn scripts_get_one_object() {
        let text = render_json(&sample().with_outcome(Outcome::Unknown).with_detail("topic", "ordres"));
        assert_eq!(text.lines().count(), 1);
        let value: Value = serde_json::from_str(&text).unwrap();
        let error = value.get("error").unwrap();
        assert_eq!(error["code"], "E1203");
        assert_eq!(error["kind"], "TOPIC_NOT_FOUND");
        assert_eq!(error["retriable"], false);
        assert_eq!(error["details"]["outcome"], "unknown");
        assert_eq!(error["details"]["topic"], "ordres");
        assert_eq!(error["details"]["did_you_mean"], "orders");
    }

    #[test]
    fn what_could_not_be_done_always_has_an_outcome() {
        for code in ErrorCode::ALL {
            let value: Value = serde_json::from_str(&render_json(&CliError::new(*code, "x"))).unwrap();
            let outcome = &value["error"]["details"]["outcome"];
            assert_eq!(outcome == "not-written", code.exit_class() == ExitClass::Unavailable, "{code}");
        }
    }
}
