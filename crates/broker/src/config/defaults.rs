//! The built-in default of every key.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::PathBuf,
    time::Duration,
};

use corduroy_types::{BrokerId, MIB, TopicConfig};

use super::{
    model::{
        BrokerConfig, ClusterConfig, GroupsConfig, LimitsConfig, ListenConfig, LogConfig, MetricsConfig,
        NodeConfig, ProducersConfig, SecurityConfig, StorageConfig,
    },
    topic_defaults::TopicDefaults,
    values::{Advertise, Auto, LogFilter, LogFormat, PartitionLevel, Watermark},
};

impl Default for BrokerConfig {
    fn default() -> Self {
        let loopback = |port| SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port);
        Self {
            node: NodeConfig {
                id: BrokerId(1),
                data_dir: PathBuf::from("/var/lib/brokerd"),
                memory_limit: Auto::Auto,
                drain_timeout: Duration::from_secs(30),
            },
            listen: ListenConfig {
                grpc: loopback(9480),
                http: loopback(9481),
                advertise: Advertise::Auto,
                max_connections: 10_000,
            },
            cluster: ClusterConfig { name: "default".to_owned() },
            security: SecurityConfig { allow_insecure: false },
            storage: StorageConfig {
                disk_low_watermark: Watermark::Percent(10),
                disk_block_watermark: Watermark::Percent(5),
                disk_stall_timeout: Duration::from_secs(5),
                compaction_buffer_bytes: 32 * MIB,
                recovery_threads: Auto::Auto,
                scrub_bytes_per_second: 8 * MIB,
                scrub_every: Duration::from_secs(24 * 3_600),
            },
            topic_defaults: TopicDefaults {
                partitions: 1,
                replication: Auto::Auto,
                config: TopicConfig::default(),
            },
            groups: GroupsConfig {
                offsets_retention: Duration::from_secs(30 * 24 * 3600),
                session_timeout: Duration::from_secs(45),
                rebalance_timeout: Duration::from_secs(60),
                members_max: 10_000,
            },
            producers: ProducersConfig { id_expiration: Duration::from_secs(24 * 3600) },
            limits: LimitsConfig {
                request_max_bytes: 64 * MIB,
                inflight_produce_bytes: 256 * MIB,
                fetch_max_bytes: 50 * MIB,
                inflight_fetch_bytes: 256 * MIB,
                streams_per_connection: 128,
            },
            metrics: MetricsConfig { partition_level: PartitionLevel::Off },
            log: LogConfig { level: LogFilter::info(), format: LogFormat::Auto },
        }
    }
}
