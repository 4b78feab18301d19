//! Failing calls and full disks, inside what the log promises to bear: nothing acknowledged is lost, nothing that
//! was not appended is served, and a log that stopped is cut at what was synced.

use corduroy_log::disk::{Kept, SimCall};

use crate::common::small_config;
use crate::ops::{Op, ops};
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
