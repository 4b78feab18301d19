//! A real `brokerd`, started for a measurement and killed after it.

use std::{
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use crate::Failure;

/// A program that was built next to this one.
///
/// # Errors
/// This program's own path is not known.
pub fn sibling(name: &str) -> Result<PathBuf, Failure> {
    Ok(std::env::current_exe()?.with_file_name(name))
}

/// Processor time that this very process has used, where the system says.
pub fn own_cpu_time() -> Option<Duration> {
    cpu_time("self")
}

fn cpu_time(process: &str) -> Option<Duration> {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    // The name may hold anything, and ends with the last parenthesis; time in user mode and in the kernel are the
    // 12th and 13th field after it.
    let (_, fields) = stat.rsplit_once(')')?;
    let ticks =
        fields.split_whitespace().skip(11).take(2).map(str::parse::<u64>).sum::<Result<u64, _>>().ok()?;
    let a_second = rustix::param::clock_ticks_per_second();
    Some(Duration::from_secs_f64(ticks as f64 / a_second as f64))
}

/// A running broker on free loopback ports.
#[derive(Debug)]
pub struct Brokerd {
    process: Child,
    /// Where it listens.
    pub url: String,
    /// From starting the process to its report that it is ready.
    pub started_in: Duration,
}

impl Brokerd {
    /// Starts one and waits until it is ready.
    ///
    /// # Errors
    /// It cannot be started, or ends at once.
    pub fn start(data_dir: &Path) -> Result<Self, Failure> {
        let began = Instant::now();
        let mut process = Command::new(sibling("bench-brokerd")?)
            .args(["--listen", "127.0.0.1:0", "--set", "listen.http=127.0.0.1:0", "--data-dir"])
            .arg(data_dir)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()?;
        let mut url = None;
        for line in BufReader::new(process.stdout.take().ok_or("no standard output")?).lines() {
            let line = line?;
            if let Some(rest) = line.trim_start().strip_prefix("grpc ") {
                url = rest.split_whitespace().next().map(str::to_owned);
            }
            if line.starts_with("ready in") {
                let url = url.ok_or("the report has no address")?;
                return Ok(Self { process, url, started_in: began.elapsed() });
            }
        }
        Err("brokerd ended before it was ready".into())
    }

    /// Resident memory in bytes, where the system says.
    pub fn resident_bytes(&self) -> Option<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.process.id())).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
        line.split_whitespace().next()?.parse::<u64>().ok().map(|kib| kib * 1024)
    }

    /// Processor time that it has used, of all its threads, where the system says.
    pub fn cpu_time(&self) -> Option<Duration> {
        cpu_time(&self.process.id().to_string())
    }

    /// Open files, sockets included, where the system says.
    pub fn open_files(&self) -> Option<usize> {
        std::fs::read_dir(format!("/proc/{}/fd", self.process.id())).ok().map(Iterator::count)
    }

    /// Stops it cleanly; returns how long that took.
    ///
    /// # Errors
    /// It cannot be asked to, or did not end well.
    pub fn stop(mut self) -> Result<Duration, Failure> {
        let began = Instant::now();
        let pid = rustix::process::Pid::from_child(&self.process);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM)?;
        let status = self.process.wait()?;
        if status.success() {
            Ok(began.elapsed())
        } else {
            Err(format!("brokerd ended with {status}").into())
        }
    }
}

impl Drop for Brokerd {
    fn drop(&mut self) {
        let _already_gone = self.process.kill();
        let _reaped = self.process.wait();
    }
}
