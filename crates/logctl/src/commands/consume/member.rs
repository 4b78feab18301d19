//! `logctl consume -g`: reading as a member of a group. What was written to stdout is done, and nothing else.

use std::{collections::BTreeMap, time::Duration};

use corduroy_client::{CloseError, Commit, GroupConsumeError, GroupConsumer, Message, PositionLost};
use corduroy_types::ErrorCode;
use futures_util::FutureExt as _;
use tokio::time::Instant;

use super::{WAITING_NOTE_AFTER, choose, printer::Printer, progress_form, told, unreadable};
use crate::{
    cli::ConsumeArgs,
    connect::{self, Session, shell_word},
    error::{CliError, Stop},
    exit::Exit,
    format::RecordFormat,
    progress::{Progress, Sample},
    range::Place,
    reader::Reader,
    signals::Interrupt,
    ui::Ui,
};

/// How often what was printed is committed.
const COMMIT_EVERY: Duration = Duration::from_secs(5);
/// How long an interrupted consume may take to write what it has, to commit and to leave.
const LEAVE_AFTER_SIGNAL: Duration = Duration::from_secs(10);
/// How many messages wait to be written at most.
const PENDING_MAX: usize = 8192;
/// How often it is looked whether the end is reached while nothing comes.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Where each partition ended when the command began.
type Ends = BTreeMap<(String, u32), u64>;

pub(super) async fn run(
    args: &ConsumeArgs,
    group: &str,
    format: RecordFormat,
    ui: &mut Ui<'_>,
) -> Result<Exit, Stop> {
    check(args, group)?;
    let mut interrupt = Interrupt::listen(LEAVE_AFTER_SIGNAL)?;
    let events = connect::ConnectionNotes::new(ui.settings);
    let session = connect::open_with(ui, args.no_commit, |builder| events.listen(builder))?;
    let ends = ends(args, &session).await?;
    let mut consumer = join(args, group, &session).await?;
    let waits = args.to.is_none();
    let mut reading = Reading {
        printer: Printer::of_nothing(format, args),
        pending: Vec::new(),
        ends: args.to.map(|_| ends),
        progress: Progress::new(ui.settings, progress_form(args, ui)),
        waiting_note: waits.then(|| {
            let name = shell_word(group);
            format!("waiting for records as a member of {group}; see what it has with logctl group describe {name}")
        }),
        note_at: Instant::now() + WAITING_NOTE_AFTER,
        reader: Reader::watch()?,
    };
    let ended = reading.run(&mut consumer, &mut interrupt, &session, ui).await;
    reading.progress.clear();
    let ended = match ended {
        // Nobody reads: what is left was not written, so it is not done.
        Err(Stop::BrokenPipe) => Err(Stop::BrokenPipe),
        other => reading.hand_out(ui).and(other),
    };
    let closed = consumer.close(Duration::ZERO).await;
    let exit = told(ended, &reading.printer, ui)?;
    match closed {
        // What was not printed is read again; that was not promised to be done.
        Ok(_) | Err(CloseError::NotDone { .. }) => Ok(exit),
        Err(CloseError::Commit(error)) => {
            Err(connect::from_refusal(error.refusal()).in_context(&session.target.describe()).into())
        }
        Err(error) => {
            ui.note(format!("note: {error}"));
            Ok(exit)
        }
    }
}

/// Refuses what means nothing where a group decides who reads what from where.
fn check(args: &ConsumeArgs, group: &str) -> Result<(), CliError> {
    let word = shell_word(group);
    if !args.partitions.is_empty() {
        return Err(CliError::usage("-p does not go with -g: the group shares the partitions out")
            .with_hint("leave one of the two out"));
    }
    if args.from.is_some() {
        return Err(CliError::usage("--from does not go with -g: reading begins where the group is")
            .with_hint(format!("set where it is with logctl group reset {word} --topics TOPIC --to PLACE")));
    }
    match args.to {
        None | Some(Place::End) => Ok(()),
        Some(_) => {
            Err(CliError::usage("with -g only --to end means something: the group decides who reads what")
                .with_hint("stop at --to end, or after -n records"))
        }
    }
}

/// The topics must exist: a member would wait for a misspelt one for ever.
async fn ends(args: &ConsumeArgs, session: &Session) -> Result<Ends, CliError> {
    let topics = if args.to.is_some() { choose::topics(args, session).await? } else { args.topics.clone() };
    let mut ends = Ends::new();
    if topics.is_empty() {
        return Ok(ends);
    }
    let described = session.client.admin().describe_topics(&topics).await;
    let described = described.map_err(|error| session.error(&error))?;
    for (name, topic) in topics.iter().zip(described) {
        let topic = topic.map_err(|error| session.topic_error(name, &error))?;
        for partition in topic.partitions {
            ends.insert((name.clone(), partition.partition.0), partition.high_watermark.get());
        }
    }
    Ok(ends)
}

async fn join(args: &ConsumeArgs, group: &str, session: &Session) -> Result<GroupConsumer, CliError> {
    let commit = if args.no_commit { Commit::Never } else { Commit::Processed { every: COMMIT_EVERY } };
    let mut builder = session.client.consumer().group(group).topics(&args.topics).commit(commit);
    builder = builder.buffer_bytes(choose::BUFFER_BYTES);
    if let Some(pattern) = &args.pattern {
        builder = builder.pattern(pattern.as_str());
    }
    if let Some(timeout) = args.session_timeout {
        builder = builder.session_timeout(timeout);
    }
    builder.build().await.map_err(|error| session.group_error(group, &error))
}

/// What goes on while a member reads.
struct Reading {
    printer: Printer,
    /// Printed into the buffer, and not written yet.
    pending: Vec<Message>,
    ends: Option<Ends>,
    progress: Progress,
    waiting_note: Option<String>,
    note_at: Instant,
    reader: Reader,
}

impl Reading {
    /// Prints until enough was printed, the end is reached, or somebody interrupts.
    async fn run(
        &mut self,
        consumer: &mut GroupConsumer,
        interrupt: &mut Interrupt,
        session: &Session,
        ui: &mut Ui<'_>,
    ) -> Result<(), Stop> {
        while !self.printer.has_enough() {
            if let Some(exit) = interrupt.now() {
                return Err(Stop::signal(exit));
            }
            let next = match consumer.next().now_or_never() {
                Some(next) => next,
                None => {
                    // Nothing is at hand: whoever reads gets what there is.
                    self.hand_out(ui)?;
                    match self.wait(consumer, interrupt, ui).await? {
                        Some(next) => next,
                        None => return Ok(()),
                    }
                }
            };
            match next {
                None => return Ok(()),
                Some(Ok(message)) if self.is_beyond(&message) => {
                    if self.is_at_end(consumer) {
                        return Ok(());
                    }
                }
                Some(Ok(message)) => {
                    let printed = self.printer.add_message(&message);
                    printed.map_err(|error| error.in_context(&session.target.describe()))?;
                    self.pending.push(message);
                }
                Some(Err(error)) => return Err(stopped(&error, consumer.group(), session).into()),
            }
            if self.printer.is_full() || self.pending.len() >= PENDING_MAX {
                self.hand_out(ui)?;
            }
        }
        Ok(())
    }

    /// Writes what was printed; then, and only then, it is done.
    fn hand_out(&mut self, ui: &mut Ui<'_>) -> Result<(), Stop> {
        if ui.for_people() && !self.printer.is_empty() {
            self.progress.clear();
        }
        self.printer.write_out(ui)?;
        ui.flush()?;
        self.pending.drain(..).for_each(|message| message.done());
        Ok(())
    }

    /// Whether it came after the command had begun, and is not asked for.
    fn is_beyond(&self, message: &Message) -> bool {
        self.ends.as_ref().is_some_and(|ends| {
            let place = (message.topic().to_string(), message.partition().0);
            ends.get(&place).is_none_or(|end| message.offset().get() >= *end)
        })
    }

    /// Whether every partition that the member has is read up to where it ended.
    fn is_at_end(&self, consumer: &GroupConsumer) -> bool {
        let Some(ends) = &self.ends else { return false };
        let assigned = consumer.assignment();
        let done = |partition: &corduroy_client::AssignedPartition| {
            let place = (partition.topic.to_string(), partition.partition.0);
            ends.get(&place).is_none_or(|end| partition.position.get() >= *end)
        };
        !assigned.is_empty() && assigned.iter().all(done)
    }

    /// The next message; `None` when the end is reached.
    async fn wait(
        &mut self,
        consumer: &mut GroupConsumer,
        interrupt: &mut Interrupt,
        ui: &mut Ui<'_>,
    ) -> Result<Option<Option<Result<Message, GroupConsumeError>>>, Stop> {
        loop {
            if self.is_at_end(consumer) {
                return Ok(None);
            }
            let note_due = self.printer.records() == 0 && self.waiting_note.is_some();
            tokio::select! {
                biased;
                next = consumer.next() => return Ok(Some(next)),
                exit = interrupt.wait() => return Err(Stop::signal(exit)),
                () = self.reader.gone() => return Err(Stop::BrokenPipe),
                () = tokio::time::sleep(LOOK_EVERY), if self.ends.is_some() => {}
                () = tokio::time::sleep_until(self.note_at), if note_due => {
                    if let Some(note) = self.waiting_note.take() {
                        ui.note(note);
                    }
                }
                () = self.progress.due() => {
                    let (bytes, records) = (self.printer.bytes(), self.printer.records());
                    self.progress.show(Sample { bytes, total_bytes: None, records });
                }
            }
        }
    }
}

/// One of our errors for why nothing comes.
fn stopped(error: &GroupConsumeError, group: &str, session: &Session) -> CliError {
    match error {
        GroupConsumeError::Partition(error) => unreadable(error, session),
        GroupConsumeError::Out(error) => session.group_error(group, error),
        GroupConsumeError::PositionLost(lost) => {
            let PositionLost { partition, position, log_start, lost_count, .. } = lost;
            let word = shell_word(group);
            CliError::new(ErrorCode::PositionLost, lost.to_string())
                .in_context(&session.target.describe())
                .with_hint(format!("to go on behind them: logctl group reset {word} --topics {partition} --to start --execute"))
                .with_detail("group", group)
                .with_detail("topic", partition.topic.as_str())
                .with_detail("partition", partition.partition.0)
                .with_detail("position", position.get())
                .with_detail("log_start", log_start.get())
                .with_detail("lost_record_count", *lost_count)
        }
        other => CliError::new(other.code(), other.to_string()).in_context(&session.target.describe()),
    }
}
