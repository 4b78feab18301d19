//! `Consume`: pushes what is there and what comes, braked by the client's flow control.

use std::sync::Arc;

use corduroy_api::{Refusal, v1};
use corduroy_types::ErrorCode;
use tokio::sync::mpsc;
use tonic::Status;

use super::{
    Shared,
    fetch::{self, Changes},
    lookup, offsets,
    push::{self, Read, Source},
};
use crate::{
    engine::Engine,
    limits::{Connection, Permit},
};

const PARTITIONS_MAX: usize = 10_000;
/// Messages read ahead of the client. With one being sent, one is ready and one is being read.
pub(super) const READ_AHEAD: usize = 1;

pub(super) type ConsumeResult = Result<v1::ConsumeResponse, Status>;
/// An answer on its way, with the permit for its memory.
type Permitted = (ConsumeResult, Option<Permit>);

/// A stream that is about to begin.
pub(super) struct Session {
    shared: Arc<Shared>,
    caller: Option<Arc<Connection>>,
    engine: Arc<Engine>,
    sources: Vec<Source>,
    /// What the stream says first: where each partition begins, or why it cannot.
    opening: Vec<v1::ConsumeResponse>,
    plain: bool,
    max_message_bytes: u32,
}

/// The receiving half is gone.
struct ClientGone;

impl Session {
    /// Finds the partitions and where to begin.
    ///
    /// # Errors
    /// What concerns the whole request; a partition's trouble is a message of the stream.
    pub(super) async fn open(
        shared: &Arc<Shared>,
        caller: Option<Arc<Connection>>,
        request: v1::ConsumeRequest,
    ) -> Result<Self, Refusal> {
        let engine = shared.engine()?;
        let v1::ConsumeRequest { partitions, form, max_message_bytes } = request;
        if partitions.is_empty() || partitions.len() > PARTITIONS_MAX {
            let text = format!("partitions: {} given, must be 1 to {PARTITIONS_MAX}", partitions.len());
            return Err(Refusal::new(ErrorCode::InvalidRequest, text));
        }
        let mut session = Self {
            shared: Arc::clone(shared),
            caller,
            engine,
            sources: Vec::new(),
            opening: Vec::new(),
            plain: fetch::record_form(form)? == v1::RecordForm::Plain,
            max_message_bytes: push::message_bytes(max_message_bytes)?,
        };
        for partition in partitions {
            let (topic, index) = (partition.topic.clone(), partition.partition);
            if let Err(refusal) = session.add(partition).await {
                session.opening.push(message(fetch::failed(&topic, index, refusal), true));
            }
        }
        Ok(session)
    }

    async fn add(&mut self, wanted: v1::ConsumePartition) -> Result<(), Refusal> {
        let v1::ConsumePartition { topic, topic_id, partition, start, until } = wanted;
        let found = lookup::topic(&self.engine, &topic, &topic_id)?;
        let replica = lookup::replica(&self.engine, &found, partition)?;
        let next = offsets::resolve(&self.engine, &replica, start).await?.offset;
        let until = match until {
            Some(until) => Some(offsets::resolve_end(&self.engine, &replica, until).await?),
            None => None,
        };
        let cursors = replica.cursors()?;
        self.opening.push(message(
            v1::FetchedPartition {
                topic: topic.clone(),
                partition,
                log_start: cursors.log_start.get(),
                high_watermark: cursors.high_watermark.get(),
                leader_epoch: replica.leader_epoch().get(),
                next_offset: next.get(),
                ..Default::default()
            },
            false,
        ));
        self.sources.push(Source::new(replica, next, until));
        Ok(())
    }

    /// Pushes until every partition is finished, the client is gone, or the broker stops.
    pub(super) async fn run(mut self, answers: mpsc::Sender<Permitted>) {
        // There is nothing to send it to when the client is gone.
        let _client_gone = self.push_all(&answers).await;
    }

    async fn push_all(&mut self, answers: &mpsc::Sender<Permitted>) -> Result<(), ClientGone> {
        for opening in std::mem::take(&mut self.opening) {
            answers.send((Ok(opening), None)).await.map_err(|_| ClientGone)?;
        }
        loop {
            let changes = Changes::watching(self.sources.iter().map(|source| &source.replica));
            let mut pushed = false;
            for mut source in std::mem::take(&mut self.sources) {
                let outcome = self.push_one(&mut source, answers).await?;
                pushed |= outcome != Outcome::Nothing;
                if outcome != Outcome::Finished {
                    self.sources.push(source);
                }
            }
            if self.sources.is_empty() {
                return Ok(());
            }
            if pushed {
                continue;
            }
            tokio::select! {
                () = changes.any() => {}
                () = answers.closed() => return Err(ClientGone),
                () = self.shared.stopping() => {
                    let refusal = Refusal::new(ErrorCode::ShuttingDown, "the broker is stopping");
                    return answers.send((Err(refusal.into_status()), None)).await.map_err(|_| ClientGone);
                }
            }
        }
    }

    /// Pushes one message of one partition, if it has any.
    async fn push_one(
        &self,
        source: &mut Source,
        answers: &mpsc::Sender<Permitted>,
    ) -> Result<Outcome, ClientGone> {
        // The place is taken before the read, so that reading never runs ahead of what the client takes.
        let place = answers.reserve().await.map_err(|_| ClientGone)?;
        if source.until.is_some_and(|until| source.next >= until) {
            let cursors = source.replica.cursors().unwrap_or_default();
            let end = v1::FetchedPartition {
                topic: source.topic.clone(),
                partition: source.partition,
                log_start: cursors.log_start.get(),
                high_watermark: cursors.high_watermark.get(),
                next_offset: source.next.get(),
                ..Default::default()
            };
            place.send((Ok(message(end, true)), None));
            return Ok(Outcome::Finished);
        }
        let Self { shared, caller, engine, max_message_bytes, plain, .. } = self;
        let (read, permit) =
            source.read_charged(shared, caller.as_ref(), engine, *max_message_bytes, *plain).await;
        let (answer, outcome) = match read {
            Ok(Read::Nothing { moved: false }) => return Ok(Outcome::Nothing),
            Ok(Read::Nothing { moved: true }) => return Ok(Outcome::Pushed),
            Ok(Read::Records(records)) => (*records, Outcome::Pushed),
            Err(refusal) => (fetch::failed(&source.topic, source.partition, refusal), Outcome::Finished),
        };
        let answer = message(answer, outcome == Outcome::Finished);
        let (answer, permit) = fetch::with_permit(answer, permit);
        place.send((Ok(answer), permit));
        Ok(outcome)
    }
}

/// What became of one partition in its turn.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Outcome {
    /// It has nothing at present.
    Nothing,
    /// It has gone on.
    Pushed,
    /// Nothing more comes of it.
    Finished,
}

fn message(partition: v1::FetchedPartition, done: bool) -> v1::ConsumeResponse {
    v1::ConsumeResponse { partition: Some(partition), done }
}
