//! What the global flags mean, once the terminal and the environment are known.

use std::time::Duration;

use clap::{ArgMatches, parser::ValueSource};

use crate::{
    cli::{ColorChoice, GlobalArgs, OutputForm},
    context::{self, ChosenBy, Store, Target},
    error::CliError,
    terminal::Terminal,
};

/// What every command needs to know.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) output: OutputForm,
    pub(crate) quiet: bool,
    /// 0, 1: causes of errors, 2: a trace.
    pub(crate) verbosity: u8,
    pub(crate) color_out: bool,
    pub(crate) color_err: bool,
    pub(crate) timeout: Duration,
    /// The same, where someone gave it.
    pub(crate) given_timeout: Option<Duration>,
    pub(crate) yes: bool,
    pub(crate) can_prompt: bool,
    pub(crate) terminal: Terminal,
    context: Option<(String, ChosenBy)>,
    servers: Option<(Vec<String>, ChosenBy)>,
}

impl Settings {
    /// Takes the flags and who set them.
    pub(crate) fn new(
        globals: &GlobalArgs,
        matches: &ArgMatches,
        terminal: Terminal,
        no_color: bool,
    ) -> Self {
        let chosen_by = |id, flag, env| match matches.value_source(id) {
            Some(ValueSource::EnvVariable) => ChosenBy::Env(env),
            _ => ChosenBy::Flag(flag),
        };
        let color = |tty| match globals.color {
            ColorChoice::Always => true,
            ColorChoice::Never => false,
            ColorChoice::Auto => tty && !no_color,
        };
        let context = globals.context.clone();
        let servers = Some(globals.server.clone()).filter(|servers| !servers.is_empty());
        Self {
            output: globals.output,
            quiet: globals.quiet,
            verbosity: globals.verbose,
            color_out: color(terminal.stdout_tty),
            color_err: color(terminal.stderr_tty),
            timeout: globals.timeout,
            given_timeout: (matches.value_source("timeout") != Some(ValueSource::DefaultValue))
                .then_some(globals.timeout),
            yes: globals.yes,
            can_prompt: terminal.can_prompt() && !globals.non_interactive,
            terminal,
            context: context.map(|name| (name, chosen_by("context", "--context", "LOGCTL_CONTEXT"))),
            servers: servers.map(|servers| (servers, chosen_by("server", "--server", "LOGCTL_SERVER"))),
        }
    }

    /// Whether errors are one JSON object.
    pub(crate) fn json_errors(&self) -> bool {
        matches!(self.output, OutputForm::Json | OutputForm::Jsonl)
    }

    /// The brokers to talk to.
    ///
    /// # Errors
    /// As [`context::resolve`]; and when the file of contexts cannot be read.
    pub(crate) fn target(&self) -> Result<Target, CliError> {
        let context = self.context.as_ref().map(|(name, by)| (name.as_str(), *by));
        let servers = self.servers.as_ref().map(|(servers, by)| (servers.as_slice(), *by));
        context::resolve(context, servers, Store::load)
    }

    /// What `--server` says, for commands that store it.
    pub(crate) fn given_servers(&self) -> Option<&[String]> {
        self.servers.as_ref().map(|(servers, _)| servers.as_slice())
    }

    /// The context that was named for this command, if one was.
    pub(crate) fn given_context(&self) -> Option<&str> {
        self.context.as_ref().map(|(name, _)| name.as_str())
    }
}
