//! Commands checked against the image.

mod cluster;
mod configs;
mod partitions;
mod producers;
mod topics;

use std::sync::Arc;

use corduroy_types::{TopicName, hidden_character, nearest};

use crate::{Image, MetadataError, Topic, error::TEXT_MAX};

/// The topic that a client may change under this name.
fn changeable<'a>(image: &'a Image, name: &TopicName) -> Result<&'a Arc<Topic>, MetadataError> {
    if name.is_internal() {
        return Err(MetadataError::ReservedName { name: name.clone() });
    }
    image.topic(name.as_str()).ok_or_else(|| {
        let names = image.names.keys().filter(|known| !known.is_internal()).map(TopicName::as_str);
        let suggestion = nearest(name.as_str(), names).and_then(|name| image.topic(name));
        MetadataError::TopicNotFound {
            name: name.clone(),
            suggestion: suggestion.map(|topic| topic.name.clone()),
        }
    })
}

/// Refuses texts that could not be shown or would not end.
fn check_text(what: &'static str, text: &str) -> Result<(), MetadataError> {
    let characters = text.chars().count();
    if !(1..=TEXT_MAX).contains(&characters) || text.chars().any(char::is_control) {
        return Err(MetadataError::Text { what, characters });
    }
    check_shown(what, text)
}

/// Refuses a text with characters that are not seen. Only in new commands: what is stored already stays readable.
fn check_shown(what: &str, text: &str) -> Result<(), MetadataError> {
    match hidden_character(text) {
        Some(character) => Err(MetadataError::HiddenCharacter { what: what.to_owned(), character }),
        None => Ok(()),
    }
}
