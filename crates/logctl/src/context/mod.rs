//! Contexts: brokers that are remembered under a name, in one file that only its owner can read.

mod resolve;

pub(crate) use resolve::{ChosenBy, Target, resolve};

use std::{
    collections::BTreeMap,
    env, fs,
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use corduroy_types::ErrorCode;
use serde::{Deserialize, Serialize};

use crate::error::CliError;

/// One remembered place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Context {
    /// Where its brokers are, as URLs.
    pub(crate) servers: Vec<String>,
    /// Whether commands that change something are refused.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) read_only: bool,
}

/// The whole file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct FileContent {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    current: Option<String>,
    /// What `context use -` goes back to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    previous: Option<String>,
    #[serde(default)]
    contexts: BTreeMap<String, Context>,
}

/// The file of contexts, read.
#[derive(Clone, Debug)]
pub(crate) struct Store {
    /// Where it is; `None` where the user has no place for it.
    path: Option<PathBuf>,
    content: FileContent,
}

/// `LOGCTL_CONFIG`, or `logctl/config.toml` in the user's configuration directory.
fn file_path() -> Option<PathBuf> {
    let set = |name: &str| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let base = || set("XDG_CONFIG_HOME").or_else(|| set("HOME").map(|home| home.join(".config")));
    set("LOGCTL_CONFIG").or_else(|| base().map(|base| base.join("logctl").join("config.toml")))
}

impl Store {
    /// Reads the file; one that does not exist holds nothing, and so does one that has no place: services and
    /// containers often have no home.
    ///
    /// # Errors
    /// `FILE_FAILED` when it cannot be read, with the line where it is not as it should be.
    pub(crate) fn load() -> Result<Self, CliError> {
        match file_path() {
            Some(path) => Self::load_from(path),
            None => Ok(Self { path: None, content: FileContent::default() }),
        }
    }

    fn load_from(path: PathBuf) -> Result<Self, CliError> {
        let content = match fs::read_to_string(&path) {
            Ok(text) => toml::from_str(&text).map_err(|error| invalid_file(&path, &text, &error))?,
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
                FileContent::default()
            }
            Err(error) => return Err(CliError::file(&path, "read", &error)),
        };
        Ok(Self { path: Some(path), content })
    }

    /// Writes the file again, readable for its owner only, and puts it in place of the old one at once.
    ///
    /// # Errors
    /// `FILE_FAILED`; the old file is then still there.
    pub(crate) fn save(&self) -> Result<(), CliError> {
        let Some(path) = &self.path else {
            return Err(CliError::new(
                ErrorCode::FileFailed,
                "no place for the file of contexts: HOME is not set",
            )
            .with_hint("set LOGCTL_CONFIG to a path"));
        };
        let text = toml::to_string_pretty(&self.content).map_err(|error| {
            CliError::new(ErrorCode::Internal, format!("the contexts cannot be written: {error}"))
        })?;
        let temporary = path.with_extension("toml.new");
        let write = || -> io::Result<()> {
            if let Some(dir) = path.parent() {
                fs::create_dir_all(dir)?;
            }
            let mut file = fs::OpenOptions::new()
                .write(true)
                .create(true)
                .truncate(true)
                .mode(0o600)
                .open(&temporary)?;
            file.write_all(text.as_bytes())?;
            file.sync_all()?;
            fs::rename(&temporary, path)
        };
        write().map_err(|error| CliError::file(path, "write", &error))
    }

    /// All names, in order.
    pub(crate) fn names(&self) -> Vec<String> {
        self.content.contexts.keys().cloned().collect()
    }

    /// All contexts, by name.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &Context)> {
        self.content.contexts.iter().map(|(name, context)| (name.as_str(), context))
    }

    /// The selected one's name.
    pub(crate) fn current(&self) -> Option<&str> {
        self.content.current.as_deref()
    }

    /// A context by name.
    ///
    /// # Errors
    /// `UNKNOWN_CONTEXT` with the nearest name.
    pub(crate) fn get(&self, name: &str) -> Result<&Context, CliError> {
        self.content.contexts.get(name).ok_or_else(|| {
            CliError::new(ErrorCode::UnknownContext, format!("there is no context {name:?}"))
                .with_nearest(name, self.content.contexts.keys().map(String::as_str))
                .with_hint("logctl context ls")
        })
    }

    /// Adds a context and says whether it became the selected one, as the first does.
    ///
    /// # Errors
    /// A usage error for a name that is taken or not allowed.
    pub(crate) fn add(&mut self, name: &str, context: Context) -> Result<bool, CliError> {
        let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        if name.is_empty() || name == "-" || !name.chars().all(allowed) {
            return Err(CliError::usage(format!("{name:?} is no name for a context; use a-z A-Z 0-9 . _ -")));
        }
        if self.content.contexts.contains_key(name) {
            return Err(CliError::usage(format!("there is a context {name:?} already"))
                .with_hint(format!("logctl context rm {name}")));
        }
        self.content.contexts.insert(name.to_owned(), context);
        let is_first = self.content.contexts.len() == 1;
        if is_first {
            self.content.current = Some(name.to_owned());
        }
        Ok(is_first)
    }

    /// Selects a context, or with `-` the one selected before, and returns its name.
    ///
    /// # Errors
    /// `UNKNOWN_CONTEXT`.
    pub(crate) fn select(&mut self, name: &str) -> Result<String, CliError> {
        let name = match (name, &self.content.previous) {
            ("-", Some(previous)) => previous.clone(),
            ("-", None) => {
                return Err(CliError::new(ErrorCode::UnknownContext, "no context was selected before")
                    .with_hint("logctl context ls"));
            }
            (name, _) => name.to_owned(),
        };
        self.get(&name)?;
        if self.content.current.as_deref() != Some(&name) {
            self.content.previous = self.content.current.replace(name.clone());
        }
        Ok(name)
    }

    /// Removes a context and says whether it was the selected one; then none is.
    ///
    /// # Errors
    /// `UNKNOWN_CONTEXT`.
    pub(crate) fn remove(&mut self, name: &str) -> Result<bool, CliError> {
        self.get(name)?;
        self.content.contexts.remove(name);
        let points_there = |slot: &Option<String>| slot.as_deref() == Some(name);
        if points_there(&self.content.previous) {
            self.content.previous = None;
        }
        let was_current = points_there(&self.content.current);
        if was_current {
            self.content.current = None;
        }
        Ok(was_current)
    }
}

fn invalid_file(path: &Path, text: &str, error: &toml::de::Error) -> CliError {
    let start = error.span().map_or(0, |span| span.start);
    let line = text.bytes().take(start).filter(|byte| *byte == b'\n').count() + 1;
    let message = error.message().trim().replace('\n', " ");
    CliError::new(ErrorCode::FileFailed, format!("{}:{line}: {message}", path.display()))
        .with_hint("correct the file, or remove it to begin without contexts")
        .with_detail("line", line)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn store(dir: &Path) -> Store {
        Store::load_from(dir.join("sub").join("config.toml")).unwrap()
    }

    fn context(url: &str) -> Context {
        Context { servers: vec![url.to_owned()], read_only: false }
    }

    #[test]
    fn what_is_saved_is_loaded_and_private() {
        let dir = tempfile::tempdir().unwrap();
        let mut contexts = store(dir.path());
        assert!(contexts.add("prod", Context { read_only: true, ..context("http://b1:9480") }).unwrap());
        assert!(!contexts.add("dev", context("http://127.0.0.1:9480")).unwrap());
        contexts.save().unwrap();
        let loaded = store(dir.path());
        assert_eq!(loaded.content, contexts.content);
        let mode = fs::metadata(loaded.path.as_ref().unwrap()).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn dash_goes_back() {
        let dir = tempfile::tempdir().unwrap();
        let mut contexts = store(dir.path());
        contexts.add("a", context("http://a:1")).unwrap();
        contexts.add("b", context("http://b:1")).unwrap();
        assert_eq!(contexts.select("-").unwrap_err().code, ErrorCode::UnknownContext);
        contexts.select("b").unwrap();
        assert_eq!(contexts.select("-").unwrap(), "a");
        assert_eq!(contexts.select("-").unwrap(), "b");
        assert!(contexts.remove("b").unwrap());
        assert_eq!(contexts.current(), None);
    }

    #[test]
    fn mistakes_are_named() {
        let dir = tempfile::tempdir().unwrap();
        let mut contexts = store(dir.path());
        contexts.add("prod", context("http://a:1")).unwrap();
        assert_eq!(contexts.get("prdo").unwrap_err().did_you_mean.as_deref(), Some("prod"));
        for name in ["", "-", "a b", "a/b"] {
            assert_eq!(
                contexts.add(name, context("http://a:1")).unwrap_err().code,
                ErrorCode::Usage,
                "{name}"
            );
        }
        let path = dir.path().join("bad.toml");
        fs::write(&path, "current = \"a\"\n[contexts.a]\nservers = [\"x\"]\nreadonly = true\n").unwrap();
        let error = Store::load_from(path).unwrap_err();
        assert!(error.message.contains("bad.toml:4: unknown field `readonly`"), "{}", error.message);
    }
}
