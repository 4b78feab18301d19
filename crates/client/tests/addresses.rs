//! Where a client connects to, and what it says of a server that is no broker.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may fail loudly")]

use std::{net::SocketAddr, time::Duration};

use corduroy_client::{Client, ClientError, ErrorCode};
use corduroy_testing::Broker;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
};

/// A server that says this to everyone, after it has heard something if it waits.
async fn server(waits: bool, says: &'static [u8]) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut heard = [0; 1024];
                if waits {
                    let _ = socket.read(&mut heard).await;
                }
                let _ = socket.write_all(says).await;
                // Until the client goes.
                while socket.read(&mut heard).await.is_ok_and(|count| count > 0) {}
            });
        }
    });
    address
}

async fn connecting(address: SocketAddr) -> ClientError {
    Client::builder(format!("http://{address}")).connect().await.unwrap_err()
}

#[tokio::test]
async fn a_server_that_is_no_broker_is_called_so() {
    let broker = Broker::start().await.unwrap();
    let http = b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
    for (name, address) in [
        ("the broker's own metrics port", broker.http_address()),
        ("an HTTP/1 server", server(true, http).await),
        ("a server that speaks first", server(false, b"SSH-2.0-OpenSSH_9.9\r\n").await),
        ("a line protocol", server(true, b"-ERR unknown command\r\n").await),
        ("a TLS server", server(true, &[0x15, 3, 3, 0, 2, 2, 22, 0, 0, 0, 0]).await),
    ] {
        let error = connecting(address).await;
        assert_eq!(error.code(), ErrorCode::UnexpectedAnswer, "{name}: {error}");
        let wanted = format!("no Corduroy broker listens at http://{address}: ");
        assert!(error.message().starts_with(&wanted), "{name}: {error}");
        assert!(error.hint().contains("9480"), "{name}: {}", error.hint());
        assert!(!error.is_retriable(), "{name}");

        // What goes on without `connect` says so at once, too.
        let client = Client::builder(format!("http://{address}")).connect_lazy().unwrap();
        let error = client.producer().build().await.unwrap().prepare("t").await.unwrap_err();
        assert_eq!(error.code(), ErrorCode::UnexpectedAnswer, "{name}: {error}");
        let error = client.consumer().group("g").topics(["t"]).build().await.unwrap_err();
        assert_eq!(error.code(), ErrorCode::UnexpectedAnswer, "{name}: {error}");

        // With a broker's address behind it, that one is used.
        let urls = format!("http://{address},{}", broker.url());
        Client::builder(urls).connect().await.unwrap();
    }
}

#[tokio::test]
async fn a_server_that_hangs_up_may_be_a_broker_that_comes_later() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { while listener.accept().await.is_ok() {} });
    let error = connecting(address).await;
    assert_eq!(error.code(), ErrorCode::Unavailable, "{error}");
}

#[tokio::test]
async fn names_and_both_kinds_of_addresses_are_dialled() {
    let broker = Broker::start().await.unwrap();
    let port = broker.address().port();
    for host in ["127.0.0.1", "localhost"] {
        let url = format!("http://{host}:{port}");
        Client::builder(&url).request_timeout(Duration::from_secs(20)).connect().await.unwrap();
    }
    let loopback: SocketAddr = "[::1]:0".parse().unwrap();
    if std::net::TcpListener::bind(loopback).is_err() {
        // A machine without IPv6.
        return;
    }
    let broker = Broker::start_with(|config| config.listen.grpc = loopback).await.unwrap();
    assert!(broker.url().starts_with("http://[::1]:"), "{}", broker.url());
    let client = Client::builder(broker.url()).connect().await.unwrap();
    assert_eq!(client.admin().describe_cluster().await.unwrap().brokers.len(), 1);
}
