//! The one error type of the command line: what failed, what is known, and what to do about it.

mod render;

pub(crate) use render::{render_human, render_json};

use std::{fmt, io, path::Path};

use corduroy_types::{ErrorCode, Outcome};
use serde_json::{Map, Value};

use crate::exit::Exit;

/// Why a command ended without doing what it was asked to.
#[derive(Debug, Clone)]
pub(crate) struct CliError {
    /// The code, from the closed set.
    pub(crate) code: ErrorCode,
    /// What was wrong, with the values that were wrong; one line.
    pub(crate) message: String,
    /// Which broker was asked and who chose it, where one was.
    pub(crate) context: Option<String>,
    /// The nearest valid word.
    pub(crate) did_you_mean: Option<String>,
    /// What to do next: a command line, or a sentence.
    pub(crate) hints: Vec<String>,
    /// Facts for scripts.
    pub(crate) details: Map<String, Value>,
    /// What is known of records that were sent.
    pub(crate) outcome: Option<Outcome>,
    /// What led to it, outermost first; shown with `-v`.
    pub(crate) causes: Vec<String>,
}

impl CliError {
    /// An error without advice of its own.
    pub(crate) fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            context: None,
            did_you_mean: None,
            hints: Vec::new(),
            details: Map::new(),
            outcome: None,
            causes: Vec::new(),
        }
    }

    /// The command line itself is wrong.
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self::new(ErrorCode::Usage, message)
    }

    /// A file could not be used.
    pub(crate) fn file(path: &Path, doing: &str, error: &io::Error) -> Self {
        let message = format!("cannot {doing} {}: {error}", path.display());
        let failed = Self::new(ErrorCode::FileFailed, message);
        let place = path.display();
        match error.kind() {
            io::ErrorKind::PermissionDenied => failed.with_hint(format!(
                "do it as the user that owns it, who is shown by: ls -ld {place}; a broker's files belong to its user"
            )),
            io::ErrorKind::ReadOnlyFilesystem => failed.with_hint(format!("{place} is mounted read-only: work on a copy")),
            io::ErrorKind::StorageFull => failed.with_hint(format!("make room where {place} is, then do it again")),
            _ => failed,
        }
    }

    /// The same with one more thing to do next.
    #[must_use]
    pub(crate) fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hints.push(hint.into());
        self
    }

    /// The same with the nearest of `candidates` to `word`, if one is near.
    #[must_use]
    pub(crate) fn with_nearest<'a>(
        mut self,
        word: &str,
        candidates: impl IntoIterator<Item = &'a str>,
    ) -> Self {
        self.did_you_mean = corduroy_types::nearest(word, candidates).map(str::to_owned);
        self
    }

    /// The same with one more fact for scripts.
    #[must_use]
    pub(crate) fn with_detail(mut self, key: &str, value: impl Into<Value>) -> Self {
        self.details.insert(key.to_owned(), value.into());
        self
    }

    /// The same, saying which broker it is about, unless that is said already.
    #[must_use]
    pub(crate) fn in_context(mut self, context: &str) -> Self {
        self.context.get_or_insert_with(|| context.to_owned());
        self
    }

    /// The same with what is known of the records.
    #[must_use]
    pub(crate) fn with_outcome(mut self, outcome: Outcome) -> Self {
        self.outcome = Some(outcome);
        self
    }

    /// The same with what led to it.
    #[must_use]
    pub(crate) fn caused_by(mut self, error: &dyn std::error::Error) -> Self {
        let mut next = Some(error);
        while let Some(cause) = next {
            self.causes.push(cause.to_string());
            next = cause.source();
        }
        self
    }

    /// The status the process ends with.
    pub(crate) fn exit(&self) -> Exit {
        Exit::Error(self.code.exit_class())
    }
}

impl fmt::Display for CliError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code, self.message)
    }
}

impl std::error::Error for CliError {}

/// Why a command stopped: an error to show, or a reader of its output that went away.
#[derive(Debug)]
pub(crate) enum Stop {
    /// Shown on stderr; decides the exit status.
    Error(Box<CliError>),
    /// The reader of stdout has closed it: nothing is wrong, and no one is reading.
    BrokenPipe,
    /// Ended by a signal, and what scripts should know of it; people have read it.
    Signal(Exit, Option<Box<CliError>>),
}

impl From<CliError> for Stop {
    fn from(error: CliError) -> Self {
        Self::Error(Box::new(error))
    }
}

impl Stop {
    /// Ended by a signal, with nothing to say.
    pub(crate) fn signal(exit: Exit) -> Self {
        Self::Signal(exit, None)
    }

    /// What a failed write to stdout means.
    pub(crate) fn from_stdout(error: &io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe {
            Self::BrokenPipe
        } else {
            CliError::new(ErrorCode::FileFailed, format!("cannot write to stdout: {error}")).into()
        }
    }
}

impl From<io::Error> for Stop {
    /// For writes to stdout only; files name their path with [`CliError::file`].
    fn from(error: io::Error) -> Self {
        Self::from_stdout(&error)
    }
}
