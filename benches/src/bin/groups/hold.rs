//! What groups cost that are there: memory, heartbeats, and the time until a killed broker knows them again.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use corduroy_api::v1;
use corduroy_benches::{Brokerd, Failure, Figures, own_cpu_time};
use tokio::time::Instant;

use crate::{
    Effort,
    crowd::{self, Crowd, MEMBERS, PARTITIONS, all_answer, connect, create_topic, group_name, while_loading},
    member::{Member, TOPIC},
};

/// How long a heartbeat waits for news: the default of a member's heartbeat.
const WAIT_MS: u32 = 3_000;

pub(crate) async fn suite(effort: Effort) -> Result<(), Failure> {
    let mut table = Table::new();
    for _ in 0..effort.runs {
        let dir = tempfile::tempdir()?;
        run(effort, dir.path(), &mut table).await?;
    }
    println!(
        "{} groups, {} members, {PARTITIONS} partitions shared in each group",
        effort.groups,
        effort.groups * MEMBERS
    );
    table.print();
    Ok(())
}

/// A broker that is killed after each step, so that its memory holds what it has to and not what it took to get there.
async fn run(effort: Effort, dir: &Path, table: &mut Table) -> Result<(), Failure> {
    let groups = effort.groups;
    let mut node = Node { data: dir.join("data"), groups };
    let broker = Brokerd::start(&node.data)?;
    create_topic(&broker).await?;
    // The first group makes the topic of the groups, which costs memory of its own.
    commit_for_all(&broker, 0..1).await?;
    let (broker, none, _) = node.kill(broker).await?;

    commit_for_all(&broker, 0..groups).await?;
    let (broker, bare, _) = node.kill(broker).await?;

    let began = Instant::now();
    let mut crowd = Crowd::join(&broker, groups).await?;
    table.add("all members joined and have their shares", "s", began.elapsed().as_secs_f64());
    let (broker, joined, load) = node.kill(broker).await?;
    table.add("killed: all groups answer, no positions", "ms", load.as_secs_f64() * 1e3);

    crowd.reconnect(&broker).await?;
    crowd.each(|mut member| async move { member.commit(1).await.map(|_| member) }).await?;
    let (broker, committed, load) = node.kill(broker).await?;
    table.add("killed: all groups answer, with positions", "ms", load.as_secs_f64() * 1e3);

    let (groups, members) = (groups as f64, (groups * MEMBERS) as f64);
    let positions = groups * f64::from(PARTITIONS - 1);
    let position = (committed - joined) / positions;
    table.add("resident before the groups", "MB", none / 1e6);
    table.add("resident, everything loaded", "MB", committed / 1e6);
    table.add("a committed position", "bytes", position);
    table.add("a group without members and positions", "bytes", (bare - none) / groups - position);
    table.add("a member with 10 partitions", "bytes", (joined - bare) / members);
    table.add("a group of 10 members with 100 positions", "bytes", (committed - none) / groups);

    crowd.reconnect(&broker).await?;
    stay(effort, &broker, &mut crowd, table).await
}

/// All members do nothing but stay.
async fn stay(effort: Effort, broker: &Brokerd, crowd: &mut Crowd, table: &mut Table) -> Result<(), Failure> {
    // Until all of them wait.
    let until = Instant::now() + Duration::from_millis(2 * u64::from(WAIT_MS));
    let waiting = stay_until(crowd, until).await?;
    let (cpu, own, began) = (cpu_time(broker)?, own_cpu()?, Instant::now());
    let staying = stay_until(crowd, Instant::now() + effort.time).await?;
    let seconds = began.elapsed().as_secs_f64();
    table.add("heartbeats, all members waiting for news", "/s", staying.len() as f64 / seconds);
    table.add(
        "  processor time of the broker",
        "ms/s",
        (cpu_time(broker)? - cpu).as_secs_f64() * 1e3 / seconds,
    );
    table.add("  processor time of the members", "ms/s", (own_cpu()? - own).as_secs_f64() * 1e3 / seconds);
    let worst = staying.iter().chain(&waiting).copied().max().unwrap_or_default();
    table.add("  no answer came later than by", "ms", worst.as_secs_f64() * 1e3);
    table.add("  connections", "", crowd.connections as f64);
    table.add("  resident", "MB", resident(broker)? / 1e6);
    Ok(())
}

/// Lets all members stay until then; by how much each answer came later than it was asked for.
async fn stay_until(crowd: &mut Crowd, until: Instant) -> Result<Vec<Duration>, Failure> {
    let stay = |mut member: Member| async move {
        let mut late = Vec::new();
        while Instant::now() < until {
            let began = Instant::now();
            if member.stay(WAIT_MS).await? {
                return Err(Failure::from("a member got news where nothing happens"));
            }
            late.push(began.elapsed().saturating_sub(Duration::from_millis(WAIT_MS.into())));
        }
        Ok((member, late))
    };
    let (members, late): (Vec<_>, Vec<_>) =
        crowd::all(crowd.members.drain(..).map(stay)).await?.into_iter().unzip();
    crowd.members = members;
    Ok(late.into_iter().flatten().collect())
}

/// One position for each group, committed by no one in particular.
async fn commit_for_all(broker: &Brokerd, groups: std::ops::Range<usize>) -> Result<(), Failure> {
    let mut client = connect(broker).await?;
    for group in groups {
        let position = v1::OffsetToCommit { topic: TOPIC.to_owned(), ..Default::default() };
        let request = v1::CommitOffsetsRequest {
            group: group_name(group),
            offsets: vec![position],
            ..Default::default()
        };
        while let Err(refused) = client.commit_offsets(request.clone()).await {
            while_loading(refused).await?;
        }
    }
    Ok(())
}

struct Node {
    data: PathBuf,
    groups: usize,
}

impl Node {
    /// Kills the broker and starts it again; its resident bytes when all groups are loaded, and how long that took
    /// from starting the process.
    async fn kill(&mut self, broker: Brokerd) -> Result<(Brokerd, f64, Duration), Failure> {
        drop(broker);
        let broker = Brokerd::start(&self.data)?;
        let loaded = broker.started_in + all_answer(&broker, self.groups).await?;
        let resident = resident(&broker)?;
        Ok((broker, resident, loaded))
    }
}

fn resident(broker: &Brokerd) -> Result<f64, Failure> {
    Ok(broker.resident_bytes().ok_or("no /proc")? as f64)
}

fn cpu_time(broker: &Brokerd) -> Result<Duration, Failure> {
    Ok(broker.cpu_time().ok_or("no /proc")?)
}

fn own_cpu() -> Result<Duration, Failure> {
    Ok(own_cpu_time().ok_or("no /proc")?)
}

/// The figures of all runs, in the order in which they first came.
pub(crate) struct Table(Vec<(&'static str, Figures)>);

impl Table {
    pub(crate) const fn new() -> Self {
        Self(Vec::new())
    }

    pub(crate) fn add(&mut self, name: &'static str, unit: &'static str, value: f64) {
        if let Some((_, figures)) = self.0.iter_mut().find(|(known, _)| *known == name) {
            return figures.add(value);
        }
        let mut figures = Figures::new(name, unit);
        figures.add(value);
        self.0.push((name, figures));
    }

    pub(crate) fn print(&self) {
        for (_, figures) in &self.0 {
            println!("{figures}");
        }
    }
}
