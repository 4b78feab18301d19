//! Giving up what cannot be read, so that readers pass over it.
//!
//! For a single copy there is nothing to repair from. Each damaged segment is written again with its sound batches
//! only, at the offsets they have, and swapped in; the catalogue then says that offsets may be missing in it.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use corduroy_types::Offset;

use crate::damage::DamagedRange;
use crate::error::LogError;
use crate::index::ScanStart;
use crate::log::Log;
use crate::scan::{Depth, Walk, WalkError};
use crate::scrub::Scrub;
use crate::segment::Sealed;
use crate::shared::Shared;
use crate::swap::{SegmentWriter, Swap};

/// What has to happen before damage can be given up.
#[derive(Debug)]
pub enum SalvagePlan {
    /// No damage is known.
    Nothing,
    /// The damaged segment was the last one. It has been rolled; perform a round and plan again.
    AfterRound,
    /// Go on with this.
    Ready(Salvage),
}

/// The damaged segments of a log, to be written again without what cannot be read.
#[derive(Debug)]
pub struct Salvage {
    shared: Arc<Shared>,
    /// All sealed segments.
    sealed: Arc<Vec<Arc<Sealed>>>,
    left: VecDeque<Arc<Sealed>>,
}

/// One segment that is ready to take the place of a damaged one.
#[derive(Debug)]
#[must_use = "nothing is given up until it is swapped in"]
pub struct Salvaged {
    /// Swap this in (see [`Swap`]), or discard it.
    pub swap: Swap,
    /// What is lost with it.
    pub given_up: Vec<DamagedRange>,
}

impl Log {
    /// Plans to give up the damage that is known (see [`Log::damages`]). What can be read stays, at its offsets.
    pub fn plan_salvage(&mut self) -> SalvagePlan {
        if self.cutting.is_some() {
            return SalvagePlan::AfterRound;
        }
        let of_segments = self.damages().into_iter().filter(|range| !range.is_doubt());
        let damaged: BTreeSet<Offset> = of_segments.map(|range| range.segment_base).collect();
        if self.active.bytes > 0 && damaged.contains(&self.active.base()) {
            self.roll();
        }
        let segments = || self.sealed.iter().filter(|sealed| damaged.contains(&sealed.base()));
        if segments().any(|sealed| sealed.end > self.settled_end) {
            return SalvagePlan::AfterRound;
        }
        let left: VecDeque<Arc<Sealed>> = segments().cloned().collect();
        if left.is_empty() && self.shared.doubt().is_none() && self.shared.faults().is_empty() {
            return SalvagePlan::Nothing;
        }
        let sealed = Arc::clone(&self.sealed);
        SalvagePlan::Ready(Salvage { shared: Arc::clone(&self.shared), sealed, left })
    }
}

impl Salvage {
    /// Takes what is stored for what it should be, where the state of the partition was lost: all of it is served from
    /// then on, records that had been deleted too. Returns what was in doubt. Do this first.
    ///
    /// # Errors
    /// The disk's. Nothing has changed then; try again later.
    pub fn accept_state(&self) -> Result<Option<DamagedRange>, LogError> {
        self.shared.forget_faults();
        let Some(doubt) = self.shared.doubt() else { return Ok(None) };
        let mut scrub = Scrub::accepting(&self.shared, &self.sealed);
        while !scrub.step(u64::MAX)?.done {}
        let state = &self.shared.state;
        let accepted = state.change(&*self.shared.disk, |state| state.doubtful_end = Offset::ZERO);
        accepted.map_err(LogError::io("write", state.path()))?;
        self.shared.set_doubtful_end(Offset::ZERO);
        Ok(Some(doubt))
    }

    /// Writes the sound batches of the next damaged segment next to it; `None` when there are no more.
    ///
    /// # Errors
    /// The disk's. Nothing has changed then; try again later.
    pub fn write_next(&mut self) -> Result<Option<Salvaged>, LogError> {
        let Some(old) = self.left.pop_front() else { return Ok(None) };
        let mut writer = SegmentWriter::create(&self.shared, old.base())?;
        let given_up = match copy_sound(&self.shared, &old, &mut writer) {
            Ok(given_up) => given_up,
            Err(error) => {
                writer.discard(&*self.shared.disk);
                return Err(error);
            }
        };
        let new = writer.finish(old.end)?;
        Ok(Some(Salvaged { swap: Swap::new(&self.shared, vec![old], new), given_up }))
    }
}

/// Copies what is sound, and reports what is not.
fn copy_sound(
    shared: &Arc<Shared>,
    old: &Sealed,
    writer: &mut SegmentWriter,
) -> Result<Vec<DamagedRange>, LogError> {
    let known = || {
        let known = shared.damages().into_iter();
        known.filter(|range| range.segment_base == old.base()).collect::<Vec<_>>()
    };
    if old.lost.is_some() {
        return Ok(known());
    }
    let (base, end, path) = (old.base(), old.end, old.file.path());
    let file = old.file.open(&*shared.disk).map_err(LogError::io("open", &*path))?;
    let start = ScanStart::of_segment(base);
    let walk = Walk::new(&file, path.clone(), Depth::Checksums, start, old.bytes);
    let mut walk = walk.allowing_gaps(old.gaps);
    let mut given_up = Vec::new();
    loop {
        match walk.next() {
            Ok(Some(header)) => writer.push(&header, Bytes::copy_from_slice(walk.batch_bytes()))?,
            Ok(None) => break,
            Err(WalkError::Io(error)) => return Err(LogError::io("read", path)(error)),
            Err(WalkError::Damaged(damage)) => {
                let passed = walk.pass(base, damage, end).map_err(LogError::io("read", &*path))?;
                given_up.push(passed);
            }
        }
    }
    let missing = walk.missing_before(end);
    given_up.extend(missing.map(|damage| DamagedRange { damage, segment_base: base, next_good: end }));
    // Where only the checksum over the whole was wrong, every batch stays.
    Ok(if given_up.is_empty() { known() } else { given_up })
}
