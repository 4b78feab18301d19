//! The values that labels take: closed sets, so that the number of series has an upper limit.

use prometheus_client::encoding::{EncodeLabelValue, LabelValueEncoder};

macro_rules! label_words {
    ($(#[$meta:meta])* $name:ident { $($(#[$variant_meta:meta])* $variant:ident = $word:literal,)+ }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum $name { $($(#[$variant_meta])* $variant,)+ }

        impl $name {
            /// Every value.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The label's text.
            pub const fn word(self) -> &'static str {
                match self { $(Self::$variant => $word),+ }
            }
        }

        impl EncodeLabelValue for $name {
            fn encode(
                &self,
                encoder: &mut LabelValueEncoder<'_>,
            ) -> Result<(), std::fmt::Error> {
                EncodeLabelValue::encode(&self.word(), encoder)
            }
        }
    };
}

label_words! {
    /// One rpc.
    Api {
        /// `Produce.Produce`; one request for each message of the stream.
        Produce = "produce",
        /// `Produce.InitProducer`.
        InitProducer = "init_producer",
        /// `Fetch.Fetch`.
        Fetch = "fetch",
        /// `Fetch.Consume`; one request for the whole stream.
        Consume = "consume",
        /// `Fetch.ListOffsets`.
        ListOffsets = "list_offsets",
        /// `Admin.ListTopics`.
        ListTopics = "list_topics",
        /// `Admin.DescribeTopics`.
        DescribeTopics = "describe_topics",
        /// `Admin.CreateTopics`.
        CreateTopics = "create_topics",
        /// `Admin.DeleteTopics`.
        DeleteTopics = "delete_topics",
        /// `Admin.AddPartitions`.
        AddPartitions = "add_partitions",
        /// `Admin.AlterTopicConfigs`.
        AlterTopicConfigs = "alter_topic_configs",
        /// `Admin.DeleteRecords`.
        DeleteRecords = "delete_records",
        /// `Admin.RecoverPartition`.
        RecoverPartition = "recover_partition",
        /// `Admin.ListProducers`.
        ListProducers = "list_producers",
        /// `Cluster.DescribeCluster`.
        DescribeCluster = "describe_cluster",
        /// `Cluster.AcceptJournalDamage`.
        AcceptJournalDamage = "accept_journal_damage",
        /// `Cluster.SetLogLevel`.
        SetLogLevel = "set_log_level",
        /// `Groups.Heartbeat`; its time includes the wait for news.
        Heartbeat = "heartbeat",
        /// `Groups.CommitOffsets`.
        CommitOffsets = "commit_offsets",
        /// `Groups.FetchOffsets`.
        FetchOffsets = "fetch_offsets",
        /// `Groups.Subscribe`; one request for the whole stream.
        Subscribe = "subscribe",
        /// `Groups.ListGroups`.
        ListGroups = "list_groups",
        /// `Groups.DescribeGroups`.
        DescribeGroups = "describe_groups",
        /// `Groups.DeleteGroups`.
        DeleteGroups = "delete_groups",
        /// `Groups.ForgetOffsets`.
        ForgetOffsets = "forget_offsets",
        /// `Groups.RemoveMember`.
        RemoveMember = "remove_member",
    }
}

label_words! {
    /// A part of a request's time.
    Phase {
        /// From the decoded request to the finished answer.
        Total = "total",
        /// A produce request waits for room in memory.
        Queue = "queue",
        /// The broker's own work for a produce request: checks, and the append into memory.
        Local = "local",
        /// A produce request waits for its commit round.
        Fsync = "fsync",
    }
}

label_words! {
    /// How it ended to load the configuration again.
    ReloadResult {
        /// What a running broker can take of it was taken.
        Ok = "ok",
        /// It cannot be read or is not valid; the broker goes on with what it had.
        Failed = "failed",
    }
}

label_words! {
    /// How a connection attempt ended, or a connection.
    ConnectionResult {
        /// It was taken.
        Accepted = "accepted",
        /// `listen.max_connections` was reached.
        Refused = "refused",
        /// It held memory without progress and was closed.
        Killed = "killed",
    }
}

label_words! {
    /// The way of bytes.
    Direction {
        /// Received.
        In = "in",
        /// Sent.
        Out = "out",
    }
}

label_words! {
    /// A listener.
    Listener {
        /// `listen.grpc`.
        Grpc = "grpc",
    }
}

label_words! {
    /// How a produce request ended.
    ProduceOutcome {
        /// Acknowledged.
        Ok = "ok",
        /// Refused before it was appended.
        NotWritten = "not_written",
        /// Appended, or perhaps: no one knows whether it survives.
        Unknown = "unknown",
    }
}

label_words! {
    /// Who read.
    To {
        /// A consumer.
        Client = "client",
    }
}

label_words! {
    /// How a commit round reached stable storage.
    RoundKind {
        /// Each segment that it touched was synced.
        Direct = "direct",
        /// The journal was synced; the segments are later.
        Journal = "journal",
    }
}

label_words! {
    /// What was done about stored bytes that fail their checksum.
    CorruptionAction {
        /// An unacknowledged tail was cut when the log was recovered.
        Cut = "cut",
        /// A read was refused.
        ReadRefused = "read_refused",
        /// Found at start or by the scrub, and left where it is.
        Fenced = "fenced",
        /// Given up by an operator.
        GivenUp = "given_up",
        /// A small file whose contents were taken from elsewhere.
        Repaired = "repaired",
        /// Found at start in the commit journal.
        Journal = "journal",
    }
}

label_words! {
    /// Why segments were removed.
    DeletedReason {
        /// `retention.ms`.
        Time = "time",
        /// `retention.bytes`.
        Size = "size",
        /// `delete-records`.
        DeleteRecords = "delete_records",
    }
}

label_words! {
    /// How a commit of an offset ended.
    CommitResult {
        /// Durable.
        Ok = "ok",
        /// Refused.
        Refused = "refused",
    }
}

label_words! {
    /// Why partitions were assigned again.
    RebalanceReason {
        /// A member came in.
        Joined = "joined",
        /// A member left.
        Left = "left",
        /// A member sent no heartbeat within its session time-out.
        SessionEnded = "session_ended",
        /// A member did not release partitions in time.
        RebalanceTimedOut = "rebalance_timed_out",
        /// An operator put a member out.
        Removed = "removed",
        /// A member wants to read something else.
        Subscription = "subscription",
        /// Topics or partitions have come or gone.
        Topics = "topics",
    }
}

label_words! {
    /// A cache.
    Cache {
        /// Batches just appended.
        Tail = "tail",
    }
}

label_words! {
    /// Whether a cache had it.
    CacheResult {
        /// Served from memory.
        Hit = "hit",
        /// Read from disk.
        Miss = "miss",
    }
}

impl Api {
    /// The rpc with this path, as in `/corduroy.v1.Fetch/ListOffsets`.
    pub fn of_path(path: &str) -> Option<Self> {
        let (_service, method) = path.strip_prefix("/corduroy.v1.")?.split_once('/')?;
        let is_method = |api: &Self| {
            let name = api.word().split('_').flat_map(|word| {
                word.bytes()
                    .enumerate()
                    .map(|(at, letter)| if at == 0 { letter.to_ascii_uppercase() } else { letter })
            });
            name.eq(method.bytes())
        };
        Self::ALL.iter().copied().find(is_method)
    }
}
