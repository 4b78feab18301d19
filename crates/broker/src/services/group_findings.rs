//! What is not as it should be with consumer groups.

use std::time::Duration;

use corduroy_api::v1;
use corduroy_group::GroupName;

use crate::groups::{GroupLagSnapshot, Trouble, TroubleKind};

/// More than these of one group are counted, not listed.
const LISTED_MAX: usize = 3;

/// Records that groups have lost or are about to lose to retention.
pub(super) fn findings(lag_snapshot: &GroupLagSnapshot) -> Vec<v1::Finding> {
    let mut findings = Vec::new();
    for group in &lag_snapshot.groups {
        let more = group.troubles.len().saturating_sub(LISTED_MAX);
        for (at, trouble) in group.troubles.iter().take(LISTED_MAX).enumerate() {
            let more = if at + 1 == LISTED_MAX { more } else { 0 };
            findings.push(finding(&group.group, trouble, more));
        }
    }
    findings
}

fn finding(group: &GroupName, trouble: &Trouble, more: usize) -> v1::Finding {
    let Trouble { topic, partition, kind } = trouble;
    let (mut message, hint) = match kind {
        TroubleKind::Lost { position, log_start } => (
            format!(
                "group {group}: {} offsets of {topic}/{partition} were deleted before it had read them (position \
                 {position}, log start {log_start})",
                log_start.distance_from(*position)
            ),
            format!(
                "see logctl group describe {group}; then logctl group reset {group} --topics {topic} --to start"
            ),
        ),
        TroubleKind::BeyondEnd { position, high_watermark } => (
            format!(
                "group {group}: its position {position} in {topic}/{partition} lies beyond the end, {high_watermark}; \
                 its consumers cannot read there"
            ),
            format!(
                "see logctl group describe {group}; then logctl group reset {group} --topics {topic}:{partition} --to end"
            ),
        ),
        TroubleKind::Overtaken { within } => (
            format!(
                "group {group}: at its present rate, retention overtakes it in {topic}/{partition} in {}",
                rough(*within)
            ),
            format!("add consumers, or raise the retention of {topic}"),
        ),
    };
    if more > 0 {
        message.push_str(&format!("; {more} more partitions of this group"));
    }
    v1::Finding { severity: v1::HealthState::Degraded.into(), message, hint, damage: None }
}

fn rough(time: Duration) -> String {
    let minutes = time.as_secs() / 60;
    match minutes {
        0 => "less than a minute".to_owned(),
        1..=119 => format!("{minutes} min"),
        _ => format!("{} h", minutes / 60),
    }
}
