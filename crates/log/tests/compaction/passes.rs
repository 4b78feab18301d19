//! Any appends and any passes, with reads and appends going on: what is left is what the model leaves.

use corduroy_batch::Compression;
use corduroy_types::Offset;
use proptest::prelude::*;

use crate::common::{new_disk, open};
use crate::model::{Limits, Model, Put, append, commit, compare, config, perform, plan, read};

#[derive(Clone, Debug)]
enum Op {
    Append { puts: Vec<Put>, codec: Compression },
    Wait { ms: i64 },
    Pass(Limits),
    Reopen { clean: bool },
}

fn put() -> impl Strategy<Value = Put> {
    (0_u8..30, 0_u8..10)
        .prop_map(|(key, kind)| Put { key: (kind != 9).then_some(key), value: !(5..8).contains(&kind) })
}

fn op() -> impl Strategy<Value = Op> {
    let codec = prop::sample::select(vec![Compression::None, Compression::Lz4, Compression::Snappy]);
    let limits = (prop::sample::select(vec![24_u64 * 2, 24 * 9, 24 * 20, 1 << 20]), 200_u64..4_000);
    prop_oneof![
        12 => (prop::collection::vec(put(), 1..12), codec).prop_map(|(puts, codec)| Op::Append { puts, codec }),
        2 => (0_i64..1_500).prop_map(|ms| Op::Wait { ms }),
        3 => limits.prop_map(|(map_bytes, step_bytes)| Op::Pass(Limits { map_bytes, step_bytes })),
        1 => any::<bool>().prop_map(|clean| Op::Reopen { clean }),
    ]
}

fn run(ops: &[Op]) {
    let disk = new_disk();
    let config = config();
    let (mut log, _) = open(&disk, config, false);
    let (mut model, mut now, mut seed) = (Model::default(), 1_000_000_i64, 0);
    for op in ops {
        seed += 1;
        match op {
            Op::Append { puts, codec } => {
                append(&mut log, &mut model, puts, *codec, seed, now);
                commit(&mut log, &disk).unwrap();
            }
            Op::Wait { ms } => now += ms,
            Op::Pass(limits) => {
                let Some(pass) = plan(&log, now, *limits) else { continue };
                let start = pass.range().start;
                let before = model.clone();
                let mut old_reads = Vec::new();
                let end = perform(&mut log, &disk, pass, *limits, |log| {
                    seed += 1;
                    // Appends and reads go on. What is read is what was there before, or will be.
                    let puts = [Put { key: Some((seed % 30) as u8), value: seed % 3 != 0 }];
                    append(log, &mut model, &puts, Compression::None, seed, now);
                    commit(log, &disk).unwrap();
                    let from = seed * 7 % log.cursors().log_end().get();
                    let there = read(log, from, 700, seed % 2 == 0);
                    assert!(there.iter().all(|(at, record)| model.all[at] == *record));
                    if seed % 4 == 0 {
                        let everything = read(log, 0, 1 << 20, false);
                        assert_eq!(Model::replay(&everything), Model::replay(&model.all));
                    }
                    let end = log.cursors().log_end();
                    old_reads.push(log.plan_read(Offset::new(from).unwrap(), 1 << 20, end).unwrap());
                });
                let end = end.unwrap().get();
                assert!(end > start.get(), "no progress from {start}");
                assert_eq!(log.compacted_end().get(), end);
                assert!(before.all.keys().next_back().is_none_or(|last| end <= *last + 1));
                model.compact(end, now);
                // Plans that were made before are performed after.
                for plan in old_reads {
                    let read = plan.perform().unwrap();
                    assert!(!read.bytes.is_empty());
                }
            }
            Op::Reopen { clean } => {
                if *clean {
                    log.close().unwrap();
                }
                let (reopened, report) = open(&disk, config, *clean);
                assert_eq!((report.damages, report.cut), (vec![], None));
                log = reopened;
            }
        }
        compare(&log, &model);
        assert_eq!(Model::replay(&model.kept), Model::replay(&model.all), "the model itself");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]
    #[test]
    fn what_is_left_is_what_the_model_leaves(ops in prop::collection::vec(op(), 1..50)) {
        run(&ops);
    }
}
