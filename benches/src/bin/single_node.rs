//! One node as its users meet it: start, idle memory, a file in and out through `logctl`, and a send-await loop;
//! each next to what the raw disk does for the same bytes in the same run.
//!
//! `cargo run --release -p corduroy-benches --bin single-node -- [MB] [RUNS]`

use std::{
    fs::File,
    io::Write,
    path::Path,
    process::{Command, Stdio},
    time::Instant,
};

use corduroy_benches::{Brokerd, Failure, Figures, raw_appends, raw_latency, sibling};
use corduroy_client::{Client, Record};

const SENDS: u32 = 500;
const LINE_BYTES: usize = 100;

fn main() -> Result<(), Failure> {
    let mut arguments = std::env::args().skip(1).map(|argument| argument.parse::<usize>());
    let megabytes = arguments.next().transpose()?.unwrap_or(300);
    let runs = arguments.next().transpose()?.unwrap_or(5);
    let dir = tempfile::tempdir()?;
    start_and_memory(dir.path(), runs)?;
    file_in_and_out(dir.path(), megabytes * 1_000_000, runs)?;
    send_await(dir.path(), runs)
}

/// An empty broker: the first start makes its directory, so only later ones count.
fn start_and_memory(dir: &Path, runs: usize) -> Result<(), Failure> {
    let data = dir.join("empty");
    drop(Brokerd::start(&data)?);
    let mut start = Figures::new("start of an empty broker", "ms");
    let mut memory = Figures::new("idle resident memory", "MB");
    for _ in 0..runs.max(5) {
        let broker = Brokerd::start(&data)?;
        start.add(broker.started_in.as_secs_f64() * 1e3);
        std::thread::sleep(std::time::Duration::from_secs(1));
        memory.add(broker.resident_bytes().ok_or("no /proc")? as f64 / 1e6);
    }
    println!("{start}\n{memory}");
    Ok(())
}

fn file_in_and_out(dir: &Path, bytes: usize, runs: usize) -> Result<(), Failure> {
    let input = dir.join("input");
    write_lines(&input, bytes)?;
    let mut raw = Figures::new("raw disk, 1 MiB appends with sync", "MB/s");
    let mut produce = Figures::new("logctl produce, one partition, sync", "MB/s");
    let mut records = Figures::new("  the same in records", "records/s");
    let mut ratio = Figures::new("  the same by the raw disk before it", "ratio");
    let mut consume = Figures::new("logctl consume, page cache", "MB/s");
    for run in 0..runs {
        let raw_rate = bytes as f64 / 1e6 / raw_appends(&dir.join("raw"), bytes, 1 << 20)?.as_secs_f64();
        let data = dir.join(format!("data-{run}"));
        let broker = Brokerd::start(&data)?;
        logctl(&broker, &["topic", "create", "bench", "-p", "1", "-q"], None)?;
        let in_seconds = logctl(&broker, &["produce", "bench", "-q", &input.to_string_lossy()], None)?;
        let out_seconds =
            logctl(&broker, &["consume", "bench", "--to", "end", "-q"], Some(&dir.join("output")))?;
        let sizes = (std::fs::metadata(&input)?.len(), std::fs::metadata(dir.join("output"))?.len());
        if sizes.0 != sizes.1 {
            return Err(format!("{} bytes went in and {} came out", sizes.0, sizes.1).into());
        }
        let rate = bytes as f64 / 1e6 / in_seconds;
        raw.add(raw_rate);
        produce.add(rate);
        records.add((bytes / LINE_BYTES) as f64 / in_seconds);
        ratio.add(rate / raw_rate);
        consume.add(bytes as f64 / 1e6 / out_seconds);
        drop(broker);
        std::fs::remove_dir_all(&data)?;
    }
    println!("{raw}\n{produce}\n{records}\n{ratio}\n{consume}");
    Ok(())
}

/// Lines of 100 bytes, all different.
fn write_lines(path: &Path, bytes: usize) -> Result<(), Failure> {
    let mut file = std::io::BufWriter::new(File::create(path)?);
    for line in 0..bytes / LINE_BYTES {
        writeln!(file, "{line:012} {:0>86}", line.wrapping_mul(2_654_435_761) % 1_000_000_007)?;
    }
    Ok(file.into_inner()?.sync_all()?)
}

/// Runs `logctl` and returns its seconds, process start included.
fn logctl(broker: &Brokerd, arguments: &[&str], output: Option<&Path>) -> Result<f64, Failure> {
    let stdout = match output {
        Some(path) => Stdio::from(File::create(path)?),
        None => Stdio::null(),
    };
    let began = Instant::now();
    let status = Command::new(sibling("bench-logctl")?)
        .args(arguments)
        .env("LOGCTL_SERVER", &broker.url)
        .stdin(Stdio::null())
        .stdout(stdout)
        .status()?;
    let seconds = began.elapsed().as_secs_f64();
    if status.success() {
        Ok(seconds)
    } else {
        Err(format!("logctl {arguments:?} ended with {status}").into())
    }
}

/// One task that sends a record and waits for its acknowledgement, again and again.
fn send_await(dir: &Path, runs: usize) -> Result<(), Failure> {
    let runtime = tokio::runtime::Runtime::new()?;
    let broker = Brokerd::start(&dir.join("send"))?;
    logctl(&broker, &["topic", "create", "bench", "-p", "1", "-q"], None)?;
    let mut raw = Figures::new("raw disk, one 200 B append with sync", "us");
    let mut send = Figures::new("send().await, one record after the other", "us");
    let mut ratio = Figures::new("  the same by the raw disk before it", "ratio");
    for _ in 0..runs {
        let raw_us = raw_latency(&dir.join("raw"), SENDS)?.as_secs_f64() * 1e6;
        let send_us = runtime.block_on(send_loop(&broker.url))? * 1e6;
        raw.add(raw_us);
        send.add(send_us);
        ratio.add(send_us / raw_us);
    }
    println!("{raw}\n{send}\n{ratio}");
    Ok(())
}

/// Seconds for each record.
async fn send_loop(url: &str) -> Result<f64, Failure> {
    let client = Client::builder(url).connect().await?;
    let producer = client.producer().build().await?;
    producer.send(Record::to("bench").value("warm")).await?;
    let began = Instant::now();
    for _ in 0..SENDS {
        producer.send(Record::to("bench").value(vec![b'x'; 100])).await?;
    }
    Ok(began.elapsed().as_secs_f64() / f64::from(SENDS))
}
