//! `logctl status --wait-for`

use std::time::Duration;

use corduroy_client::{ClusterDescription, Health};
use corduroy_types::ErrorCode;

use crate::{
    cli::StatusCondition,
    connect::Session,
    error::CliError,
    output::{counted, human_duration},
};

/// How long a condition is waited for where no `--timeout` is given.
pub(super) const WAIT: Duration = Duration::from_secs(30);
/// How often it is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// Looks again and again until the condition holds. A broker that is not there yet is waited for.
///
/// # Errors
/// `TIMED_OUT` with what was in the way last; what no waiting changes, at once.
pub(super) async fn until(
    session: &Session,
    condition: StatusCondition,
    within: Duration,
) -> Result<ClusterDescription, CliError> {
    let mut last = "it has not answered".to_owned();
    let waiting = async {
        loop {
            match session.client.admin().describe_cluster().await {
                Ok(cluster) if holds(condition, &cluster) => return Ok(cluster),
                Ok(cluster) => last = in_the_way(&cluster),
                Err(error) if error.is_retriable() => error.message().clone_into(&mut last),
                Err(error) => return Err(session.error(&error)),
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    };
    match tokio::time::timeout(within, waiting).await {
        Ok(result) => result,
        Err(_) => {
            let within_ms = u64::try_from(within.as_millis()).unwrap_or(u64::MAX);
            let word = match condition {
                StatusCondition::Ready => "ready",
                StatusCondition::Healthy => "healthy",
            };
            let message = format!("the broker was not {word} within {}: {last}", human_duration(within_ms));
            Err(CliError::new(ErrorCode::TimedOut, message)
                .in_context(&session.target.describe())
                .with_hint("wait longer with --timeout, or look at the broker's own log"))
        }
    }
}

fn holds(condition: StatusCondition, cluster: &ClusterDescription) -> bool {
    match condition {
        // A broker that is still starting does not describe itself.
        StatusCondition::Ready => true,
        StatusCondition::Healthy => cluster.health == Health::Healthy,
    }
}

fn in_the_way(cluster: &ClusterDescription) -> String {
    let more = cluster.findings.len().saturating_sub(1) as u64;
    match cluster.findings.first() {
        Some(finding) if more > 0 => {
            format!("it is {}: {}, and {}", cluster.health, finding.message, counted(more, "more finding"))
        }
        Some(finding) => format!("it is {}: {}", cluster.health, finding.message),
        None => format!("it is {}", cluster.health),
    }
}
