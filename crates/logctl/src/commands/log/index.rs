//! `logctl log index ..`

use std::path::Path;

use corduroy_log::{
    LogError, RealDisk,
    offline::{self, IndexState, SegmentFiles},
};
use corduroy_types::ErrorCode;
use serde::Serialize;

use super::{
    from_log,
    lock::DirLock,
    partition_dirs::{PartitionDir, PartitionDirs, partition_dir_of},
};
use crate::{
    cli::{LogIndexCommand, OutputForm, RebuildIndexArgs},
    error::{CliError, Stop},
    exit::Exit,
    output::{Cell, Column, Row, column, counted, wide, write_rows},
    ui::Ui,
};

/// There after a clean stop, at the root of a data directory.
const CLEAN_FILE: &str = "clean-shutdown";

#[derive(Serialize)]
struct IndexRow {
    /// Its name, where the metadata log says.
    topic: Option<String>,
    topic_id: String,
    partition: String,
    base_offset: u64,
    state: &'static str,
    /// What is wrong with the indexes, or with the segment.
    doubts: Vec<String>,
    path: String,
}

impl Row for IndexRow {
    const COLUMNS: &'static [Column] = &[
        column("TOPIC"),
        wide("TOPIC-ID"),
        column("PARTITION"),
        column("SEGMENT"),
        column("INDEXES"),
        column("DOUBTS"),
        wide("FILE"),
    ];

    fn name(&self) -> String {
        self.path.clone()
    }

    fn cells(&self) -> Vec<Cell> {
        vec![
            Cell::text(self.topic.as_ref().unwrap_or(&self.topic_id)),
            Cell::text(&self.topic_id),
            Cell::text(&self.partition),
            Cell::text(format!("{:020}", self.base_offset)),
            Cell::text(self.state),
            Cell::Count(self.doubts.len() as u64),
            Cell::text(&self.path),
        ]
    }
}

pub(super) fn run(command: &LogIndexCommand, ui: &mut Ui<'_>) -> Result<Exit, Stop> {
    match command {
        LogIndexCommand::Check(args) => {
            let lock = DirLock::take(&args.path)?;
            let rows = each(&args.path, lock, "agree", |dir, segment, clean| {
                offline::check_indexes(&RealDisk, &dir.path, segment, clean)
            })?;
            finish(&rows, "write them again: logctl log index rebuild", ui)
        }
        LogIndexCommand::Rebuild(args) => rebuild(args, ui),
    }
}

fn rebuild(args: &RebuildIndexArgs, ui: &mut Ui<'_>) -> Result<Exit, Stop> {
    let dry_run = args.mutation.dry_run;
    let lock = DirLock::take_to_write(&args.of.path)?;
    let done = if dry_run { "would be written" } else { "written" };
    let rows = each(&args.of.path, lock, done, |dir, segment, clean| {
        offline::rebuild_indexes(&RealDisk, &dir.path, segment, clean, dry_run)
    })?;
    let exit = finish(&rows, "damaged segments get no index; see logctl log verify", ui)?;
    if dry_run {
        ui.note("dry run: nothing was changed");
    }
    Ok(exit)
}

/// Does something with each segment that is meant, all of a directory or one.
fn each(
    path: &Path,
    lock: DirLock,
    well: &'static str,
    act: impl Fn(&PartitionDir, &SegmentFiles, bool) -> Result<IndexState, LogError>,
) -> Result<Vec<IndexRow>, CliError> {
    let one = path.is_file().then(|| path.canonicalize().unwrap_or_else(|_| path.to_owned()));
    let dirs = match &one {
        None => PartitionDirs::locked(path, lock)?,
        Some(file) => {
            let dir = file.parent().map(Path::to_owned).unwrap_or_default();
            PartitionDirs { partitions: vec![partition_dir_of(&dir)], lock }
        }
    };
    let mut rows = Vec::new();
    for dir in &dirs.partitions {
        let clean = closed_cleanly(&dir.path);
        let listing = offline::list(&RealDisk, &dir.path).map_err(|error| from_log(&error))?;
        let meant = |segment: &&SegmentFiles| one.as_ref().is_none_or(|file| segment.path == *file);
        for segment in listing.segments.iter().filter(meant) {
            let state = act(dir, segment, clean).map_err(|error| from_log(&error))?;
            rows.push(row(dir, segment, state, well));
        }
    }
    match one {
        Some(file) if rows.is_empty() => Err(not_a_segment(&file)),
        _ => Ok(rows),
    }
}

fn not_a_segment(file: &Path) -> CliError {
    from_log(&LogError::NotASegment { path: file.to_owned() })
}

/// Whether the broker left the data directory, two levels above a partition's, by a clean stop.
fn closed_cleanly(partition: &Path) -> bool {
    let absolute = partition.canonicalize().unwrap_or_else(|_| partition.to_owned());
    absolute.ancestors().nth(2).is_some_and(|data_dir| data_dir.join(CLEAN_FILE).is_file())
}

fn row(dir: &PartitionDir, segment: &SegmentFiles, state: IndexState, well: &'static str) -> IndexRow {
    let (state, doubts) = match state {
        IndexState::Agree => (well, Vec::new()),
        IndexState::Missing => ("missing", Vec::new()),
        IndexState::Unused => ("unused", Vec::new()),
        IndexState::Doubtful(doubts) => ("doubtful", doubts.iter().map(ToString::to_string).collect()),
        IndexState::Damaged(damage) => ("segment damaged", vec![damage.to_string()]),
    };
    IndexRow {
        topic: dir.topic.clone(),
        topic_id: dir.topic_id.clone(),
        partition: dir.partition.clone(),
        base_offset: segment.base_offset.get(),
        state,
        doubts,
        path: segment.path.display().to_string(),
    }
}

fn finish(rows: &[IndexRow], hint: &str, ui: &mut Ui<'_>) -> Result<Exit, Stop> {
    write_rows(ui, rows)?;
    let doubts = || rows.iter().flat_map(|row| &row.doubts);
    let count = doubts().count() as u64;
    if count == 0 {
        return Ok(Exit::Ok);
    }
    if matches!(ui.settings.output, OutputForm::Table | OutputForm::Wide) {
        for doubt in doubts() {
            ui.line(format!("doubt: {doubt}"))?;
        }
    }
    ui.flush()?;
    Err(CliError::new(ErrorCode::HasFindings, counted(count, "finding"))
        .with_hint(hint)
        .with_detail("findings", count)
        .into())
}
