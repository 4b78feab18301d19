//! Distinguishing a server that is no Corduroy broker from a broker in trouble.

use std::error::Error;

use tonic::{Code, Status};

/// How tonic begins to say that an answer was HTTP and not gRPC; the HTTP status follows.
const NOT_GRPC: &str = "grpc-status header missing, mapped from HTTP status code ";

/// What a failed call says of a peer that does not speak the Corduroy API at all; `None` where it may well be a broker.
pub(crate) fn foreign_answer(status: &Status) -> Option<String> {
    if let Some(http) = status.message().strip_prefix(NOT_GRPC) {
        // What stands between us and a broker that is down answers with 502 to 504, which becomes this.
        return (status.code() != Code::Unavailable).then(|| format!("it answers with HTTP status {http}"));
    }
    if status.message().contains("invalid compression flag") {
        return Some("its answer is no gRPC message".to_owned());
    }
    if status.code() == Code::Unimplemented && status.message().is_empty() {
        return Some("it is a gRPC server without the Corduroy API".to_owned());
    }
    is_not_http2(status).then(|| "it does not speak HTTP/2".to_owned())
}

/// Whether what came was no HTTP/2: frames that are none are found on this side, and are no failure of the connection.
fn is_not_http2(status: &Status) -> bool {
    let mut cause: Option<&dyn Error> = status.source();
    while let Some(error) = cause {
        if let Some(error) = error.downcast_ref::<h2::Error>() {
            let reason = error.reason();
            return error.is_library()
                && matches!(reason, Some(h2::Reason::FRAME_SIZE_ERROR | h2::Reason::PROTOCOL_ERROR));
        }
        cause = error.source();
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_of_servers_that_are_no_brokers() {
        let status = |code: Code, message: &str| Status::new(code, message);
        let http = |code, number: u16| status(code, &format!("{NOT_GRPC}{number}"));
        for (status, says) in [
            (http(Code::Unimplemented, 404), Some("HTTP status 404")),
            (http(Code::Internal, 400), Some("HTTP status 400")),
            // A proxy before a broker that is down.
            (http(Code::Unavailable, 503), None),
            (status(Code::Unimplemented, ""), Some("without the Corduroy API")),
            (status(Code::Unimplemented, "this version has no transactions"), None),
            (status(Code::Unavailable, "shutting down"), None),
            (status(Code::Internal, ""), None),
            (
                status(Code::Internal, "protocol error: received message with invalid compression flag: 60"),
                Some("no gRPC message"),
            ),
        ] {
            let found = foreign_answer(&status);
            assert_eq!(found.is_some(), says.is_some(), "{status:?}");
            assert!(found.unwrap_or_default().contains(says.unwrap_or_default()), "{status:?}");
        }
    }
}
