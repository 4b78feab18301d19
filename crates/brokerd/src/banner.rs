//! The start-up report, on standard output.

use std::{fmt::Write as _, net::SocketAddr, time::Duration};

use corduroy_broker::{Recovery, config::BrokerConfig};
use corduroy_types::format_byte_size;

/// The port that `logctl` tries by itself.
const DEFAULT_PORT: u16 = 9480;

/// What the report contains.
pub(crate) struct Report<'a> {
    pub(crate) config: &'a BrokerConfig,
    pub(crate) development: bool,
    pub(crate) grpc: SocketAddr,
    pub(crate) http: SocketAddr,
    pub(crate) recovery: Recovery,
    pub(crate) took: Duration,
}

impl Report<'_> {
    /// The whole report.
    pub(crate) fn text(&self) -> String {
        let node = &self.config.node;
        let mut out = format!("brokerd {}  node {}  ({})\n", env!("CARGO_PKG_VERSION"), node.id, self.kind());
        let _ = writeln!(
            out,
            "  data   {}      durability {}",
            node.data_dir.display(),
            self.config.topic_defaults.config.durability
        );
        let _ = writeln!(out, "  grpc   http://{}      metrics http://{}/metrics", self.grpc, self.http);
        self.recovered(&mut out);
        let _ = write!(out, "ready in {} ms.", self.took.as_millis());
        if self.development {
            out.push_str(" Try in another terminal:\n");
            if self.grpc.port() != DEFAULT_PORT {
                let _ = writeln!(out, "  export LOGCTL_SERVER=http://{}", self.grpc);
            }
            out.push_str(
                "  logctl topic create hello && echo hi | logctl produce hello && logctl consume hello -n1",
            );
        }
        out.push('\n');
        out
    }

    fn kind(&self) -> String {
        let development = if self.development { ", development" } else { "" };
        let exposed = [self.grpc, self.http].iter().any(|address| !address.ip().is_loopback());
        let reach = if exposed { "open to other machines" } else { "loopback only" };
        format!("single node{development}: {reach}, no authentication")
    }

    fn recovered(&self, out: &mut String) {
        let Recovery { partitions, scanned_bytes, cut_bytes, took } = self.recovery;
        if scanned_bytes == 0 && cut_bytes == 0 {
            return;
        }
        let plural = if partitions == 1 { "" } else { "s" };
        let _ = writeln!(
            out,
            "  logs   {partitions} partition{plural} checked after an unclean stop: {} read, {} of unacknowledged \
             tail cut, in {} ms",
            format_byte_size(scanned_bytes),
            format_byte_size(cut_bytes),
            took.as_millis()
        );
    }
}
