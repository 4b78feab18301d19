//! The program: its report and its exit status.

use std::{
    io::Write,
    process::{Command, Output, Stdio},
};

use corduroy_checker::{Writer, line::End};
use corduroy_types::Acks;

use crate::script::*;

/// Runs the program with a history on its standard input.
fn run(arguments: &[&str], input: &[u8]) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_corduroy-checker"))
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // A program that refuses its arguments reads nothing.
    let _ = child.stdin.take().unwrap().write_all(input);
    child.wait_with_output().unwrap()
}

fn text(script: &Script) -> Vec<u8> {
    let mut writer = Writer::new(Vec::new()).unwrap();
    for line in &script.lines {
        writer.line(line).unwrap();
    }
    writer.finish().unwrap()
}

#[test]
fn a_valid_history_ends_with_0() {
    let mut script = Script::default();
    script.op(1, produce(Acks::Quorum, &[1]), base(0));
    script.finish(0, 1, &[(0, 1)]);
    let output = run(&["-"], &text(&script));
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(String::from_utf8_lossy(&output.stdout), "valid: 4 operations, 1 records read\n");
}

#[test]
fn findings_end_with_1_and_are_limited_in_print_only() {
    let mut script = Script::default();
    for value in 0..30 {
        script.op(1, produce(Acks::Quorum, &[value]), End::NotWritten);
    }
    let all: Vec<_> = (0..30).map(|value| (value, value)).collect();
    script.finish(0, 30, &all);
    let output = run(&["--findings", "2", "-"], &text(&script));
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(
        String::from_utf8_lossy(&output.stdout),
        "INVALID: 33 operations, 30 records read\n\
         C5 failed write was read: 30 found\n  \
         t/0, offset 0, ops 32 0: a produce that ended not written is never read, and here is value 0\n  \
         t/0, offset 1, ops 32 1: a produce that ended not written is never read, and here is value 1\n  \
         and 28 more\n"
    );
}

#[test]
fn missing_coverage_does_not_pass() {
    let mut script = Script::default();
    script.op(1, produce(Acks::Quorum, &[1]), base(0));
    let output = run(&["-"], &text(&script));
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stdout).starts_with("unknown: "));
}

#[test]
fn bad_input_ends_with_2() {
    for (arguments, input, expected) in [
        (&["-"][..], &b"{}\n"[..], "-: line 1: "),
        (&["no/such/file"], b"", "no/such/file: "),
        (&[], b"", "which file?"),
        (&["--fast", "-"], b"", "--fast is no option"),
        (&["--lease-ms", "soon", "-"], b"", "--lease-ms needs a number"),
        (&["a", "b"], b"", "one file is checked"),
    ] {
        let output = run(arguments, input);
        let error = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(error.starts_with("corduroy-checker: ") && error.contains(expected), "{error}");
    }
}

#[test]
fn the_example_of_the_page_is_a_history() {
    let page = include_str!("../../../../docs/checker.md");
    let example = page.split("```json\n").nth(1).unwrap().split("```").next().unwrap();
    let output = run(&["-"], example.as_bytes());
    assert_eq!(output.status.code(), Some(1), "it stops before the final reads, so it is unknown");
    assert!(String::from_utf8_lossy(&output.stdout).starts_with("unknown: 4 operations"));
}
