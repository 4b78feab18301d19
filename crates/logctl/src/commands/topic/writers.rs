//! Which idempotent producers a topic remembers, for `logctl topic describe --producers`.

use corduroy_client::{PartitionProducers, TimestampMs};
use serde::Serialize;

use crate::{
    connect::Session,
    error::CliError,
    output::{Cell, Column, Row, column, counted},
};

/// A producer as a partition remembers it.
#[derive(Serialize)]
pub(super) struct ProducerRow {
    partition: u32,
    producer_id: i64,
    producer_epoch: u32,
    last_sequence: u32,
    last_offset: u64,
    last_written_at: String,
    #[serde(skip)]
    last_written: TimestampMs,
}

impl Row for ProducerRow {
    const COLUMNS: &'static [Column] = &[
        column("PARTITION"),
        column("PRODUCER"),
        column("EPOCH"),
        column("LAST-SEQUENCE"),
        column("LAST-OFFSET"),
        column("LAST-WRITTEN"),
    ];

    fn name(&self) -> String {
        self.producer_id.to_string()
    }

    fn cells(&self) -> Vec<Cell> {
        vec![
            Cell::Count(self.partition.into()),
            Cell::text(self.producer_id.to_string()),
            Cell::Count(self.producer_epoch.into()),
            Cell::Count(self.last_sequence.into()),
            Cell::Count(self.last_offset),
            Cell::Time(self.last_written),
        ]
    }
}

/// The producers of a topic, and what is to be said of those that are not listed.
///
/// # Errors
/// Why there was no answer.
pub(super) async fn of_topic(
    session: &Session,
    topic: &str,
) -> Result<(Vec<ProducerRow>, Vec<String>), CliError> {
    let listed = session.read(|admin| async move { admin.list_producers(topic).await }).await;
    let listed = listed.map_err(|error| session.topic_error(topic, &error))?;
    let left_out = |partition: &PartitionProducers| {
        u64::from(partition.producer_count).saturating_sub(partition.producers.len() as u64)
    };
    let more: u64 = listed.iter().map(left_out).sum();
    let mut notes = Vec::new();
    if more > 0 {
        notes.push(format!("{topic}: {} more, which wrote longer ago", counted(more, "producer")));
    }
    let failed = listed.iter().filter_map(|partition| Some((partition.partition, partition.error.as_ref()?)));
    notes.extend(
        failed.map(|(partition, error)| format!("{topic}/{partition}: producers not known: {error}")),
    );
    Ok((listed.iter().flat_map(rows).collect(), notes))
}

fn rows(partition: &PartitionProducers) -> impl Iterator<Item = ProducerRow> {
    partition.producers.iter().map(|producer| ProducerRow {
        partition: partition.partition.0,
        producer_id: producer.id,
        producer_epoch: producer.epoch,
        last_sequence: producer.last_sequence,
        last_offset: producer.last_offset.get(),
        last_written_at: Cell::Time(producer.last_timestamp).plain(),
        last_written: producer.last_timestamp,
    })
}
