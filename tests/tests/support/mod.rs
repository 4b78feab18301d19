//! Real processes on loopback: started on free ports, killed when dropped.
#![allow(dead_code, unreachable_pub, reason = "each test binary uses its part")]

pub mod crew;
pub mod exactly;
pub mod feed;
pub mod group;
pub mod intact;
pub mod ledger;
pub mod proxy;
pub mod stub;

use std::{
    io::{BufRead, BufReader, Read as _, Write as _},
    net::TcpStream,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
};

pub const BROKERD: &str = env!("CARGO_BIN_EXE_brokerd-under-test");
pub const LOGCTL: &str = env!("CARGO_BIN_EXE_logctl-under-test");

/// A running `brokerd`.
pub struct Brokerd {
    process: Child,
    pub grpc: String,
    pub http: String,
    pub report: String,
}

impl Brokerd {
    /// Starts one on `data_dir` with ports of the system's choice, and waits until it is ready.
    pub fn start(data_dir: &Path, more: &[&str]) -> Self {
        Self::start_by(Command::new(BROKERD), data_dir, more)
    }

    /// As [`Brokerd::start`], with at most `files` open files.
    pub fn start_with_files(files: u32, data_dir: &Path, more: &[&str]) -> Self {
        let mut shell = Command::new("/bin/sh");
        shell.args(["-c", &format!("ulimit -n {files} && exec \"$0\" \"$@\""), BROKERD]);
        Self::start_by(shell, data_dir, more)
    }

    /// As [`Brokerd::start`]; what it says on stderr where it does not start.
    pub fn try_start(data_dir: &Path, more: &[&str]) -> Result<Self, String> {
        let mut command = Command::new(BROKERD);
        command.stderr(Stdio::piped());
        Self::begin(command, data_dir, more).map_err(|(mut process, _)| {
            let _already_gone = process.wait();
            let mut text = String::new();
            let stderr = process.stderr.take().map(|mut stderr| stderr.read_to_string(&mut text));
            stderr.expect("stderr is piped").expect("it is text");
            text
        })
    }

    /// As [`Brokerd::start`], with its log in this file, as JSON.
    pub fn start_logging_to(log: &Path, data_dir: &Path, more: &[&str]) -> Self {
        let mut shell = Command::new("/bin/sh");
        shell.args(["-c", "log=$1; shift; exec \"$0\" \"$@\" 2>\"$log\"", BROKERD]).arg(log);
        Self::start_by(shell, data_dir, more)
    }

    fn start_by(mut command: Command, data_dir: &Path, more: &[&str]) -> Self {
        command.stderr(Stdio::inherit());
        Self::begin(command, data_dir, more)
            .unwrap_or_else(|(_, report)| panic!("brokerd ended before it was ready:\n{report}"))
    }

    /// A broker that is ready, or the process that ends and what it printed.
    fn begin(mut command: Command, data_dir: &Path, more: &[&str]) -> Result<Self, (Child, String)> {
        let mut process = command
            .args(["--listen", "127.0.0.1:0", "--set", "listen.http=127.0.0.1:0"])
            // However full this machine is.
            .args(["--set", "storage.disk_block_watermark=0", "--set", "storage.disk_low_watermark=0"])
            .arg("--data-dir")
            .arg(data_dir)
            .args(more)
            .env_clear()
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("brokerd starts");
        let mut lines = BufReader::new(process.stdout.take().expect("stdout is piped"));
        let mut report = String::new();
        while !report.lines().any(|line| line.starts_with("ready in")) {
            let read = lines.read_line(&mut report).expect("brokerd's report can be read");
            if read == 0 {
                return Err((process, report));
            }
        }
        // Its later output must not fill the pipe.
        std::thread::spawn(move || std::io::copy(&mut lines, &mut std::io::sink()));
        let url = |after: &str| {
            let rest = report.split(after).nth(1).unwrap_or_else(|| panic!("no {after} in:\n{report}"));
            rest.split_whitespace().next().expect("an address").to_owned()
        };
        let (grpc, http) = (url("  grpc "), url("metrics "));
        if let Some(mut stderr) = process.stderr.take() {
            std::thread::spawn(move || std::io::copy(&mut stderr, &mut std::io::sink()));
        }
        Ok(Self { process, grpc, http: http.trim_end_matches("/metrics").to_owned(), report })
    }

    pub fn pid(&self) -> u32 {
        self.process.id()
    }

    /// `kill -9`, and waits until it is gone.
    pub fn kill(mut self) {
        self.process.kill().expect("brokerd can be killed");
        self.process.wait().expect("brokerd can be waited for");
    }

    /// SIGTERM, and waits for its exit status.
    pub fn terminate(mut self) -> std::process::ExitStatus {
        let pid = rustix::process::Pid::from_child(&self.process);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("brokerd can be signalled");
        self.process.wait().expect("brokerd can be waited for")
    }

    /// A `logctl` that talks to this broker, in a home of its own.
    pub fn logctl(&self, home: &Path) -> Command {
        let mut command = logctl(home);
        command.env("LOGCTL_SERVER", &self.grpc);
        command
    }
}

impl Drop for Brokerd {
    fn drop(&mut self) {
        let _already_gone = self.process.kill();
        let _reaped = self.process.wait();
    }
}

/// A `logctl` with nothing of this machine's environment.
pub fn logctl(home: &Path) -> Command {
    let mut command = Command::new(LOGCTL);
    command.env_clear().env("HOME", home).env("XDG_CONFIG_HOME", home.join("config")).stdin(Stdio::null());
    command
}

/// Runs a command that must succeed, and returns what it printed.
pub fn succeed(command: &mut Command) -> Output {
    let output = command.output().expect("it starts");
    assert!(
        output.status.success(),
        "{command:?} ended with {}\nstdout: {}\nstderr: {}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    output
}

/// The answer to a GET of a broker's HTTP listener at this address or URL: status line, headers, body.
pub fn get(http: &str, path: &str) -> String {
    let address = http.trim_start_matches("http://");
    let mut stream = TcpStream::connect(address).expect("the broker listens");
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n").expect("it reads");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("it answers");
    answer
}

/// A directory for one test's files, removed with it.
pub fn scratch() -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let path = dir.path().to_path_buf();
    (dir, path)
}

/// A pseudo-random sequence (SplitMix64): the same seed gives the same numbers everywhere.
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }
}
