//! Figures of several runs, and their medians.

use std::fmt;

/// The middle of some numbers (the mean of the two middle ones for an even count); 0 for none.
pub fn median(numbers: &[f64]) -> f64 {
    let mut sorted = numbers.to_vec();
    sorted.sort_by(f64::total_cmp);
    let at = |index: usize| sorted.get(index).copied().unwrap_or(0.0);
    match sorted.len() {
        0 => 0.0,
        count if count % 2 == 1 => at(count / 2),
        count => f64::midpoint(at(count / 2 - 1), at(count / 2)),
    }
}

/// One thing measured several times.
#[derive(Debug, Default)]
pub struct Figures {
    name: String,
    unit: &'static str,
    values: Vec<f64>,
}

impl Figures {
    /// Nothing measured yet.
    pub fn new(name: impl Into<String>, unit: &'static str) -> Self {
        Self { name: name.into(), unit, values: Vec::new() }
    }

    /// Adds one run.
    pub fn add(&mut self, value: f64) {
        self.values.push(value);
    }

    /// The median of all runs.
    pub fn median(&self) -> f64 {
        median(&self.values)
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let least = self.values.iter().copied().fold(f64::INFINITY, f64::min);
        let most = self.values.iter().copied().fold(0.0, f64::max);
        write!(
            f,
            "{:<46} median {:>9.2} {:<10} (least {least:.2}, most {most:.2}, {} runs)",
            self.name,
            self.median(),
            self.unit,
            self.values.len()
        )
    }
}
