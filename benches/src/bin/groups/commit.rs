//! How many positions are committed in a second, each member waiting for its answer before it commits again.

use std::{path::Path, time::Duration};

use corduroy_benches::{Brokerd, Failure, own_cpu_time, raw_latency};
use tokio::time::Instant;

use crate::{
    Effort,
    crowd::{self, Crowd, MEMBERS, all_answer, create_topic},
    hold::Table,
    member::Member,
};

/// Members that commit.
const COMMITTERS: usize = 1_000;
/// Commits of the raw disk.
const RAW_SYNCS: u32 = 500;
const WARM_UP: Duration = Duration::from_secs(2);

pub(crate) async fn suite(effort: Effort) -> Result<(), Failure> {
    let mut table = Table::new();
    for _ in 0..effort.runs {
        let dir = tempfile::tempdir()?;
        run(effort, dir.path(), &mut table).await?;
    }
    println!("{COMMITTERS} members in {} groups commit", COMMITTERS / MEMBERS);
    table.print();
    Ok(())
}

async fn run(effort: Effort, dir: &Path, table: &mut Table) -> Result<(), Failure> {
    let raw = raw_latency(&dir.join("raw"), RAW_SYNCS)?;
    table.add("raw disk, one 200 B append with sync", "us", raw.as_secs_f64() * 1e6);
    let broker = Brokerd::start(&dir.join("data"))?;
    create_topic(&broker).await?;
    let mut crowd = Crowd::join(&broker, COMMITTERS / MEMBERS).await?;
    let until = Instant::now() + WARM_UP + effort.time;
    // As real members do, they stay in their groups meanwhile.
    let staying = crowd.members.clone().into_iter().map(|mut member| async move {
        while Instant::now() < until {
            member.stay(3_000).await?;
        }
        Ok(())
    });
    let staying = tokio::spawn(crowd::all(staying.collect::<Vec<_>>()));
    commit_until(&mut crowd, 1, Instant::now() + WARM_UP).await?;
    let usage = || Some((broker.cpu_time()?, own_cpu_time()?));
    let ((cpu, own), began) = (usage().ok_or("no /proc")?, Instant::now());
    let Committed { positions, mut took } = commit_until(&mut crowd, 1_000_000, until).await?;
    let seconds = began.elapsed().as_secs_f64();
    let (cpu_after, own_after) = usage().ok_or("no /proc")?;
    took.sort_unstable();
    let at =
        |share: usize| took.get(took.len() * share / 1000).copied().unwrap_or_default().as_secs_f64() * 1e3;
    table.add("positions", "/s", positions as f64 / seconds);
    table.add("  requests", "/s", took.len() as f64 / seconds);
    table.add("  median time of a request", "ms", at(500));
    table.add("  99 % of them within", "ms", at(990));
    table.add("  processor time of the broker", "s/s", (cpu_after - cpu).as_secs_f64() / seconds);
    table.add("  processor time of the members", "s/s", (own_after - own).as_secs_f64() / seconds);
    let resident = broker.resident_bytes().ok_or("no /proc")? as f64;
    table.add("  resident at the end", "MB", resident / 1e6);
    staying.await??;
    drop(broker);
    let broker = Brokerd::start(&dir.join("data"))?;
    let loaded = broker.started_in + all_answer(&broker, COMMITTERS / MEMBERS).await?;
    table.add("killed after it: all groups answer", "ms", loaded.as_secs_f64() * 1e3);
    Ok(())
}

struct Committed {
    positions: usize,
    /// What each request took.
    took: Vec<Duration>,
}

/// Lets all members commit, from `offset` on, until then.
async fn commit_until(crowd: &mut Crowd, offset: u64, until: Instant) -> Result<Committed, Failure> {
    let commit = |mut member: Member| async move {
        let (mut positions, mut took) = (0, Vec::new());
        for offset in offset.. {
            let began = Instant::now();
            if began >= until {
                break;
            }
            positions += member.commit(offset).await?;
            took.push(began.elapsed());
        }
        Ok((member, positions, took))
    };
    let mut committed = Committed { positions: 0, took: Vec::new() };
    for (member, positions, took) in crowd::all(crowd.members.drain(..).map(commit)).await? {
        crowd.members.push(member);
        committed.positions += positions;
        committed.took.extend(took);
    }
    Ok(committed)
}
