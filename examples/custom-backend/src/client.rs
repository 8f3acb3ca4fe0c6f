//! As much of Redis' protocol, RESP 2, as a handler needs.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

/// A server that says nothing for so long is gone.
const SILENCE: Duration = Duration::from_secs(60);

/// The longest text and the longest list that is believed, as Redis' own limits are.
const LONGEST: usize = 512 << 20;

/// What the server answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// A word, as `OK`.
    Word(String),
    /// A number.
    Number(i64),
    /// A text of any bytes.
    Text(Vec<u8>),
    /// A list.
    List(Vec<Reply>),
    /// Nothing, as for a key that is not there.
    Nothing,
}

/// A connection.
#[derive(Debug)]
pub struct Client(BufReader<UnixStream>);

impl Client {
    /// Connects to a database of the server at a socket.
    ///
    /// # Errors
    /// Those of the socket, and what the server says.
    pub fn connect(socket: &Path, database: i64) -> io::Result<Self> {
        let stream = UnixStream::connect(socket)?;
        stream.set_read_timeout(Some(SILENCE))?;
        stream.set_write_timeout(Some(SILENCE))?;
        let mut client = Client(BufReader::new(stream));
        client.call(&[b"SELECT", database.to_string().as_bytes()])?;
        Ok(client)
    }

    /// Runs a command.
    ///
    /// # Errors
    /// Those of the socket, and what the server says.
    pub fn call(&mut self, words: &[&[u8]]) -> io::Result<Reply> {
        let mut request = format!("*{}\r\n", words.len()).into_bytes();
        for word in words {
            request.extend(format!("${}\r\n", word.len()).bytes());
            request.extend_from_slice(word);
            request.extend_from_slice(b"\r\n");
        }
        self.0.get_mut().write_all(&request)?;
        self.reply()
    }

    fn reply(&mut self) -> io::Result<Reply> {
        let line = self.line()?;
        let (kind, rest) = line.split_at_checked(1).ok_or_else(|| strange(&line))?;
        match kind {
            "+" => Ok(Reply::Word(rest.into())),
            "-" => Err(io::Error::other(rest.to_owned())),
            ":" => rest.parse().map(Reply::Number).map_err(|_| strange(&line)),
            "$" => self.text(rest),
            "*" => match length(rest)? {
                None => Ok(Reply::Nothing),
                Some(count) => (0..count).map(|_| self.reply()).collect::<io::Result<_>>().map(Reply::List),
            },
            _ => Err(strange(&line)),
        }
    }

    fn text(&mut self, length_text: &str) -> io::Result<Reply> {
        let Some(length) = length(length_text)? else { return Ok(Reply::Nothing) };
        let mut text = Vec::new();
        self.0.by_ref().take(length as u64 + 2).read_to_end(&mut text)?;
        match text.len() == length + 2 && text.ends_with(b"\r\n") {
            true => text.truncate(length),
            false => return Err(strange("a text that ends early")),
        }
        Ok(Reply::Text(text))
    }

    fn line(&mut self) -> io::Result<String> {
        let mut line = Vec::new();
        self.0.by_ref().take(1 << 16).read_until(b'\n', &mut line)?;
        match line.strip_suffix(b"\r\n") {
            Some(line) => Ok(String::from_utf8_lossy(line).into_owned()),
            None => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }
}

fn strange(said: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("not what Redis says: {}", said.escape_debug()))
}

fn length(text: &str) -> io::Result<Option<usize>> {
    match text.parse::<i64>() {
        Ok(-1) => Ok(None),
        Ok(length) if usize::try_from(length).is_ok_and(|length| length <= LONGEST) => Ok(Some(length as usize)),
        _ => Err(strange(text)),
    }
}
