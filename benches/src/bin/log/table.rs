//! Markdown tables, printed row by row, and numbers for people.

/// Prints a heading and the head of a table.
pub(crate) fn head(title: &str, columns: &[&str]) {
    println!("\n## {title}\n");
    row(columns.iter().map(|column| (*column).to_owned()));
    row(columns.iter().map(|_| "---".to_owned()));
}

/// Prints one row.
pub(crate) fn row(cells: impl IntoIterator<Item = String>) {
    let cells: Vec<String> = cells.into_iter().collect();
    println!("| {} |", cells.join(" | "));
}

/// A whole number with its thousands apart.
pub(crate) fn whole(number: f64) -> String {
    let digits = format!("{:.0}", number.max(0.0));
    let mut apart = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            apart.push(',');
        }
        apart.push(digit);
    }
    apart
}

/// A number with two decimals.
pub(crate) fn two(number: f64) -> String {
    format!("{number:.2}")
}

/// A size, as short as it is exact.
pub(crate) fn size(bytes: u64) -> String {
    match bytes {
        bytes if bytes >= 1 << 20 && bytes.is_multiple_of(1 << 20) => format!("{} MiB", bytes >> 20),
        bytes if bytes >= 1 << 10 && bytes.is_multiple_of(1 << 10) => format!("{} KiB", bytes >> 10),
        bytes => format!("{bytes} B"),
    }
}
