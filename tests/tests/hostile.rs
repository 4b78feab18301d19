//! Clients that take and do not give: they cost bounded memory, and no one else notices.
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may fail loudly, its helpers too"
)]

mod support;

use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use corduroy_api::v1;
use http::Request;
use prost::Message;
use support::{Brokerd, ledger::Ledger, stub};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    task::JoinSet,
};

const CONNECTIONS: usize = 10;
const STREAMS: usize = 100;
const LIMITS: [&str; 2] = ["--set", "node.memory_limit=256MiB"];
/// Far above what the limits allow together, far below what the attack would take without them.
const RESIDENT_BYTES_MAX: u64 = 400_000_000;

fn resident_bytes(broker: &Brokerd) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", broker.pid())).expect("Linux");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("a peak");
    line.split_whitespace().next().expect("a number").parse::<u64>().expect("a number") * 1024
}

/// Connections that were closed because others waited for the memory that they held.
async fn killed(broker: &Brokerd) -> u64 {
    let mut stream = TcpStream::connect(broker.http.trim_start_matches("http://")).await.expect("it listens");
    let question = b"GET /metrics HTTP/1.1\r\nHost: b\r\nConnection: close\r\n\r\n";
    stream.write_all(question).await.expect("it reads");
    let mut page = String::new();
    stream.read_to_string(&mut page).await.expect("it answers");
    let lines =
        page.lines().filter(|line| line.starts_with("brokerd_connections") && line.contains("killed"));
    let counts: Vec<u64> = lines.filter_map(|line| line.rsplit(' ').next()?.parse().ok()).collect();
    assert!(!counts.is_empty(), "{page}");
    counts.iter().sum()
}

/// An HTTP/2 connection with the protocol's own small windows: what is not read stays with the broker.
async fn connect(broker: &Brokerd) -> (h2::client::SendRequest<Bytes>, tokio::task::JoinHandle<()>) {
    let address = broker.grpc.trim_start_matches("http://");
    let tcp = TcpStream::connect(address).await.expect("the broker listens");
    let (sender, connection) = h2::client::handshake(tcp).await.expect("HTTP/2");
    let task = tokio::spawn(async move {
        // It ends when the broker has had enough, or with the test.
        let _ended = connection.await;
    });
    (sender, task)
}

fn request(broker: &Brokerd, path: &str) -> Request<()> {
    Request::post(format!("{}{path}", broker.grpc))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(())
        .expect("a request")
}

fn frame(announced_bytes: u32, body: &[u8]) -> Bytes {
    let mut frame = BytesMut::new();
    frame.put_u8(0);
    frame.put_u32(announced_bytes);
    frame.put_slice(body);
    frame.freeze()
}

/// Someone else's work while the attack goes on: it must succeed.
async fn bystander(broker: &Brokerd, topic: &str) {
    let mut ledger = Ledger::default();
    let mut random = support::Random(7);
    let url = broker.grpc.clone();
    stub::create_topic(stub::connect(&url).await, topic, 1, &[]).await;
    stub::produce_some(&url, topic, 1, &mut random, &mut ledger, 50).await;
    ledger.check(&stub::read_all(&url, topic, 1).await, "a bystander");
    assert!(ledger.acknowledged() >= 50);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn announcing_much_and_sending_half_costs_little() {
    let (_dir, path) = support::scratch();
    let broker = Brokerd::start(&path.join("data"), &LIMITS);
    for (announced, sent) in [(64 << 20, 256 << 10), (1 << 20, 512 << 10)] {
        let mut held = Vec::new();
        let mut sending = JoinSet::new();
        for _ in 0..CONNECTIONS {
            let (sender, task) = connect(&broker).await;
            for _ in 0..STREAMS {
                let Ok(mut sender) = sender.clone().ready().await else { break };
                let Ok((answer, mut stream)) =
                    sender.send_request(request(&broker, "/corduroy.v1.Produce/Produce"), false)
                else {
                    break;
                };
                sending.spawn(async move {
                    let half = frame(announced, &vec![b'x'; sent]);
                    // Flow control may hold it back for ever, or the broker may have ended the stream.
                    let _not_taken = stream.send_data(half, false);
                    (answer, stream)
                });
            }
            held.push((sender, task));
        }
        let streams = sending.join_all().await;
        bystander(&broker, &format!("bystander-{announced}")).await;
        drop(streams);
        held.into_iter().for_each(|(_, task)| task.abort());
    }
    let peak = resident_bytes(&broker);
    assert!(peak < RESIDENT_BYTES_MAX, "the attack made the broker take {peak} bytes");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_never_reads_costs_little() {
    let (_dir, path) = support::scratch();
    let broker = Brokerd::start(&path.join("data"), &LIMITS);
    let channel = stub::connect(&broker.grpc).await;
    stub::create_topic(channel, "much", 1, &[]).await;
    let (mut ledger, mut random) = (Ledger::default(), support::Random(9));
    stub::produce_some(&broker.grpc, "much", 1, &mut random, &mut ledger, 5_000).await;
    let consume = v1::ConsumeRequest {
        partitions: vec![v1::ConsumePartition {
            topic: "much".to_owned(),
            start: Some(v1::OffsetSpec { spec: Some(v1::offset_spec::Spec::Start(true)) }),
            ..Default::default()
        }],
        max_message_bytes: 8 << 20,
        ..Default::default()
    }
    .encode_to_vec();
    let message = frame(u32::try_from(consume.len()).expect("it is small"), &consume);
    let (mut held, mut connections) = (Vec::new(), Vec::new());
    for _ in 0..CONNECTIONS {
        let (sender, task) = connect(&broker).await;
        for _ in 0..STREAMS {
            let Ok(mut ready) = sender.clone().ready().await else { break };
            let Ok((answer, mut stream)) =
                ready.send_request(request(&broker, "/corduroy.v1.Fetch/Consume"), false)
            else {
                break;
            };
            let _not_taken = stream.send_data(message.clone(), true);
            held.push((answer, stream));
        }
        connections.push(task);
    }
    tokio::time::timeout(Duration::from_secs(120), bystander(&broker, "bystander"))
        .await
        .expect("a bystander is served while no one reads");
    // By what is kept for it, and not by taking from others: they hold no more than their own.
    assert_eq!(killed(&broker).await, 0, "connections that had to be closed");
    let peak = resident_bytes(&broker);
    assert!(peak < RESIDENT_BYTES_MAX, "clients that never read made the broker take {peak} bytes");
    drop(held);
    connections.iter().for_each(tokio::task::JoinHandle::abort);
}

#[test]
fn half_sent_questions_keep_no_one_else_from_an_answer() {
    use std::io::Write as _;

    let (_dir, home) = support::scratch();
    let broker = Brokerd::start(&home.join("data"), &[]);
    let address = broker.http.trim_start_matches("http://");
    let half_sent: Vec<_> = (0..300)
        .map(|_| {
            let mut stream = std::net::TcpStream::connect(address).unwrap();
            stream.write_all(b"GET /readyz HTTP/1.1\r\nHost: x\r\n").unwrap();
            stream
        })
        .collect();
    let answer = support::get(&broker.http, "/readyz");
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    drop(half_sent);
}
