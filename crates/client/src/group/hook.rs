//! What a program does when partitions come and go.

use std::{error::Error, future::Future, pin::Pin};

use super::{CommitError, Offsets, TopicPartition, core::Core};
use crate::OffsetSpec;
use std::sync::Arc;

/// Why a hook failed: any error.
pub type HookError = Box<dyn Error + Send + Sync>;

/// Called as partitions come and go, one call at a time, from a task of its own: heartbeats and the reading of other
/// partitions go on meanwhile. An `impl` may write its methods as `async fn`. Each of them does nothing by default.
///
/// ```
/// use corduroy_client::{HookError, OffsetSpec, Rebalance, RebalanceHook, TopicPartition};
///
/// struct Caches;
///
/// impl RebalanceHook for Caches {
///     async fn assigned(
///         &self,
///         _: &Rebalance<'_>,
///         new: &[TopicPartition],
///     ) -> Result<Vec<(TopicPartition, OffsetSpec)>, HookError> {
///         println!("loading what belongs to {new:?}");
///         Ok(Vec::new())
///     }
///
///     async fn revoking(&self, cx: &Rebalance<'_>, going: &[TopicPartition]) -> Result<(), HookError> {
///         println!("writing out what belongs to {going:?}");
///         cx.commit().await?;
///         Ok(())
///     }
/// }
/// ```
pub trait RebalanceHook: Send + Sync + 'static {
    /// These partitions were assigned; none of their records has been handed out. What it returns chooses where to
    /// begin in some of them, instead of where the group has committed.
    fn assigned(
        &self,
        cx: &Rebalance<'_>,
        new: &[TopicPartition],
    ) -> impl Future<Output = Result<Vec<(TopicPartition, OffsetSpec)>, HookError>> + Send {
        let _ = (cx, new);
        async { Ok(Vec::new()) }
    }

    /// These partitions are to be released. No more of their records is handed out, and those that were are done, or
    /// the time for that is over. No one else reads them yet: what is done can still be committed, which happens
    /// after this by itself where commits are automatic. Together with the waiting before it, it is cut off after
    /// three quarters of the rebalance time-out.
    fn revoking(
        &self,
        cx: &Rebalance<'_>,
        going: &[TopicPartition],
    ) -> impl Future<Output = Result<(), HookError>> + Send {
        let _ = (cx, going);
        async { Ok(()) }
    }

    /// These partitions are gone: the session ended or the member was removed, and others may read them already.
    /// Nothing can be committed any more.
    fn lost(&self, gone: &[TopicPartition]) -> impl Future<Output = ()> + Send {
        let _ = gone;
        async {}
    }
}

/// What a [`RebalanceHook`] can do.
#[derive(Debug)]
pub struct Rebalance<'a> {
    core: &'a Arc<Core>,
}

impl<'a> Rebalance<'a> {
    pub(crate) fn new(core: &'a Arc<Core>) -> Self {
        Self { core }
    }

    /// The group.
    #[must_use]
    pub fn group(&self) -> &str {
        &self.core.options.group
    }

    /// The member.
    #[must_use]
    pub fn member_id(&self) -> &str {
        &self.core.options.member
    }

    /// Commits what is done, as [`GroupConsumer::commit`](crate::GroupConsumer::commit).
    ///
    /// # Errors
    /// As there.
    pub async fn commit(&self) -> Result<Offsets, CommitError> {
        self.core.commit_done().await
    }

    /// Commits these offsets, as [`GroupConsumer::commit_offsets`](crate::GroupConsumer::commit_offsets).
    ///
    /// # Errors
    /// As there.
    pub async fn commit_offsets(&self, offsets: &Offsets) -> Result<(), CommitError> {
        self.core.commit_these(offsets).await
    }
}

type Boxed<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// A [`RebalanceHook`] of which only that is known.
pub(crate) trait AnyHook: Send + Sync {
    fn assigned<'a>(
        &'a self,
        cx: &'a Rebalance<'_>,
        new: &'a [TopicPartition],
    ) -> Boxed<'a, Result<Vec<(TopicPartition, OffsetSpec)>, HookError>>;
    fn revoking<'a>(
        &'a self,
        cx: &'a Rebalance<'_>,
        going: &'a [TopicPartition],
    ) -> Boxed<'a, Result<(), HookError>>;
    fn lost<'a>(&'a self, gone: &'a [TopicPartition]) -> Boxed<'a, ()>;
}

impl<H: RebalanceHook> AnyHook for H {
    fn assigned<'a>(
        &'a self,
        cx: &'a Rebalance<'_>,
        new: &'a [TopicPartition],
    ) -> Boxed<'a, Result<Vec<(TopicPartition, OffsetSpec)>, HookError>> {
        Box::pin(RebalanceHook::assigned(self, cx, new))
    }

    fn revoking<'a>(
        &'a self,
        cx: &'a Rebalance<'_>,
        going: &'a [TopicPartition],
    ) -> Boxed<'a, Result<(), HookError>> {
        Box::pin(RebalanceHook::revoking(self, cx, going))
    }

    fn lost<'a>(&'a self, gone: &'a [TopicPartition]) -> Boxed<'a, ()> {
        Box::pin(RebalanceHook::lost(self, gone))
    }
}
