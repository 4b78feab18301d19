//! C22: after its faults are healed the cluster serves again, its replicas agree, and the history shows enough to judge.
//!
//! Missing coverage is no violation, but it makes the verdict unknown: a run that did nothing must not pass.

use std::collections::BTreeMap;

use crate::{
    Options,
    finals::Final,
    finding::{Check, Finding, Report, Weight},
    history::Op,
    index::Index,
    line::{Call, End},
    spans::Spans,
};

/// At least one in this many operations during faults has to succeed, or the faults left nothing to check.
const OK_DURING_FAULTS_ONE_IN: u64 = 10;

/// C22.
pub(crate) fn check(index: &Index<'_>, options: &Options, finals: &[Final], report: &mut Report) {
    for panic in &index.history.panics {
        violation(report, || {
            let text = format!("no process panics, and at {} ns one did: {}", panic.at_ns, panic.message);
            Finding::new(Check::Liveness, text)
        });
    }
    faults(index, report);
    let heals = index.ops().filter(|(_, op)| op.call == Call::Heal);
    if let Some(healed_ns) = heals.map(|(_, op)| op.completed_ns).max() {
        serving(index, healed_ns, options.serve_within_ns, report);
        agreement(index, healed_ns, report);
    } else if index.ops().any(|(_, op)| matches!(op.call, Call::Nemesis { .. })) {
        missing(report, || {
            let text = "the faults of a run are healed in the end, and no operation says so";
            Finding::new(Check::Liveness, text.to_owned())
        });
    }
    for ((_, name, _), view) in index.partitions().zip(finals) {
        final_reads(name, view, report);
    }
}

fn violation(report: &mut Report, finding: impl FnOnce() -> Finding) {
    report.add(Check::Liveness, Weight::Violation, finding);
}

fn missing(report: &mut Report, finding: impl FnOnce() -> Finding) {
    report.add(Check::Liveness, Weight::MissingCoverage, || finding().missing());
}

/// Whether a client asked a broker for this.
fn is_request(op: &Op) -> bool {
    matches!(
        op.call,
        Call::Produce { .. } | Call::Fetch { .. } | Call::ListOffsets { .. } | Call::DeleteRecords { .. }
    )
}

fn is_ok(op: &Op) -> bool {
    !matches!(op.end, End::Unknown | End::NotWritten | End::Refused)
}

/// Each fault met a request, and enough of those requests succeeded.
fn faults(index: &Index<'_>, report: &mut Report) {
    let faults: Vec<_> = index.ops().filter(|(_, op)| matches!(op.call, Call::Nemesis { .. })).collect();
    // An end is part of an interval here.
    let interval = |op: &Op| (op.invoked_ns, op.completed_ns.saturating_add(1));
    let requests =
        Spans::new(index.ops().filter(|(_, op)| is_request(op)).map(|(_, op)| interval(op)).collect());
    for (number, fault) in &faults {
        let (from, to) = interval(fault);
        if !requests.touch(from, to) {
            missing(report, || {
                let text = "a fault meets at least one request, and this one met none";
                Finding::new(Check::Liveness, text.to_owned()).ops(&[*number])
            });
        }
    }
    let broken = Spans::new(faults.iter().map(|(_, op)| interval(op)).collect());
    let (mut all, mut ok) = (0_u64, 0_u64);
    for (_, op) in index.ops().filter(|(_, op)| !broken.is_empty() && is_request(op)) {
        let (from, to) = interval(op);
        if broken.touch(from, to) {
            all += 1;
            ok += u64::from(is_ok(op));
        }
    }
    if ok.saturating_mul(OK_DURING_FAULTS_ONE_IN) < all {
        missing(report, || {
            let share = format!("one in {OK_DURING_FAULTS_ONE_IN} requests during faults succeeds");
            Finding::new(Check::Liveness, format!("at least {share}, and here {ok} of {all} did"))
        });
    }
}

/// How the requests of one kind to one partition went since the heal.
#[derive(Clone, Copy, Default)]
struct Serving {
    /// The first attempt: its operation, and when it began.
    asked: Option<(u64, u32)>,
    /// When the first success ended.
    served_ns: Option<u64>,
}

/// Every partition takes a produce and answers a fetch within `within_ns` of the heal, or of the first attempt after it.
fn serving(index: &Index<'_>, healed_ns: u64, within_ns: u64, report: &mut Report) {
    let mut served = vec![[Serving::default(); 2]; index.history.partitions.len()];
    for (number, op) in index.ops().filter(|(_, op)| op.completed_ns >= healed_ns) {
        let kind = match op.call {
            Call::Produce { .. } => 0,
            Call::Fetch { .. } => 1,
            _ => continue,
        };
        let partition = op.partition.and_then(|partition| served.get_mut(partition as usize));
        let Some(serving) = partition.and_then(|kinds| kinds.get_mut(kind)) else { continue };
        let asked = (op.invoked_ns.max(healed_ns), number);
        serving.asked = serving.asked.into_iter().chain([asked]).min();
        if is_ok(op) {
            serving.served_ns = serving.served_ns.into_iter().chain([op.completed_ns]).min();
        }
    }
    for ((_, name, _), kinds) in index.partitions().zip(served) {
        for (what, serving) in ["produce", "fetch"].into_iter().zip(kinds) {
            let Some((asked_ns, op)) = serving.asked else {
                missing(report, || {
                    let text =
                        format!("a {what} is tried on each partition after the heal, and here is none");
                    Finding::new(Check::Liveness, text).partition(name)
                });
                continue;
            };
            let took_ns = serving.served_ns.map(|served_ns| served_ns.saturating_sub(asked_ns));
            if took_ns.is_none_or(|took_ns| took_ns > within_ns) {
                violation(report, || {
                    let took = took_ns.map_or("never".to_owned(), |took_ns| format!("after {took_ns} ns"));
                    let text =
                        format!("a {what} succeeds within {within_ns} ns of the heal, and here {took}");
                    Finding::new(Check::Liveness, text).partition(name).ops(&[op])
                });
            }
        }
    }
}

/// What the last probe of each broker showed: high watermark, hash of the chain, and the probe itself.
type Probes = BTreeMap<Option<u32>, (u64, u64, u32)>;

/// The last probes of all replicas of a partition show one high watermark and one chain of records up to it. A history
/// without probes cannot show that; only a simulator or an operator can look into replicas.
fn agreement(index: &Index<'_>, healed_ns: u64, report: &mut Report) {
    let mut last: BTreeMap<u32, Probes> = BTreeMap::new();
    for moment in index.moments.iter().filter(|moment| moment.is_end && moment.at_ns >= healed_ns) {
        let Some((op, partition)) = index.op(moment.op).and_then(|op| Some((op, op.partition?))) else {
            continue;
        };
        if let End::Probed { high_watermark, chain_hash, .. } = op.end {
            let probe = (high_watermark.get(), chain_hash, moment.op);
            last.entry(partition).or_default().insert(op.node, probe);
        }
    }
    for (partition, probes) in last {
        let probes: Vec<_> = probes.into_values().collect();
        let Some(first) = probes.first() else { continue };
        if probes.iter().any(|probe| (probe.0, probe.1) != (first.0, first.1)) {
            violation(report, || {
                let text =
                    "all replicas have one high watermark after the heal, and the same records up to it";
                let (ops, ends): (Vec<_>, Vec<_>) = probes.iter().map(|probe| (probe.2, probe.0)).unzip();
                let name = index.name(partition);
                Finding::new(Check::Liveness, text.to_owned()).partition(name).offsets(&ends).ops(&ops)
            });
        }
    }
}

/// The final reads of a partition go from its log start to an end that was asked for.
fn final_reads(name: &str, view: &Final, report: &mut Report) {
    let text = match (view.start, view.end) {
        (_, None) => {
            "the end of each partition is asked for in the end, and here no final answer shows it".to_owned()
        }
        (None, Some(_)) => {
            "each partition is read in the end, and here no final answer shows its start".to_owned()
        }
        (Some((start, ..)), Some((end, ..))) => match view.covered.first_gap(start, end) {
            None => return,
            Some(gap) => format!("final reads go from {start} to {end}, and here they leave out {gap}"),
        },
    };
    missing(report, || Finding::new(Check::Liveness, text).partition(name));
}
