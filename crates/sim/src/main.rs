//! `corduroy-sim`: runs seeds, and says what they found.

use std::io::Write as _;
use std::process::ExitCode;

use clap::Parser;
use corduroy_sim::{Coverage, Rule, Settings, run};

/// Runs clusters of replicas on simulated disks and a simulated network, one for each seed.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    /// How many seeds to run.
    #[arg(long, default_value_t = 100)]
    seeds: u64,
    /// The first one. A failure names its seed: --from SEED --seeds 1 runs it again.
    #[arg(long, default_value_t = 0)]
    from: u64,
    /// Brokers; by default 3, and 5 in every third seed.
    #[arg(long)]
    brokers: Option<usize>,
    /// Break this rule on purpose; some seed must fail then.
    #[arg(long, value_parser = parse_rule)]
    without: Option<Rule>,
}

fn parse_rule(name: &str) -> Result<Rule, String> {
    let names = Rule::ALL.map(Rule::name).join(", ");
    Rule::ALL.into_iter().find(|rule| rule.name() == name).ok_or_else(|| format!("it is none of {names}"))
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let mut out = std::io::stdout().lock();
    let (mut total, mut failed) = (Coverage::default(), 0_u64);
    for seed in arguments.from..arguments.from.saturating_add(arguments.seeds) {
        let mut settings = Settings::of_seed(seed);
        settings.brokers = arguments.brokers.unwrap_or(settings.brokers);
        settings.broken = arguments.without;
        let outcome = run(seed, settings);
        total.add(&outcome.coverage);
        if let Some(failure) = &outcome.failure {
            failed += 1;
            // Nothing is lost where no one reads it.
            let _closed = writeln!(out, "seed {seed} failed: {failure}");
        }
        if (seed + 1 - arguments.from).is_multiple_of(100) {
            let _closed = writeln!(out, "{} seeds, {failed} failed", seed + 1 - arguments.from);
        }
    }
    let seeds = arguments.seeds.max(1);
    let faults = total.fault_us as f64 / (seeds as f64 * 60_000_000.0);
    let _closed = writeln!(
        out,
        "{} seeds, {failed} failed; in each on average {} records acknowledged and {faults:.1} faults at a time; {total:?}",
        arguments.seeds,
        total.acknowledged / seeds,
    );
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
