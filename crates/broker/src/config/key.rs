//! What one configuration key is: its name, its kind, and the field it fills.

use corduroy_types::{CONFIG_CODES, CodeText};

use super::{kinds::Kind, model::BrokerConfig};

/// The TOML type in which a value is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// A string: `"7d"`.
    Text,
    /// An integer: `9`.
    Number,
    /// Either: `"1MiB"` or `1048576`, `"auto"` or `3`.
    TextOrNumber,
    /// `true` or `false`.
    Truth,
    /// Any scalar.
    Scalar,
}

/// Why a value was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadValue {
    /// Its code, from [`CONFIG_CODES`].
    pub code: &'static CodeText,
    /// What was wrong, and what would be right.
    pub text: String,
}

impl BadValue {
    /// C0003: `text` is not what is `wanted`.
    pub(super) fn form(text: &str, wanted: &str) -> Self {
        Self { code: code("C0003"), text: format!("{text:?} is not {wanted}") }
    }

    /// C0004: `text` is outside `range`.
    pub(super) fn range(text: &str, range: &str) -> Self {
        Self { code: code("C0004"), text: format!("{text} is out of range; write {range}") }
    }
}

/// A code's text, by its name.
pub(super) fn code(name: &str) -> &'static CodeText {
    /// For a code that the registry lost; a test looks for it.
    const LOST: &CodeText = &CodeText { code: "C0000", summary: "", action: "" };
    CONFIG_CODES.iter().find(|text| text.code == name).unwrap_or(LOST)
}

type Set = Box<dyn Fn(&mut BrokerConfig, &str) -> Result<(), BadValue> + Send + Sync>;
type Show = Box<dyn Fn(&BrokerConfig) -> String + Send + Sync>;

/// One key of the configuration.
pub struct Key {
    /// Its section's name.
    pub section: &'static str,
    /// Its name in the section; topic configs have dots in theirs.
    pub name: &'static str,
    /// How it is written in a file.
    pub form: Form,
    /// What it accepts: a range, or words.
    pub accepts: String,
    /// What it does.
    pub doc: String,
    pub(super) set: Set,
    pub(super) show: Show,
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Key").field(&self.path()).finish()
    }
}

impl Key {
    /// A key of `kind` whose field is reached through `get` and `put`.
    pub(super) fn new<T: 'static>(
        (section, name): (&'static str, &'static str),
        kind: Kind<T>,
        doc: &str,
        get: fn(&BrokerConfig) -> &T,
        put: fn(&mut BrokerConfig, T),
    ) -> Self {
        let Kind { form, accepts, read, write } = kind;
        Self {
            section,
            name,
            form,
            accepts,
            doc: doc.to_owned(),
            set: Box::new(move |config, text| {
                put(config, read(text)?);
                Ok(())
            }),
            show: Box::new(move |config| write(get(config))),
        }
    }

    /// `section.name`.
    pub fn path(&self) -> String {
        format!("{}.{}", self.section, self.name)
    }

    /// The environment variable that sets it: `BROKERD_NODE__DATA_DIR`. Dots become single underscores, as in
    /// `BROKERD_TOPIC_DEFAULTS__RETENTION_MS`.
    pub fn variable(&self) -> String {
        format!("BROKERD_{}__{}", self.section, self.name.replace('.', "_")).to_uppercase()
    }

    /// Reads `text` into its field of `config`.
    ///
    /// # Errors
    /// [`BadValue`] when it has the wrong form or is out of range; `config` is unchanged then.
    pub fn set(&self, config: &mut BrokerConfig, text: &str) -> Result<(), BadValue> {
        (self.set)(config, text)
    }

    /// Its value in `config`, as text that [`Self::set`] reads.
    pub fn show(&self, config: &BrokerConfig) -> String {
        (self.show)(config)
    }

    /// `text` as it is written in a file.
    pub fn to_toml(&self, text: &str) -> String {
        let bare = match self.form {
            Form::Text => false,
            Form::Number | Form::Truth => true,
            Form::TextOrNumber => text.parse::<i64>().is_ok(),
            Form::Scalar => text.parse::<f64>().is_ok() || text == "true" || text == "false",
        };
        if bare { text.to_owned() } else { toml::Value::from(text).to_string() }
    }
}
