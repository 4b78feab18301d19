//! Consumer groups on one node, with nothing but the generated stubs on the other side: what groups cost in memory, what
//! members cost that only stay, how fast a killed broker has its groups again, and how many positions it commits.
//!
//! `cargo run --release -p corduroy-benches --bin groups -- [SUITE..] [--groups N] [--runs N] [--seconds N]`
//!
//! Suites: `hold` and `commit`; both when none is named. Groups have 10 members each, which share 100 partitions. Files
//! go under `TMPDIR`: to measure a disk, it has to be on it.

mod commit;
mod crowd;
mod hold;
mod member;

use std::time::Duration;

use corduroy_benches::Failure;

/// How much is measured.
#[derive(Clone, Copy, Debug)]
struct Effort {
    groups: usize,
    runs: usize,
    time: Duration,
}

fn main() -> Result<(), Failure> {
    let mut effort = Effort { groups: 1_000, runs: 3, time: Duration::from_secs(15) };
    let mut wanted = Vec::new();
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let mut number = || -> Result<u32, Failure> {
            Ok(arguments.next().ok_or_else(|| format!("{argument} needs a number"))?.parse()?)
        };
        match argument.as_str() {
            "--groups" => effort.groups = usize::try_from(number()?)?,
            "--runs" => effort.runs = usize::try_from(number()?)?,
            "--seconds" => effort.time = Duration::from_secs(number()?.into()),
            "hold" | "commit" => wanted.push(argument),
            _ => return Err(format!("there is no suite {argument:?}; suites are hold and commit").into()),
        }
    }
    let is_wanted = |suite| wanted.is_empty() || wanted.iter().any(|wanted| wanted == suite);
    let runtime = tokio::runtime::Runtime::new()?;
    if is_wanted("hold") {
        runtime.block_on(hold::suite(effort))?;
    }
    if is_wanted("commit") {
        runtime.block_on(commit::suite(effort))?;
    }
    Ok(())
}
