//! Goes through the models at their full bounds, or looks for what each removed rule breaks.
//!
//! `corduroy-spec partition|metadata|sets|rules`; see `USAGE` for bounds of one's own.

use std::{
    env,
    io::{self, Write as _},
    process::ExitCode,
    time::{Duration, Instant},
};

use corduroy_spec::{Bounds, Invariant, Outcome, Rule, Spec, exhaust, refute, removal};

const THREADS: usize = 2;
const USAGE: &str = "\
usage: corduroy-spec partition [epochs records crashes [replicas]]
       corduroy-spec metadata  [epochs records crashes [changes [replicas [voters]]]]
       corduroy-spec sets
       corduroy-spec rules     [rule [invariant]]";
/// How long a run may take.
const AT_MOST: Duration = Duration::from_secs(15 * 60);

fn print(line: &str) {
    let mut out = io::stdout().lock();
    // A closed pipe ends the output, not the run.
    let _closed = writeln!(out, "{line}").and_then(|()| out.flush());
}

fn describe(name: &str, outcome: &Outcome, seconds: f64) {
    let Outcome { states, unique, depth, is_complete, violation } = outcome;
    let verdict = match violation {
        Some((invariant, actions)) => format!("{invariant} breaks after {} steps", actions.len()),
        None if *is_complete => "nothing found, all states seen".to_owned(),
        None => "nothing found, not all states seen".to_owned(),
    };
    print(&format!("{name}: states={states} unique={unique} depth={depth} seconds={seconds:.1}: {verdict}"));
    for action in violation.iter().flat_map(|(_, actions)| actions) {
        print(&format!("    {action}"));
    }
}

/// Runs one model with all rules; returns whether it held.
fn run(bounds: Bounds) -> bool {
    let started = Instant::now();
    let mut outcome = exhaust(Spec::new(bounds), THREADS, Some(AT_MOST));
    outcome.is_complete &= started.elapsed() < AT_MOST;
    describe(&bounds.to_string(), &outcome, started.elapsed().as_secs_f64());
    outcome.violation.is_none()
}

/// Removes one rule; returns whether that was noticed as expected.
fn remove(rule: Rule, aim: Option<&str>) -> bool {
    let removal = removal(rule);
    let mut spec = removal.spec(rule);
    if let Some(aim) = aim {
        spec.aim = Invariant::ALL.into_iter().find(|invariant| invariant.name() == aim);
    }
    let started = Instant::now();
    let outcome = refute(spec);
    let name = format!("{} without {rule}, {}", rule.number(), removal.bounds);
    describe(&name, &outcome, started.elapsed().as_secs_f64());
    outcome.violation.is_some() == removal.breaks.is_some()
}

/// The partition's models: the first three are what the protocol was asked to hold at, the others go beyond.
fn partitions() -> Vec<Bounds> {
    let beyond = Bounds::partition(3, 1, 1).with_replicas(5);
    let client = Bounds::partition(3, 2, 1).with_a_client();
    let all = [(3, 2, 2), (4, 2, 0), (4, 1, 1), (4, 2, 2), (5, 2, 1)];
    all.map(|(e, r, c)| Bounds::partition(e, r, c)).into_iter().chain([client, beyond]).collect()
}

/// The metadata log's models, then those with changes of its voters.
fn metadata_logs() -> Vec<Bounds> {
    let all = [(2, 2, 1), (3, 1, 1), (3, 2, 0), (3, 2, 2), (4, 2, 1)];
    let changes = [
        Bounds::metadata(2, 2, 1).with_changes(1),
        Bounds::metadata(3, 1, 1).with_changes(1),
        Bounds::metadata(3, 1, 0).with_changes(2),
        Bounds::metadata(3, 0, 0).with_changes(2).with_replicas(4),
        Bounds::metadata(2, 1, 1).with_changes(1).with_replicas(4).with_voters(3),
    ];
    all.map(|(e, r, c)| Bounds::metadata(e, r, c)).into_iter().chain(changes).collect()
}

/// Partitions whose replica set changes: one replica of three moves, one becomes two others, one becomes three, and back.
fn sets() -> Vec<Bounds> {
    let sets = [[0b001, 0b110], [0b001, 0b111], [0b011, 0b110]];
    let small = sets.map(|sets| Bounds::partition(3, 2, 1).with_sets(sets));
    let four = [0b0111, 0b1110];
    let large = [Bounds::partition(2, 1, 1).with_sets(four), Bounds::partition(3, 1, 0).with_sets(four)];
    small.into_iter().chain(large).collect()
}

/// The bounds that the numbers of a command name, or the usual ones.
fn bounds_of(command: &str, numbers: &[u8]) -> Option<Vec<Bounds>> {
    let one = match (command, numbers) {
        ("partition", []) => return Some(partitions()),
        ("metadata", []) => return Some(metadata_logs()),
        ("sets", []) => return Some(sets()),
        ("partition", [e, r, c]) => Bounds::partition(*e, *r, *c),
        ("partition", [e, r, c, replicas]) => Bounds::partition(*e, *r, *c).with_replicas((*replicas).into()),
        ("metadata", [e, r, c]) => Bounds::metadata(*e, *r, *c),
        ("metadata", [e, r, c, changes]) => Bounds::metadata(*e, *r, *c).with_changes(*changes),
        ("metadata", [e, r, c, changes, replicas]) => {
            Bounds::metadata(*e, *r, *c).with_changes(*changes).with_replicas((*replicas).into())
        }
        ("metadata", [e, r, c, changes, replicas, voters]) => {
            let bounds = Bounds::metadata(*e, *r, *c).with_changes(*changes);
            bounds.with_replicas((*replicas).into()).with_voters(*voters)
        }
        _ => return None,
    };
    Some(vec![one])
}

fn main() -> ExitCode {
    let arguments: Vec<_> = env::args().skip(1).collect();
    let words: Vec<_> = arguments.iter().map(String::as_str).collect();
    let held = match words.as_slice() {
        ["rules"] => Rule::ALL.into_iter().filter(|rule| !remove(*rule, None)).count() == 0,
        ["rules", rule, aim @ ..] if aim.len() < 2 => match Rule::named(rule) {
            Some(rule) => remove(rule, aim.first().copied()),
            None => return usage(),
        },
        [command, numbers @ ..] => {
            let numbers: Option<Vec<u8>> = numbers.iter().map(|number| number.parse().ok()).collect();
            let bounds = numbers.and_then(|numbers| bounds_of(command, &numbers));
            let Some(bounds) = bounds.filter(|all| all.iter().all(Bounds::is_possible)) else {
                return usage();
            };
            // Every run is made, also after one that found something.
            bounds.into_iter().filter(|bounds| !run(*bounds)).count() == 0
        }
        [] => return usage(),
    };
    if held { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn usage() -> ExitCode {
    print(USAGE);
    ExitCode::from(2)
}
