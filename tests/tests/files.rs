//! Real input through `logctl produce` and `logctl consume`: what comes out is what went in, with bounded memory.
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may fail loudly, its helpers too"
)]

mod support;

use std::{
    fs::{self, File},
    io::{BufWriter, Write},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use support::{Brokerd, Random, succeed};

/// A broker with one topic of one partition.
struct Setup {
    _dir: tempfile::TempDir,
    home: PathBuf,
    broker: Brokerd,
}

fn setup() -> Setup {
    let (dir, home) = support::scratch();
    let broker = Brokerd::start(&home.join("data"), &[]);
    let setup = Setup { _dir: dir, home, broker };
    succeed(setup.logctl().args(["topic", "create", "t", "-p", "1"]));
    setup
}

impl Setup {
    fn logctl(&self) -> Command {
        self.broker.logctl(&self.home)
    }

    fn file(&self, name: &str, contents: &[u8]) -> PathBuf {
        let path = self.home.join(name);
        fs::write(&path, contents).unwrap();
        path
    }

    /// Produces the file and consumes everything, both with these arguments; returns what came out.
    fn there_and_back(&self, input: &Path, produce: &[&str], consume: &[&str]) -> Vec<u8> {
        succeed(self.logctl().args(["produce", "t"]).args(produce).stdin(File::open(input).unwrap()));
        succeed(self.logctl().args(["consume", "t", "--to", "end"]).args(consume)).stdout
    }
}

#[test]
fn lines_of_every_kind_come_back() {
    let setup = setup();
    let mut input = b"first\n\n\n  spaces \r\n\xff\xfe not UTF-8\nnul \0 inside\n".to_vec();
    // Just below the record limit: max.message.bytes is 1 MiB, and a batch of one record has 61 bytes and a few more.
    input.extend(std::iter::repeat_n(b'x', (1 << 20) - 100));
    input.push(b'\n');
    input.extend(b"last, without a newline");
    let path = setup.file("input", &input);
    let output = setup.there_and_back(&path, &[], &[]);
    input.push(b'\n');
    assert!(output == input, "the last line gets its newline; the others are as they were");
}

#[test]
fn a_line_over_the_limit_is_named_and_nothing_of_it_is_sent() {
    let setup = setup();
    let mut input = b"good\n".to_vec();
    input.extend(std::iter::repeat_n(b'x', 3 << 20));
    input.extend(b"\nnever reached\n");
    let path = setup.file("long.txt", &input);
    let output = setup.logctl().args(["produce", "t"]).arg(&path).output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && stderr.contains("long.txt:2"), "{stderr}");
    let consumed = succeed(setup.logctl().args(["consume", "t", "--to", "end"])).stdout;
    assert_eq!(consumed, b"good\n", "what stood before it was sent, nothing of it or behind it");
}

#[test]
fn binary_comes_back_through_framing_and_through_jsonl() {
    let mut random = Random(0xB1_7E5);
    let mut framed = Vec::new();
    for _ in 0..200 {
        let length = usize::try_from(random.below(5_000)).unwrap();
        framed.extend(u32::try_from(length).unwrap().to_be_bytes());
        framed.extend((0..length).map(|_| random.next().to_le_bytes()[0]));
    }
    let setup = setup();
    let path = setup.file("framed", &framed);
    let format = ["-f", "%V{big32}%v"];
    assert!(setup.there_and_back(&path, &format, &format) == framed, "seed 0xb17e5: length-prefixed values");

    let jsonl = succeed(setup.logctl().args(["consume", "t", "--to", "end", "-f", "jsonl"])).stdout;
    let jsonl = setup.file("jsonl", &jsonl);
    succeed(setup.logctl().args(["topic", "create", "copy", "-p", "1"]));
    succeed(setup.logctl().args(["produce", "copy", "-f", "jsonl"]).arg(&jsonl));
    let copy = succeed(setup.logctl().args(["consume", "copy", "--to", "end"]).args(format)).stdout;
    assert!(copy == framed, "seed 0xb17e5: through jsonl");
}

/// The greatest resident memory of a running process so far, in bytes; `None` once it is gone.
fn peak_bytes(pid: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.split_whitespace().next()?.parse::<u64>().ok().map(|kib| kib * 1024)
}

/// Runs a command to its end and returns the most memory it was seen to take.
fn peak_of(command: &mut Command) -> u64 {
    let mut child = command.spawn().unwrap();
    let mut peak = 0;
    let status = loop {
        peak = peak_bytes(child.id()).unwrap_or(0).max(peak);
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        std::thread::yield_now();
    };
    assert!(status.success(), "{command:?} ended with {status}");
    peak
}

#[test]
fn a_large_file_takes_little_memory_on_either_side() {
    const INPUT_BYTES: u64 = 200_000_000;
    const MEMORY_BYTES_MAX: u64 = 150_000_000;
    let setup = setup();
    let path = setup.home.join("large");
    let mut file = BufWriter::new(File::create(&path).unwrap());
    let mut random = Random(3);
    let mut written = 0;
    while written < INPUT_BYTES {
        let line = format!(
            "{:016x}{:0>width$}\n",
            random.next(),
            "",
            width = usize::try_from(random.below(800)).unwrap()
        );
        file.write_all(line.as_bytes()).unwrap();
        written += line.len() as u64;
    }
    file.flush().unwrap();
    let output = setup.home.join("output");
    let produce =
        peak_of(setup.logctl().args(["produce", "t", "-q"]).stdin(Stdio::from(File::open(&path).unwrap())));
    let consume = peak_of(
        setup.logctl().args(["consume", "t", "--to", "end", "-q"]).stdout(File::create(&output).unwrap()),
    );
    assert!(produce < MEMORY_BYTES_MAX, "produce took {produce} bytes");
    assert!(consume < MEMORY_BYTES_MAX, "consume took {consume} bytes");
    let same = Command::new("cmp").args([&path, &output]).status().unwrap();
    assert!(same.success(), "what came out is not what went in");
}
