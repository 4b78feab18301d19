//! `logctl produce`

mod feed;
mod outcome;
mod plan;
mod sinks;
mod tally;

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use corduroy_client::{Producer, TopicDescription};
use corduroy_types::ErrorCode;
use serde_json::json;
use tokio::sync::{mpsc, oneshot, watch};

use self::{
    feed::{Feed, Halt, Meter, Skipped},
    outcome::Ended,
    plan::Plan,
    sinks::{Chain, DrySink, ProducerSink},
    tally::{FailedFile, Tally, Written},
};
use crate::{
    cli::{OnError, OutputForm, ProduceArgs, ProgressForm, Report},
    connect::{self, Session},
    error::{CliError, Stop},
    exit::Exit,
    input::Source,
    output::{counted, is_structured, write_value},
    progress::{Progress, Sample},
    retry::Kind,
    signals::Signals,
    ui::Ui,
};

/// How long records that were read may still take when someone interrupts.
const FLUSH_AFTER_SIGNAL: Duration = Duration::from_secs(5);
/// Large batches: here throughput counts, and a typed line leaves at once all the same.
const BATCH_BYTES: u64 = corduroy_types::MIB;
/// Enough batches on their way to keep the disk busy while answers come back.
const IN_FLIGHT: usize = 5;
/// How long they may take otherwise, unless `--timeout` says so.
const DELIVERY_TIMEOUT: Duration = Duration::from_secs(120);

pub(crate) async fn run(args: &ProduceArgs, ui: &mut Ui<'_>) -> Result<Exit, Stop> {
    let plan = Plan::new(args)?;
    let sources = Source::all(&args.files);
    let dry_run = args.mutation.dry_run;
    let events = connect::ConnectionNotes::new(ui.settings);
    let session = connect::open_with(ui, dry_run, |builder| events.listen(builder))?;
    let topic = describe(&session, &args.topic).await?;
    let plan = plan
        .for_topic(&topic, &session.client.producer().compression(args.compression))
        .map_err(|error| error.in_context(&session.target.describe()))?;
    if sources.contains(&Source::Stdin) && ui.settings.terminal.stdin_tty {
        ui.note("reading records from the terminal; Ctrl-D ends them");
    }
    if dry_run {
        return rehearse(plan, &sources, &topic, ui);
    }
    send(args, plan, sources, &session, ui).await
}

async fn describe(session: &Session, topic: &str) -> Result<TopicDescription, CliError> {
    let described = session.read(|admin| async move { admin.describe_topic(topic).await }).await;
    described.map_err(|error| session.topic_error(topic, &error))
}

fn rehearse(plan: Plan, sources: &[Source], topic: &TopicDescription, ui: &mut Ui<'_>) -> Result<Exit, Stop> {
    plan.compare_offset(topic)?;
    let meter = Arc::new(Meter::default());
    let partition_count = u32::try_from(topic.partitions.len()).unwrap_or(u32::MAX);
    let mut sink = DrySink::new(&plan, partition_count, Arc::clone(&meter));
    let mut feed = Feed::new(&plan, &mut sink, Arc::clone(&meter));
    let fed = feed.run(sources);
    let skipped = std::mem::take(&mut feed.skipped);
    if let Err(Halt::Error(error)) = fed {
        return Err((*error).into());
    }
    let records = meter.records.load(Ordering::Relaxed);
    if is_structured(ui.settings.output) && skipped.count == 0 {
        write_value(ui, &json!({"topic": plan.topic, "record_count": records, "dry_run": true}))?;
    }
    ui.note(format!("would send {} to {} (dry run)", counted(records, "record"), plan.topic));
    outcome::skipped_only(ui, records, &skipped)
}

/// What the feeding thread ends with.
type Fed = (Result<(), Halt>, Skipped);

async fn send(
    args: &ProduceArgs,
    plan: Plan,
    sources: Vec<Source>,
    session: &Session,
    ui: &mut Ui<'_>,
) -> Result<Exit, Stop> {
    let mut signals = Signals::new()?;
    let (stop, stopped) = watch::channel(false);
    let (each, mut written) = mpsc::unbounded_channel();
    let failed = args.failed.as_deref().map(FailedFile::create).transpose()?;
    let each = (args.report == Report::Each).then_some(each);
    // What comes behind a record without its place has none either.
    let on_error = if args.expect_offset.is_some() { OnError::Stop } else { args.on_error };
    let tally = Arc::new(Tally::new(on_error, failed, each, stop.clone()));
    let delivery_timeout = ui.settings.given_timeout.unwrap_or(DELIVERY_TIMEOUT);
    let producer = producer(args, session, &tally, delivery_timeout).await?;
    producer
        .prepare(&args.topic)
        .await
        .map_err(|error| sinks::from_send(&error).in_context(&session.target.describe()))?;
    let meter = Arc::new(Meter::default());
    let total_bytes = sources.iter().map(Source::size_bytes).sum::<Option<u64>>();
    // A bar would be drawn over what is typed.
    let is_typed = sources.contains(&Source::Stdin) && ui.settings.terminal.stdin_tty;
    let form = args.progress.or(is_typed.then_some(ProgressForm::None));
    let mut progress = Progress::new(ui.settings, form);
    let sink = ProducerSink {
        producer: producer.clone(),
        runtime: tokio::runtime::Handle::current(),
        stop: stopped.clone(),
        meter: Arc::clone(&meter),
        tally: Arc::clone(&tally),
        chain: plan.expect_offset.map(|_| {
            Chain::new(plan.max_message_bytes.min(u32::try_from(BATCH_BYTES).unwrap_or(u32::MAX)) as usize)
        }),
    };
    let mut fed = feed_on_thread(plan, sources, sink)?;
    let mut stopped = stopped;
    let mut end = Ended { fed: None, signal: None, elapsed: Duration::ZERO };
    loop {
        tokio::select! {
            result = &mut fed => {
                end.fed = Some(result.map_err(|_| CliError::new(ErrorCode::Internal, "the thread that reads the input ended"))?);
                break;
            }
            _ = stopped.wait_for(|stop| *stop) => break,
            exit = signals.next() => {
                end.signal = Some(exit);
                break;
            }
            Some(one) = written.recv() => print_written(ui, one, written.is_empty())?,
            () = progress.due() => progress.show(sample(&meter, total_bytes)),
        }
    }
    stop.send_replace(true);
    progress.clear();
    note_flush(&end, &tally, &meter, ui);
    close(producer, signals, delivery_timeout, &mut end, |one| print_written(ui, one, true), &mut written)
        .await?;
    if end.fed.is_none() {
        // The reader of the input may hang for ever; its result is here only if it has ended.
        end.fed = fed.try_recv().ok();
    }
    end.elapsed = progress.elapsed();
    outcome::conclude(args, session, &tally, &meter, end, ui)
}

async fn producer(
    args: &ProduceArgs,
    session: &Session,
    tally: &Arc<Tally>,
    delivery_timeout: Duration,
) -> Result<Producer, CliError> {
    let tally = Arc::clone(tally);
    // With a place to get, what a batch holds is decided here: see `Chain`.
    let linger = if args.expect_offset.is_some() { delivery_timeout } else { Duration::ZERO };
    let building = session
        .client
        .producer()
        .acks(args.acks)
        .compression(args.compression)
        .delivery_timeout(delivery_timeout)
        .linger(linger)
        .batch_bytes(BATCH_BYTES)
        .max_in_flight(IN_FLIGHT)
        .on_batch(move |report| tally.add(report));
    let built = session.retry_policy.call(Kind::Read, || building.clone().build()).await;
    built.map_err(|error| session.error(&error))
}

fn feed_on_thread(
    plan: Plan,
    sources: Vec<Source>,
    mut sink: ProducerSink,
) -> Result<oneshot::Receiver<Fed>, CliError> {
    let (done, fed) = oneshot::channel();
    let feeding = move || {
        let entered = sink.runtime.clone();
        // The producer may begin a lookup of its own.
        let _entered = entered.enter();
        let meter = Arc::clone(&sink.meter);
        let mut feed = Feed::new(&plan, &mut sink, meter);
        let result = feed.run(&sources);
        let skipped = std::mem::take(&mut feed.skipped);
        // No one waits any more only when the command is over.
        let _ = done.send((result, skipped));
    };
    std::thread::Builder::new()
        .name("input".to_owned())
        .spawn(feeding)
        .map_err(|error| CliError::new(ErrorCode::Internal, format!("no thread can be started: {error}")))?;
    Ok(fed)
}

/// Shows what is still waited for to a person who interrupts.
fn note_flush(end: &Ended, tally: &Tally, meter: &Meter, ui: &mut Ui<'_>) {
    let waiting = meter.records.load(Ordering::Relaxed).saturating_sub(tally.counts().ended());
    if end.signal.is_some() && waiting > 0 && ui.settings.terminal.stderr_tty {
        let wait = FLUSH_AFTER_SIGNAL.as_secs();
        let records = counted(waiting, "record");
        ui.note(format!("waiting up to {wait} s for {records} on the way; Ctrl-C again ends at once"));
    }
}

/// Waits for everything that was accepted; after a signal only a short while.
async fn close(
    producer: Producer,
    mut signals: Signals,
    delivery_timeout: Duration,
    end: &mut Ended,
    mut print: impl FnMut(Written) -> Result<(), Stop>,
    written: &mut mpsc::UnboundedReceiver<Written>,
) -> Result<(), Stop> {
    if end.signal.is_none() {
        // Every record ends by itself within its delivery time-out; the second is for the answer to arrive.
        let closing = producer.clone().close(delivery_timeout + Duration::from_secs(1));
        tokio::pin!(closing);
        let ended = loop {
            tokio::select! {
                _ = &mut closing => break true,
                exit = signals.next() => {
                    end.signal = Some(exit);
                    break false;
                }
                Some(one) = written.recv() => print(one)?,
            }
        };
        if ended {
            while let Ok(one) = written.try_recv() {
                print(one)?;
            }
            return Ok(());
        }
    }
    signals.end_at_next();
    // What was not delivered is in the tally.
    let _ = producer.close(FLUSH_AFTER_SIGNAL).await;
    while let Ok(one) = written.try_recv() {
        print(one)?;
    }
    Ok(())
}

fn sample(meter: &Meter, total_bytes: Option<u64>) -> Sample {
    Sample {
        bytes: meter.bytes.load(Ordering::Relaxed),
        records: meter.records.load(Ordering::Relaxed),
        total_bytes,
    }
}

/// Partition and offset of each record of a batch; for scripts as objects.
fn print_written(ui: &mut Ui<'_>, written: Written, flush: bool) -> Result<(), Stop> {
    let Written { partition, base_offset, record_count } = written;
    let json = matches!(ui.settings.output, OutputForm::Json | OutputForm::Jsonl);
    for offset in (base_offset..).take(record_count as usize) {
        if json {
            writeln!(ui.out, "{{\"partition\":{partition},\"offset\":{offset}}}")?;
        } else {
            writeln!(ui.out, "{partition} {offset}")?;
        }
    }
    if flush { ui.flush() } else { Ok(()) }
}
