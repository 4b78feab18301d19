//! Which unsynced changes a power loss keeps.

use super::random::Random;

/// What is left of the changes that were not synced when the power went.
///
/// Each name in a directory, each length of a file and each sector of [`SECTOR_BYTES`] is a thing of its own
/// with a history since the last sync. A power loss may leave any of them at any point of its history, because
/// a kernel writes back what it likes, when it likes, in any order. What it cannot do is invent: a sector is
/// never half of one version and half of another, and a rename within a directory never loses both names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kept {
    /// Nothing: all of them as of the last sync.
    Nothing,
    /// Everything, as if the kernel had just written back.
    Everything,
    /// For each one a choice made from this seed.
    Subset {
        /// The same seed on the same disk makes the same choices.
        seed: u64,
    },
}

/// Unit in which data reaches the disk whole or not at all.
pub const SECTOR_BYTES: usize = 512;

/// Chooses among versions, in one of several characters: where everything is drawn evenly, the interesting cases
/// (all but one, none but one, a prefix in time) hardly ever come up.
#[derive(Debug)]
pub(super) enum Chooser {
    Nothing,
    Everything,
    /// All that happened up to a point in time.
    Prefix {
        share: usize,
    },
    /// The newest version with this probability, else any.
    Mostly {
        newest_per_mille: u16,
        random: Random,
    },
}

/// Parts that [`Chooser::Prefix`] divides time into.
const SHARES: usize = 1 << 16;

impl Chooser {
    pub(super) fn new(kept: Kept, salt: u64) -> Self {
        let seed = match kept {
            Kept::Nothing => return Self::Nothing,
            Kept::Everything => return Self::Everything,
            Kept::Subset { seed } => seed,
        };
        let mut random = Random::new(seed ^ salt.wrapping_mul(0x2545_f491_4f6c_dd1d));
        match random.below(10) {
            0 => Self::Nothing,
            1 => Self::Everything,
            2 | 3 => Self::Prefix { share: random.below(SHARES + 1) },
            4 => Self::Mostly { newest_per_mille: 100, random },
            5..=7 => Self::Mostly { newest_per_mille: 500, random },
            _ => Self::Mostly { newest_per_mille: 900, random },
        }
    }

    /// How far of a history is kept: 0 for the durable version, else one more than the index of a change out of
    /// `all` that happened to the file or directory. `mine` are those that touched the thing in question, in order.
    pub(super) fn choose(&mut self, mine: &[usize], all: usize) -> usize {
        let newest = mine.last().map_or(0, |index| index + 1);
        match self {
            Self::Nothing => 0,
            Self::Everything => newest,
            Self::Prefix { share } => {
                let until = all * *share / SHARES;
                mine.iter().rev().map(|index| index + 1).find(|version| *version <= until).unwrap_or(0)
            }
            Self::Mostly { newest_per_mille, random } => {
                if random.chance(*newest_per_mille) {
                    return newest;
                }
                match random.below(mine.len() + 1).checked_sub(1) {
                    None => 0,
                    Some(at) => mine.get(at).map_or(0, |index| index + 1),
                }
            }
        }
    }
}
