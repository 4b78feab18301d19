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

/// The only segment of topic `t`, which is the larger of the two that there are.
fn segment(data: &Path) -> PathBuf {
    let mut found = Vec::new();
    let mut dirs = vec![data.to_path_buf()];
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(dir).unwrap().map(Result::unwrap) {
            match entry.path() {
                path if path.is_dir() => dirs.push(path),
                path if path.extension().is_some_and(|extension| extension == "log") => found.push(path),
                _ => {}
            }
        }
    }
    found
        .into_iter()
        .filter(|path| !path.to_string_lossy().contains("00000000-0000-0000-0000-000000000001"))
        .max()
        .unwrap()
}

/// A byte rots in the last segment; a clean restart, more records, a kill. What was acknowledged behind the damage
/// stays, what it hit is reported, and no offset is given out twice.
#[test]
fn damage_takes_only_what_it_hits_whatever_restarts_follow() {
    let (_dir, home) = support::scratch();
    let data = home.join("data");
    let more = ["--set", "storage.scrub_every=1s"];
    let broker = Brokerd::start(&data, &more);
    succeed(broker.logctl(&home).args(["topic", "create", "t", "-p", "1"]));
    let produce = |broker: &Brokerd, value: &str| {
        let file = home.join("one");
        fs::write(&file, format!("{value}\n")).unwrap();
        succeed(broker.logctl(&home).args(["produce", "t"]).arg(&file));
    };
    let read = |broker: &Brokerd, from: &str| {
        let read = broker
            .logctl(&home)
            .args(["consume", "t", "--from", from, "--to", "end", "-f", "%o=%v "])
            .output()
            .unwrap();
        (
            read.status.success(),
            String::from_utf8(read.stdout).unwrap(),
            String::from_utf8(read.stderr).unwrap(),
        )
    };
    for value in ["a", "b", "c"] {
        produce(&broker, value);
    }
    assert!(broker.terminate().success());
    // The value of the second of three batches of one length.
    let path = segment(&data);
    let mut bytes = fs::read(&path).unwrap();
    let at = bytes.len() * 2 / 3 - 2;
    assert_eq!(bytes[at], b'b');
    bytes[at] ^= 1;
    fs::write(&path, bytes).unwrap();

    let broker = Brokerd::start(&data, &more);
    produce(&broker, "d");
    broker.kill();
    let broker = Brokerd::start(&data, &more);
    produce(&broker, "e");
    assert_eq!(read(&broker, "2"), (true, "2=c 3=d 4=e ".to_owned(), read(&broker, "2").2));
    let (success, before, error) = read(&broker, "start");
    assert!(!success && before == "0=a ", "{before} {error}");
    assert!(error.contains("CORRUPT") || error.contains("damaged"), "{error}");
    assert!(error.contains('2'), "the next good offset is named: {error}");
    let status = loop {
        let status = broker.logctl(&home).args(["status", "-o", "json"]).output().unwrap();
        assert!(matches!(status.status.code(), Some(0 | 9)), "{status:?}");
        let status = String::from_utf8(status.stdout).unwrap();
        // A read or the scrub has found it by now, or will.
        if status.contains("\"damage\"") {
            break status;
        }
    };
    for detail in ["\"topic\":\"t\"", "\"start\":1", "\"end\":2", path.file_name().unwrap().to_str().unwrap()]
    {
        assert!(status.contains(detail), "no {detail} in {status}");
    }
    assert!(status.contains("\"health\":\"DEGRADED\""), "{status}");
    let described = succeed(broker.logctl(&home).args(["topic", "describe", "t"]));
    assert!(String::from_utf8_lossy(&described.stdout).contains("  E1103: "), "{described:?}");

    // The operator gives up what cannot be read, and readers pass over it.
    let recover = |more: &[&str]| {
        broker.logctl(&home).args(["partition", "recover", "t:0"]).args(more).output().unwrap()
    };
    let planned = recover(&["--dry-run", "-o", "json"]);
    assert!(
        planned.status.success() && String::from_utf8_lossy(&planned.stdout).contains("\"end\":2"),
        "{planned:?}"
    );
    assert_eq!(recover(&[]).status.code(), Some(2), "the loss has to be accepted");
    assert_eq!(recover(&["--accept-data-loss"]).status.code(), Some(8), "no one is there to confirm it");
    assert_eq!(read(&broker, "start").1, "0=a ", "nothing has changed by then");
    let recovered = recover(&["--accept-data-loss", "--yes"]);
    assert!(recovered.status.success(), "{recovered:?}");
    let (success, all, error) = read(&broker, "start");
    assert_eq!((success, all.as_str()), (true, "0=a 2=c 3=d 4=e "), "{error}");
    let status = succeed(broker.logctl(&home).args(["status"]));
    assert!(String::from_utf8_lossy(&status.stdout).starts_with("HEALTHY"), "{status:?}");
    broker.kill();
    let broker = Brokerd::start(&data, &more);
    produce(&broker, "f");
    assert_eq!(read(&broker, "start").1, "0=a 2=c 3=d 4=e 5=f ");
}
