//! What becomes of batches behind one that expected an offset and was not written: they end with it.

use corduroy_api::Refusal;
use corduroy_types::Outcome;
use tokio::time::Instant;

use super::{
    ends::{RefusedBatch, after_unknown},
    error::SendErrorKind,
    pump::Pump,
    seal::{Sealed, seal_for_return},
};

impl Pump {
    /// Ends a batch; if it expected an offset, everything that was accepted behind it in its partition as well, since the
    /// program gave those records on the condition that this one is where it was expected.
    pub(super) fn fail_with_followers(&mut self, id: usize, sealed: Sealed, reason: RefusedBatch) {
        if !sealed.is_conditional() {
            return self.fail(id, sealed, reason);
        }
        let (place, numbered) = (sealed.place, sealed.is_numbered());
        let cause = RefusedBatch { refusal: reason.refusal.clone(), ..reason };
        self.fail(id, sealed, reason);
        let Some(lane) = self.lanes.get_mut(id) else { return };
        let (flights, retries) = lane.take_behind(place);
        // The partition takes none of them while the numbers of this batch are missing. A new epoch keeps anyone else
        // from getting those numbers while one of them may still be on its way.
        let on_its_way = flights.iter().map(|flight| &flight.sealed).find(|sealed| sealed.is_numbered());
        let in_doubt =
            retries.iter().find(|sealed| sealed.is_numbered() && sealed.outcome == Outcome::Unknown);
        if numbered && let Some(late) = on_its_way.or(in_doubt) {
            lane.note_gap(late, true);
        }
        for flight in flights {
            self.flights.remove(&flight.correlation_id);
            self.fail(id, flight.sealed, behind_condition(&cause));
        }
        for sealed in retries {
            self.fail(id, sealed, behind_condition(&cause));
        }
        self.hand_back_unsent(id, &cause);
    }

    /// Ends what was accepted behind a condition that failed for `cause`, and was not sent.
    pub(super) fn hand_back_unsent(&mut self, id: usize, cause: &RefusedBatch) {
        let Some(lane) = self.lanes.get(id) else { return };
        for unsent in lane.queue.take_older(Instant::now()) {
            self.fail(id, seal_for_return(unsent), behind_condition(cause));
        }
    }
}

/// How records end that were accepted behind one that expected an offset and failed. The partition has not taken
/// them, and will not.
fn behind_condition(cause: &RefusedBatch) -> RefusedBatch {
    if cause.outcome == Outcome::Unknown {
        return after_unknown(&cause.refusal, Outcome::NotWritten);
    }
    let mut refusal = Refusal::new(
        cause.refusal.code,
        format!(
            "not written, since a record before it in the same partition expected an offset and was not written: {}",
            cause.refusal.message
        ),
    )
    .with_hint("Decide again what to write, and at which offset; then send it again.");
    refusal.next_offset = cause.refusal.next_offset;
    RefusedBatch { kind: SendErrorKind::AfterRefused, outcome: Outcome::NotWritten, refusal }
}
