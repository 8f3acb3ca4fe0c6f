//! COPY, in both directions, and its text form.

use std::io::{BufRead, Write};
use std::sync::mpsc::sync_channel;
use std::thread;

use super::session::{Session, failed, failed_io};
use crate::{Cx, Error, Result, engine};

/// Rows travel in blocks of about this size. A block never ends within a row.
const BLOCK: usize = 256 << 10;

/// Runs a `COPY ... TO STDOUT` and hands out its lines, without their newlines. A thread of its own reads ahead by one
/// block.
pub(super) fn out(
    session: &mut Session, context: &str, sql: &str, cx: &Cx<'_>, mut each: impl FnMut(&[u8]) -> Result<()>,
) -> Result<u64> {
    let (sender, receiver) = sync_channel::<Vec<u8>>(0);
    let mut rows = 0;
    thread::scope(|scope| {
        let reading = scope.spawn(move || -> Result<()> {
            let mut reader = session.client().copy_out(sql).map_err(failed(context))?;
            loop {
                let (block, ended) = read_block(&mut reader).map_err(failed_io(context))?;
                if !block.is_empty() && sender.send(block).is_err() || ended {
                    return Ok(());
                }
            }
        });
        let handed = receiver.into_iter().try_for_each(|block| {
            cx.check()?;
            let lines = block.strip_suffix(b"\n").unwrap_or(&block).split(|b| *b == b'\n');
            lines.inspect(|_| rows += 1).try_for_each(&mut each)
        });
        let read = reading.join().unwrap_or_else(|_| {
            Err(Error::Engine { context: context.into(), source: "the reading thread panicked".into() })
        });
        handed.and(read)
    })?;
    Ok(rows)
}

/// Reads whole messages of the server, which are whole rows, until there is enough. Whether the data ended; the driver's reader
/// must not be asked again then.
fn read_block(reader: &mut impl BufRead) -> std::io::Result<(Vec<u8>, bool)> {
    let mut block = Vec::new();
    while block.len() < BLOCK {
        let message = reader.fill_buf()?;
        if message.is_empty() {
            return Ok((block, true));
        }
        block.extend_from_slice(message);
        let length = message.len();
        reader.consume(length);
    }
    Ok((block, false))
}

/// Runs a `COPY ... FROM STDIN` with what `feed` writes.
pub(super) fn into(
    session: &mut Session, context: &str, sql: &str, feed: impl FnOnce(&mut dyn Write) -> Result<()>,
) -> Result<()> {
    let writer = session.client().copy_in(sql).map_err(failed(context))?;
    let mut writer = std::io::BufWriter::with_capacity(BLOCK, writer);
    feed(&mut writer)?;
    let writer = writer.into_inner().map_err(|error| failed_io(context)(error.into_error()))?;
    writer.finish().map(drop).map_err(failed(context))
}

/// Refuses a line that the server takes for the end of the data: one whose last two characters are `\.`.
pub(super) fn check_end(line: &[u8]) -> Result<(), &'static str> {
    let Some(before) = line.strip_suffix(b".") else { return Ok(()) };
    let backslashes = before.iter().rev().take_while(|byte| **byte == b'\\').count();
    if backslashes % 2 == 1 { Err("`\\.` is no value") } else { Ok(()) }
}

/// Which row of a COPY an error is about, counted from 1, by the server's context: `COPY orders, line 3, column id: "x"`.
pub(super) fn failed_row(error: &Error) -> Option<u64> {
    let context = super::session::server_error(error)?.where_()?;
    let copy = context.lines().find(|line| line.starts_with("COPY "))?;
    let rest = &copy[copy.rfind(", line ")? + 7..];
    let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
    rest[..digits].parse().ok()
}

/// The letters behind a backslash, and what they stand for.
const ESCAPES: [(u8, u8); 7] =
    [(b'\\', b'\\'), (b'b', 8), (b'f', 12), (b'n', b'\n'), (b'r', b'\r'), (b't', b'\t'), (b'v', 11)];

/// A text as a value of COPY's text form.
pub(super) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match ESCAPES.iter().find(|(_, plain)| char::from(*plain) == c) {
            Some((letter, _)) => escaped.extend(['\\', char::from(*letter)]),
            None => escaped.push(c),
        }
    }
    escaped
}

/// The text of a value, where it is not NULL and holds only escapes that [`escape`] gives.
pub(super) fn unescape(value: &[u8]) -> Option<String> {
    engine::unescape(value, &ESCAPES)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn values_come_back(text in "[a\\\\\\PC\t\n\r\u{8}\u{b}\u{c}]{0,12}") {
            let escaped = escape(&text);
            prop_assert!(!escaped.contains(['\t', '\n', '\r']));
            prop_assert_eq!(unescape(escaped.as_bytes()), Some(text));
        }
    }

    #[test]
    fn an_end_is_no_row() {
        for line in ["\\.", "a\t\\.", "\\\\\\."] {
            assert!(check_end(line.as_bytes()).is_err(), "{line}");
        }
        for line in ["", ".", "\\\\.", "\\.x", "a."] {
            assert!(check_end(line.as_bytes()).is_ok(), "{line}");
        }
    }

    #[test]
    fn null_is_no_text() {
        assert_eq!(unescape(b"\\N"), None);
    }

    #[test]
    fn blocks_end_with_rows() {
        let rows = vec![b'x'; BLOCK + 7];
        let (block, ended) = read_block(&mut rows.as_slice()).unwrap();
        assert_eq!((block.len(), ended), (BLOCK + 7, false));
        assert_eq!(read_block(&mut &b""[..]).unwrap(), (Vec::new(), true));
    }
}
