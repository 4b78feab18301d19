//! Damage that reads met in one partition, until the records are gone anyway.

use corduroy_log::Damage;
use corduroy_types::Offset;
use parking_lot::Mutex;

/// The first damage that a read met, and the last one: how far it goes is for a check of the whole log to say.
#[derive(Debug, Default)]
pub(crate) struct DamageMet(Mutex<Option<(Damage, Damage)>>);

impl DamageMet {
    pub(super) fn note(&self, damage: &Damage) {
        let mut met = self.0.lock();
        *met = Some(match met.take() {
            None => (damage.clone(), damage.clone()),
            Some((first, last)) if damage.offset < first.offset => (damage.clone(), last),
            Some((first, last)) if damage.offset > last.offset => (first, damage.clone()),
            Some(known) => known,
        });
    }

    /// What is known of damage at or above the log start, in words.
    pub(crate) fn describe(&self, log_start: Offset) -> Option<String> {
        let met = self.0.lock();
        let (first, last) = met.as_ref()?;
        if last.offset < log_start {
            return None;
        }
        if first.offset == last.offset || first.offset < log_start {
            return Some(last.to_string());
        }
        Some(format!("{first}; and up to offset {}", last.offset))
    }
}
