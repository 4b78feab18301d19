//! What a command does while its broker cannot answer: it is starting, it is not there, it goes away.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test may stop")]

mod common;

use std::{
    io::{BufRead as _, BufReader, Write as _},
    net::SocketAddr,
    time::Duration,
};

use axum::Router;
use common::{Home, Ran, signal};
use corduroy_api::Refusal;
use corduroy_broker::config::Watermark;
use corduroy_client::ErrorCode;
use corduroy_testing::Broker;
use rustix::process::Signal;
use tokio::{net::TcpListener, runtime::Runtime};
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{service::Routes, transport::Server};

/// Something that refuses every call with one code, as a broker does that is starting.
struct Refuser {
    address: SocketAddr,
    /// Its own, so that its connections end with it.
    runtime: Runtime,
}

impl Refuser {
    fn start(code: ErrorCode, message: &'static str) -> Self {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let listener = std::net::TcpListener::bind(OWN_LOOPBACK).unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let refuse =
            move || async move { Refusal::new(code, message).into_status().into_http::<axum::body::Body>() };
        let routes = Routes::from(Router::new().fallback(refuse));
        runtime.spawn(async move {
            let incoming = TcpListenerStream::new(TcpListener::from_std(listener).unwrap());
            Server::builder().add_routes(routes).serve_with_incoming(incoming).await.unwrap();
        });
        Self { address, runtime }
    }

    /// Closes the port and every connection, so that a broker can take its place.
    async fn stop(self) {
        let runtime = self.runtime;
        tokio::task::spawn_blocking(move || drop(runtime)).await.unwrap();
    }

    /// Refuses until the process ends, which is sooner than a runtime could be dropped here.
    fn home(self) -> Home {
        std::mem::forget(self.runtime);
        Home::at(&format!("http://{}", self.address))
    }
}

/// Ports there are given to nothing else that tests start, so that one stays free until a broker takes it.
const OWN_LOOPBACK: &str = "127.0.0.2:0";

/// An address where nothing listens.
async fn free_address() -> SocketAddr {
    TcpListener::bind(OWN_LOOPBACK).await.unwrap().local_addr().unwrap()
}

async fn broker_at(address: SocketAddr) -> Broker {
    Broker::start_with(|config| config.listen.grpc = address).await.unwrap()
}

fn stderr_lines(child: &mut std::process::Child) -> impl Iterator<Item = String> + use<> {
    BufReader::new(child.stderr.take().unwrap()).lines().map(Result::unwrap)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_waits_while_its_broker_starts_and_says_so_once() {
    let starting = Refuser::start(ErrorCode::Starting, "the broker is starting: recovering 1 of 3");
    let home = Home::at(&format!("http://{}", starting.address));
    let mut child = home.spawn(&["topic", "create", "orders"]);
    let mut said = stderr_lines(&mut child);
    assert_eq!(
        said.next().unwrap(),
        "the broker is starting: recovering 1 of 3; waiting up to 10.0 s (--timeout)"
    );
    let address = starting.address;
    starting.stop().await;
    let broker = broker_at(address).await;
    let ran: Ran = child.wait_with_output().unwrap().into();
    assert!(ran.stdout.starts_with("created orders  "), "{}", ran.stdout);
    assert_eq!(ran.code, 0);
    let rest: Vec<String> = said.collect();
    assert_eq!(rest, ["note: replication 1 means this disk holds the only copy (fine for development)"]);
    assert!(broker.stop().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_command_ends_with_six_when_the_time_is_over() {
    let starting = Refuser::start(ErrorCode::Starting, "the broker is starting: recovering 1 of 3");
    let home = starting.home();
    for args in [
        &["status"][..],
        &["topic", "ls"],
        &["topic", "create", "t"],
        &["topic", "set", "t", "retention.ms=7d"],
        &["produce", "t"],
        &["consume", "t", "--to", "end"],
        &["consume", "t", "-g", "g", "--to", "end"],
        &["group", "ls"],
        &["group", "delete", "g", "--yes"],
    ] {
        let args = [args, &["--timeout", "200ms", "-o", "json"]].concat();
        let ran = home.fails(6, &args);
        let error = ran.error();
        assert_eq!((&error["code"], &error["retriable"]), (&"E1107".into(), &true.into()), "{args:?}");
        assert_eq!(error["details"]["outcome"], "not-written", "{args:?}");
    }
    let ran = home.fails(6, &["topic", "ls", "--timeout", "200ms"]);
    assert!(ran.stderr.starts_with("the broker is starting: recovering 1 of 3; waiting "), "{}", ran.stderr);
    assert!(!ran.stderr.contains("produce"), "{}", ran.stderr);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_may_have_been_done_is_not_sent_again() {
    let broken = Refuser::start(ErrorCode::StorageFailed, "a sync failed");
    let home = broken.home();
    let ran = home.fails(1, &["topic", "create", "t", "--timeout", "60s"]);
    assert!(!ran.stderr.contains("waiting up to"), "{}", ran.stderr);
    let leaving = Refuser::start(ErrorCode::ShuttingDown, "the broker is stopping");
    let error = leaving.home().fails(6, &["topic", "create", "t", "--timeout", "60s", "-o", "json"]).error();
    assert_eq!(error["details"]["outcome"], "unknown");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_is_not_there_fails_at_once_unless_it_is_waited_for() {
    let address = free_address().await;
    let home = Home::at(&format!("http://{address}"));
    for args in [&["topic", "create", "t"][..], &["topic", "ls"], &["status"], &["produce", "t"]] {
        let ran = home.fails(6, &[args, &["--timeout", "60s", "-o", "json"]].concat());
        let error = ran.error();
        assert_eq!((&error["code"], &error["details"]["outcome"]), (&"E1501".into(), &"not-written".into()));
    }
    let late = home.fails(6, &["status", "--wait-for", "ready", "--timeout", "200ms"]);
    assert!(
        late.stderr.contains("error[E1106]: the broker was not ready within 200 ms: "),
        "{}",
        late.stderr
    );
    assert!(late.stderr.contains("Connection refused"), "{}", late.stderr);
    let waiting = home.spawn(&["status", "--wait-for", "healthy", "--timeout", "60s"]);
    let broker = broker_at(address).await;
    let ran: Ran = waiting.wait_with_output().unwrap().into();
    assert!(ran.code == 0 && ran.stdout.starts_with("HEALTHY"), "{} {}", ran.stdout, ran.stderr);
    assert!(broker.stop().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn another_server_is_called_one_and_names_lead_to_the_broker() {
    let broker = Broker::start().await.unwrap();
    let url = |address: SocketAddr| format!("http://{address}");
    let ran = Home::at(&url(broker.http_address())).fails(1, &["topic", "ls"]);
    assert!(ran.stderr.starts_with("error[E1505]: no Corduroy broker listens at http://"), "{}", ran.stderr);
    let by_name = format!("http://localhost:{}", broker.address().port());
    Home::at(&by_name).ok(&["topic", "ls"]);
    let nowhere = Home::at("http://[::1]:1").fails(6, &["topic", "ls"]);
    assert!(nowhere.stderr.contains("the broker at http://[::1]:1 cannot be reached"), "{}", nowhere.stderr);
    let bare = Home::at("[::1]:9480").fails(2, &["topic", "ls"]);
    assert!(bare.stderr.contains("http://[::1]:9480"), "{}", bare.stderr);
}

#[tokio::test(flavor = "multi_thread")]
async fn status_shows_scripts_that_something_is_wrong() {
    let broker = Broker::start().await.unwrap();
    let home = Home::at(broker.url());
    assert!(home.ok(&["status"]).stdout.starts_with("HEALTHY"));
    broker.disk().set_capacity(Some(100_000));
    let ran = loop {
        let ran = home.run(&["status", "-o", "json"]);
        if ran.code != 0 {
            break ran;
        }
    };
    assert_eq!((ran.code, ran.stderr.as_str()), (9, ""));
    let status: serde_json::Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_ne!(status["health"], "HEALTHY");
    // Who waits for something has it then.
    assert_eq!(home.ok(&["status", "--wait-for", "ready", "-o", "name"]).stdout, "UNHEALTHY\n");
    let late = home.fails(6, &["status", "--wait-for", "healthy", "--timeout", "200ms"]);
    assert!(late.stderr.contains("it is UNHEALTHY: "), "{}", late.stderr);
}

#[tokio::test(flavor = "multi_thread")]
async fn produce_says_at_once_that_the_disk_is_full_and_goes_on_when_it_is_not() {
    // Full by the watermark, so that no write fails.
    let watermark = Watermark::Bytes(2 << 30);
    let broker = Broker::start_with(|config| config.storage.disk_block_watermark = watermark).await.unwrap();
    let home = Home::at(broker.url());
    home.ok(&["topic", "create", "t"]);
    broker.disk().set_capacity(Some(1 << 30));
    while home.run(&["status", "-o", "name"]).code != 9 {}
    let mut child = home.spawn(&["produce", "t"]);
    child.stdin.take().unwrap().write_all(b"a\nb\n").unwrap();
    let mut said = stderr_lines(&mut child);
    let delayed = said.next().unwrap();
    assert!(delayed.starts_with("error[E1102] DISK_FULL: t:0: "), "{delayed}");
    assert!(delayed.ends_with("; trying again"), "{delayed}");
    broker.disk().set_capacity(None);
    let rest: Vec<String> = said.collect();
    assert_eq!(child.wait().unwrap().code(), Some(0), "{rest:?}");
    assert_eq!(rest.len(), 1, "said once: {rest:?}");
    assert!(rest[0].starts_with("2 records acknowledged in "), "{rest:?}");
    assert_eq!(home.ok(&["consume", "t", "--to", "end"]).stdout, "a\nb\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_goes_on_after_an_outage() {
    let address = free_address().await;
    let broker = broker_at(address).await;
    let home = Home::at(broker.url());
    let watch = &["topic", "ls", "--watch=100ms", "-o", "json", "--timeout", "1s"];
    let mut child = home.spawn(&[&watch[..3], &["--timeout", "1s"]].concat());
    let mut shown = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
    let mut said = stderr_lines(&mut child).filter(|line| !line.starts_with("no topics"));
    assert!(shown.next().unwrap().starts_with("TOPIC"));
    assert!(broker.stop().await);
    let lost = said.next().unwrap();
    assert!(lost.starts_with("error[E1") && lost.ends_with("; trying again"), "{lost}");
    let broker = broker_at(address).await;
    let back = said.next().unwrap();
    assert!(back.starts_with("answered again after "), "{back}");
    signal(&child, Signal::INT);
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert!(broker.stop().await);
    // The first answer decides whether there is anything to watch.
    tokio::time::timeout(Duration::from_secs(60), async { home.fails(6, watch) }).await.unwrap();
}
