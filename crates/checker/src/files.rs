//! A history as JSON lines: the reader, whose errors name the line, and the writer.

use std::io::{self, BufRead, Read as _, Write};

use crate::{
    history::{Builder, History, PartitionInfo, Problem},
    line::{FORMAT_VERSION, Line},
};

/// The longest line that is read, in bytes. What is longer is no history, and is not kept in memory.
pub const LINE_BYTES_MAX: u64 = 64 * corduroy_types::MIB;

/// Why a file is no history.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// Reading failed.
    #[error("line {line}: cannot be read: {error}")]
    Io {
        /// The line, counted from 1.
        line: u64,
        /// What the system said.
        error: io::Error,
    },
    /// The file ends within a line, so it was cut off.
    #[error("line {line}: the file ends within this line: it was cut off")]
    Truncated {
        /// The line, counted from 1.
        line: u64,
    },
    /// A line that is too long.
    #[error("line {line}: longer than {LINE_BYTES_MAX} bytes")]
    TooLong {
        /// The line, counted from 1.
        line: u64,
    },
    /// A line that is no line of a history.
    #[error("line {line}: {error}")]
    Syntax {
        /// The line, counted from 1.
        line: u64,
        /// What was not understood. Its own "line 1" is taken out, since each line is parsed alone.
        error: String,
    },
    /// A line that does not fit to those before it.
    #[error("line {line}: {problem}")]
    Misplaced {
        /// The line, counted from 1.
        line: u64,
        /// Why.
        problem: Problem,
    },
}

/// Reads a whole history.
///
/// # Errors
/// [`ReadError`] names the first line that is wrong.
pub fn read(mut from: impl BufRead) -> Result<History, ReadError> {
    let mut builder = Builder::new();
    let mut text = Vec::new();
    loop {
        let line = builder.lines() + 1;
        text.clear();
        // One byte more than is allowed tells a line that is too long.
        let mut bounded = from.by_ref().take(LINE_BYTES_MAX + 1);
        if bounded.read_until(b'\n', &mut text).map_err(|error| ReadError::Io { line, error })? == 0 {
            break;
        }
        match text.pop() {
            Some(b'\n') => {}
            _ if text.len() as u64 >= LINE_BYTES_MAX => return Err(ReadError::TooLong { line }),
            _ => return Err(ReadError::Truncated { line }),
        }
        let parsed: Line<'_> = serde_json::from_slice(&text)
            .map_err(|error| ReadError::Syntax { line, error: message(&error) })?;
        builder.push(parsed).map_err(|problem| ReadError::Misplaced { line, problem })?;
    }
    builder.finish().map_err(|(line, problem)| ReadError::Misplaced { line, problem })
}

/// The parser's message with the column alone: it counts its lines from the beginning of ours.
fn message(error: &serde_json::Error) -> String {
    error.to_string().replace("at line 1 column", "at column")
}

/// Writes a whole history; the completion of each operation stands right behind its invocation.
///
/// # Errors
/// What the output says.
pub fn write<W: Write>(history: &History, to: W) -> io::Result<W> {
    let mut writer = Writer::new(to)?;
    let name = |at: u32| history.partitions.get(at as usize).map(|partition| partition.name.as_str().into());
    for partition in &history.partitions {
        let PartitionInfo { name, retention_ms, retention_bytes } = partition;
        let (retention_ms, retention_bytes) = (*retention_ms, *retention_bytes);
        writer.line(&Line::Partition { name: name.as_str().into(), retention_ms, retention_bytes })?;
    }
    for op in &history.ops {
        let (at_ns, client, node, call) = (op.invoked_ns, op.client, op.node, op.call.clone());
        let partition = op.partition.and_then(name);
        let op_number = writer.invoke(Line::Invoke { op: 0, at_ns, client, node, partition, call })?;
        writer.line(&Line::Complete { op: op_number, at_ns: op.completed_ns, end: op.end.clone() })?;
    }
    for panic in &history.panics {
        let message = panic.message.as_str().into();
        writer.line(&Line::Panic { at_ns: panic.at_ns, node: panic.node, message })?;
    }
    writer.finish()
}

/// Writes a history, one line after the other.
///
/// It numbers the operations, so that the numbers are what the format asks for.
#[derive(Debug)]
pub struct Writer<W> {
    to: W,
    ops: u64,
}

impl<W: Write> Writer<W> {
    /// Begins a history on `to`, which should be buffered.
    ///
    /// # Errors
    /// What `to` says.
    pub fn new(to: W) -> io::Result<Self> {
        let mut writer = Self { to, ops: 0 };
        writer.line(&Line::History { version: FORMAT_VERSION })?;
        Ok(writer)
    }

    /// Writes an invocation and gives it the next number, whatever number it has.
    ///
    /// Returns the number, under which the completion is to be written.
    ///
    /// # Errors
    /// What the output says.
    pub fn invoke(&mut self, mut line: Line<'_>) -> io::Result<u64> {
        let number = self.ops;
        if let Line::Invoke { op, .. } = &mut line {
            *op = number;
            self.ops += 1;
        }
        self.line(&line)?;
        Ok(number)
    }

    /// Writes a line as it is.
    ///
    /// # Errors
    /// What the output says.
    pub fn line(&mut self, line: &Line<'_>) -> io::Result<()> {
        serde_json::to_writer(&mut self.to, line)?;
        self.to.write_all(b"\n")
    }

    /// Flushes, and hands the output back.
    ///
    /// # Errors
    /// What the output says.
    pub fn finish(mut self) -> io::Result<W> {
        self.to.flush()?;
        Ok(self.to)
    }
}
