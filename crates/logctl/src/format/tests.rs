use std::borrow::Cow;

use corduroy_types::TimestampMs;
use proptest::prelude::*;

use super::{read::ReadError, *};

type OwnedHeader = (String, Option<Vec<u8>>);

#[derive(Clone, Debug)]
struct Owned {
    key: Option<Vec<u8>>,
    value: Option<Vec<u8>>,
    headers: Vec<OwnedHeader>,
    timestamp: i64,
    partition: u32,
}

impl Owned {
    fn with_view<T>(&self, visit: impl FnOnce(&RecordView<'_>) -> T) -> T {
        let headers: Vec<_> = self.headers.iter().map(|(k, v)| (k.as_str(), v.as_deref())).collect();
        visit(&RecordView {
            topic: "orders",
            partition: self.partition,
            offset: 42,
            timestamp: TimestampMs(self.timestamp),
            leader_epoch: 7,
            compression: "lz4",
            key: self.key.as_deref(),
            value: self.value.as_deref(),
            headers: HeaderView::Slice(&headers),
        })
    }

    fn print(&self, format: &RecordFormat) -> Vec<u8> {
        let mut out = Vec::new();
        self.with_view(|view| format.print(view, &mut out)).unwrap();
        out
    }
}

fn sample() -> Owned {
    Owned {
        key: Some(b"alice".to_vec()),
        value: Some(b"hi \xff".to_vec()),
        headers: vec![("a".to_owned(), Some(b"1".to_vec())), ("b".to_owned(), None)],
        timestamp: 1_795_165_200_123,
        partition: 3,
    }
}

fn text(format: &str) -> RecordFormat {
    RecordFormat::parse(format).unwrap_or_else(|error| panic!("{format}: {}", error.message))
}

fn printed(format: &str) -> String {
    String::from_utf8_lossy(&sample().print(&text(format))).into_owned()
}

fn reader(format: &str) -> RecordReader {
    match text(format) {
        RecordFormat::Text(program) => {
            RecordReader::new(&program).unwrap_or_else(|e| panic!("{format}: {}", e.message))
        }
        other => panic!("{other:?}"),
    }
}

/// All records of an input that arrives in chunks of one size.
fn read_all(
    reader: &RecordReader,
    input: &[u8],
    chunk: usize,
) -> Result<Vec<ParsedRecord<'static>>, ReadError> {
    let (mut records, mut start, mut end) = (Vec::new(), 0, 0);
    loop {
        match reader.read(&input[start..end], end == input.len(), 1 << 20)? {
            Read::Record(record, taken) => {
                records.push(owned(record));
                start += taken;
            }
            Read::More => end = (end + chunk).min(input.len()),
            Read::End => return Ok(records),
        }
    }
}

fn owned(record: ParsedRecord<'_>) -> ParsedRecord<'static> {
    let own = |bytes: Option<Cow<'_, [u8]>>| bytes.map(|bytes| Cow::Owned(bytes.into_owned()));
    ParsedRecord {
        key: own(record.key),
        value: own(record.value),
        headers: record.headers.into_iter().map(|(k, v)| (Cow::Owned(k.into_owned()), own(v))).collect(),
        timestamp: record.timestamp,
        partition: record.partition,
    }
}

#[test]
fn every_letter_prints() {
    let cases = [
        ("%t/%p@%o %d %e %a", "orders/3@42 1795165200123 7 lz4"),
        ("%T %K %V %H", "6 5 4 2"),
        ("%k{hex} %v{base64} %k{base64}", "616c696365 aGkg/w== YWxpY2U="),
        ("%h{ %k=%v;}.", " a=1; b=;."),
        ("%h{%K%k}", "1a1b"),
        ("%d{rfc3339}", "2026-11-20T09:00:00.123Z"),
        ("%d{strftime[%F %T]}", "2026-11-20 09:00:00"),
        ("%%%{%}\\t\\x41\\\\\\n%p", "%{}\tA\\\n3"),
        ("{\"k\":\"%k\"}", "{\"k\":\"alice\"}"),
        ("kv", "alice\thi \u{fffd}\n"),
    ];
    for (format, expected) in cases {
        assert_eq!(printed(format), expected, "{format}");
    }
    assert_eq!(sample().print(&text("%p{big16}%o{little32}%d{big64}")), {
        let mut bytes = vec![0, 3, 42, 0, 0, 0];
        bytes.extend(1_795_165_200_123_i64.to_be_bytes());
        bytes
    });
}

#[test]
fn mistakes_name_position_and_choice() {
    let cases = [
        ("%x", "position 1: %x does not exist"),
        ("abc%", "position 4: a letter is missing"),
        ("%v{big32}", "position 4: %v takes {hex} or {base64}"),
        ("%V{hex}", "position 4: %V takes {big8}"),
        ("%h", "position 1: %h needs a format"),
        ("%h{ %k", "never closed"),
        ("%h{%o}", "%o does not exist in %h{..}"),
        ("%v{hex", "never closed"),
        ("%v\\q", "position 3: no such escape"),
        ("%v\\x4", "position 3: \\x needs two"),
        ("%d{strftime[%!]}", "strftime[%!]"),
        ("jsnl", "none of the words"),
    ];
    for (format, expected) in cases {
        let error = RecordFormat::parse(format).unwrap_err();
        assert!(error.message.contains(expected), "{format}: {}", error.message);
    }
    assert_eq!(RecordFormat::parse("jsnl").unwrap_err().did_you_mean.as_deref(), Some("jsonl"));
}

#[test]
fn a_number_that_does_not_fit_prints_nothing() {
    let mut record = sample();
    record.value = Some(vec![0; 300]);
    let mut out = b"before".to_vec();
    let error = record.with_view(|view| text("%V{big8}%v").print(view, &mut out)).unwrap_err();
    assert_eq!(error.to_string(), "300 does not fit 8 bits");
    assert_eq!(out, b"before");
}

#[test]
fn formats_that_print_but_cannot_be_parsed_say_so() {
    for format in [
        "%k%v\\n",
        "%v%k",
        "%p%o ",
        "%d%v",
        "%h{%k=%v}\\n",
        "%v%h{ %k=%v;}",
        "%V%v",
        "%h{ %k=%v}",
        "%h{ %k=%v;} x",
    ] {
        let RecordFormat::Text(program) = text(format) else { panic!() };
        let error = RecordReader::new(&program).unwrap_err();
        assert!(error.message.contains("cannot be parsed"), "{format}: {}", error.message);
    }
}

#[test]
fn lines_become_keys_and_values() {
    for chunk in [1, 3, 100] {
        let records = read_all(&reader("%k:%v\\n"), b"alice:1\nbob:\n:3\na:b:c", chunk).unwrap();
        let pairs: Vec<_> =
            records.iter().map(|r| (r.key.as_deref().unwrap(), r.value.as_deref().unwrap())).collect();
        let expected: [(&[u8], &[u8]); 4] = [(b"alice", b"1"), (b"bob", b""), (b"", b"3"), (b"a", b"b:c")];
        assert_eq!(pairs, expected);
    }
}

#[test]
fn input_that_does_not_match_says_where() {
    let error = read_all(&reader("%k:%v\\n"), b"alice:1\nbob", 100).unwrap_err();
    assert!(error.message.contains("ends within a record"), "{}", error.message);
    let error = read_all(&reader("%p %v\\n"), b"x y\n", 100).unwrap_err();
    assert_eq!((error.position, error.message.as_str()), (0, "no digit where a number should be"));
    let error = read_all(&reader("%V{big32}%v"), b"\x7f\xff\xff\xffabc", 100).unwrap_err();
    assert!(error.too_large && error.message.contains("2147483647"), "{}", error.message);
    let error = read_all(&reader("%v{hex}\\n"), b"0g\n", 100).unwrap_err();
    assert_eq!(error.message, "not hexadecimal");
}

#[test]
fn a_field_never_runs_over_into_the_next_line() {
    for chunk in [1, 3, 100] {
        let cases = [
            ("%k:%v\\n", &b"a:b\nnocolon\nc:d\n"[..], "the line ends before \":\""),
            ("kv", b"a\tb\nnotab\n", "the line ends before \"\\t\""),
            ("%k:%v;\\n", b"a:b\nc:d;\n", "the line ends before \";\""),
            ("%h{ %k=%v;}:%v\\n", b" a=1; b\n:x\n", "the line ends before \"=\""),
            ("%v %d{rfc3339}\\n", b"a\nb 2026-11-20T09:00:00Z\n", "the line ends before \" \""),
        ];
        for (format, input, expected) in cases {
            let error = read_all(&reader(format), input, chunk).unwrap_err();
            assert_eq!(error.message, expected, "{format}");
        }
    }
    // A length frames a newline, and a separator of several lines is meant.
    let several: [(&str, &[u8], &[u8]); 4] = [
        ("%V{big8}%v\\n", b"\x03a\nb\n", b"a\nb"),
        ("%v\\n--\\n", b"a\nb\n--\n", b"a\nb"),
        ("%v;", b"a\nb;", b"a\nb"),
        ("%v", b"a\nb\n", b"a\nb\n"),
    ];
    for (format, input, expected) in several {
        let records = read_all(&reader(format), input, 100).unwrap();
        assert_eq!(records[0].value.as_deref(), Some(expected), "{format}");
    }
}

#[test]
fn times_and_partitions_are_read() {
    let formats = ["%d %p\\n", "%d{rfc3339} %p\\n", "%d{strftime[%F %T]}|%p\\n", "%d{big64}%p{little16}"];
    for format in formats {
        let input = sample().print(&text(format));
        let records = read_all(&reader(format), &input, 2).unwrap();
        let time = records[0].timestamp.unwrap().0;
        assert!(time == 1_795_165_200_123 || time == 1_795_165_200_000, "{format}: {time}");
        assert_eq!(records[0].partition, Some(3), "{format}");
    }
}

#[test]
fn jsonl_is_strict_about_names_and_values() {
    let cases = [
        ("{\"key\":null}", "missing field `value`"),
        ("{\"value\":\"x\",\"vlaue\":1}", "unknown field `vlaue`"),
        ("{\"value\":1}", "neither a string"),
        ("{\"value\":{\"base64\":\"?\"}}", "no valid base64"),
        ("{\"value\":\"x\"", "EOF"),
        ("7", "invalid type"),
    ];
    for (line, expected) in cases {
        let error = read_json(line.as_bytes(), JsonStyle::Lossless).unwrap_err();
        assert!(error.to_string().contains(expected), "{line}: {error}");
    }
}

#[test]
fn a_partition_counts_only_where_the_record_was_not_consumed() {
    let read = |line: &str| read_json(line.as_bytes(), JsonStyle::Lossless).unwrap().partition;
    assert_eq!(read("{\"partition\":3,\"value\":\"x\"}"), Some(3));
    assert_eq!(read("{\"partition\":3,\"offset\":9,\"value\":\"x\"}"), None);
}

#[test]
fn json_inlines_what_is_json() {
    let mut record = sample();
    record.headers.clear();
    record.value = Some(b"{\"a\":\n1}".to_vec());
    let line = String::from_utf8(record.print(&RecordFormat::Json)).unwrap();
    assert!(line.ends_with("\"value\":{\"a\": 1}}\n"), "{line}");
    let parsed = read_json(line.trim_end().as_bytes(), JsonStyle::Inlined).unwrap();
    assert_eq!(parsed.value.as_deref(), Some(b"{\"a\":1}".as_slice()));
    record.value = Some(b"no json".to_vec());
    let line = record.print(&RecordFormat::Json);
    let parsed = read_json(line.trim_ascii_end(), JsonStyle::Inlined).unwrap();
    assert_eq!(parsed.value.as_deref(), Some(b"no json".as_slice()));
}

fn any_bytes() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        prop::collection::vec(any::<u8>(), 0..40),
        ".{0,20}".prop_map(String::into_bytes),
        Just(b"null".to_vec()),
        Just(b"\n".to_vec()),
    ]
}

fn any_record() -> impl Strategy<Value = Owned> {
    let headers = prop::collection::vec((".{0,8}", prop::option::of(any_bytes())), 0..4);
    (prop::option::of(any_bytes()), prop::option::of(any_bytes()), headers, any::<i64>(), any::<u32>())
        .prop_map(|(key, value, headers, timestamp, partition)| Owned {
            key,
            value,
            headers,
            timestamp,
            partition,
        })
}

fn same(record: &Owned, parsed: &ParsedRecord<'_>) {
    assert_eq!(parsed.key.as_deref(), record.key.as_deref());
    assert_eq!(parsed.value.as_deref(), record.value.as_deref());
    let headers: Vec<OwnedHeader> = parsed
        .headers
        .iter()
        .map(|(name, value)| (name.clone().into_owned(), value.clone().map(Cow::into_owned)))
        .collect();
    assert_eq!(headers, record.headers);
    assert_eq!(parsed.timestamp, Some(TimestampMs(record.timestamp)));
}

proptest! {
    #[test]
    fn jsonl_loses_nothing(record in any_record()) {
        let line = record.print(&RecordFormat::Jsonl);
        prop_assert_eq!(line.iter().filter(|byte| **byte == b'\n').count(), 1);
        same(&record, &read_json(line.trim_ascii_end(), JsonStyle::Lossless).unwrap());
    }

    #[test]
    fn framing_loses_nothing_but_null(mut records in prop::collection::vec(any_record(), 1..5), chunk in 1_usize..64) {
        for record in &mut records {
            record.key.get_or_insert_default();
            record.value.get_or_insert_default();
            record.headers.iter_mut().for_each(|(_, value)| { value.get_or_insert_default(); });
        }
        for format in [
            "%d{big64}%K{big32}%k%V{little64}%v%H{big16}%h{%K{big32}%k%V{big32}%v}",
            "%d %K:%k{hex}%V:%v{base64}%H %h{%K %k{base64}%V{big64}%v}\\n",
        ] {
            let input: Vec<u8> = records.iter().flat_map(|record| record.print(&text(format))).collect();
            let parsed = read_all(&reader(format), &input, chunk).unwrap();
            prop_assert_eq!(parsed.len(), records.len());
            records.iter().zip(&parsed).for_each(|(record, parsed)| same(record, parsed));
        }
    }

    #[test]
    fn delimited_text_reads_back(key in "[^:\n]{0,10}", value in "[^\n]{0,10}", name in "[^=\n; ]{0,5}", chunk in 1_usize..9) {
        let record = Owned {
            key: Some(key.clone().into_bytes()),
            value: Some(value.clone().into_bytes()),
            headers: vec![(name, Some(b"v".to_vec()))],
            timestamp: 5,
            partition: 0,
        };
        let format = "%d:%k:%h{ %k=%v;}:%v\\n";
        let input = record.print(&text(format)).repeat(2);
        let parsed = read_all(&reader(format), &input, chunk).unwrap();
        prop_assert_eq!(parsed.len(), 2);
        parsed.iter().for_each(|parsed| same(&record, parsed));
    }

    #[test]
    fn nothing_panics(format in ".{0,20}", input in any_bytes()) {
        if let Ok(RecordFormat::Text(program)) = RecordFormat::parse(&format)
            && let Ok(reader) = RecordReader::new(&program)
        {
            let _ = reader.read(&input, true, 100);
            let _ = reader.read(&input, false, 100);
        }
        let _ = read_json(&input, JsonStyle::Lossless);
        let _ = read_json(format.as_bytes(), JsonStyle::Inlined);
    }
}
