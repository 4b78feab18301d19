//! Handing out what was fetched, in the order in which it came.

use std::{
    sync::Arc,
    task::{Context, Poll, ready},
};

use corduroy_types::Offset;

use super::{
    ConsumeError, Message, PartitionStatus, Reader, RecordBatch,
    batch::{Fetched, damaged},
    fetcher::{Chunk, ChunkKind},
};

/// A batch and the place of its partition.
type Next = Option<Result<(usize, Arc<Fetched>), ConsumeError>>;

impl Reader {
    pub(crate) fn poll_message(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Message, ConsumeError>>> {
        loop {
            if let Some(message) = self.messages.pop_front() {
                if let Some((index, _)) = self.current {
                    self.advance(index, message.offset().saturating_add(1));
                }
                return Poll::Ready(Some(Ok(message)));
            }
            if let Some(error) = self.message_error.take() {
                self.current = None;
                return Poll::Ready(Some(Err(error)));
            }
            if let Some((index, fetched)) = self.current.take() {
                self.advance(index, fetched.batch.header().next_offset());
            }
            match ready!(self.poll_fetched(cx)) {
                None => return Poll::Ready(None),
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                Some(Ok((index, fetched))) => self.spread(index, fetched),
            }
        }
    }

    /// Makes messages of a batch.
    fn spread(&mut self, index: usize, fetched: Arc<Fetched>) {
        let Some(partition) = self.partitions.get_mut(&index) else { return };
        for record in &fetched.records {
            match record {
                Ok(record) if record.offset < partition.position => {}
                Ok(record) if partition.until.is_some_and(|until| record.offset >= until) => break,
                Ok(record) => self.messages.push_back(Message::new(&fetched, &record)),
                Err(error) => {
                    let position = fetched.batch.header().base_offset;
                    let (topic, number) = (partition.source.topic.clone(), partition.source.partition);
                    self.message_error = Some(ConsumeError::new(topic, number, position, damaged(&error)));
                    partition.status = PartitionStatus::Stopped;
                    partition.fetching = false;
                    break;
                }
            }
        }
        self.current = Some((index, fetched));
        if self.message_error.is_some() {
            // Nothing behind the damage may be handed out, and nothing more be fetched.
            self.batches.clear();
            self.batches_of = None;
            self.drain();
            self.backlog.retain(|chunk| chunk.index != index);
            self.plan();
        }
    }

    pub(crate) fn poll_records(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<RecordBatch, ConsumeError>>> {
        if let Some(error) = self.message_error.take() {
            self.messages.clear();
            self.current = None;
            return Poll::Ready(Some(Err(error)));
        }
        // The rest of a batch whose messages were taken one by one comes first.
        let rest = self.current.take().filter(|_| !self.messages.is_empty());
        self.messages.clear();
        let (index, fetched) = match rest {
            Some(rest) => rest,
            None => loop {
                match ready!(self.poll_fetched(cx)) {
                    None => return Poll::Ready(None),
                    Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                    // Compaction keeps some batches for their headers only.
                    Some(Ok((index, fetched))) if fetched.batch.header().record_count == 0 => {
                        self.advance(index, fetched.batch.header().next_offset());
                    }
                    Some(Ok(next)) => break next,
                }
            },
        };
        let Some(partition) = self.partitions.get(&index) else { return Poll::Ready(None) };
        let batch = RecordBatch { from: partition.position, until: partition.until, fetched };
        self.advance(index, batch.next_offset());
        Poll::Ready(Some(Ok(batch)))
    }

    /// The place of the partition that the last message was of, and where its batch ends.
    pub(crate) fn last(&self) -> Option<(usize, Offset)> {
        self.current.as_ref().map(|(place, fetched)| (*place, fetched.batch.header().next_offset()))
    }

    /// Moves positions over what is here and holds no record, without handing anything out.
    pub(crate) fn settle(&mut self) {
        self.drain();
        while self.messages.is_empty() && self.message_error.is_none() {
            if let Some((place, fetched)) = self.current.take() {
                self.advance(place, fetched.batch.header().next_offset());
            }
            if let Some((place, next)) = self.batches_of {
                match self.batches.front() {
                    Some(fetched) if fetched.batch.header().record_count == 0 => {
                        self.advance(place, fetched.batch.header().next_offset());
                        self.batches.pop_front();
                    }
                    Some(_) => return,
                    None => {
                        self.batches_of = None;
                        self.advance(place, next);
                    }
                }
                continue;
            }
            match self.backlog.pop_front() {
                Some(chunk) if matches!(chunk.kind, ChunkKind::Records { .. }) => drop(self.begin(chunk)),
                Some(chunk) => {
                    self.backlog.push_front(chunk);
                    return;
                }
                None => return,
            }
        }
    }

    fn advance(&mut self, index: usize, next: Offset) {
        if let Some(partition) = self.partitions.get_mut(&index) {
            partition.advance(next);
        }
    }

    /// The next batch of any partition.
    fn poll_fetched(&mut self, cx: &mut Context<'_>) -> Poll<Next> {
        loop {
            if let Some((index, next)) = self.batches_of {
                if let Some(fetched) = self.batches.pop_front() {
                    return Poll::Ready(Some(Ok((index, fetched))));
                }
                self.batches_of = None;
                self.advance(index, next);
            }
            if let Some(chunk) = self.backlog.pop_front() {
                if let Some(error) = self.begin(chunk) {
                    return Poll::Ready(Some(Err(error)));
                }
                continue;
            }
            if self.is_ended() {
                return Poll::Ready(None);
            }
            match self.chunks.poll_recv(cx) {
                Poll::Ready(Some(chunk)) => self.accept(chunk),
                Poll::Ready(None) => return Poll::Ready(None),
                Poll::Pending => {
                    self.budget.set_starving(!self.is_patient);
                    return Poll::Pending;
                }
            }
        }
    }

    /// Begins to hand a chunk out.
    fn begin(&mut self, chunk: Chunk) -> Option<ConsumeError> {
        let partition = self.partitions.get_mut(&chunk.index)?;
        match chunk.kind {
            ChunkKind::Records { batches, next } => {
                self.batches = batches.into();
                self.batches_of = Some((chunk.index, next));
                None
            }
            ChunkKind::Done => {
                partition.status = PartitionStatus::Done;
                None
            }
            ChunkKind::Failed { position, refusal } => {
                partition.status = PartitionStatus::Stopped;
                let source = &partition.source;
                Some(ConsumeError::new(source.topic.clone(), source.partition, position, refusal))
            }
        }
    }
}
