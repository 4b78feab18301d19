//! What can go wrong outside producing and consuming, and how statuses of the transport are read.

use std::{error::Error, io::ErrorKind};

use corduroy_api::{ERROR_DETAIL_KEY, Refusal};
use corduroy_types::ErrorCode;
use tonic::{Code, Status};

/// What every error of this crate says of the refusal behind it.
macro_rules! tells_its_refusal {
    ($error:ty, $($refusal:ident).+) => {
        impl $error {
            /// The whole refusal: code, message, hint, and the offsets it is about.
            #[must_use]
            pub fn refusal(&self) -> &$crate::Refusal {
                &self.$($refusal).+
            }

            /// The code, from the closed set.
            #[must_use]
            pub fn code(&self) -> $crate::ErrorCode {
                self.refusal().code
            }

            /// What was wrong, with the values that were wrong, without the code.
            #[must_use]
            pub fn message(&self) -> &str {
                &self.refusal().message
            }

            /// What to do about it.
            #[must_use]
            pub fn hint(&self) -> &str {
                &self.refusal().hint
            }
        }
    };
}
pub(crate) use tells_its_refusal;

/// Why connecting, an admin call or a lookup failed.
///
/// [`code`](Self::code) is from the closed set of codes; [`is_retriable`](Self::is_retriable) returns whether the
/// same call may succeed later without anybody changing it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{refusal}")]
pub struct ClientError {
    refusal: Box<Refusal>,
}

impl ClientError {
    pub(crate) fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self::from(Refusal::new(code, message))
    }

    #[must_use]
    pub(crate) fn with_hint(self, hint: impl Into<String>) -> Self {
        Self::from((*self.refusal).with_hint(hint))
    }

    /// An answer that the API does not allow.
    pub(crate) fn unexpected(what: impl Into<String>) -> Self {
        Self::new(ErrorCode::UnexpectedAnswer, what)
    }

    /// Whether the same call may succeed later without anybody changing it.
    #[must_use]
    pub fn is_retriable(&self) -> bool {
        self.code().is_retriable()
    }
}

tells_its_refusal!(ClientError, refusal);

impl From<Refusal> for ClientError {
    fn from(refusal: Refusal) -> Self {
        Self { refusal: Box::new(refusal) }
    }
}

/// Whether a status means that the connection failed, rather than what a broker decided.
pub(crate) fn is_connection_failure(status: &Status) -> bool {
    !has_detail(status)
        && matches!(status.code(), Code::Unavailable | Code::Cancelled | Code::Unknown | Code::Internal)
}

/// Whether a broker says more of it than the status does.
pub(crate) fn has_detail(status: &Status) -> bool {
    status.metadata().get_bin(ERROR_DETAIL_KEY).is_some()
}

/// The refusal in a status; a broken connection names the broker's address and the innermost cause.
pub(crate) fn refusal_of(status: &Status, url: &str) -> Refusal {
    if !is_connection_failure(status) {
        let refusal = Refusal::from_status(status);
        return if has_detail(status) || !refusal.message.is_empty() {
            refusal
        } else {
            Refusal { message: format!("{url} answered with gRPC status {:?}", status.code()), ..refusal }
        };
    }
    Refusal::new(
        ErrorCode::Unavailable,
        format!("the broker at {url} cannot be reached: {}", cause_of(status)),
    )
}

/// Whether there was no connection, so that nothing can have been sent.
pub(crate) fn is_unsent(status: &Status) -> bool {
    let mut cause: Option<&dyn Error> = status.source();
    while let Some(error) = cause {
        let kind = error.downcast_ref::<std::io::Error>().map(std::io::Error::kind);
        if matches!(
            kind,
            Some(
                ErrorKind::ConnectionRefused
                    | ErrorKind::HostUnreachable
                    | ErrorKind::NetworkUnreachable
                    | ErrorKind::AddrNotAvailable
            )
        ) {
            return true;
        }
        cause = error.source();
    }
    false
}

/// The innermost cause: "Connection refused", not "transport error".
pub(crate) fn cause_of(status: &Status) -> String {
    let mut cause: Option<&dyn Error> = status.source();
    while let Some(inner) = cause.and_then(Error::source) {
        cause = Some(inner);
    }
    match cause {
        Some(cause) => cause.to_string(),
        None if status.message().is_empty() => "the connection was closed".to_owned(),
        None => status.message().to_owned(),
    }
}
