//! What may happen to a log.

use corduroy_log::LogConfig;
use corduroy_log::disk::{SimCall, SimFailure};
use corduroy_types::Durability;
use proptest::prelude::*;

use crate::common::small_config;

#[derive(Clone, Debug)]
pub enum Op {
    Append {
        timestamps: Vec<i64>,
        value_bytes: usize,
    },
    Commit,
    /// Takes a round and performs that many of its steps.
    BeginRound {
        steps: usize,
    },
    FinishRound,
    Read {
        percent: u64,
        max_bytes: u32,
        committed: bool,
    },
    FindTime {
        timestamp: i64,
        committed: bool,
    },
    /// Stops after making durable (0), applying (1) or removing (2).
    DeleteRecords {
        percent: u64,
        stop: u8,
    },
    Retention {
        bytes: Option<u64>,
        ms: Option<u64>,
        stop: u8,
    },
    /// The durable mark as of now goes on record, as the broker would do it within 100 ms.
    RecordMark,
    /// The power goes, keeping a subset drawn from this seed; the first attempt to open may meet a failing call.
    Crash {
        seed: u64,
        opening: Option<Failing>,
    },
    /// The process goes, the page cache stays.
    Kill {
        opening: Option<Failing>,
    },
    CleanRestart,
    Fail(Failing),
    /// The disk is full but for so many bytes, until something has failed for it.
    Fill {
        spare_bytes: u64,
    },
    ReleaseIdle,
}

/// A call that fails.
#[derive(Clone, Copy, Debug)]
pub struct Failing {
    pub call: SimCall,
    pub nth: u64,
    pub failure: SimFailure,
}

fn failing() -> impl Strategy<Value = Failing> {
    let call = prop::sample::select(SimCall::ALL.to_vec());
    let failure = vec![SimFailure::Io, SimFailure::Io, SimFailure::Full, SimFailure::TooManyFiles];
    (call, 0..6_u64, prop::sample::select(failure)).prop_map(|(call, nth, failure)| {
        // Only calls that open something can be short of handles.
        let opens = matches!(call, SimCall::Create | SimCall::Open | SimCall::SyncDir | SimCall::List);
        let failure = if opens || failure != SimFailure::TooManyFiles { failure } else { SimFailure::Io };
        Failing { call, nth, failure }
    })
}

fn op(with_faults: bool) -> BoxedStrategy<Op> {
    let timestamps = prop::collection::vec(-3..2_000_i64, 1..4);
    let opening = move || {
        let none = Just(None).boxed();
        if with_faults { prop_oneof![none, failing().prop_map(Some)].boxed() } else { none }
    };
    let usual = prop_oneof![
        12 => (timestamps, 0..900_usize)
            .prop_map(|(timestamps, value_bytes)| Op::Append { timestamps, value_bytes }),
        6 => Just(Op::Commit),
        4 => (0..8_usize).prop_map(|steps| Op::BeginRound { steps }),
        3 => Just(Op::FinishRound),
        3 => (0..=100_u64, 1..5_000_u32, any::<bool>())
            .prop_map(|(percent, max_bytes, committed)| Op::Read { percent, max_bytes, committed }),
        2 => (-5..2_005_i64, any::<bool>())
            .prop_map(|(timestamp, committed)| Op::FindTime { timestamp, committed }),
        2 => (0..=100_u64, 0..3_u8).prop_map(|(percent, stop)| Op::DeleteRecords { percent, stop }),
        2 => (prop::option::of(0..9_000_u64), prop::option::of(0..2_000_u64), 0..3_u8)
            .prop_map(|(bytes, ms, stop)| Op::Retention { bytes, ms, stop }),
        2 => Just(Op::RecordMark),
        2 => (any::<u64>(), opening()).prop_map(|(seed, opening)| Op::Crash { seed, opening }),
        1 => opening().prop_map(|opening| Op::Kill { opening }),
        1 => Just(Op::CleanRestart),
        1 => Just(Op::ReleaseIdle),
    ];
    if !with_faults {
        return usual.boxed();
    }
    let fill = (0..3_000_u64).prop_map(|spare_bytes| Op::Fill { spare_bytes });
    prop_oneof![39 => usual, 4 => failing().prop_map(Op::Fail), 1 => fill].boxed()
}

pub fn ops(with_faults: bool) -> impl Strategy<Value = (LogConfig, Vec<Op>)> {
    let durability = prop::sample::select(vec![Durability::Sync, Durability::Sync, Durability::Background]);
    let tail_bytes = prop::sample::select(vec![0, 2_000, 1 << 20]);
    let round_bytes = prop::sample::select(vec![3_000, 1 << 20]);
    let config = (durability, tail_bytes, round_bytes).prop_map(|(durability, tail_bytes, round_bytes)| {
        LogConfig { durability, tail_bytes, round_bytes, ..small_config() }
    });
    (config, prop::collection::vec(op(with_faults), 1..60))
}
