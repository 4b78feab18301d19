//! Few files may be open, and many partitions are there.
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may fail loudly, its helpers too"
)]

mod support;

use std::fs;

use support::{Brokerd, succeed};

const PARTITIONS: u32 = 300;
const FILES_MAX: u32 = 128;

/// Open files of a process that are below a directory.
fn open_below(pid: u32, dir: &std::path::Path) -> usize {
    let links = fs::read_dir(format!("/proc/{pid}/fd")).unwrap();
    links
        .filter_map(|link| fs::read_link(link.ok()?.path()).ok())
        .filter(|file| file.starts_with(dir))
        .count()
}

#[test]
fn more_partitions_than_files_that_may_be_open() {
    let (_dir, home) = support::scratch();
    let data = home.join("data");
    let broker = Brokerd::start_with_files(FILES_MAX, &data, &[]);
    let logctl = || broker.logctl(&home);
    succeed(logctl().args(["topic", "create", "t", "-p", &PARTITIONS.to_string()]));
    let input: String = (0..20 * PARTITIONS).map(|n| format!("key-{n}\t{n}\n")).collect();
    fs::write(home.join("input"), &input).unwrap();
    succeed(logctl().args(["produce", "t", "-f", "%k\t%v\n"]).arg(home.join("input")));
    let consumed = succeed(logctl().args(["consume", "t", "--to", "end", "-f", "%k\t%v\n"])).stdout;
    let sorted = |text: &str| {
        let mut lines: Vec<_> = text.lines().map(str::to_owned).collect();
        lines.sort();
        lines
    };
    assert!(sorted(&String::from_utf8(consumed).unwrap()) == sorted(&input), "what was produced can be read");
    assert!(open_below(broker.pid(), &data) < FILES_MAX as usize);
    assert!(broker.terminate().success());

    // No one has asked for anything: only the lock, and what the broker itself writes to, is open.
    for start in ["after a clean stop", "after a kill"] {
        let broker = Brokerd::start_with_files(FILES_MAX, &data, &[]);
        let open = open_below(broker.pid(), &data);
        assert!(open <= 8, "{start}, {open} files are open for {PARTITIONS} idle partitions");
        broker.kill();
    }
}
