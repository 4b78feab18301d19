//! Any operations in any order, and the power going between any two disk calls of them.

use corduroy_log::LogConfig;
use corduroy_types::Durability;

use crate::common::small_config;
use crate::ops::{Failing, Op, ops};
use crate::probing::Probing;
use crate::seeds::for_seeds;
use crate::world::World;

fn run(config: LogConfig, ops: &[Op], probing: Probing) {
    let mut world = World::new(config);
    probing.watch(&world);
    world.run(ops);
    world.disk.watch(None);
}

#[test]
fn any_operations_in_any_order_keep_what_was_promised() {
    for_seeds("crashes::any_operations_in_any_order", 250, &ops(false), |seed, (config, ops)| {
        run(config, &ops, Probing { seed, one_in: 12, subsets: 1 });
    });
}

/// Appends, rolls, deletes, retains, restarts: what happens to every log.
fn script() -> Vec<Op> {
    let mut ops = Vec::new();
    for round in 0..10_i64 {
        let append = |timestamp| Op::Append { timestamps: vec![timestamp, 5], value_bytes: 500 };
        ops.extend([append(round * 100), append(round * 100 + 1), append(round * 100), Op::Commit]);
        ops.extend(match round {
            2 => vec![Op::DeleteRecords { percent: 50, stop: 2 }],
            3 => vec![Op::RecordMark, append(3), Op::BeginRound { steps: 1 }, append(4), Op::FinishRound],
            5 => vec![Op::Retention { bytes: None, ms: Some(1_750), stop: 2 }],
            6 => vec![Op::CleanRestart],
            7 => vec![Op::Crash { seed: 7, opening: None }],
            8 => vec![Op::DeleteRecords { percent: 100, stop: 2 }],
            _ => vec![],
        });
    }
    ops.extend([Op::CleanRestart, Op::Kill { opening: None::<Failing> }]);
    ops
}

#[test]
fn between_any_two_calls_the_power_may_go() {
    for (seed, durability) in [(1, Durability::Sync), (2, Durability::Background)] {
        for round_bytes in [3_000, 1 << 20] {
            let config = LogConfig { durability, round_bytes, ..small_config() };
            run(config, &script(), Probing { seed, one_in: 1, subsets: 4 });
        }
    }
}
