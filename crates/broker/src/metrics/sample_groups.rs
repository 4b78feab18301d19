//! Consumer groups at one moment.

use std::fmt;

use prometheus_client::{
    encoding::{DescriptorEncoder, EncodeMetric},
    metrics::{MetricType, gauge::ConstGauge},
};

use super::{
    GroupMetrics,
    groups::OTHER,
    sample::{as_gauge, gauges},
};

/// The states of a group, as labels.
const STATES: [&str; 3] = ["empty", "stable", "rebalancing"];

/// A group at one moment.
#[derive(Clone, Debug)]
pub struct GroupSample {
    /// Its name.
    pub group: String,
    /// Its state: empty, stable or rebalancing.
    pub state: &'static str,
    /// How many members it has.
    pub member_count: u64,
    /// Its lag.
    pub topics: Vec<GroupTopicSample>,
}

/// The lag of a group in one topic.
#[derive(Clone, Debug)]
pub struct GroupTopicSample {
    /// The topic's name.
    pub topic: String,
    /// Records that are to be read, over all partitions.
    pub lag_records: u64,
    /// How old the oldest of them is, in milliseconds.
    pub lag_ms: u64,
}

pub(super) fn encode(encoder: &mut DescriptorEncoder<'_>, groups: &[GroupSample]) -> fmt::Result {
    let (own, others) = groups.split_at(groups.len().min(GroupMetrics::GROUPS_MAX));
    let others_members: u64 = others.iter().map(|group| group.member_count).sum();
    let members = own.iter().map(|group| ([("group", group.group.as_str())], as_gauge(group.member_count)));
    let others_members = (!others.is_empty()).then(|| ([("group", OTHER)], as_gauge(others_members)));
    gauges(encoder, "group_members", "Members of the group", members.chain(others_members))?;
    let states = own.iter().flat_map(|group| {
        STATES.map(|state| {
            ([("group", group.group.as_str()), ("state", state)], i64::from(state == group.state))
        })
    });
    gauges(encoder, "group_state", "1 for the state that the group is in", states)?;
    let lags = lags(own, others);
    let records = lags.iter().map(|lag| (lag.labels(), as_gauge(lag.records)));
    let help = "Records below the high watermark that the group has not committed and can still receive";
    gauges(encoder, "group_lag_records", help, records)?;
    seconds(encoder, &lags)
}

struct Lag<'a> {
    group: &'a str,
    topic: &'a str,
    records: u64,
    ms: u64,
}

impl<'a> Lag<'a> {
    const fn labels(&self) -> [(&'static str, &'a str); 2] {
        [("group", self.group), ("topic", self.topic)]
    }
}

/// One for each group and topic; the groups without series of their own are one.
fn lags<'a>(own: &'a [GroupSample], others: &'a [GroupSample]) -> Vec<Lag<'a>> {
    let of = |group: &'a GroupSample| {
        group.topics.iter().map(|topic| Lag {
            group: &group.group,
            topic: &topic.topic,
            records: topic.lag_records,
            ms: topic.lag_ms,
        })
    };
    let mut lags: Vec<_> = own.iter().flat_map(of).collect();
    let rest = others.iter().flat_map(of).reduce(|all, one| Lag {
        records: all.records + one.records,
        ms: all.ms.max(one.ms),
        ..all
    });
    lags.extend(rest.map(|rest| Lag { group: OTHER, topic: OTHER, ..rest }));
    lags
}

#[expect(clippy::cast_precision_loss, reason = "milliseconds as seconds, for a graph")]
fn seconds(encoder: &mut DescriptorEncoder<'_>, lags: &[Lag<'_>]) -> fmt::Result {
    if lags.is_empty() {
        return Ok(());
    }
    let help = "Age of the first record that the group has not committed, in seconds; 0 where there is none.";
    let mut family = encoder.encode_descriptor("group_lag_seconds", help, None, MetricType::Gauge)?;
    for lag in lags {
        let gauge = ConstGauge::new(lag.ms as f64 / 1_000.0);
        gauge.encode(family.encode_family(&lag.labels())?)?;
    }
    Ok(())
}
