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

/// Refuses texts that are too long, or hold a character that is not seen. Only in new commands: what is stored stays readable.
fn check_text(what: &'static str, text: &str) -> Result<(), MetadataError> {
    let characters = text.chars().count();
    if !(1..=TEXT_MAX).contains(&characters) {
        return Err(MetadataError::Text { what, characters });
    }
    match hidden_character(text) {
        Some(character) => Err(MetadataError::HiddenCharacter { what, character }),
        None => Ok(()),
    }
}
