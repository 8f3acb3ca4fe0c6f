//! pkt-lines, the framing of git's protocol (gitprotocol-common).

use std::io::{Read, Write};

use crate::{Error, Result};

/// The longest content of a pkt-line.
pub const MAXIMUM: usize = 65516;

/// A pkt-line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Packet {
    /// Content, as it came; text lines end with a newline or not.
    Data(Vec<u8>),
    /// `0000`
    Flush,
}

/// Reads one pkt-line; `None` at the end of the stream.
///
/// # Errors
/// [`Error::Protocol`] where the length is none, [`Error::Io`] where the stream breaks off.
pub fn read(stream: &mut dyn Read) -> Result<Option<Packet>> {
    let failed = || Error::io("read", "git protocol");
    let mut header = [0; 4];
    if stream.read(&mut header[..1]).map_err(failed())? == 0 {
        return Ok(None);
    }
    stream.read_exact(&mut header[1..]).map_err(failed())?;
    let digits = std::str::from_utf8(&header).ok().filter(|h| h.bytes().all(|b| b.is_ascii_hexdigit()));
    let length = digits.and_then(|digits| usize::from_str_radix(digits, 16).ok());
    match length {
        Some(0) => Ok(Some(Packet::Flush)),
        Some(length @ 4..) if length - 4 <= MAXIMUM => {
            let mut content = vec![0; length - 4];
            stream.read_exact(&mut content).map_err(failed())?;
            Ok(Some(Packet::Data(content)))
        }
        _ => Err(Error::Protocol(format!("not a pkt-line: {}", header.escape_ascii()))),
    }
}

/// Reads the text of a pkt-line without its newline; `None` at a flush.
///
/// # Errors
/// As for [`read`], and [`Error::Protocol`] at the end of the stream.
pub fn read_line(stream: &mut dyn Read) -> Result<Option<Vec<u8>>> {
    match read(stream)? {
        Some(Packet::Data(mut content)) => {
            content.pop_if(|last| *last == b'\n');
            Ok(Some(content))
        }
        Some(Packet::Flush) => Ok(None),
        None => Err(Error::Protocol("the other side went away".into())),
    }
}

/// Writes a pkt-line.
///
/// # Errors
/// [`Error::Protocol`] where it is too long, [`Error::Io`].
pub fn write(stream: &mut dyn Write, content: &[u8]) -> Result<()> {
    if content.len() > MAXIMUM {
        return Err(Error::Protocol("a line is too long".into()));
    }
    write!(stream, "{:04x}", content.len() + 4)
        .and_then(|()| stream.write_all(content))
        .map_err(Error::io("write", "git protocol"))
}

/// Writes a flush, and flushes the stream.
///
/// # Errors
/// [`Error::Io`].
pub fn flush(stream: &mut dyn Write) -> Result<()> {
    stream.write_all(b"0000").and_then(|()| stream.flush()).map_err(Error::io("write", "git protocol"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_is_written_is_read(lines in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 0..9)) {
            let mut stream = Vec::new();
            for line in &lines {
                write(&mut stream, line).unwrap();
            }
            flush(&mut stream).unwrap();
            let mut rest = stream.as_slice();
            for line in lines {
                prop_assert_eq!(read(&mut rest).unwrap(), Some(Packet::Data(line)));
            }
            prop_assert_eq!(read(&mut rest).unwrap(), Some(Packet::Flush));
            prop_assert_eq!(read(&mut rest).unwrap(), None);
        }

        #[test]
        fn any_bytes_are_read_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            let mut rest = bytes.as_slice();
            while let Ok(Some(_)) = read(&mut rest) {}
        }
    }

    #[test]
    fn lengths_that_are_none_are_errors() {
        for bad in ["0001", "0003", "+004", "zzzz", "ffff"] {
            assert!(matches!(read(&mut bad.as_bytes()), Err(Error::Protocol(_))), "{bad}");
        }
    }
}
