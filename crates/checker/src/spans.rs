//! Ranges of numbers, merged: which offsets were read through, and when something was broken.

/// Ranges without overlap, sorted; each from its first number to the one behind its last.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Spans {
    merged: Vec<(u64, u64)>,
}

impl Spans {
    /// The union of these ranges. Empty ones take no part.
    pub(crate) fn new(mut ranges: Vec<(u64, u64)>) -> Self {
        ranges.retain(|(from, to)| from < to);
        ranges.sort_unstable();
        let mut merged: Vec<(u64, u64)> = Vec::new();
        for (from, to) in ranges {
            match merged.last_mut() {
                Some(last) if from <= last.1 => last.1 = last.1.max(to),
                _ => merged.push((from, to)),
            }
        }
        Self { merged }
    }

    /// Whether there is none.
    pub(crate) fn is_empty(&self) -> bool {
        self.merged.is_empty()
    }

    /// Whether a number is in one of the ranges.
    pub(crate) fn contain(&self, number: u64) -> bool {
        self.first_gap(number, number.saturating_add(1)).is_none()
    }

    /// Whether some number of `from..to` is in one of the ranges.
    pub(crate) fn touch(&self, from: u64, to: u64) -> bool {
        let at = self.merged.partition_point(|range| range.1 <= from);
        self.merged.get(at).is_some_and(|range| range.0 < to)
    }

    /// The first number of `from..to` that is in none of the ranges.
    pub(crate) fn first_gap(&self, from: u64, to: u64) -> Option<u64> {
        let at = self.merged.partition_point(|range| range.1 <= from);
        let behind = match self.merged.get(at) {
            Some(range) if range.0 <= from => range.1,
            _ => from,
        };
        Some(behind).filter(|gap| *gap < to)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_that_meet_are_one() {
        let spans = Spans::new(vec![(5, 7), (1, 3), (7, 7), (3, 4), (6, 9)]);
        assert_eq!(spans.merged, [(1, 4), (5, 9)]);
        assert_eq!(
            [0, 1, 3, 4, 8, 9].map(|number| spans.contain(number)),
            [false, true, true, false, true, false]
        );
        assert_eq!(spans.first_gap(1, 9), Some(4));
        assert_eq!(spans.first_gap(5, 9), None);
        assert_eq!(spans.first_gap(5, 10), Some(9));
        assert!(spans.touch(0, 2) && spans.touch(8, 20) && !spans.touch(4, 5) && !spans.touch(9, 20));
    }
}
