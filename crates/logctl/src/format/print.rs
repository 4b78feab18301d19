//! A program run forwards: from a record to bytes.

use super::{
    bytes::write_bytes,
    number::write_number,
    program::{
        BytesField, BytesForm, HeaderView, Item, NumberField, NumberForm, Program, RecordView, TimeForm,
    },
    time,
};
use crate::output::write_escaped;

/// A number that does not fit the width its format gives it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{value} does not fit {bits} bits")]
pub(crate) struct PrintError {
    value: i64,
    bits: usize,
}

/// How the fields of a record are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fields {
    /// Every byte.
    AsTheyAre,
    /// With control characters written out, as a terminal obeys them.
    ForTerminal,
}

/// Appends one record; leaves `out` as it was on an error.
pub(crate) fn print(
    program: &Program,
    record: &RecordView<'_>,
    fields: Fields,
    out: &mut Vec<u8>,
) -> Result<(), PrintError> {
    let before = out.len();
    let printed = print_items(&program.items, record, fields, out);
    if printed.is_err() {
        out.truncate(before);
    }
    printed
}

fn print_items(
    items: &[Item],
    record: &RecordView<'_>,
    fields: Fields,
    out: &mut Vec<u8>,
) -> Result<(), PrintError> {
    for item in items {
        match item {
            Item::Text(text) => out.extend_from_slice(text),
            Item::Bytes(field, BytesForm::Plain) if fields == Fields::ForTerminal => {
                write_escaped(field_bytes(record, *field), out);
            }
            Item::Bytes(field, form) => write_bytes(field_bytes(record, *field), *form, out),
            Item::Number(field, form) => put_number(field_number(record, *field), *form, out)?,
            Item::Time(form) => print_time(record, form, out)?,
            Item::Headers(inner) => print_headers(inner, record, fields, out)?,
        }
    }
    Ok(())
}

fn field_bytes<'a>(record: &RecordView<'a>, field: BytesField) -> &'a [u8] {
    match field {
        BytesField::Topic => record.topic.as_bytes(),
        BytesField::Key => record.key.unwrap_or_default(),
        BytesField::Value => record.value.unwrap_or_default(),
        BytesField::Compression => record.compression.as_bytes(),
    }
}

fn length(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

fn field_number(record: &RecordView<'_>, field: NumberField) -> i64 {
    match field {
        NumberField::TopicBytes => length(record.topic.len()),
        NumberField::KeyBytes => length(record.key.unwrap_or_default().len()),
        NumberField::ValueBytes => length(record.value.unwrap_or_default().len()),
        NumberField::HeaderCount => length(record.headers.count()),
        NumberField::Partition => i64::from(record.partition),
        NumberField::Offset => i64::try_from(record.offset).unwrap_or(i64::MAX),
        NumberField::LeaderEpoch => i64::from(record.leader_epoch),
    }
}

fn put_number(value: i64, form: NumberForm, out: &mut Vec<u8>) -> Result<(), PrintError> {
    if write_number(value, form, out) {
        return Ok(());
    }
    let bits = match form {
        NumberForm::Decimal => 64,
        NumberForm::Big(width) | NumberForm::Little(width) => width * 8,
    };
    Err(PrintError { value, bits })
}

fn print_time(record: &RecordView<'_>, form: &TimeForm, out: &mut Vec<u8>) -> Result<(), PrintError> {
    match form {
        TimeForm::Millis(form) => put_number(record.timestamp.0, *form, out)?,
        TimeForm::Rfc3339 => time::write_rfc3339(record.timestamp, out),
        TimeForm::Strftime(format) => time::write_strftime(record.timestamp, format, out),
    }
    Ok(())
}

fn print_headers(
    inner: &[Item],
    record: &RecordView<'_>,
    fields: Fields,
    out: &mut Vec<u8>,
) -> Result<(), PrintError> {
    for (name, value) in record.headers.iter() {
        let header =
            RecordView { key: Some(name.as_bytes()), value, headers: HeaderView::Slice(&[]), ..*record };
        print_items(inner, &header, fields, out)?;
    }
    Ok(())
}
