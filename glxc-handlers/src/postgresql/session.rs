//! Connections to the server: who logs in, with which settings, and its errors in its own words.

use std::fmt;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use postgres::config::Config;
use postgres::error::{DbError, ErrorPosition, SqlState};
use postgres::{Client, NoTls, SimpleQueryMessage};
use rustix::process::{Uid, geteuid};
use rustix::thread::set_thread_res_uid;

use super::settings::{Server, Target};
use super::sql::{ident, literal};
use crate::{Cx, Error, Result, engine};

/// Databases that every server has, for what concerns no database of ours.
const MAINTENANCE: [&str; 2] = ["postgres", "template1"];
/// How long is waited for locks of the application before giving up, where the server is not set to wait less.
pub(super) const LOCK_TIMEOUT: Duration = Duration::from_secs(10);

/// What every session sets, whatever the database or the role says (`ALTER DATABASE ... SET`). The text form of values
/// depends on most of it, and so does what a statement means.
const SETTINGS: &[(&str, &str)] = &[
    ("search_path", ""),
    ("datestyle", "ISO, MDY"),
    ("intervalstyle", "postgres"),
    ("extra_float_digits", "3"),
    ("bytea_output", "hex"),
    ("timezone", "UTC"),
    ("lc_monetary", "C"),
    // It costs more than it saves on queries over the catalogs.
    ("jit", "off"),
    ("quote_all_identifiers", "off"),
    ("standard_conforming_strings", "on"),
    ("row_security", "off"),
    ("synchronize_seqscans", "off"),
    ("xmlbinary", "base64"),
    ("xmloption", "content"),
    ("array_nulls", "on"),
    ("transform_null_equals", "off"),
    ("check_function_bodies", "off"),
    ("client_min_messages", "warning"),
    ("default_transaction_isolation", "read committed"),
    ("default_transaction_read_only", "off"),
    ("default_transaction_deferrable", "off"),
    ("default_tablespace", ""),
    ("default_table_access_method", "heap"),
    ("session_replication_role", "origin"),
    // What is reported as committed is recorded as such at once, and must not be lost with the server.
    ("synchronous_commit", "on"),
    ("statement_timeout", "0"),
    ("idle_in_transaction_session_timeout", "0"),
];

/// Settings that only some versions know, by the first version that does.
const NEWER_SETTINGS: &[(u32, &str, &str)] = &[
    // A killed client must not leave a backend behind that goes on and keeps its locks.
    (140_000, "client_connection_check_interval", "2s"),
    (140_000, "idle_session_timeout", "0"),
    (170_000, "transaction_timeout", "0"),
    (170_000, "event_triggers", "off"),
];

/// The server's own words about an error.
#[derive(Debug, thiserror::Error)]
#[error("{}", words(.error))]
pub(super) struct ServerError {
    /// The driver's error.
    error: postgres::Error,
}

impl ServerError {
    fn db(&self) -> Option<&DbError> {
        self.error.as_db_error()
    }
}

/// Message, detail, hint and context, a line each.
fn words(error: &postgres::Error) -> String {
    let Some(db) = error.as_db_error() else {
        let mut words = error.to_string();
        let mut cause = std::error::Error::source(error);
        while let Some(next) = cause {
            words = format!("{words}: {next}");
            cause = next.source();
        }
        return words;
    };
    let mut words = format!("{}: {}", db.severity(), db.message());
    let parts = [("DETAIL", db.detail()), ("HINT", db.hint()), ("CONTEXT", db.where_())];
    for (title, text) in parts.into_iter().filter_map(|(title, text)| Some((title, text?))) {
        words.push_str(&format!("\n{title}: {text}"));
    }
    if let Some(ErrorPosition::Internal { query, .. }) = db.position() {
        words.push_str(&format!("\nQUERY: {query}"));
    }
    words
}

/// A failed statement, as a function for `map_err`.
pub(super) fn failed(context: impl Into<String>) -> impl FnOnce(postgres::Error) -> Error {
    let context = context.into();
    move |error| Error::Engine { context, source: Box::new(ServerError { error }) }
}

/// A failed COPY, whose error the driver wraps, as a function for `map_err`.
pub(super) fn failed_io(context: impl Into<String>) -> impl FnOnce(io::Error) -> Error {
    let context = context.into();
    move |error| match error.downcast::<postgres::Error>() {
        Ok(error) => failed(context)(error),
        Err(error) => Error::Engine { context, source: error.into() },
    }
}

/// What the server said, where an error comes from it.
pub(super) fn server_error(error: &Error) -> Option<&DbError> {
    let Error::Engine { source, .. } = error else { return None };
    source.downcast_ref::<ServerError>()?.db()
}

/// Message and detail, in one line.
pub(super) fn brief(error: &DbError) -> String {
    match error.detail() {
        Some(detail) => format!("{}: {detail}", error.message()),
        None => error.message().to_owned(),
    }
}

/// An error about a rule that rows violate as that, with the error itself as the cause.
pub(super) fn as_violation(error: Error) -> Error {
    match server_error(&error).filter(|db| db.code().code().starts_with("23")).map(brief) {
        Some(message) => Error::Violation { message, source: Some(error.into()) },
        None => error,
    }
}

/// The server's code of an error.
pub(super) fn code(error: &Error) -> Option<&SqlState> {
    server_error(error).map(DbError::code)
}

/// A connection with every setting pinned.
pub(super) struct Session {
    client: Client,
    /// `server_version_num`.
    pub version: u32,
    /// How long to wait for locks: [`LOCK_TIMEOUT`], or less where the server, the database or the role says so.
    pub lock_timeout: Duration,
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session").field("version", &self.version).finish_non_exhaustive()
    }
}

/// The lock time-out, which is shown with a unit. (`pg_settings` would list them all.)
const MILLISECONDS: &str =
    "SELECT (1000 * extract(epoch FROM pg_catalog.current_setting('lock_timeout')::interval))::bigint";

impl Session {
    /// Connects to a database. `name` is what tells this operation's backends from others: `glxc:<op>`.
    pub fn connect(target: &Target, database: &str, name: &str) -> Result<Self> {
        let _span = tracing::debug_span!("connect").entered();
        let mut config = Config::new();
        config.user(&target.user).dbname(database).port(target.port).application_name(name);
        config.connect_timeout(Duration::from_secs(10));
        match &target.server {
            Server::Socket(folder) => config.host_path(folder),
            Server::Address(address) => config.host(&address.to_string()),
        };
        if let Some(path) = &target.password_file {
            let password = std::fs::read_to_string(path).map_err(Error::io("read", path))?;
            config.password(password.trim_end_matches(['\r', '\n']));
        }
        let client = as_user(login(target)?, || config.connect(NoTls))?
            .map_err(failed(format!("connect to database {}", ident(database))))?;
        Session { client, version: 0, lock_timeout: LOCK_TIMEOUT }.pinned()
    }

    /// Connects to the state's own database.
    ///
    /// # Errors
    /// [`Error::Gone`] where it does not exist.
    pub fn live(target: &Target, name: &str) -> Result<Self> {
        match Session::connect(target, &target.database, name) {
            Err(error) if code(&error) == Some(&SqlState::UNDEFINED_DATABASE) => {
                Err(Error::Gone { what: format!("database {}", target.database.escape_debug()) })
            }
            other => other,
        }
    }

    /// Connects to a database that every server has, and that is not the state's own: that one may be renamed.
    pub fn maintenance(target: &Target, name: &str) -> Result<Self> {
        let [first, second] = MAINTENANCE;
        if target.database == first {
            return Session::connect(target, second, name);
        }
        match Session::connect(target, first, name) {
            Err(error) if code(&error) == Some(&SqlState::UNDEFINED_DATABASE) => Session::connect(target, second, name),
            other => other,
        }
    }

    fn pinned(mut self) -> Result<Self> {
        let set = |name: &str, value: &str| format!("SET {name} = {};", literal(value));
        // The search path first: until then a hostile one may decide what a name means.
        let all: String = SETTINGS.iter().map(|(name, value)| set(name, value)).collect();
        self.run("set up the session", &all)?;
        let version = self.value("ask for the version", "SHOW server_version_num")?;
        self.version = version.parse().map_err(Error::engine("read the server's version"))?;
        if self.version < 130_000 {
            return Err(Error::Unsupported { what: format!("PostgreSQL before 13 ({version})") });
        }
        self.bound_waits()?;
        let newer = NEWER_SETTINGS.iter().filter(|(since, ..)| self.version >= *since);
        let newer: String = newer.map(|(_, name, value)| set(name, value)).collect();
        self.run("set up the session", &newer)?;
        Ok(self)
    }

    /// No statement waits without an end. Who bounds how long others queue up behind a lock means us, too.
    fn bound_waits(&mut self) -> Result<()> {
        let set = self.value("ask for the lock time-out", MILLISECONDS)?;
        let set = Duration::from_millis(set.parse().map_err(Error::engine("read the lock time-out"))?);
        if !set.is_zero() {
            self.lock_timeout = set.min(LOCK_TIMEOUT);
        }
        self.run("set the lock time-out", &format!("SET lock_timeout = {}", self.lock_timeout.as_millis()))
    }

    /// Refuses to expand views and foreign tables, whose owner decides what that runs. Older minor releases do not
    /// know how.
    pub fn restrict_views(&mut self) -> Result<()> {
        match self.run("set up the session", "SET restrict_nonsystem_relation_kind = 'view, foreign-table'") {
            Err(error) if code(&error) == Some(&SqlState::UNDEFINED_OBJECT) => Ok(()),
            other => other,
        }
    }

    /// Runs statements without a result.
    pub fn run(&mut self, context: &str, sql: &str) -> Result<()> {
        self.client.batch_execute(sql).map_err(failed(context))
    }

    /// The rows of a query, as the server prints them.
    pub fn rows(&mut self, context: &str, sql: &str) -> Result<Vec<Vec<Option<String>>>> {
        let messages = self.client.simple_query(sql).map_err(failed(context))?;
        let row = |message| match message {
            SimpleQueryMessage::Row(row) => Some((0..row.len()).map(|at| row.get(at).map(String::from)).collect()),
            _ => None,
        };
        Ok(messages.into_iter().filter_map(row).collect())
    }

    /// The first column of a query; NULL is the empty text.
    pub fn column(&mut self, context: &str, sql: &str) -> Result<Vec<String>> {
        let first = |row: Vec<Option<String>>| row.into_iter().next().flatten().unwrap_or_default();
        Ok(self.rows(context, sql)?.into_iter().map(first).collect())
    }

    /// The one value of a query.
    pub fn value(&mut self, context: &str, sql: &str) -> Result<String> {
        let missing = || Error::Engine { context: context.into(), source: "no row".into() };
        self.column(context, sql)?.into_iter().next().ok_or_else(missing)
    }

    /// The one truth value of a query.
    pub fn holds(&mut self, context: &str, sql: &str) -> Result<bool> {
        Ok(self.value(context, sql)? == "t")
    }

    /// The driver's connection, for COPY and for the catalogs.
    pub fn client(&mut self) -> &mut Client {
        &mut self.client
    }

    /// Gives the driver's connection away.
    pub fn into_client(self) -> Client {
        self.client
    }

    /// Whether a database exists.
    pub fn has_database(&mut self, name: &str) -> Result<bool> {
        let sql = format!("SELECT EXISTS (SELECT FROM pg_database WHERE datname = {})", literal(name));
        self.holds("look for the database", &sql)
    }
}

/// While it lives, a request to stop, or the deadline, ends the statement that a session runs.
#[derive(Debug)]
pub(super) struct Watch {
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
    /// A statement was ended since the session had waited for locks for too long.
    impatient: Arc<AtomicBool>,
}

impl Watch {
    /// Begins to watch for a session.
    pub fn new(session: &Session, cx: &Cx<'_>) -> Self {
        Watch::start(session, cx, None)
    }

    /// The same, and bounds how long the session waits for locks in all. The server itself only knows a bound for each.
    pub fn of_locks(session: &mut Session, target: &Target, name: &str, cx: &Cx<'_>) -> Result<Self> {
        let pid = session.value("ask for the backend", "SELECT pg_backend_pid()")?;
        let (target, name, left) = (target.clone(), name.to_owned(), session.lock_timeout);
        Ok(Watch::start(session, cx, Some(Waits { target, name, pid, left, beside: None })))
    }

    fn start(session: &Session, cx: &Cx<'_>, mut waits: Option<Waits>) -> Self {
        let (stop, stopped) = channel();
        let (token, cancel, deadline) = (session.client.cancel_token(), cx.cancel.clone(), cx.deadline);
        let impatient = Arc::new(AtomicBool::new(false));
        let tell = impatient.clone();
        let thread = thread::spawn(move || {
            let mut last = Instant::now();
            while stopped.recv_timeout(Duration::from_millis(100)) == Err(RecvTimeoutError::Timeout) {
                if waits.as_mut().is_some_and(|waits| waits.are_over(&mut last)) {
                    tell.store(true, Ordering::SeqCst);
                }
                let stop = cancel.is_cancelled() || deadline.is_some_and(|deadline| Instant::now() >= deadline);
                if (stop || tell.load(Ordering::SeqCst))
                    && let Err(error) = token.cancel_query(NoTls)
                {
                    tracing::debug!(%error, "a statement could not be cancelled");
                }
            }
        });
        Watch { stop: Some(stop), thread: Some(thread), impatient }
    }

    /// Whether the session had waited for locks for too long.
    pub fn was_impatient(&self) -> bool {
        self.impatient.load(Ordering::SeqCst)
    }

    /// An error that came of a request to stop, as that.
    pub fn explain(error: Error, cx: &Cx<'_>) -> Error {
        match code(&error) {
            Some(&SqlState::QUERY_CANCELED) => cx.check().err().unwrap_or(error),
            _ => error,
        }
    }
}

/// How long a session may still wait for locks, looked at now and then from a session beside it.
#[derive(Debug)]
struct Waits {
    target: Target,
    name: String,
    pid: String,
    left: Duration,
    /// Opened at the first look, which most do not live to see.
    beside: Option<Session>,
}

impl Waits {
    /// Looks whether the session waits, and takes the time since `last` as waited if so. Whether nothing is left.
    fn are_over(&mut self, last: &mut Instant) -> bool {
        let since = std::mem::replace(last, Instant::now());
        match self.waits() {
            Ok(true) => self.left = self.left.saturating_sub(since.elapsed()),
            Ok(false) => {}
            // Each wait has its bound still.
            Err(error) => tracing::debug!(%error, "whether a session waits for a lock is not known"),
        }
        self.left.is_zero()
    }

    fn waits(&mut self) -> Result<bool> {
        let beside = match &mut self.beside {
            Some(beside) => beside,
            none => none.insert(Session::connect(&self.target, &self.target.database, &self.name)?),
        };
        let sql = format!(
            "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE pid = {} AND wait_event_type = 'Lock')",
            self.pid
        );
        beside.holds("look whether a session waits", &sql)
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        drop(self.stop.take());
        // Until it ended, it might still cancel the next statement.
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            tracing::debug!("the thread that watches for a request to stop panicked");
        }
    }
}

/// Waits until the server answers, until the deadline.
pub(super) fn wait(target: &Target, cx: &Cx<'_>) -> Result<()> {
    engine::wait("PostgreSQL", || Session::maintenance(target, "glxc:ready").map(drop), is_starting, cx)
}

/// Whether a failed connection may succeed a little later.
fn is_starting(error: &Error) -> bool {
    match code(error) {
        Some(code) => matches!(*code, SqlState::CANNOT_CONNECT_NOW | SqlState::TOO_MANY_CONNECTIONS),
        // No answer at all: no socket yet, or refused.
        None => matches!(error, Error::Engine { .. }),
    }
}

/// The user of the system as whom to log in. Peer login compares it with the user of the database; root is refused.
fn login(target: &Target) -> Result<Option<Uid>> {
    let by_socket = matches!(target.server, Server::Socket(_)) && target.password_file.is_none();
    if !by_socket || !geteuid().is_root() {
        return Ok(None);
    }
    let path = Path::new("/etc/passwd");
    let users = std::fs::read(path).map_err(Error::io("read", path))?;
    Ok(find_user(&users, &target.user).filter(|uid| !uid.is_root()))
}

/// Finds a user without the C library, whose modules can not be loaded into a static program.
fn find_user(passwd: &[u8], name: &str) -> Option<Uid> {
    let mut lines = passwd.split(|b| *b == b'\n').map(|line| line.split(|b| *b == b':'));
    let mut fields = lines.find_map(|mut fields| (fields.next()? == name.as_bytes()).then_some(fields))?;
    let uid = std::str::from_utf8(fields.nth(1)?).ok()?.parse().ok()?;
    // The largest number means "leave it" to the kernel.
    (uid != u32::MAX).then(|| Uid::from_raw(uid))
}

/// Calls a function as another user, in a thread of its own, so that nothing needs to be put back.
fn as_user<T: Send>(uid: Option<Uid>, call: impl FnOnce() -> T + Send) -> Result<T> {
    let Some(uid) = uid else { return Ok(call()) };
    let become_user = || set_thread_res_uid(None, uid, None).map_err(io::Error::from);
    thread::scope(|scope| scope.spawn(|| become_user().map(|()| call())).join())
        .unwrap_or_else(|_| Err(io::Error::other("the thread panicked")))
        .map_err(Error::engine("log in as the user of the database"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_are_found_by_whole_name() {
        let passwd =
            b"root:x:0:0::/root:/bin/sh\npostgresx:x:7:7::/:/bin/sh\npostgres:x:101:104:,,,:/:/bin/sh\nbad:x\n";
        assert_eq!(find_user(passwd, "postgres"), Some(Uid::from_raw(101)));
        assert_eq!(find_user(passwd, "postgre"), None);
        assert_eq!(find_user(passwd, "bad"), None);
    }
}
