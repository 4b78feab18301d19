//! Failing calls and full disks, inside what the log promises to bear: nothing acknowledged is lost, nothing that
//! was not appended is served, and a log that stopped is cut at what was synced.

use corduroy_log::LogConfig;
use corduroy_log::disk::{Kept, SimCall, SimFailure};

use crate::common::small_config;
use crate::ops::{Failing, Op, ops};
use crate::probing::Probing;
use crate::promise::open;
use crate::seeds::for_seeds;
use crate::world::World;

#[test]
fn failing_calls_lose_nothing_that_was_acknowledged() {
    for_seeds("faults::failing_calls", 300, &ops(true), |seed, (config, ops)| {
        let mut world = World::new(config);
        world.disk.failed_syncs_keep(if seed % 2 == 0 { Kept::Nothing } else { Kept::Subset { seed } });
        Probing { seed, one_in: 25, subsets: 1 }.watch(&world);
        world.run(&ops);
        world.disk.watch(None);
    });
}

/// These tests must notice a sync that does nothing: here the disk lies, and records have to vanish.
#[test]
fn a_lying_disk_is_noticed() {
    for call in [SimCall::Sync, SimCall::SyncDir] {
        let mut world = World::new(small_config());
        world.disk.ignore_syncs(call);
        let append = |timestamp| Op::Append { timestamps: vec![timestamp], value_bytes: 900 };
        world.run(&(0..30).flat_map(|n| [append(n), Op::Commit]).collect::<Vec<_>>());
        world.disk.crash();
        let durable_end = world.promise.lock().durable_end;
        let (log, report) = open(&world.disk, small_config(), None);
        let lost = log.cursors().log_end().get() < durable_end || !report.damages.is_empty();
        assert!(lost, "{call:?} is never needed");
    }
}

/// A failed round may have made many segments, and the cut that removes them may itself be cut short anywhere.
#[test]
fn a_cut_of_many_segments_leaves_no_hole() {
    for nth in 0..14 {
        let config = LogConfig { round_bytes: 1 << 20, ..small_config() };
        let mut world = World::new(config);
        let append = |timestamp| Op::Append { timestamps: vec![timestamp], value_bytes: 900 };
        world.run(&[append(0), append(1), Op::Commit, Op::RecordMark]);
        Probing { seed: nth, one_in: 1, subsets: 4 }.watch(&world);
        let failing = Op::Fail(Failing { call: SimCall::Sync, nth, failure: SimFailure::Io });
        let round = (2..18).map(append).chain([failing, Op::Commit]).collect::<Vec<_>>();
        world.run(&round);
        world.disk.watch(None);
    }
}
