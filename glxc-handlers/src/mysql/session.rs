//! Connections to the server: with which settings, and its errors in its own words.

use std::fmt;
use std::time::Instant;

use mysql::prelude::Queryable;
use mysql::{Conn, OptsBuilder, Value};

use super::product::Product;
use super::settings::Target;
use super::sql::{ident, literal};
use crate::{Cx, Error, Result, engine};

/// A row as the server sends it: text, or the bytes of what is not text. `None` is NULL.
pub(super) type Row = Vec<Option<Vec<u8>>>;

/// How long is waited for locks of the application before giving up, in seconds.
const LOCK_TIMEOUT: u64 = 10;

/// The most that one packet may have: the protocol's own bound.
const LONGEST_PACKET: usize = 1 << 30;

/// The character set of statements and constants.
const NAMES: &str = "SET NAMES utf8mb4 COLLATE utf8mb4_general_ci";

/// The modes of every session, but for STRICT_ALL_TABLES: dates that older servers took are kept, and so is the number 0.
const LOOSE: &str = "ALLOW_INVALID_DATES,NO_AUTO_VALUE_ON_ZERO,NO_ENGINE_SUBSTITUTION";

/// The code of the warning that something of a statement will be gone some day.
const DEPRECATED: u16 = 1287;

/// The code of the error that a statement can not be prepared.
const NOT_PREPARED: u16 = 1295;

/// A failed statement, as a function for `map_err`.
pub(super) fn failed(context: impl Into<String>) -> impl FnOnce(mysql::Error) -> Error {
    Error::engine(context)
}

/// A warning that is as good as an error.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
struct Warning {
    code: u16,
    message: String,
}

/// The server's code of an error.
pub(super) fn code(error: &Error) -> Option<u16> {
    let Error::Engine { source, .. } = error else { return None };
    if let Some(warning) = source.downcast_ref::<Warning>() {
        return Some(warning.code);
    }
    match source.downcast_ref::<mysql::Error>()? {
        mysql::Error::MySqlError(error) => Some(error.code),
        _ => None,
    }
}

/// Whether an error is a warning: the statement has written its rows.
pub(super) fn is_warning(error: &Error) -> bool {
    matches!(error, Error::Engine { source, .. } if source.is::<Warning>())
}

/// The server's words of an error.
pub(super) fn words(error: &Error) -> Option<String> {
    let (Error::Engine { source, .. } | Error::Input { source: Some(source), .. }) = error else { return None };
    if let Some(inner) = source.downcast_ref::<Error>() {
        return words(inner);
    }
    match source.downcast_ref::<mysql::Error>()? {
        mysql::Error::MySqlError(error) => Some(error.message.clone()),
        _ => None,
    }
}

/// A connection with every setting pinned.
pub(super) struct Session {
    conn: Conn,
    /// It was left amid a result, and can not be used any more.
    broken: bool,
    /// Whose server it is.
    pub product: Product,
    /// The longest statement that the server takes, in bytes.
    pub longest: usize,
    /// How many variables hold large values.
    held: usize,
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session").field("id", &self.conn.connection_id()).finish_non_exhaustive()
    }
}

impl Session {
    /// Connects to the server, to no database.
    pub fn connect(target: &Target) -> Result<Self> {
        let _span = tracing::debug_span!("connect").entered();
        let socket = target.socket.to_str().map(String::from);
        let options = OptsBuilder::new()
            .socket(Some(socket.ok_or_else(|| Error::option("socket", "is not UTF-8"))?))
            .user(Some(&target.user))
            .pass(password(target)?)
            .stmt_cache_size(0)
            .max_allowed_packet(Some(LONGEST_PACKET));
        let conn = Conn::new(options).map_err(failed(format!("connect to {}", target.socket.display())))?;
        Session { conn, broken: false, product: Product::default(), longest: 0, held: 0 }.pinned()
    }

    /// Connects to the state's own database.
    ///
    /// # Errors
    /// [`Error::Gone`] where it does not exist.
    pub fn live(target: &Target) -> Result<Self> {
        let mut session = Session::connect(target)?;
        if !session.has_database(&target.database)? {
            return Err(Error::Gone { what: format!("database {}", target.database.escape_debug()) });
        }
        session.enter(&target.database)?;
        Ok(session)
    }

    /// Makes a database the current one.
    pub fn enter(&mut self, database: &str) -> Result<()> {
        self.run(&format!("enter the database {}", database.escape_debug()), &format!("USE {}", ident(database)))
    }

    fn pinned(mut self) -> Result<Self> {
        self.run("set up the session", NAMES)?;
        self.product = Product::of(&self.value("ask for the version", "SELECT VERSION()")?)?;
        self.require_rights()?;
        let settings = self.product.settings().map(|(name, value)| format!("SESSION {name} = {value}"));
        let waits = ["lock_wait_timeout", "innodb_lock_wait_timeout"];
        let waits = waits.map(|name| format!("SESSION {name} = CAST(LEAST({LOCK_TIMEOUT}, @@{name}) AS UNSIGNED)"));
        // Strict, so that nothing is coerced.
        let mode = [format!("SESSION sql_mode = '{LOOSE},STRICT_ALL_TABLES'")];
        let all = settings.chain(waits).chain(mode).collect::<Vec<_>>().join(", ");
        self.run("set up the session", &format!("SET {all}"))?;
        let longest = self.value("ask for the longest statement", "SELECT @@max_allowed_packet")?;
        self.longest = longest.parse().map_err(Error::engine("read the longest statement"))?;
        Ok(self)
    }

    /// Who may not see everything would export less without knowing it.
    fn require_rights(&mut self) -> Result<()> {
        let grants = self.texts("ask for the rights of the session", "SHOW GRANTS")?;
        if self.product.has_all_rights(&grants.concat()) {
            return Ok(());
        }
        Err(Error::option("user", "has not ALL PRIVILEGES ON *.*, so it does not see everything that there is"))
    }

    /// Runs a statement without a result.
    pub fn run(&mut self, context: &str, sql: &str) -> Result<()> {
        self.check(context)?;
        self.conn.query_drop(sql).map_err(failed(context))
    }

    /// Runs a statement that writes rows.
    ///
    /// # Errors
    /// Also where it had a warning: a value was rounded or cut. (That a name of the statement is an old one says nothing of it.)
    pub fn write(&mut self, context: &str, sql: &str) -> Result<()> {
        self.run(context, sql)?;
        match self.conn.warnings() {
            0 => Ok(()),
            _ => self.refuse_warnings(context, &[DEPRECATED]),
        }
    }

    /// Runs a statement that writes one row with a value that strict mode does not take, in each of these columns.
    ///
    /// # Errors
    /// Also where it warns of anything else.
    pub fn write_loosely(&mut self, context: &str, sql: &str, columns: &[&str]) -> Result<()> {
        self.run(context, &format!("SET SESSION sql_mode = '{LOOSE}'"))?;
        let written = self.run(context, sql);
        let warnings = self.warnings(context);
        self.run(context, &format!("SET SESSION sql_mode = '{LOOSE},STRICT_ALL_TABLES'"))?;
        written?;
        let expected = |Warning { code, message }: &Warning| {
            *code == DEPRECATED
                || *code == 1265 && columns.iter().any(|column| message.contains(&format!("column '{column}'")))
        };
        match warnings?.into_iter().find(|warning| !expected(warning)) {
            None => Ok(()),
            Some(warning) => Err(Error::Engine { context: context.into(), source: warning.into() }),
        }
    }

    /// Puts a large value into a variable, piece by piece, until [`Session::let_go`]: the driver copies each statement, so that
    /// one with the whole value would take several times its memory. The name of the variable.
    pub fn hold(&mut self, context: &str, pieces: impl Iterator<Item = String>) -> Result<String> {
        self.held += 1;
        let variable = format!("@glxc_{}", self.held);
        for (number, piece) in pieces.enumerate() {
            let before = if number > 0 { format!("{variable}, ") } else { String::new() };
            self.write(context, &format!("SET {variable} = CONCAT({before}{piece})"))?;
        }
        Ok(variable)
    }

    /// Whether variables hold values.
    pub fn holds(&self) -> bool {
        self.held > 0
    }

    /// Empties the variables.
    pub fn let_go(&mut self, context: &str) -> Result<()> {
        for number in 1..=std::mem::take(&mut self.held) {
            self.run(context, &format!("SET @glxc_{number} = NULL"))?;
        }
        Ok(())
    }

    /// Runs the statement of a definition under the settings that belong to it.
    pub fn create(&mut self, context: &str, settings: &[(&str, &str)], sql: &str) -> Result<()> {
        let set = |(name, value): &(&str, &str)| format!("SESSION {name} = {}", literal(value));
        if !settings.is_empty() {
            let all = settings.iter().map(set).collect::<Vec<_>>().join(", ");
            self.run("set up the session", &format!("SET {all}"))?;
        }
        // The protocol takes several statements in one message, but prepares one alone: the text is a stranger's. MySQL does not
        // prepare all kinds, and says so of one whole statement only.
        self.check(context)?;
        let created = match self.conn.prep(sql) {
            Ok(statement) => self.conn.exec_drop(statement, ()),
            Err(mysql::Error::MySqlError(error)) if error.code == NOT_PREPARED => self.conn.query_drop(sql),
            Err(error) => Err(error),
        };
        let created = created.map_err(failed(context));
        let mode = format!("SET SESSION sql_mode = '{LOOSE},STRICT_ALL_TABLES'");
        self.run("set up the session", NAMES)?;
        let others = "SESSION character_set_results = NULL, SESSION time_zone = '+00:00'";
        self.run("set up the session", &format!("{mode}, {others}"))?;
        created
    }

    /// The rows of a query.
    pub fn rows(&mut self, context: &str, sql: &str) -> Result<Vec<Row>> {
        let mut rows = Vec::new();
        self.each(context, sql, |row| {
            rows.push(row);
            Ok(())
        })?;
        Ok(rows)
    }

    /// Hands out the rows of a query as they come.
    ///
    /// # Errors
    /// Also where the query had a warning: the value of a function may be NULL only since it was too long.
    pub fn each(&mut self, context: &str, sql: &str, mut each: impl FnMut(Row) -> Result<()>) -> Result<()> {
        self.check(context)?;
        let mut result = self.conn.query_iter(sql).map_err(failed(context))?;
        for row in result.by_ref() {
            let handed =
                row.map_err(failed(context)).and_then(|row| each(row.unwrap().into_iter().map(bytes).collect()));
            if handed.is_err() {
                // Its end would read all the rest.
                std::mem::forget(result);
                self.broken = true;
                return handed;
            }
        }
        drop(result);
        match self.conn.warnings() {
            0 => Ok(()),
            // A function gave NULL since its value was too long, or a list lacks what somebody alters right now. (That text can
            // not be converted is seen by its bytes, and that a function has the name of one of the server's says nothing.)
            // The account of a definer may be gone: its text is whole.
            _ => self.refuse_warnings(context, &[DEPRECATED, 1300, 1366, 1449, 1585, 1977]),
        }
    }

    /// Fails where the statement before warned of anything else than what is known.
    fn refuse_warnings(&mut self, context: &str, known: &[u16]) -> Result<()> {
        match self.warnings(context)?.into_iter().find(|warning| !known.contains(&warning.code)) {
            None => Ok(()),
            Some(warning) => Err(Error::Engine { context: context.into(), source: warning.into() }),
        }
    }

    /// What the statement before warned of.
    fn warnings(&mut self, context: &str) -> Result<Vec<Warning>> {
        let rows: Vec<(String, u16, String)> = self.conn.query("SHOW WARNINGS").map_err(failed(context))?;
        Ok(rows.into_iter().map(|(_, code, message)| Warning { code, message }).collect())
    }

    /// The rows of a query over names and the like; NULL is the empty text.
    pub fn texts(&mut self, context: &str, sql: &str) -> Result<Vec<Vec<String>>> {
        let text = |value: Option<Vec<u8>>| {
            String::from_utf8(value.unwrap_or_default()).map_err(|_| Error::Engine {
                context: context.into(),
                source: "the server answers with text that is not UTF-8".into(),
            })
        };
        let rows = self.rows(context, sql)?;
        rows.into_iter().map(|row| row.into_iter().map(text).collect()).collect()
    }

    /// The first value of a query.
    pub fn value(&mut self, context: &str, sql: &str) -> Result<String> {
        let missing = || Error::Engine { context: context.into(), source: "no row".into() };
        self.texts(context, sql)?.into_iter().next().and_then(|row| row.into_iter().next()).ok_or_else(missing)
    }

    /// Whether a query over names has a row.
    pub fn finds(&mut self, context: &str, sql: &str) -> Result<bool> {
        Ok(!self.rows(context, sql)?.is_empty())
    }

    /// Whether a database exists.
    pub fn has_database(&mut self, name: &str) -> Result<bool> {
        let sql = format!("SELECT 1 FROM information_schema.SCHEMATA WHERE SCHEMA_NAME = {}", literal(name));
        self.finds("look for the database", &sql)
    }

    fn check(&self, context: &str) -> Result<()> {
        match self.broken {
            false => Ok(()),
            true => Err(Error::Engine { context: context.into(), source: "the session was left amid a result".into() }),
        }
    }
}

fn bytes(value: Value) -> Option<Vec<u8>> {
    match value {
        Value::NULL => None,
        Value::Bytes(bytes) => Some(bytes),
        // The text protocol has no other.
        other => Some(other.as_sql(true).into_bytes()),
    }
}

fn password(target: &Target) -> Result<Option<String>> {
    let Some(path) = &target.password_file else { return Ok(None) };
    let password = std::fs::read_to_string(path).map_err(Error::io("read", path))?;
    Ok(Some(password.trim_end_matches(['\r', '\n']).to_owned()))
}

/// Waits until the server answers, until the deadline.
pub(super) fn wait(target: &Target, cx: &Cx<'_>) -> Result<()> {
    engine::wait("the database server", || Session::connect(target).map(drop), is_starting, cx)
}

/// Whether a failed connection may succeed a little later: no answer at all, or too many connections.
fn is_starting(error: &Error) -> bool {
    match code(error) {
        Some(code) => code == 1040,
        None => matches!(error, Error::Engine { .. }),
    }
}

/// A lock that was not given, or a deadlock that the server resolved, as the time-out that it is.
pub(super) fn as_timeout(error: Error, start: Instant) -> Error {
    match (&error, code(&error)) {
        (Error::Engine { context, .. }, Some(1205 | 1213)) => {
            Error::Timeout { what: format!("the database server, asked to {context},"), after: start.elapsed() }
        }
        _ => error,
    }
}
