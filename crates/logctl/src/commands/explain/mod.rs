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

/// Everything that is explained, by its name.
pub(crate) fn words() -> Vec<String> {
    let codes = ErrorCode::ALL.iter().flat_map(|code| [code.to_string(), code.name().to_owned()]);
    let others = CONFIG_CODES.iter().chain(EVENT_CODES).map(|text| text.code.to_owned());
    let listed = pages::metrics().chain(pages::config_keys()).map(|entry| entry.name);
    codes.chain(others).chain(listed).chain(CONFIG_KEYS.iter().map(|key| (*key).to_owned())).collect()
}

fn unknown(what: &str) -> CliError {
    let words = words();
    CliError::usage(format!("{what:?} is no code, no config key and no metric"))
        .with_nearest(what, words.iter().map(String::as_str))
        .with_hint("logctl explain --help")
}
