//! What to say at the end of a produce, and with which status to end.

use std::{sync::atomic::Ordering, time::Duration};

use corduroy_types::{ErrorCode, Outcome};
use serde_json::json;

use super::{
    Fed,
    feed::{Halt, Meter, Skipped},
    sinks::from_send,
    tally::{Counts, Tally},
};
use crate::{
    cli::{OnError, ProduceArgs, Report},
    connect::{Session, about_topic},
    error::{CliError, Stop},
    exit::Exit,
    output::{counted, human_bytes, human_duration, is_structured, part_of, write_value},
    progress::per_second,
    ui::Ui,
};

/// How a produce ended.
pub(super) struct Ended {
    /// What feeding ended with; `None` while it still hangs in a read.
    pub(super) fed: Option<Fed>,
    pub(super) signal: Option<Exit>,
    pub(super) elapsed: Duration,
}

/// Says what became of the records.
///
/// # Errors
/// Records that were not acknowledged, input that cannot be sent, or a signal.
pub(super) fn conclude(
    args: &ProduceArgs,
    session: &Session,
    tally: &Tally,
    meter: &Meter,
    end: Ended,
    ui: &mut Ui<'_>,
) -> Result<Exit, Stop> {
    let kept = tally.finish_failed();
    let counts = tally.counts();
    let read = meter.records.load(Ordering::Relaxed);
    let unsent = read.saturating_sub(counts.acked + counts.unknown);
    if let Some(exit) = end.signal {
        let Counts { acked, unknown, .. } = counts;
        let message = format!(
            "interrupted: {} acknowledged, {unknown} unknown, {unsent} unsent",
            counted(acked, "record")
        );
        if args.report != Report::None {
            ui.note(&message);
        }
        let error = described(CliError::new(ErrorCode::Interrupted, message), counts, unsent);
        return Err(Stop::Signal(exit, Some(Box::new(error))));
    }
    kept?;
    let (fed, skipped) = end.fed.unwrap_or((Ok(()), Skipped::default()));
    let failed = counts.unknown + unsent;
    let error = match fed {
        Err(Halt::Error(error)) => Some(*error),
        Ok(()) | Err(Halt::Stopped) => None,
    };
    // For scripts the summary is the answer, and a failure has none: its details hold the counts.
    let is_whole = error.is_none() && skipped.count == 0;
    let is_due = is_whole || (!is_structured(ui.settings.output) && (error.is_none() || counts.acked > 0));
    if failed == 0 && args.report == Report::Summary && is_due {
        summarize(
            ui,
            counts.acked,
            tally.partition_count(),
            meter.bytes.load(Ordering::Relaxed),
            end.elapsed,
        )?;
    }
    if failed == 0 {
        return match error {
            Some(error) => Err(described(error, counts, unsent).into()),
            None => skipped_only(ui, counts.acked, &skipped).map_err(|stop| match stop {
                Stop::Error(error) => described(*error, counts, unsent).into(),
                other => other,
            }),
        };
    }
    list_skipped(ui, &skipped);
    let error = error.unwrap_or_else(|| undelivered(args, tally, counts, unsent, &skipped));
    let error = about_topic(error, &args.topic).in_context(&session.target.describe());
    Err(described(error, counts, unsent).into())
}

/// Records that the producer did not get through.
fn undelivered(
    args: &ProduceArgs,
    tally: &Tally,
    counts: Counts,
    unsent: u64,
    skipped: &Skipped,
) -> CliError {
    let failed = counts.unknown + unsent;
    let total = counts.acked + failed;
    let first = tally.first_error().map_or_else(
        || CliError::new(ErrorCode::Closed, "the producer was closed before they were acknowledged"),
        |error| from_send(&error),
    );
    let message = format!("{} not acknowledged: {}", part_of(failed, total, "record"), first.message);
    let code = match args.on_error {
        // Records with a place in the log are a whole: nothing behind the first that failed was sent.
        OnError::Skip if counts.acked > 0 && args.expect_offset.is_none() => ErrorCode::PartlyFailed,
        _ => first.code,
    };
    let outcome = if counts.unknown > 0 { Outcome::Unknown } else { Outcome::NotWritten };
    let error = CliError { code, message, ..first }.with_outcome(outcome);
    if skipped.count > 0 { error.with_detail("skipped", skipped.count) } else { error }
}

fn described(error: CliError, counts: Counts, unsent: u64) -> CliError {
    error
        .with_detail("acked", counts.acked)
        .with_detail("unknown", counts.unknown)
        .with_detail("unsent", unsent)
}

/// Everything that was sent is acknowledged; some input was perhaps left out.
///
/// # Errors
/// `PARTLY_FAILED` when any was.
pub(super) fn skipped_only(ui: &mut Ui<'_>, sent: u64, skipped: &Skipped) -> Result<Exit, Stop> {
    if skipped.count == 0 {
        return Ok(Exit::Ok);
    }
    ui.flush()?;
    list_skipped(ui, skipped);
    let items: Vec<_> = skipped
        .errors
        .iter()
        .map(|error| json!({"code": error.code.to_string(), "message": error.message}))
        .collect();
    let total = sent.saturating_add(skipped.count);
    Err(CliError::new(
        ErrorCode::PartlyFailed,
        format!("{} left out", part_of(skipped.count, total, "record")),
    )
    .with_outcome(Outcome::NotWritten)
    .with_detail("skipped", skipped.count)
    .with_detail("items", items)
    .into())
}

fn list_skipped(ui: &mut Ui<'_>, skipped: &Skipped) {
    if ui.settings.json_errors() {
        return;
    }
    for error in &skipped.errors {
        ui.warn(format!("error[{}]: {}", error.code, error.message));
    }
    let more = skipped.count.saturating_sub(skipped.errors.len() as u64);
    if more > 0 {
        ui.warn(format!("and {more} more"));
    }
}

/// For people a line on stderr; for scripts it is the answer.
fn summarize(
    ui: &mut Ui<'_>,
    acked: u64,
    partitions: usize,
    bytes: u64,
    elapsed: Duration,
) -> Result<(), Stop> {
    if !is_structured(ui.settings.output) {
        ui.note(summary(acked, partitions, bytes, elapsed));
        return Ok(());
    }
    let elapsed_ms = u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX);
    let summary = json!({"acked": acked, "partition_count": partitions, "input_bytes": bytes, "elapsed_ms": elapsed_ms});
    write_value(ui, &summary)
}

fn summary(acked: u64, partitions: usize, bytes: u64, elapsed: Duration) -> String {
    let elapsed_ms = u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX);
    let partitions = counted(partitions as u64, "partition");
    let mut text =
        format!("{} acknowledged in {} ({partitions})", counted(acked, "record"), human_duration(elapsed_ms));
    if elapsed >= Duration::from_secs(1) {
        let rate = human_bytes(per_second(bytes, elapsed));
        text.push_str(&format!(", {rate}/s, {}/s", counted(per_second(acked, elapsed), "record")));
    }
    text
}
