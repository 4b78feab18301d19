//! `brokerd health`: asks a running broker's `/readyz`, so that a container needs no curl.

use std::{
    io::{self, Read as _, Write as _},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream},
    process::ExitCode,
    time::Duration,
};

use crate::{cli::Flags, complain, exit, print, sources::load_configuration};

const TIMEOUT: Duration = Duration::from_secs(5);
/// The answer is a few lines; more is not read.
const ANSWER_BYTES_MAX: u64 = 64 * 1024;

pub(crate) fn run(flags: &Flags) -> ExitCode {
    let config = match load_configuration(flags) {
        Ok(loaded) => loaded.config,
        Err(errors) => {
            complain(errors);
            return exit::wrong_config();
        }
    };
    let address = reachable(config.listen.http);
    match ask(address) {
        Ok(ProbeAnswer { ready: true, body }) => print(&body),
        Ok(ProbeAnswer { ready: false, body }) => {
            print(&body);
            exit::FAILED
        }
        Err(error) => {
            complain(format!(
                "error: no answer from http://{address}/readyz: {error}; is the broker running?"
            ));
            exit::FAILED
        }
    }
}

/// An address to dial for one that is listened on: "any address" is reached through loopback.
fn reachable(mut address: SocketAddr) -> SocketAddr {
    if address.ip().is_unspecified() {
        address.set_ip(match address.ip() {
            IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
        });
    }
    address
}

struct ProbeAnswer {
    ready: bool,
    body: String,
}

fn ask(address: SocketAddr) -> io::Result<ProbeAnswer> {
    let mut stream = TcpStream::connect_timeout(&address, TIMEOUT)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.set_write_timeout(Some(TIMEOUT))?;
    let request = format!("GET /readyz HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes())?;
    let mut text = String::new();
    stream.take(ANSWER_BYTES_MAX).read_to_string(&mut text)?;
    let (head, body) = text
        .split_once("\r\n\r\n")
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "that is no HTTP answer"))?;
    Ok(ProbeAnswer { ready: head.starts_with("HTTP/1.1 200 "), body: body.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    #[test]
    fn any_address_is_reached_through_loopback() {
        let dialled = |text: &str| reachable(text.parse().unwrap()).to_string();
        assert_eq!(dialled("0.0.0.0:1"), "127.0.0.1:1");
        assert_eq!(dialled("[::]:1"), "[::1]:1");
        assert_eq!(dialled("10.0.0.1:1"), "10.0.0.1:1");
    }

    #[test]
    fn the_status_line_decides() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let server = std::thread::spawn(move || {
            for answer in ["HTTP/1.1 200 OK\r\n\r\nok\n", "HTTP/1.1 503 No\r\n\r\ndisk: full\n", "garbage"] {
                let (mut stream, _) = listener.accept().unwrap();
                let mut request = [0; 1024];
                assert!(stream.read(&mut request).unwrap() > 0);
                stream.write_all(answer.as_bytes()).unwrap();
            }
        });
        assert!(ask(address).unwrap().ready);
        let answer = ask(address).unwrap();
        assert_eq!((answer.ready, answer.body.as_str()), (false, "disk: full\n"));
        assert!(ask(address).is_err());
        server.join().unwrap();
    }
}
