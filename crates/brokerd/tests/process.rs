//! `brokerd` as a process: start, stop, and everything that keeps it from starting.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use std::{
    io::{BufRead, BufReader, Read as _, Write as _},
    net::TcpStream,
    os::unix::net::UnixDatagram,
    path::Path,
    process::{Child, ChildStdout, Command, Output, Stdio},
};

use rustix::process::{Pid, Signal, kill_process};

/// `brokerd` of this build in `dir`, with nothing of this process's environment that would configure it.
fn brokerd(dir: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_brokerd"));
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("BROKERD_")) {
        command.env_remove(name);
    }
    command.current_dir(dir).args(args).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Free ports, and healthy however full this machine is.
const FREE_PORTS: [&str; 9] = [
    "--dev",
    "--listen",
    "127.0.0.1:0",
    "--set",
    "listen.http=127.0.0.1:0",
    "--set",
    "storage.disk_block_watermark=0",
    "--set",
    "storage.disk_low_watermark=0",
];

struct Running {
    child: Child,
    out: BufReader<ChildStdout>,
    report: Vec<String>,
}

impl Running {
    /// Starts and waits for the line that says it is ready.
    fn start(dir: &Path, more: &[&str]) -> Self {
        Self::spawn(brokerd(dir, &[&FREE_PORTS, more].concat()))
    }

    fn spawn(mut command: Command) -> Self {
        let mut child = command.spawn().unwrap();
        let out = BufReader::new(child.stdout.take().unwrap());
        let mut running = Self { child, out, report: Vec::new() };
        while !running.report.last().is_some_and(|line| line.starts_with("ready in ")) {
            let mut line = String::new();
            let bytes = running.out.read_line(&mut line).unwrap();
            assert_ne!(bytes, 0, "it ended before it was ready: {:?}", running.report);
            running.report.push(line);
        }
        running
    }

    fn address(&self, name: &str) -> String {
        let words = self.report.iter().flat_map(|line| line.split_whitespace());
        let url = words.skip_while(|word| *word != name).nth(1).unwrap();
        url.trim_start_matches("http://").trim_end_matches("/metrics").to_owned()
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Waits for the end; returns the status and what else it wrote to standard output.
    fn end(&mut self) -> (Option<i32>, String) {
        let status = self.child.wait().unwrap();
        let mut rest = String::new();
        self.out.read_to_string(&mut rest).unwrap();
        (status.code(), rest)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It has usually ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn error_of(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn it_starts_says_so_and_stops_cleanly() {
    let dir = tempfile::tempdir().unwrap();
    for signal in [Signal::TERM, Signal::INT] {
        let mut running = Running::start(dir.path(), &[]);
        assert!(running.report[0].contains("(single node, development: loopback only, no authentication)"));
        assert!(running.report[1].contains("./brokerd-data      durability sync"));
        let http = format!("listen.http={}", running.address("metrics"));
        let health = brokerd(dir.path(), &["health", "--set", &http]).output().unwrap();
        assert_eq!((health.status.code(), health.stdout.as_slice()), (Some(0), b"ok\n".as_slice()));
        running.signal(signal);
        let (status, rest) = running.end();
        assert_eq!(status, Some(0));
        assert!(rest.contains("brokerd: draining.. flushed, closed 0 clients, bye ("), "{rest}");
        assert!(dir.path().join("brokerd-data/clean-shutdown").exists());
        let health = brokerd(dir.path(), &["health", "--set", &http]).output().unwrap();
        assert_eq!(health.status.code(), Some(1));
        assert!(error_of(&health).contains("is the broker running?"));
    }
}

/// A connection that says nothing: the drain waits for it, once the broker has accepted it.
fn hold_the_drain(running: &Running) -> TcpStream {
    let held = TcpStream::connect(running.address("grpc")).unwrap();
    while !metrics_of(running).contains("\nbrokerd_open_connections{listener=\"grpc\"} 1\n") {}
    held
}

#[test]
fn a_signal_that_comes_twice_is_one_stop() {
    let dir = tempfile::tempdir().unwrap();
    let mut running = Running::start(dir.path(), &["--set", "node.drain_timeout=2s"]);
    let held = hold_the_drain(&running);
    for signal in [Signal::TERM, Signal::TERM, Signal::INT, Signal::TERM] {
        running.signal(signal);
    }
    let (status, rest) = running.end();
    assert_eq!(status, Some(0), "{rest}");
    assert!(rest.contains("bye ("), "{rest}");
    assert!(dir.path().join("brokerd-data/clean-shutdown").exists());
    drop(held);
}

#[test]
fn a_later_ctrl_c_stops_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let mut running = Running::start(dir.path(), &["--set", "node.drain_timeout=10m"]);
    let held = hold_the_drain(&running);
    // Its log has a line for each signal, and must not fill the pipe.
    let mut log = running.child.stderr.take().unwrap();
    let log = std::thread::spawn(move || std::io::copy(&mut log, &mut std::io::sink()));
    running.signal(Signal::TERM);
    let status = loop {
        // The first of these come too soon after the first signal, and mean nothing.
        running.signal(Signal::INT);
        if let Some(status) = running.child.try_wait().unwrap() {
            break status;
        }
        std::thread::yield_now();
    };
    assert_eq!(status.code(), Some(1));
    assert!(!dir.path().join("brokerd-data/clean-shutdown").exists());
    drop((held, log));
}

/// Reads the log up to the line of this event.
fn until_event(log: &mut impl BufRead, event: &str) -> String {
    let wanted = format!("\"event\":\"{event}\"");
    loop {
        let mut line = String::new();
        assert_ne!(log.read_line(&mut line).unwrap(), 0, "the log ended without {event}");
        if line.contains(&wanted) {
            return line;
        }
    }
}

fn metrics_of(running: &Running) -> String {
    let mut stream = TcpStream::connect(running.address("metrics")).unwrap();
    stream.write_all(b"GET /metrics HTTP/1.0\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn sighup_loads_the_configuration_again_and_never_ends_the_broker() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("brokerd.toml");
    std::fs::write(&file, "[node]\ndata_dir = \"data\"\n[log]\nlevel = \"info\"\n").unwrap();
    let mut running = Running::start(dir.path(), &["--config", "brokerd.toml"]);
    let mut log = BufReader::new(running.child.stderr.take().unwrap());

    std::fs::write(&file, "[node]\ndrain_timeout = \"5s\"\n[log]\nlevel = \"debug\"\n").unwrap();
    running.signal(Signal::HUP);
    let line = until_event(&mut log, "B0005");
    assert!(line.contains("\"log_level\":\"debug\""), "{line}");
    assert!(line.contains("\"needs_restart\":\"node.data_dir, node.drain_timeout\""), "{line}");

    std::fs::write(&file, "[log]\nlevel = \"loud\"\n").unwrap();
    running.signal(Signal::HUP);
    let line = until_event(&mut log, "B0006");
    assert!(line.contains("brokerd.toml:2: log.level"), "{line}");
    // The line is written before it is counted.
    let is_counted = |metrics: &str| {
        let of =
            |result| metrics.contains(&format!("brokerd_config_reloads_total{{result=\"{result}\"}} 1\n"));
        of("ok") && of("failed")
    };
    while !is_counted(&metrics_of(&running)) {}

    std::fs::write(&file, "[node]\ndata_dir = \"data\"\n[log]\nlevel = \"off\"\n").unwrap();
    running.signal(Signal::HUP);
    running.signal(Signal::TERM);
    assert_eq!(running.end().0, Some(0));
}

#[test]
fn the_service_manager_learns_the_state_of_the_broker() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("notify");
    let manager = UnixDatagram::bind(&socket).unwrap();
    let mut command = brokerd(dir.path(), &FREE_PORTS);
    command.env("NOTIFY_SOCKET", &socket).env("WATCHDOG_USEC", "100000");
    let mut running = Running::spawn(command);
    let until = |wanted: &str| {
        let mut buffer = [0; 4096];
        loop {
            let length = manager.recv(&mut buffer).unwrap();
            let text = String::from_utf8_lossy(&buffer[..length]).into_owned();
            if text.lines().any(|line| line.starts_with(wanted)) {
                return;
            }
        }
    };
    until("READY=1");
    until("STATUS=ready");
    until("WATCHDOG=1");
    running.signal(Signal::HUP);
    until("RELOADING=1");
    until("READY=1");
    std::fs::rename(dir.path().join("brokerd-data/LOCK"), dir.path().join("aside")).unwrap();
    until("STATUS=./brokerd-data/LOCK was removed");
    std::fs::rename(dir.path().join("aside"), dir.path().join("brokerd-data/LOCK")).unwrap();
    until("STATUS=ready");
    let held = hold_the_drain(&running);
    running.signal(Signal::TERM);
    until("STOPPING=1");
    until("EXTEND_TIMEOUT_USEC=");
    drop(held);
    assert_eq!(running.end().0, Some(0));
}

#[test]
fn a_directory_has_one_broker_and_an_address_too() {
    let dir = tempfile::tempdir().unwrap();
    let running = Running::start(dir.path(), &[]);
    let second = brokerd(dir.path(), &FREE_PORTS).output().unwrap();
    assert_eq!(second.status.code(), Some(1));
    let pid = running.child.id();
    assert_eq!(
        error_of(&second),
        format!(
            "error: data directory ./brokerd-data is in use by process {pid}; stop it, or choose another with --data-dir\n"
        )
    );
    let address = running.address("grpc");
    let third = brokerd(dir.path(), &["--data-dir", "other", "--listen", &address]).output().unwrap();
    assert_eq!(third.status.code(), Some(1));
    let error = error_of(&third);
    assert!(error.contains(&format!("error: cannot listen on listen.grpc {address}: ")), "{error}");
    assert!(error.contains("choose another address: --listen 127.0.0.1:0"), "{error}");
}

#[test]
fn a_directory_that_cannot_be_used_is_refused_with_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("file"), "no directory").unwrap();
    let under_file =
        brokerd(dir.path(), &[&FREE_PORTS[..], &["--data-dir", "file/data"]].concat()).output().unwrap();
    assert_eq!(under_file.status.code(), Some(1));
    assert!(error_of(&under_file).contains("data directory file/data: cannot create it"));
    let foreign = brokerd(dir.path(), &[&FREE_PORTS[..], &["--data-dir", "."]].concat()).output().unwrap();
    assert_eq!(foreign.status.code(), Some(1));
    assert!(error_of(&foreign).contains("is no data directory of brokerd"), "{}", error_of(&foreign));
    assert!(!dir.path().join("LOCK").exists(), "nothing was written into it");
    let mut owner = Running::start(dir.path(), &[]);
    owner.signal(Signal::TERM);
    assert_eq!(owner.end().0, Some(0));
    let other = brokerd(dir.path(), &[&FREE_PORTS[..], &["--node-id", "2"]].concat()).output().unwrap();
    assert_eq!(other.status.code(), Some(1));
    assert!(error_of(&other).contains("belongs to node 1, but the configuration says node 2"));
}

#[test]
fn a_wrong_configuration_starts_nothing() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("bad.toml"), "[node]\nidd = 3\n[log]\nlevel = 4\n").unwrap();
    for args in [&["config", "check", "bad.toml"][..], &["--config", "bad.toml"]] {
        let output = brokerd(dir.path(), args).output().unwrap();
        assert_eq!(output.status.code(), Some(78));
        assert_eq!(
            error_of(&output),
            "error[C0007] bad.toml:2: unknown key \"idd\" in [node]; did you mean \"id\"? (accepts 1)\n\
             error[C0003] bad.toml:4: log.level takes a string in quotes, not a number\n\
             2 errors; nothing was started\n"
        );
    }
    let unknown = brokerd(dir.path(), &[]).env("BROKERD_NODE__DATADIR", "/x").output().unwrap();
    assert_eq!(unknown.status.code(), Some(78));
    assert!(error_of(&unknown).contains("did you mean BROKERD_NODE__DATA_DIR?"), "{}", error_of(&unknown));
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1, "nothing was created");
}

#[test]
fn what_kubernetes_sets_for_a_service_of_its_name_is_ignored() {
    let dir = tempfile::tempdir().unwrap();
    let show =
        |name: &str, value: &str| brokerd(dir.path(), &["config", "show"]).env(name, value).output().unwrap();
    assert_eq!(show("BROKERD_PORT", "tcp://10.43.7.1:9480").status.code(), Some(0));
    assert_eq!(show("BROKERD_SERVICE_PORT_GRPC", "9480").status.code(), Some(0));
    assert_eq!(show("BROKERD_PORT", "9480").status.code(), Some(78));
    assert_eq!(show("BROKERD_LISTEN__GRCP", "127.0.0.1:1").status.code(), Some(78));
}

#[test]
fn the_hint_for_an_address_in_use_works_for_a_development_node() {
    let dir = tempfile::tempdir().unwrap();
    let first = Running::start(dir.path(), &[]);
    let (home, address) = (tempfile::tempdir().unwrap(), first.address("grpc"));
    let args = ["--listen", &address, "--set", "listen.http=127.0.0.1:0"];
    let error = error_of(&brokerd(home.path(), &args).output().unwrap());
    assert!(error.contains("choose another address: --listen 127.0.0.1:0"), "{error}");
    let mut second = Running::spawn(brokerd(
        home.path(),
        &["--listen", "127.0.0.1:0", "--set", "listen.http=127.0.0.1:0"],
    ));
    assert!(second.report[1].contains("./brokerd-data "), "{:?}", second.report);
    second.signal(Signal::TERM);
    assert_eq!(second.end().0, Some(0));
}

#[test]
fn help_names_the_data_directory_that_is_used() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("empty.toml"), "").unwrap();
    let help = brokerd(dir.path(), &["--help"]).output().unwrap();
    let help = String::from_utf8_lossy(&help.stdout).into_owned();
    for (args, data_dir) in [
        (&["config", "show"][..], "./brokerd-data"),
        (&["config", "show", "--dev", "--listen", "127.0.0.1:0"], "./brokerd-data"),
        (&["config", "show", "--listen", "127.0.0.1:0"], "./brokerd-data"),
        (&["config", "show", "--config", "empty.toml"], "/var/lib/brokerd"),
    ] {
        let shown = brokerd(dir.path(), args).output().unwrap();
        let shown = String::from_utf8_lossy(&shown.stdout).into_owned();
        assert!(shown.contains(&format!("data_dir = \"{data_dir}\"")), "{args:?}: {shown}");
        assert!(help.contains(data_dir), "{help}");
    }
}

#[test]
fn the_configuration_can_be_checked_shown_and_explained() {
    let dir = tempfile::tempdir().unwrap();
    let reference = brokerd(dir.path(), &["config", "reference"]).output().unwrap();
    std::fs::write(dir.path().join("all.toml"), &reference.stdout).unwrap();
    let check = brokerd(dir.path(), &["config", "check", "all.toml"]).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&check.stdout), "all.toml: no errors\n");
    let show = brokerd(dir.path(), &["config", "show", "--origin", "--node-id", "7"]).output().unwrap();
    let shown = String::from_utf8_lossy(&show.stdout).into_owned();
    assert!(
        shown.lines().any(|line| line.starts_with("id = 7 ") && line.ends_with("# --node-id")),
        "{shown}"
    );
    let usage = brokerd(dir.path(), &["--set", "x"]).output().unwrap();
    assert_eq!(usage.status.code(), Some(2));
}
