//! What stdin, stdout and stderr are connected to. Looked at once, at the start.

use std::io::{self, IsTerminal};

/// The terminal, or its absence.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Terminal {
    /// Someone can type.
    pub(crate) stdin_tty: bool,
    /// Data is read by a person.
    pub(crate) stdout_tty: bool,
    /// Notes are read by a person.
    pub(crate) stderr_tty: bool,
    /// Columns of stdout's terminal.
    pub(crate) width: Option<u16>,
}

impl Terminal {
    /// Looks at this process's own streams.
    pub(crate) fn detect() -> Self {
        let stdout = io::stdout();
        let width =
            rustix::termios::tcgetwinsize(&stdout).ok().map(|size| size.ws_col).filter(|col| *col > 0);
        Self {
            stdin_tty: io::stdin().is_terminal(),
            stdout_tty: stdout.is_terminal(),
            stderr_tty: io::stderr().is_terminal(),
            width,
        }
    }

    /// Whether a question can be asked and answered.
    pub(crate) fn can_prompt(self) -> bool {
        self.stdin_tty && self.stderr_tty
    }
}
