//! Options of a member of a group, and joining.

use std::{collections::BTreeMap, fmt, sync::Arc, time::Duration};

use corduroy_api::v1;
use corduroy_member::Member;
use corduroy_types::{ErrorCode, MIB, TopicName, hidden_character};
use tokio::{
    sync::{mpsc, oneshot},
    time::Instant,
};
use uuid::Uuid;

use super::{
    GroupConsumer, RebalanceHook,
    assignment_task::AssignmentTask,
    core::{Core, Options},
    heartbeat_task::HeartbeatTask,
    hook::AnyHook,
};
use crate::{Client, ClientError, Event, OffsetSpec, backoff::Backoff, topics::topic_name};

const BUFFER_BYTES: u64 = 64 * MIB;
const IN_FLIGHT_MAX: u32 = 65_536;
const COMMIT_EVERY: Duration = Duration::from_secs(5);
const STUCK_AFTER: Duration = Duration::from_secs(60);
/// The least that the broker is given to answer a heartbeat, in addition to the time it may hold the answer back.
const PATIENCE_LEAST: Duration = Duration::from_millis(500);
/// The time-outs are always said, so that broker and client plan with the same.
const SESSION_TIMEOUT: Duration = Duration::from_secs(45);
const REBALANCE_TIMEOUT: Duration = Duration::from_secs(60);
const NAME_BYTES_MAX: usize = 249;
const PATTERN_BYTES_MAX: usize = 1024;

/// When the group's position is committed (Kafka: `enable.auto.commit`, which commits what was handed out, done or
/// not).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Commit {
    /// What is [done](crate::Message::done), in the background and when partitions go: each record is handled at
    /// least once.
    Processed {
        /// How often.
        every: Duration,
    },
    /// Before messages are handed out, batch by batch: each record is handled at most once. What was fetched and not
    /// handed out is given back when partitions go in good order.
    BeforeHandling,
    /// Only when the program says so, with [`GroupConsumer::commit`] or
    /// [`commit_offsets`](GroupConsumer::commit_offsets). Where nothing was committed, the place where reading begins
    /// is, nevertheless.
    Manual,
    /// Not at all, not even where reading begins: to look at what a group would read.
    Never,
}

/// What to do where records are gone that the group has not read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum OnPositionLost {
    /// Return an error, do not read the partition, and leave the group's position as it is.
    #[default]
    Fail,
    /// Go on at the log start, and report with an [`Event`](crate::Event) how many are missing.
    Start,
    /// Go on at the end, and report with an [`Event`](crate::Event) how many are missing.
    End,
}

/// How a group shares partitions out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Assignor {
    /// Evenly, moving as few partitions as possible.
    Uniform,
    /// The same partitions of every topic to the same member, for topics that are read together.
    Range,
}

/// Options of a [`GroupConsumer`]; made by [`ConsumerBuilder::group`](crate::ConsumerBuilder::group).
#[derive(Clone)]
#[must_use = "a builder does nothing until it builds"]
pub struct GroupConsumerBuilder {
    client: Client,
    group: String,
    topics: Vec<String>,
    pattern: String,
    start: OffsetSpec,
    commit: Commit,
    on_position_lost: OnPositionLost,
    instance: String,
    session_timeout: Duration,
    rebalance_timeout: Duration,
    assignor: Option<Assignor>,
    buffer_bytes: u64,
    in_flight_max: u32,
    stuck_after: Duration,
    hook: Option<Arc<dyn AnyHook>>,
}

impl fmt::Debug for GroupConsumerBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GroupConsumerBuilder").field("group", &self.group).finish_non_exhaustive()
    }
}

impl GroupConsumerBuilder {
    pub(crate) fn new(client: Client, group: String) -> Self {
        Self {
            client,
            group,
            topics: Vec::new(),
            pattern: String::new(),
            start: OffsetSpec::Start,
            commit: Commit::Processed { every: COMMIT_EVERY },
            on_position_lost: OnPositionLost::Fail,
            instance: String::new(),
            session_timeout: SESSION_TIMEOUT,
            rebalance_timeout: REBALANCE_TIMEOUT,
            assignor: None,
            buffer_bytes: BUFFER_BYTES,
            in_flight_max: IN_FLIGHT_MAX,
            stuck_after: STUCK_AFTER,
            hook: None,
        }
    }

    /// Reads these topics. One that does not exist yet is read from when it does, and an
    /// [`Event::TopicMissing`](crate::Event::TopicMissing) reports it.
    pub fn topics<T: Into<String>>(mut self, topics: impl IntoIterator<Item = T>) -> Self {
        self.topics.extend(topics.into_iter().map(Into::into));
        self
    }

    /// Reads all topics whose whole name matches this regular expression, those of
    /// [`topics`](Self::topics) and those to come too. The broker matches it; at most 1,024 bytes.
    pub fn pattern(mut self, pattern: impl Into<String>) -> Self {
        self.pattern = pattern.into();
        self
    }

    /// Where to begin in partitions where the group has committed nothing: at [`OffsetSpec::Start`] by default
    /// (Kafka: `auto.offset.reset`, which begins at the end). That place is committed before the first record is
    /// handed out, unless commits are [`Commit::Never`]. Partitions that are added after the member joined begin at their
    /// start: everything in them came later.
    pub fn start(mut self, start: OffsetSpec) -> Self {
        self.start = start;
        self
    }

    /// When the group's position is committed: [`Commit::Processed`] every 5 s by default (Kafka:
    /// `auto.commit.interval.ms`).
    pub fn commit(mut self, commit: Commit) -> Self {
        self.commit = commit;
        self
    }

    /// What to do where records are gone that the group has not read, because of retention, say: fail, by default
    /// (Kafka: `auto.offset.reset`, which skips them silently).
    pub fn on_position_lost(mut self, on_position_lost: OnPositionLost) -> Self {
        self.on_position_lost = on_position_lost;
        self
    }

    /// Makes it a static member (Kafka: `group.instance.id`): a program that comes back as the same instance within
    /// its session gets the same partitions, and no one else notices. No two programs may share an instance: the
    /// newer one is in.
    pub fn instance(mut self, instance: impl Into<String>) -> Self {
        self.instance = instance.into();
        self
    }

    /// After how long without a heartbeat the member counts as gone: 1 s to 1 h, 45 s by default, whatever the
    /// broker uses for members that say nothing (Kafka: `session.timeout.ms`).
    pub fn session_timeout(mut self, timeout: Duration) -> Self {
        self.session_timeout = timeout;
        self
    }

    /// How long releasing partitions may take, before the member is removed from the group: 1 s to 1 h, 60 s by
    /// default, whatever the broker uses for members that say nothing (Kafka: `max.poll.interval.ms`). Messages that
    /// were handed out get half of it to be done.
    pub fn rebalance_timeout(mut self, timeout: Duration) -> Self {
        self.rebalance_timeout = timeout;
        self
    }

    /// How the group shares partitions out, by default as it does already, and uniformly in a new group (Kafka:
    /// `group.remote.assignor`). It holds for the whole group.
    pub fn assignor(mut self, assignor: Assignor) -> Self {
        self.assignor = Some(assignor);
        self
    }

    /// How much may be fetched ahead, in bytes: 64 MiB by default, at least 1 MiB (Kafka: near `fetch.max.bytes`).
    /// Messages that the program keeps count, too.
    pub fn buffer_bytes(mut self, bytes: u64) -> Self {
        self.buffer_bytes = bytes;
        self
    }

    /// How many messages may be handed out without being done before no more are: 65,536 by default, at least 1. It
    /// bounds the bookkeeping, at less than 64 bytes each. With [`Commit::BeforeHandling`] and [`Commit::Never`]
    /// messages count as done when they are handed out.
    pub fn in_flight_max(mut self, count: u32) -> Self {
        self.in_flight_max = count;
        self
    }

    /// For how long a message may be handed out without being done before an
    /// [`Event::RecordStuck`](crate::Event::RecordStuck) names it: 60 s by default. The event comes up to a quarter of
    /// that late.
    pub fn stuck_after(mut self, after: Duration) -> Self {
        self.stuck_after = after;
        self
    }

    /// What the program does when partitions come and go.
    pub fn rebalance(mut self, hook: impl RebalanceHook) -> Self {
        self.hook = Some(Arc::new(hook));
        self
    }

    /// Joins the group, and begins to read what it is given.
    ///
    /// # Errors
    /// `INVALID_REQUEST` for options that cannot be, `INVALID_TOPIC_NAME`, `GROUP_FULL`; `UNAVAILABLE`, `TIMED_OUT`,
    /// `STARTING`, `COORDINATOR_LOADING`: retry later.
    #[tracing::instrument(level = "debug", name = "join", skip_all, fields(group = %self.group))]
    pub async fn build(self) -> Result<GroupConsumer, ClientError> {
        self.check()?;
        let join = self.join()?;
        let before = self.partitions_before().await?;
        let shared = Arc::clone(&self.client.shared);
        let options = Options {
            before,
            group: self.group.as_str().into(),
            member: Uuid::new_v4().to_string(),
            start: self.start,
            commit: self.commit,
            on_position_lost: self.on_position_lost,
            is_static: !self.instance.is_empty(),
            stuck_after: self.stuck_after,
            rebalance_timeout: self.rebalance_timeout,
            hook: self.hook,
        };
        let third = self.session_timeout / 3;
        let longest_wait = third.min(shared.request_timeout / 2);
        let core = Core::new(shared, options, self.buffer_bytes, self.in_flight_max.into());
        let (command_tx, commands) = mpsc::unbounded_channel();
        let (heartbeat_command_tx, heartbeat_commands) = mpsc::unbounded_channel();
        let (event_tx, events) = mpsc::unbounded_channel();
        let (joined_to, joined) = oneshot::channel();
        let heartbeat_task = HeartbeatTask {
            core: Arc::clone(&core),
            member: Member::new(u64::try_from(longest_wait.as_millis()).unwrap_or(u64::MAX)),
            join,
            answer_timeout: third.max(PATIENCE_LEAST),
            heartbeat_commands,
            events: event_tx,
            joined: Some(joined_to),
            born: Instant::now(),
            failures: 0,
            backoff: Backoff::default(),
            leave_by: None,
        };
        tokio::spawn(heartbeat_task.run());
        tokio::spawn(AssignmentTask::new(Arc::clone(&core), commands, events, heartbeat_command_tx).run());
        // From here on, whatever happens to this future, the member leaves the group when this is dropped.
        let consumer = GroupConsumer::new(Arc::clone(&core), command_tx);
        match joined.await {
            Ok(joined) => {
                joined?;
                tokio::spawn(tell_missing(core, self.topics));
                Ok(consumer)
            }
            Err(_) => Err(ClientError::new(ErrorCode::Closed, "the runtime is shutting down")),
        }
    }

    /// How many partitions each topic has now, where reading does not begin at the start anyway.
    async fn partitions_before(&self) -> Result<Option<BTreeMap<TopicName, u32>>, ClientError> {
        if self.start == OffsetSpec::Start {
            return Ok(None);
        }
        let until = Instant::now() + self.client.shared.request_timeout;
        let mut backoff = Backoff::default();
        loop {
            let error = match self.client.admin().list_topics().await {
                Ok(topics) => {
                    let counts = topics.into_iter().map(|topic| (topic.name, topic.partition_count));
                    return Ok(Some(counts.collect()));
                }
                Err(error) => error,
            };
            // As when joining: a broker that starts is waited for, one that is not there is an error.
            let wait = backoff.next();
            let is_waited_for = error.is_retriable() && error.code() != ErrorCode::Unavailable;
            if !is_waited_for || Instant::now() + wait > until {
                return Err(error);
            }
            tokio::time::sleep(wait).await;
        }
    }

    fn check(&self) -> Result<(), ClientError> {
        check_name("group", &self.group)?;
        if !self.instance.is_empty() {
            check_name("instance", &self.instance)?;
        }
        for topic in &self.topics {
            topic_name(topic)?;
        }
        if self.topics.is_empty() && self.pattern.is_empty() {
            return Err(invalid("a consumer of a group needs topics or a pattern to read".to_owned()));
        }
        if self.pattern.len() > PATTERN_BYTES_MAX {
            let got = self.pattern.len();
            return Err(invalid(format!(
                "the pattern has {got} bytes, at most {PATTERN_BYTES_MAX} are allowed"
            )));
        }
        if self.buffer_bytes < MIB {
            return Err(invalid(format!("buffer_bytes is {}, must be at least {MIB}", self.buffer_bytes)));
        }
        if self.in_flight_max == 0 {
            return Err(invalid("in_flight_max is 0, must be at least 1".to_owned()));
        }
        Ok(())
    }

    fn join(&self) -> Result<v1::JoinGroup, ClientError> {
        let assignor = match self.assignor {
            None => "",
            Some(Assignor::Uniform) => "uniform",
            Some(Assignor::Range) => "range",
        };
        Ok(v1::JoinGroup {
            subscription: Some(v1::Subscription {
                topics: self.topics.clone(),
                pattern: self.pattern.clone(),
            }),
            instance: self.instance.clone(),
            client_id: self.client.shared.client_id.chars().take(NAME_BYTES_MAX).collect(),
            assignor: assignor.to_owned(),
            session_timeout_ms: timeout_ms("session_timeout", self.session_timeout)?,
            rebalance_timeout_ms: timeout_ms("rebalance_timeout", self.rebalance_timeout)?,
            again: false,
        })
    }
}

/// Reports topics that do not exist, which a group may wait for for ever.
async fn tell_missing(core: Arc<Core>, topics: Vec<String>) {
    for topic in topics.iter().filter_map(|topic| topic_name(topic).ok()) {
        match core.client.refresh_topic(&topic).await {
            Ok(_) => {}
            Err(error) if error.code() == ErrorCode::TopicNotFound => {
                let group = Arc::clone(&core.options.group);
                core.client.events.emit(Event::TopicMissing { group, topic, error });
            }
            Err(error) => tracing::debug!(%topic, %error, "whether the topic exists could not be found out"),
        }
    }
}

fn check_name(what: &str, name: &str) -> Result<(), ClientError> {
    match name.len() {
        0 => Err(invalid(format!("the {what} has no name"))),
        got if got > NAME_BYTES_MAX => {
            Err(invalid(format!("the {what}'s name has {got} bytes, at most {NAME_BYTES_MAX} are allowed")))
        }
        _ if hidden_character(name).is_some() => {
            Err(invalid(format!("the {what}'s name {name:?} holds characters that are not shown")))
        }
        _ => Ok(()),
    }
}

/// A time-out in milliseconds.
fn timeout_ms(what: &str, timeout: Duration) -> Result<u32, ClientError> {
    match u32::try_from(timeout.as_millis()) {
        Ok(timeout_ms @ 1_000..=3_600_000) => Ok(timeout_ms),
        _ => Err(invalid(format!("{what} is {} ms, must be 1000 to 3600000 ms", timeout.as_millis()))),
    }
}

fn invalid(message: String) -> ClientError {
    ClientError::new(ErrorCode::InvalidRequest, message)
}
