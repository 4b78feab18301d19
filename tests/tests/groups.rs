//! Consumer groups of real processes: members are killed, stand still and come back, and so does the broker.
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may fail loudly, its helpers too"
)]

mod support;

use std::{collections::BTreeMap, time::Duration};

use corduroy_api::{Refusal, v1};
use corduroy_types::ErrorCode;
use rustix::process::Signal;
use support::{
    Brokerd, Random,
    crew::{Crew, Seen},
    feed::Feed,
    group,
    proxy::Proxy,
    stub,
};

const GROUP: &str = "crew";
const TOPIC: &str = "fed";
/// A session that ends while a test waits.
const SHORT: Duration = Duration::from_secs(2);
/// A session that does not end while a test runs.
const LONG: Duration = Duration::from_secs(600);

async fn feed(url: &str, partitions: u32) -> Feed {
    stub::create_topic(stub::connect(url).await, TOPIC, partitions, &[]).await;
    Feed::start(url, TOPIC, partitions)
}

/// The new owner of these partitions began not before what the group had committed, and not behind what the former owner had
/// come to.
fn check_taken_over(from: &Seen, by: &[&Seen], committed: &BTreeMap<u32, u64>, context: &str) {
    for partition in from.has.iter().copied() {
        let begun: Vec<_> =
            by.iter().filter(|to| to.has.contains(&partition)).map(|to| to.run(partition)).collect();
        let [begun] = begun.as_slice() else {
            panic!("{context}, partition {partition}: one owner of {begun:?}")
        };
        let (least, most) = (committed.get(&partition).copied().unwrap_or(0), from.run(partition).end);
        assert!(
            (least..=most).contains(&begun.start),
            "{context}, partition {partition}: {least} was committed, {most} was the next, and reading began at {}",
            begun.start
        );
    }
}

/// What was released in good order was neither skipped nor handled twice.
fn check_handed_over(from: &Seen, to: &Seen, context: &str) {
    let moved = from.revoked.intersection(&to.has);
    let pairs = moved.map(|partition| (partition, from.run(*partition).end, to.run(*partition).start));
    for (partition, ended, begun) in pairs {
        assert_eq!(ended, begun, "{context}, partition {partition}: handed over");
    }
}

fn check_nothing_moved(seen: &Seen, context: &str) {
    assert!(seen.revoked.is_empty() && seen.lost.is_empty(), "{context}: {seen:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_others_go_on_where_a_killed_member_had_committed() {
    const PARTITIONS: u32 = 12;
    let (_dir, path) = support::scratch();
    let broker = Brokerd::start(&path.join("data"), &[]);
    let feed = feed(&broker.grpc, PARTITIONS).await;
    let seed = 0x0009_2001;
    let mut random = Random(seed);
    let mut crew = Crew::new(&broker.grpc, GROUP, TOPIC, SHORT, &format!("seed {seed:#x}"));
    let mut members: Vec<usize> = (0..3).map(|_| crew.start("")).collect();
    for round in 0..3 {
        let context = format!("seed {seed:#x}, round {round}");
        crew.until_shared(&members, PARTITIONS).await;
        crew.forget_moves();
        let victim = members.remove(usize::try_from(random.below(3)).unwrap());
        let committed = group::committed(&broker.grpc, GROUP).await;
        crew.kill(victim);
        let seen = crew.until_shared(&members, PARTITIONS).await;
        let others: Vec<_> = members.iter().map(|member| &seen[*member]).collect();
        // What they had they have been reading all the time: each offset once.
        others.iter().for_each(|seen| check_nothing_moved(seen, &context));
        check_taken_over(&seen[victim], &others, &committed, &context);
        let next = crew.start("");
        members.push(next);
        let seen = crew.until_shared(&members, PARTITIONS).await;
        members.iter().for_each(|from| check_handed_over(&seen[*from], &seen[next], &context));
    }
    let ends = feed.stop().await;
    crew.until_all_handled(&ends).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_that_stood_still_past_its_session_drops_everything_and_joins_again() {
    const PARTITIONS: u32 = 8;
    let (_dir, path) = support::scratch();
    let broker = Brokerd::start(&path.join("data"), &[]);
    let feed = feed(&broker.grpc, PARTITIONS).await;
    let context = "a member that stands still";
    let mut crew = Crew::new(&broker.grpc, GROUP, TOPIC, SHORT, context);
    let (paused, other) = (crew.start(""), crew.start(""));
    let before = crew.until_shared(&[paused, other], PARTITIONS).await;
    crew.forget_moves();
    let committed = group::committed(&broker.grpc, GROUP).await;
    let described = group::describe(&broker.grpc, GROUP).await;
    let known = described.members.iter().find(|member| member.member == before[paused].member).unwrap();

    crew.signal(paused, Signal::STOP);
    let seen = crew.until_shared(&[other], PARTITIONS).await;
    check_nothing_moved(&seen[other], context);
    check_taken_over(&seen[paused], &[&seen[other]], &committed, context);

    // What it has sent before it stood still, and what it sends before it knows, comes too late.
    let partition = *before[paused].has.first().unwrap();
    let late = v1::CommitOffsetsRequest {
        group: GROUP.to_owned(),
        member: Some(v1::MemberIdentity { member: known.member.clone(), member_epoch: known.member_epoch }),
        offsets: vec![v1::OffsetToCommit { topic: TOPIC.to_owned(), partition, ..Default::default() }],
        validate_only: false,
    };
    let refused = group::connect(&broker.grpc).await.commit_offsets(late).await.unwrap_err();
    assert_eq!(Refusal::from_status(&refused).code, ErrorCode::UnknownMember);

    crew.signal(paused, Signal::CONT);
    let lost =
        crew.until("it has lost all that it had", |seen| before[paused].has.is_subset(&seen[paused].lost));
    let watched = async {
        let mut last = group::committed(&broker.grpc, GROUP).await;
        loop {
            let now = group::committed(&broker.grpc, GROUP).await;
            for (partition, offset) in &last {
                assert!(now.get(partition) >= Some(offset), "{context}: from {last:?} back to {now:?}");
            }
            last = now;
        }
    };
    tokio::select! {
        _ = lost => {}
        () = watched => {}
    }
    let seen = crew.until_shared(&[paused, other], PARTITIONS).await;
    check_handed_over(&seen[other], &seen[paused], context);
    assert!(seen[other].lost.is_empty(), "{context}: the other one was never out");
    let ends = feed.stop().await;
    crew.until_all_handled(&ends).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_static_member_that_was_killed_comes_back_to_what_it_had() {
    const PARTITIONS: u32 = 12;
    let (_dir, path) = support::scratch();
    let broker = Brokerd::start(&path.join("data"), &[]);
    let feed = feed(&broker.grpc, PARTITIONS).await;
    let context = "a static member";
    let mut crew = Crew::new(&broker.grpc, GROUP, TOPIC, LONG, context);
    let (killed, others) = (crew.start("a"), [crew.start("b"), crew.start("c")]);
    crew.until_shared(&[killed, others[0], others[1]], PARTITIONS).await;
    crew.forget_moves();
    let before = group::describe(&broker.grpc, GROUP).await;
    let (epoch, mut shares) = group::shares(&before);

    let committed = group::committed(&broker.grpc, GROUP).await;
    crew.kill(killed);
    let back = crew.start("a");
    let seen = crew.until_shared(&[back, others[0], others[1]], PARTITIONS).await;
    others.iter().for_each(|other| check_nothing_moved(&seen[*other], context));
    assert_eq!(seen[back].has, seen[killed].has, "{context}: it has what it had");
    check_taken_over(&seen[killed], &[&seen[back]], &committed, context);

    let (epoch_after, mut shares_after) = group::shares(&group::describe(&broker.grpc, GROUP).await);
    assert_eq!(epoch_after, epoch, "{context}: nothing was assigned again");
    let (_, had) = shares.remove(&seen[killed].member).unwrap();
    let (_, has) = shares_after.remove(&seen[back].member).unwrap();
    assert_eq!(has, had, "{context}");
    assert_eq!(shares_after, shares, "{context}: the others have not noticed");
    let ends = feed.stop().await;
    crew.until_all_handled(&ends).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fifty_members_go_on_where_they_were_when_the_broker_is_killed() {
    const PARTITIONS: u32 = 100;
    let (_dir, path) = support::scratch();
    let data = path.join("data");
    let mut broker = Brokerd::start(&data, &[]);
    let address = |broker: &Brokerd| broker.grpc.trim_start_matches("http://").parse().expect("an address");
    let seed = 0x0050_DEAD;
    // Everybody outlives the broker, and finds the next one where the first one was.
    let proxy = Proxy::start(address(&broker), seed, None).await;
    let feed = feed(&proxy.url, PARTITIONS).await;
    let mut crew = Crew::new(&proxy.url, GROUP, TOPIC, LONG, &format!("seed {seed:#x}"));
    let members: Vec<usize> = (0..50).map(|_| crew.start("")).collect();
    crew.until_shared(&members, PARTITIONS).await;
    crew.forget_moves();
    let before = group::shares(&group::describe(&broker.grpc, GROUP).await);
    for round in 0..3 {
        let context = format!("seed {seed:#x}, round {round}");
        broker.kill();
        broker = Brokerd::start(&data, &[]);
        let seen = crew.seen();
        proxy.aim(address(&broker));
        let goes_on = |now: &[Seen]| {
            let mut of_each =
                members.iter().flat_map(|member| seen[*member].has.iter().map(move |has| (*member, *has)));
            of_each
                .all(|(member, partition)| now[member].run(partition).end > seen[member].run(partition).end)
        };
        let now = crew.until("every member gets more of all its partitions", goes_on).await;
        // With what they had moved nowhere, whatever did not come exactly once would be a fault of who got it.
        now.iter().for_each(|seen| check_nothing_moved(seen, &context));
        assert_eq!(group::shares(&group::describe(&broker.grpc, GROUP).await), before, "{context}");
    }
    let ends = feed.stop().await;
    crew.until_all_handled(&ends).await;
}
