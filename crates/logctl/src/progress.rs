//! What people see while records flow: a bar on a terminal, a line now and then elsewhere.

use std::{collections::VecDeque, future, io::Write as _, time::Duration};

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

/// The rate that is shown is that of so long before.
const RATE_OVER: Duration = Duration::from_secs(5);

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
    rate: Rate,
}

/// How fast it goes now, rather than since the beginning.
#[derive(Debug)]
struct Rate {
    /// The oldest first: when, and how many bytes there were.
    samples: VecDeque<(Duration, u64)>,
}

impl Rate {
    fn new() -> Self {
        Self { samples: VecDeque::from([(Duration::ZERO, 0)]) }
    }

    /// Bytes for each second, by what was sampled in the last seconds. `elapsed`: since the beginning.
    fn sample(&mut self, elapsed: Duration, bytes: u64) -> u64 {
        self.samples.push_back((elapsed, bytes));
        let is_old =
            |sample: Option<&(Duration, u64)>| sample.is_some_and(|(at, _)| *at + RATE_OVER <= elapsed);
        // One that is old enough stays, so that there is always something to compare with.
        while is_old(self.samples.get(1)) {
            self.samples.pop_front();
        }
        let (at, before) = self.samples.front().copied().unwrap_or_default();
        per_second(bytes.saturating_sub(before), elapsed.saturating_sub(at))
    }
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
        Self { form, started, next: started + first, bar: None, rate: Rate::new() }
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
        let rate = self.rate.sample(self.elapsed(), sample.bytes);
        let line = match self.form {
            ProgressForm::None => return,
            ProgressForm::Bar => return self.draw(sample, rate),
            ProgressForm::Plain => plain_line(sample, self.elapsed(), rate),
            ProgressForm::Json => json_line(sample, self.elapsed()),
        };
        let _ = writeln!(std::io::stderr(), "{line}");
    }

    fn draw(&mut self, sample: Sample, rate: u64) {
        let started = self.started;
        let bar = self.bar.get_or_insert_with(|| {
            let (bar, template) = match sample.total_bytes {
                Some(total) => (ProgressBar::new(total), "{bar:30} {bytes}/{total_bytes} {msg}  eta {eta}"),
                None => (ProgressBar::no_length(), "{spinner} {bytes} {msg}"),
            };
            bar.set_draw_target(ProgressDrawTarget::stderr());
            bar.set_style(
                ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar()),
            );
            bar.with_elapsed(started.elapsed())
        });
        bar.set_message(format!("{}/s  {}", human_bytes(rate), human_counted(sample.records, "record")));
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

fn plain_line(sample: Sample, elapsed: Duration, rate: u64) -> String {
    let of = sample.total_bytes.map(|total| format!(" of {}", human_bytes(total))).unwrap_or_default();
    format!(
        "{}: {}{of}, {}, {}/s",
        human_duration(millis(elapsed)),
        human_bytes(sample.bytes),
        human_counted(sample.records, "record"),
        human_bytes(rate),
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
        assert_eq!(
            plain_line(sample, elapsed, 2 << 20),
            "10.0 s: 20.0 MiB of 40.0 MiB, 200,000 records, 2.0 MiB/s"
        );
        let line = json_line(Sample { total_bytes: None, ..sample }, elapsed);
        let value: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!(value["progress"]["records"], 200_000);
        assert_eq!(value["progress"]["total_bytes"], serde_json::Value::Null);
        assert_eq!(per_second(10, Duration::ZERO), 10_000);
    }

    #[test]
    fn the_rate_is_that_of_the_last_seconds() {
        let mut rate = Rate::new();
        let at = Duration::from_secs;
        assert_eq!(rate.sample(at(1), 1000), 1000);
        assert_eq!(rate.sample(at(10), 10_000), 1000);
        // Nothing more comes.
        assert_eq!(rate.sample(at(15), 10_000), 0);
        assert_eq!(rate.sample(at(16), 10_600), 100);
        assert!(rate.samples.len() <= 3, "{rate:?}");
    }
}
