//! The broker's configuration as typed values: valid by construction once it has been loaded.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::PathBuf,
    time::Duration,
};

use corduroy_types::BrokerId;

use super::{
    memory,
    topic_defaults::TopicDefaults,
    values::{Advertise, Auto, LogFilter, LogFormat, PartitionLevel, Watermark},
};

/// Everything that can be configured about one broker.
///
/// The one table of keys ([`super::keys`]) gives each field its name, default, range and words; a value that
/// was built from it keeps those ranges.
#[derive(Clone, Debug, PartialEq)]
pub struct BrokerConfig {
    /// `[node]`: who this broker is and where it keeps its data.
    pub node: NodeConfig,
    /// `[listen]`: where it answers.
    pub listen: ListenConfig,
    /// `[cluster]`: which cluster it belongs to.
    pub cluster: ClusterConfig,
    /// `[security]`: what it may do without protection.
    pub security: SecurityConfig,
    /// `[storage]`: its disks.
    pub storage: StorageConfig,
    /// `[topic_defaults]`: the configs of topics created from now on.
    pub topic_defaults: TopicDefaults,
    /// `[groups]`: consumer groups.
    pub groups: GroupsConfig,
    /// `[producers]`: what is remembered of producers.
    pub producers: ProducersConfig,
    /// `[limits]`: what one client, and all together, may cost.
    pub limits: LimitsConfig,
    /// `[metrics]`: what is exported.
    pub metrics: MetricsConfig,
    /// `[log]`: what the process says about itself.
    pub log: LogConfig,
}

/// `[node]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeConfig {
    /// This broker's number in its cluster; at least 1.
    pub id: BrokerId,
    /// Directory of everything that must survive a restart.
    pub data_dir: PathBuf,
    /// Bytes of memory that the broker's buffers may take together.
    pub memory_limit: Auto<u64>,
    /// How long a stop waits for clients to finish before it closes their connections.
    pub drain_timeout: Duration,
}

/// `[listen]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenConfig {
    /// gRPC: data and administration. Port 0 takes a free one.
    pub grpc: SocketAddr,
    /// HTTP: metrics and health. Port 0 takes a free one.
    pub http: SocketAddr,
    /// The address that clients connect to.
    pub advertise: Advertise,
    /// Connections to `grpc` at one time; more are closed as they arrive.
    pub max_connections: u32,
}

/// `[cluster]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterConfig {
    /// A name for people; the cluster's identity is the id in its data directories.
    pub name: String,
}

/// `[security]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecurityConfig {
    /// Whether listeners may be reached from other machines without TLS and authentication.
    pub allow_insecure: bool,
}

/// `[storage]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StorageConfig {
    /// Less free space than this is warned about.
    pub disk_low_watermark: Watermark,
    /// Less free space than this refuses produce requests.
    pub disk_block_watermark: Watermark,
    /// A commit round under way for longer means that the disk hangs.
    pub disk_stall_timeout: Duration,
    /// Memory for the keys of the partition that is being compacted.
    pub compaction_buffer_bytes: u64,
    /// Threads that recover logs at start; auto: one for each processor.
    pub recovery_threads: Auto<u32>,
    /// How fast the scrub reads; 0 turns it off.
    pub scrub_bytes_per_second: u64,
    /// The time from the beginning of one pass of the scrub to the next.
    pub scrub_every: Duration,
}

/// `[groups]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupsConfig {
    /// How long committed offsets are kept after the later of the last commit and the group becoming empty.
    pub offsets_retention: Duration,
    /// The session of a member that does not choose its own.
    pub session_timeout: Duration,
    /// How long a member that does not choose may take to release partitions.
    pub rebalance_timeout: Duration,
    /// How many members a group may have.
    pub members_max: u32,
}

/// `[producers]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProducersConfig {
    /// Log time after which a partition forgets an idempotent producer that appended nothing more.
    pub id_expiration: Duration,
}

/// `[limits]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LimitsConfig {
    /// Bytes of one request; above it the stream ends.
    pub request_max_bytes: u64,
    /// Bytes of produce requests received or being received, all connections together.
    pub inflight_produce_bytes: u64,
    /// Bytes of record batches in one fetch answer (one batch is always allowed).
    pub fetch_max_bytes: u64,
    /// Bytes of fetch answers not yet sent, all connections together.
    pub inflight_fetch_bytes: u64,
    /// Requests and streams open at one time on one connection.
    pub streams_per_connection: u32,
}

/// `[metrics]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MetricsConfig {
    /// For which partitions there are series of their own.
    pub partition_level: PartitionLevel,
}

/// `[log]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogConfig {
    /// What is logged.
    pub level: LogFilter,
    /// In which form.
    pub format: LogFormat,
}

impl NodeConfig {
    /// [`NodeConfig::memory_limit`] in bytes; auto is a quarter of what the control group, or the host, allows.
    pub fn memory_limit_bytes(&self) -> u64 {
        self.memory_limit.or_else(memory::auto_limit_bytes)
    }
}

impl StorageConfig {
    /// [`StorageConfig::recovery_threads`] as a number of at least 1.
    pub fn recovery_threads(&self) -> usize {
        let threads = self.recovery_threads.or_else(|| {
            let processors = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
            // They wait for the disk more than they compute, and a disk merges syncs that come together.
            u32::try_from(processors).unwrap_or(u32::MAX).saturating_mul(4)
        });
        usize::try_from(threads).unwrap_or(usize::MAX)
    }
}

impl BrokerConfig {
    /// The configuration of a development node: every default, with its data below `data_dir`.
    pub fn development(data_dir: impl Into<PathBuf>) -> Self {
        let mut config = Self::default();
        config.node.data_dir = data_dir.into();
        config
    }

    /// The configuration of a broker inside another process, such as a test: as [`Self::development`], on
    /// loopback ports that are free, with small buffers.
    pub fn for_tests(data_dir: impl Into<PathBuf>) -> Self {
        let mut config = Self::development(data_dir);
        let any_port = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);
        config.listen.grpc = any_port;
        config.listen.http = any_port;
        config.node.memory_limit = Auto::Set(256 * corduroy_types::MIB);
        config
    }
}
