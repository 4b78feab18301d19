//! What changes when a person is there: a terminal on all three streams.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test may stop")]

mod common;

use std::{
    ffi::OsStr,
    fs::{File, OpenOptions},
    io::{Read as _, Write as _},
    os::unix::ffi::OsStrExt as _,
    process::{Child, Command, Stdio},
    sync::mpsc,
    time::Duration,
};

use common::{Home, signal};
use corduroy_testing::Broker;
use rustix::{
    process::Signal,
    pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt},
};

/// Nothing here takes long; a text that never appears should fail with what appeared instead.
const PATIENCE: Duration = Duration::from_secs(60);

/// A terminal, and what was shown on it so far.
struct Screen {
    master: File,
    output: mpsc::Receiver<Vec<u8>>,
    slave: File,
    shown: String,
}

impl Screen {
    fn new() -> Self {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        let name = ptsname(&master, Vec::new()).unwrap();
        let slave =
            OpenOptions::new().read(true).write(true).open(OsStr::from_bytes(name.as_bytes())).unwrap();
        let master = File::from(master);
        let mut reader = master.try_clone().unwrap();
        let (sender, output) = mpsc::channel();
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(count) = reader.read(&mut buffer) {
                if sender.send(buffer[..count].to_vec()).is_err() {
                    break;
                }
            }
        });
        Self { master, output, slave, shown: String::new() }
    }

    fn stdio(&self) -> Stdio {
        Stdio::from(self.slave.try_clone().unwrap())
    }

    /// Starts a command with this terminal on all its streams.
    fn spawn(&self, home: &Home, args: &[&str]) -> Child {
        home.command(args).stdin(self.stdio()).stdout(self.stdio()).stderr(self.stdio()).spawn().unwrap()
    }

    /// Starts a command as whose own terminal this is, so that what is typed can interrupt it.
    fn spawn_in_front(&self, home: &Home, args: &[&str]) -> Child {
        let command = home.command(args);
        let mut in_front = Command::new("setsid");
        in_front.arg("--ctty").arg(command.get_program()).args(command.get_args());
        in_front.env_clear().envs(command.get_envs().filter_map(|(key, value)| Some((key, value?))));
        in_front.env("PATH", "/usr/bin:/bin").current_dir(home.path());
        in_front.stdin(self.stdio()).stdout(self.stdio()).stderr(self.stdio()).spawn().unwrap()
    }

    /// Everything that was shown up to now; nothing may be running here.
    fn rest(&mut self) -> String {
        self.slave.write_all(b"<nothing more>").unwrap();
        self.wait_for("<nothing more>")
    }

    /// Reads until this text was shown, and returns everything up to there.
    fn wait_for(&mut self, text: &str) -> String {
        while !self.shown.contains(text) {
            match self.output.recv_timeout(PATIENCE) {
                Ok(bytes) => self.shown.push_str(&String::from_utf8_lossy(&bytes)),
                Err(_) => panic!("{text:?} was not shown; but: {}", self.shown),
            }
        }
        let end = self.shown.find(text).unwrap() + text.len();
        let rest = self.shown.split_off(end);
        std::mem::replace(&mut self.shown, rest)
    }

    fn type_line(&mut self, line: &str) {
        self.master.write_all(format!("{line}\n").as_bytes()).unwrap();
    }
}

fn code(mut child: Child) -> i32 {
    child.wait().unwrap().code().unwrap()
}

#[tokio::test]
async fn what_destroys_is_asked_for_by_name() {
    let broker = Broker::start().await.unwrap();
    let home = Home::at(broker.url());
    home.ok(&["topic", "create", "orders"]);
    let mut screen = Screen::new();
    let child = screen.spawn(&home, &["topic", "delete", "orders"]);
    let question = screen.wait_for("Type \"orders\" to confirm: ");
    assert!(question.contains("Delete topic \"orders\" with its 0 records (0 B)?"), "{question}");
    screen.type_line("yes");
    screen.wait_for("not confirmed; nothing was changed");
    assert_eq!(code(child), 8);
    let child = screen.spawn(&home, &["topic", "delete", "orders", "--non-interactive"]);
    screen.wait_for("give --yes if you mean it");
    assert_eq!(code(child), 8);
    let child = screen.spawn(&home, &["topic", "delete", "orders"]);
    screen.wait_for("to confirm: ");
    screen.type_line("orders");
    screen.wait_for("deleted orders");
    assert_eq!(code(child), 0);
    home.fails(3, &["topic", "describe", "orders"]);
}

#[tokio::test]
async fn a_question_is_no_unless_someone_says_yes() {
    let broker = Broker::start().await.unwrap();
    let home = Home::at(broker.url());
    home.ok(&["topic", "create", "t"]);
    home.ok_with(&["produce", "t"], b"a\nb\n");
    let mut screen = Screen::new();
    for (answer, expected) in [("", 8), ("n", 8), ("y", 0)] {
        let child = screen.spawn(&home, &["topic", "delete-records", "t", "--before", "end"]);
        screen.wait_for("Delete the records of 2 offsets of topic \"t\"? [y/N] ");
        screen.type_line(answer);
        assert_eq!(code(child), expected, "{answer:?}");
    }
    assert_eq!(home.ok(&["consume", "t", "--to", "end"]).stdout, "");
}

#[tokio::test]
async fn people_get_units_relative_times_and_colour() {
    let broker = Broker::start().await.unwrap();
    let home = Home::at(broker.url());
    home.ok(&["topic", "create", "t"]);
    home.ok_with(&["produce", "t"], &b"0123456789\n".repeat(2_000));
    let mut screen = Screen::new();
    let child = screen.spawn(&home, &["topic", "ls"]);
    let table = screen.wait_for("KiB");
    assert!(table.contains("2,000") && table.contains('\u{1b}'), "{table}");
    assert_eq!(code(child), 0);
    let child = screen.spawn(&home, &["status", "-o", "wide", "--color", "never"]);
    let status = screen.wait_for("iB");
    assert!(status.contains("HEALTHY") && !status.contains("\u{1b}[1;32m"), "{status}");
    assert!(status.contains(" ago") || status.contains(" now"), "{status}");
    assert_eq!(code(child), 0);
    let mut no_color = home.command(&["topic", "ls"]);
    no_color.env("NO_COLOR", "1").stdin(screen.stdio()).stdout(screen.stdio()).stderr(screen.stdio());
    let mut screen = screen;
    let child = no_color.spawn().unwrap();
    let table = screen.wait_for("KiB");
    assert!(!table.contains("\u{1b}[1m"), "{table}");
    assert_eq!(code(child), 0);
}

#[tokio::test]
async fn a_terminal_does_not_obey_what_records_hold() {
    let broker = Broker::start().await.unwrap();
    let home = Home::at(broker.url());
    home.ok(&["topic", "create", "t"]);
    let value = "\u{1b}[2J\u{202e}txt.exe\rgone";
    home.ok_with(&["produce", "t"], format!("{value}\n").as_bytes());
    let mut screen = Screen::new();
    let escaped = "\\x1b[2J\\u{202e}txt.exe\\rgone";
    for (format, expected) in [
        ("%v\\n", escaped),
        ("\\x1b[1m%p %v<end>\\n", "\u{1b}[1m0 \\x1b[2J\\u{202e}txt.exe\\rgone<end>"),
        ("raw", escaped),
        ("jsonl", "\\u001b[2J\\u202etxt.exe\\rgone"),
    ] {
        let child = screen.spawn(&home, &["consume", "t", "-n", "1", "-f", format]);
        screen.wait_for(expected);
        assert_eq!(code(child), 0);
    }
    let child = screen.spawn(&home, &["consume", "t", "-n", "1", "-g", "g", "--no-commit"]);
    screen.wait_for(escaped);
    assert_eq!(code(child), 0);
    let child = screen.spawn(&home, &["consume", "t", "-n", "1", "--raw"]);
    screen.wait_for(value);
    assert_eq!(code(child), 0);
    // A pipe gets every byte.
    assert_eq!(home.ok(&["consume", "t", "-n", "1"]).stdout, format!("{value}\n"));
}

#[tokio::test]
async fn a_bar_shows_how_far_it_is() {
    let broker = Broker::start().await.unwrap();
    let home = Home::at(broker.url());
    home.ok(&["topic", "create", "t"]);
    let mut screen = Screen::new();
    let mut command = home.command(&["produce", "t"]);
    let mut child =
        command.stdin(Stdio::piped()).stdout(screen.stdio()).stderr(screen.stdio()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(b"one\ntwo\n").unwrap();
    screen.wait_for("2 records");
    signal(&child, Signal::INT);
    // The bar is gone before anything else is said.
    screen.wait_for("interrupted: 2 records acknowledged, 0 unknown, 0 unsent");
    assert_eq!(code(child), 130);
    drop(stdin);
}

#[tokio::test]
async fn no_bar_is_drawn_over_what_is_typed() {
    let broker = Broker::start().await.unwrap();
    let home = Home::at(broker.url());
    home.ok(&["topic", "create", "t"]);
    let mut typing = Screen::new();
    let typed = typing.spawn_in_front(&home, &["produce", "t", "--report", "each"]);
    typing.wait_for("Ctrl-D ends them");
    typing.type_line("one");
    typing.wait_for("0 0");
    // A bar that begins later is shown: it is late enough for the other one too.
    let mut other = Screen::new();
    let child = other.spawn_in_front(&home, &["produce", "t", "--report", "each", "--progress", "bar"]);
    other.wait_for("Ctrl-D ends them");
    other.type_line("two");
    let bar = other.wait_for("1 record");
    assert!(bar.contains("B/s"), "it is drawn: {bar:?}");
    other.master.write_all(b"\x04").unwrap();
    assert_eq!(code(child), 0);
    typing.type_line("three");
    let shown = typing.wait_for("0 2");
    assert!(!shown.contains("B/s") && !shown.contains("1 record"), "{shown:?}");
    typing.master.write_all(b"\x04").unwrap();
    assert_eq!(code(typed), 0);
}

#[tokio::test]
async fn a_second_interrupt_ends_at_once() {
    let broker = Broker::start().await.unwrap();
    let home = Home::at(broker.url());
    home.ok(&["topic", "create", "t"]);
    let mut screen = Screen::new();
    let child = screen.spawn_in_front(&home, &["produce", "t", "--report", "each", "--progress", "bar"]);
    screen.wait_for("Ctrl-D ends them");
    screen.type_line("one");
    screen.wait_for("0 0");
    // No one will answer for the next one.
    assert!(broker.stop().await);
    screen.type_line("two");
    screen.wait_for("2 records");
    screen.master.write_all(b"\x03").unwrap();
    screen.wait_for("waiting up to 5 s for 1 record on the way; Ctrl-C again ends at once");
    // One right behind the first means the same, so it comes until it counts. As a signal: what is typed after the end fills
    // the terminal, and the next write would wait for ever.
    let mut child = child;
    while child.try_wait().unwrap().is_none() {
        signal(&child, Signal::INT);
        std::thread::yield_now();
    }
    assert_eq!(code(child), 130);
    // A process that had waited would report the outcome of the records.
    let rest = screen.rest();
    assert!(!rest.contains("interrupted"), "{rest}");
}
