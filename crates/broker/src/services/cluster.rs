//! The `Cluster` service: the brokers, and what is not as it should be.

use std::{sync::Arc, time::Duration};

use corduroy_api::{Refusal, v1};
use corduroy_log::DamagedRange;
use corduroy_types::{TopicName, format_duration_ms};
use tonic::{Request, Response, Status};

use super::{Shared, audit::Who, group_findings, log_level};
use crate::{
    engine::{Engine, Replica},
    health::DiskTrouble,
    metrics::Api,
};

/// What is known once the broker has started.
#[derive(Debug, Clone, Default)]
pub(crate) struct StartFacts {
    pub(crate) started_at_ms: i64,
    pub(crate) recovery: Duration,
    pub(crate) listening: String,
    /// Files of the data directory that were not as they should be.
    pub(crate) faults: Vec<String>,
}

/// Serves `corduroy.v1.Cluster`.
pub(crate) struct ClusterService {
    shared: Arc<Shared>,
}

impl ClusterService {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }
}

#[tonic::async_trait]
impl v1::cluster_server::Cluster for ClusterService {
    async fn describe_cluster(
        &self,
        request: Request<v1::DescribeClusterRequest>,
    ) -> Result<Response<v1::DescribeClusterResponse>, Status> {
        let dialled = request.metadata().get("host").and_then(|host| host.to_str().ok()).map(str::to_owned);
        let begun = self.shared.metrics.requests.api(Api::DescribeCluster).begin();
        let answer = describe(&self.shared, dialled).await;
        begun.finish(answer.as_ref().err().map(|refusal| refusal.code));
        answer.map(Response::new).map_err(Refusal::into_status)
    }

    async fn accept_journal_damage(
        &self,
        request: Request<v1::AcceptJournalDamageRequest>,
    ) -> Result<Response<v1::AcceptJournalDamageResponse>, Status> {
        let begun = self.shared.metrics.requests.api(Api::AcceptJournalDamage).begin();
        let who = Who::of(&request);
        let answer = accept_journal_damage(&self.shared, request.into_inner(), &who).await;
        begun.finish(answer.as_ref().err().map(|refusal| refusal.code));
        answer.map(Response::new).map_err(Refusal::into_status)
    }

    async fn set_log_level(
        &self,
        request: Request<v1::SetLogLevelRequest>,
    ) -> Result<Response<v1::SetLogLevelResponse>, Status> {
        let begun = self.shared.metrics.requests.api(Api::SetLogLevel).begin();
        let who = Who::of(&request);
        let answer = log_level::set(&self.shared, request.into_inner(), &who);
        begun.finish(answer.as_ref().err().map(|refusal| refusal.code));
        answer.map(Response::new).map_err(Refusal::into_status)
    }
}

async fn accept_journal_damage(
    shared: &Shared,
    request: v1::AcceptJournalDamageRequest,
    who: &Who,
) -> Result<v1::AcceptJournalDamageResponse, Refusal> {
    let v1::AcceptJournalDamageRequest { broker, validate_only } = request;
    log_level::check_broker(shared, broker)?;
    let engine = shared.engine()?;
    if validate_only {
        return Ok(v1::AcceptJournalDamageResponse { accepted: engine.replicas().journal_findings() });
    }
    let accepted = engine.replicas().accept_journal_damage().await?;
    if !accepted.is_empty() {
        who.changed("accept journal damage", "journal", accepted.join("; "));
    }
    Ok(v1::AcceptJournalDamageResponse { accepted })
}

async fn describe(
    shared: &Arc<Shared>,
    dialled: Option<String>,
) -> Result<v1::DescribeClusterResponse, Refusal> {
    let engine = shared.engine()?;
    let image = engine.metadata().image();
    let facts = shared.start_facts();
    // Of the last look: this answer must come when the disk hangs.
    let space = engine.context().space_seen();
    let id = shared.config.node.id;
    let stored_bytes = engine.replicas().stored_bytes();
    let brokers = image.brokers().map(|broker| {
        let known = broker.address.as_deref().map(str::to_owned);
        v1::DescribedBroker {
            id: broker.id.0,
            address: known.or_else(|| dialled.clone()).unwrap_or_else(|| facts.listening.clone()),
            version: broker.version.to_string(),
            started_at_ms: facts.started_at_ms,
            recovery_ms: u64::try_from(facts.recovery.as_millis()).unwrap_or(u64::MAX),
            disk_total_bytes: space.map_or(0, |space| space.total_bytes),
            disk_free_bytes: space.map_or(0, |space| space.free_bytes),
            stored_bytes,
            memory_bytes: crate::metrics::resident_bytes(),
            connection_count: u32::try_from(shared.metrics.connections.open.get()).unwrap_or(0),
        }
    });
    let mut findings = findings(&engine);
    findings.extend(facts.faults.iter().map(|fault| repaired(fault)));
    findings.extend(group_findings::findings(&shared.lag_snapshot()));
    // A stable sort: what is found first of one severity stays first.
    findings.sort_by_key(|finding| std::cmp::Reverse(finding.severity));
    let topics = engine.replicas().topics();
    Ok(v1::DescribeClusterResponse {
        cluster_id: image.cluster().map(|cluster| cluster.id.to_string()).unwrap_or_default(),
        cluster_name: image.cluster().map(|cluster| cluster.name.to_string()).unwrap_or_default(),
        answered_by: id.0,
        health: health(&findings).into(),
        brokers: brokers.collect(),
        topic_count: u32::try_from(topics.of_users().count()).unwrap_or(u32::MAX),
        partition_count: topics.of_users().map(|topic| topic.partition_count()).sum(),
        findings,
    })
}

fn health(findings: &[v1::Finding]) -> v1::HealthState {
    let worst = findings.iter().map(|finding| finding.severity).max();
    let worst = worst.and_then(|severity| v1::HealthState::try_from(severity).ok());
    worst.unwrap_or(v1::HealthState::Healthy)
}

/// What is not as it should be with disks and partitions.
fn findings(engine: &Engine) -> Vec<v1::Finding> {
    let mut findings = Vec::new();
    // What makes /readyz fail is found here too, in the same words.
    let troubles = engine.health().disk_troubles();
    findings.extend(troubles.iter().map(|trouble| v1::Finding {
        severity: v1::HealthState::Unhealthy.into(),
        message: trouble.message(),
        hint: trouble.hint().to_owned(),
        damage: None,
    }));
    if troubles.is_empty() && engine.context().disk_is_low() {
        findings.push(v1::Finding {
            severity: v1::HealthState::Degraded.into(),
            message: format!(
                "free disk space is below storage.disk_low_watermark ({})",
                engine.config().storage.disk_low_watermark
            ),
            hint: "free space before produce requests are refused".to_owned(),
            damage: None,
        });
    }
    if !troubles.contains(&DiskTrouble::Stalled)
        && let Some(message) = engine.maintenance().slow_round()
    {
        let hint = DiskTrouble::Stalled.hint().to_owned();
        let severity = v1::HealthState::Degraded.into();
        findings.push(v1::Finding { severity, message, hint, damage: None });
    }
    if let Some(failure) = engine.metadata().failure() {
        findings.push(v1::Finding {
            severity: v1::HealthState::Unhealthy.into(),
            message: format!("the metadata log: {failure}; topics cannot be changed"),
            hint: "check the disk; the log is reopened by itself when it can be".to_owned(),
            damage: None,
        });
    }
    findings.extend(engine.replicas().journal_findings().into_iter().map(|damage| v1::Finding {
        severity: v1::HealthState::Degraded.into(),
        message: format!("the commit journal was damaged when the broker started: {damage}"),
        hint: format!(
            "suspect the disk; what it keeps twice is not lost, and it was written again; records that it alone held are \
             missing where log verify or the scrub says so; to accept it: logctl broker accept-journal-damage {}",
            engine.config().node.id
        ),
        damage: None,
    }));
    findings.extend(engine.metadata().replica().damages().iter().map(|range| v1::Finding {
        severity: v1::HealthState::Unhealthy.into(),
        message: format!("the metadata log: {range}"),
        hint: "suspect the disk; the next start cannot read it".to_owned(),
        damage: None,
    }));
    findings.extend(engine.maintenance().expiry_held_ms().map(|ahead_ms| v1::Finding {
        severity: v1::HealthState::Degraded.into(),
        message: format!(
            "the wall clock is {} ahead of the time that the broker has seen pass: records and committed offsets expire slowly until it is caught up with",
            format_duration_ms(ahead_ms / 60_000 * 60_000)
        ),
        hint: "nothing to do if the broker was down for so long; else correct the clock".to_owned(),
        damage: None,
    }));
    for topic in engine.replicas().topics().iter() {
        findings.extend(topic.replicas().iter().flat_map(|replica| replica_findings(topic.name(), replica)));
    }
    findings
}

/// What is not as it should be with one partition.
fn replica_findings(topic: &TopicName, replica: &Replica) -> Vec<v1::Finding> {
    let name = format!("{topic}/{}", replica.index());
    let mut findings = Vec::new();
    findings.extend(replica.trouble().map(|trouble| v1::Finding {
        severity: v1::HealthState::Unhealthy.into(),
        message: format!("{name}: {trouble}"),
        hint: "check the disk; the log is opened again by itself when it can be".to_owned(),
        damage: None,
    }));
    findings.extend(damages(topic, replica));
    findings.extend(replica.faults().iter().map(|fault| repaired(&format!("{name}: {fault}"))));
    findings.extend(replica.compaction_failure().map(|failure| v1::Finding {
        severity: v1::HealthState::Degraded.into(),
        message: format!("{name}: not compacted: {failure}"),
        hint: "it grows until then; reads and appends are not affected".to_owned(),
        damage: None,
    }));
    findings
}

fn hint(topic: &TopicName, replica: &Replica, range: &DamagedRange) -> String {
    let accept = format!("logctl partition recover {topic}:{} --accept-data-loss", replica.index());
    if range.is_doubt() {
        return format!(
            "suspect the disk; appends are not affected; put a sound partition.state back and start again, or, to have all that is stored served, deleted records too: {accept}"
        );
    }
    format!(
        "suspect the disk; reads go on behind it, appends are not affected; to have reads pass over it: {accept}"
    )
}

/// A small file that was not as it should be, and of which nothing is lost.
fn repaired(fault: &str) -> v1::Finding {
    v1::Finding {
        severity: v1::HealthState::Degraded.into(),
        message: format!("{fault}; what it held was taken from elsewhere, and nothing is lost"),
        hint: "suspect the disk; this is said until the next start".to_owned(),
        damage: None,
    }
}

/// More than these of one partition are counted, not listed.
const DAMAGES_LISTED_MAX: usize = 10;

/// The ranges of a partition that cannot be read, as far as they are known.
fn damages(topic: &TopicName, replica: &Replica) -> Vec<v1::Finding> {
    let known = replica.damages();
    let more = known.len().saturating_sub(DAMAGES_LISTED_MAX);
    let listed = known.iter().take(DAMAGES_LISTED_MAX).enumerate();
    let findings = listed.map(|(at, range)| v1::Finding {
        severity: v1::HealthState::Degraded.into(),
        message: match more {
            1.. if at + 1 == DAMAGES_LISTED_MAX => {
                format!("{topic}/{}: {range}; {more} more damaged ranges are known", replica.index())
            }
            _ => format!("{topic}/{}: {range}", replica.index()),
        },
        hint: hint(topic, replica, range),
        damage: Some(super::damaged_range(replica, range)),
    });
    findings.collect()
}
