//! What is damaged in the journal, of what was synced once.

use std::path::PathBuf;

use super::checkpoint::JournalPosition;
use super::generation::{Gap, Generation, Head};

/// A part of the journal that is not what was written there, though it was synced.
///
/// Marks, epoch histories and cuts are stored twice, so none of them is lost where one place is damaged. Batches that
/// were acknowledged less than a checkpoint ago may be: their segments are damaged then, if power was lost, too.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JournalDamage {
    /// The file does not begin with a header. Which generation it holds was found by its entries, if any are left.
    #[error("{} begins with something that is no header", file.display())]
    Header {
        /// The file.
        file: PathBuf,
    },
    /// The file is gone: both are there from the first start on.
    #[error("{} is gone", file.display())]
    Gone {
        /// The file.
        file: PathBuf,
    },
    /// Entries that cannot be read; later ones can.
    #[error("{bytes} bytes at position {position} of {} are damaged", file.display())]
    Entries {
        /// The file.
        file: PathBuf,
        /// Where they begin.
        position: u64,
        /// How many.
        bytes: u64,
    },
    /// Both copies of the state that the newest generation begins with are damaged. Histories and marks are those of the
    /// older generation, where nothing newer says otherwise.
    #[error("both copies of the state in {} are damaged", file.display())]
    State {
        /// The file.
        file: PathBuf,
    },
    /// The older generation, of which data may be needed, is not there.
    #[error("generation {generation}, which holds data that was not checkpointed, is in neither file")]
    Missing {
        /// Its number.
        generation: u64,
    },
}

/// What is damaged of these generations, oldest first, in files that begin so, with data needed from `checkpointed` on.
pub(super) fn find(
    generations: &[Generation],
    heads: &[(PathBuf, Head)],
    checkpointed: JournalPosition,
    has_logs: bool,
) -> Vec<JournalDamage> {
    let of_heads = heads.iter().filter_map(|(file, head)| match head {
        Head::Damaged => Some(JournalDamage::Header { file: file.clone() }),
        Head::Missing if has_logs && !generations.is_empty() => {
            Some(JournalDamage::Gone { file: file.clone() })
        }
        _ => None,
    });
    let mut found: Vec<_> = of_heads.collect();
    let Some(newest) = generations.last() else { return found };
    for generation in generations {
        let Some((file, head)) = heads.get(generation.slot.index()) else { continue };
        let is_newest = generation.id == newest.id;
        if *head == Head::Blank && is_newest {
            found.push(JournalDamage::Header { file: file.clone() });
        }
        let needed = |gap: &&Gap| match is_newest {
            true => gap.from < generation.last_commit(),
            false => (generation.id.number, gap.to) > checkpointed,
        };
        found.extend(generation.gaps.iter().filter(needed).map(|gap| JournalDamage::Entries {
            file: file.clone(),
            position: gap.from,
            bytes: gap.to - gap.from,
        }));
        if is_newest && !generation.is_whole() {
            found.push(JournalDamage::State { file: file.clone() });
        }
    }
    let (generation, _) = checkpointed;
    if generations.iter().all(|found| found.id.number != generation) {
        found.push(JournalDamage::Missing { generation });
    }
    found
}
