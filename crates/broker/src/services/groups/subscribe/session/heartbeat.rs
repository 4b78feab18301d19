//! The heartbeats of a stream's member, and what their answers assign and revoke.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use corduroy_api::Refusal;
use corduroy_group::{HeartbeatAnswer, MemberEpoch, TopicPartition};
use corduroy_member::{Action, HeartbeatReply, Request};
use futures_util::FutureExt as _;
use tokio::time::Instant;

use super::{End, Session, displaced};

impl Session {
    pub(super) fn begin_heartbeat(&mut self) {
        let now_ms = self.now_ms();
        if self.member.due_at().is_none_or(|due_at| due_at > now_ms) {
            return;
        }
        let membership = Arc::clone(&self.membership);
        self.heartbeat = Some(match self.member.request(now_ms) {
            Request::Join { again } => async move { membership.join(again).await }.boxed(),
            Request::Stay { epoch, owned, wait_ms } => {
                async move { membership.stay(MemberEpoch(epoch), owned, wait_ms).await }.boxed()
            }
            Request::Leave { .. } => async move { membership.leave().await }.boxed(),
        });
    }

    pub(super) fn now_ms(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    pub(super) fn heartbeat_due_at(&self) -> Option<Instant> {
        self.member.due_at().map(|at| self.began + Duration::from_millis(at))
    }

    /// The member epoch, while it is in the group.
    pub(super) fn epoch(&self) -> Option<MemberEpoch> {
        self.member.is_joined().then(|| MemberEpoch(self.member.epoch()))
    }

    pub(super) fn take_heartbeat(&mut self, answered: Result<HeartbeatAnswer, Refusal>) -> Result<(), End> {
        self.heartbeat = None;
        // The last word of the member that it was is not the other stream's.
        if !self.membership.is_present() {
            return Err(End::Silenced(displaced(&self.membership)));
        }
        let answer = match answered {
            Ok(answer) => answer,
            Err(refusal) => return self.take_refusal(refusal),
        };
        let HeartbeatAnswer { epoch, interval_ms, assignment, .. } = answer;
        let answer = HeartbeatReply { epoch: epoch.0, interval_ms: interval_ms.into(), assignment };
        for action in self.member.answered(self.now_ms(), answer) {
            match action {
                Action::Assign(new) => {
                    self.learn_names(&new);
                    self.assignment.assign(&new);
                }
                Action::Revoke(taken) => {
                    let released = self.assignment.revoke(&taken);
                    self.reader.stop(&taken);
                    // It may include partitions that need another start offset if they come back.
                    self.opening = None;
                    self.released(&released);
                }
                Action::Lost(_) | Action::Joined | Action::Ended => {}
            }
        }
        Ok(())
    }

    /// The member has released these: the next heartbeat says so, and is sent at once.
    pub(super) fn released(&mut self, partitions: &BTreeSet<TopicPartition>) {
        self.member.released(self.now_ms(), partitions);
        if self.member.due_at().is_some() {
            self.heartbeat = None;
        }
    }
}
