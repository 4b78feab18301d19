//! The environment variables `LOGCTL_*`: a closed set, so that a typing error is not silently ignored.

use std::env;

use crate::error::CliError;

/// Every variable that this build reads.
pub(crate) const KNOWN: &[(&str, &str)] = &[
    ("LOGCTL_COLOR", "--color"),
    ("LOGCTL_CONFIG", "path of the file that holds the contexts"),
    ("LOGCTL_CONTEXT", "--context"),
    ("LOGCTL_NON_INTERACTIVE", "--non-interactive"),
    ("LOGCTL_OUTPUT", "--output"),
    ("LOGCTL_SERVER", "--server"),
    ("LOGCTL_TIMEOUT", "--timeout"),
];

/// Set by the shell's completion function, never by people.
pub(crate) const COMPLETE: &str = "LOGCTL_COMPLETE";

/// Refuses a `LOGCTL_*` variable that nothing reads.
///
/// # Errors
/// Names the first unknown variable and the nearest known one.
pub(crate) fn check() -> Result<(), CliError> {
    check_names(env::vars_os().filter_map(|(name, _)| name.into_string().ok()))
}

fn check_names(names: impl Iterator<Item = String>) -> Result<(), CliError> {
    let known = || KNOWN.iter().map(|(name, _)| *name);
    let mut unknown: Vec<String> = names
        .filter(|name| name.starts_with("LOGCTL_") && name != COMPLETE)
        .filter(|name| known().all(|known| known != name))
        .collect();
    unknown.sort();
    match unknown.first() {
        None => Ok(()),
        Some(name) => {
            let all: Vec<_> = known().collect();
            Err(CliError::usage(format!("environment variable {name} is set, and nothing reads it"))
                .with_nearest(name, known())
                .with_hint(format!("unset it; known are {}", all.join(", "))))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_typing_error_is_found_and_corrected() {
        let error = check_names(["HOME".to_owned(), "LOGCTL_CONTXT".to_owned()].into_iter()).unwrap_err();
        assert_eq!(error.did_you_mean.as_deref(), Some("LOGCTL_CONTEXT"));
        assert!(check_names(KNOWN.iter().map(|(name, _)| (*name).to_owned())).is_ok());
    }
}
