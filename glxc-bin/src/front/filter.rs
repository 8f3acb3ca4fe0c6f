//! Makes safe for a terminal what a git in a container says to the git of the user.
//!
//! That git prints progress (sideband 2), fatal errors (sideband 3, `ERR`) and the reasons why refs were declined
//! (`ng`, `unpack`) as they come, with every escape sequence that the container may have put there. Everything
//! between the two passes a [`Filter`], which escapes those texts and passes the rest as it is.

use glxc_handlers::text::escaped;
use glxc_transport::pkt;

use super::error::{Error, Exit};

/// The longest text that is kept of a reason, in characters before they are escaped.
const REASON: usize = 2000;

/// The longest line that waits for its end, in bytes.
const LINE: usize = 16 << 10;

/// Why a stream is not passed on.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Unclean {
    #[error("the container broke git's protocol: {0}")]
    Protocol(&'static str),
    /// It refused before it advertised anything.
    #[error("the container refused: {0}")]
    Refused(String),
}

impl From<Unclean> for Error {
    fn from(error: Unclean) -> Self {
        Error::new(Exit::Failed, error.to_string())
    }
}

/// Text from a stranger, line by line, escaped. What a carriage return takes back, as that of a progress, is dropped; or,
/// on demand, passed with the carriage return that ends it.
#[derive(Debug, Default)]
pub(super) struct Lines {
    line: Vec<u8>,
    passes_progress: bool,
}

impl Lines {
    /// Lines of which those that are taken back are passed too.
    pub(super) fn with_progress() -> Self {
        Lines { passes_progress: true, ..Lines::default() }
    }

    /// From here on those that are taken back are dropped.
    pub(super) fn without_progress(&mut self) {
        self.passes_progress = false;
    }

    /// Takes bytes as they come, gives the lines that are complete.
    pub(super) fn feed(&mut self, bytes: &[u8]) -> String {
        let mut safe = String::new();
        for piece in bytes.split_inclusive(|b| matches!(b, b'\n' | b'\r')) {
            let taken_back = self.line.ends_with(b"\r");
            if taken_back && !matches!(piece, b"\n" | b"\r") {
                self.line.clear();
            }
            if taken_back && piece == b"\r" {
                continue;
            }
            self.line.extend(piece);
            if piece.ends_with(b"\n") || self.line.len() > LINE {
                safe.push_str(&self.end());
            } else if piece.ends_with(b"\r") && self.passes_progress && self.line != b"\r" {
                safe.push_str(&(self.text() + "\r"));
            }
        }
        safe
    }

    /// The line that has no end. What would have been taken back is taken back.
    pub(super) fn finish(&mut self) -> String {
        if !self.line.ends_with(b"\r") {
            return self.end();
        }
        let seen = self.passes_progress && !self.line.trim_ascii().is_empty();
        self.line.clear();
        if seen { " \r".into() } else { String::new() }
    }

    fn end(&mut self) -> String {
        let end = if self.line.ends_with(b"\n") { "\n" } else { "" };
        let text = self.text() + end;
        self.line.clear();
        text
    }

    /// The line without its end.
    fn text(&self) -> String {
        let text = self.line.strip_suffix(b"\n").unwrap_or(&self.line);
        escaped(&String::from_utf8_lossy(text.strip_suffix(b"\r").unwrap_or(text)))
    }
}

/// What the git in the container does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Service {
    UploadPack,
    ReceivePack,
}

/// The filter of one conversation (protocol 0 and 1), from the container to the user.
#[derive(Debug)]
pub(super) struct Filter {
    service: Service,
    /// The advertisement is read and not passed on.
    hides_advertisement: bool,
    advertised: bool,
    buffer: Vec<u8>,
    progress: Lines,
    /// What has come of the report inside sideband 1 of a receive-pack.
    report: Vec<u8>,
    accepted: Vec<Vec<u8>>,
}

impl Filter {
    pub(super) fn new(service: Service, hides_advertisement: bool) -> Self {
        Filter {
            service,
            hides_advertisement,
            advertised: false,
            buffer: Vec::new(),
            progress: Lines::default(),
            report: Vec::new(),
            accepted: Vec::new(),
        }
    }

    /// From here on what git says of its progress is passed on too.
    pub(super) fn pass_progress(&mut self) {
        self.progress = Lines::with_progress();
    }

    /// Whether the advertisement has come to its end.
    pub(super) fn advertised(&self) -> bool {
        self.advertised
    }

    /// Whether a receive-pack reported that it moved the ref.
    pub(super) fn accepted(&self, name: &[u8]) -> bool {
        self.accepted.iter().any(|accepted| accepted == name)
    }

    /// Takes bytes as they come, gives what may be passed on.
    pub(super) fn feed(&mut self, bytes: &[u8]) -> Result<Vec<u8>, Unclean> {
        self.buffer.extend(bytes);
        let buffer = std::mem::take(&mut self.buffer);
        let mut rest = buffer.as_slice();
        let mut safe = Vec::with_capacity(rest.len());
        while let Some((packet, after)) = split(rest)? {
            match packet {
                Some(content) => self.content(content, &mut safe)?,
                None => self.flush(&mut safe),
            }
            rest = after;
        }
        self.buffer = rest.to_vec();
        Ok(safe)
    }

    /// What is left to pass on at the end of the stream.
    pub(super) fn finish(&mut self) -> Result<Vec<u8>, Unclean> {
        if !self.buffer.is_empty() || !self.report.is_empty() {
            return Err(Unclean::Protocol("it ended in the middle of a line"));
        }
        let mut safe = Vec::new();
        let progress = self.progress.finish();
        band(2, progress.as_bytes(), &mut safe);
        Ok(safe)
    }

    fn flush(&mut self, safe: &mut Vec<u8>) {
        let progress = self.progress.finish();
        band(2, progress.as_bytes(), safe);
        if self.advertised || !self.hides_advertisement {
            safe.extend(b"0000");
        }
        self.advertised = true;
    }

    fn content(&mut self, content: &[u8], safe: &mut Vec<u8>) -> Result<(), Unclean> {
        let hidden = self.hides_advertisement && !self.advertised;
        match content {
            [b'E', b'R', b'R', b' ', words @ ..] if hidden => return Err(Unclean::Refused(reason(words))),
            [b'E', b'R', b'R', b' ', words @ ..] => packet(format!("ERR {}", reason(words)).as_bytes(), safe),
            line if !self.advertised => {
                plain(line, true)?;
                if !hidden {
                    packet(line, safe);
                }
            }
            // An empty one keeps the connection alive.
            [1..=3] => packet(content, safe),
            [1, data @ ..] if self.service == Service::ReceivePack => self.nested(data, safe)?,
            [1, ..] => packet(content, safe),
            [2, text @ ..] => {
                let text = self.progress.feed(text);
                band(2, text.as_bytes(), safe);
            }
            [3, text @ ..] => {
                let mut lines = Lines::default();
                let text = lines.feed(text) + &lines.finish();
                band(3, text.as_bytes(), safe);
            }
            line if self.service == Service::ReceivePack => packet(&self.report_line(line)?, safe),
            line => {
                plain(line, false)?;
                packet(line, safe);
            }
        }
        Ok(())
    }

    /// The pkt-lines of a report, which sideband 1 carries as a stream.
    fn nested(&mut self, data: &[u8], safe: &mut Vec<u8>) -> Result<(), Unclean> {
        self.report.extend(data);
        let report = std::mem::take(&mut self.report);
        let mut rest = report.as_slice();
        let mut lines = Vec::new();
        while let Some((content, after)) = split(rest)? {
            match content {
                Some(line) => packet(&self.report_line(line)?, &mut lines),
                None => lines.extend(b"0000"),
            }
            rest = after;
        }
        self.report = rest.to_vec();
        band(1, &lines, safe);
        Ok(())
    }

    fn report_line(&mut self, line: &[u8]) -> Result<Vec<u8>, Unclean> {
        let (text, end) = match line.strip_suffix(b"\n") {
            Some(text) => (text, "\n"),
            None => (line, ""),
        };
        let mut words = text.splitn(3, |b| *b == b' ');
        match (words.next().unwrap_or_default(), words.next(), words.next()) {
            (b"ng", Some(name), Some(words)) => {
                plain(name, false)?;
                Ok([b"ng ", name, b" ", reason(words).as_bytes(), end.as_bytes()].concat())
            }
            (b"unpack", Some(_), _) => Ok(format!("unpack {}{end}", reason(&text[b"unpack ".len()..])).into_bytes()),
            (first, name, _) => {
                plain(text, false)?;
                if let (b"ok", Some(name)) = (first, name) {
                    self.accepted.push(name.to_vec());
                }
                Ok(line.to_vec())
            }
        }
    }
}

/// The first pkt-line (`None` for a flush) and what follows it; nothing where it is not complete.
#[allow(clippy::type_complexity)]
fn split(bytes: &[u8]) -> Result<Option<(Option<&[u8]>, &[u8])>, Unclean> {
    let Some((header, rest)) = bytes.split_first_chunk::<4>() else { return Ok(None) };
    let digits = std::str::from_utf8(header).ok().filter(|_| header.iter().all(u8::is_ascii_hexdigit));
    match digits.and_then(|digits| usize::from_str_radix(digits, 16).ok()) {
        Some(0) => Ok(Some((None, rest))),
        Some(length @ 4..) if length - 4 <= pkt::MAXIMUM => {
            Ok(rest.split_at_checked(length - 4).map(|(content, rest)| (Some(content), rest)))
        }
        _ => Err(Unclean::Protocol("not a pkt-line")),
    }
}

/// Writes a pkt-line; the texts above are bounded, so that it fits.
fn packet(content: &[u8], safe: &mut Vec<u8>) {
    safe.extend(format!("{:04x}", content.len() + 4).bytes());
    safe.extend(content);
}

/// Writes bytes into a sideband, in as many pkt-lines as they need.
fn band(number: u8, bytes: &[u8], safe: &mut Vec<u8>) {
    for chunk in bytes.chunks(pkt::MAXIMUM - 1) {
        packet(&[&[number], chunk].concat(), safe);
    }
}

/// Words for a person, in one line.
fn reason(words: &[u8]) -> String {
    let words = String::from_utf8_lossy(words.trim_ascii_end());
    escaped(&words.chars().take(REASON).map(|c| if c == '\n' || c == '\t' { ' ' } else { c }).collect::<String>())
}

/// Names of refs and capabilities hold no control character in git, which separates capabilities by a NUL.
fn plain(line: &[u8], nul: bool) -> Result<(), Unclean> {
    let line = String::from_utf8_lossy(line.strip_suffix(b"\n").unwrap_or(line));
    match line.chars().any(|c| c.is_control() && !(nul && c == '\0')) {
        true => Err(Unclean::Protocol("a control character in a name")),
        false => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ADVERTISEMENT: &[u8] = b"1234567890123456789012345678901234567890 refs/heads/main\0report-status\n";

    fn stream(packets: &[&[u8]]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for content in packets {
            if content.is_empty() { bytes.extend(b"0000") } else { packet(content, &mut bytes) }
        }
        bytes
    }

    fn filtered(service: Service, bytes: &[u8], step: usize) -> Result<(Vec<u8>, Filter), Unclean> {
        let mut filter = Filter::new(service, false);
        let mut safe = Vec::new();
        for chunk in bytes.chunks(step) {
            safe.extend(filter.feed(chunk)?);
        }
        safe.extend(filter.finish()?);
        Ok((safe, filter))
    }

    #[test]
    fn progress_is_passed_where_it_is_seen_and_taken_back() {
        let lines = |bytes: &[u8], step: usize| {
            let mut lines = Lines::with_progress();
            let fed: String = bytes.chunks(step).map(|chunk| lines.feed(chunk)).collect();
            fed + &lines.finish()
        };
        for step in 1..9 {
            assert_eq!(lines(b" 1%\r\x1b[2J\r100%\r\nx", step), " 1%\r\\u{1b}[2J\r100%\r100%\nx");
            assert_eq!(lines(b"a\r\r\r\nb\r", step), "a\ra\nb\r \r", "what is left is taken back");
            assert_eq!(lines(b"\ra\r \r", step), "a\r \r");
        }
        let mut lines = Lines::default();
        assert_eq!(lines.feed(b"a\rb\r") + &lines.finish(), "", "nobody sees it");
        assert_eq!(lines.feed(&b"working\r".repeat(LINE)) + &lines.finish(), "");
    }

    /// What a receive-pack says after its advertisement, and what must be passed on of it.
    fn check(said: &[&[u8]], wanted: &[&[u8]]) {
        let all = |packets: &[&[u8]]| stream(&[&[ADVERTISEMENT, b""], packets].concat());
        let (safe, _) = filtered(Service::ReceivePack, &all(said), 7).unwrap();
        assert_eq!(safe.escape_ascii().to_string(), all(wanted).escape_ascii().to_string());
    }

    #[test]
    fn progress_is_escaped_line_by_line() {
        check(&[b"\x02a\x1b[2J\nb", b"\x02c\n"], &[b"\x02a\\u{1b}[2J\n", b"\x02bc\n"]);
        check(&[b"\x02 1%\r 50%\r", b"\x02 100%\r\n"], &[b"\x02 100%\n"]);
        check(&[b"\x02no end", b""], &[b"\x02no end", b""]);
        check(&[b"\x02no end"], &[b"\x02no end"]);
        check(&[b"\x03fatal \x9b\xe2\x80\xaex"], &[b"\x03fatal \xef\xbf\xbd\\u{202e}x"]);
        check(&[b"\x02"], &[b"\x02"]);
    }

    #[test]
    fn reports_are_escaped_wherever_they_are_cut() {
        let report = stream(&[b"unpack ok\n", b"ok refs/heads/main\n", b"ng refs/tags/v1 no\x1b]0;x\x07way\n", b""]);
        let wanted =
            stream(&[b"unpack ok\n", b"ok refs/heads/main\n", b"ng refs/tags/v1 no\\u{1b}]0;x\\u{7}way\n", b""]);
        for step in 1..report.len() {
            let packets: Vec<Vec<u8>> = report.chunks(step).map(|chunk| [&[1], chunk].concat()).collect();
            let packets: Vec<&[u8]> = packets.iter().map(Vec::as_slice).collect();
            let bytes = stream(&[&[ADVERTISEMENT, b""], packets.as_slice(), &[b""]].concat());
            let (safe, filter) = filtered(Service::ReceivePack, &bytes, 9).unwrap();
            assert!(filter.accepted(b"refs/heads/main") && !filter.accepted(b"refs/tags/v1"));
            let mut carried = Vec::new();
            let mut rest = &safe[stream(&[ADVERTISEMENT, b""]).len()..];
            while let Some(pkt::Packet::Data(content)) = pkt::read(&mut rest).unwrap() {
                assert_eq!(content[0], 1);
                carried.extend(&content[1..]);
            }
            assert_eq!(carried.escape_ascii().to_string(), wanted.escape_ascii().to_string());
        }
    }

    #[test]
    fn reports_outside_a_sideband_and_errors_are_escaped() {
        check(&[b"ng refs/heads/main a\x1bb\n"], &[b"ng refs/heads/main a\\u{1b}b\n"]);
        check(&[b"unpack bad \x1b\n"], &[b"unpack bad \\u{1b}\n"]);
        check(&[b"ERR go\naway\x1b\n"], &[b"ERR go away\\u{1b}"]);
    }

    #[test]
    fn a_hidden_advertisement_leaves_nothing_but_its_refusal() {
        let mut filter = Filter::new(Service::ReceivePack, true);
        assert_eq!(filter.feed(&stream(&[ADVERTISEMENT])).unwrap(), b"");
        assert!(!filter.advertised());
        assert_eq!(filter.feed(b"0000").unwrap(), b"");
        assert!(filter.advertised());
        assert_eq!(filter.feed(b"0008ok a0000").unwrap(), b"0008ok a0000");
        let refused = Filter::new(Service::ReceivePack, true).feed(&stream(&[b"ERR no\x1b"])).unwrap_err();
        assert_eq!(refused.to_string(), "the container refused: no\\u{1b}");
    }

    #[test]
    fn what_is_no_protocol_is_refused() {
        for service in [Service::UploadPack, Service::ReceivePack] {
            for bytes in [
                b"Welcome to demo!\n".to_vec(),
                stream(&[b"1234 refs/heads/\x1b[2J\n"]),
                stream(&[ADVERTISEMENT, b"", b"ACK \x1b[2J\n"]),
                stream(&[b"\x02too early\n"]),
                b"0003".to_vec(),
                b"fff9".to_vec(),
                b"001".to_vec(),
            ] {
                assert!(filtered(service, &bytes, 5).is_err(), "{}", bytes.escape_ascii());
            }
        }
        let name = stream(&[ADVERTISEMENT, b"", b"ng refs/\x1b[2J no\n"]);
        assert!(filtered(Service::ReceivePack, &name, 5).is_err());
    }

    #[test]
    fn endless_lines_and_giant_reasons_stay_bounded() {
        let mut filter = Filter::new(Service::ReceivePack, false);
        filter.feed(&stream(&[ADVERTISEMENT, b""])).unwrap();
        let giant = [b"\x02".as_slice(), &[0x1b; 60_000]].concat();
        let safe = filter.feed(&stream(&[&giant])).unwrap();
        let mut rest = safe.as_slice();
        let mut packets = 0;
        while pkt::read(&mut rest).unwrap().is_some() {
            packets += 1;
        }
        assert!(packets > 1 && filter.progress.line.len() <= LINE);
        let line = [b"ng refs/heads/main ".as_slice(), &[0x1b; 60_000]].concat();
        let safe = filter.feed(&stream(&[&line])).unwrap();
        assert!(matches!(pkt::read(&mut safe.as_slice()), Ok(Some(pkt::Packet::Data(_)))));
    }

    fn packets() -> impl Strategy<Value = Vec<Vec<u8>>> {
        let text = "[a\u{1b}\u{202e}\r\n]{1,9}".prop_map(String::into_bytes);
        let content = (prop::sample::select(vec!["\u{2}", "\u{3}", "ng refs/a ", "ok ", "ERR ", "unpack "]), text)
            .prop_map(|(head, text)| [head.as_bytes(), &text].concat());
        let nested = prop::collection::vec(content.clone(), 0..3).prop_map(|lines| {
            let lines: Vec<&[u8]> = lines.iter().map(Vec::as_slice).collect();
            [&[1], stream(&lines).as_slice()].concat()
        });
        prop::collection::vec(prop_oneof![4 => content, 1 => nested, 1 => Just(Vec::new())], 0..12)
    }

    proptest! {
        #[test]
        fn cutting_changes_nothing_and_no_control_character_passes(packets in packets(), step in 1..40usize) {
            let packets: Vec<&[u8]> = packets.iter().map(Vec::as_slice).collect();
            let bytes = stream(&[&[ADVERTISEMENT, b""], packets.as_slice()].concat());
            let whole = filtered(Service::ReceivePack, &bytes, usize::MAX).map(|(safe, _)| safe);
            let cut = filtered(Service::ReceivePack, &bytes, step).map(|(safe, _)| safe);
            prop_assert_eq!(&whole, &cut);
            let mut seen = Filter::new(Service::ReceivePack, false);
            seen.pass_progress();
            if let Ok(seen) = seen.feed(&bytes) {
                prop_assert!(!seen.contains(&0x1b));
            }
            if let Ok(safe) = whole {
                prop_assert!(!safe.contains(&0x1b) && !safe.contains(&b'\r'));
                let mut rest = safe.as_slice();
                while pkt::read(&mut rest).unwrap().is_some() {}
            }
        }

        #[test]
        fn packs_pass_as_they_are(data in prop::collection::vec(any::<u8>(), 0..300), step in 1..40usize) {
            let bytes = stream(&[ADVERTISEMENT, b"", b"NAK\n", &[&[1], data.as_slice()].concat(), b""]);
            prop_assert_eq!(filtered(Service::UploadPack, &bytes, step).unwrap().0, bytes);
        }

        #[test]
        fn any_bytes_are_passed_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..99), step in 1..20usize) {
            let _ = filtered(Service::ReceivePack, &bytes, step);
        }
    }
}
