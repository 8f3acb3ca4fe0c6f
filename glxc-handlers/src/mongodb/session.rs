//! A connection: commands to the server and its answers, as raw BSON over its unix socket or a port of the loopback.
//!
//! Of the protocol it takes one message (OP_MSG) each way, so the client is here: the official one resolves documents that have a
//! name twice, cannot be built without a TLS library, and keeps threads beside the program.

use std::fmt;
use std::fs::{self, File};
use std::io::{self, BufWriter, Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::path::Path;

use super::scram::Attempt;
use super::settings::{Login, Place, Target};
use crate::bson::{Builder, Element, elements, field};
use crate::{Cx, Error, Result, engine};

/// The code of the message, and of its parts.
const OP_MSG: i32 = 2013;
/// No answer is longer: a server sends at most 48,000,000 bytes.
const LONGEST: usize = 64 << 20;
/// The type of bytes.
const BINARY: u8 = 5;
/// Documents that an answer holds at most; their bytes are bounded by the server.
const BATCH: i32 = 256;
/// MongoDB 4.4, and 8.0, by the version of their protocol.
const OLDEST: i64 = 9;
const KEEPS_TIMESTAMPS: i64 = 25;

/// What the server says where it refuses.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{message}")]
pub(super) struct Refusal {
    pub code: i64,
    pub message: String,
}

/// Codes of refusals.
pub(super) const NOT_FOUND: i64 = 26;
pub(super) const DUPLICATE: i64 = 11000;

/// The server's code of an error.
pub(super) fn code(error: &Error) -> Option<i64> {
    let Error::Engine { source, .. } = error else { return None };
    source.downcast_ref::<Refusal>().map(|refusal| refusal.code)
}

/// What a connection needs of its stream.
trait Stream: Read + Write + Send {}
impl<S: Read + Write + Send> Stream for S {}

fn open(place: &Place) -> io::Result<Box<dyn Stream>> {
    match place {
        Place::Socket(socket) => Ok(Box::new(UnixStream::connect(socket)?)),
        Place::Port(port) => {
            let stream = TcpStream::connect(Place::address(*port))?;
            stream.set_nodelay(true)?;
            Ok(Box::new(stream))
        }
    }
}

/// A connection to one database.
pub(super) struct Session {
    stream: Box<dyn Stream>,
    database: String,
    number: i32,
    version: i64,
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session").field("database", &self.database).finish_non_exhaustive()
    }
}

impl Session {
    pub fn connect(target: &Target) -> Result<Self> {
        let context = format!("connect to {}", target.place);
        let stream = open(&target.place).map_err(Error::engine(context))?;
        let mut session = Session { stream, database: target.database.clone(), number: 0, version: 0 };
        let hello = session.run_on("admin", "ask for the server's kind", Builder::new().int32("hello", 1))?;
        if field(&hello, "msg").and_then(|kind| kind.text()) == Some("isdbgrid") {
            return Err(Error::Unsupported { what: "a sharded cluster".into() });
        }
        session.version = field(&hello, "maxWireVersion").and_then(|version| version.number()).unwrap_or_default();
        if session.version < OLDEST {
            return Err(Error::Unsupported { what: "a server before MongoDB 4.4".into() });
        }
        if field(&hello, "isWritablePrimary").and_then(|so| so.number()) != Some(1) {
            return Err(Error::Unsupported { what: "a server that is not the primary of its replica set".into() });
        }
        if let Some(login) = &target.login {
            session.log_in(login)?;
        }
        Ok(session)
    }

    /// Logs in as an account of the database `admin`.
    fn log_in(&mut self, login: &Login) -> Result<()> {
        let context = format!("log in as {}", login.user);
        let wrong = |what: &str| Error::Engine { context: context.clone(), source: what.into() };
        let password = fs::read_to_string(&login.password_file).map_err(Error::io("read", &login.password_file))?;
        let password = password.trim_end_matches(['\r', '\n']);
        if !password.bytes().all(|byte| (b' '..=b'~').contains(&byte)) {
            return Err(Error::Unsupported { what: "a password of other characters than printable ASCII".into() });
        }
        let mut random = [0; 18];
        let source = Path::new("/dev/urandom");
        File::open(source).and_then(|mut file| file.read_exact(&mut random)).map_err(Error::io("read", source))?;
        let attempt = Attempt::new(&login.user, &random);
        let start = Builder::new().int32("saslStart", 1).text("mechanism", "SCRAM-SHA-256");
        let answer = self.run_on("admin", &context, payload(start, &attempt.first()))?;
        let (proof, last) = said(&answer)
            .and_then(|said| attempt.proof(password, said))
            .ok_or_else(|| wrong("an answer that is not of SCRAM-SHA-256"))?;
        let number = field(&answer, "conversationId").and_then(|id| id.number()).unwrap_or_default();
        let go_on = || Builder::new().int32("saslContinue", 1).int32("conversationId", number as i32);
        let answer = self.run_on("admin", &context, payload(go_on(), &proof))?;
        if said(&answer) != Some(last.as_str()) {
            return Err(wrong("the server does not know the password"));
        }
        match field(&answer, "done").and_then(|done| done.number()) {
            Some(1) => Ok(()),
            _ => self.run_on("admin", &context, payload(go_on(), "")).map(drop),
        }
    }

    /// Runs a command.
    pub fn run(&mut self, context: &str, command: Builder) -> Result<Vec<u8>> {
        let database = self.database.clone();
        self.run_on(&database, context, command)
    }

    fn run_on(&mut self, database: &str, context: &str, command: Builder) -> Result<Vec<u8>> {
        let answer = self.call(command.text("$db", database).done(), None).map_err(Error::engine(context))?;
        accepted(&answer).map_err(Error::engine(context))?;
        Ok(answer)
    }

    /// Gives a collection another name.
    pub fn rename(&mut self, from: &str, to: &str) -> Result<()> {
        let full = |name: &str| format!("{}.{name}", self.database);
        let command = Builder::new().text("renameCollection", &full(from)).text("to", &full(to));
        self.run_on("admin", &format!("rename {from}"), command).map(drop)
    }

    /// Drops a collection or a view; that there is none is no error.
    pub fn drop(&mut self, name: &str) -> Result<()> {
        match self.run(&format!("drop {name}"), Builder::new().text("drop", name)) {
            Err(error) if code(&error) == Some(NOT_FOUND) => Ok(()),
            other => other.map(drop),
        }
    }

    /// How many documents there are, but `most` at most (0: all). They are looked at: the server's own count may be an old one.
    pub fn count(&mut self, name: &str, most: i32) -> Result<u64> {
        let ids = Builder::new().int32("_id", 1).done();
        let query = Builder::new().text("find", name).document("projection", &ids).int32("limit", most);
        let mut count = 0;
        self.each(&format!("count {name}"), query, |_| {
            count += 1;
            Ok(())
        })?;
        Ok(count)
    }

    /// Writes: `statements` are the documents, updates or deletes of the command. What was refused, by its number.
    pub fn write(
        &mut self, collection: &str, verb: &str, name: &str, statements: &[&[u8]],
    ) -> Result<Vec<(usize, Refusal)>> {
        let context = format!("write to {collection}");
        let durable = Builder::new().text("w", "majority").boolean("j", true).done();
        let mut command = Builder::new().text(verb, collection).boolean("ordered", false);
        if verb != "delete" {
            command = command.boolean("bypassDocumentValidation", true);
            if self.version >= KEEPS_TIMESTAMPS {
                command = command.boolean("bypassEmptyTsReplacement", true);
            }
        }
        let body = command.document("writeConcern", &durable).text("$db", &self.database).done();
        let answer = self.call(body, Some((name, statements))).map_err(Error::engine(context.as_str()))?;
        accepted(&answer).map_err(Error::engine(context.as_str()))?;
        if let Some(error) = field(&answer, "writeConcernError").and_then(|error| error.document()) {
            return Err(Error::Engine { context, source: refusal(error).into() });
        }
        let errors = field(&answer, "writeErrors").and_then(|errors| errors.document());
        let errors = errors.map_or(Ok(Vec::new()), |errors| documents(errors).map_err(Error::engine(context)))?;
        let number = |error: &[u8]| field(error, "index").and_then(|n| n.number()).unwrap_or_default() as usize;
        Ok(errors.into_iter().map(|error| (number(error), refusal(error))).collect())
    }

    /// Calls with each document that a command answers by a cursor.
    pub fn each(&mut self, context: &str, command: Builder, mut act: impl FnMut(&[u8]) -> Result<()>) -> Result<()> {
        let mut answer = self.run(context, command)?;
        let mut batch = "firstBatch";
        loop {
            let cursor = field(&answer, "cursor").and_then(|cursor| cursor.document()).unwrap_or_default();
            let documents_of = |name| field(cursor, name).and_then(|batch| batch.document());
            let Some(rows) = documents_of(batch) else {
                return Err(Error::Engine { context: context.into(), source: "an answer without documents".into() });
            };
            documents(rows).map_err(Error::engine(context))?.into_iter().try_for_each(&mut act)?;
            let id = field(cursor, "id").and_then(|id| id.number()).unwrap_or_default();
            if id == 0 {
                return Ok(());
            }
            let name = field(cursor, "ns").and_then(|name| name.text()).unwrap_or_default();
            let name = name.split_once('.').map_or(name, |(_, name)| name).to_owned();
            let more = Builder::new().int64("getMore", id).text("collection", &name).int32("batchSize", BATCH);
            answer = self.run(context, more)?;
            batch = "nextBatch";
        }
    }

    /// The first batch of a query that is to be answered in parts.
    pub fn batched(command: Builder) -> Builder {
        command.int32("batchSize", BATCH)
    }

    /// Sends one message and reads its answer. What is large is not copied for it.
    fn call(&mut self, body: Vec<u8>, statements: Option<(&str, &[&[u8]])>) -> io::Result<Vec<u8>> {
        self.number = self.number.wrapping_add(1);
        let mut section = Vec::new();
        let (name, statements) = statements.unwrap_or_default();
        let mut length = 21 + body.len();
        if !statements.is_empty() {
            let size = 4 + name.len() + 1 + statements.iter().map(|statement| statement.len()).sum::<usize>();
            section = [&[1], &(size as i32).to_le_bytes()[..], name.as_bytes(), &[0]].concat();
            length += 1 + size;
        }
        let header = [length as i32, self.number, 0, OP_MSG, 0].map(i32::to_le_bytes);
        let mut output = BufWriter::with_capacity(64 << 10, &mut self.stream);
        for part in [header.as_flattened(), &[0], &body, &section].iter().chain(statements) {
            output.write_all(part)?;
        }
        output.flush()?;
        drop(output);
        let mut header = [0; 21];
        self.stream.read_exact(&mut header)?;
        let length = i32::from_le_bytes([header[0], header[1], header[2], header[3]]);
        let length = usize::try_from(length).ok().filter(|length| (26..=LONGEST).contains(length));
        let known = header[12..16] == OP_MSG.to_le_bytes() && header[16..20] == [0; 4] && header[20] == 0;
        let Some(length) = length.filter(|_| known) else {
            return Err(io::Error::other("an answer that is not of this protocol"));
        };
        let mut answer = vec![0; length - 21];
        self.stream.read_exact(&mut answer)?;
        Ok(answer)
    }
}

/// A step of a login.
fn payload(command: Builder, text: &str) -> Builder {
    let length = text.len() as i32;
    command.value("payload", BINARY, &[&length.to_le_bytes()[..], &[0], text.as_bytes()].concat())
}

/// What the server says in a step of a login.
fn said(answer: &[u8]) -> Option<&str> {
    let payload = field(answer, "payload").filter(|payload| payload.kind == BINARY)?;
    std::str::from_utf8(payload.value.get(5..)?).ok()
}

/// The documents of an array.
fn documents(array: &[u8]) -> std::result::Result<Vec<&[u8]>, crate::bson::BadDocument> {
    elements(array)?.map(|element| Ok(element?.document().unwrap_or_default())).collect()
}

fn accepted(answer: &[u8]) -> std::result::Result<(), Refusal> {
    match field(answer, "ok").and_then(|ok| ok.number()) {
        Some(1) => Ok(()),
        _ => Err(refusal(answer)),
    }
}

fn refusal(answer: &[u8]) -> Refusal {
    let text = |element: Element<'_>| element.text().map(str::to_owned);
    Refusal {
        code: field(answer, "code").and_then(|code| code.number()).unwrap_or_default(),
        message: field(answer, "errmsg").and_then(text).unwrap_or_else(|| "refused without a reason".into()),
    }
}

/// Waits until the server answers, until the deadline.
pub(super) fn wait(target: &Target, cx: &Cx<'_>) -> Result<()> {
    let is_starting = |error: &Error| matches!(error, Error::Engine { source, .. } if source.is::<io::Error>());
    engine::wait("the MongoDB server", || Session::connect(target).map(drop), is_starting, cx)
}
