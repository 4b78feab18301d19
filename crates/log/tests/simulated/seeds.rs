//! Which seeds run.
//!
//! The same ones every time, so that a failure is a failure for everybody: the corpus of those that once found
//! something, and a range. `LOG_SEED=17` runs one, `LOG_SEEDS=5000` that many instead of the usual number.

use std::fmt::Debug;

use proptest::strategy::Strategy;
use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestError, TestRng, TestRunner};

/// Seeds that found a mistake once, or a deliberate one.
const CORPUS: [u64; 7] = [15, 17, 72, 135, 177, 371, 5_420];

/// The seeds of this run.
pub fn seeds(usual: u64) -> Vec<u64> {
    let number = |variable| std::env::var(variable).ok().and_then(|text| text.parse::<u64>().ok());
    match number("LOG_SEED") {
        Some(seed) => vec![seed],
        None => CORPUS.into_iter().chain(0..number("LOG_SEEDS").unwrap_or(usual)).collect(),
    }
}

/// Runs `test` once for each seed, on what `strategy` draws from it. The first failure is made as small as can be
/// and printed with its seed.
pub fn for_seeds<S: Strategy>(name: &str, usual: u64, strategy: &S, test: impl Fn(u64, S::Value))
where
    S::Value: Debug,
{
    for seed in seeds(usual) {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&seed.to_le_bytes());
        let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
        let config =
            Config { cases: 1, max_shrink_iters: 3_000, failure_persistence: None, ..Config::default() };
        let failed = TestRunner::new_with_rng(config, rng).run(strategy, |drawn| {
            test(seed, drawn);
            Ok::<(), TestCaseError>(())
        });
        if let Err(error) = failed {
            let (reason, drawn) = match error {
                TestError::Abort(reason) => (reason, String::new()),
                TestError::Fail(reason, drawn) => (reason, format!("{drawn:#?}")),
            };
            panic!("{drawn}\n{reason}\n{name} fails with seed {seed}: run it alone with LOG_SEED={seed}");
        }
    }
}
