//! `logctl consume`

mod choose;
mod member;
mod printer;

use std::time::Duration;

use corduroy_client::{ConsumeError, Consumer, RecordBatch};
use corduroy_types::ErrorCode;
use futures_util::FutureExt as _;
use serde_json::json;
use tokio::time::Instant;

use self::printer::Printer;
use crate::{
    cli::{ConsumeArgs, OutputForm, ProgressForm},
    connect::{self, Session},
    error::{CliError, Stop},
    exit::Exit,
    format::RecordFormat,
    output::{counted, human_bytes},
    progress::{Progress, Sample},
    reader::Reader,
    signals::Interrupt,
    ui::Ui,
};

/// Nothing came for so long: someone may wonder.
const WAITING_NOTE_AFTER: Duration = Duration::from_secs(2);
/// How long an interrupted consume may take to write what it has; its reader may never read on.
const WRITE_AFTER_SIGNAL: Duration = Duration::from_secs(2);

pub(crate) async fn run(args: &ConsumeArgs, ui: &mut Ui<'_>) -> Result<Exit, Stop> {
    let format = RecordFormat::parse(args.format.as_deref().unwrap_or(default_format(ui.settings.output)))?;
    check_output(ui.settings.output)?;
    if let Some(group) = &args.group {
        return member::run(args, group, format, ui).await;
    }
    let range = choose::range(args)?;
    let mut interrupt = Interrupt::listen(WRITE_AFTER_SIGNAL)?;
    let events = connect::ConnectionNotes::new(ui.settings);
    let session = connect::open_with(ui, true, |builder| events.listen(builder))?;
    let topics = choose::topics(args, &session).await?;
    let mut consumer = choose::consumer(args, &topics, range, &session).await?;
    choose::check_ends(args, &consumer, &session)?;
    let mut printer = Printer::new(format, args, &consumer, ui);
    let mut flow = Flow {
        progress: Progress::new(ui.settings, progress_form(args, ui)),
        waiting_note: args
            .to
            .is_none()
            .then(|| format!("waiting for records in {}, at end; --to end stops there", topics.join(", "))),
        note_at: Instant::now() + WAITING_NOTE_AFTER,
        reader: Reader::watch()?,
    };
    let ended = flow.run(&mut consumer, &mut printer, &mut interrupt, &session, ui).await;
    flow.progress.clear();
    printer.write_out(ui)?;
    ui.flush()?;
    finish(ended, &printer, ui)
}

/// The last line, and how the command ends.
fn finish(ended: Result<(), Stop>, printer: &Printer, ui: &mut Ui<'_>) -> Result<Exit, Stop> {
    match ended {
        Ok(()) => {
            ui.note(format!("{}{}", records(printer), next_offsets(printer)));
            Ok(Exit::Ok)
        }
        Err(Stop::Signal(exit, _)) => {
            let size = human_bytes(printer.bytes());
            ui.note(format!("{}, {size}{}", records(printer), next_offsets(printer)));
            let message = format!("interrupted after {}, {size}", records(printer));
            let error = CliError::new(ErrorCode::Interrupted, message)
                .with_detail("records", printer.records())
                .with_detail("bytes", printer.bytes())
                .with_detail("next_offsets", json!(printer.next()));
            Err(Stop::Signal(exit, Some(Box::new(error))))
        }
        Err(other) => Err(other),
    }
}

fn next_offsets(printer: &Printer) -> String {
    let offsets = printer.next_offsets();
    if offsets.is_empty() { offsets } else { format!(", next offsets {offsets}") }
}

fn records(printer: &Printer) -> String {
    counted(printer.records(), "record")
}

/// Records have forms of their own, so only some forms of answers mean something here.
fn check_output(output: OutputForm) -> Result<(), CliError> {
    let word = match output {
        OutputForm::Yaml => "yaml",
        OutputForm::Name => "name",
        OutputForm::Table | OutputForm::Wide | OutputForm::Json | OutputForm::Jsonl => return Ok(()),
    };
    Err(CliError::usage(format!("consume prints no records as {word}"))
        .with_hint("print them with -o json or -o jsonl, or as --format says"))
}

fn default_format(output: OutputForm) -> &'static str {
    match output {
        OutputForm::Json => "json",
        OutputForm::Jsonl => "jsonl",
        _ => "%v\\n",
    }
}

/// No progress where records scroll by, and no lines for a consume that has no end.
fn progress_form(args: &ConsumeArgs, ui: &Ui<'_>) -> Option<ProgressForm> {
    let endless = args.to.is_none() && args.count.is_none();
    let shows_records = ui.settings.terminal.stdout_tty;
    let silent = shows_records || (endless && !ui.settings.terminal.stderr_tty);
    args.progress.or(silent.then_some(ProgressForm::None))
}

type Next = Option<Result<RecordBatch, ConsumeError>>;

/// What happens while records are read.
struct Flow {
    progress: Progress,
    waiting_note: Option<String>,
    note_at: Instant,
    reader: Reader,
}

impl Flow {
    /// Prints until there is no more, enough was printed, or someone interrupts.
    async fn run(
        &mut self,
        consumer: &mut Consumer,
        printer: &mut Printer,
        interrupt: &mut Interrupt,
        session: &Session,
        ui: &mut Ui<'_>,
    ) -> Result<(), Stop> {
        while !printer.has_enough() {
            if let Some(exit) = interrupt.now() {
                return Err(Stop::signal(exit));
            }
            let next = match consumer.next_records().now_or_never() {
                Some(next) => next,
                None => {
                    // Nothing is at hand: the reader gets what there is.
                    self.write(printer, ui)?;
                    ui.flush()?;
                    self.wait(consumer, printer, interrupt, ui).await?
                }
            };
            match next {
                None => return Ok(()),
                Some(Ok(batch)) => printer.add(&batch).map_err(|error| failed(error, session))?,
                Some(Err(error)) => return Err(unreadable(&error, session).into()),
            }
            if printer.is_full() {
                self.write(printer, ui)?;
            }
        }
        Ok(())
    }

    fn write(&mut self, printer: &mut Printer, ui: &mut Ui<'_>) -> Result<(), Stop> {
        if ui.for_people() && !printer.is_empty() {
            self.progress.clear();
        }
        printer.write_out(ui)
    }

    async fn wait(
        &mut self,
        consumer: &mut Consumer,
        printer: &Printer,
        interrupt: &mut Interrupt,
        ui: &mut Ui<'_>,
    ) -> Result<Next, Stop> {
        loop {
            let note_due = printer.records() == 0 && self.waiting_note.is_some();
            tokio::select! {
                biased;
                next = consumer.next_records() => return Ok(next),
                exit = interrupt.wait() => return Err(Stop::signal(exit)),
                () = self.reader.gone() => return Err(Stop::BrokenPipe),
                () = tokio::time::sleep_until(self.note_at), if note_due => {
                    if let Some(note) = self.waiting_note.take() {
                        ui.note(note);
                    }
                }
                () = self.progress.due() => {
                    let sample = Sample { bytes: printer.bytes(), total_bytes: None, records: printer.records() };
                    self.progress.show(sample);
                }
            }
        }
    }
}

fn failed(error: CliError, session: &Session) -> Stop {
    error.in_context(&session.target.describe()).into()
}

/// One of our errors for a partition that cannot be read on.
fn unreadable(error: &ConsumeError, session: &Session) -> CliError {
    let mut ours = connect::from_refusal(error.refusal());
    let place = format!("{}/{}", error.topic, error.partition);
    if !ours.message.contains(&place) {
        ours.message = format!("{place}: {}", ours.message);
    }
    connect::about_topic(ours, error.topic.as_str())
        .in_context(&session.target.describe())
        .with_detail("topic", error.topic.as_str())
        .with_detail("partition", error.partition.0)
        .with_detail("offset", error.position.get())
        .caused_by(error)
}
