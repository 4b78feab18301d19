//! Writes a large legal history to standard output, to measure the checker with: `generate OPERATIONS [SEED]`.
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    dead_code,
    reason = "a program for measurements, with a model that tests use too"
)]

#[path = "../tests/support/model/mod.rs"]
mod model;

use std::{env, io};

fn main() -> io::Result<()> {
    let mut numbers = env::args().skip(1).map(|word| word.parse::<u64>().expect("a number"));
    let (ops, seed) = (numbers.next().expect("how many operations?"), numbers.next().unwrap_or(1));
    let (history, reached) = model::generate(seed, usize::try_from(ops).expect("a number that fits"));
    eprintln!("{} operations; {reached:?}", history.ops.len());
    corduroy_checker::write(&history, io::BufWriter::new(io::stdout().lock()))?;
    Ok(())
}
