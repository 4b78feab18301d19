//! The task that sees to a member's partitions: begins to read them, releases them, commits, and closes.

use std::{
    collections::BTreeSet,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use corduroy_member::Action;
use tokio::{
    sync::{mpsc, oneshot},
    task::{AbortHandle, JoinSet},
    time::{Instant, Interval, MissedTickBehavior},
};
use tokio_util::sync::CancellationToken;

use super::{
    CloseError, Commit, CommitError, GroupConsumeError, Offsets, Rebalance,
    commits::Which,
    core::Core,
    heartbeat_task::{HeartbeatCommand, MembershipEvent},
    offsets::{Part, names},
};
use crate::{ClientError, Event, backoff::Backoff};

/// How long committing and leaving may take when the time to close was spent on waiting for messages.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// What the user of the consumer wants.
#[derive(Debug)]
pub(crate) enum ConsumerCommand {
    Close {
        within: Duration,
        answer: ClosedSender,
    },
    /// The consumer was dropped.
    Abandon,
}

pub(crate) struct AssignmentTask {
    core: Arc<Core>,
    commands: mpsc::UnboundedReceiver<ConsumerCommand>,
    events: mpsc::UnboundedReceiver<MembershipEvent>,
    heartbeat_commands: mpsc::UnboundedSender<HeartbeatCommand>,
    jobs: JoinSet<()>,
    /// The commit in the background.
    committing: Option<AbortHandle>,
    /// Cancelled when the member has lost its partitions.
    held: CancellationToken,
    /// Who waits for the member to be out, with what is committed.
    closing: Option<(ClosedSender, Closed)>,
    /// Closings that came to their end.
    closed: mpsc::UnboundedReceiver<(ClosedSender, Closed, Instant)>,
    closed_to: mpsc::UnboundedSender<(ClosedSender, Closed, Instant)>,
}

/// Whether a commit that fails is tried again later.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Last {
    Yes,
    No,
}

type Closed = Result<Offsets, CloseError>;
type ClosedSender = oneshot::Sender<Closed>;

enum Next {
    MembershipEvent(Option<MembershipEvent>),
    ConsumerCommand(Option<ConsumerCommand>),
    Commit,
    Tick,
    Clear,
    Closed((ClosedSender, Closed, Instant)),
    JobDone,
}

impl AssignmentTask {
    pub(crate) fn new(
        core: Arc<Core>,
        commands: mpsc::UnboundedReceiver<ConsumerCommand>,
        events: mpsc::UnboundedReceiver<MembershipEvent>,
        heartbeat_commands: mpsc::UnboundedSender<HeartbeatCommand>,
    ) -> Self {
        let (closed_to, closed) = mpsc::unbounded_channel();
        Self {
            core,
            commands,
            events,
            heartbeat_commands,
            jobs: JoinSet::new(),
            committing: None,
            held: CancellationToken::new(),
            closing: None,
            closed,
            closed_to,
        }
    }

    /// Runs until the member is out for good.
    pub(crate) async fn run(mut self) {
        let every = match self.core.options.commit {
            Commit::Processed { every } => Some(every),
            _ => None,
        };
        let mut commits = every.map(interval);
        let mut ticks = interval(self.core.options.stuck_after / 4);
        let core = Arc::clone(&self.core);
        let mut no_more_commands = false;
        loop {
            let next = tokio::select! {
                biased;
                events = self.events.recv() => Next::MembershipEvent(events),
                command = self.commands.recv(), if !no_more_commands => Next::ConsumerCommand(command),
                Some(closed) = self.closed.recv() => Next::Closed(closed),
                () = core.signals.clear.notified() => Next::Clear,
                () = tick(&mut commits) => Next::Commit,
                _ = ticks.tick() => Next::Tick,
                Some(_) = self.jobs.join_next() => Next::JobDone,
            };
            match next {
                Next::MembershipEvent(Some(MembershipEvent::Do(action))) => self.act(action),
                Next::MembershipEvent(Some(MembershipEvent::Over { refusal, has_left })) => {
                    return self.over(refusal.map(ClientError::from), has_left).await;
                }
                Next::MembershipEvent(None) => return self.over(None, false).await,
                Next::ConsumerCommand(Some(command)) => self.close(command),
                Next::ConsumerCommand(None) => no_more_commands = true,
                Next::Clear => self.clear(),
                Next::Commit => self.commit(),
                Next::Tick => self.core.find_stuck(),
                Next::Closed(closed) => self.leave(closed),
                Next::JobDone => {}
            }
        }
    }

    fn act(&mut self, action: Action<Part>) {
        let core = Arc::clone(&self.core);
        match action {
            Action::Assign(parts) => {
                core.state.lock().opening.extend(parts.iter().cloned());
                let held = self.held.clone();
                self.jobs.spawn(async move {
                    tokio::select! {
                        biased;
                        () = held.cancelled() => {}
                        () = core.open(parts) => {}
                    }
                });
            }
            Action::Revoke(parts) => {
                {
                    let mut state = core.state.lock();
                    state.going.extend(parts.iter().cloned());
                    state.stop_reading(&parts);
                }
                let (held, heartbeat_commands) = (self.held.clone(), self.heartbeat_commands.clone());
                self.jobs.spawn(async move {
                    core.until(|state| parts.is_disjoint(&state.opening) || held.is_cancelled()).await;
                    // Once they are lost, what is said of them would be said of a later turn with them.
                    if !held.is_cancelled() && core.revoke(&parts, &held).await {
                        let _ = heartbeat_commands.send(HeartbeatCommand::Released(parts));
                    }
                });
            }
            Action::Lost(parts) => {
                self.lose(&parts);
            }
            Action::Joined | Action::Ended => {}
        }
    }

    /// Forgets partitions at once, and calls the hook.
    fn lose(&mut self, parts: &BTreeSet<Part>) {
        std::mem::take(&mut self.held).cancel();
        let core = Arc::clone(&self.core);
        let gone: Vec<_> = {
            let mut state = core.state.lock();
            state.release(parts);
            let gone: Vec<_> = parts.iter().filter(|part| state.hooked.remove(*part)).cloned().collect();
            state.losing += 1;
            gone
        };
        core.signals.notify_all();
        let (group, partitions) = (Arc::clone(&core.options.group), names(parts));
        self.jobs.spawn(async move {
            if let Some(hook) = core.options.hook.as_ref().filter(|_| !gone.is_empty()) {
                let _turn = core.hook_calls.lock().await;
                hook.lost(&names(&gone)).await;
            }
            core.client.events.emit(Event::Lost { group, partitions });
            core.state.lock().losing -= 1;
            core.signals.notify_all();
        });
    }

    /// Commits what is done, in the background, unless that is under way: the next time will do.
    fn commit(&mut self) {
        if self.committing.as_ref().is_some_and(|job| !job.is_finished()) {
            return;
        }
        let core = Arc::clone(&self.core);
        let job = async move { core.commit_automatically(Which::All, Instant::now(), Last::No).await };
        self.committing = Some(self.jobs.spawn(job));
    }

    /// Commits what a message waits for, in the background.
    fn clear(&mut self) {
        let core = Arc::clone(&self.core);
        self.jobs.spawn(async move {
            let mut backoff = Backoff::default();
            while let Err(refusal) = core.commit_clearing().await {
                tracing::debug!(error = %refusal, "a message waits for its commit");
                tokio::time::sleep(backoff.next()).await;
            }
        });
    }

    /// Begins to close, in the background.
    fn close(&mut self, command: ConsumerCommand) {
        let (core, closed_to) = (Arc::clone(&self.core), self.closed_to.clone());
        core.state.lock().closing = true;
        self.jobs.spawn(async move {
            let closed = match command {
                ConsumerCommand::Close { within, answer } => {
                    let until = Instant::now() + within;
                    (answer, core.close(until).await, until)
                }
                ConsumerCommand::Abandon => (oneshot::channel().0, core.abandon().await, Instant::now()),
            };
            let _ = closed_to.send(closed);
        });
    }

    /// Everything that can be was committed: leave.
    fn leave(&mut self, (answer, outcome, until): (ClosedSender, Closed, Instant)) {
        self.closing = Some((answer, outcome));
        let by = until.max(Instant::now() + LAST_WORDS);
        let _ = self.heartbeat_commands.send(HeartbeatCommand::Leave { by });
    }

    /// The member is out for good.
    async fn over(mut self, error: Option<ClientError>, has_left: bool) {
        let core = Arc::clone(&self.core);
        let parts: BTreeSet<_> = {
            let mut state = core.state.lock();
            let parts: BTreeSet<_> = state.slots.keys().cloned().collect();
            state.release(&parts);
            state.opening.clear();
            state.errors.extend(error.map(GroupConsumeError::Out));
            state.closing = true;
            parts
        };
        if !parts.is_empty() && self.closing.is_none() {
            self.lose(&parts);
        }
        core.signals.notify_all();
        let answer_all = |answer: ClosedSender, closed: Closed| {
            let closed = match closed {
                Ok(committed) if !has_left => Err(CloseError::NotLeft { committed }),
                closed => closed,
            };
            let _ = answer.send(closed);
        };
        if let Some((answer, closed)) = self.closing.take() {
            answer_all(answer, closed);
        }
        // What is under way, like a hook, ends.
        drop(self.closed_to);
        while self.jobs.join_next().await.is_some() {}
        while let Some((answer, closed, _)) = self.closed.recv().await {
            answer_all(answer, closed);
        }
    }
}

impl Core {
    /// Releases partitions: waits for their messages, calls the hook, commits. Returns whether that was done, rather
    /// than that they were lost meanwhile.
    async fn revoke(self: &Arc<Self>, parts: &BTreeSet<Part>, held: &CancellationToken) -> bool {
        let began = Instant::now();
        let timeout = self.options.rebalance_timeout;
        let of = |state: &super::core::ConsumerState| -> u64 {
            parts.iter().filter_map(|part| state.slots.get(part)).map(|slot| slot.track.awaited_count()).sum()
        };
        // In time for the hook and the commit before the coordinator puts the member out.
        let _ = tokio::time::timeout_at(began + timeout / 2, self.until(|state| of(state) == 0)).await;
        if held.is_cancelled() {
            return false;
        }
        let _ = tokio::time::timeout_at(began + timeout / 4 * 3, self.call_hook_revoking(parts)).await;
        let which = Which::These(parts.iter().cloned().collect());
        self.commit_automatically(which, began + timeout / 8 * 7, Last::Yes).await;
        {
            // They are lost with the lock held.
            let mut state = self.state.lock();
            if held.is_cancelled() {
                return false;
            }
            state.release(parts);
        }
        let names = names(parts);
        self.signals.notify_all();
        let group = Arc::clone(&self.options.group);
        self.client.events.emit(Event::Revoked { group, partitions: names });
        true
    }

    /// Calls the hook for partitions that go, if it was called when they came.
    async fn call_hook_revoking(self: &Arc<Self>, parts: &BTreeSet<Part>) {
        let Some(hook) = &self.options.hook else { return };
        let _turn = self.hook_calls.lock().await;
        let going: Vec<_> = {
            let mut state = self.state.lock();
            parts.iter().filter(|part| state.hooked.remove(*part)).cloned().collect()
        };
        if going.is_empty() {
            return;
        }
        if let Err(error) = hook.revoking(&Rebalance::new(self), &names(&going)).await {
            tracing::warn!(group = %self.options.group, %error, "the rebalance hook failed as partitions were revoked");
        }
    }

    /// Commits what is done where commits are automatic.
    async fn commit_automatically(self: &Arc<Self>, which: Which, until: Instant, last: Last) {
        if !matches!(self.options.commit, Commit::Processed { .. } | Commit::BeforeHandling) {
            return;
        }
        match self.commit(which, until).await {
            Ok(_) => self.commit_delayed.store(false, Ordering::Relaxed),
            Err(error) if error.is_retriable() && last == Last::No => {
                if !self.commit_delayed.swap(true, Ordering::Relaxed) {
                    let group = Arc::clone(&self.options.group);
                    self.client.events.emit(Event::CommitDelayed { group, error });
                }
            }
            Err(error) => self.report_not_committed(&error),
        }
    }

    /// Reports that what was done is not committed, and will not be.
    fn report_not_committed(&self, error: &CommitError) {
        let group = Arc::clone(&self.options.group);
        self.client.events.emit(Event::CommitFailed { group, error: error.clone() });
    }

    /// Ends reading, waits for messages until then, calls the hook, and commits.
    async fn close(self: &Arc<Self>, until: Instant) -> Result<Offsets, CloseError> {
        let parts: BTreeSet<_> = {
            let mut state = self.state.lock();
            // The hook may have been called for some that have no slot yet.
            let parts: BTreeSet<_> = state.slots.keys().chain(&state.hooked).cloned().collect();
            state.stop_reading(&parts);
            parts
        };
        self.signals.notify_all();
        let _ = tokio::time::timeout_at(until, self.until(|_| self.signals.awaited_count() == 0)).await;
        let until = until.max(Instant::now() + LAST_WORDS);
        let _ = tokio::time::timeout_at(until, self.call_hook_revoking(&parts)).await;
        let count = self.signals.open_count();
        let committed = match self.options.commit {
            Commit::Manual | Commit::Never => self.committed(&Which::All),
            Commit::Processed { .. } | Commit::BeforeHandling => {
                let commit = tokio::time::timeout_at(until, self.commit(Which::All, until)).await;
                let committed = commit.unwrap_or_else(|_| Err(CommitError::timed_out(names(&parts))));
                committed.inspect_err(|error| self.report_not_committed(error))?
            }
        };
        if count > 0 { Err(CloseError::NotDone { count, committed }) } else { Ok(committed) }
    }

    /// Commits what is done and no more, without a receiver for the result.
    async fn abandon(self: &Arc<Self>) -> Result<Offsets, CloseError> {
        {
            let mut state = self.state.lock();
            let parts: Vec<_> = state.slots.keys().cloned().collect();
            state.stop_reading(&parts);
        }
        self.commit_automatically(Which::All, Instant::now() + LAST_WORDS, Last::Yes).await;
        Ok(Offsets::new())
    }

    /// Moves the coarse clock on, and reports messages that are not done for long.
    fn find_stuck(&self) {
        let now = self.tick.fetch_add(1, Ordering::Relaxed) + 1;
        let mut stuck = Vec::new();
        for (part, slot) in &mut self.state.lock().slots {
            let oldest = slot.track.oldest().filter(|(_, tick)| now.saturating_sub(tick.0) > 4);
            let Some((offset, tick)) = oldest.filter(|(offset, _)| slot.stuck != Some(*offset)) else {
                continue;
            };
            slot.stuck = Some(offset);
            let ticks = u32::try_from(now.saturating_sub(tick.0 + 1)).unwrap_or(u32::MAX);
            stuck.push((part.name.clone(), offset, (self.options.stuck_after / 4).saturating_mul(ticks)));
        }
        for (partition, offset, since) in stuck {
            let group = Arc::clone(&self.options.group);
            self.client.events.emit(Event::RecordStuck { group, partition, offset, since });
        }
    }
}

fn interval(period: Duration) -> Interval {
    let period = period.max(Duration::from_millis(1));
    let mut interval = tokio::time::interval_at(Instant::now() + period, period);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    interval
}

async fn tick(interval: &mut Option<Interval>) {
    match interval {
        Some(interval) => drop(interval.tick().await),
        None => std::future::pending().await,
    }
}
