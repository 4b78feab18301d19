//! What to read: topics, partitions, and from where to where.

use corduroy_client::{Consumer, OffsetSpec};
use corduroy_types::{ErrorCode, MIB};
use regex::Regex;

use crate::{
    cli::ConsumeArgs,
    connect::{self, Session, about_topic},
    error::CliError,
    range::{OffsetArg, now},
    retry::Kind,
};

/// Fetched ahead of what is printed: enough to keep the connection busy.
pub(super) const BUFFER_BYTES: u64 = 16 * MIB;

/// Where to begin and where to stop, as of now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Range {
    pub(super) from: OffsetSpec,
    pub(super) to: Option<OffsetSpec>,
}

/// The range of the command line.
///
/// # Errors
/// A usage error for an end in the future, which no broker can know, and for an end before the beginning.
pub(super) fn range(args: &ConsumeArgs) -> Result<Range, CliError> {
    let now = now();
    let to = args.to.map(|to| to.at(now));
    if matches!(to, Some(OffsetArg::Time(time)) if time > now) {
        return Err(CliError::usage("--to lies in the future, and where it will be is not known yet")
            .with_hint("leave --to out to follow the topic, or stop at --to end"));
    }
    let reversed = match (args.from().at(now), to) {
        (OffsetArg::Offset(from), Some(OffsetArg::Offset(to))) => from > to,
        (OffsetArg::Time(from), Some(OffsetArg::Time(to))) => from > to,
        (OffsetArg::BeforeEnd(from), Some(OffsetArg::BeforeEnd(to))) => from < to,
        (OffsetArg::End, Some(OffsetArg::Start | OffsetArg::BeforeEnd(1..))) => true,
        _ => false,
    };
    if reversed {
        return Err(CliError::usage("--to lies before --from, so nothing lies between them")
            .with_hint("--from is the first place to read, --to the first one not to"));
    }
    Ok(Range { from: args.from().at(now).into(), to: to.map(OffsetSpec::from) })
}

/// The topics that were named, and those that match the pattern now; each once.
///
/// # Errors
/// `TOPIC_NOT_FOUND` when a pattern matches none.
pub(super) async fn topics(args: &ConsumeArgs, session: &Session) -> Result<Vec<String>, CliError> {
    let mut topics = args.topics.clone();
    if let Some(pattern) = &args.pattern {
        let whole = Regex::new(&format!("^(?:{})$", pattern.as_str()))
            .map_err(|error| CliError::usage(format!("--pattern {:?}: {error}", pattern.as_str())))?;
        let listed = session.read(|admin| async move { admin.list_topics().await }).await;
        let listed = listed.map_err(|error| session.error(&error))?;
        let matching = listed.iter().map(|topic| topic.name.as_str()).filter(|name| whole.is_match(name));
        topics.extend(matching.map(str::to_owned));
        if topics.is_empty() {
            let message = format!("no topic matches {:?}", pattern.as_str());
            return Err(CliError::new(ErrorCode::TopicNotFound, message)
                .in_context(&session.target.describe())
                .with_hint("logctl topic ls"));
        }
    }
    let mut seen = std::collections::HashSet::new();
    topics.retain(|topic| seen.insert(topic.clone()));
    Ok(topics)
}

/// Refuses to begin behind where it shall stop: an offset that a partition does not have yet.
///
/// # Errors
/// `OFFSET_OUT_OF_RANGE`, as when no end was given.
pub(super) fn check_ends(args: &ConsumeArgs, consumer: &Consumer, session: &Session) -> Result<(), CliError> {
    let OffsetArg::Offset(from) = args.from() else { return Ok(()) };
    for assigned in consumer.assignment() {
        let Some(until) = assigned.until.filter(|until| from > *until) else { continue };
        let place = format!("{}/{}", assigned.topic, assigned.partition);
        let what = if args.to == Some(OffsetArg::End) { "the end" } else { "--to" };
        return Err(CliError::new(
            ErrorCode::OffsetOutOfRange,
            format!("{place}: offset {from} lies beyond {what}, which is offset {until} there"),
        )
        .in_context(&session.target.describe())
        .with_hint(format!("begin at an offset up to {until}, or leave --to out and begin --from end"))
        .with_detail("topic", assigned.topic.as_str())
        .with_detail("partition", assigned.partition.0)
        .with_detail("until", until.get()));
    }
    Ok(())
}

/// A consumer of all that.
///
/// # Errors
/// As [`corduroy_client::ConsumerBuilder::build`].
pub(super) async fn consumer(
    args: &ConsumeArgs,
    topics: &[String],
    range: Range,
    session: &Session,
) -> Result<Consumer, CliError> {
    let mut builder = session.client.consumer().buffer_bytes(BUFFER_BYTES);
    builder = if args.partitions.is_empty() {
        builder.topics(topics).start(range.from)
    } else {
        let partitions = &args.partitions;
        builder.assign(topics.iter().flat_map(|topic| {
            partitions.iter().map(move |partition| (topic.as_str(), *partition, range.from))
        }))
    };
    if let Some(to) = range.to {
        builder = builder.until(to);
    }
    let built = session.retry_policy.call(Kind::Read, || builder.clone().build()).await;
    built.map_err(|error| {
        let ours = connect::from_client(&error).in_context(&session.target.describe());
        let named = topics.iter().find(|topic| ours.message.contains(&format!("{topic:?}")));
        match named.or(topics.first()) {
            Some(topic) => about_topic(ours, topic),
            None => ours,
        }
    })
}
