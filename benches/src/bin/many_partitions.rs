//! A node with many partitions: writing to each for the first time, and what they cost at the next starts, after a clean
//! stop and after a kill.
//!
//! `cargo run --release -p corduroy-benches --bin many-partitions -- [PARTITIONS] [RUNS]`

use std::{path::Path, time::Instant};

use corduroy_benches::{Brokerd, Failure, Figures};
use corduroy_client::{Client, NewTopic, Record};

const TOPICS: u32 = 10;
const VALUE_BYTES: usize = 1000;
/// Records that each partition gets in one wave.
const RECORDS: u32 = 4;

fn main() -> Result<(), Failure> {
    let mut arguments = std::env::args().skip(1).map(|argument| argument.parse::<u32>());
    let partitions = arguments.next().transpose()?.unwrap_or(10_000);
    let runs = arguments.next().transpose()?.unwrap_or(5);
    let dir = tempfile::tempdir()?;
    let data = dir.path().join("data");
    let runtime = tokio::runtime::Runtime::new()?;
    let broker = Brokerd::start(&data)?;
    let (create, first, later) = runtime.block_on(fill(&broker.url, partitions / TOPICS))?;
    println!(
        "{partitions} partitions in {TOPICS} topics, {RECORDS} records of {VALUE_BYTES} bytes in each wave"
    );
    println!("creating the topics            {create:>8.2} s");
    println!("first wave, partitions created {first:>8.2} s");
    println!("second wave                    {later:>8.2} s");
    println!("after it                       {:>8}   open files", broker.open_files().ok_or("no /proc")?);
    println!("clean stop                     {:>8.2} s", broker.stop()?.as_secs_f64());
    starts(&data, runs, "after a clean stop", Brokerd::stop)?;
    starts(&data, runs, "after a kill", |broker| {
        let began = Instant::now();
        drop(broker);
        Ok(began.elapsed())
    })
}

/// Creates the topics and writes two waves to every partition; the seconds of each.
async fn fill(url: &str, partitions: u32) -> Result<(f64, f64, f64), Failure> {
    let client = Client::builder(url).connect().await?;
    let began = Instant::now();
    for topic in 0..TOPICS {
        client.admin().create_topic(NewTopic::named(format!("t{topic}")).partitions(partitions)).await?;
    }
    let create = began.elapsed().as_secs_f64();
    let producer = client.producer().build().await?;
    let mut waves = [0.0; 2];
    for wave in &mut waves {
        let began = Instant::now();
        for _ in 0..RECORDS {
            for topic in 0..TOPICS {
                for partition in 0..partitions {
                    let record = Record::to(format!("t{topic}")).partition(partition);
                    drop(producer.enqueue(record.value(vec![b'v'; VALUE_BYTES])).await?);
                }
            }
        }
        producer.flush().await?;
        *wave = began.elapsed().as_secs_f64();
    }
    Ok((create, waves[0], waves[1]))
}

/// Starts of what is in `data`, each ended by `end`. The first one, which finds what came before, does not count.
fn starts(
    data: &Path,
    runs: u32,
    how: &str,
    end: impl Fn(Brokerd) -> Result<std::time::Duration, Failure>,
) -> Result<(), Failure> {
    end(Brokerd::start(data)?)?;
    let mut start = Figures::new(format!("start {how}"), "ms");
    let mut memory = Figures::new("  resident memory when ready", "MB");
    let mut files = Figures::new("  open files when ready", "");
    for _ in 0..runs {
        let broker = Brokerd::start(data)?;
        start.add(broker.started_in.as_secs_f64() * 1e3);
        memory.add(broker.resident_bytes().ok_or("no /proc")? as f64 / 1e6);
        files.add(broker.open_files().ok_or("no /proc")? as f64);
        end(broker)?;
    }
    println!("{start}\n{memory}\n{files}");
    Ok(())
}
