//! The TOML file: what it sets, line by line, and what in it makes no sense.

use std::path::Path;

use corduroy_types::nearest;
use toml::{Spanned, de::DeTable, de::DeValue};

use super::{
    error::{ConfigError, Origin},
    key::{Form, Key, code},
    keys::{SECTIONS, find, keys},
    model::BrokerConfig,
};

/// A value that a source gives to a key.
#[derive(Debug)]
pub(super) struct Assignment {
    pub(super) key: &'static Key,
    pub(super) text: String,
    pub(super) origin: Origin,
}

/// What was read, and what was wrong.
#[derive(Debug, Default)]
pub(super) struct Read {
    pub(super) assignments: Vec<Assignment>,
    pub(super) errors: Vec<ConfigError>,
}

/// Reads a file's text.
pub(super) fn read(path: &Path, text: &str) -> Read {
    let (table, broken) = DeTable::parse_recoverable(text);
    let mut reader = Reader { path, text, read: Read::default() };
    for error in broken {
        let line = reader.origin(error.span().map_or(0, |span| span.start));
        reader.error("C0002", line, error.message().to_owned());
    }
    for (name, value) in table.get_ref() {
        reader.top(name, value);
    }
    let mut read = reader.read;
    // What a broken line seems to say is no second error.
    let broken: Vec<_> = read.errors.iter().filter(|e| e.code == code("C0002")).cloned().collect();
    let is_broken = |origin: &Origin| broken.iter().any(|error| error.origin.as_ref() == Some(origin));
    read.errors.retain(|error| error.code == code("C0002") || !error.origin.as_ref().is_some_and(is_broken));
    read.assignments.retain(|assignment| !is_broken(&assignment.origin));
    read.assignments.sort_by(|a, b| a.origin.cmp(&b.origin));
    read
}

struct Reader<'a> {
    path: &'a Path,
    text: &'a str,
    read: Read,
}

type Name<'i> = Spanned<std::borrow::Cow<'i, str>>;

impl Reader<'_> {
    fn origin(&self, position: usize) -> Origin {
        let before = self.text.as_bytes().iter().take(position);
        Origin::File { path: self.path.to_owned(), line: 1 + before.filter(|byte| **byte == b'\n').count() }
    }

    fn error(&mut self, name: &str, origin: Origin, text: String) {
        self.read.errors.push(ConfigError { code: code(name), origin: Some(origin), text });
    }

    fn top(&mut self, name: &Name<'_>, value: &Spanned<DeValue<'_>>) {
        let origin = self.origin(name.span().start);
        let word = name.get_ref();
        let section = SECTIONS.iter().find(|section| section.name == *word);
        match (section, value.get_ref()) {
            (Some(section), DeValue::Table(table)) => {
                for (name, value) in table {
                    self.entry(section.name, "", name, value);
                }
            }
            (Some(section), other) => {
                let text = format!("[{}] is a section, not {}", section.name, kind_of(other));
                self.error("C0003", origin, text);
            }
            (None, DeValue::Table(_)) => {
                let names = SECTIONS.iter().map(|section| section.name);
                let hint = match nearest(word, names.clone()) {
                    Some(name) => format!("did you mean [{name}]?"),
                    None => format!("the sections are {}", names.collect::<Vec<_>>().join(", ")),
                };
                self.error("C0007", origin, format!("unknown section [{word}]; {hint}"));
            }
            (None, _) => {
                let home = keys().iter().find(|key| key.name == *word);
                let hint = home.map_or(String::new(), |key| format!("; it belongs in [{}]", key.section));
                self.error("C0007", origin, format!("key {word:?} stands before any section{hint}"));
            }
        }
    }

    /// One entry of a section. Dotted keys arrive as tables in tables: `retention.ms` below `prefix`.
    fn entry(&mut self, section: &str, prefix: &str, name: &Name<'_>, value: &Spanned<DeValue<'_>>) {
        let path = match prefix {
            "" => name.get_ref().clone().into_owned(),
            _ => format!("{prefix}.{}", name.get_ref()),
        };
        let origin = self.origin(name.span().start);
        match (find(section, &path), value.get_ref()) {
            (Some(key), value) => self.value(key, value, origin),
            (None, DeValue::Table(table)) if !table.is_empty() => {
                for (name, value) in table {
                    self.entry(section, &path, name, value);
                }
            }
            (None, _) => self.error("C0007", origin, unknown_key(section, &path)),
        }
    }

    fn value(&mut self, key: &'static Key, value: &DeValue<'_>, origin: Origin) {
        let text = scalar(value).filter(|(form, _)| accepts(key.form, *form));
        match text {
            Some((_, text)) => self.read.assignments.push(Assignment { key, text, origin }),
            None => {
                let wanted = match key.form {
                    Form::Text => "a string in quotes",
                    Form::Number => "a whole number without quotes",
                    Form::TextOrNumber => "a string in quotes or a whole number",
                    Form::Truth => "true or false without quotes",
                    Form::Scalar => "one value",
                };
                let text = format!("{} takes {wanted}, not {}", key.path(), kind_of(value));
                self.error("C0003", origin, text);
            }
        }
    }
}

/// "unknown key …": with the key that was probably meant, and its default as an example of what it accepts.
pub(super) fn unknown_key(section: &str, name: &str) -> String {
    let here = keys().iter().filter(|key| key.section == section);
    let hint = match nearest(name, here.clone().map(|key| key.name)) {
        Some(near) => {
            let example = find(section, near).map(|key| key.to_toml(&key.show(&BrokerConfig::default())));
            format!("; did you mean {near:?}? (accepts {})", example.unwrap_or_default())
        }
        None => match keys().iter().find(|key| key.name == name) {
            Some(elsewhere) => format!("; it belongs in [{}]", elsewhere.section),
            None => format!("; its keys are {}", here.map(|key| key.name).collect::<Vec<_>>().join(", ")),
        },
    };
    format!("unknown key {name:?} in [{section}]{hint}")
}

fn scalar(value: &DeValue<'_>) -> Option<(Form, String)> {
    match value {
        DeValue::String(text) => Some((Form::Text, text.clone().into_owned())),
        DeValue::Integer(number) => {
            let number = i128::from_str_radix(number.as_str(), number.radix()).ok()?;
            Some((Form::Number, number.to_string()))
        }
        DeValue::Float(number) => Some((Form::Scalar, number.as_str().to_owned())),
        DeValue::Boolean(truth) => Some((Form::Truth, truth.to_string())),
        DeValue::Datetime(_) | DeValue::Array(_) | DeValue::Table(_) => None,
    }
}

fn accepts(wanted: Form, got: Form) -> bool {
    match wanted {
        Form::Scalar => true,
        Form::TextOrNumber => matches!(got, Form::Text | Form::Number),
        _ => wanted == got,
    }
}

fn kind_of(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a string",
        DeValue::Integer(_) => "a number",
        DeValue::Float(_) => "a fraction",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a section",
    }
}
