//! From the sources to one checked configuration: defaults < file < environment < flags.

use std::path::PathBuf;

use corduroy_types::{is_service_variable, nearest};

use super::{
    check,
    error::{ConfigError, ConfigErrors, Origin},
    file::{self, Assignment, Read},
    key::{Form, code},
    keys::{SECTIONS, find, keys},
    model::BrokerConfig,
};

/// What the environment variables of this program begin with.
pub const VARIABLE_PREFIX: &str = "BROKERD_";

/// One `--flag value` of the command line that sets a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FlagValue {
    /// As it is written on the command line: `--data-dir`, `--set`.
    pub flag: String,
    /// The key it sets: `node.data_dir`.
    pub path: String,
    /// The value.
    pub value: String,
}

/// Everything that may set keys.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// The file, if one was named.
    pub file: Option<PathBuf>,
    /// The environment; variables that do not begin with [`VARIABLE_PREFIX`] are none of ours, and those
    /// that Kubernetes and Docker set for a service of that name neither.
    pub variables: Vec<(String, String)>,
    /// Defaults of `--dev`: like flags, but weaker than the environment and the file.
    pub development: Vec<FlagValue>,
    /// The command line; later ones win.
    pub flags: Vec<FlagValue>,
}

/// A configuration with the origin of each value.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The configuration.
    pub config: BrokerConfig,
    origins: Vec<Origin>,
}

impl Loaded {
    /// Every key with its origin, in the order of [`keys`].
    pub fn origins(&self) -> impl Iterator<Item = (&'static super::Key, &Origin)> {
        keys().iter().zip(&self.origins)
    }
}

/// The keys whose values differ, with whether a running broker takes the new value; the others need a restart.
pub fn changed_keys(before: &BrokerConfig, after: &BrokerConfig) -> Vec<(&'static super::Key, bool)> {
    let changed = keys().iter().filter(|key| key.show(before) != key.show(after));
    changed.map(|key| (key, (key.section, key.name) == ("log", "level"))).collect()
}

/// The variables among `variables` that look like the broker's own and are not: Kubernetes and Docker set them.
pub fn ignored_variables(variables: &[(String, String)]) -> impl Iterator<Item = &str> {
    let ignored = |(name, value): &&(String, String)| is_service_variable(VARIABLE_PREFIX, name, value);
    variables.iter().filter(ignored).map(|(name, _)| name.as_str())
}

/// Reads all sources and checks them.
///
/// # Errors
/// [`ConfigErrors`] with everything that is wrong in any of them, also in values that another source overrides.
pub fn load(sources: &Sources) -> Result<Loaded, ConfigErrors> {
    let mut read = Read::default();
    flags(&sources.development, &mut read);
    if let Some(path) = &sources.file {
        match std::fs::read_to_string(path) {
            Ok(text) => {
                let from_file = file::read(path, &text);
                read.assignments.extend(from_file.assignments);
                read.errors.extend(from_file.errors);
            }
            Err(error) => read.errors.push(ConfigError {
                code: code("C0001"),
                origin: None,
                text: format!("{}: {error}", path.display()),
            }),
        }
    }
    variables(&sources.variables, &mut read);
    flags(&sources.flags, &mut read);
    let loaded = apply(read.assignments, &mut read.errors);
    read.errors.extend(check::contradictions(&loaded.config));
    // File by lines, environment, flags, and last what no single line says.
    read.errors.sort_by_key(|error| (error.origin.is_none(), error.origin.clone()));
    if read.errors.is_empty() { Ok(loaded) } else { Err(ConfigErrors(read.errors)) }
}

fn apply(assignments: Vec<Assignment>, errors: &mut Vec<ConfigError>) -> Loaded {
    let mut loaded =
        Loaded { config: BrokerConfig::default(), origins: keys().iter().map(|_| Origin::Default).collect() };
    for Assignment { key, text, origin } in assignments {
        match key.set(&mut loaded.config, &text) {
            Ok(()) => {
                let place = keys().iter().position(|known| std::ptr::eq(known, key));
                if let Some(known) = place.and_then(|place| loaded.origins.get_mut(place)) {
                    *known = origin;
                }
            }
            Err(bad) => errors.push(ConfigError {
                code: bad.code,
                origin: Some(origin),
                text: format!("{}: {}", key.path(), bad.text),
            }),
        }
    }
    loaded
}

fn variables(variables: &[(String, String)], read: &mut Read) {
    let own = |name: &str, value: &str| {
        name.starts_with(VARIABLE_PREFIX) && !is_service_variable(VARIABLE_PREFIX, name, value)
    };
    for (name, value) in variables.iter().filter(|(name, value)| own(name, value)) {
        let origin = Origin::Variable(name.clone());
        match keys().iter().find(|key| key.variable() == *name) {
            Some(key) => read.assignments.push(Assignment { key, text: bare(key.form, value), origin }),
            None => {
                let known: Vec<String> = keys().iter().map(super::Key::variable).collect();
                let hint = match nearest(name, known.iter().map(String::as_str)) {
                    Some(near) => format!("did you mean {near}?"),
                    None => format!("a key is written {VARIABLE_PREFIX}<SECTION>__<KEY>"),
                };
                let text = format!("no key has this variable; {hint}");
                read.errors.push(ConfigError { code: code("C0007"), origin: Some(origin), text });
            }
        }
    }
}

fn flags(flags: &[FlagValue], read: &mut Read) {
    for FlagValue { flag, path, value } in flags {
        let origin = Origin::Flag(flag.clone());
        let (section, name) = path.split_once('.').unwrap_or(("", path));
        if let Some(key) = find(section, name) {
            read.assignments.push(Assignment { key, text: bare(key.form, value), origin });
            continue;
        }
        let text = if SECTIONS.iter().any(|known| known.name == section) {
            file::unknown_key(section, name)
        } else {
            let known: Vec<String> = keys().iter().map(super::Key::path).collect();
            let hint = match nearest(path, known.iter().map(String::as_str)) {
                Some(near) => format!("did you mean {near:?}?"),
                None => "a key is written SECTION.KEY, like node.data_dir".to_owned(),
            };
            format!("unknown key {path:?}; {hint}")
        };
        read.errors.push(ConfigError { code: code("C0007"), origin: Some(origin), text });
    }
}

/// Outside a file there are no quotes to tell types apart, so spaces around a value mean nothing.
fn bare(form: Form, value: &str) -> String {
    match form {
        Form::Text => value.to_owned(),
        _ => value.trim().to_owned(),
    }
}
