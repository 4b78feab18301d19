//! `logctl group ..`

mod delete;
mod describe;
mod export;
mod import;
mod kick;
mod lag;
mod ls;
mod plan;
mod reset;
mod snapshot;
mod stored;

use corduroy_client::{GroupOffset, PartitionIndex};
use corduroy_types::TopicName;

use crate::{cli::GroupCommand, error::Stop, exit::Exit, ui::Ui};

pub(crate) async fn run(command: &GroupCommand, ui: &mut Ui<'_>) -> Result<Exit, Stop> {
    match command {
        GroupCommand::Ls(args) => ls::run(args, ui).await,
        GroupCommand::Describe(args) => describe::run(args, ui).await,
        GroupCommand::Lag(args) => lag::run(args, ui).await,
        GroupCommand::Reset(args) => reset::run(args, ui).await,
        GroupCommand::Export(args) => export::run(args, ui).await,
        GroupCommand::Import(args) => import::run(args, ui).await,
        GroupCommand::Kick(args) => kick::run(args, ui).await,
        GroupCommand::Delete(args) => delete::run(args, ui).await,
    }
}

/// Says on stderr that nothing happened.
fn note_dry_run(ui: &mut Ui<'_>) {
    ui.note("dry run: nothing was changed");
}

/// Partitions in few words: `orders:0,1,2 audit:0`; `-` for none.
fn partition_list(partitions: &[(TopicName, PartitionIndex)]) -> String {
    let mut text = String::new();
    let mut previous: Option<&TopicName> = None;
    for (topic, partition) in partitions {
        if previous == Some(topic) {
            text.push_str(&format!(",{partition}"));
        } else {
            let gap = if text.is_empty() { "" } else { " " };
            text.push_str(&format!("{gap}{topic}:{partition}"));
        }
        previous = Some(topic);
    }
    if text.is_empty() { "-".to_owned() } else { text }
}

/// The same for scripts: `["orders:0", "orders:1"]`.
fn partition_names(partitions: &[(TopicName, PartitionIndex)]) -> Vec<String> {
    partitions.iter().map(|(topic, partition)| format!("{topic}:{partition}")).collect()
}

/// How many offsets a committed position lies beyond the partition's end, where its consumer finds nothing to read.
fn beyond_end(offset: &GroupOffset) -> u64 {
    let committed = offset.committed.as_ref().filter(|_| offset.error.is_none());
    committed.map_or(0, |committed| committed.offset.distance_from(offset.high_watermark))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partitions_of_a_topic_stand_together() {
        let pair = |topic: &str, partition| (TopicName::new(topic).unwrap(), PartitionIndex(partition));
        assert_eq!(partition_list(&[]), "-");
        let all = [pair("audit", 0), pair("orders", 0), pair("orders", 2)];
        assert_eq!(partition_list(&all), "audit:0 orders:0,2");
        assert_eq!(partition_names(&all), ["audit:0", "orders:0", "orders:2"]);
    }
}
