//! Calls that fail at any moment, above all while logs are reopened and checkpoints run, with no crash at all: nothing
//! acknowledged is lost, and a crash afterwards finds it too.

use std::sync::Arc;

use corduroy_log::Disk;
use corduroy_log::disk::{Kept, SimCall, SimFailure};

use crate::common::compare;
use crate::data_dir::Node;
use crate::lives::World;
use crate::promise::mixed;
use crate::seeds::seeds;

/// Attempts to reopen while calls fail; then the disk is well again.
const ATTEMPTS: u64 = 4;
/// A disk that is well again needs no more attempts than this.
const ATTEMPTS_MAX: u64 = 12;

fn run(seed: u64) -> Result<(), String> {
    let mut world = World::new(seed);
    world.disk.failed_syncs_keep(if seed.is_multiple_of(2) { Kept::Nothing } else { Kept::Subset { seed } });
    let rounds = 10 + world.below(30);
    for round in 0..rounds {
        world.append_some();
        if world.below(3) == 0 {
            let per_mille = [20, 60, 150][world.below(3) as usize];
            let failure = [SimFailure::Io, SimFailure::Full][world.below(2) as usize];
            let calls: &[SimCall] = match world.below(4) {
                0 => &[SimCall::Write],
                1 => &[SimCall::Sync],
                2 => &[SimCall::Write, SimCall::Sync, SimCall::SetLen, SimCall::SyncDir],
                _ => &SimCall::ALL,
            };
            world.disk.fail_randomly(mixed(seed, round), per_mille, calls, failure);
        }
        let flush_marks = world.below(3) > 0;
        world.commit(flush_marks);
        if world.below(4) == 0 {
            world.node.checkpoint();
        }
        for attempt in 0.. {
            if attempt == ATTEMPTS {
                world.disk.heal();
            }
            if attempt == ATTEMPTS_MAX {
                return Err(format!("round {round}: logs stay stopped on a disk that works"));
            }
            match world.node.reopen(&mut world.epoch) {
                Ok(()) => break,
                // Between two attempts a checkpoint may be made of what the others have.
                Err(_) => {
                    if world.below(2) == 0 {
                        world.node.checkpoint();
                    }
                }
            }
        }
        world.disk.heal();
        check(&mut world, &format!("round {round}"))?;
        if world.below(5) == 0 {
            let forked = world.disk.fork();
            forked.lose_power(Kept::Subset { seed: mixed(seed, round) });
            after_crash(&world, Arc::new(forked), &format!("round {round}, after a crash"))?;
        }
    }
    Ok(())
}

/// What is acknowledged can be read, whatever has failed before.
fn check(world: &mut World, when: &str) -> Result<(), String> {
    for (key, log) in &world.node.logs {
        let Some(promised) = world.promised.get(key) else { continue };
        let end = log.cursors().log_end().get();
        if end < promised.durable_end || !log.damages().is_empty() {
            let (of, damages) = (promised.durable_end, log.damages());
            return Err(format!(
                "{when}: {key:?} ends at {end}, {of} were acknowledged; damages {damages:?}"
            ));
        }
    }
    world.settle();
    for (key, log) in &world.node.logs {
        if let Some(promised) = world.promised.get(key) {
            compare(log, &promised.model);
        }
    }
    Ok(())
}

fn after_crash(world: &World, disk: Arc<dyn Disk>, when: &str) -> Result<(), String> {
    let node = Node::start(disk, false).map_err(|error| format!("{when}: {error}"))?;
    for (key, log) in &node.logs {
        let Some(mut promised) = world.promised.get(key).cloned() else { continue };
        let (end, report) = (log.cursors().log_end().get(), &node.reports[key]);
        if end < promised.durable_end || !report.damages.is_empty() {
            let of = promised.durable_end;
            return Err(format!("{when}: {key:?} ends at {end}, {of} were acknowledged; {report:?}"));
        }
        promised.model.cut(end);
        compare(log, &promised.model);
    }
    Ok(())
}

#[test]
fn calls_that_fail_while_logs_are_reopened_lose_nothing() {
    let mut red = Vec::new();
    for seed in seeds(60) {
        let run = std::panic::catch_unwind(|| run(seed));
        match run {
            Ok(Ok(())) => {}
            Ok(Err(found)) => red.push(format!("LOG_SEED={seed} {found}")),
            Err(_) => red.push(format!("LOG_SEED={seed} stopped, see above")),
        }
    }
    assert!(red.is_empty(), "{} seeds:\n{}", red.len(), red.join("\n"));
}
