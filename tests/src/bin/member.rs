//! A member of a group in a process of its own, for tests that kill it or let it stand still. Line by line it prints what
//! happens to it; a message counts as done when it is printed.
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
    print_line(format_args!("member {}", consumer.member_id()))?;
    while let Some(message) = consumer.next().await {
        match message {
            Ok(message) => {
                // Printed first: what is committed was printed, whenever the process ends.
                print_line(format_args!("got {} {}", message.partition(), message.offset()))?;
                message.done();
            }
            Err(error) => print_line(format_args!("error {error}"))?,
        }
    }
    Ok(())
}

/// One line, written out at once.
fn print_line(line: fmt::Arguments<'_>) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{line}")?;
    out.flush()
}

/// Prints how partitions come and go.
struct Teller;

impl Teller {
    fn print(what: &str, partitions: &[TopicPartition]) -> io::Result<()> {
        let partitions: Vec<_> = partitions.iter().map(|at| at.partition.to_string()).collect();
        print_line(format_args!("{what} {}", partitions.join(" ")))
    }
}

impl RebalanceHook for Teller {
    async fn assigned(
        &self,
        _: &Rebalance<'_>,
        new: &[TopicPartition],
    ) -> Result<Vec<(TopicPartition, OffsetSpec)>, HookError> {
        Self::print("assigned", new)?;
        Ok(Vec::new())
    }

    async fn revoking(&self, _: &Rebalance<'_>, going: &[TopicPartition]) -> Result<(), HookError> {
        Ok(Self::print("revoking", going)?)
    }

    async fn lost(&self, gone: &[TopicPartition]) {
        let _closed = Self::print("lost", gone);
    }
}
