//! Talking to systemd (`Type=notify`): sd_notify(3), one datagram for each message.
//!
//! While the broker runs a task says what it does (`STATUS=`) and that its runtime makes progress (`WATCHDOG=1`), and asks
//! for time while it starts or stops, so that a long recovery is not taken for a hang.

use std::{
    ffi::{OsStr, OsString},
    os::{
        linux::net::SocketAddrExt as _, unix::ffi::OsStrExt as _, unix::net::SocketAddr,
        unix::net::UnixDatagram,
    },
    sync::Arc,
    time::Duration,
};

use corduroy_broker::health::{Check, Health};

/// How often the state is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// What is asked for at a time while the broker starts or stops, in microseconds: much more than the time between looks.
const EXTEND_BY_US: u64 = 30_000_000;

/// Sends `state` to the socket in `NOTIFY_SOCKET`; without one, no one asked.
pub(crate) fn notify(state: &str) {
    let Some(socket) = std::env::var_os("NOTIFY_SOCKET") else { return };
    if let Err(error) = send(&socket, state) {
        tracing::warn!(?socket, %error, "cannot notify the service manager");
    }
}

/// Says that the configuration is loaded again, and that this is over.
pub(crate) fn notify_reload(reload: impl FnOnce()) {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    let now_us = now.tv_sec.saturating_mul(1_000_000).saturating_add(now.tv_nsec / 1_000);
    notify(&format!("RELOADING=1\nMONOTONIC_USEC={now_us}"));
    reload();
    notify("READY=1");
}

fn send(socket: &OsStr, state: &str) -> std::io::Result<()> {
    let address = match socket.as_bytes().strip_prefix(b"@") {
        Some(name) => SocketAddr::from_abstract_name(name)?,
        None => SocketAddr::from_pathname(socket)?,
    };
    UnixDatagram::unbound()?.send_to_addr(state.as_bytes(), &address).map(drop)
}

/// Reports until the process ends. Does nothing without `NOTIFY_SOCKET`. On the runtime that it vouches for.
pub(crate) async fn report(health: Arc<Health>) {
    if std::env::var_os("NOTIFY_SOCKET").is_none() {
        return;
    }
    let var = |name| std::env::var_os(name).and_then(|text: OsString| text.into_string().ok());
    let watchdog = watchdog_interval(var("WATCHDOG_USEC"), var("WATCHDOG_PID"), std::process::id());
    // Twice within the time that the manager waits, as sd_watchdog_enabled(3) asks for.
    let every = watchdog.map_or(LOOK_EVERY, |interval| (interval / 2).min(LOOK_EVERY));
    let mut ticks = tokio::time::interval(every);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut last = String::new();
    loop {
        ticks.tick().await;
        if let Some(message) = message(&health, watchdog.is_some(), &mut last) {
            notify(&message);
        }
    }
}

/// The watchdog's time, if this very process is watched.
fn watchdog_interval(usec: Option<String>, pid: Option<String>, own_pid: u32) -> Option<Duration> {
    let watched = pid.is_none_or(|pid| pid.parse() == Ok(own_pid));
    let usec = usec?.parse().ok().filter(|usec| *usec > 0)?;
    watched.then(|| Duration::from_micros(usec))
}

/// What there is to say; `last` is the status that was sent last.
fn message(health: &Health, watched: bool, last: &mut String) -> Option<String> {
    let mut lines = Vec::new();
    let failing = |check: Check| health.failure(check);
    if watched {
        lines.push("WATCHDOG=1".to_owned());
    }
    if failing(Check::Recovery).is_some() || failing(Check::Draining).is_some() {
        lines.push(format!("EXTEND_TIMEOUT_USEC={EXTEND_BY_US}"));
    }
    let failures: Vec<_> =
        [Check::Draining, Check::Recovery, Check::Disk].into_iter().filter_map(failing).collect();
    let status = if failures.is_empty() { "ready".to_owned() } else { failures.join("; ") };
    if status != *last {
        // One line each: a path may hold anything.
        lines.push(format!("STATUS={}", status.replace(['\n', '\r'], " ")));
        *last = status;
    }
    (!lines.is_empty()).then(|| lines.join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_service_manager_gets_a_datagram() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("notify");
        let manager = UnixDatagram::bind(&path).unwrap();
        send(path.as_os_str(), "READY=1").unwrap();
        let mut buffer = [0; 64];
        let length = manager.recv(&mut buffer).unwrap();
        assert_eq!(&buffer[..length], b"READY=1");
        assert!(send(OsStr::new("/does/not/exist"), "READY=1").is_err());
    }

    #[test]
    fn only_the_watched_process_feeds_the_watchdog() {
        let of = |usec: Option<&str>, pid: Option<&str>| {
            watchdog_interval(usec.map(str::to_owned), pid.map(str::to_owned), 7)
        };
        assert_eq!(of(Some("2000000"), Some("7")), Some(Duration::from_secs(2)));
        assert_eq!(of(Some("2000000"), None), Some(Duration::from_secs(2)));
        for (usec, pid) in
            [(Some("2000000"), Some("8")), (Some("0"), None), (Some("x"), None), (None, Some("7"))]
        {
            assert_eq!(of(usec, pid), None, "{usec:?} {pid:?}");
        }
    }

    #[test]
    fn the_status_is_what_readyz_says_and_is_said_when_it_changes() {
        let (health, mut last) = (Health::new(), String::new());
        health.set_recovery_progress(812, 4000);
        let extend = "EXTEND_TIMEOUT_USEC=30000000";
        assert_eq!(
            message(&health, true, &mut last).unwrap(),
            format!("WATCHDOG=1\n{extend}\nSTATUS=recovering 812/4000 partitions")
        );
        assert_eq!(message(&health, false, &mut last).unwrap(), extend);
        health.set_recovered();
        assert_eq!(message(&health, false, &mut last).unwrap(), "STATUS=ready");
        assert_eq!(message(&health, false, &mut last), None);
        health.set_data_dir_lost(Some("/a\nb was removed".to_owned()));
        assert_eq!(
            message(&health, false, &mut last).unwrap(),
            "STATUS=/a b was removed; nothing can be written"
        );
        health.set_data_dir_lost(None);
        health.set_draining();
        assert_eq!(message(&health, false, &mut last).unwrap(), format!("{extend}\nSTATUS=stopping"));
    }
}
