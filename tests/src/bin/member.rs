//! A member of a group in a process of its own, for tests that kill it or let it stand still. Line by line it tells what
//! happens to it; a message counts as done when it is told.
//!
//! `member-under-test URL GROUP TOPIC SESSION_MS INSTANCE`

use std::{
    error::Error,
    fmt,
    io::{self, Write as _},
    time::Duration,
};

use corduroy_client::{Client, Commit, HookError, OffsetSpec, Rebalance, RebalanceHook, TopicPartition};

const COMMIT_EVERY: Duration = Duration::from_millis(50);

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [url, group, topic, session_ms, instance] = arguments.as_slice() else {
        return Err("it takes URL GROUP TOPIC SESSION_MS INSTANCE".into());
    };
    let client = Client::builder(url.as_str()).connect_lazy()?;
    let consumer = client
        .consumer()
        .group(group.as_str())
        .topics([topic.as_str()])
        .session_timeout(Duration::from_millis(session_ms.parse()?))
        .commit(Commit::Processed { every: COMMIT_EVERY })
        .instance(instance.as_str())
        .rebalance(Teller);
    let mut consumer = consumer.build().await?;
    tell(format_args!("member {}", consumer.member_id()))?;
    while let Some(message) = consumer.next().await {
        match message {
            Ok(message) => {
                // Told first: what is committed was told, whenever the process ends.
                tell(format_args!("got {} {}", message.partition(), message.offset()))?;
                message.done();
            }
            Err(error) => tell(format_args!("error {error}"))?,
        }
    }
    Ok(())
}

/// One line, written out at once.
fn tell(line: fmt::Arguments<'_>) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{line}")?;
    out.flush()
}

/// Tells how partitions come and go.
struct Teller;

impl Teller {
    fn tell(what: &str, partitions: &[TopicPartition]) -> io::Result<()> {
        let partitions: Vec<_> = partitions.iter().map(|at| at.partition.to_string()).collect();
        tell(format_args!("{what} {}", partitions.join(" ")))
    }
}

impl RebalanceHook for Teller {
    async fn assigned(
        &self,
        _: &Rebalance<'_>,
        new: &[TopicPartition],
    ) -> Result<Vec<(TopicPartition, OffsetSpec)>, HookError> {
        Self::tell("assigned", new)?;
        Ok(Vec::new())
    }

    async fn revoking(&self, _: &Rebalance<'_>, going: &[TopicPartition]) -> Result<(), HookError> {
        Ok(Self::tell("revoking", going)?)
    }

    async fn lost(&self, gone: &[TopicPartition]) {
        let _no_one_listens = Self::tell("lost", gone);
    }
}
