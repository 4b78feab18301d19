//! `logctl explain`

mod pages;

use corduroy_types::{CONFIG_CODES, CONFIG_KEYS, EVENT_CODES, ErrorCode, explain, explain_topic_config};
use serde::Serialize;

use crate::{
    cli::ExplainArgs,
    error::{CliError, Stop},
    exit::Exit,
    output::{is_structured, write_value},
    ui::Ui,
};

#[derive(Serialize)]
struct Explained<'a> {
    what: &'a str,
    text: &'a str,
}

pub(crate) fn run(args: &ExplainArgs, ui: &mut Ui<'_>) -> Result<Exit, Stop> {
    let what = args.what.trim();
    let known = explain(what).or_else(|| explain_topic_config(what));
    let Some(text) = known.or_else(|| pages::explain(what)) else {
        return Err(unknown(what).into());
    };
    if is_structured(ui.settings.output) {
        write_value(ui, &Explained { what, text: text.trim_end() })?;
    } else {
        ui.line(text.trim_end())?;
    }
    Ok(Exit::Ok)
}

fn unknown(what: &str) -> CliError {
    let codes: Vec<String> = ErrorCode::ALL.iter().map(ToString::to_string).collect();
    let others = CONFIG_CODES.iter().chain(EVENT_CODES).map(|text| text.code);
    let names = ErrorCode::ALL.iter().map(|code| code.name());
    let listed: Vec<String> = pages::metrics().chain(pages::config_keys()).map(|entry| entry.name).collect();
    let words = codes.iter().chain(&listed).map(String::as_str);
    let words = words.chain(others).chain(names).chain(CONFIG_KEYS.iter().copied());
    CliError::usage(format!("{what:?} is no code, no config key and no metric"))
        .with_nearest(what, words)
        .with_hint("logctl explain --help")
}
