//! Where a command's words go: data to stdout, everything else to stderr.

use std::io::{self, Write};

use crate::{
    error::Stop,
    output::{escaped, without_commands},
    settings::Settings,
};

/// Both streams and what is known of them.
pub(crate) struct Ui<'a> {
    pub(crate) settings: &'a Settings,
    pub(crate) out: &'a mut dyn Write,
    pub(crate) err: &'a mut dyn Write,
}

impl Ui<'_> {
    /// One line on stderr, unless the user wants quiet, or stderr is for scripts.
    pub(crate) fn note(&mut self, text: impl AsRef<str>) {
        if !self.settings.quiet && !self.settings.json_errors() {
            self.warn(text);
        }
    }

    /// One line on stderr, quiet or not: something failed.
    pub(crate) fn warn(&mut self, text: impl AsRef<str>) {
        // There is no place to report that stderr is closed.
        let _ = writeln!(self.err, "{}", escaped(text.as_ref()));
    }

    /// One line of data.
    ///
    /// # Errors
    /// As [`Stop::from_stdout`].
    pub(crate) fn line(&mut self, text: impl AsRef<str>) -> Result<(), Stop> {
        let text = text.as_ref();
        // A terminal does what it reads; a text of ours has no more than colour in it.
        let text = if self.for_people() { without_commands(text) } else { text.into() };
        writeln!(self.out, "{text}").map_err(|error| Stop::from_stdout(&error))
    }

    /// Hands everything written so far to the reader of stdout.
    ///
    /// # Errors
    /// As [`Stop::from_stdout`].
    pub(crate) fn flush(&mut self) -> Result<(), Stop> {
        self.out.flush().map_err(|error: io::Error| Stop::from_stdout(&error))
    }

    /// Whether a person reads the data.
    pub(crate) fn for_people(&self) -> bool {
        self.settings.terminal.stdout_tty
    }
}
