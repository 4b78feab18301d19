//! What an answer without success means for a numbered batch.

use corduroy_types::{ErrorCode, Outcome};

/// What to do with the batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Send it again, the very same.
    Again,
    /// Send it again in a new epoch: it was never written, and the partition has forgotten the producer.
    Restart,
    /// It is certainly not written and never will be: report it, and go on with those behind it.
    Failed,
    /// Sending it again cannot show its outcome, or what was acknowledged before it is gone: report it, hand back those
    /// behind it, and begin a new epoch.
    GiveUp,
}

/// Judges a refusal.
///
/// `outcome` is this answer's, `earlier` that of all attempts before it. `behind_pending`: a batch before it has not been
/// written yet, so the partition had to refuse it.
pub(super) fn verdict(code: ErrorCode, outcome: Outcome, earlier: Outcome, behind_pending: bool) -> Verdict {
    match (code, outcome) {
        // The broker knows nothing of earlier attempts. We do: if there was none that may have been written, this one
        // was not written either.
        (ErrorCode::SequenceUnknown, _) if earlier == Outcome::NotWritten => Verdict::Restart,
        (ErrorCode::OutOfSequence, _) if behind_pending => Verdict::Again,
        // Something acknowledged is gone, someone else has our id, or the answer is about something else.
        (
            ErrorCode::SequenceUnknown
            | ErrorCode::OutOfSequence
            | ErrorCode::ProducerFenced
            | ErrorCode::UnexpectedAnswer,
            _,
        ) => Verdict::GiveUp,
        (_, Outcome::Unknown) => Verdict::Again,
        (code, Outcome::NotWritten) if code.is_retriable() => Verdict::Again,
        (_, Outcome::NotWritten) => match earlier {
            Outcome::NotWritten => Verdict::Failed,
            Outcome::Unknown => Verdict::GiveUp,
        },
    }
}

#[cfg(test)]
mod tests {
    use Outcome::{NotWritten, Unknown};

    use super::*;

    #[test]
    fn what_is_in_doubt_is_never_called_failed_and_what_is_certain_never_in_doubt() {
        for code in ErrorCode::ALL {
            for behind_pending in [false, true] {
                for (outcome, earlier) in [
                    (NotWritten, NotWritten),
                    (NotWritten, Unknown),
                    (Unknown, NotWritten),
                    (Unknown, Unknown),
                ] {
                    let verdict = verdict(*code, outcome, earlier, behind_pending);
                    let in_doubt = outcome == Unknown || earlier == Unknown;
                    assert!(!(in_doubt && verdict == Verdict::Failed), "{code} {outcome} {earlier}");
                    assert!(!(earlier == Unknown && verdict == Verdict::Restart), "{code} {outcome}");
                }
            }
        }
    }

    #[test]
    fn verdicts() {
        use ErrorCode as E;
        let table = [
            (E::Overloaded, NotWritten, NotWritten, false, Verdict::Again),
            (E::StorageFailed, Unknown, NotWritten, false, Verdict::Again),
            (E::StorageFailed, Unknown, Unknown, false, Verdict::Again),
            (E::InvalidTimestamp, NotWritten, NotWritten, false, Verdict::Failed),
            (E::InvalidTimestamp, NotWritten, Unknown, false, Verdict::GiveUp),
            (E::OffsetMismatch, NotWritten, NotWritten, false, Verdict::Failed),
            (E::OutOfSequence, NotWritten, NotWritten, true, Verdict::Again),
            (E::OutOfSequence, NotWritten, Unknown, true, Verdict::Again),
            (E::OutOfSequence, NotWritten, NotWritten, false, Verdict::GiveUp),
            (E::SequenceUnknown, Unknown, NotWritten, false, Verdict::Restart),
            (E::SequenceUnknown, Unknown, Unknown, false, Verdict::GiveUp),
            (E::ProducerFenced, NotWritten, NotWritten, false, Verdict::GiveUp),
            (E::UnexpectedAnswer, Unknown, NotWritten, false, Verdict::GiveUp),
        ];
        for (code, outcome, earlier, behind_pending, wanted) in table {
            assert_eq!(verdict(code, outcome, earlier, behind_pending), wanted, "{code} {outcome} {earlier}");
        }
    }
}
