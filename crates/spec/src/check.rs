//! Runs the checker.

use std::time::Duration;

use stateright::{Checker, HasDiscoveries, Model};

use crate::{Action, Invariant, Rule, Spec, removal};

/// What a run found.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// How many states were generated.
    pub states: usize,
    /// How many of them were different.
    pub unique: usize,
    /// The length of the longest trace.
    pub depth: usize,
    /// Whether every state was seen.
    pub is_complete: bool,
    /// What broke, and the trace to it.
    pub violation: Option<(Invariant, Vec<Action>)>,
}

fn outcome(checker: &impl Checker<Spec>, is_complete: bool) -> Outcome {
    let mut found: Vec<_> = checker
        .discoveries()
        .into_iter()
        .filter_map(|(name, path)| {
            let invariant = Invariant::ALL.into_iter().find(|invariant| invariant.name() == name)?;
            Some((invariant, path.into_actions()))
        })
        .collect();
    found.sort_by_key(|(_, actions)| actions.len());
    Outcome {
        states: checker.state_count(),
        unique: checker.unique_state_count(),
        depth: checker.max_depth(),
        is_complete: is_complete && found.is_empty(),
        violation: found.into_iter().next(),
    }
}

/// Goes through every state, or as many as the time allows. States that differ only in the names of the replicas are one.
#[must_use]
pub fn exhaust(spec: Spec, threads: usize, at_most: Option<Duration>) -> Outcome {
    let mut builder = spec.checker().threads(threads).finish_when(HasDiscoveries::AnyFailures);
    if let Some(at_most) = at_most {
        builder = builder.timeout(at_most);
    }
    let checker = builder.symmetry().spawn_dfs().join();
    outcome(&checker, true)
}

/// Looks for the shortest trace to a violation.
#[must_use]
pub fn refute(spec: Spec, threads: usize) -> Outcome {
    let builder = spec.checker().threads(threads).finish_when(HasDiscoveries::AnyFailures);
    let checker = builder.spawn_bfs().join();
    outcome(&checker, true)
}

/// The shortest trace that breaks what a rule protects, with only that rule removed.
///
/// `None` when there is none within the rule's bounds ([`removal`]).
#[must_use]
pub fn counterexample(rule: Rule) -> Option<Vec<Action>> {
    let spec = removal(rule).spec(rule);
    refute(spec, 1).violation.map(|(_, actions)| actions)
}
