//! From the command line and the environment to the broker's configuration.

use std::path::Path;

use corduroy_broker::config::{
    ConfigErrors, FlagValue, Loaded, Sources, VARIABLE_PREFIX, ignored_variables, load,
};

use crate::cli::Flags;

/// Where a development node keeps its data.
const DEVELOPMENT_DATA_DIR: &str = "./brokerd-data";

impl Flags {
    /// Whether this is a development node: no configuration file says otherwise, nor where its data is.
    pub(crate) fn is_development(&self) -> bool {
        let names_data_dir =
            self.data_dir.is_some() || self.set.iter().any(|(key, _)| key == "node.data_dir");
        self.dev || (self.config.is_none() && !names_data_dir)
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

/// Says at level debug which variables of this process's environment are not the broker's own, although they look so.
pub(crate) fn log_ignored_variables() {
    for name in ignored_variables(&environment()) {
        tracing::debug!(name, "ignored: set by Kubernetes or Docker for a service");
    }
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
    fn flags_win_over_the_environment_and_no_file_means_development() {
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

        // No flag but one that says where the data is makes it another kind of node.
        let listens =
            Flags { listen: Some("127.0.0.1:0".into()), node_id: Some("3".into()), ..Flags::default() };
        assert!(listens.is_development());
        let loaded = load(&sources(&listens, vec![])).unwrap();
        assert_eq!(loaded.config.node.data_dir, Path::new("./brokerd-data"));
        let set = vec![("node.data_dir".to_owned(), "/from/set".to_owned())];
        assert!(!Flags { set, ..Flags::default() }.is_development());
        assert!(!Flags { config: Some("brokerd.toml".into()), ..Flags::default() }.is_development());
    }
}
