//! Names of topics and groups for the shell: asked of the broker within a short budget, and remembered for a moment, so that a
//! slow broker never makes a shell hang.

use std::{
    env, fs,
    hash::{DefaultHasher, Hash as _, Hasher as _},
    path::{Path, PathBuf},
    time::Duration,
};

use corduroy_client::Client;

use crate::{
    connect,
    context::{self, ChosenBy, Store},
};

/// A person who pressed the tab key waits no longer.
const BUDGET: Duration = Duration::from_millis(300);
/// Pressing it again soon costs nothing.
const CACHED_FOR: Duration = Duration::from_secs(30);

/// What a broker has by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Noun {
    Topics,
    Groups,
}

/// The names of all of them; none when the broker does not answer in time.
pub(super) fn names(noun: Noun) -> Vec<String> {
    let Some(servers) = servers() else { return Vec::new() };
    let cache = cache_path(noun, &servers);
    if let Some(names) = cache.as_deref().and_then(cached) {
        return names;
    }
    let Some(names) = ask(noun, &servers) else { return Vec::new() };
    if let Some(cache) = cache {
        remember(&cache, &names);
    }
    names
}

/// The brokers of the environment or the selected context; what the half-typed line says cannot be known here.
fn servers() -> Option<Vec<String>> {
    let set = |name| env::var(name).ok().filter(|value| !value.is_empty());
    let context = set("LOGCTL_CONTEXT");
    let servers: Option<Vec<String>> =
        set("LOGCTL_SERVER").map(|servers| servers.split(',').map(str::to_owned).collect());
    let context = context.as_deref().map(|name| (name, ChosenBy::Env("LOGCTL_CONTEXT")));
    let servers = servers.as_deref().map(|servers| (servers, ChosenBy::Env("LOGCTL_SERVER")));
    context::resolve(context, servers, Store::load).ok().map(|target| target.servers)
}

fn ask(noun: Noun, servers: &[String]) -> Option<Vec<String>> {
    let listing = async {
        let client =
            Client::builder(servers).client_id("logctl").request_timeout(BUDGET).connect_lazy().ok()?;
        let admin = client.admin();
        let names = async {
            Some(match noun {
                Noun::Topics => {
                    admin.list_topics().await.ok()?.into_iter().map(|topic| topic.name.to_string()).collect()
                }
                Noun::Groups => admin.list_groups().await.ok()?.into_iter().map(|group| group.name).collect(),
            })
        };
        tokio::time::timeout(BUDGET, names).await.ok()?
    };
    connect::wait_detached(listing).ok()?
}

fn cache_path(noun: Noun, servers: &[String]) -> Option<PathBuf> {
    let set = |name| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let base = set("XDG_CACHE_HOME").or_else(|| set("HOME").map(|home| home.join(".cache")))?;
    let mut hasher = DefaultHasher::new();
    servers.hash(&mut hasher);
    let noun = match noun {
        Noun::Topics => "topics",
        Noun::Groups => "groups",
    };
    Some(base.join("logctl").join(format!("{noun}-{:016x}", hasher.finish())))
}

fn cached(path: &Path) -> Option<Vec<String>> {
    let age = path.metadata().ok()?.modified().ok()?.elapsed().ok()?;
    if age > CACHED_FOR {
        return None;
    }
    Some(fs::read_to_string(path).ok()?.lines().map(str::to_owned).collect())
}

/// A cache that cannot be written is none.
fn remember(path: &Path, names: &[String]) {
    let temporary = path.with_extension(std::process::id().to_string());
    let _ = path.parent().map(fs::create_dir_all);
    if fs::write(&temporary, names.join("\n")).is_ok() {
        let _ = fs::rename(&temporary, path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_remembered_is_found() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("sub").join("topics");
        assert_eq!(cached(&path), None);
        remember(&path, &["a".to_owned(), "b".to_owned()]);
        assert_eq!(cached(&path), Some(vec!["a".to_owned(), "b".to_owned()]));
    }
}
