//! `__groups`: the topic that holds the state of groups.

use std::sync::Arc;

use corduroy_api::Refusal;
use corduroy_metadata::{CreateInternalTopic, CreateTopic};
use corduroy_types::{TopicId, TopicName};

use crate::engine::Engine;

/// Partitions of `__groups`. It never changes, because a group's name decides which partition it is in.
const PARTITION_COUNT: u32 = 50;
/// Small segments: the newest one is not compacted, and a coordinator reads all of it.
const SEGMENT_BYTES: &str = "4MiB";

/// `__groups`.
pub(super) fn name() -> TopicName {
    #[expect(clippy::expect_used, reason = "a constant that follows the rule for names")]
    TopicName::new("__groups").expect("a valid name")
}

/// Creates it, unless it exists.
///
/// # Errors
/// The metadata log cannot be written.
pub(super) async fn create(engine: &Arc<Engine>) -> Result<(), Refusal> {
    let configs = [("cleanup.policy", "compact"), ("durability", "sync"), ("segment.bytes", SEGMENT_BYTES)];
    let command = CreateInternalTopic(CreateTopic {
        name: name(),
        topic_id: TopicId::from_bytes(uuid::Uuid::new_v4().into_bytes()),
        partition_count: PARTITION_COUNT,
        replication: None,
        defaults: Vec::new(),
        configs: configs.map(|(key, value)| (key.to_owned(), value.to_owned())).into(),
        if_not_exists: true,
        now: engine.clock().now(),
    });
    engine.replicas().change(command).await.map(drop)
}
