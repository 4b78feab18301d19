//! Runs the checker.

use std::time::Duration;

use stateright::{Checker, HasDiscoveries, Model};

use crate::{Action, Invariant, Rule, Spec, State, removal, symmetry::Reduced};

/// What a run found.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// How many states were generated. States that differ only in the names of the replicas are one.
    pub states: usize,
    /// How many of them were different.
    pub unique: usize,
    /// The length of the longest trace, in states.
    pub depth: usize,
    /// Whether every state was seen.
    pub is_complete: bool,
    /// What broke, and the trace to it.
    pub violation: Option<(Invariant, Vec<Action>)>,
}

fn outcome(model: Reduced, checker: &impl Checker<Reduced>) -> Outcome {
    let found = checker.discoveries().into_iter().filter_map(|(name, path)| {
        let invariant = Invariant::ALL.into_iter().find(|invariant| invariant.name() == name)?;
        Some((invariant, model.trace(&path.into_actions())))
    });
    let violation = found.min_by_key(|(_, actions)| actions.len());
    Outcome {
        states: checker.state_count(),
        unique: checker.unique_state_count(),
        depth: checker.max_depth(),
        is_complete: violation.is_none(),
        violation,
    }
}

/// Goes through every state, or as many as the time allows.
#[must_use]
pub fn exhaust(spec: Spec, threads: usize, at_most: Option<Duration>) -> Outcome {
    let model = Reduced(spec);
    let mut builder = model.checker().threads(threads).finish_when(HasDiscoveries::AnyFailures);
    if let Some(at_most) = at_most {
        builder = builder.timeout(at_most);
    }
    // Depth first keeps few states in memory.
    outcome(model, &builder.spawn_dfs().join())
}

/// Looks for the shortest trace to a violation, on one thread: with more it may not be the shortest.
#[must_use]
pub fn refute(spec: Spec) -> Outcome {
    let model = Reduced(spec);
    let builder = model.checker().finish_when(HasDiscoveries::AnyFailures);
    outcome(model, &builder.spawn_bfs().join())
}

/// The shortest trace that breaks what a rule protects, with only that rule removed.
///
/// `None` when there is none within the rule's bounds ([`removal`]).
#[must_use]
pub fn counterexample(rule: Rule) -> Option<Vec<Action>> {
    refute(removal(rule).spec(rule)).violation.map(|(_, actions)| actions)
}

/// Where a trace leads; `None` where one of its steps is not possible. What breaks there can be asked with
/// [`Invariant::holds`].
#[must_use]
pub fn replay(spec: &Spec, trace: &[Action]) -> Option<State> {
    let mut state = State::default();
    let mut possible = Vec::new();
    for action in trace {
        possible.clear();
        spec.actions(&state, &mut possible);
        state = possible.contains(action).then(|| spec.next_state(&state, *action)).flatten()?;
    }
    Some(state)
}
