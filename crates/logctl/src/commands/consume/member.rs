//! `logctl consume -g`: reading as a member of a group. What was written to stdout is done, and nothing else.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use corduroy_client::{
    CloseError, Commit, CommitError, GroupConsumeError, GroupConsumer, Message, PositionLost,
};
use corduroy_types::ErrorCode;
use futures_util::FutureExt as _;
use tokio::time::Instant;

use super::{WAITING_NOTE_AFTER, choose, finish, printer::Printer, progress_form, unreadable};
use crate::{
    cli::ConsumeArgs,
    connect::{self, Session, shell_word},
    error::{CliError, Stop},
    exit::Exit,
    format::RecordFormat,
    output::counted,
    progress::{Progress, Sample},
    range::OffsetArg,
    reader::{self, Reader, Unread},
    retry::Kind,
    signals::Interrupt,
    ui::Ui,
};

/// How often what was printed is committed.
const COMMIT_EVERY: Duration = Duration::from_secs(5);
/// How long an interrupted consume may take to write what it has, to commit and to leave.
const LEAVE_AFTER_SIGNAL: Duration = Duration::from_secs(10);
/// How many messages wait to be written at most.
const UNWRITTEN_MAX: usize = 8192;
/// How often the group is asked whether a member without partitions gets any.
const GROUP_LOOK_EVERY: Duration = Duration::from_millis(500);
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
        printer: Printer::of_nothing(format, args, ui),
        handed: HandedOut::new(),
        ends: args.to.map(|_| ends),
        progress: Progress::new(ui.settings, progress_form(args, ui)),
        waiting_note: waits.then(|| {
            let name = shell_word(group);
            format!("waiting for records as a member of {group}; see what it has with logctl group describe {name}")
        }),
        note_at: Instant::now() + WAITING_NOTE_AFTER,
        look_at: Instant::now() + GROUP_LOOK_EVERY,
        reader: Reader::watch()?,
    };
    let ended = reading.run(&mut consumer, &mut interrupt, &session, ui).await;
    reading.progress.clear();
    let ended = match ended {
        // The reader is gone: what is left was not written.
        Err(Stop::BrokenPipe) => Err(Stop::BrokenPipe),
        other => reading.hand_out(ui).and(other),
    };
    let ended = match ended {
        Err(Stop::BrokenPipe) => {
            reading.leave_untaken(args, ui);
            Err(Stop::BrokenPipe)
        }
        _ if reader::is_gone() => {
            reading.leave_untaken(args, ui);
            ended
        }
        // The reader goes on after this process: what was written is its own.
        _ => {
            reading.handed.all_done();
            ended
        }
    };
    let uncommitted = match consumer.close(Duration::ZERO).await {
        // What was not printed is read again; that was not promised to be done.
        Ok(_) | Err(CloseError::NotDone { .. }) => None,
        Err(CloseError::Commit(error)) => Some(not_committed(&error, &reading.printer, &session)),
        Err(error) => {
            ui.note(format!("note: {error}"));
            None
        }
    };
    match (ended, uncommitted) {
        (ended, None) => finish(ended, &reading.printer, ui),
        (Err(Stop::Error(error)), Some(uncommitted)) => {
            ui.warn(format!("error[{}]: {}", uncommitted.code, uncommitted.message));
            Err(Stop::Error(error))
        }
        // A member that was stopped has failed all the same when what it printed comes again.
        (ended, Some(uncommitted)) => {
            let _ = finish(ended, &reading.printer, ui);
            Err(uncommitted.into())
        }
    }
}

/// The error for records that were printed and are read again.
fn not_committed(error: &CommitError, printer: &Printer, session: &Session) -> CliError {
    let mut ours = connect::from_commit(error);
    ours.message =
        format!("what was printed last is not committed, so the group reads it again: {}", ours.message);
    let partitions: Vec<String> = error.partitions.iter().map(ToString::to_string).collect();
    ours.in_context(&session.target.describe())
        .with_detail("records", printer.records())
        .with_detail("partitions", partitions)
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
        None | Some(OffsetArg::End) => Ok(()),
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
    let described =
        session.read_each(&topics, |admin, topics| async move { admin.describe_topics(&topics).await }).await;
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
    let built = session.retry_policy.call(Kind::Read, || builder.clone().build()).await;
    built.map_err(|error| session.group_error(group, &error))
}

/// Messages that were handed out to stdout and are not done: they are once they were read from there, as far as
/// the system can tell.
struct HandedOut {
    /// In the order of printing, each with the number of bytes printed up to its end.
    messages: VecDeque<(u64, Message)>,
    /// How many of them, from the end, are not written yet.
    unwritten: usize,
    written_bytes: u64,
    unread: Unread,
}

impl HandedOut {
    fn new() -> Self {
        Self { messages: VecDeque::new(), unwritten: 0, written_bytes: 0, unread: Unread::of_stdout() }
    }

    fn len(&self) -> usize {
        self.messages.len()
    }

    fn unwritten(&self) -> usize {
        self.unwritten
    }

    /// A message was printed, and `bytes` are printed by then.
    fn printed(&mut self, message: Message, bytes: u64) {
        self.messages.push_back((bytes, message));
        self.unwritten += 1;
    }

    /// All that was printed has been written.
    fn written(&mut self, bytes: u64) {
        self.written_bytes = bytes;
        self.unwritten = 0;
        self.settle();
    }

    /// What has been read by now is done. After a failed write nothing of that write counts.
    fn settle(&mut self) {
        if self.messages.is_empty() {
            return;
        }
        let taken = self.written_bytes.saturating_sub(self.unread.bytes());
        while self.messages.front().is_some_and(|(end, _)| *end <= taken) {
            if let Some((_, message)) = self.messages.pop_front() {
                message.done();
            }
        }
    }

    fn all_done(&mut self) {
        self.messages.drain(..).for_each(|(_, message)| message.done());
    }
}

/// What goes on while a member reads.
struct Reading {
    printer: Printer,
    handed: HandedOut,
    ends: Option<Ends>,
    progress: Progress,
    waiting_note: Option<String>,
    note_at: Instant,
    /// When to ask next whether this member gets any partition.
    look_at: Instant,
    reader: Reader,
}

impl Reading {
    /// Prints until enough was printed, the end is reached, or someone interrupts.
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
                    // Nothing is at hand: the reader gets what there is.
                    self.hand_out(ui)?;
                    match self.wait(consumer, interrupt, session, ui).await? {
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
                    self.handed.printed(message, self.printer.bytes());
                }
                Some(Err(error)) => return Err(stopped(&error, consumer.group(), session).into()),
            }
            if self.printer.is_full() || self.handed.unwritten() >= UNWRITTEN_MAX {
                self.hand_out(ui)?;
            }
        }
        Ok(())
    }

    /// Writes what was printed. What the reader has taken is done.
    fn hand_out(&mut self, ui: &mut Ui<'_>) -> Result<(), Stop> {
        if ui.for_people() && !self.printer.is_empty() {
            self.progress.clear();
        }
        self.printer.write_out(ui)?;
        ui.flush()?;
        self.handed.written(self.printer.bytes());
        Ok(())
    }

    /// The reader is gone: what still lies in the pipe is not done, and the group reads it again.
    fn leave_untaken(&mut self, args: &ConsumeArgs, ui: &mut Ui<'_>) {
        self.handed.settle();
        let left = self.handed.len() as u64;
        if left > 0 && !args.no_commit {
            let records = counted(left, "record");
            ui.note(format!(
                "stdout was closed: {records} were not read from it, so they are not committed and come again"
            ));
        }
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

    /// Whether the group's other members have all partitions, so that this one has nothing to read up to any end.
    async fn has_no_part(&mut self, consumer: &GroupConsumer, session: &Session, ui: &mut Ui<'_>) -> bool {
        let asks = self.ends.is_some() && consumer.assignment().is_empty() && Instant::now() >= self.look_at;
        if !asks {
            return false;
        }
        self.look_at = Instant::now() + GROUP_LOOK_EVERY;
        // A broker that does not answer just now is asked again.
        let Ok(group) = session.client.admin().describe_group(consumer.group()).await else { return false };
        let this = group.members.iter().find(|member| member.id == consumer.member_id());
        let has_none = this.is_some_and(|member| {
            member.target.is_empty() && member.assigned.is_empty() && member.revoking.is_empty()
        });
        if has_none {
            let others = counted(group.members.len().saturating_sub(1) as u64, "other member");
            ui.note(format!(
                "no partition is left for this member: {others} of {} read all there are",
                consumer.group()
            ));
        }
        has_none
    }

    /// The next message; `None` when the end is reached.
    async fn wait(
        &mut self,
        consumer: &mut GroupConsumer,
        interrupt: &mut Interrupt,
        session: &Session,
        ui: &mut Ui<'_>,
    ) -> Result<Option<Option<Result<Message, GroupConsumeError>>>, Stop> {
        loop {
            if self.is_at_end(consumer) || self.has_no_part(consumer, session, ui).await {
                return Ok(None);
            }
            let looks = self.ends.is_some() || self.handed.len() > 0;
            let note_due = self.printer.records() == 0 && self.waiting_note.is_some();
            tokio::select! {
                biased;
                next = consumer.next() => return Ok(Some(next)),
                exit = interrupt.wait() => return Err(Stop::signal(exit)),
                () = self.reader.gone() => return Err(Stop::BrokenPipe),
                () = tokio::time::sleep(LOOK_EVERY), if looks => self.handed.settle(),
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
            let PositionLost { partition, position, log_start, lost_offset_count, .. } = lost;
            let word = shell_word(group);
            CliError::new(ErrorCode::PositionLost, lost.to_string())
                .in_context(&session.target.describe())
                .with_hint(format!("to go on behind them: logctl group reset {word} --topics {partition} --to start --execute"))
                .with_detail("group", group)
                .with_detail("topic", partition.topic.as_str())
                .with_detail("partition", partition.partition.0)
                .with_detail("position", position.get())
                .with_detail("log_start", log_start.get())
                .with_detail("lost_offset_count", *lost_offset_count)
        }
        other => CliError::new(other.code(), other.to_string()).in_context(&session.target.describe()),
    }
}
