//! From the command line and the environment to the broker's configuration.

use std::path::Path;

use corduroy_broker::config::{ConfigErrors, FlagValue, Loaded, Sources, VARIABLE_PREFIX, load};

use crate::cli::Flags;

/// Where a development node keeps its data.
const DEVELOPMENT_DATA_DIR: &str = "./brokerd-data";

impl Flags {
    /// Whether this is a development node: it was asked for, or nothing at all was.
    pub(crate) fn is_development(&self) -> bool {
        let Self { config, data_dir, listen, node_id, dev, set } = self;
        let nothing_else =
            config.is_none() && data_dir.is_none() && listen.is_none() && node_id.is_none() && set.is_empty();
        *dev || nothing_else
    }
}

/// Loads the configuration that `flags` and this process's environment ask for.
pub(crate) fn load_configuration(flags: &Flags) -> Result<Loaded, ConfigErrors> {
    load(&sources(flags, environment()))
}

/// Checks one file as if it were the only source besides the environment.
pub(crate) fn check_file(path: &Path) -> Result<Loaded, ConfigErrors> {
    load(&Sources { file: Some(path.to_owned()), ..Sources::default() })
}

fn sources(flags: &Flags, variables: Vec<(String, String)>) -> Sources {
    let value = |flag: &str, path: &str, value: &str| FlagValue {
        flag: flag.to_owned(),
        path: path.to_owned(),
        value: value.to_owned(),
    };
    let named = [
        ("--data-dir", "node.data_dir", &flags.data_dir),
        ("--listen", "listen.grpc", &flags.listen),
        ("--node-id", "node.id", &flags.node_id),
    ];
    let mut values: Vec<FlagValue> = named
        .into_iter()
        .filter_map(|(flag, path, given)| given.as_ref().map(|given| value(flag, path, given)))
        .collect();
    values.extend(flags.set.iter().map(|(path, given)| value("--set", path, given)));
    let development = if flags.is_development() {
        vec![value("--dev", "node.data_dir", DEVELOPMENT_DATA_DIR)]
    } else {
        vec![]
    };
    Sources { file: flags.config.clone(), variables, development, flags: values }
}

/// Our variables. One that is no UTF-8 is read with replacement characters, which no key accepts.
fn environment() -> Vec<(String, String)> {
    std::env::vars_os()
        .map(|(name, value)| (name.to_string_lossy().into_owned(), value.to_string_lossy().into_owned()))
        .filter(|(name, _)| name.starts_with(VARIABLE_PREFIX))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_win_over_the_environment_and_no_flags_mean_development() {
        let variables = || vec![("BROKERD_NODE__DATA_DIR".to_owned(), "/from/env".to_owned())];
        let flags = Flags { data_dir: Some("/from/flag".into()), ..Flags::default() };
        assert!(!flags.is_development());
        let loaded = load(&sources(&flags, variables())).unwrap();
        assert_eq!(loaded.config.node.data_dir, Path::new("/from/flag"));

        let none = Flags::default();
        assert!(none.is_development());
        let loaded = load(&sources(&none, vec![])).unwrap();
        assert_eq!(loaded.config.node.data_dir, Path::new("./brokerd-data"));
        let loaded = load(&sources(&none, variables())).unwrap();
        assert_eq!(loaded.config.node.data_dir, Path::new("/from/env"));
    }
}
