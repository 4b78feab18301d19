//! What the exit status tells a script.

use std::process::ExitCode;

/// The statuses `logctl` ends with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// 0
    Ok,
    /// 1
    Failed,
    /// 2: the command line is wrong.
    Usage,
    /// 3: what was named does not exist.
    NotFound,
    /// 4: something is in the way, or a condition did not hold.
    Conflict,
    /// 6: unreachable, not ready, or too slow.
    Unavailable,
    /// 7: some items failed.
    Partial,
    /// 8: an answer is needed, and nobody can be asked.
    InputNeeded,
    /// 9: a check has findings.
    Findings,
    /// 130: Ctrl-C.
    Interrupted,
    /// 143: SIGTERM.
    Terminated,
}

impl Exit {
    /// The number.
    pub(crate) const fn code(self) -> u8 {
        match self {
            Self::Ok => 0,
            Self::Failed => 1,
            Self::Usage => 2,
            Self::NotFound => 3,
            Self::Conflict => 4,
            Self::Unavailable => 6,
            Self::Partial => 7,
            Self::InputNeeded => 8,
            Self::Findings => 9,
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
