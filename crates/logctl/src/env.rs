//! The environment variables `LOGCTL_*`: a closed set, so that a typing error is not silently ignored.

use std::{env, ffi::OsString};

use corduroy_types::is_service_variable;

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

const PREFIX: &str = "LOGCTL_";

/// Set by the shell's completion function, never by people.
pub(crate) const COMPLETE: &str = "LOGCTL_COMPLETE";

/// Refuses a `LOGCTL_*` variable that nothing reads.
///
/// # Errors
/// Names the first unknown variable and the nearest known one.
pub(crate) fn check() -> Result<(), CliError> {
    let text = |(name, value): (OsString, OsString)| {
        Some((name.into_string().ok()?, value.to_string_lossy().into_owned()))
    };
    check_variables(env::vars_os().filter_map(text))
}

/// Those that Kubernetes and Docker set for a service of this program's name are left alone.
fn check_variables(variables: impl Iterator<Item = (String, String)>) -> Result<(), CliError> {
    let known = || KNOWN.iter().map(|(name, _)| *name);
    let mut unknown: Vec<String> = variables
        .filter(|(name, value)| !is_service_variable(PREFIX, name, value))
        .map(|(name, _)| name)
        .filter(|name| name.starts_with(PREFIX) && name != COMPLETE)
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
        let check = |variables: &[(&str, &str)]| {
            let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
            check_variables(variables.iter().map(owned))
        };
        let error = check(&[("HOME", ""), ("LOGCTL_CONTXT", "x")]).unwrap_err();
        assert_eq!(error.did_you_mean.as_deref(), Some("LOGCTL_CONTEXT"));
        assert!(KNOWN.iter().all(|(name, _)| check(&[(name, "x")]).is_ok()));
        assert!(check(&[("LOGCTL_SERVICE_HOST", "10.0.0.1"), ("LOGCTL_PORT", "tcp://10.0.0.1:1")]).is_ok());
    }
}
