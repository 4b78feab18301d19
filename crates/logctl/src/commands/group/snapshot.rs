//! What is known before a group's offsets are set: whether someone reads, what was committed, where the logs begin
//! and end.

use std::collections::{BTreeMap, BTreeSet};

use corduroy_client::{ClientError, PartitionDescription};
use corduroy_types::{ErrorCode, Offset};

use crate::{
    connect::{Session, shell_word},
    error::CliError,
    output::counted,
    ui::Ui,
};

/// A partition by topic and index.
pub(super) type TopicPartition = (String, u32);

/// A group as it is.
#[derive(Debug)]
pub(super) struct GroupSnapshot {
    name: String,
    exists: bool,
    members: u64,
    committed: BTreeMap<TopicPartition, Offset>,
}

/// Where a partition's log begins and ends for a consumer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Bounds {
    pub(super) log_start: Offset,
    pub(super) high_watermark: Offset,
}

impl GroupSnapshot {
    /// Asks for a group; one that does not exist has nothing.
    ///
    /// # Errors
    /// Why there was no answer.
    pub(super) async fn of(session: &Session, name: &str) -> Result<Self, CliError> {
        let group = match session.read(|admin| async move { admin.describe_group(name).await }).await {
            Ok(group) => group,
            Err(error) if error.code() == ErrorCode::GroupNotFound => {
                let (name, committed) = (name.to_owned(), BTreeMap::new());
                return Ok(Self { name, exists: false, members: 0, committed });
            }
            Err(error) => return Err(session.group_error(name, &error)),
        };
        let committed = group.partitions.into_iter().filter_map(|partition| {
            let name = (partition.offset.topic.to_string(), partition.offset.partition.0);
            Some((name, partition.offset.committed?.offset))
        });
        Ok(Self {
            name: name.to_owned(),
            exists: true,
            members: group.members.len() as u64,
            committed: committed.collect(),
        })
    }

    /// What was committed there.
    pub(super) fn committed(&self, partition: &TopicPartition) -> Option<Offset> {
        self.committed.get(partition).copied()
    }

    /// Whether the group exists.
    pub(super) fn exists(&self) -> bool {
        self.exists
    }

    /// The error for a group that is read by someone: its members would commit over what is set.
    pub(super) fn with_members(&self, session: &Session) -> Option<CliError> {
        (self.members > 0).then(|| {
            let (name, word) = (&self.name, shell_word(&self.name));
            let message = format!(
                "group {name:?} has {}, and offsets are set only for a group without",
                counted(self.members, "member")
            );
            CliError::new(ErrorCode::GroupNotEmpty, message)
                .in_context(&session.target.describe())
                .with_hint(format!("stop its consumers, or put members out: logctl group kick {word} MEMBER"))
                .with_hint(format!("logctl group describe {word} --members"))
                .with_detail("group", self.name.as_str())
                .with_detail("member_count", self.members)
        })
    }

    /// Says that a group will be made.
    pub(super) fn note_if_new(&self, ui: &mut Ui<'_>) {
        if !self.exists {
            ui.note(format!("note: group {:?} does not exist yet; setting offsets makes it", self.name));
        }
    }
}

/// The bounds of every partition of these topics.
///
/// # Errors
/// A topic does not exist, or a partition cannot be read.
pub(super) async fn bounds(
    session: &Session,
    topics: &BTreeSet<String>,
) -> Result<BTreeMap<TopicPartition, Bounds>, CliError> {
    if topics.is_empty() {
        return Ok(BTreeMap::new());
    }
    let names: Vec<&String> = topics.iter().collect();
    let described =
        session.read_each(&names, |admin, names| async move { admin.describe_topics(&names).await }).await;
    let described = described.map_err(|error| session.error(&error))?;
    let mut bounds = BTreeMap::new();
    for (name, topic) in topics.iter().zip(described) {
        let topic = topic.map_err(|error| unknown_topic(session, name, &error))?;
        for partition in &topic.partitions {
            let PartitionDescription { partition: index, log_start, high_watermark, error, .. } = partition;
            if let Some(error) = error {
                return Err(session.error(error).with_detail("topic", name.as_str()));
            }
            let (log_start, high_watermark) = (*log_start, *high_watermark);
            bounds.insert((name.clone(), index.0), Bounds { log_start, high_watermark });
        }
    }
    Ok(bounds)
}

/// A topic that a group should read is there already, or misspelt.
fn unknown_topic(session: &Session, topic: &str, error: &ClientError) -> CliError {
    let mut ours = session.error(error);
    if ours.code == ErrorCode::TopicNotFound {
        ours.hints = vec!["logctl topic ls".to_owned()];
    }
    ours.with_detail("topic", topic)
}
