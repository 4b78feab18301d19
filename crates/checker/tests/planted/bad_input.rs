//! What is no history ends with an error that names the line.

use corduroy_checker::{LINE_BYTES_MAX, read};

const HEAD: &str = r#"{"history":{"version":1}}"#;
const INVOKE: &str =
    r#"{"invoke":{"op":0,"at_ns":10,"client":1,"partition":"t/0","call":{"fetch":{"from":0}}}}"#;
const COMPLETE: &str = r#"{"complete":{"op":0,"at_ns":20,"end":"unknown"}}"#;

/// The error of these lines.
fn error(lines: &[&str]) -> String {
    let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
    read(text.as_bytes()).expect_err("this is no history").to_string()
}

/// Asserts that the line behind the head and a complete operation is refused with this.
fn refused(line: &str, expected: &str) {
    let got = error(&[HEAD, INVOKE, COMPLETE, line]);
    assert!(got.starts_with("line 4: "), "{got}");
    assert!(got.contains(expected), "{got}");
}

#[test]
fn the_smallest_history_is_read() {
    for lines in [&[HEAD][..], &[HEAD, INVOKE, COMPLETE]] {
        let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
        assert!(read(text.as_bytes()).is_ok());
    }
}

#[test]
fn unknown_fields_lines_and_calls() {
    refused(r#"{"panic":{"at_ns":1,"message":"","colour":2}}"#, "unknown field `colour`");
    refused(
        r#"{"invoke":{"op":1,"at_ns":1,"client":1,"partition":"t/0","call":{"fetch":{"from":0,"to":1}}}}"#,
        "`to`",
    );
    refused(
        r#"{"invoke":{"op":1,"at_ns":1,"client":1,"partition":"t/0","call":"sing"}}"#,
        "unknown variant `sing`",
    );
    refused(r#"{"complete":{"op":0,"at_ns":1,"end":{"listed":{"offset":1,"leader_epoch":1,"x":1}}}}"#, "`x`");
    refused(r#"{"note":{}}"#, "unknown variant `note`");
    refused("", "EOF");
    refused("{}", "at column");
    refused(r#"{"panic":{"at_ns":1,"message":""}} {}"#, "trailing characters");
    refused(r#"{"panic":{"message":""}}"#, "missing field `at_ns`");
    refused(r#"{"panic":{"at_ns":1,"at_ns":2,"message":""}}"#, "duplicate field `at_ns`");
    refused(r#"{"panic":{"at_ns":-1,"message":""}}"#, "invalid value");
}

#[test]
fn numbers_out_of_range() {
    let fetch = |from: &str| {
        format!(
            r#"{{"invoke":{{"op":1,"at_ns":1,"client":1,"partition":"t/0","call":{{"fetch":{{"from":{from}}}}}}}}}"#
        )
    };
    refused(
        &fetch("9223372036854775808"),
        "offset 9223372036854775808 is out of range 0..=9223372036854775807",
    );
    refused(&fetch("99999999999999999999"), "at column");
    let fetched = |offset: u64, epoch: u64| {
        let record = format!("[{offset},{epoch},1,1,1]");
        let answer = r#""leader_epoch":1,"log_start":0"#;
        format!(
            r#"{{"complete":{{"op":0,"at_ns":20,"end":{{"fetched":{{{answer},"records":[{record}]}}}}}}}}"#
        )
    };
    refused(&fetched(1 << 63, 1), "offset 9223372036854775808 is out of range");
    refused(&fetched(1, 1 << 31), "leader epoch 2147483648 is out of range");
    refused(&fetched(1, 1 << 32), "invalid value");
}

#[test]
fn a_batch_past_the_greatest_offset() {
    let produce = r#"{"invoke":{"op":0,"at_ns":1,"client":1,"partition":"t/0","call":{"produce":{"acks":"all","records":[[1,1,1]]}}}}"#;
    let at = |base| {
        format!(
            r#"{{"complete":{{"op":0,"at_ns":2,"end":{{"produced":{{"base_offset":{base},"leader_epoch":0}}}}}}}}"#
        )
    };
    let got = error(&[HEAD, produce, &at("9223372036854775807")]);
    assert!(got.starts_with("line 3: 1 records from offset 9223372036854775807 on pass"), "{got}");
    assert!(read(format!("{HEAD}\n{produce}\n{}\n", at("9223372036854775806")).as_bytes()).is_ok());
}

#[test]
fn operations_that_do_not_fit_together() {
    let invoke = |op: u64, partition: &str, call: &str| {
        format!(r#"{{"invoke":{{"op":{op},"at_ns":30,"client":1{partition},"call":{call}}}}}"#)
    };
    let t0 = r#","partition":"t/0""#;
    refused(&invoke(2, t0, r#""seek""#), "operation 2 stands where 1 is expected");
    refused(&invoke(0, t0, r#""seek""#), "operation 0 stands where 1 is expected");
    refused(&invoke(1, "", r#""seek""#), "needs a partition");
    refused(&invoke(1, t0, r#""heal""#), "about no partition");
    for name in ["t", "t/", "/0", "t/01", "t/-1", "t /0", "../0"] {
        let partition = format!(r#","partition":"{name}""#);
        refused(&invoke(1, &partition, r#""seek""#), "is no partition");
    }
    refused(&invoke(1, t0, r#"{"produce":{"acks":"one","records":[]}}"#), "at least one record");
    refused(
        &invoke(1, t0, r#"{"produce":{"acks":"one","records":[[5,1,1],[5,1,1]]}}"#),
        "value 5 stands twice",
    );
    refused(
        &invoke(1, t0, r#"{"produce":{"acks":"most","records":[[5,1,1]]}}"#),
        "use one of: one, quorum, all",
    );
    refused(COMPLETE, "completed a second time");
    refused(r#"{"complete":{"op":1,"at_ns":20,"end":"unknown"}}"#, "was not invoked");
    refused(r#"{"complete":{"op":18446744073709551615,"at_ns":20,"end":"unknown"}}"#, "was not invoked");
    refused(r#"{"partition":{"name":"t/0"}}"#, "after it was used");
    refused(HEAD, "first line");
}

#[test]
fn an_end_has_to_fit_its_call() {
    for end in [r#""not_written""#, r#""done""#, r#"{"listed":{"offset":0,"leader_epoch":0}}"#] {
        let complete = format!(r#"{{"complete":{{"op":0,"at_ns":20,"end":{end}}}}}"#);
        let got = error(&[HEAD, INVOKE, &complete]);
        assert!(got.starts_with("line 3: operation 0 cannot end like this"), "{got}");
    }
    let early = r#"{"complete":{"op":0,"at_ns":9,"end":"refused"}}"#;
    assert!(error(&[HEAD, INVOKE, early]).contains("ends at 9 ns, before it begins at 10 ns"));
}

#[test]
fn a_missing_completion_names_the_line_of_the_invocation() {
    let second = INVOKE.replace("\"op\":0", "\"op\":1");
    let got = error(&[HEAD, INVOKE, &second, COMPLETE]);
    assert!(got.starts_with("line 3: operation 1 is invoked here and never completed"), "{got}");
}

#[test]
fn a_file_that_was_cut_off() {
    let text = format!("{HEAD}\n{INVOKE}\n{COMPLETE}\n");
    for length in 0..text.len() {
        let got = read(&text.as_bytes()[..length]);
        let line = text[..length].matches('\n').count() + 1;
        match got.map_err(|error| error.to_string()) {
            Ok(_) => assert_eq!(&text[..length], format!("{HEAD}\n"), "only this is a whole history"),
            // A file that ends behind the invocation lacks its completion.
            Err(got) if text[..length].ends_with('\n') => assert!(got.contains("never completed"), "{got}"),
            Err(got) if length == 0 => assert!(got.contains("the first line"), "{got}"),
            Err(got) => assert!(got.starts_with(&format!("line {line}: the file ends within")), "{got}"),
        }
    }
}

#[test]
fn the_first_line_names_the_version() {
    assert!(error(&[INVOKE]).starts_with("line 1: the first line must be"));
    assert!(error(&[r#"{"history":{"version":2}}"#]).contains("format version 2 is not known"));
    assert!(read(&[0xff, 0xfe, b'\n'][..]).is_err(), "no text");
}

#[test]
fn a_line_without_end_is_not_kept() {
    let endless = std::io::BufReader::with_capacity(1 << 20, std::io::repeat(b' '));
    let got = read(endless).expect_err("too long").to_string();
    assert_eq!(got, format!("line 1: longer than {LINE_BYTES_MAX} bytes"));
}
