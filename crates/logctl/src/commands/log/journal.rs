//! What the offline commands say of the commit journal.

use std::path::Path;

use corduroy_log::{
    RealDisk,
    journal::{JOURNAL_DIR, Replay},
    offline::{self, JournalSummary},
};

use crate::{
    output::{counted, human_bytes},
    ui::Ui,
};

/// From a partition's directory: itself, its topic, the data directory.
const LEVELS_UP: usize = 3;

/// Says what the journal of the data directory `dir` holds in addition to the segments. A partition's directory has none.
pub(super) fn note(dir: &Path, ui: &mut Ui<'_>) {
    match offline::journal(&RealDisk, dir) {
        Ok(None) => {}
        Ok(Some(found)) => {
            if let Some(text) = text(&found) {
                ui.note(format!("note: {text}"));
            }
        }
        Err(error) => {
            ui.note(format!("note: the commit journal cannot be read, and was not looked at: {error}"))
        }
    }
}

/// The journal of the data directory that `path` is, or is a partition's directory in; `None` where there is none that
/// can be read.
pub(super) fn near(path: &Path) -> Option<Replay> {
    let absolute = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let dir = absolute.ancestors().take(LEVELS_UP).find(|dir| dir.join(JOURNAL_DIR).is_dir())?;
    Replay::read(&RealDisk, dir).ok()
}

/// Names the files of the journal.
pub(super) fn name_files(dir: &Path, ui: &mut Ui<'_>) {
    match offline::journal(&RealDisk, dir) {
        Ok(found) => {
            for (file, bytes) in found.into_iter().flat_map(|found| found.files) {
                ui.note(format!("{}: commit journal, {}", file.display(), human_bytes(bytes)));
            }
        }
        Err(error) => ui.note(format!("the commit journal cannot be read: {error}")),
    }
}

fn text(found: &JournalSummary) -> Option<String> {
    let replay = &found.replay;
    if replay.unreadable {
        let text = "the commit journal cannot be read; unless the very first start was cut short, records that it \
                    alone held and epoch histories are lost";
        return Some(text.to_owned());
    }
    if !replay.damages.is_empty() {
        let damages: Vec<_> = replay.damages.iter().map(ToString::to_string).collect();
        return Some(format!("the commit journal is damaged: {}", damages.join("; ")));
    }
    let mut parts = Vec::new();
    if replay.data_bytes > 0 {
        parts.push(format!(
            "{} of batches for {} that may not be in them yet",
            human_bytes(replay.data_bytes),
            counted(replay.segments as u64, "segment")
        ));
    }
    if replay.cuts > 0 {
        parts.push(format!("{} that did not come to its end", counted(replay.cuts as u64, "cut")));
    }
    (!parts.is_empty()).then(|| {
        let entries = counted(replay.entries, "entry").replace("entrys", "entries");
        format!(
            "the commit journal ({entries}) holds {}: the broker brings the segments up to date when it starts, and \
             what is said here is of the segments before that",
            parts.join(", and ")
        )
    })
}
