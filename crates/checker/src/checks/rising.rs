//! A value that only rises in time: what was known of an end, or of the greatest offset, at each moment.

/// The steps at which a value rose: (when, in nanoseconds; to what; by which operation), both rising.
#[derive(Debug, Default)]
pub(crate) struct Rising {
    steps: Vec<(u64, u64, u32)>,
}

impl Rising {
    /// Notes that the value was seen. Calls come in the order of time; what is no rise is not kept.
    pub(crate) fn note(&mut self, at_ns: u64, value: u64, op: u32) {
        if self.steps.last().is_none_or(|last| last.1 < value) {
            self.steps.push((at_ns, value, op));
        }
    }

    /// The greatest value that was seen strictly before this time, and by which operation.
    pub(crate) fn before(&self, at_ns: u64) -> Option<(u64, u32)> {
        let at = self.steps.partition_point(|step| step.0 < at_ns).checked_sub(1)?;
        self.steps.get(at).map(|step| (step.1, step.2))
    }

    /// When a value above this one was first seen, in nanoseconds, and by which operation.
    pub(crate) fn first_above(&self, value: u64) -> Option<(u64, u32)> {
        let at = self.steps.partition_point(|step| step.1 <= value);
        self.steps.get(at).map(|step| (step.0, step.2))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_past_is_strictly_before() {
        let mut rising = Rising::default();
        for (at_ns, value) in [(10, 5), (20, 3), (20, 7), (20, 9)] {
            rising.note(at_ns, value, 0);
        }
        assert_eq!(
            [10, 11, 20, 21].map(|at| rising.before(at).map(|step| step.0)),
            [None, Some(5), Some(5), Some(9)]
        );
        assert_eq!(
            [4, 5, 8, 9].map(|value| rising.first_above(value).map(|step| step.0)),
            [Some(10), Some(20), Some(20), None]
        );
    }
}
