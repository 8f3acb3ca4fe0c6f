//! What front and keeper say to each other over stdin and stdout.
//!
//! # Frames
//! A frame is a length (`u32`, big endian, at least 1 and at most [`MAX_FRAME`]), one byte that tells the
//! [`Kind`], and `length - 1` bytes. Control frames hold one JSON value of the type that their kind names,
//! and unknown fields are refused; data frames hold bytes as they are.
//!
//! # Order
//! 1. Each side sends [`Hello`] at once. The sides agree where [`VERSION`] is the same.
//! 2. Front sends a [`Request`]. The keeper sends any number of [`Progress`], then one [`Reply`] or one
//!    [`Failure`]. It sends at least [`Progress::Alive`] every [`ALIVE`], so silence means a dead peer.
//! 3. [`Request::InstallGuest`] is followed by the bytes in [`Kind::Stdin`] frames and one [`Kind::End`].
//! 4. [`Request::Attach`] is answered by [`Reply::Attached`]; from then on front sends [`Kind::Stdin`] and
//!    [`Kind::Terminate`], and closes the process's stdin with [`Kind::End`]; the keeper sends
//!    [`Kind::Stdout`], [`Kind::Stderr`], [`Kind::Alive`] and last [`Kind::Exit`] (or a [`Failure`]).
//! 5. Each stream of front's ends with `End`, also where the answer came before it; then the next request may
//!    follow. A [`Kind::Terminate`] that comes too late is passed over. The end of front's bytes ends everything: a
//!    process that is attached is killed.
//!
//! Both sides trust nothing: a frame that is too long, of an unknown kind, out of order, or not UTF-8 where it
//! must be is an error, after which nothing more is read. Names are checked again by the keeper.
//!
//! Whatever comes in [`Kind::Stderr`], and every text in a [`Failure`] or a [`Progress`], may hold what a container
//! said: whoever shows it to a person escapes it with `glxc_handlers::text::escaped`.

mod client;

use std::time::Duration;
use std::{fmt, io};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

pub use client::{Client, Event, Input, Output, Patient};

/// The version of this protocol.
pub const VERSION: u32 = 1;

/// The largest length of a frame, kind included.
pub const MAX_FRAME: usize = 1 << 20;

/// The keeper lets nobody wait longer than this without a frame.
pub const ALIVE: Duration = Duration::from_secs(10);

/// How long a side waits for a frame that is due: many times [`ALIVE`], since a `sudo` may ask for a password first.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// How many bytes of a stream go into one frame.
pub const CHUNK: usize = 64 << 10;

/// The result of a conversation.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a conversation failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Reading or writing failed.
    #[error("the connection to the keeper failed")]
    Io(#[from] io::Error),
    /// The other side went away, in the middle or before it had answered.
    #[error("the other side closed the connection")]
    Closed,
    /// The other side was silent for too long.
    #[error("the other side was silent for too long")]
    Silent,
    /// What came was not this protocol at all, as where a login shell prints a greeting.
    #[error("the other side does not speak the protocol of GLXC; it began with \"{0}\"")]
    Foreign(String),
    /// A frame's length is 0 or larger than [`MAX_FRAME`].
    #[error("a frame of {0} bytes is out of bounds")]
    Length(usize),
    /// A frame of a kind that this version does not know.
    #[error("a frame of the unknown kind {0}")]
    UnknownKind(u8),
    /// A frame that was not due.
    #[error("{kind:?} came where {due} was due")]
    Order {
        /// What came.
        kind: Kind,
        /// What was due.
        due: &'static str,
    },
    /// The JSON of a control frame is not what its kind demands.
    #[error("a bad {kind:?} frame")]
    Json {
        /// The kind of the frame.
        kind: Kind,
        /// The parser's own words.
        #[source]
        source: serde_json::Error,
    },
    /// The two sides speak different versions.
    #[error(
        "the other side ({program}) speaks version {theirs} of the protocol, this one {VERSION}; upgrade the older"
    )]
    Version {
        /// The other side's version.
        theirs: u32,
        /// The other side's name and version.
        program: String,
    },
    /// The keeper answered that it failed.
    #[error(transparent)]
    Failed(#[from] Failure),
}

/// What a frame holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// [`Hello`], the first frame of each side.
    Hello = 1,
    /// [`Request`], by front.
    Request = 2,
    /// [`Reply`], by the keeper.
    Reply = 3,
    /// [`Failure`], by the keeper instead of a reply or an exit.
    Failure = 4,
    /// [`Progress`], by the keeper before its reply.
    Progress = 5,
    /// Bytes of front's stream.
    Stdin = 16,
    /// The end of front's stream; empty.
    End = 17,
    /// Bytes of the process's stdout.
    Stdout = 18,
    /// Bytes of the process's stderr.
    Stderr = 19,
    /// The process ended: [`Exit`].
    Exit = 20,
    /// Front wants the process to get SIGTERM; empty.
    Terminate = 21,
    /// The keeper lives, while a process is attached; empty.
    Alive = 22,
    /// [`Size`], between [`Kind::Stdin`] frames in the input of the guest's `shell`; the keeper never sees one.
    Size = 23,
}

impl Kind {
    fn new(byte: u8) -> Result<Self> {
        use Kind::*;
        let all = [Hello, Request, Reply, Failure, Progress, Stdin, End, Stdout, Stderr, Exit, Terminate, Alive, Size];
        all.into_iter().find(|kind| *kind as u8 == byte).ok_or(Error::UnknownKind(byte))
    }
}

/// One frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// What it holds.
    pub kind: Kind,
    /// The bytes.
    pub payload: Vec<u8>,
}

impl Frame {
    /// A data frame. At most [`CHUNK`] bytes are taken by convention, fewer than [`MAX_FRAME`] must be.
    pub fn data(kind: Kind, payload: &[u8]) -> Self {
        debug_assert!(payload.len() < MAX_FRAME);
        Frame { kind, payload: payload.to_vec() }
    }

    /// A control frame.
    ///
    /// # Errors
    /// [`Error::Length`] where the value is too large for a frame, [`Error::Json`] where it can not be written.
    pub fn json<T: Serialize>(kind: Kind, value: &T) -> Result<Self> {
        let payload = serde_json::to_vec(value).map_err(|source| Error::Json { kind, source })?;
        if payload.len() >= MAX_FRAME {
            return Err(Error::Length(payload.len() + 1));
        }
        Ok(Frame { kind, payload })
    }

    /// The value of a control frame, which must be of the kind that is due.
    ///
    /// # Errors
    /// [`Error::Order`] where it is another kind, [`Error::Json`] where the value is not of that type.
    pub fn value<T: DeserializeOwned>(&self, kind: Kind, due: &'static str) -> Result<T> {
        if self.kind != kind {
            return Err(Error::Order { kind: self.kind, due });
        }
        serde_json::from_slice(&self.payload).map_err(|source| Error::Json { kind, source })
    }

    /// The bytes that go over the wire.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.payload.len() + 5);
        bytes.extend((self.payload.len() as u32 + 1).to_be_bytes());
        bytes.push(self.kind as u8);
        bytes.extend(&self.payload);
        bytes
    }
}

/// Cuts a stream of bytes into frames, however it arrives.
#[derive(Debug, Default)]
pub struct Decoder {
    buffer: Vec<u8>,
    seen_a_frame: bool,
}

impl Decoder {
    /// Takes bytes as they arrive.
    pub fn feed(&mut self, bytes: &[u8]) {
        self.buffer.extend(bytes);
    }

    /// Whether a frame has begun that is not complete.
    pub fn is_midway(&self) -> bool {
        !self.buffer.is_empty()
    }

    /// The next complete frame, if there is one.
    ///
    /// # Errors
    /// [`Error::Length`], [`Error::UnknownKind`]; as the very first bytes rather [`Error::Foreign`]. Nothing that
    /// is fed later is worth reading.
    pub fn frame(&mut self) -> Result<Option<Frame>> {
        let Some((head, rest)) = self.buffer.split_first_chunk::<4>() else { return Ok(None) };
        let length = u32::from_be_bytes(*head) as usize;
        if !(1..=MAX_FRAME).contains(&length) {
            return Err(if self.seen_a_frame { Error::Length(length) } else { self.foreign() });
        }
        let Some((&kind, _)) = rest.split_first() else { return Ok(None) };
        let kind = Kind::new(kind)?;
        let Some(payload) = rest.get(1..length) else { return Ok(None) };
        let frame = Frame { kind, payload: payload.to_vec() };
        self.buffer.drain(..4 + length);
        self.seen_a_frame = true;
        Ok(Some(frame))
    }

    fn foreign(&self) -> Error {
        let start = &self.buffer[..self.buffer.len().min(60)];
        Error::Foreign(start.escape_ascii().to_string())
    }
}

/// The first frame of each side.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// [`VERSION`] of the sender. Later versions may add fields, so unknown ones are let pass here alone.
    pub protocol: u32,
    /// Name and version of the sender, for messages.
    pub program: String,
}

impl Hello {
    /// The hello of this build.
    pub fn new() -> Self {
        Hello { protocol: VERSION, program: concat!("glxc ", env!("CARGO_PKG_VERSION")).into() }
    }

    /// Whether the two can talk.
    ///
    /// # Errors
    /// [`Error::Version`] where not.
    pub fn agree(self) -> Result<()> {
        if self.protocol == VERSION {
            return Ok(());
        }
        Err(Error::Version { theirs: self.protocol, program: self.program })
    }
}

impl Default for Hello {
    fn default() -> Self {
        Hello::new()
    }
}

/// A name of a container: `[A-Za-z0-9][A-Za-z0-9_.-]{0,62}` without `..`.
///
/// So it needs no quoting in a URL, a path or a shell, and is no option.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Name(String);

/// A text that is no [`Name`].
#[derive(Debug, thiserror::Error)]
#[error(
    "\"{}\" is no name for a container: use 1 to 63 letters, digits, `_`, `-` and `.`, starting with a letter or a \
     digit, without `..`", .0.escape_default()
)]
pub struct InvalidName(String);

impl Name {
    /// Checks and takes a name.
    ///
    /// # Errors
    /// [`InvalidName`].
    pub fn new(name: impl Into<String>) -> Result<Self, InvalidName> {
        let name = name.into();
        let rest = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-');
        let good = name.len() <= 63
            && name.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric())
            && name.bytes().all(rest)
            && !name.contains("..");
        if good { Ok(Name(name)) } else { Err(InvalidName(name)) }
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for Name {
    type Error = InvalidName;

    fn try_from(name: String) -> Result<Self, InvalidName> {
        Name::new(name)
    }
}

impl From<Name> for String {
    fn from(name: Name) -> String {
        name.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What front may ask for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Request {
    /// Creates the container, starts it and waits until its init system answers. Who asks becomes its owner.
    /// A container that an earlier `Create` left half-made is made anew. Answer: [`Reply::Container`].
    Create {
        /// The new container's name.
        name: Name,
        /// What it is made of.
        base: Base,
        /// What it may use.
        limits: Limits,
    },
    /// Sets other limits, now and for later starts. Answer: [`Reply::Container`].
    SetLimits {
        /// The container.
        name: Name,
        /// What it may use.
        limits: Limits,
    },
    /// Starts it where it is stopped and waits until its init system answers. Answer: [`Reply::Container`].
    Start {
        /// The container.
        name: Name,
    },
    /// Stops it where it runs, first asking its init system, then by force. Answer: [`Reply::Container`].
    Stop {
        /// The container.
        name: Name,
    },
    /// Stops and removes it with all that is in it. Answer: [`Reply::Done`].
    Destroy {
        /// The container.
        name: Name,
    },
    /// The containers of whoever asks; root sees all. Answer: [`Reply::Containers`].
    List,
    /// One container. [`Code::NotFound`] where it is not there. Answer: [`Reply::Container`].
    Info {
        /// The container.
        name: Name,
    },
    /// Puts a guest program into the running container, as `/usr/lib/glxc/guest-<sha256>`, and has `/usr/bin/glxc`
    /// point to it. The bytes follow, then `End`. Answer: [`Reply::Done`].
    InstallGuest {
        /// The container.
        name: Name,
        /// The SHA-256 of the bytes, as 64 lower case hex digits.
        sha256: String,
        /// How many bytes follow.
        size: u64,
    },
    /// Runs a program in the running container as its root, connected by pipes. Answer: [`Reply::Attached`].
    Attach {
        /// The container.
        name: Name,
        /// The program.
        command: Command,
        /// Added to the fixed environment (`PATH`, `HOME=/root`, `LANG=C.UTF-8`): names are `GLXC_[A-Z0-9_]+`, at most
        /// 64 of them.
        #[serde(default)]
        environment: Vec<(String, String)>,
    },
}

/// A program to run in a container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Command {
    /// `/usr/bin/glxc` with these arguments.
    Guest {
        /// The arguments, without the program itself.
        arguments: Vec<String>,
    },
    /// Any program, looked up in the fixed `PATH` where it holds no `/`.
    Exec {
        /// The program and its arguments.
        argv: Vec<String>,
    },
}

/// What a container is made of; fixed when it is created.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Base {
    /// The kind of root; `debian` everywhere, others where the host allows them.
    pub template: String,
    /// The suite, as `bookworm`: `[a-z0-9][a-z0-9._-]*`.
    pub release: String,
    /// Debian's word for the architecture, as `amd64`; the host's own where missing.
    #[serde(default)]
    pub arch: Option<String>,
}

/// What a container may use.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// Memory in bytes; the keeper's default where missing.
    #[serde(default)]
    pub memory: Option<u64>,
    /// How many processes and threads; the keeper's default where missing.
    #[serde(default)]
    pub processes: Option<u32>,
    /// How many processors' time, in thousandths (1500 is one and a half); all where missing.
    #[serde(default)]
    pub millicpus: Option<u32>,
    /// Whether it starts with the host.
    #[serde(default)]
    pub autostart: bool,
}

/// A successful answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Reply {
    /// It is done; there is nothing to say.
    Done,
    /// One container as it is now.
    Container(Container),
    /// Containers in the order of their names.
    Containers(Vec<Container>),
    /// The program runs; its streams follow.
    Attached,
}

/// A container as it is now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Container {
    /// Its name.
    pub name: Name,
    /// Whether it runs.
    pub state: State,
    /// The address that the keeper gave it; reachable from its host only.
    pub address: std::net::Ipv4Addr,
    /// What it was made of.
    pub base: Base,
    /// What it may use.
    pub limits: Limits,
    /// The user (uid of the host) who may use it besides root; nobody where missing.
    pub owner: Option<u32>,
    /// Since when it runs, in seconds since 1970.
    pub running_since: Option<u64>,
}

/// Whether a container runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// No process of it lives.
    Stopped,
    /// On the way up.
    Starting,
    /// Its init runs.
    Running,
    /// On the way down.
    Stopping,
    /// Its processes are frozen.
    Frozen,
    /// The keeper began to create it and was killed; the next `Create` makes it anew, `Destroy` removes it.
    HalfMade,
}

/// How far a request has come.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Progress {
    /// A task begins, as `installing bookworm`.
    Begin(String),
    /// A line for the user.
    Note(String),
    /// The keeper lives.
    Alive,
}

/// The size of a terminal, in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Size {
    /// Its height.
    pub rows: u16,
    /// Its width.
    pub columns: u16,
}

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Exit {
    /// Its exit status; 128 + N after signal N; 127 where there is no such program; 126 where it can not be run.
    pub code: u8,
}

/// The kinds of failure that a program may want to tell apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Code {
    /// The request has a value that is not allowed or makes no sense.
    Invalid,
    /// There is no such container.
    NotFound,
    /// There is one of that name.
    Exists,
    /// The container belongs to somebody else.
    Denied,
    /// The host does not allow it (`/etc/glxc/host.toml`).
    NotAllowed,
    /// The container does not run.
    NotRunning,
    /// LXC, or a program that the keeper needs, is not installed.
    Missing,
    /// The bridge can not be used.
    Network,
    /// No id range or no address is left.
    Exhausted,
    /// The disk is full.
    DiskFull,
    /// The distribution has no such release.
    UnknownRelease,
    /// It took too long.
    Timeout,
    /// Anything else.
    Other,
}

/// An answer that says why not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Failure {
    /// The kind.
    pub code: Code,
    /// What failed.
    pub message: String,
    /// Why, outermost first.
    pub causes: Vec<String>,
    /// What the user can do.
    pub hint: Option<String>,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Failure {}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    pub(super) fn frames(bytes: &[u8], step: usize) -> Result<Vec<Frame>> {
        let mut decoder = Decoder::default();
        let mut all = Vec::new();
        for chunk in bytes.chunks(step.max(1)) {
            decoder.feed(chunk);
            while let Some(frame) = decoder.frame()? {
                all.push(frame);
            }
        }
        Ok(all)
    }

    fn kinds() -> impl Strategy<Value = Kind> {
        prop::sample::select(vec![Kind::Hello, Kind::Stdin, Kind::Stdout, Kind::End, Kind::Exit])
    }

    proptest! {
        #[test]
        fn frames_survive_any_cutting(
            wanted in prop::collection::vec((kinds(), prop::collection::vec(any::<u8>(), 0..300)), 0..8),
            step in 1..400usize,
        ) {
            let wanted: Vec<Frame> = wanted.into_iter().map(|(kind, payload)| Frame { kind, payload }).collect();
            let bytes: Vec<u8> = wanted.iter().flat_map(Frame::encode).collect();
            prop_assert_eq!(frames(&bytes, step).unwrap(), wanted);
        }

        #[test]
        fn any_bytes_are_frames_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..200), step in 1..50usize) {
            if let Ok(found) = frames(&bytes, step) {
                let taken: usize = found.iter().map(|frame| frame.encode().len()).sum();
                prop_assert!(bytes.starts_with(&found.iter().flat_map(Frame::encode).collect::<Vec<u8>>()));
                prop_assert!(taken <= bytes.len());
            }
        }

        #[test]
        fn names_hold_nothing_special(text in "[a-c.A/%_ \n0-]{0,6}") {
            if let Ok(name) = Name::new(text) {
                prop_assert!(!name.as_str().starts_with(['.', '-', '_']));
                prop_assert!(!name.as_str().contains(['/', '%', ' ', '\n']) && !name.as_str().contains(".."));
            }
        }
    }

    #[test]
    fn giant_empty_and_unknown_frames_are_refused() {
        let mut decoder = Decoder::default();
        decoder.feed(&Frame::data(Kind::Stdin, b"x").encode());
        assert!(decoder.frame().unwrap().is_some());
        decoder.feed(&(MAX_FRAME as u32 + 1).to_be_bytes());
        assert!(matches!(decoder.frame(), Err(Error::Length(length)) if length == MAX_FRAME + 1));
        for (bytes, message) in [
            (&b"\0\0\0\x01\x63"[..], "a frame of the unknown kind 99"),
            (b"Welcome to box!\n", "it began with \"Welcome to box!\\n\""),
        ] {
            let mut decoder = Decoder::default();
            decoder.feed(bytes);
            let error = decoder.frame().unwrap_err().to_string();
            assert!(error.contains(message), "{error}");
        }
        let largest = Frame { kind: Kind::Stdin, payload: vec![7; MAX_FRAME - 1] };
        assert_eq!(frames(&largest.encode(), 1 << 16).unwrap(), [largest]);
    }

    #[test]
    fn unknown_fields_bad_names_and_bad_utf8_are_refused() {
        let parse = |json: &[u8]| Frame::data(Kind::Request, json).value::<Request>(Kind::Request, "a request");
        assert_eq!(parse(br#"{"stop":{"name":"demo"}}"#).unwrap(), Request::Stop { name: Name::new("demo").unwrap() });
        assert!(parse(br#"{"stop":{"name":"demo","force":1}}"#).is_err());
        assert!(parse(br#"{"stop":{"name":"../x"}}"#).is_err());
        assert!(parse(b"{\"stop\":{\"name\":\"\xff\"}}").is_err());
        assert!(
            parse(br#"{"create":{"name":"a","base":{"template":"debian","release":"x","hook":"y"},"limits":{}}}"#)
                .is_err()
        );
    }
}
