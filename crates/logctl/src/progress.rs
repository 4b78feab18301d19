//! What people see while records flow: a bar on a terminal, a line now and then elsewhere.

use std::{future, io::Write as _, time::Duration};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::json;
use tokio::time::Instant;

use crate::{
    cli::ProgressForm,
    output::{human_bytes, human_counted, human_duration},
    settings::Settings,
};

/// A run that is over sooner needs no bar.
const BAR_AFTER: Duration = Duration::from_millis(500);
const BAR_EVERY: Duration = Duration::from_millis(100);
const LINE_EVERY: Duration = Duration::from_secs(10);

/// How far it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sample {
    pub(crate) bytes: u64,
    /// Of how many, where that is known.
    pub(crate) total_bytes: Option<u64>,
    pub(crate) records: u64,
}

/// Shows samples.
pub(crate) struct Progress {
    form: ProgressForm,
    started: Instant,
    next: Instant,
    bar: Option<ProgressBar>,
}

impl Progress {
    /// Progress in the form that was asked for, or the one that fits: a bar where stderr is a terminal, lines
    /// elsewhere and in continuous integration.
    pub(crate) fn new(settings: &Settings, asked: Option<ProgressForm>) -> Self {
        let in_ci = std::env::var_os("CI").is_some_and(|value| !value.is_empty());
        let fitting =
            if settings.terminal.stderr_tty && !in_ci { ProgressForm::Bar } else { ProgressForm::Plain };
        let form = if settings.quiet { ProgressForm::None } else { asked.unwrap_or(fitting) };
        let started = Instant::now();
        let first = if form == ProgressForm::Bar { BAR_AFTER } else { LINE_EVERY };
        Self { form, started, next: started + first, bar: None }
    }

    /// Resolves when the next sample is due; never when nothing is shown.
    pub(crate) async fn due(&self) {
        if self.form == ProgressForm::None {
            future::pending::<()>().await;
        }
        tokio::time::sleep_until(self.next).await;
    }

    /// How long it has been going on.
    pub(crate) fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    /// Shows a sample.
    pub(crate) fn show(&mut self, sample: Sample) {
        let every = if self.form == ProgressForm::Bar { BAR_EVERY } else { LINE_EVERY };
        self.next = Instant::now() + every;
        let line = match self.form {
            ProgressForm::None => return,
            ProgressForm::Bar => return self.draw(sample),
            ProgressForm::Plain => plain_line(sample, self.elapsed()),
            ProgressForm::Json => json_line(sample, self.elapsed()),
        };
        let _ = writeln!(std::io::stderr(), "{line}");
    }

    fn draw(&mut self, sample: Sample) {
        let started = self.started;
        let bar = self.bar.get_or_insert_with(|| {
            let (bar, template) = match sample.total_bytes {
                Some(total) => (
                    ProgressBar::new(total),
                    "{bar:30} {bytes}/{total_bytes} {bytes_per_sec}  {msg}  eta {eta}",
                ),
                None => (ProgressBar::no_length(), "{spinner} {bytes} {bytes_per_sec}  {msg}"),
            };
            bar.set_draw_target(ProgressDrawTarget::stderr());
            bar.set_style(
                ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar()),
            );
            bar.with_elapsed(started.elapsed())
        });
        bar.set_message(human_counted(sample.records, "record"));
        bar.set_position(sample.bytes);
    }

    /// Takes the bar off the screen; the next sample brings it back.
    pub(crate) fn clear(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.clear();
    }
}

/// Units in `elapsed`, for each second.
pub(crate) fn per_second(count: u64, elapsed: Duration) -> u64 {
    let rate = u128::from(count) * 1000 / elapsed.as_millis().max(1);
    u64::try_from(rate).unwrap_or(u64::MAX)
}

fn millis(elapsed: Duration) -> u64 {
    u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX)
}

fn plain_line(sample: Sample, elapsed: Duration) -> String {
    let of = sample.total_bytes.map(|total| format!(" of {}", human_bytes(total))).unwrap_or_default();
    format!(
        "{}: {}{of}, {}, {}/s",
        human_duration(millis(elapsed)),
        human_bytes(sample.bytes),
        human_counted(sample.records, "record"),
        human_bytes(per_second(sample.bytes, elapsed)),
    )
}

fn json_line(sample: Sample, elapsed: Duration) -> String {
    json!({"progress": {
        "elapsed_ms": millis(elapsed),
        "bytes": sample.bytes,
        "total_bytes": sample.total_bytes,
        "records": sample.records,
    }})
    .to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_say_how_far_and_how_fast() {
        let sample = Sample { bytes: 20 << 20, total_bytes: Some(40 << 20), records: 200_000 };
        let elapsed = Duration::from_secs(10);
        assert_eq!(plain_line(sample, elapsed), "10.0 s: 20.0 MiB of 40.0 MiB, 200,000 records, 2.0 MiB/s");
        let line = json_line(Sample { total_bytes: None, ..sample }, elapsed);
        let value: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!(value["progress"]["records"], 200_000);
        assert_eq!(value["progress"]["total_bytes"], serde_json::Value::Null);
        assert_eq!(per_second(10, Duration::ZERO), 10_000);
    }
}
