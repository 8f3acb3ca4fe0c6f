//! A push to a container that does not exist yet: front is the receive-pack until it does.
//!
//! git is shown an empty repository, and says which refs it wants to move. Only then it is known whether, and from
//! which commit, a container is to be created.

use std::io::{self, Read, Write};

use glxc_transport::{ObjectId, pkt};

/// What is offered must be what the receive-pack in the container offers too, since it gets the answer.
const CAPABILITIES: &str = "report-status report-status-v2 delete-refs side-band-64k quiet atomic ofs-delta \
                            push-options object-format=sha1";

/// The move of a ref.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Update {
    pub(super) new: ObjectId,
    /// The full name of the ref.
    pub(super) name: Vec<u8>,
}

/// What a client wants of a receive-pack, up to the flush before push options and pack.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Commands {
    pub(super) updates: Vec<Update>,
    capabilities: Vec<u8>,
    /// The pkt-lines as they came; empty where the client went away instead.
    pub(super) bytes: Vec<u8>,
}

/// Advertises a repository without refs.
pub(super) fn advertise(stream: &mut dyn Write) -> glxc_transport::Result<()> {
    let zero = ObjectId::zero();
    let agent = concat!("agent=glxc/", env!("CARGO_PKG_VERSION"));
    pkt::write(stream, format!("{zero} capabilities^{{}}\0{CAPABILITIES} {agent}\n").as_bytes())?;
    pkt::flush(stream)
}

impl Commands {
    /// Reads up to the flush, or to the end where the client wants nothing.
    pub(super) fn read(stream: &mut dyn Read) -> glxc_transport::Result<Self> {
        let mut commands = Commands::default();
        loop {
            match pkt::read(stream)? {
                None if commands.bytes.is_empty() => return Ok(commands),
                None => return Err(glxc_transport::Error::Protocol("the client went away".into())),
                Some(pkt::Packet::Flush) => {
                    pkt::flush(&mut commands.bytes)?;
                    return Ok(commands);
                }
                Some(pkt::Packet::Data(line)) => {
                    commands.line(&line)?;
                    pkt::write(&mut commands.bytes, &line)?;
                }
            }
        }
    }

    fn line(&mut self, line: &[u8]) -> glxc_transport::Result<()> {
        let line = line.strip_suffix(b"\n").unwrap_or(line);
        let mut halves = line.splitn(2, |b| *b == 0);
        let command = halves.next().unwrap_or_default();
        if let Some(capabilities) = halves.next() {
            self.capabilities = capabilities.to_vec();
        }
        if command.starts_with(b"shallow ") {
            return Ok(());
        }
        let mut words = command.splitn(3, |b| *b == b' ');
        match (words.next(), words.next(), words.next()) {
            (Some(old), Some(new), Some(name)) => {
                ObjectId::new(old)?;
                self.updates.push(Update { new: ObjectId::new(new)?, name: name.to_vec() });
                Ok(())
            }
            _ => Err(glxc_transport::Error::Protocol(format!("no command: {}", command.escape_ascii()))),
        }
    }

    /// Reads the push options that follow, which then are part of what is passed on.
    pub(super) fn read_options(&mut self, stream: &mut dyn Read) -> glxc_transport::Result<Vec<String>> {
        let mut options = Vec::new();
        while self.has("push-options") {
            match pkt::read(stream)? {
                None => return Err(glxc_transport::Error::Protocol("the client went away".into())),
                Some(pkt::Packet::Flush) => {
                    pkt::flush(&mut self.bytes)?;
                    break;
                }
                Some(pkt::Packet::Data(line)) => {
                    pkt::write(&mut self.bytes, &line)?;
                    options.push(String::from_utf8_lossy(line.strip_suffix(b"\n").unwrap_or(&line)).into_owned());
                }
            }
        }
        Ok(options)
    }

    /// Whether the client shows no progress: that of a user who wants none, or has no terminal.
    pub(super) fn are_quiet(&self) -> bool {
        self.has("quiet")
    }

    fn has(&self, word: &str) -> bool {
        self.capabilities.split(|b| *b == b' ').any(|have| have == word.as_bytes())
    }

    /// The commit that a ref is to point to, if the client wants to move and not to delete it.
    pub(super) fn target(&self, name: &[u8]) -> Option<&ObjectId> {
        self.updates.iter().find(|update| update.name == name && !update.new.is_zero()).map(|update| &update.new)
    }

    /// Declines everything: reads what the client still sends, and reports the reason for each ref.
    pub(super) fn decline(&self, reason: &str, input: &mut dyn Read, output: &mut dyn Write) -> io::Result<()> {
        if self.updates.iter().any(|update| !update.new.is_zero()) {
            // The client reads the report once its pack is written, at whose end it closes the stream.
            io::copy(input, &mut io::sink())?;
        }
        output.write_all(&self.report(reason).map_err(io::Error::other)?)?;
        output.flush()
    }

    fn report(&self, reason: &str) -> glxc_transport::Result<Vec<u8>> {
        let mut report = Vec::new();
        if !self.has("report-status") && !self.has("report-status-v2") {
            return Ok(report);
        }
        pkt::write(&mut report, b"unpack ok\n")?;
        for update in &self.updates {
            let line = [b"ng ", update.name.as_slice(), b" ", reason.replace('\n', " ").as_bytes(), b"\n"].concat();
            pkt::write(&mut report, &line)?;
        }
        pkt::flush(&mut report)?;
        if !self.has("side-band-64k") {
            return Ok(report);
        }
        let mut framed = Vec::new();
        for chunk in report.chunks(pkt::MAXIMUM - 1) {
            pkt::write(&mut framed, &[&[1], chunk].concat())?;
        }
        pkt::flush(&mut framed)?;
        Ok(framed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NEW: &str = "1234567890123456789012345678901234567890";

    fn sent(lines: &[String]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for line in lines {
            pkt::write(&mut bytes, line.as_bytes()).unwrap();
        }
        pkt::flush(&mut bytes).unwrap();
        bytes
    }

    fn push(capabilities: &str) -> Vec<u8> {
        let zero = ObjectId::zero();
        sent(&[
            format!("shallow {NEW}"),
            format!("{zero} {NEW} refs/heads/main\0 {capabilities}"),
            format!("{NEW} {zero} refs/heads/old"),
        ])
    }

    #[test]
    fn the_advertisement_is_one_line() {
        let mut bytes = Vec::new();
        advertise(&mut bytes).unwrap();
        let mut rest = bytes.as_slice();
        let line = pkt::read_line(&mut rest).unwrap().unwrap();
        assert!(line.starts_with(b"0000000000000000000000000000000000000000 capabilities^{}\0report-status "));
        assert_eq!(rest, b"0000");
    }

    #[test]
    fn reads_no_further_than_the_flush() {
        let bytes = push("report-status");
        let stream = [bytes.as_slice(), b"PACK"].concat();
        let mut rest = stream.as_slice();
        let commands = Commands::read(&mut rest).unwrap();
        assert_eq!((rest, &commands.bytes), (&b"PACK"[..], &bytes));
        assert_eq!(commands.target(b"refs/heads/main").unwrap().as_str(), NEW);
        assert_eq!(commands.target(b"refs/heads/old"), None, "a delete has no target");
        assert_eq!(commands.updates.len(), 2);
    }

    #[test]
    fn options_are_read_and_passed_on() {
        let options = sent(&["plan\n".into(), "replace=kv".into()]);
        let stream = [push("push-options report-status"), options, b"PACK".to_vec()].concat();
        let mut rest = stream.as_slice();
        let mut commands = Commands::read(&mut rest).unwrap();
        assert_eq!(commands.read_options(&mut rest).unwrap(), ["plan", "replace=kv"]);
        assert_eq!((rest, &*commands.bytes), (&b"PACK"[..], &stream[..stream.len() - 4]));
        let stream = push("report-status");
        assert!(Commands::read(&mut &*stream).unwrap().read_options(&mut &b"PACK"[..]).unwrap().is_empty());
        assert!(commands.read_options(&mut &b"0009plan\n"[..]).is_err(), "it breaks off");
    }

    #[test]
    fn a_dry_run_wants_nothing() {
        assert!(Commands::read(&mut &b""[..]).unwrap().updates.is_empty());
        assert!(Commands::read(&mut &b"0000"[..]).unwrap().updates.is_empty());
    }

    #[test]
    fn broken_commands_are_errors() {
        let cut = push("");
        for bad in [&b"0009hello0000"[..], b"hello", &cut[..cut.len() - 4], b"0032shallow"] {
            assert!(Commands::read(&mut &bad[..]).is_err(), "{}", bad.escape_ascii());
        }
    }

    #[test]
    fn declines_each_ref_in_the_form_that_the_client_asked_for() {
        let declined = |capabilities: &str| {
            let commands = Commands::read(&mut push(capabilities).as_slice()).unwrap();
            let mut output = Vec::new();
            let mut pack = &b"PACK"[..];
            commands.decline("not\nnow", &mut pack, &mut output).unwrap();
            assert!(pack.is_empty());
            output.escape_ascii().to_string()
        };
        let report = r"000eunpack ok\n001fng refs/heads/main not now\n001eng refs/heads/old not now\n0000";
        assert_eq!(declined("report-status"), report);
        assert_eq!(declined("report-status-v2 side-band-64k"), format!(r"0054\x01{report}0000"));
        assert_eq!(declined(""), "");
    }
}
