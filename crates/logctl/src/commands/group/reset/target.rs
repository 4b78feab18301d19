//! From where a group is to where it goes on, in one partition. Pure.

use corduroy_types::Offset;

use crate::commands::group::snapshot::Bounds;

/// What is wanted in one partition, once times and other groups have been looked up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TargetOffset {
    /// The first record there is.
    Start,
    /// Behind the last one.
    End,
    /// That very offset.
    Offset(Offset),
    /// That many records behind the committed offset.
    Forward(u64),
    /// That many before it.
    Back(u64),
}

/// Where it goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Resolved {
    /// Within the log.
    pub(super) offset: Offset,
    /// What was wanted, where the log does not reach that far.
    pub(super) wanted: Option<Outside>,
}

/// A place outside the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outside {
    /// Below the log start; below 0 even where there is no number.
    Below(Option<Offset>),
    /// Above the high watermark.
    Above(Offset),
}

impl TargetOffset {
    /// The offset in a partition; `None` where it counts from a committed offset and there is none.
    pub(super) fn at(self, committed: Option<Offset>, bounds: Bounds) -> Option<Resolved> {
        let Bounds { log_start, high_watermark } = bounds;
        let wanted = match self {
            Self::Start => log_start,
            Self::End => high_watermark,
            Self::Offset(offset) => offset,
            Self::Forward(count) => committed?.saturating_add(count),
            Self::Back(count) => {
                let committed = committed?;
                if count > committed.get() {
                    let (offset, wanted) = (log_start, Some(Outside::Below(None)));
                    return Some(Resolved { offset, wanted });
                }
                committed.saturating_sub(count)
            }
        };
        Some(if wanted < log_start {
            Resolved { offset: log_start, wanted: Some(Outside::Below(Some(wanted))) }
        } else if wanted > high_watermark {
            Resolved { offset: high_watermark, wanted: Some(Outside::Above(wanted)) }
        } else {
            Resolved { offset: wanted, wanted: None }
        })
    }
}

impl Outside {
    /// What the plan says of it.
    pub(super) fn note(self) -> String {
        match self {
            Self::Below(None) => "moved to the start: no offset lies so far back".to_owned(),
            Self::Below(Some(wanted)) => format!("moved to the start: {wanted} lies before it"),
            Self::Above(wanted) => format!("moved to the end: {wanted} lies behind it"),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn offset(value: u64) -> Offset {
        Offset::new(value).unwrap()
    }

    fn bounds(log_start: u64, high_watermark: u64) -> Bounds {
        Bounds { log_start: offset(log_start), high_watermark: offset(high_watermark) }
    }

    fn resolved(target: TargetOffset, committed: Option<u64>) -> Option<(u64, Option<Outside>)> {
        target
            .at(committed.map(offset), bounds(50, 100))
            .map(|resolved| (resolved.offset.get(), resolved.wanted))
    }

    #[test]
    fn every_aim_finds_its_place() {
        assert_eq!(resolved(TargetOffset::Start, None), Some((50, None)));
        assert_eq!(resolved(TargetOffset::End, Some(70)), Some((100, None)));
        assert_eq!(resolved(TargetOffset::Offset(offset(60)), None), Some((60, None)));
        assert_eq!(resolved(TargetOffset::Forward(5), Some(70)), Some((75, None)));
        assert_eq!(resolved(TargetOffset::Back(5), Some(70)), Some((65, None)));
        assert_eq!(resolved(TargetOffset::Back(0), Some(70)), Some((70, None)));
    }

    #[test]
    fn the_ends_of_the_log_are_places() {
        assert_eq!(resolved(TargetOffset::Offset(offset(50)), None), Some((50, None)));
        assert_eq!(resolved(TargetOffset::Offset(offset(100)), None), Some((100, None)));
        assert_eq!(resolved(TargetOffset::Back(20), Some(70)), Some((50, None)));
        assert_eq!(resolved(TargetOffset::Forward(30), Some(70)), Some((100, None)));
    }

    #[test]
    fn what_lies_outside_is_moved_to_the_nearest_end_and_reported() {
        assert_eq!(
            resolved(TargetOffset::Back(21), Some(70)),
            Some((50, Some(Outside::Below(Some(offset(49))))))
        );
        assert_eq!(resolved(TargetOffset::Back(71), Some(70)), Some((50, Some(Outside::Below(None)))));
        assert_eq!(
            resolved(TargetOffset::Forward(31), Some(70)),
            Some((100, Some(Outside::Above(offset(101)))))
        );
        assert_eq!(
            resolved(TargetOffset::Forward(u64::MAX), Some(70)),
            Some((100, Some(Outside::Above(Offset::MAX))))
        );
        // A lost position: counted from where it was, and moved into the log.
        assert_eq!(
            resolved(TargetOffset::Forward(5), Some(10)),
            Some((50, Some(Outside::Below(Some(offset(15))))))
        );
        assert_eq!(
            resolved(TargetOffset::Offset(Offset::ZERO), None),
            Some((50, Some(Outside::Below(Some(Offset::ZERO)))))
        );
    }

    #[test]
    fn nothing_can_be_counted_from_nothing() {
        assert_eq!(resolved(TargetOffset::Forward(1), None), None);
        assert_eq!(resolved(TargetOffset::Back(1), None), None);
    }

    proptest! {
        /// Against arithmetic in wider numbers.
        #[test]
        fn the_result_is_the_wanted_offset_within_the_log(
            start in 0..1_000_u64,
            length in 0..1_000_u64,
            committed in 0..3_000_u64,
            count in prop_oneof![0..3_000_u64, Just(u64::MAX)],
            forward: bool,
        ) {
            let target = if forward { TargetOffset::Forward(count) } else { TargetOffset::Back(count) };
            let bounds = bounds(start, start + length);
            let resolved = target.at(Some(offset(committed)), bounds).unwrap();
            let sign = if forward { 1 } else { -1 };
            let wanted = i128::from(committed) + sign * i128::from(count);
            let expected = wanted.clamp(start.into(), (start + length).into());
            prop_assert_eq!(i128::from(resolved.offset.get()), expected);
            prop_assert_eq!(resolved.wanted.is_some(), wanted != expected);
        }
    }
}
