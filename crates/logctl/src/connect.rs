//! From the chosen brokers to a client, and from the client's errors to ours.

use std::{
    borrow::Cow,
    future::Future,
    io::{self, Write as _},
    sync::atomic::{AtomicBool, Ordering},
};

use corduroy_client::{
    Admin, Client, ClientBuilder, ClientError, CommitError, ConnectionRole, Event, Refusal, TopicPartition,
};
use corduroy_types::{ErrorCode, ExitClass, Outcome};
use tokio::runtime::Runtime;

use crate::{
    context::{ChosenBy, Target},
    error::CliError,
    output::escaped,
    retry::{self, Kind, RetryPolicy},
    settings::Settings,
    ui::Ui,
};

/// A client and who chose its brokers.
#[derive(Clone, Debug)]
pub(crate) struct Session {
    pub(crate) client: Client,
    pub(crate) target: Target,
    pub(crate) retry_policy: RetryPolicy,
}

impl Session {
    /// A call that changes nothing. What passes by itself is retried: see [`retry`].
    ///
    /// # Errors
    /// The last refusal.
    pub(crate) async fn read<T, F>(&self, ask: impl Fn(Admin) -> F) -> Result<T, ClientError>
    where
        F: Future<Output = Result<T, ClientError>>,
    {
        self.retry_policy.call(Kind::Read, || ask(self.client.admin())).await
    }

    /// The same for several items, of which each has a result of its own.
    ///
    /// # Errors
    /// Of the call as a whole.
    pub(crate) async fn read_each<I: Clone, T, F>(
        &self,
        items: &[I],
        ask: impl Fn(Admin, Vec<I>) -> F,
    ) -> Result<Vec<Result<T, ClientError>>, ClientError>
    where
        F: Future<Output = Result<Vec<Result<T, ClientError>>, ClientError>>,
    {
        self.retry_policy.call_each(Kind::Read, items, |items| ask(self.client.admin(), items)).await
    }

    /// A call that changes something, retried only while it is certain that it has not.
    ///
    /// # Errors
    /// The last refusal, with what is known of its outcome.
    pub(crate) async fn change<T, F>(&self, ask: impl Fn(Admin) -> F) -> Result<T, ClientError>
    where
        F: Future<Output = Result<T, ClientError>>,
    {
        self.retry_policy.call(Kind::Change, || ask(self.client.admin())).await
    }

    /// The same for several items, of which each has a result of its own.
    ///
    /// # Errors
    /// Of the call as a whole.
    pub(crate) async fn change_each<I: Clone, T, F>(
        &self,
        items: &[I],
        ask: impl Fn(Admin, Vec<I>) -> F,
    ) -> Result<Vec<Result<T, ClientError>>, ClientError>
    where
        F: Future<Output = Result<Vec<Result<T, ClientError>>, ClientError>>,
    {
        self.retry_policy.call_each(Kind::Change, items, |items| ask(self.client.admin(), items)).await
    }

    /// One of our errors for one of the client's, naming the brokers.
    pub(crate) fn error(&self, error: &ClientError) -> CliError {
        from_client(error).in_context(&self.target.describe())
    }

    /// The same about a topic: one that does not exist can be created.
    pub(crate) fn topic_error(&self, topic: &str, error: &ClientError) -> CliError {
        about_topic(self.error(error), topic)
    }

    /// The same about a group: which there are, and what is in the way of a change.
    pub(crate) fn group_error(&self, group: &str, error: &ClientError) -> CliError {
        about_group(self.error(error), group)
    }
}

/// The same error with the commands that help with a group.
pub(crate) fn about_group(mut error: CliError, group: &str) -> CliError {
    let word = shell_word(group);
    let hint = match error.code {
        ErrorCode::GroupNotFound => "logctl group ls".to_owned(),
        ErrorCode::GroupNotEmpty => {
            format!("stop its consumers, or put members out: logctl group kick {word} MEMBER")
        }
        ErrorCode::UnknownMember => format!("logctl group describe {word} --members"),
        _ => return error,
    };
    error.hints = vec![hint];
    error.with_detail("group", group)
}

/// A name as a shell reads it back.
pub(crate) fn shell_word(word: &str) -> Cow<'_, str> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "._-:,+@/=".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        Cow::Borrowed(word)
    } else {
        Cow::Owned(format!("'{}'", word.replace('\'', r"'\''")))
    }
}

/// The same error; where the topic does not exist, with the command that creates it.
pub(crate) fn about_topic(mut error: CliError, topic: &str) -> CliError {
    if error.code == ErrorCode::TopicNotFound {
        // Names of the broker's own topics cannot be created.
        let hint = if topic.starts_with("__") {
            "logctl topic ls --internal".to_owned()
        } else {
            format!("logctl topic create {topic}")
        };
        error.hints = vec![hint];
        error = error.with_detail("topic", topic);
    }
    error
}

/// The runtime that carries the client.
///
/// # Errors
/// `INTERNAL` where the system gives no thread.
pub(crate) fn runtime() -> Result<Runtime, CliError> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(|error| CliError::new(ErrorCode::Internal, format!("no thread can be started: {error}")))
}

/// Runs one future to its end on a runtime of its own.
///
/// # Errors
/// As [`runtime`].
pub(crate) fn wait<F: Future>(future: F) -> Result<F::Output, CliError> {
    Ok(runtime()?.block_on(future))
}

/// The same, for a command that may leave a thread waiting for input: it goes with the process.
///
/// # Errors
/// As [`runtime`].
pub(crate) fn wait_detached<F: Future>(future: F) -> Result<F::Output, CliError> {
    let runtime = runtime()?;
    let output = runtime.block_on(future);
    ENDED.store(true, Ordering::Relaxed);
    runtime.shutdown_background();
    Ok(output)
}

/// Whether the command has done its work. What its runtime closes from then on is no lost connection.
static ENDED: AtomicBool = AtomicBool::new(false);

/// Refuses addresses that can never be dialled.
///
/// # Errors
/// `INVALID_ADDRESS`.
pub(crate) fn check_urls(servers: &[String]) -> Result<(), CliError> {
    wait(async { Client::builder(servers).connect_lazy().map(drop) })?.map_err(|error| from_client(&error))
}

/// Connects once and goes away again.
///
/// # Errors
/// Why no broker answered.
pub(crate) fn try_brokers(settings: &Settings, target: &Target) -> Result<(), CliError> {
    let connect = || async { builder(settings, target).connect().await.map(drop) };
    wait(RetryPolicy::new(settings).call(Kind::Read, connect))?.map_err(|error| from_client(&error))
}

/// A builder for the chosen brokers.
pub(crate) fn builder(settings: &Settings, target: &Target) -> ClientBuilder {
    Client::builder(target.servers.as_slice()).client_id("logctl").request_timeout(settings.timeout)
}

/// A client of the chosen brokers. It connects with the first call.
///
/// # Errors
/// No brokers are chosen, or their address is none.
pub(crate) fn open(ui: &mut Ui<'_>) -> Result<Session, CliError> {
    open_as(ui, |builder| builder)
}

fn open_as(
    ui: &mut Ui<'_>,
    change: impl FnOnce(ClientBuilder) -> ClientBuilder,
) -> Result<Session, CliError> {
    let target = ui.settings.target()?;
    if target.chosen_by == ChosenBy::Default && ui.settings.verbosity > 0 {
        announce_dev_broker(ui, &target);
    }
    let client = change(builder(ui.settings, &target)).connect_lazy();
    let client = client.map_err(|error| from_client(&error).in_context(&target.describe()))?;
    Ok(Session { client, target, retry_policy: RetryPolicy::new(ui.settings) })
}

/// Says that no one chose the broker.
pub(crate) fn announce_dev_broker(ui: &mut Ui<'_>, target: &Target) {
    ui.note(format!("no context set: using the broker found at {}", target.servers.join(",")));
}

/// As [`open`], for a command that changes something unless it is a dry run.
///
/// # Errors
/// `READ_ONLY_CONTEXT` too.
pub(crate) fn open_to_change(ui: &mut Ui<'_>, dry_run: bool) -> Result<Session, CliError> {
    open_with(ui, dry_run, |builder| builder)
}

/// As [`open_to_change`], with more options of the client.
///
/// # Errors
/// As [`open_to_change`].
pub(crate) fn open_with(
    ui: &mut Ui<'_>,
    dry_run: bool,
    change: impl FnOnce(ClientBuilder) -> ClientBuilder,
) -> Result<Session, CliError> {
    let session = open_as(ui, change)?;
    match &session.target.context {
        Some(name) if session.target.read_only && !dry_run => {
            Err(CliError::new(ErrorCode::ReadOnlyContext, format!("context {name:?} is read-only"))
                .in_context(&session.target.describe())
                .with_hint("logctl context ls"))
        }
        _ => Ok(session),
    }
}

/// One of our errors for one of the client's.
pub(crate) fn from_client(error: &ClientError) -> CliError {
    from_refusal(error.refusal()).caused_by(error)
}

/// One of our errors for a commit that failed.
pub(crate) fn from_commit(error: &CommitError) -> CliError {
    let refusal = error.refusal();
    let outcome = retry::outcome(refusal, Kind::Change);
    from_refusal(refusal).with_outcome(outcome)
}

/// One of our errors for a refusal.
pub(crate) fn from_refusal(refusal: &Refusal) -> CliError {
    let mut ours = CliError::new(refusal.code, refusal.message.clone());
    if !refusal.hint.is_empty() {
        ours = ours.with_hint(&refusal.hint);
    }
    ours = tidied(ours);
    // For a change that was refused it goes without saying.
    let said =
        |outcome: &Outcome| *outcome == Outcome::Unknown || ours.code.exit_class() == ExitClass::Unavailable;
    ours.outcome = refusal.outcome.filter(said);
    let offsets = [
        ("log_start", refusal.log_start),
        ("high_watermark", refusal.high_watermark),
        ("next_good_offset", refusal.next_good_offset),
    ];
    for (key, offset) in offsets {
        if let Some(offset) = offset {
            ours = ours.with_detail(key, offset.get());
        }
    }
    ours
}

/// The same error with a suggestion at the beginning of its hint where suggestions belong.
pub(crate) fn tidied(mut error: CliError) -> CliError {
    if let Some((message, word)) = error.message.split_once("; did you mean \"")
        && let Some(word) = word.strip_suffix("\"?")
    {
        error.did_you_mean = Some(word.to_owned());
        error.message = message.to_owned();
    }
    let Some(first) = error.hints.first().cloned() else { return error };
    let (nearest, hint) = split_hint(&first);
    if let Some(nearest) = nearest {
        error.did_you_mean = Some(nearest.to_owned());
        error.hints = Some(hint.to_owned()).filter(|hint| !hint.is_empty()).into_iter().collect();
    }
    error
}

/// What is said of the connection while records flow: one line when it is lost, one when it works again; and which
/// partitions come and go.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ConnectionNotes {
    quiet: bool,
}

impl ConnectionNotes {
    pub(crate) fn new(settings: &Settings) -> Self {
        Self { quiet: settings.quiet || settings.json_errors() }
    }

    /// The builder of a client whose events are printed.
    pub(crate) fn listen(self, builder: ClientBuilder) -> ClientBuilder {
        builder.on_event(move |event| {
            let is_shown = !self.quiet && !ENDED.load(Ordering::Relaxed);
            if let Some(line) = connection_line(&event).filter(|_| is_shown) {
                let _ = writeln!(io::stderr(), "{}", escaped(&line));
            }
        })
    }
}

fn connection_line(event: &Event) -> Option<String> {
    match event {
        Event::Disconnected { role: ConnectionRole::Data, url, reason } => {
            Some(format!("connection to {url} lost ({reason}); reconnecting"))
        }
        Event::Reconnected { role: ConnectionRole::Data, after, .. } => {
            let after_ms = u64::try_from(after.as_millis()).unwrap_or(u64::MAX);
            Some(format!("reconnected after {}.{}s", after_ms / 1000, after_ms % 1000 / 100))
        }
        Event::PartitionsAdded { partitions } => {
            Some(format!("partitions were added; reading {}, too", named(partitions)))
        }
        Event::ProduceDelayed { partition, error } => {
            let (code, message) = (error.code(), error.message());
            Some(format!("error[{code}] {}: {partition}: {message}; trying again", code.name()))
        }
        Event::CommitDelayed { group, error } => {
            let (code, message) = (error.code(), error.message());
            Some(format!(
                "error[{code}] {}: {group}: not committed yet: {message}; trying again",
                code.name()
            ))
        }
        Event::Assigned { group, partitions } => Some(format!("{group}: reading {}", named(partitions))),
        Event::Revoked { group, partitions } => Some(format!("{group}: released {}", named(partitions))),
        Event::Lost { group, partitions } => {
            Some(format!("{group}: lost {}; joining again", named(partitions)))
        }
        _ => None,
    }
}

fn named(partitions: &[TopicPartition]) -> String {
    partitions.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
}

/// Takes `did you mean "X"? ` off the front of a hint.
fn split_hint(hint: &str) -> (Option<&str>, &str) {
    let quoted = hint.strip_prefix("did you mean \"").and_then(|rest| rest.split_once("\"?"));
    match quoted {
        Some((word, rest)) => (Some(word), rest.trim_start()),
        None => (None, hint),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_events_of_the_connection_of_records_are_shown() {
        let url = "http://127.0.0.1:9480".to_owned();
        let lost =
            |role| Event::Disconnected { role, url: url.clone(), reason: "Connection refused".to_owned() };
        let expected = "connection to http://127.0.0.1:9480 lost (Connection refused); reconnecting";
        assert_eq!(connection_line(&lost(ConnectionRole::Data)).as_deref(), Some(expected));
        assert_eq!(connection_line(&lost(ConnectionRole::Control)), None);
        let after = std::time::Duration::from_millis(3140);
        let back = Event::Reconnected { role: ConnectionRole::Data, url, after };
        assert_eq!(connection_line(&back).as_deref(), Some("reconnected after 3.1s"));
    }

    #[test]
    fn names_survive_a_shell() {
        for (name, word) in
            [("billing", "billing"), ("my group", "'my group'"), ("o'x", r"'o'\''x'"), ("", "''")]
        {
            assert_eq!(shell_word(name), word);
        }
    }

    #[test]
    fn a_suggestion_in_a_hint_becomes_one() {
        let refusal = Refusal::new(ErrorCode::TopicNotFound, "topic \"ordres\" does not exist")
            .with_hint("did you mean \"orders\"? Create it.");
        let error = about_topic(from_refusal(&refusal), "ordres");
        assert_eq!(error.did_you_mean.as_deref(), Some("orders"));
        assert_eq!(error.hints, ["logctl topic create ordres"]);
        assert_eq!(split_hint("Retry."), (None, "Retry."));
    }
}
