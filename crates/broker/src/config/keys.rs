//! The one table of configuration keys. Parsing, the environment, `config reference`, `config show` and
//! `docs/configuration.md` all come from it.

use std::{sync::LazyLock, time::Duration};

use corduroy_types::{GIB, KIB, MIB};

use super::{
    key::Key,
    kinds::{
        address, advertise, auto, broker_id, bytes, duration, log_filter, name, number, path, truth,
        watermark, word,
    },
    values::{LogFormat, PartitionLevel},
};

/// A section of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Section {
    /// Its name, as in `[listen]`.
    pub name: &'static str,
    /// What belongs in it.
    pub doc: &'static str,
}

/// The sections, in their order in the file.
pub const SECTIONS: &[Section] = &[
    Section { name: "node", doc: "Who this broker is, and where it keeps its data." },
    Section {
        name: "listen",
        doc: "Where it answers. There is no TLS and no authentication in this version.",
    },
    Section { name: "cluster", doc: "Which cluster it belongs to." },
    Section { name: "security", doc: "What it may do without protection." },
    Section { name: "storage", doc: "Its disk." },
    Section {
        name: "topic_defaults",
        doc: "For topics created from now on: the same names and units as `topic create --set`.",
    },
    Section { name: "groups", doc: "Consumer groups." },
    Section { name: "producers", doc: "What is remembered of producers." },
    Section { name: "limits", doc: "What one client, and all together, may cost." },
    Section { name: "metrics", doc: "What is exported at /metrics." },
    Section { name: "log", doc: "What the process says about itself, on stderr." },
];

macro_rules! key {
    ($section:ident.$name:ident, $kind:expr, $doc:expr) => {
        Key::new(
            (stringify!($section), stringify!($name)),
            $kind,
            $doc,
            |config| &config.$section.$name,
            |config, value| config.$section.$name = value,
        )
    };
}

/// Every key, section by section.
pub fn keys() -> &'static [Key] {
    static KEYS: LazyLock<Vec<Key>> = LazyLock::new(|| {
        let mut keys = node();
        keys.extend(listen());
        keys.extend(cluster_security_storage());
        keys.push(key!(
            topic_defaults.partitions,
            number(1..=10_000),
            "How many partitions a topic gets that is created without saying how many."
        ));
        keys.push(key!(
            topic_defaults.replication,
            auto(super::kinds::replicas()),
            "How many replicas; auto: 3, or as many as there are brokers."
        ));
        keys.extend(super::topic_defaults::config_keys());
        keys.extend(groups());
        keys.push(key!(
            producers.id_expiration,
            duration(Duration::from_secs(60)..=Duration::from_secs(365 * 24 * 3600)),
            "A partition forgets an idempotent producer that appended nothing for this long, in the log's own time: the \
             greatest timestamp in it, not the clock. A batch that is sent again later than that is not recognized."
        ));
        keys.extend(limits());
        keys.extend(metrics_and_log());
        keys
    });
    &KEYS
}

/// The key at `section.name`.
pub fn find(section: &str, name: &str) -> Option<&'static Key> {
    keys().iter().find(|key| key.section == section && key.name == name)
}

fn node() -> Vec<Key> {
    vec![
        key!(
            node.id,
            broker_id(),
            "This broker's number in its cluster. Never reuse the number of another disk."
        ),
        key!(
            node.data_dir,
            path(),
            "Everything that must survive a restart. Locked while the broker runs; a directory of another node or \
             cluster is refused."
        ),
        key!(
            node.memory_limit,
            auto(bytes(64 * MIB..=1024 * GIB)),
            "Bytes of memory for buffers, in four parts: the newest records, requests being received, requests not \
             yet answered, and answers being sent. auto: a quarter of the control group's or the host's memory, as \
             the page cache needs the rest."
        ),
        key!(
            node.drain_timeout,
            duration(Duration::ZERO..=Duration::from_secs(3600)),
            "How long a stop waits for clients to finish before it closes their connections."
        ),
    ]
}

fn listen() -> Vec<Key> {
    vec![
        key!(listen.grpc, address(), "gRPC: data and administration. Port 0 takes a free one."),
        key!(listen.http, address(), "HTTP: /metrics, /livez, /readyz, /healthz. Port 0 takes a free one."),
        key!(
            listen.advertise,
            advertise(),
            "The address that clients connect to; auto: the one that each of them dialled."
        ),
        key!(
            listen.max_connections,
            number(1..=1_000_000),
            "Connections to listen.grpc at one time; more are closed as they arrive."
        ),
    ]
}

fn cluster_security_storage() -> Vec<Key> {
    vec![
        key!(
            cluster.name,
            name(),
            "A name for people; the cluster's identity is the id in its data directories."
        ),
        key!(
            security.allow_insecure,
            truth(),
            "Allows listeners that other machines can reach, without TLS and authentication."
        ),
        key!(
            storage.disk_low_watermark,
            watermark(),
            "Less free space than this is warned about. One per cent counts for at most 2 GiB."
        ),
        key!(
            storage.disk_block_watermark,
            watermark(),
            "Less free space than this refuses produce requests with a retriable error, while reads, retention and \
             deletes go on. One per cent counts for at most 2 GiB."
        ),
        key!(
            storage.disk_stall_timeout,
            duration(Duration::from_millis(100)..=Duration::from_secs(3600)),
            "A commit round that takes longer means that the disk hangs: the broker is not ready until it ends, and \
             says so. Appends end as unknown at their own time-out."
        ),
        key!(
            storage.compaction_buffer_bytes,
            bytes(KIB..=16 * GIB),
            "Memory for the keys of the one partition that is being compacted: 32 bytes for each. With less, a pass does \
             a part and the next goes on."
        ),
        key!(
            storage.recovery_threads,
            auto(number(1..=1024)),
            "Threads that recover and close logs; auto: four for each processor."
        ),
        key!(
            storage.scrub_bytes_per_second,
            bytes(0..=GIB),
            "How fast the scrub reads what is stored, to find damage before a reader does; 0 turns it off."
        ),
        key!(
            storage.scrub_every,
            duration(Duration::from_secs(1)..=Duration::from_secs(365 * 24 * 3_600)),
            "The time from the beginning of one pass of the scrub over all that is stored to the next; the first begins \
             at start."
        ),
    ]
}

fn groups() -> Vec<Key> {
    let time_out = || duration(Duration::from_secs(1)..=Duration::from_secs(3600));
    vec![
        key!(
            groups.offsets_retention,
            duration(Duration::from_secs(60)..=Duration::from_secs(100 * 365 * 24 * 3600)),
            "How long a group's committed offsets are kept after its last commit or its last member, whichever is later."
        ),
        key!(
            groups.session_timeout,
            time_out(),
            "A member that sends no heartbeat for this long loses its partitions to the others, unless it chose another \
             time when it joined."
        ),
        key!(
            groups.rebalance_timeout,
            time_out(),
            "How long a member may take to finish with partitions that go to another one, unless it chose another time \
             when it joined; then it is removed from the group."
        ),
        key!(
            groups.members_max,
            number(1..=1_000_000),
            "How many members a group may have; more are refused."
        ),
    ]
}

fn limits() -> Vec<Key> {
    vec![
        key!(
            limits.request_max_bytes,
            bytes(128 * KIB..=GIB),
            "Bytes of one request; above it the stream ends. A produce request below it and above the largest \
             max.message.bytes and 64KiB is refused, and its stream goes on."
        ),
        key!(
            limits.inflight_produce_bytes,
            bytes(MIB..=1024 * GIB),
            "Bytes of requests being received, and again of produce requests not yet answered, all connections \
             together; then their senders wait. At most a quarter of node.memory_limit."
        ),
        key!(
            limits.fetch_max_bytes,
            bytes(64 * KIB..=GIB),
            "Bytes of record batches in one fetch answer, whatever the client asks for. One batch is always allowed."
        ),
        key!(
            limits.inflight_fetch_bytes,
            bytes(MIB..=1024 * GIB),
            "Bytes of fetch answers not yet sent, all connections together; a quarter of it is kept for small answers \
             while the rest is used up. At most a quarter of node.memory_limit."
        ),
        key!(
            limits.streams_per_connection,
            number(1..=10_000),
            "Requests and streams open at one time on one connection (HTTP/2 MAX_CONCURRENT_STREAMS)."
        ),
    ]
}

fn metrics_and_log() -> Vec<Key> {
    vec![
        key!(
            metrics.partition_level,
            word(PartitionLevel::WORDS, PartitionLevel::parse),
            "For which partitions there are series of their own; topics are the finest grain otherwise."
        ),
        key!(
            log.level,
            log_filter(),
            "What is logged, and after it single targets with their own level: \"info,corduroy_log=debug\". Loaded again \
             on SIGHUP."
        ),
        key!(
            log.format,
            word(LogFormat::WORDS, LogFormat::parse),
            "The form of the log; auto: text on a terminal, JSON otherwise."
        ),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::BrokerConfig;

    #[test]
    fn every_default_is_text_that_its_key_reads() {
        let defaults = BrokerConfig::default();
        for key in keys() {
            let mut config = defaults.clone();
            let text = key.show(&defaults);
            key.set(&mut config, &text).unwrap_or_else(|bad| panic!("{}: {}", key.path(), bad.text));
            assert_eq!(config, defaults, "{}", key.path());
        }
    }

    #[test]
    fn names_and_variables_are_unique_and_sections_known() {
        let mut variables: Vec<_> = keys().iter().map(Key::variable).collect();
        variables.sort_unstable();
        variables.dedup();
        assert_eq!(variables.len(), keys().len());
        for key in keys() {
            assert!(SECTIONS.iter().any(|section| section.name == key.section), "{}", key.path());
            assert!(key.doc.ends_with('.'), "{}", key.path());
        }
    }

    #[test]
    fn refusals_have_a_known_code_and_say_what_is_right() {
        let mut config = BrokerConfig::default();
        let mut refuse = |path: (&str, &str), text: &str| {
            let bad = find(path.0, path.1).unwrap().set(&mut config, text).unwrap_err();
            (bad.code.code, bad.text)
        };
        assert_eq!(
            refuse(("node", "id"), "0"),
            ("C0004", "0 is out of range; write a whole number from 1 to 2147483647".into())
        );
        assert_eq!(refuse(("node", "drain_timeout"), "soon").0, "C0003");
        assert_eq!(refuse(("metrics", "partition_level"), "leaders").1, "\"leaders\" is not one of off, all");
        assert_eq!(refuse(("limits", "request_max_bytes"), "1").0, "C0004");
        assert!(refuse(("node", "memory_limit"), "much").1.ends_with("or \"auto\""));
    }
}
