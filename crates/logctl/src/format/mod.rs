//! The record format: one small language that both prints and parses records.
//!
//! A format string is parsed once into a [`Program`]; `print` runs it forwards, `read` backwards. Never: files,
//! sockets, the client.

mod bytes;
mod json;
mod json_read;
mod number;
mod parse;
mod print;
mod program;
mod read;
mod reader;
mod time;

pub(crate) use json::{write_json, write_jsonl, write_unsent};
pub(crate) use json_read::{JsonStyle, read_json};
use print::Fields;
pub(crate) use print::PrintError;
pub(crate) use program::{HeaderView, Program, RecordView};
pub(crate) use read::{ParsedRecord, Read};
pub(crate) use reader::RecordReader;

use corduroy_types::ErrorCode;

use crate::{
    error::CliError,
    output::{escaped_json, write_escaped},
};

/// What `produce --help` and `consume --help` say about formats.
pub(crate) const HELP: &str = "\
Formats (the same letters print and parse):
  %t topic   %k key   %v value   %h{ %k=%v;} headers   %p partition   %o offset
  %d timestamp   %e leader epoch   %a compression   %% %{ %} the character itself
  %T %K %V lengths in bytes, %H number of headers   \\n \\t \\0 \\xNN \\\\ bytes
  Bytes take {hex} or {base64}; numbers take {big8} to {big64} or {little8} to {little64};
  %d takes {rfc3339} or {strftime[%F %T]} and is in milliseconds otherwise.
  A length before its field frames it, so '%V{big32}%v' is binary-safe both ways.
  Where a format ends with \\n, a record is one line: only a length lets a field hold a newline.
Words instead of a format string:
  raw     values only; produce makes one record of each file
  kv      %k\\t%v\\n
  json    one object per record, values that are JSON inlined; not lossless
  jsonl   one object per record, lossless: {\"base64\":\"..\"} where bytes are not UTF-8
What says where a record came from (%t %o %e %a) is read and not used.";

/// How records are written, in either direction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum RecordFormat {
    /// A format string.
    Text(Program),
    /// Value bytes and nothing between them.
    Raw,
    /// Objects with inlined JSON values.
    Json,
    /// Lossless objects.
    Jsonl,
}

impl RecordFormat {
    /// Reads what follows `--format`.
    ///
    /// # Errors
    /// A usage error that names the position and what may stand there.
    pub(crate) fn parse(text: &str) -> Result<Self, CliError> {
        let format = match text {
            "raw" => return Ok(Self::Raw),
            "json" => return Ok(Self::Json),
            "jsonl" => return Ok(Self::Jsonl),
            "kv" => "%k\\t%v\\n",
            text => text,
        };
        let is_word = !format.contains('%') && !format.contains('\\');
        if is_word {
            return Err(CliError::usage(format!("format {format:?} has no field and is none of the words"))
                .with_nearest(format, ["raw", "kv", "json", "jsonl"])
                .with_hint("write a format string like '%k:%v\\n', or raw, kv, json or jsonl"));
        }
        parse::parse(format).map(Self::Text).map_err(|error| {
            CliError::usage(format!("format {format:?}, position {}: {}", error.position + 1, error.message))
        })
    }

    /// Whether this is the commonest format: the value and a newline.
    pub(crate) fn is_value_line(&self) -> bool {
        matches!(self, Self::Text(program) if program.is_value_line())
    }

    /// Appends one record to `out`.
    ///
    /// # Errors
    /// A number does not fit the width that the format gives it; nothing is appended then.
    pub(crate) fn print(&self, record: &RecordView<'_>, out: &mut Vec<u8>) -> Result<(), PrintError> {
        match self {
            Self::Text(program) => print::print(program, record, Fields::AsTheyAre, out)?,
            Self::Raw => out.extend_from_slice(record.value.unwrap_or_default()),
            Self::Json => write_json(record, out),
            Self::Jsonl => write_jsonl(record, out),
        }
        Ok(())
    }
}

impl RecordFormat {
    /// The same for a terminal: control characters of the record are written out, those of the format are not.
    ///
    /// # Errors
    /// As [`print`](Self::print).
    pub(crate) fn print_for_terminal(
        &self,
        record: &RecordView<'_>,
        out: &mut Vec<u8>,
    ) -> Result<(), PrintError> {
        match self {
            Self::Text(program) => print::print(program, record, Fields::ForTerminal, out)?,
            Self::Raw => write_escaped(record.value.unwrap_or_default(), out),
            Self::Json | Self::Jsonl => {
                let mut line = Vec::new();
                self.print(record, &mut line)?;
                out.extend_from_slice(escaped_json(&String::from_utf8_lossy(&line)).as_bytes());
            }
        }
        Ok(())
    }
}

impl From<PrintError> for CliError {
    fn from(error: PrintError) -> Self {
        Self::new(ErrorCode::InvalidInput, error.to_string())
            .with_hint("give the length a wider form, like big64")
    }
}

#[cfg(test)]
mod tests;
