//! The log at its own face, each figure next to what the raw disk does for the same pattern in the same run.
//!
//! `cargo run --release -p corduroy-benches --bin log -- [SUITE..] [--rounds N] [--quick]`
//!
//! Suites: `append`, `background`, `read`, `recovery`, `compaction`; all of them when none is named. Every figure is
//! the median of N rounds (3), a ratio the median of the rounds' ratios. Files go under `TMPDIR`: to measure a disk, it
//! has to be on it. `--quick` measures next to nothing, to see that everything works.

mod append;
mod commit;
mod compaction;
mod data_dir;
mod load;
mod raw;
mod read;
mod recovery;
mod table;

use corduroy_benches::Failure;

/// How much is measured.
#[derive(Clone, Copy, Debug)]
struct Effort {
    rounds: usize,
    quick: bool,
}

impl Effort {
    /// `full`, or little of it.
    fn scaled(self, full: u64) -> u64 {
        if self.quick { full.div_ceil(16) } else { full }
    }
}

type Suite = fn(Effort) -> Result<(), Failure>;

const SUITES: [(&str, Suite); 5] = [
    ("append", append::with_sync),
    ("background", append::background),
    ("read", read::suite),
    ("recovery", recovery::suite),
    ("compaction", compaction::suite),
];

fn main() -> Result<(), Failure> {
    let mut effort = Effort { rounds: 3, quick: false };
    let mut wanted = Vec::new();
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--rounds" => effort.rounds = arguments.next().ok_or("--rounds needs a number")?.parse()?,
            "--quick" => effort = Effort { rounds: 1, quick: true },
            name => match SUITES.iter().find(|(suite, _)| *suite == name) {
                Some((_, suite)) => wanted.push(*suite),
                None => {
                    let names = SUITES.map(|(name, _)| name).join(", ");
                    return Err(format!("there is no suite {name:?}; suites are {names}").into());
                }
            },
        }
    }
    if wanted.is_empty() {
        wanted.extend(SUITES.map(|(_, suite)| suite));
    }
    if let Ok(load) = std::fs::read_to_string("/proc/loadavg") {
        println!("Load average at the start: {load}");
    }
    wanted.into_iter().try_for_each(|suite| suite(effort))
}
