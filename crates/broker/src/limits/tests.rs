use std::{future::poll_fn, net::SocketAddr, pin::Pin, task::Poll, time::Duration};

use bytes::Bytes;
use corduroy_types::{KIB, MIB};
use http_body::{Body as _, Frame};
use http_body_util::{BodyExt as _, StreamBody};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    sync::mpsc,
    time::{Instant, timeout},
};
use tokio_stream::{StreamExt as _, wrappers::UnboundedReceiverStream};
use tonic::{Status, body::Body};

use super::{
    answer::AnswerBody,
    request::{Guards, RequestBody},
    *,
};

/// Limits with a receive and a fetch budget of 16 MiB each, so shares are 2 MiB. A quarter of the fetch budget is
/// its reserve.
fn limits() -> Arc<Limits> {
    let mut config = BrokerConfig::for_tests("/nowhere");
    config.node.memory_limit = crate::config::Auto::Set(64 * MIB);
    config.listen.max_connections = 20;
    Limits::new(&config, Arc::new(Metrics::new()))
}

fn connect(limits: &Limits) -> Arc<Connection> {
    limits.connect(SocketAddr::from(([127, 0, 0, 1], 1))).unwrap()
}

type Pieces = mpsc::UnboundedSender<Result<Frame<Bytes>, Status>>;

/// A produce request of `connection`, and the sender that feeds it.
fn request(limits: &Arc<Limits>, connection: &Arc<Connection>) -> (Pieces, RequestBody) {
    let (pieces, stream) = mpsc::unbounded_channel();
    let inner = Body::new(StreamBody::new(UnboundedReceiverStream::new(stream)));
    let guards = Guards {
        rpc: Rpc::Produce,
        connection: Arc::clone(connection),
        limits: Arc::clone(limits),
        bytes: None,
    };
    (pieces, RequestBody::new(inner, guards, Received::default()))
}

/// The beginning of a message: its header and `sent` of its `announced` bytes.
fn begun(announced: u64, sent: usize) -> Result<Frame<Bytes>, Status> {
    let mut bytes = vec![0];
    bytes.extend(u32::try_from(announced).unwrap().to_be_bytes());
    bytes.resize(5 + sent, 1);
    Ok(Frame::data(bytes.into()))
}

fn more(bytes: usize) -> Result<Frame<Bytes>, Status> {
    Ok(Frame::data(vec![1; bytes].into()))
}

/// How many bytes the body hands on before it has to wait; an error ends it.
async fn available(body: &mut RequestBody) -> Result<usize, Status> {
    // The runtime makes a task that never waits yield; here that would look like an empty body.
    tokio::task::yield_now().await;
    let mut bytes = 0;
    loop {
        let polled = poll_fn(|cx| Poll::Ready(Pin::new(&mut *body).poll_frame(cx))).await;
        match polled {
            Poll::Pending | Poll::Ready(None) => return Ok(bytes),
            Poll::Ready(Some(frame)) => bytes += frame?.into_data().unwrap().len(),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_announced_above_the_limit_is_refused_before_it_is_reserved() {
    let limits = limits();
    let (pieces, mut body) = request(&limits, &connect(&limits));
    pieces.send(begun(65 * MIB, 100)).unwrap();
    let status = available(&mut body).await.unwrap_err();
    assert!(status.message().contains("a request of 65MiB is announced, the limit is 64MiB"), "{status}");
    assert_eq!(limits.receiving_bytes(), 0);
    limits.follow_largest_message(Arc::new(AtomicU32::new(8 << 20)));
    let (pieces, mut body) = request(&limits, &connect(&limits));
    pieces.send(begun(8 * MIB, 100)).unwrap();
    assert_eq!(available(&mut body).await.unwrap(), 105);
}

/// The frame of a whole message.
fn framed(message: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0];
    bytes.extend(u32::try_from(message.len()).unwrap().to_be_bytes());
    bytes.extend_from_slice(message);
    bytes
}

#[tokio::test(start_paused = true)]
async fn a_message_between_the_limits_passes_by_in_pieces_of_any_size() {
    let limits = limits();
    let large = usize::try_from(2 * MIB).unwrap();
    // Field 1, the correlation id 5; then a payload that is not read.
    let mut message = vec![0x08, 5, 0x3a];
    message.resize(large, 1);
    let small = framed(b"small");
    let whole = [small.clone(), framed(&message), small.clone(), framed(&message), small.clone()].concat();
    for piece in [1_009, 65_536, 65_537, whole.len()] {
        let connection = connect(&limits);
        let (pieces, mut body) = request(&limits, &connection);
        let received = body.received();
        let mut out = Vec::new();
        let mut most = 0;
        for piece in whole.chunks(piece) {
            pieces.send(Ok(Frame::data(piece.to_vec().into()))).unwrap();
            tokio::task::yield_now().await;
            while let Poll::Ready(Some(frame)) =
                poll_fn(|cx| Poll::Ready(Pin::new(&mut body).poll_frame(cx))).await
            {
                out.extend_from_slice(&frame.unwrap().into_data().unwrap());
            }
            most = most.max(limits.receiving_bytes());
        }
        assert_eq!(most, 0, "nothing is reserved for what is left out");
        let empty = [0; 5];
        assert_eq!(out, [&small, &empty[..], &small, &empty, &small].concat(), "in pieces of {piece}");
        let skipped: Vec<_> =
            (0..5).map(|_| received.take().map(|skipped| skipped.head.correlation_id)).collect();
        assert_eq!(skipped, [None, Some(5), None, Some(5), None]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_message_that_passes_by_has_to_keep_arriving_too() {
    let limits = limits();
    let (pieces, mut body) = request(&limits, &connect(&limits));
    pieces.send(begun(2 * MIB, 10)).unwrap();
    let status = body.frame().await.unwrap().unwrap_err();
    assert!(status.message().contains("stopped arriving"), "{status}");
    let (pieces, mut body) = request(&limits, &connect(&limits));
    pieces.send(begun(2 * MIB, 10)).unwrap();
    drop(pieces);
    let status = body.frame().await.unwrap().unwrap_err();
    assert!(status.message().contains("stopped arriving"), "{status}");
}

#[tokio::test(start_paused = true)]
async fn a_whole_message_stays_charged_until_the_service_has_room_for_it_and_is_not_the_clients_fault() {
    let limits = limits();
    let connection = connect(&limits);
    limits.follow_largest_message(Arc::new(AtomicU32::new(8 << 20)));
    let (pieces, mut body) = request(&limits, &connection);
    let received = body.received();
    let bytes = usize::try_from(2 * MIB).unwrap();
    pieces.send(begun(2 * MIB, bytes - 1)).unwrap();
    body.frame().await.unwrap().unwrap();
    pieces.send(more(1)).unwrap();
    body.frame().await.unwrap().unwrap();
    // The message waits for memory for an hour: charged, and its connection is not closed for it.
    assert_eq!(limits.receiving_bytes(), 2 * MIB);
    tokio::time::sleep(Duration::from_secs(3600)).await;
    limits.registry.close_most_stalled();
    assert!(!connection.is_killed());
    received.release();
    assert_eq!(limits.receiving_bytes(), 0);
}

#[tokio::test(start_paused = true)]
async fn whole_messages_cost_nothing_and_a_part_is_charged_until_the_rest_is_here() {
    let limits = limits();
    let (pieces, mut body) = request(&limits, &connect(&limits));
    pieces.send(begun(100, 100)).unwrap();
    assert_eq!(available(&mut body).await.unwrap(), 105);
    assert_eq!(limits.receiving_bytes(), 0);
    pieces.send(begun(MIB, 10)).unwrap();
    assert_eq!(available(&mut body).await.unwrap(), 15);
    assert_eq!(limits.receiving_bytes(), MIB);
    pieces.send(more(usize::try_from(MIB).unwrap() - 10)).unwrap();
    // A service that asks for more has taken the message.
    available(&mut body).await.unwrap();
    assert_eq!(limits.receiving_bytes(), 0);
}

#[tokio::test(start_paused = true)]
async fn one_connection_gets_its_share_and_others_do_not_notice() {
    let limits = limits();
    let hostile = connect(&limits);
    let mut streams: Vec<_> = (0..1_000).map(|_| request(&limits, &hostile)).collect();
    for (pieces, body) in &mut streams {
        pieces.send(begun(MIB, 500_000)).unwrap();
        available(body).await.unwrap();
    }
    assert_eq!(limits.receiving_bytes(), 2 * MIB, "a thousand announcements, one share");
    let (pieces, mut body) = request(&limits, &connect(&limits));
    pieces.send(begun(MIB, 10)).unwrap();
    assert_eq!(available(&mut body).await.unwrap(), 15);
    drop(streams);
    assert_eq!(limits.receiving_bytes(), MIB);
}

#[tokio::test(start_paused = true)]
async fn a_message_that_stops_arriving_ends_its_stream_and_gives_its_memory_back() {
    let limits = limits();
    let (pieces, mut body) = request(&limits, &connect(&limits));
    pieces.send(begun(MIB, 10)).unwrap();
    assert_eq!(available(&mut body).await.unwrap(), 15);
    let began = Instant::now();
    let status = body.frame().await.unwrap().unwrap_err();
    assert!(status.message().contains("stopped arriving"), "{status}");
    assert_eq!(began.elapsed().as_secs(), 10);
    assert_eq!(limits.receiving_bytes(), 0);
    assert!(body.frame().await.is_none());
}

#[tokio::test(start_paused = true)]
async fn a_message_that_trickles_ends_as_well() {
    let limits = limits();
    let (pieces, mut body) = request(&limits, &connect(&limits));
    pieces.send(begun(MIB, 10)).unwrap();
    let began = Instant::now();
    let status = loop {
        match timeout(Duration::from_secs(5), body.frame()).await {
            Ok(Some(Ok(_))) => {}
            Ok(Some(Err(status))) => break status,
            Ok(None) => panic!("it ended without an error"),
            Err(_elapsed) => pieces.send(more(1)).unwrap(),
        }
    };
    assert!(status.message().contains("stopped arriving"), "{status}");
    assert_eq!(began.elapsed().as_secs(), 14, "10 s, and 4 s for 1 MiB at 256 KiB/s");
}

#[tokio::test(start_paused = true)]
async fn time_in_which_the_broker_does_not_ask_is_not_the_clients() {
    let limits = limits();
    let (pieces, mut body) = request(&limits, &connect(&limits));
    pieces.send(begun(MIB, 10)).unwrap();
    assert_eq!(available(&mut body).await.unwrap(), 15);
    pieces.send(more(1)).unwrap();
    assert_eq!(available(&mut body).await.unwrap(), 1);
    pieces.send(more(1)).unwrap();
    tokio::time::sleep(Duration::from_secs(600)).await;
    assert_eq!(available(&mut body).await.unwrap(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_holds_memory_which_others_wait_for_is_closed() {
    let limits = limits();
    let mut hoarders = Vec::new();
    let mut held = Vec::new();
    for _ in 0..6 {
        let hoarder = connect(&limits);
        held.push(limits.whole_answer_permit(Some(&hoarder), 2 * MIB).await);
        hoarders.push(hoarder);
    }
    assert_eq!(limits.answering_bytes(), 12 * MIB);
    tokio::time::sleep(Duration::from_secs(3600)).await;
    assert!(hoarders.iter().all(|hoarder| !hoarder.is_killed()), "no one waits, so no one is closed");

    let waiting = tokio::spawn({
        let (limits, reader) = (Arc::clone(&limits), connect(&limits));
        async move { limits.whole_answer_permit(Some(&reader), MIB).await }
    });
    let victim = loop {
        tokio::time::sleep(Duration::from_secs(1)).await;
        if let Some(victim) = hoarders.iter().position(|hoarder| hoarder.is_killed()) {
            break victim;
        }
    };
    assert_eq!(hoarders.iter().filter(|hoarder| hoarder.is_killed()).count(), 1);
    drop(held.remove(victim));
    drop(waiting.await.unwrap());
}

#[tokio::test(start_paused = true)]
async fn readers_that_take_nothing_keep_no_one_waiting() {
    for hoarders_hold_large_answers in [false, true] {
        let limits = limits();
        let began = Instant::now();
        let mut held = Vec::new();
        for n in 0..19 {
            let hoarder = connect(&limits);
            if hoarders_hold_large_answers && n < 6 {
                held.push((limits.whole_answer_permit(Some(&hoarder), 2 * MIB).await, hoarder));
                continue;
            }
            // As much as it may get.
            let first = limits.answer_permit(Some(&hoarder), 8 * MIB).await;
            let second = timeout(Duration::from_secs(1), limits.answer_permit(Some(&hoarder), 8 * MIB)).await;
            held.push((first, Arc::clone(&hoarder)));
            held.push((second.ok().flatten(), hoarder));
        }
        let waited = Instant::now();
        let permit = limits.answer_permit(Some(&connect(&limits)), MIB).await.unwrap();
        assert_eq!(waited.elapsed(), Duration::ZERO, "others hold {} bytes", limits.answering_bytes());
        assert!(permit.bytes() >= 64 * KIB, "{}", permit.bytes());
        assert!(held.iter().all(|(_, hoarder)| !hoarder.is_killed()), "no connection had to be closed");
        assert!(limits.answering_bytes() <= 16 * MIB && began.elapsed() < Duration::from_secs(30));
    }
}

#[tokio::test(start_paused = true)]
async fn who_is_alone_gets_all_that_it_asks_for() {
    let limits = limits();
    let permit = limits.answer_permit(Some(&connect(&limits)), 2 * MIB).await.unwrap();
    assert_eq!(permit.bytes(), 2 * MIB);
    let permit = limits.answer_permit(Some(&connect(&limits)), 100).await.unwrap();
    assert_eq!(permit.bytes(), KIB);
}

#[tokio::test(start_paused = true)]
async fn an_answers_charge_lives_as_long_as_its_bytes() {
    let limits = limits();
    let connection = connect(&limits);
    let mut permit = limits.answer_permit(Some(&connection), MIB).await.unwrap();
    permit.shrink_to(300 * KIB);
    assert_eq!(limits.answering_bytes(), 300 * KIB);
    let permits = AnswerPermits::default();
    let (messages, stream) = mpsc::channel(1);
    messages.send((Bytes::from_static(b"records"), Some(permit))).await.unwrap();
    drop(messages);
    let stream = Permitted::new(stream, permits.clone());
    let inner = Body::new(StreamBody::new(stream.map(|bytes| Ok::<_, Status>(Frame::data(bytes)))));
    let mut body = AnswerBody::new(inner, Some(permits), None);
    let bytes = body.frame().await.unwrap().unwrap().into_data().unwrap();
    assert!(body.frame().await.is_none());
    drop(body);
    assert_eq!(bytes, b"records"[..]);
    let slice = bytes.slice(2..3);
    drop(bytes);
    assert_eq!(limits.answering_bytes(), 300 * KIB, "a slice in the send queue keeps all of it");
    drop(slice);
    assert_eq!(limits.answering_bytes(), 0);
}

#[tokio::test]
async fn connections_above_the_limit_are_closed_and_places_are_given_back() {
    let limits = limits();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let mut incoming = limits.incoming(listener);
    let mut open = Vec::new();
    for _ in 0..20 {
        let client = TcpStream::connect(address).await.unwrap();
        open.push((client, incoming.next().await.unwrap().unwrap()));
    }
    let mut refused = TcpStream::connect(address).await.unwrap();
    let accepting = tokio::spawn(async move { incoming.next().await.unwrap().unwrap() });
    assert_eq!(refused.read(&mut [0; 1]).await.unwrap_or(0), 0);
    open.pop();
    let mut client = TcpStream::connect(address).await.unwrap();
    let mut accepted = accepting.await.unwrap();
    client.write_all(b"hello").await.unwrap();
    let mut bytes = [0; 5];
    accepted.read_exact(&mut bytes).await.unwrap();
    assert_eq!(&bytes, b"hello");
    assert_eq!(limits.metrics.connections.open.get(), 20);
    drop((open, accepted));
    assert_eq!(limits.metrics.connections.open.get(), 0);
}

#[tokio::test]
async fn killing_a_connection_wakes_who_waits_for_it() {
    let limits = limits();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let _client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let mut accepted = limits.incoming(listener).next().await.unwrap().unwrap();
    let connection = tonic::transport::server::Connected::connect_info(&accepted);
    let reading = tokio::spawn(async move { accepted.read(&mut [0; 1]).await });
    tokio::task::yield_now().await;
    assert!(connection.kill());
    assert_eq!(reading.await.unwrap().unwrap_err().kind(), std::io::ErrorKind::ConnectionAborted);
}
