//! The statements that a schema file may hold: a closed list.

use std::ops::Range;

use super::settings::DATABASE;
use super::sql::{self, Statement, Token, TokenKind};
use crate::{Error, Result, StatePath};

/// When a statement is run, and by whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Step {
    /// A role that must be there.
    Role,
    /// With what the database was created.
    Database,
    Schema,
    Extension,
    Type,
    Sequence,
    Function,
    Table,
    Attach,
    View,
    /// Constraints and indexes, those of partitions before those of the tables that they are part of.
    Index,
    ForeignKey,
    MaterializedView,
    Trigger,
    Alter,
    Refresh,
    /// From here on the superuser runs what evaluates nothing.
    Owner,
    Comment,
    Grant,
    DefaultPrivileges,
    DatabaseSetting,
}

impl Step {
    /// Whether it is run as the superuser.
    pub(super) fn by_superuser(self) -> bool {
        self >= Step::Owner || self == Step::Extension
    }
}

/// A statement with its place.
#[derive(Clone, Debug)]
pub(super) struct Placed {
    pub(super) step: Step,
    pub(super) file: StatePath,
    pub(super) statement: Statement,
}

impl Placed {
    /// An error at this statement.
    pub(super) fn error(&self, message: impl Into<String>) -> Error {
        Error::input(&self.file, self.statement.line, message)
    }

    /// The words at its start.
    pub(super) fn words(&self) -> Vec<&str> {
        self.statement.tokens.iter().map_while(Token::word).collect()
    }

    fn has(&self, word: &str) -> bool {
        self.statement.tokens.iter().any(|token| token.is(word))
    }

    fn ends(&self, words: &[&str]) -> bool {
        let tokens = &self.statement.tokens;
        tokens.len() >= words.len() && tokens[tokens.len() - words.len()..].iter().zip(words).all(|(t, w)| t.is(w))
    }

    /// The place of `current_database` after the word `DATABASE`.
    fn database(&self) -> Option<Range<usize>> {
        let mut pairs = self.statement.tokens.windows(2);
        let found = pairs.find(|pair| pair[0].is("DATABASE") && pair[1].is("CURRENT_DATABASE"));
        found.map(|pair| pair[1].span.clone())
    }

    /// The text with another name where the database is named.
    pub(super) fn for_database(&self, name: &str) -> String {
        let text = &self.statement.text;
        match self.database() {
            Some(place) => format!("{}{name}{}", &text[..place.start], &text[place.end..]),
            None => text.clone(),
        }
    }
}

/// Reads the statements of a file.
///
/// # Errors
/// [`Error::Input`] with the line of what is not allowed.
pub(super) fn read(file: &StatePath, bytes: &[u8]) -> Result<Vec<Placed>> {
    let text = std::str::from_utf8(bytes).map_err(|error| {
        let line = bytes[..error.valid_up_to()].iter().filter(|byte| **byte == b'\n').count() as u64 + 1;
        Error::input(file, line, "not UTF-8")
    })?;
    let statements = sql::split(text).map_err(|malformed| Error::input(file, malformed.line, malformed.message))?;
    statements.into_iter().map(|statement| place(file, statement)).collect()
}

fn place(file: &StatePath, statement: Statement) -> Result<Placed> {
    let mut placed = Placed { step: Step::Alter, file: file.clone(), statement };
    placed.step = step(&placed).map_err(|reason| placed.error(reason))?;
    let (home, own) = (home(&placed), file.as_str());
    let special = own.filter(|own| ["schema/roles.sql", "schema/database.sql"].contains(own));
    if home != special && !(home.is_none() && placed.step == Step::Grant) {
        let belongs = home.map_or(String::new(), |home| format!(" but in {home}"));
        return Err(placed.error(format!("this statement does not belong here{belongs}")));
    }
    Ok(placed)
}

/// The file that a statement must stand in, where it is not the file of an object.
fn home(placed: &Placed) -> Option<&'static str> {
    let database = placed.database().is_some();
    match placed.step {
        Step::Role => Some("schema/roles.sql"),
        Step::Database | Step::DatabaseSetting => Some("schema/database.sql"),
        Step::Comment | Step::Grant if database => Some("schema/database.sql"),
        _ => None,
    }
}

/// What a statement is, or why it is refused.
fn step(placed: &Placed) -> Result<Step, String> {
    let words = placed.words();
    match words.as_slice() {
        ["CREATE", "OR", "REPLACE", rest @ ..] | ["CREATE", rest @ ..] => create(placed, rest),
        ["ALTER", rest @ ..] => alter(placed, rest),
        ["COMMENT", "ON", kind, ..] if !matches!(*kind, "ROLE" | "TABLESPACE" | "LARGE" | "EVENT" | "SUBSCRIPTION") => {
            database_by_place(placed, kind, Step::Comment)
        }
        ["GRANT" | "REVOKE", ..] if placed.has("ON") => grant(placed),
        ["REFRESH", "MATERIALIZED", "VIEW", ..] => Ok(Step::Refresh),
        _ => Err(refused(placed)),
    }
}

fn refused(placed: &Placed) -> String {
    let words = placed.words();
    match words.as_slice() {
        [] => "not an SQL statement".into(),
        words => format!(
            "{} is not allowed here; a schema file holds definitions only",
            words[..words.len().min(3)].join(" ")
        ),
    }
}

fn create(placed: &Placed, words: &[&str]) -> Result<Step, String> {
    let step = match words {
        ["ROLE", ..] if placed.statement.tokens.len() == 3 => Step::Role,
        ["ROLE", ..] => return Err("a role is only named here: CREATE ROLE name".into()),
        ["DATABASE", "CURRENT_DATABASE", ..] => Step::Database,
        ["SCHEMA", ..] => Step::Schema,
        ["EXTENSION", ..] => Step::Extension,
        ["TYPE" | "DOMAIN", ..] => Step::Type,
        ["SEQUENCE", ..] | ["UNLOGGED", "SEQUENCE", ..] => Step::Sequence,
        ["FUNCTION" | "PROCEDURE" | "AGGREGATE", ..] => Step::Function,
        ["TABLE", ..] | ["UNLOGGED", "TABLE", ..] => table(placed)?,
        ["VIEW", ..] | ["RECURSIVE", "VIEW", ..] => Step::View,
        ["MATERIALIZED", "VIEW", ..] if placed.ends(&["WITH", "NO", "DATA"]) => Step::MaterializedView,
        ["MATERIALIZED", "VIEW", ..] => return Err("CREATE MATERIALIZED VIEW must end in WITH NO DATA".into()),
        ["INDEX" | "UNIQUE", ..] if placed.has("CONCURRENTLY") => return Err("CONCURRENTLY is not allowed here".into()),
        ["INDEX", ..] | ["UNIQUE", "INDEX", ..] => Step::Index,
        ["RULE" | "TRIGGER" | "POLICY" | "STATISTICS", ..] | ["CONSTRAINT", "TRIGGER", ..] => Step::Trigger,
        _ => return Err(refused(placed)),
    };
    Ok(step)
}

/// A table, but none that is filled by a query: its `AS` stands outside of parentheses.
fn table(placed: &Placed) -> Result<Step, String> {
    let mut depth = 0;
    for token in &placed.statement.tokens {
        match &token.kind {
            TokenKind::Symbol('(') => depth += 1,
            TokenKind::Symbol(')') => depth -= 1,
            TokenKind::Word(word) if depth == 0 && matches!(word.as_str(), "AS" | "EXECUTE" | "SELECT") => {
                return Err("CREATE TABLE AS is not allowed here: it executes a query".into());
            }
            _ => {}
        }
    }
    Ok(Step::Table)
}

fn alter(placed: &Placed, words: &[&str]) -> Result<Step, String> {
    let tokens = &placed.statement.tokens;
    let owner = is_owner(placed);
    let step = match words {
        ["DATABASE", "CURRENT_DATABASE", "OWNER" | "SET", ..] => Step::DatabaseSetting,
        ["ROLE", ..]
            if placed.database().is_some() && tokens.len() > 6 && tokens[3].is("IN") && tokens[6].is("SET") =>
        {
            Step::DatabaseSetting
        }
        ["DEFAULT", "PRIVILEGES", ..] => Step::DefaultPrivileges,
        ["TABLE", ..] if placed.has("ATTACH") => Step::Attach,
        ["TABLE", ..] if placed.has("FOREIGN") => Step::ForeignKey,
        ["TABLE", ..] if placed.has("ADD") && placed.has("CONSTRAINT") => Step::Index,
        ["DOMAIN", ..] if !owner => Step::Type,
        [
            "TABLE" | "VIEW" | "SEQUENCE" | "TYPE" | "DOMAIN" | "SCHEMA" | "FUNCTION" | "PROCEDURE" | "ROUTINE"
            | "AGGREGATE" | "STATISTICS" | "INDEX",
            ..,
        ]
        | ["MATERIALIZED", "VIEW", ..] => {
            if owner {
                Step::Owner
            } else {
                Step::Alter
            }
        }
        _ => return Err(refused(placed)),
    };
    Ok(step)
}

/// Whether a statement changes an owner and nothing else: it is run as the superuser.
fn is_owner(placed: &Placed) -> bool {
    let tokens = &placed.statement.tokens;
    let start = if tokens.get(1).is_some_and(|token| token.is("MATERIALIZED")) { 3 } else { 2 };
    let Some((_, mut at)) = qualified(tokens, start) else { return false };
    if tokens.get(at).is_some_and(|token| token.kind == TokenKind::Symbol('(')) && !placed.words().contains(&"TABLE") {
        let close = tokens[at..].iter().position(|token| token.kind == TokenKind::Symbol(')'));
        at += close.map_or(0, |close| close + 1);
    }
    tokens.len() == at + 3 && tokens[at].is("OWNER") && tokens[at + 1].is("TO")
}

fn grant(placed: &Placed) -> Result<Step, String> {
    let tokens = &placed.statement.tokens;
    let at = tokens.iter().position(|token| token.is("ON")).unwrap_or_default();
    let kind = tokens.get(at + 1).and_then(Token::word).unwrap_or_default();
    match kind {
        "PARAMETER" | "TABLESPACE" | "LARGE" | "FOREIGN" => Err(refused(placed)),
        kind => database_by_place(placed, kind, Step::Grant),
    }
}

/// A statement about a database must be about the current one.
fn database_by_place(placed: &Placed, kind: &str, step: Step) -> Result<Step, String> {
    let own = placed.database().is_some();
    if kind == "DATABASE" && !own { Err(format!("only DATABASE {DATABASE} can be named here")) } else { Ok(step) }
}

/// The name, qualified, that stands at a token, and the token after it.
pub(super) fn qualified(tokens: &[Token], mut at: usize) -> Option<(Vec<String>, usize)> {
    let mut names = vec![tokens.get(at)?.name()?];
    while tokens.get(at + 1).is_some_and(|token| token.kind == TokenKind::Symbol('.')) {
        names.push(tokens.get(at + 2)?.name()?);
        at += 2;
    }
    Some((names, at + 1))
}
