//! Figures that are read at each scrape instead of being kept.

use std::{fmt, time::Duration};

use arc_swap::ArcSwapOption;
use corduroy_log::disk::Space;
use corduroy_types::{Ratio, TopicName};
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeGaugeValue, EncodeMetric, MetricEncoder},
    metrics::{MetricType, gauge::ConstGauge},
};

use super::{GroupSample, Sampler, sample_groups};

/// What the broker is at one moment.
#[derive(Clone, Debug, Default)]
pub struct ScrapeSample {
    /// The disks of data directories.
    pub disks: Vec<DiskSample>,
    /// Topics. At most [`super::DataMetrics::TOPICS_MAX`] are exported one by one.
    pub topics: Vec<TopicSample>,
    /// Partitions with series of their own: empty unless `metrics.partition_level` asks for them.
    pub partitions: Vec<PartitionSample>,
    /// Partitions that this broker leads.
    pub partitions_led: u64,
    /// Partitions that cannot be served, because their logs cannot be opened.
    pub partitions_offline: u64,
    /// Segments of all logs.
    pub segments: u64,
    /// For how long the oldest commit round has been on its way to disk; 0 while there is none.
    pub oldest_round: Duration,
    /// Bytes of compacted topics that a pass may go through now and none has.
    pub compaction_dirty_bytes: u64,
    /// The same as a part of the whole of that partition where it is greatest, in thousandths.
    pub compaction_dirty_ratio_max: Ratio,
    /// Partitions that cannot be compacted.
    pub compaction_failed_partitions: u64,
    /// Partitions in which a record of the future keeps retention by time from going on.
    pub retention_blocked_partitions: u64,
    /// How far the wall clock has jumped ahead of the time by which records expire; 0 below an hour.
    pub expiry_held: Duration,
    /// Consumer groups. At most [`super::GroupMetrics::GROUPS_MAX`] are exported one by one.
    pub groups: Vec<GroupSample>,
    /// Bytes in memory, by pool: `tail_cache`, `receive`, `fetch`.
    pub memory: Vec<(&'static str, u64)>,
}

/// The disk of a data directory.
#[derive(Clone, Debug)]
pub struct DiskSample {
    /// The directory, as configured.
    pub dir: String,
    /// Bytes that the broker may still write, and bytes altogether, where the disk says.
    pub space: Option<Space>,
    /// What it can be used for.
    pub state: DiskState,
}

/// What a disk can be used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum DiskState {
    /// Everything.
    Ok = 0,
    /// Everything, but free space is below `storage.disk_low_watermark`.
    Low = 1,
    /// Free space is below `storage.disk_block_watermark`: produce requests are refused.
    Blocked = 2,
    /// The data directory was removed or replaced while the broker was using it: nothing is written.
    Lost = 3,
}

/// A topic's size.
#[derive(Clone, Debug)]
pub struct TopicSample {
    /// Its name.
    pub name: TopicName,
    /// Bytes of its segments.
    pub bytes: u64,
}

/// A partition's range.
#[derive(Clone, Debug)]
pub struct PartitionSample {
    /// Its topic.
    pub topic: TopicName,
    /// Its index.
    pub partition: u32,
    /// The first readable offset.
    pub log_start: i64,
    /// The end of what consumers see.
    pub high_watermark: i64,
}

pub(super) struct Sampled {
    pub(super) source: ArcSwapOption<Sampler>,
}

impl fmt::Debug for Sampled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sampled")
    }
}

impl Collector for Sampled {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let Some(source) = self.source.load_full() else { return Ok(()) };
        let sample = source();
        disks(&mut encoder, &sample.disks)?;
        topics(&mut encoder, &sample.topics)?;
        partitions(&mut encoder, &sample.partitions)?;
        let led = [([("role", "leader")], as_gauge(sample.partitions_led))];
        gauges(&mut encoder, "partitions", "Partitions on this broker, by role", led)?;
        let offline = encoder.encode_descriptor(
            "offline_partitions",
            "Partitions that cannot be served, because their logs cannot be opened.",
            None,
            MetricType::Gauge,
        )?;
        ConstGauge::new(as_gauge(sample.partitions_offline)).encode(offline)?;
        let segments = [([("tier", "local")], as_gauge(sample.segments))];
        gauges(&mut encoder, "segments", "Segments of all logs", segments)?;
        let age = encoder.encode_descriptor(
            "oldest_commit_round_seconds",
            "For how long the oldest commit round has been on its way to disk; 0 while there is none.",
            None,
            MetricType::Gauge,
        )?;
        ConstGauge::new(sample.oldest_round.as_secs_f64()).encode(age)?;
        compaction(&mut encoder, &sample)?;
        retention(&mut encoder, &sample)?;
        sample_groups::encode(&mut encoder, &sample.groups)?;
        let memory = sample.memory.iter().map(|(pool, bytes)| ([("pool", *pool)], as_gauge(*bytes)));
        gauges(
            &mut encoder,
            "memory_bytes",
            "Bytes in memory, by pool: tail_cache (newest records), receive (requests), fetch (answers)",
            memory,
        )
    }
}

fn compaction(encoder: &mut DescriptorEncoder<'_>, sample: &ScrapeSample) -> Result<(), fmt::Error> {
    let (dirty, failed) = (sample.compaction_dirty_bytes, sample.compaction_failed_partitions);
    let ratio = sample.compaction_dirty_ratio_max.as_f64();
    gauge(
        encoder,
        "compaction_dirty_bytes",
        "Bytes of compacted topics that are not compacted yet",
        &as_gauge(dirty),
    )?;
    gauge(
        encoder,
        "compaction_dirty_ratio_max",
        "The greatest part of a compacted partition that is not compacted yet",
        &ratio,
    )?;
    gauge(encoder, "compaction_failed_partitions", "Partitions that cannot be compacted", &as_gauge(failed))
}

fn retention(encoder: &mut DescriptorEncoder<'_>, sample: &ScrapeSample) -> Result<(), fmt::Error> {
    gauge(
        encoder,
        "retention_blocked_partitions",
        "Partitions in which a record with a timestamp in the future keeps retention by time from going on",
        &as_gauge(sample.retention_blocked_partitions),
    )?;
    gauge(
        encoder,
        "expiry_held_seconds",
        "How far the wall clock has jumped ahead of the time by which records expire; 0 below an hour",
        &sample.expiry_held.as_secs_f64(),
    )
}

/// Writes one gauge without labels.
fn gauge(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    value: &impl EncodeGaugeValue,
) -> Result<(), fmt::Error> {
    let help = format!("{help}.");
    encoder.encode_descriptor(name, &help, None, MetricType::Gauge)?.encode_gauge(value)
}

fn disks(encoder: &mut DescriptorEncoder<'_>, disks: &[DiskSample]) -> Result<(), fmt::Error> {
    let label = |disk: &DiskSample| [("dir", disk.dir.clone())];
    let with_space = || disks.iter().filter_map(|disk| Some((disk, disk.space?)));
    let free = with_space().map(|(disk, space)| (label(disk), as_gauge(space.free_bytes)));
    gauges(encoder, "disk_free_bytes", "Bytes that can still be written, by data directory", free)?;
    let total = with_space().map(|(disk, space)| (label(disk), as_gauge(space.total_bytes)));
    gauges(encoder, "disk_total_bytes", "Size of the disk, by data directory", total)?;
    let state = disks.iter().map(|disk| (label(disk), disk.state as i64));
    gauges(
        encoder,
        "disk_state",
        "State of the disk: 0 ok, 1 low on space, 2 blocked (produce requests are refused), 3 lost (the data directory was removed or replaced while in use)",
        state,
    )
}

fn topics(encoder: &mut DescriptorEncoder<'_>, topics: &[TopicSample]) -> Result<(), fmt::Error> {
    let (own, others) = topics.split_at(topics.len().min(super::DataMetrics::TOPICS_MAX));
    let label = |name: &str| [("topic", name.to_owned()), ("tier", "local".to_owned())];
    let others_bytes: u64 = others.iter().map(|topic| topic.bytes).sum();
    let own = own.iter().map(|topic| (label(topic.name.as_str()), as_gauge(topic.bytes)));
    let others = (!others.is_empty()).then(|| (label("__other"), as_gauge(others_bytes)));
    gauges(encoder, "topic_bytes", "Bytes of stored segments", own.chain(others))
}

fn partitions(encoder: &mut DescriptorEncoder<'_>, all: &[PartitionSample]) -> Result<(), fmt::Error> {
    let label = |partition: &PartitionSample| {
        [("topic", partition.topic.to_string()), ("partition", partition.partition.to_string())]
    };
    let start = all.iter().map(|partition| (label(partition), partition.log_start));
    gauges(
        encoder,
        "partition_start_offset",
        "First readable offset (metrics.partition_level = all)",
        start,
    )?;
    let high = all.iter().map(|partition| (label(partition), partition.high_watermark));
    gauges(
        encoder,
        "partition_high_offset",
        "End of what consumers see (metrics.partition_level = all)",
        high,
    )
}

pub(super) fn as_gauge(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// Writes one gauge family; nothing at all when it has no series.
pub(super) fn gauges<'a, V, const N: usize>(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    series: impl IntoIterator<Item = ([(&'a str, V); N], i64)>,
) -> Result<(), fmt::Error>
where
    [(&'a str, V); N]: prometheus_client::encoding::EncodeLabelSet,
{
    let mut series = series.into_iter().peekable();
    if series.peek().is_none() {
        return Ok(());
    }
    let help = format!("{help}.");
    let mut family: MetricEncoder<'_> = encoder.encode_descriptor(name, &help, None, MetricType::Gauge)?;
    for (labels, value) in series {
        ConstGauge::new(value).encode(family.encode_family(&labels)?)?;
    }
    Ok(())
}
