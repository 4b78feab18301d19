//! A program prepared to run backwards: every field knows where it ends.

use super::program::{BytesField, BytesForm, Item, NumberField, NumberForm, Program, TimeForm};
use crate::error::CliError;

/// A program that parses. Made once, then applied to every record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RecordReader {
    pub(super) steps: Vec<Step>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// These very bytes.
    Text(Delimiter),
    Bytes {
        field: BytesField,
        form: BytesForm,
        until: Until,
    },
    Number {
        field: NumberField,
        form: NumberForm,
    },
    Time {
        form: TimeForm,
        until: Until,
    },
    /// `counted`: as many as %H said; else for as long as the first step's text comes next.
    Headers {
        counted: bool,
        inner: Vec<Step>,
    },
}

/// Where a field ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Until {
    /// After as many bytes as a length before it said.
    Length,
    /// Before this text. `one_line`: without a newline before it.
    Text { delimiter: Delimiter, one_line: bool },
    /// At the end of the input.
    End,
}

/// Text between fields. The newline that ends the last one may be missing at the end of the input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Delimiter {
    pub(super) text: Vec<u8>,
    pub(super) last: bool,
}

/// Lengths that were read before the fields they belong to.
#[derive(Clone, Copy, Default)]
struct Known {
    topic: bool,
    key: bool,
    value: bool,
    header_count: bool,
}

impl RecordReader {
    /// Prepares a format string for parsing.
    ///
    /// # Errors
    /// A usage error where the format prints but leaves open where a field ends.
    pub(crate) fn new(program: &Program) -> Result<Self, CliError> {
        let ambiguous = |ambiguity: Ambiguity| {
            CliError::usage(format!("this format prints but cannot be parsed: {ambiguity}"))
                .with_hint("put text between fields, or a length before one, like '%K{big32}%k%V{big32}%v'")
        };
        if program.items.is_empty() {
            return Err(ambiguous(Ambiguity::Empty));
        }
        let context = ItemContext { in_header: false, by_line: program.ends_with_newline() };
        prepare(&program.items, context).map(|steps| Self { steps }).map_err(ambiguous)
    }
}

/// Why a format cannot be parsed.
#[derive(Debug, thiserror::Error)]
enum Ambiguity {
    #[error("it is empty")]
    Empty,
    #[error("nothing says where {0} ends")]
    End(&'static str),
    #[error("nothing says where {0} ends in %h{{..}}")]
    EndInHeader(&'static str),
    #[error("nothing says where the digits of {0} end")]
    Digits(&'static str),
    #[error("nothing says how many headers there are; put %H before %h{{..}}")]
    HeaderCount,
}

/// Where items stand.
#[derive(Clone, Copy)]
struct ItemContext {
    in_header: bool,
    /// The format ends each record with a newline, so that no field runs over into the next line unseen.
    by_line: bool,
}

fn prepare(items: &[Item], context: ItemContext) -> Result<Vec<Step>, Ambiguity> {
    let mut known = Known::default();
    let mut steps = Vec::with_capacity(items.len());
    for (index, item) in items.iter().enumerate() {
        let following = items.get(index + 1..).unwrap_or_default();
        let step = match item {
            Item::Text(text) => Step::Text(delimiter(text, following.len() + 1, context)),
            Item::Number(field, form) => number_step(*field, *form, following, &mut known)?,
            Item::Bytes(field, form) => {
                let is_known = match field {
                    BytesField::Topic => known.topic,
                    BytesField::Key => known.key,
                    BytesField::Value => known.value,
                    BytesField::Compression => false,
                };
                let until =
                    if is_known { Until::Length } else { until(following, bytes_letter(*field), context)? };
                Step::Bytes { field: *field, form: *form, until }
            }
            Item::Time(form @ TimeForm::Millis(number)) => {
                check_digits(*number, following, "%d")?;
                Step::Time { form: form.clone(), until: Until::Length }
            }
            Item::Time(form) => Step::Time { form: form.clone(), until: until(following, "%d", context)? },
            Item::Headers(inner) => {
                if !known.header_count {
                    check_header_start(inner, following)?;
                }
                Step::Headers {
                    counted: known.header_count,
                    inner: prepare(inner, ItemContext { in_header: true, ..context })?,
                }
            }
        };
        steps.push(step);
    }
    Ok(steps)
}

fn delimiter(text: &[u8], items_from_here: usize, context: ItemContext) -> Delimiter {
    Delimiter { text: text.to_vec(), last: items_from_here == 1 && !context.in_header }
}

/// A field without a length ends before the text that follows it. Text with a newline in its midst is a separator
/// that someone chose for fields of several lines.
fn until(following: &[Item], letter: &'static str, context: ItemContext) -> Result<Until, Ambiguity> {
    match following {
        [Item::Text(text), ..] => {
            let delimiter = delimiter(text, following.len(), context);
            let inner = text.strip_suffix(b"\n").filter(|_| delimiter.last).unwrap_or(text);
            let one_line = context.by_line && !inner.contains(&b'\n');
            Ok(Until::Text { delimiter, one_line })
        }
        [] if !context.in_header => Ok(Until::End),
        [] => Err(Ambiguity::EndInHeader(letter)),
        _ => Err(Ambiguity::End(letter)),
    }
}

fn number_step(
    field: NumberField,
    form: NumberForm,
    following: &[Item],
    known: &mut Known,
) -> Result<Step, Ambiguity> {
    let letter = match field {
        NumberField::TopicBytes => "%T",
        NumberField::KeyBytes => "%K",
        NumberField::ValueBytes => "%V",
        NumberField::HeaderCount => "%H",
        NumberField::Partition => "%p",
        NumberField::Offset => "%o",
        NumberField::LeaderEpoch => "%e",
    };
    check_digits(form, following, letter)?;
    match field {
        NumberField::TopicBytes => known.topic = true,
        NumberField::KeyBytes => known.key = true,
        NumberField::ValueBytes => known.value = true,
        NumberField::HeaderCount => known.header_count = true,
        _ => {}
    }
    Ok(Step::Number { field, form })
}

/// Digits end where none follows, so what comes next must not begin with one.
fn check_digits(form: NumberForm, following: &[Item], letter: &'static str) -> Result<(), Ambiguity> {
    let safe = match following.first() {
        _ if form != NumberForm::Decimal => true,
        None => true,
        Some(Item::Text(text)) => !text.first().is_some_and(u8::is_ascii_digit),
        Some(_) => false,
    };
    if safe { Ok(()) } else { Err(Ambiguity::Digits(letter)) }
}

/// Headers that are not counted must begin with a text that cannot be the text behind them.
fn check_header_start(inner: &[Item], following: &[Item]) -> Result<(), Ambiguity> {
    let clear = match (inner.first(), following.first()) {
        (Some(Item::Text(_)), None) => true,
        (Some(Item::Text(start)), Some(Item::Text(after))) => {
            !start.starts_with(after) && !after.starts_with(start)
        }
        _ => false,
    };
    if clear { Ok(()) } else { Err(Ambiguity::HeaderCount) }
}

fn bytes_letter(field: BytesField) -> &'static str {
    match field {
        BytesField::Topic => "%t",
        BytesField::Key => "%k",
        BytesField::Value => "%v",
        BytesField::Compression => "%a",
    }
}
