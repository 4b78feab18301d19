//! Every rule of replication that the code cites is defined in docs/replication.md.

use std::{collections::BTreeSet, fs, path::Path};

use crate::{root, sources};

/// `R` or `V` and a number: the id of a rule. `V4` behind `::` is a Rust path, as in `IpAddr::V4`.
fn rule_ids(line: &str) -> impl Iterator<Item = &str> {
    let is_part = |c: char| c.is_alphanumeric() || c == '_' || c == ':';
    line.split(move |c| !is_part(c)).map(|word| word.trim_end_matches(':')).filter(|word| {
        let number = word.strip_prefix(['R', 'V']).unwrap_or_default();
        !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit())
    })
}

/// The rules that have a row in one of the page's tables.
fn defined() -> BTreeSet<String> {
    let page = fs::read_to_string(root().join("docs/replication.md")).unwrap();
    let first_cells = page.lines().filter_map(|line| line.strip_prefix("| ")?.split(" |").next());
    first_cells.filter(|cell| rule_ids(cell).next() == Some(*cell)).map(str::to_owned).collect()
}

#[test]
fn every_rule_that_is_cited_is_defined() {
    let defined = defined();
    let expected: BTreeSet<_> =
        (1..=21).map(|n| format!("R{n}")).chain((1..=8).map(|n| format!("V{n}"))).collect();
    assert_eq!(defined, expected, "docs/replication.md defines each rule in a row of its own");

    let cites = |path: &Path| path.starts_with(root().join("crates")) || path.ends_with("ARCHITECTURE.md");
    let mut cited = BTreeSet::new();
    let mut undefined = Vec::new();
    for path in sources().into_iter().filter(|path| cites(path)) {
        let text = fs::read_to_string(&path).unwrap_or_default();
        for (number, line) in text.lines().enumerate() {
            for id in rule_ids(line) {
                cited.insert(id.to_owned());
                if !defined.contains(id) {
                    undefined.push(format!("{}:{}: {id}", path.display(), number + 1));
                }
            }
        }
    }
    assert!(cited.contains("R3"), "the search found none of the rules that the code cites: {cited:?}");
    assert!(undefined.is_empty(), "not in docs/replication.md:\n{}", undefined.join("\n"));
}
