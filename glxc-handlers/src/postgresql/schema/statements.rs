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

/// A statement with its place, without its tokens: those of a whole schema would take many times its size.
#[derive(Clone, Copy, Debug)]
pub(super) struct Placed<'a> {
    pub(super) step: Step,
    pub(super) file: &'a StatePath,
    pub(super) line: u64,
    pub(super) text: &'a str,
}

impl<'a> Placed<'a> {
    /// An error at this statement.
    pub(super) fn error(&self, message: impl Into<String>) -> Error {
        Error::input(self.file, self.line, message)
    }

    /// Its tokens.
    pub(super) fn tokens(&self) -> Vec<Token> {
        let statement = sql::split(self.text).next().and_then(Result::ok);
        statement.map(|statement| statement.tokens).unwrap_or_default()
    }

    /// The text with another name where the database is named.
    pub(super) fn for_database(&self, name: &str) -> String {
        match database(&self.tokens()) {
            Some(place) => format!("{}{name}{}", &self.text[..place.start], &self.text[place.end..]),
            None => self.text.to_owned(),
        }
    }
}

/// The words at the start of a statement.
pub(super) fn words(tokens: &[Token]) -> Vec<&str> {
    tokens.iter().map_while(Token::word).collect()
}

fn has(tokens: &[Token], word: &str) -> bool {
    tokens.iter().any(|token| token.is(word))
}

fn ends(tokens: &[Token], words: &[&str]) -> bool {
    tokens.len() >= words.len() && tokens[tokens.len() - words.len()..].iter().zip(words).all(|(t, w)| t.is(w))
}

/// The place of `current_database` after the word `DATABASE`.
fn database(tokens: &[Token]) -> Option<Range<usize>> {
    let found = tokens.windows(2).find(|pair| pair[0].is("DATABASE") && pair[1].is("CURRENT_DATABASE"));
    found.map(|pair| pair[1].span.clone())
}

/// Reads the statements of a file, and hands them out one after the other.
///
/// # Errors
/// [`Error::Input`] with the line of what is not allowed, and those of `each`.
pub(super) fn read<'a>(
    file: &'a StatePath, bytes: &'a [u8], mut each: impl FnMut(Placed<'a>) -> Result<()>,
) -> Result<()> {
    let text = std::str::from_utf8(bytes).map_err(|error| {
        let line = bytes[..error.valid_up_to()].iter().filter(|byte| **byte == b'\n').count() as u64 + 1;
        Error::input(file, line, "not UTF-8")
    })?;
    for statement in sql::split(text) {
        let statement = statement.map_err(|malformed| Error::input(file, malformed.line, malformed.message))?;
        each(place(file, &statement)?)?;
    }
    Ok(())
}

fn place<'a>(file: &'a StatePath, statement: &Statement<'a>) -> Result<Placed<'a>> {
    let refused = |reason: String| Error::input(file, statement.line, reason);
    let step = step(&statement.tokens).map_err(refused)?;
    let (home, own) = (home(step, &statement.tokens), file.as_str());
    let special = own.filter(|own| ["schema/roles.sql", "schema/database.sql"].contains(own));
    if home != special && !(home.is_none() && step == Step::Grant) {
        let belongs = home.map_or(String::new(), |home| format!(" but in {home}"));
        return Err(refused(format!("this statement does not belong here{belongs}")));
    }
    Ok(Placed { step, file, line: statement.line, text: statement.text })
}

/// The file that a statement must stand in, where it is not the file of an object.
fn home(step: Step, tokens: &[Token]) -> Option<&'static str> {
    let database = database(tokens).is_some();
    match step {
        Step::Role => Some("schema/roles.sql"),
        Step::Database | Step::DatabaseSetting => Some("schema/database.sql"),
        Step::Comment | Step::Grant if database => Some("schema/database.sql"),
        _ => None,
    }
}

/// What a statement is, or why it is refused.
fn step(tokens: &[Token]) -> Result<Step, String> {
    let words = words(tokens);
    match words.as_slice() {
        ["CREATE", "OR", "REPLACE", rest @ ..] | ["CREATE", rest @ ..] => create(tokens, rest),
        ["ALTER", rest @ ..] => alter(tokens, rest),
        ["COMMENT", "ON", kind, ..] if !matches!(*kind, "ROLE" | "TABLESPACE" | "LARGE" | "EVENT" | "SUBSCRIPTION") => {
            database_by_place(tokens, kind, Step::Comment)
        }
        ["GRANT" | "REVOKE", ..] if has(tokens, "ON") => grant(tokens),
        ["REFRESH", "MATERIALIZED", "VIEW", ..] => Ok(Step::Refresh),
        _ => Err(refused(tokens)),
    }
}

fn refused(tokens: &[Token]) -> String {
    let words = words(tokens);
    match words.as_slice() {
        [] => "not an SQL statement".into(),
        words => format!(
            "{} is not allowed here; a schema file holds definitions only",
            words[..words.len().min(3)].join(" ")
        ),
    }
}

fn create(tokens: &[Token], words: &[&str]) -> Result<Step, String> {
    let step = match words {
        ["ROLE", ..] if tokens.len() == 3 => Step::Role,
        ["ROLE", ..] => return Err("a role is only named here: CREATE ROLE name".into()),
        ["DATABASE", "CURRENT_DATABASE", ..] => Step::Database,
        ["SCHEMA", ..] => Step::Schema,
        ["EXTENSION", ..] => Step::Extension,
        ["TYPE" | "DOMAIN", ..] => Step::Type,
        ["SEQUENCE", ..] | ["UNLOGGED", "SEQUENCE", ..] => Step::Sequence,
        ["FUNCTION" | "PROCEDURE" | "AGGREGATE", ..] => Step::Function,
        ["TABLE", ..] | ["UNLOGGED", "TABLE", ..] => table(tokens)?,
        ["VIEW", ..] | ["RECURSIVE", "VIEW", ..] => Step::View,
        ["MATERIALIZED", "VIEW", ..] if ends(tokens, &["WITH", "NO", "DATA"]) => Step::MaterializedView,
        ["MATERIALIZED", "VIEW", ..] => return Err("CREATE MATERIALIZED VIEW must end in WITH NO DATA".into()),
        ["INDEX" | "UNIQUE", ..] if has(tokens, "CONCURRENTLY") => {
            return Err("CONCURRENTLY is not allowed here".into());
        }
        ["INDEX", ..] | ["UNIQUE", "INDEX", ..] => Step::Index,
        ["RULE" | "TRIGGER" | "POLICY" | "STATISTICS", ..] | ["CONSTRAINT", "TRIGGER", ..] => Step::Trigger,
        _ => return Err(refused(tokens)),
    };
    Ok(step)
}

/// A table, but none that is filled by a query: its `AS` stands outside of parentheses.
fn table(tokens: &[Token]) -> Result<Step, String> {
    let mut depth = 0;
    for token in tokens {
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

fn alter(tokens: &[Token], words: &[&str]) -> Result<Step, String> {
    let owner = is_owner(tokens);
    let step = match words {
        ["DATABASE", "CURRENT_DATABASE", "OWNER" | "SET", ..] => Step::DatabaseSetting,
        ["ROLE", ..] if database(tokens).is_some() && tokens.len() > 6 && tokens[3].is("IN") && tokens[6].is("SET") => {
            Step::DatabaseSetting
        }
        ["DEFAULT", "PRIVILEGES", ..] => Step::DefaultPrivileges,
        ["TABLE", ..] if has(tokens, "ATTACH") => Step::Attach,
        ["TABLE", ..] if has(tokens, "FOREIGN") => Step::ForeignKey,
        ["TABLE", ..] if has(tokens, "ADD") && has(tokens, "CONSTRAINT") => Step::Index,
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
        _ => return Err(refused(tokens)),
    };
    Ok(step)
}

/// Whether a statement changes an owner and nothing else: it is run as the superuser.
fn is_owner(tokens: &[Token]) -> bool {
    let start = if tokens.get(1).is_some_and(|token| token.is("MATERIALIZED")) { 3 } else { 2 };
    let Some((_, mut at)) = qualified(tokens, start) else { return false };
    if tokens.get(at).is_some_and(|token| token.kind == TokenKind::Symbol('(')) && !words(tokens).contains(&"TABLE") {
        let close = tokens[at..].iter().position(|token| token.kind == TokenKind::Symbol(')'));
        at += close.map_or(0, |close| close + 1);
    }
    tokens.len() == at + 3 && tokens[at].is("OWNER") && tokens[at + 1].is("TO")
}

fn grant(tokens: &[Token]) -> Result<Step, String> {
    let at = tokens.iter().position(|token| token.is("ON")).unwrap_or_default();
    let kind = tokens.get(at + 1).and_then(Token::word).unwrap_or_default();
    match kind {
        "PARAMETER" | "TABLESPACE" | "LARGE" | "FOREIGN" => Err(refused(tokens)),
        kind => database_by_place(tokens, kind, Step::Grant),
    }
}

/// A statement about a database must be about the current one.
fn database_by_place(tokens: &[Token], kind: &str, step: Step) -> Result<Step, String> {
    let own = database(tokens).is_some();
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
