//! Records as JSON objects, one per line.

use std::io::Write as _;

use serde::de::IgnoredAny;

use super::{
    bytes::write_bytes,
    program::{BytesForm, RecordView},
};

/// Appends one lossless object and a newline: `{"base64":".."}` stands for bytes that are not UTF-8.
pub(crate) fn write_jsonl(record: &RecordView<'_>, out: &mut Vec<u8>) {
    write_object(record, out, write_bytes_value);
}

/// Appends one object and a newline, with a value that is JSON inlined. Not lossless: `"1"` and `1` look alike.
pub(crate) fn write_json(record: &RecordView<'_>, out: &mut Vec<u8>) {
    write_object(record, out, |value, out| match value {
        Some(bytes) if serde_json::from_slice::<IgnoredAny>(bytes).is_ok() => {
            // A line break in valid JSON lies between tokens, where a space means the same.
            out.extend(bytes.iter().map(|byte| if matches!(byte, b'\n' | b'\r') { b' ' } else { *byte }));
        }
        other => write_bytes_value(other, out),
    });
}

/// Appends one lossless object and a newline for a record that was not sent: its partition says where to go, if
/// that was settled.
pub(crate) fn write_unsent(record: &RecordView<'_>, partition: Option<u32>, out: &mut Vec<u8>) {
    out.push(b'{');
    if let Some(partition) = partition {
        let _ = write!(out, "\"partition\":{partition},");
    }
    let _ = write!(out, "\"timestamp_ms\":{},\"key\":", record.timestamp);
    write_bytes_value(record.key, out);
    out.extend_from_slice(b",\"value\":");
    write_bytes_value(record.value, out);
    write_headers(record, out);
    out.extend_from_slice(b"}\n");
}

fn write_object(
    record: &RecordView<'_>,
    out: &mut Vec<u8>,
    write_value: impl Fn(Option<&[u8]>, &mut Vec<u8>),
) {
    out.extend_from_slice(b"{\"topic\":");
    write_string(record.topic, out);
    let _ = write!(
        out,
        ",\"partition\":{},\"offset\":{},\"timestamp_ms\":{},\"key\":",
        record.partition, record.offset, record.timestamp
    );
    write_bytes_value(record.key, out);
    out.extend_from_slice(b",\"value\":");
    write_value(record.value, out);
    write_headers(record, out);
    out.extend_from_slice(b"}\n");
}

/// Appends the headers' member with a comma before it, if there are headers.
pub(crate) fn write_headers(record: &RecordView<'_>, out: &mut Vec<u8>) {
    if record.headers.count() == 0 {
        return;
    }
    out.extend_from_slice(b",\"headers\":[");
    for (index, (name, value)) in record.headers.iter().enumerate() {
        out.extend_from_slice(if index == 0 { b"{\"key\":" } else { b",{\"key\":" });
        write_string(name, out);
        out.extend_from_slice(b",\"value\":");
        write_bytes_value(value, out);
        out.push(b'}');
    }
    out.push(b']');
}

/// Appends `null`, a string, or `{"base64":".."}`.
pub(crate) fn write_bytes_value(bytes: Option<&[u8]>, out: &mut Vec<u8>) {
    match bytes.map(|bytes| (bytes, std::str::from_utf8(bytes))) {
        None => out.extend_from_slice(b"null"),
        Some((_, Ok(text))) => write_string(text, out),
        Some((bytes, Err(_))) => {
            out.extend_from_slice(b"{\"base64\":\"");
            write_bytes(bytes, BytesForm::Base64, out);
            out.extend_from_slice(b"\"}");
        }
    }
}

pub(crate) fn write_string(text: &str, out: &mut Vec<u8>) {
    // Neither a Vec nor a string can fail to be written.
    let _ = serde_json::to_writer(out, text);
}
