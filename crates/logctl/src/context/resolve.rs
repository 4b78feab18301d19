//! Which brokers a command talks to, and who chose them.

use corduroy_types::ErrorCode;

use super::Store;
use crate::error::CliError;

/// A development broker's address: used only where nothing else was ever chosen.
pub(crate) const DEV_URL: &str = "http://127.0.0.1:9480";

/// Who chose the brokers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ChosenBy {
    /// A flag of this command line, by its name.
    Flag(&'static str),
    /// An environment variable, by its name.
    Env(&'static str),
    /// `logctl context use`.
    Selection,
    /// The default: there is no context at all.
    Default,
}

/// The brokers a command talks to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) servers: Vec<String>,
    pub(crate) read_only: bool,
    /// The context's name, where it is one.
    pub(crate) context: Option<String>,
    pub(crate) chosen_by: ChosenBy,
}

impl Target {
    /// How errors name it: `prod (http://b1:9480, chosen by LOGCTL_CONTEXT)`.
    pub(crate) fn describe(&self) -> String {
        let servers = self.servers.join(",");
        let chosen = match self.chosen_by {
            ChosenBy::Flag(name) | ChosenBy::Env(name) => format!("chosen by {name}"),
            ChosenBy::Selection => "the selected context".to_owned(),
            ChosenBy::Default => "no context set".to_owned(),
        };
        match &self.context {
            Some(name) => format!("{name} ({servers}, {chosen})"),
            None => format!("{servers} ({chosen})"),
        }
    }
}

/// Finds the brokers: flags before environment before the selected context; a development broker on this machine
/// only when no context was ever added.
/// The file of contexts is read only where it decides: brokers that are given need none.
///
/// # Errors
/// That of loading the file; `USAGE` when brokers and a context are given side by side, `UNKNOWN_CONTEXT`, or no context
/// is selected.
pub(crate) fn resolve(
    context: Option<(&str, ChosenBy)>,
    servers: Option<(&[String], ChosenBy)>,
    load: impl FnOnce() -> Result<Store, CliError>,
) -> Result<Target, CliError> {
    let is_flag = |by: ChosenBy| matches!(by, ChosenBy::Flag(_));
    let (context, servers) = match (context, servers) {
        (Some((_, context_by)), Some((_, servers_by))) if is_flag(context_by) == is_flag(servers_by) => {
            let both = if is_flag(context_by) {
                "--context and --server"
            } else {
                "LOGCTL_CONTEXT and LOGCTL_SERVER"
            };
            return Err(CliError::usage(format!("{both} are both given")).with_hint("give only one of them"));
        }
        (Some((name, by)), Some(_)) if is_flag(by) => (Some((name, by)), None),
        (Some(_), Some(servers)) => (None, Some(servers)),
        other => other,
    };
    if let Some((servers, chosen_by)) = servers {
        return Ok(Target { servers: servers.to_vec(), read_only: false, context: None, chosen_by });
    }
    let store = load()?;
    let chosen = context.or_else(|| store.current().map(|name| (name, ChosenBy::Selection)));
    if let Some((name, chosen_by)) = chosen {
        let context = store.get(name)?;
        return Ok(Target {
            servers: context.servers.clone(),
            read_only: context.read_only,
            context: Some(name.to_owned()),
            chosen_by,
        });
    }
    let names = store.names();
    if names.is_empty() {
        let servers = vec![DEV_URL.to_owned()];
        return Ok(Target { servers, read_only: false, context: None, chosen_by: ChosenBy::Default });
    }
    Err(CliError::new(
        ErrorCode::UnknownContext,
        format!("no context is selected; there are {}", names.join(", ")),
    )
    .with_hint(format!("logctl context use {}", names.first().map_or("NAME", String::as_str))))
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::context::{Context, FileContent};

    fn store(names: &[&str], current: Option<&str>) -> Store {
        let context = |name: &str| Context { servers: vec![format!("http://{name}:9480")], read_only: false };
        let contexts = names.iter().map(|name| ((*name).to_owned(), context(name))).collect();
        let content = FileContent { current: current.map(str::to_owned), previous: None, contexts };
        Store { path: Some(PathBuf::from("config.toml")), content }
    }

    const FLAG: ChosenBy = ChosenBy::Flag("--context");
    const ENV: ChosenBy = ChosenBy::Env("LOGCTL_CONTEXT");

    #[test]
    fn the_nearer_choice_wins() {
        let contexts = store(&["a", "b"], Some("a"));
        let servers = ["http://x:1".to_owned()];
        let by_flag = Some((servers.as_slice(), ChosenBy::Flag("--server")));
        let by_env = Some((servers.as_slice(), ChosenBy::Env("LOGCTL_SERVER")));
        let describe =
            |context, servers| resolve(context, servers, || Ok(contexts.clone())).unwrap().describe();
        assert_eq!(describe(None, None), "a (http://a:9480, the selected context)");
        assert_eq!(describe(Some(("b", ENV)), None), "b (http://b:9480, chosen by LOGCTL_CONTEXT)");
        assert_eq!(describe(Some(("b", FLAG)), by_env), "b (http://b:9480, chosen by --context)");
        assert_eq!(describe(Some(("b", ENV)), by_flag), "http://x:1 (chosen by --server)");
        for pair in [(FLAG, by_flag), (ENV, by_env)] {
            let both = resolve(Some(("b", pair.0)), pair.1, || Ok(contexts.clone()));
            assert_eq!(both.unwrap_err().code, ErrorCode::Usage);
        }
    }

    #[test]
    fn a_development_broker_is_found_only_where_no_context_exists() {
        let target = resolve(None, None, || Ok(store(&[], None))).unwrap();
        assert_eq!((target.servers, target.chosen_by), (vec![DEV_URL.to_owned()], ChosenBy::Default));
        let error = resolve(None, None, || Ok(store(&["prod"], None))).unwrap_err();
        assert_eq!(error.hints, ["logctl context use prod"]);
        assert!(resolve(Some(("x", FLAG)), None, || Ok(store(&[], None))).is_err());
    }
}
