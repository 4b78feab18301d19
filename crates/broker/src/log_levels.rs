//! What is logged while the broker runs: the configured level, which may be loaded again, and levels of single targets
//! that were set at run time, for a while or until the end.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    sync::{Arc, Weak},
    time::Duration,
};

use parking_lot::Mutex;
use tokio::time::Instant;

use crate::config::LogFilter;

/// Passes a filter, in the form that tracing reads, to the process's log.
pub type ApplyFilter = Box<dyn Fn(&str) + Send + Sync>;

/// The levels of a process's log.
pub struct LogLevels {
    levels: Mutex<Levels>,
    apply: ApplyFilter,
    own: Weak<Self>,
}

impl std::fmt::Debug for LogLevels {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("LogLevels").field(&self.filter()).finish()
    }
}

impl LogLevels {
    /// The log of a process that logs what `configured` says, and takes changes through `apply`.
    pub fn new(configured: LogFilter, apply: ApplyFilter) -> Arc<Self> {
        let levels = Mutex::new(Levels { configured, set: BTreeMap::new() });
        Arc::new_cyclic(|own| Self { levels, apply, own: own.clone() })
    }

    /// What is logged now.
    pub fn filter(&self) -> String {
        self.levels.lock().filter()
    }

    /// Takes another configured level. What was set at run time stays above it.
    pub fn configure(&self, configured: LogFilter) {
        self.change(|levels| levels.configured = configured);
    }

    /// Logs what `filter` says above what is configured: `corduroy_log=debug`, or `debug` for all targets without a level
    /// of their own. With `keep` it goes by itself after that. Must be called within a runtime then.
    pub fn set(&self, filter: &LogFilter, keep: Option<Duration>) {
        let until = keep.map(|keep| Instant::now() + keep);
        self.change(|levels| levels.set(filter, until));
        let (Some(until), Some(own)) = (until, self.own.upgrade()) else { return };
        tokio::spawn(async move {
            tokio::time::sleep_until(until).await;
            own.expire();
        });
    }

    /// Forgets what was set at run time.
    pub fn reset(&self) {
        self.change(|levels| levels.set.clear());
    }

    fn expire(&self) {
        let now = Instant::now();
        let before = self.filter();
        self.change(|levels| levels.set.retain(|_, set| set.until.is_none_or(|until| until > now)));
        let filter = self.filter();
        if filter != before {
            tracing::info!(event = "B0008", %filter, "the log level is as it was");
        }
    }

    /// Under the lock, so that the last change is the one that the log has.
    fn change(&self, change: impl FnOnce(&mut Levels)) {
        let mut levels = self.levels.lock();
        change(&mut levels);
        (self.apply)(&levels.filter());
    }
}

/// What is configured, and what is set above it by target; the empty target is all others.
#[derive(Debug)]
struct Levels {
    configured: LogFilter,
    set: BTreeMap<String, Set>,
}

#[derive(Debug)]
struct Set {
    level: String,
    until: Option<Instant>,
}

impl Levels {
    fn set(&mut self, filter: &LogFilter, until: Option<Instant>) {
        for part in filter.as_str().split(',') {
            let (target, level) = part.split_once('=').unwrap_or(("", part));
            self.set.insert(target.to_owned(), Set { level: level.to_owned(), until });
        }
    }

    /// Of two parts with one target the later one holds.
    fn filter(&self) -> String {
        let mut filter = self.configured.as_str().to_owned();
        for (target, Set { level, .. }) in &self.set {
            let _ = match target.as_str() {
                "" => write!(filter, ",{level}"),
                target => write!(filter, ",{target}={level}"),
            };
        }
        filter
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filter(text: &str) -> LogFilter {
        LogFilter::parse(text).unwrap()
    }

    fn levels() -> (Arc<LogLevels>, Arc<Mutex<String>>) {
        let applied = Arc::new(Mutex::new(String::new()));
        let seen = Arc::clone(&applied);
        let apply = Box::new(move |filter: &str| filter.clone_into(&mut seen.lock()));
        (LogLevels::new(filter("info"), apply), applied)
    }

    #[tokio::test(start_paused = true)]
    async fn a_level_that_was_set_for_a_while_reverts_by_itself() {
        let (levels, applied) = levels();
        levels.set(&filter("corduroy_log=debug"), Some(Duration::from_secs(600)));
        levels.set(&filter("h2=trace"), None);
        assert_eq!(*applied.lock(), "info,corduroy_log=debug,h2=trace");
        tokio::time::sleep(Duration::from_secs(599)).await;
        assert_eq!(levels.filter(), "info,corduroy_log=debug,h2=trace");
        tokio::time::sleep(Duration::from_secs(2)).await;
        assert_eq!(*applied.lock(), "info,h2=trace");
        levels.configure(filter("warn"));
        assert_eq!(*applied.lock(), "warn,h2=trace", "what was set stays above what is loaded again");
        levels.reset();
        assert_eq!(*applied.lock(), "warn");
    }

    #[tokio::test(start_paused = true)]
    async fn setting_a_target_again_restarts_its_time() {
        let (levels, _) = levels();
        levels.set(&filter("debug"), Some(Duration::from_secs(10)));
        tokio::time::sleep(Duration::from_secs(8)).await;
        levels.set(&filter("trace"), Some(Duration::from_secs(10)));
        tokio::time::sleep(Duration::from_secs(8)).await;
        assert_eq!(levels.filter(), "info,trace");
        tokio::time::sleep(Duration::from_secs(3)).await;
        assert_eq!(levels.filter(), "info");
    }
}
