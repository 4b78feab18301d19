//! What the exit status means to a script.

use std::process::ExitCode;

use corduroy_types::ExitClass;

/// How `logctl` ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// 0
    Ok,
    /// What kind of error it was.
    Error(ExitClass),
    /// 130: Ctrl-C.
    Interrupted,
    /// 143: SIGTERM, or SIGHUP.
    Terminated,
}

impl Exit {
    /// The status.
    pub(crate) const fn code(self) -> u8 {
        match self {
            Self::Ok => 0,
            Self::Error(class) => class.status(),
            Self::Interrupted => 130,
            Self::Terminated => 143,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}
