//! Where brokers are: the addresses a client is given.

use corduroy_types::ErrorCode;
use http::Uri;

use crate::ClientError;

/// One or more addresses of brokers, tried in turn until one answers.
///
/// Made from one text, in which commas separate addresses, or from a list of texts. Each is written
/// `http://HOST:PORT`; it is checked when the client connects. `HOST` is an IPv4 address, an IPv6 address in brackets
/// (`http://[::1]:9480`, without a zone), or a name; of a name with several addresses, IPv4 and IPv6, the first that
/// answers is used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BrokerUrls(Vec<String>);

impl BrokerUrls {
    /// The addresses, parsed.
    pub(crate) fn parse(&self) -> Result<Vec<BrokerUrl>, ClientError> {
        if self.0.is_empty() {
            return Err(invalid("no broker address was given".to_owned()));
        }
        self.0.iter().map(|url| BrokerUrl::parse(url)).collect()
    }
}

impl From<&str> for BrokerUrls {
    fn from(urls: &str) -> Self {
        Self(urls.split(',').map(|url| url.trim().to_owned()).collect())
    }
}

impl From<String> for BrokerUrls {
    fn from(urls: String) -> Self {
        Self::from(urls.as_str())
    }
}

impl From<&String> for BrokerUrls {
    fn from(urls: &String) -> Self {
        Self::from(urls.as_str())
    }
}

impl From<Vec<String>> for BrokerUrls {
    fn from(urls: Vec<String>) -> Self {
        Self(urls)
    }
}

impl From<&[String]> for BrokerUrls {
    fn from(urls: &[String]) -> Self {
        Self(urls.to_vec())
    }
}

impl<const N: usize> From<[&str; N]> for BrokerUrls {
    fn from(urls: [&str; N]) -> Self {
        Self(urls.map(str::to_owned).to_vec())
    }
}

/// An address that can be dialled.
#[derive(Debug, Clone)]
pub(crate) struct BrokerUrl {
    /// As people write it, for messages: `http://HOST:PORT`.
    pub(crate) text: String,
    pub(crate) uri: Uri,
}

impl BrokerUrl {
    fn parse(url: &str) -> Result<Self, ClientError> {
        let shown = format!("broker address {url:?}");
        if url.is_empty() {
            return Err(invalid("a broker address is empty".to_owned()));
        }
        if !url.contains("://") {
            return Err(
                invalid(format!("{shown} has no scheme")).with_hint(format!("Write it as http://{url}."))
            );
        }
        let uri: Uri = url.parse().map_err(|e| invalid(format!("{shown} is no URL: {e}")))?;
        match uri.scheme_str() {
            Some("http") => {}
            Some("https") => {
                return Err(invalid(format!("{shown} asks for TLS, which this version does not have")));
            }
            _ => return Err(invalid(format!("{shown} has a scheme other than http"))),
        }
        let (Some(host), Some(port)) = (uri.host(), uri.port_u16()) else {
            return Err(invalid(format!("{shown} has no port from 1 to 65535")).with_hint(
                "Write it as http://HOST:PORT; a broker listens on port 9480 unless it is configured otherwise.",
            ));
        };
        if host.is_empty() || port == 0 {
            return Err(invalid(format!("{shown} has no host, or port 0")));
        }
        if uri.path_and_query().is_some_and(|path| path.as_str() != "/") {
            return Err(invalid(format!("{shown} has a path behind the port")));
        }
        if uri.authority().is_some_and(|authority| authority.as_str().contains('@')) {
            return Err(invalid("a broker address holds a user name; it takes none".to_owned()));
        }
        Ok(Self { text: format!("http://{host}:{port}"), uri })
    }
}

fn invalid(message: String) -> ClientError {
    ClientError::new(ErrorCode::InvalidAddress, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_checked_with_a_clear_error() {
        for good in ["http://127.0.0.1:9480", "http://broker.example:1/", "http://[::1]:9480"] {
            assert!(BrokerUrls::from(good).parse().is_ok(), "{good}");
        }
        for (bad, says) in [
            ("", "empty"),
            ("localhost:9480", "no scheme"),
            ("https://x:1", "TLS"),
            ("ftp://x:1", "scheme"),
            ("http://x", "no port"),
            ("http://x:1/path", "path"),
            ("http://x:1,", "empty"),
            ("http://me@x:1", "user name"),
            ("http://x:99999", "no port"),
        ] {
            let error = BrokerUrls::from(bad).parse().unwrap_err();
            assert!(error.to_string().contains(says), "{bad}: {error}");
            assert_eq!(error.code(), ErrorCode::InvalidAddress);
        }
        assert!(BrokerUrls::from(Vec::new()).parse().is_err());
    }

    #[test]
    fn commas_separate_addresses() {
        let urls = BrokerUrls::from("http://a:1, http://b:2").parse().unwrap();
        assert_eq!(
            urls.iter().map(|url| url.text.as_str()).collect::<Vec<_>>(),
            ["http://a:1", "http://b:2"]
        );
    }
}
