//! Goes through the models at their full bounds, or looks for what each removed rule breaks.
//!
//! `corduroy-spec partition|metadata [epochs records crashes [changes]]`, `corduroy-spec rules [rule]`.

use std::{
    env,
    io::{self, Write as _},
    process::ExitCode,
    time::{Duration, Instant},
};

use corduroy_spec::{Bounds, Invariant, Outcome, Rule, Spec, exhaust, refute, removal};

const THREADS: usize = 2;
const USAGE: &str =
    "usage: corduroy-spec partition|metadata [epochs records crashes [changes]] | rules [rule] [invariant|any]";
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

fn main() -> ExitCode {
    let arguments: Vec<_> = env::args().skip(1).collect();
    let words: Vec<_> = arguments.iter().map(String::as_str).collect();
    let numbers: Vec<u8> = words.iter().skip(1).filter_map(|word| word.parse().ok()).collect();
    let bounds = |default: &[[u8; 4]], of: fn(u8, u8, u8) -> Bounds| -> Vec<Bounds> {
        let default = default.iter().map(|[e, r, c, changes]| of(*e, *r, *c).with_changes(*changes));
        match *numbers.as_slice() {
            [epochs, records, crashes] => vec![of(epochs, records, crashes)],
            [epochs, records, crashes, changes] => {
                vec![of(epochs, records, crashes).with_changes(changes)]
            }
            [epochs, records, crashes, changes, replicas] => {
                vec![of(epochs, records, crashes).with_changes(changes).with_replicas(replicas.into())]
            }
            [epochs, records, crashes, changes, replicas, voters] => {
                let bounds = of(epochs, records, crashes).with_changes(changes);
                vec![bounds.with_replicas(replicas.into()).with_voters(voters)]
            }
            _ => default.collect(),
        }
    };
    let partition = [[3, 2, 2, 0], [4, 2, 0, 0], [4, 1, 1, 0]];
    let metadata = [[2, 2, 1, 0], [3, 1, 1, 0], [3, 2, 0, 0], [2, 1, 1, 1]];
    let held = match words.first() {
        Some(&"partition") => {
            bounds(&partition, Bounds::partition).into_iter().map(run).filter(|held| !held).count() == 0
        }
        Some(&"metadata") => {
            bounds(&metadata, Bounds::metadata).into_iter().map(run).filter(|held| !held).count() == 0
        }
        Some(&"sets") => {
            let sets = [[0b0111, 0b1110], [0b001, 0b110], [0b001, 0b111], [0b011, 0b110]];
            let of = |sets| Bounds::partition(numbers[0], numbers[1], numbers[2]).with_sets(sets);
            sets.into_iter().filter(|sets| !run(of(*sets))).count() == 0
        }
        Some(&"rules") => {
            let wanted = words.get(1).and_then(|name| Rule::named(name));
            let rules = Rule::ALL.into_iter().filter(|rule| wanted.is_none_or(|wanted| wanted == *rule));
            rules.filter(|rule| !remove(*rule, words.get(2).copied())).count() == 0
        }
        _ => {
            print(USAGE);
            return ExitCode::from(2);
        }
    };
    if held { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
