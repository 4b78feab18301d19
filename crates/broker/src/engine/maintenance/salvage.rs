//! Giving up the damaged ranges of a partition, because an operator asked for it.

use std::{sync::Arc, time::Duration};

use corduroy_api::Refusal;
use corduroy_log::{DamagedRange, LogError, SalvagePlan};
use corduroy_types::ErrorCode;
use tokio::time::{Instant, sleep};

use super::{Maintenance, compaction::finish_swap};
use crate::engine::Replica;
use crate::metrics::CorruptionAction;

/// How long the round that seals a damaged last segment may take.
const ROUND_WAIT: Duration = Duration::from_secs(10);
const LOOK_AGAIN: Duration = Duration::from_millis(10);

impl Maintenance {
    /// Gives up the known damage of a partition: what can be read stays at its offsets, and reads pass over the rest.
    ///
    /// # Errors
    /// A storage failure; what was not given up by then stays as it was.
    pub(crate) async fn give_up_damage(
        &self,
        replica: &Arc<Replica>,
        validate_only: bool,
    ) -> Result<Vec<DamagedRange>, Refusal> {
        let one_at_a_time = Arc::clone(&replica.removals).lock_owned().await;
        replica.check_writable()?;
        if validate_only {
            return Ok(replica.damages());
        }
        let until = Instant::now() + ROUND_WAIT;
        let mut salvage = loop {
            match replica.plan(|log, _| log.plan_salvage())? {
                SalvagePlan::Nothing => return Ok(Vec::new()),
                SalvagePlan::Ready(salvage) => break salvage,
                SalvagePlan::AfterRound if Instant::now() > until => {
                    let text = format!("the last segment could not be sealed within {ROUND_WAIT:?}");
                    return Err(Refusal::new(ErrorCode::StorageFailed, text));
                }
                SalvagePlan::AfterRound => {
                    replica.ask_for_round();
                    sleep(LOOK_AGAIN).await;
                }
            }
        };
        let (disk, of) = (Arc::clone(&self.context.disk), Arc::clone(replica));
        let given_up = self.context.workers.maintenance.run(move || {
            // Kept until the work ends, which may be after its caller has gone.
            let _one_at_a_time = one_at_a_time;
            finish_swap(&*disk, &of)?;
            let mut given_up: Vec<DamagedRange> = salvage.accept_state()?.into_iter().collect();
            while let Some(salvaged) = salvage.write_next()? {
                let swap = salvaged.swap;
                if !of.with_log(|log, _| log.may_swap(&swap)).unwrap_or(false) {
                    swap.discard(&*disk);
                    continue;
                }
                swap.commit(&*disk)?;
                of.with_log(|log, _| log.apply_swap(&swap));
                of.set_unfinished_swap(swap);
                finish_swap(&*disk, &of)?;
                given_up.extend(salvaged.given_up);
            }
            Ok::<_, LogError>(given_up)
        });
        let given_up = given_up.await?;
        let given_up = given_up.map_err(|error| Refusal::new(ErrorCode::StorageFailed, error.to_string()))?;
        for damage in &given_up {
            self.context.metrics.storage.corruption(CorruptionAction::GivenUp).inc();
            tracing::warn!(event = "B0213", topic = %replica.topic(), partition = %replica.index(), %damage, "damaged records were given up");
        }
        Ok(given_up)
    }
}
