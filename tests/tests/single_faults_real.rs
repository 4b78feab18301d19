//! Real brokers on a real directory in which one thing was changed between a stop and a start: nothing acknowledged is
//! missing unless `logctl status` says so.
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "a test may fail loudly, its helpers too"
)]

mod support;

use std::{
    fs,
    path::{Path, PathBuf},
};

use support::{Brokerd, Random, intact, logctl};

/// All files of the data directory but its lock.
fn files(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).unwrap().map(Result::unwrap) {
        match entry.path() {
            path if path.is_dir() => files(&path, found),
            path if path.ends_with("LOCK") || fs::metadata(&path).unwrap().len() == 0 => {}
            path => found.push(path),
        }
    }
    found.sort();
}

/// Changes one file, drawn from `random`; says how.
fn strike(data: &Path, random: &mut Random) -> (PathBuf, String) {
    let mut all = Vec::new();
    files(data, &mut all);
    let path = all[random.below(all.len() as u64) as usize].clone();
    let mut bytes = fs::read(&path).unwrap();
    let at = random.below(bytes.len() as u64) as usize;
    let how = match random.below(4) {
        0 => {
            fs::remove_file(&path).unwrap();
            return (path, "removed".to_owned());
        }
        1 => {
            bytes.truncate(at);
            format!("cut at {at}")
        }
        _ => {
            bytes[at] ^= 1 << random.below(8);
            format!("a bit of byte {at} flipped")
        }
    };
    fs::write(&path, bytes).unwrap();
    (path, how)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_changed_file_loses_nothing_without_a_finding() {
    let number = |name| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let seeds =
        number("FAULT_SEED").map_or_else(|| 0..number("FAULT_SEEDS").unwrap_or(6), |seed| seed..seed + 1);
    for seed in seeds {
        let mut random = Random(seed);
        let (_dir, home) = support::scratch();
        let data = home.join("data");
        let broker = Brokerd::start(&data, &[]);
        let mut acknowledged = intact::fill(&broker.grpc, seed).await;
        // Takes all durable marks along.
        intact::create(&broker.grpc, &mut acknowledged, "last").await;
        let clean = random.below(2) == 0;
        if clean {
            assert!(broker.terminate().success())
        } else {
            broker.kill()
        }
        let (path, how) = strike(&data, &mut random);
        let what = format!("FAULT_SEED={seed} clean {clean}: {} {how}", path.display());
        let broker = match Brokerd::try_start(&data, &[]) {
            Ok(broker) => broker,
            Err(error) => {
                let leads_on =
                    ["restore", "logctl", "put the journal"].iter().any(|word| error.contains(word));
                assert!(leads_on, "{what}: {error}");
                continue;
            }
        };
        let mut seen = intact::read_all(&broker.grpc).await;
        let mut status = logctl(&home);
        status.env("LOGCTL_SERVER", &broker.grpc).args(["status", "-o", "json"]);
        let status = String::from_utf8(status.output().unwrap().stdout).unwrap();
        // What an operator sees, instead of what the broker says it found.
        if status.contains("\"health\":\"HEALTHY\"") {
            seen.findings.clear();
        }
        assert_eq!(intact::violations(&acknowledged, &seen), Vec::<String>::new(), "{what}: {status}");
    }
}
