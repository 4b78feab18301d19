//! What is wrong with a configuration, all at once.

use std::{fmt, path::PathBuf};

use corduroy_types::CodeText;

/// Where a value came from.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Origin {
    /// No one set it.
    Default,
    /// A line of the file.
    File {
        /// The file, as it was named.
        path: PathBuf,
        /// Counted from 1.
        line: usize,
    },
    /// An environment variable.
    Variable(String),
    /// A flag of the command line, as it is written there: `--data-dir`.
    Flag(String),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File { path, line } => write!(f, "{}:{line}", path.display()),
            Self::Variable(name) => write!(f, "environment {name}"),
            Self::Flag(flag) => f.write_str(flag),
        }
    }
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    /// Its code, from [`corduroy_types::CONFIG_CODES`].
    pub code: &'static CodeText,
    /// Where it was said; `None` when several values together are wrong.
    pub origin: Option<Origin>,
    /// What is wrong, and what to do.
    pub text: String,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "error[{}] ", self.code.code)?;
        if let Some(origin) = &self.origin {
            write!(f, "{origin}: ")?;
        }
        f.write_str(&self.text)
    }
}

/// Everything that is wrong, in the order: file, environment, flags, contradictions. Never empty.
///
/// Nothing may be started with such a configuration; a process that was asked to ends with status 78
/// (`EX_CONFIG`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigErrors(pub Vec<ConfigError>);

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for error in &self.0 {
            writeln!(f, "{error}")?;
        }
        match self.0.len() {
            1 => f.write_str("1 error; nothing was started"),
            count => write!(f, "{count} errors; nothing was started"),
        }
    }
}

impl std::error::Error for ConfigErrors {}
