//! What a shell may offer: contexts from the file, topics and groups from the broker within a short budget.

mod names;

use std::{
    ffi::{OsStr, OsString},
    io::Write,
};

use clap::CommandFactory as _;
use clap_complete::{
    engine::{ArgValueCompleter, CompletionCandidate},
    env::{CompleteEnv, Shells},
};

use corduroy_types::CONFIG_KEYS;

use self::names::Noun;
use crate::{cli::Cli, commands::explained_words, context::Store, env::COMPLETE, error::CliError};

/// Answers the shell's completion function and ends the process, if that is who started it.
pub(crate) fn answer_shell() {
    CompleteEnv::with_factory(Cli::command).var(COMPLETE).complete();
}

/// Writes the script that makes a shell ask.
///
/// # Errors
/// A usage error for a shell that is not supported, or a failed write.
pub(crate) fn write_script(shell: &str, out: &mut dyn Write) -> Result<(), crate::error::Stop> {
    let shells = Shells::builtins();
    let Some(completer) = shells.completer(shell) else {
        return Err(CliError::usage(format!("no completions for the shell {shell:?}"))
            .with_nearest(shell, shells.names())
            .into());
    };
    let mut script = Vec::new();
    completer.write_registration(COMPLETE, "logctl", "logctl", "logctl", &mut script)?;
    out.write_all(&script)?;
    Ok(())
}

fn matching(words: impl IntoIterator<Item = String>, typed: &OsStr) -> Vec<CompletionCandidate> {
    let typed = typed.to_string_lossy();
    words
        .into_iter()
        .filter(|word| word.starts_with(&*typed))
        .map(|word| CompletionCandidate::new(OsString::from(word)))
        .collect()
}

/// Names of contexts.
pub(crate) fn contexts() -> ArgValueCompleter {
    ArgValueCompleter::new(|typed: &OsStr| {
        matching(Store::load().map(|store| store.names()).unwrap_or_default(), typed)
    })
}

/// Names of topics.
pub(crate) fn topics() -> ArgValueCompleter {
    ArgValueCompleter::new(|typed: &OsStr| matching(names::names(Noun::Topics), typed))
}

/// Names of groups.
pub(crate) fn groups() -> ArgValueCompleter {
    ArgValueCompleter::new(|typed: &OsStr| matching(names::names(Noun::Groups), typed))
}

/// When a record counts as written.
pub(crate) fn acks() -> ArgValueCompleter {
    ArgValueCompleter::new(|typed: &OsStr| matching(["one", "quorum", "all"].map(str::to_owned), typed))
}

/// Whatever `explain` explains.
pub(crate) fn explained() -> ArgValueCompleter {
    ArgValueCompleter::new(|typed: &OsStr| matching(explained_words(), typed))
}

/// Keys of topic configs, to be followed by a value.
pub(crate) fn config_pairs() -> ArgValueCompleter {
    ArgValueCompleter::new(|typed: &OsStr| matching(CONFIG_KEYS.iter().map(|key| format!("{key}=")), typed))
}

/// Keys of topic configs.
pub(crate) fn config_keys() -> ArgValueCompleter {
    ArgValueCompleter::new(|typed: &OsStr| matching(CONFIG_KEYS.iter().map(|key| (*key).to_owned()), typed))
}
