//! Rows of files into tables.

use std::ops::Range;

use super::session::{Session, code, is_warning, words};
use super::sql::{ident, list};
use super::table::Table;
use super::value::Column;
use crate::{Error, Result, StatePath};

/// About how long a statement gets, in bytes.
const STATEMENT: usize = 512 << 10;

/// Inserts rows into a table, many in one statement.
#[derive(Debug)]
pub(super) struct Inserter<'t> {
    table: &'t Table,
    context: String,
    head: String,
    /// The statement, and where in it the rows stand.
    sql: String,
    rows: Vec<(Range<usize>, StatePath, u64)>,
}

impl<'t> Inserter<'t> {
    /// For a table, whose name in SQL is `to`.
    pub fn new(table: &'t Table, to: &str) -> Self {
        let columns = list(table.stored(), |column| ident(&column.name));
        let head = format!("INSERT INTO {to} ({columns}) VALUES ");
        Inserter { table, context: format!("write rows of {}", table.name), sql: head.clone(), head, rows: Vec::new() }
    }

    /// Adds a row, from a line of a file with the columns of the table.
    pub fn add(&mut self, session: &mut Session, line: &[u8], file: &StatePath, number: u64) -> Result<()> {
        let loose = no_labels(self.table, line);
        // What grows by being quoted is little.
        if !loose.is_empty() || self.sql.len() + line.len() > session.longest.min(STATEMENT) {
            self.finish(session)?;
        }
        if !self.rows.is_empty() {
            self.sql.push_str(", ");
        }
        let start = self.sql.len();
        self.sql.push('(');
        for (at, (column, field)) in self.table.stored().iter().zip(line.split(|b| *b == b'\t')).enumerate() {
            if at > 0 {
                self.sql.push_str(", ");
            }
            push_value(session, column, field, &mut self.sql, file, number)?;
        }
        self.sql.push(')');
        self.rows.push((start..self.sql.len(), file.clone(), number));
        if self.rows.len() == 1 && self.sql.len() >= session.longest {
            return Err(too_long(file, number, self.sql.len(), session.longest));
        }
        if loose.is_empty() {
            return if session.holds() { self.finish(session) } else { Ok(()) };
        }
        self.rows.clear();
        let written = session.write_loosely(&self.context, &self.sql, &loose);
        self.sql.truncate(self.head.len());
        let written = written.and_then(|()| session.let_go(&self.context));
        written.map_err(|error| located(error, file, number))
    }

    /// Writes what was added.
    pub fn finish(&mut self, session: &mut Session) -> Result<()> {
        let rows = std::mem::take(&mut self.rows);
        let written = if rows.is_empty() { Ok(()) } else { session.write(&self.context, &self.sql) };
        let explained = written.map_err(|error| self.explain(session, &rows, error));
        self.sql.truncate(self.head.len());
        self.sql.shrink_to(2 * STATEMENT);
        explained?;
        session.let_go(&self.context)
    }

    /// An error at the line that it is about.
    fn explain(&self, session: &mut Session, rows: &[(Range<usize>, StatePath, u64)], error: Error) -> Error {
        if is_warning(&error) {
            return match warned_row(&error).and_then(|row| rows.get(row)) {
                Some((_, file, number)) => located(error, file, *number),
                None => error,
            };
        }
        if !is_about_a_row(&error) {
            return error;
        }
        // The statement wrote nothing: one row after the other tells which it is.
        for (range, file, number) in rows {
            let sql = format!("{}{}", self.head, &self.sql[range.clone()]);
            if let Err(error) = session.write(&self.context, &sql) {
                return located(error, file, *number);
            }
        }
        error
    }
}

/// A value of a line in SQL, behind what is there.
pub(super) fn push_literal(
    column: &Column, field: &[u8], sql: &mut String, file: &StatePath, number: u64,
) -> Result<()> {
    let name = column.name.escape_debug();
    let wrong = || Error::input(file, number, format!("column `{name}`: not a value as the server prints it"));
    column.push_literal(field, sql).ok_or_else(wrong)
}

/// The least that a piece of a large value has, and how many pieces there are at most of a larger one: the server copies what
/// it has with each.
const PIECES: (usize, usize) = (256 << 10, 64);

/// The same, where a large value is put into a variable first.
pub(super) fn push_value(
    session: &mut Session, column: &Column, field: &[u8], sql: &mut String, file: &StatePath, number: u64,
) -> Result<()> {
    let piece = PIECES.0.max(field.len() / PIECES.1).min(session.longest / 4);
    let Some(large) = column.large(field, piece) else { return push_literal(column, field, sql, file, number) };
    if field.len() >= session.longest {
        return Err(too_long(file, number, field.len(), session.longest));
    }
    let expression = large.expression("@");
    let variable = session.hold("hand over a large value", large).map_err(|error| located(error, file, number))?;
    sql.push_str(&expression.replacen('@', &variable, 1));
    Ok(())
}

/// A row, or a value of one, that the server does not take.
fn too_long(file: &StatePath, number: u64, takes: usize, most: usize) -> Error {
    let message = format!("takes {takes} bytes in SQL; the server takes {most} (max_allowed_packet)");
    Error::input(file, number, message)
}

/// The columns of a line whose value is none of the labels of an ENUM.
pub(super) fn no_labels<'t>(table: &'t Table, line: &[u8]) -> Vec<&'t str> {
    let fields = line.split(|b| *b == b'\t');
    let columns = table.stored().into_iter().zip(fields);
    columns.filter(|(column, field)| column.is_no_label(field)).map(|(column, _)| column.name.as_str()).collect()
}

/// Which row of a statement a warning is about: `... at row 3`.
fn warned_row(error: &Error) -> Option<usize> {
    let Error::Engine { source, .. } = error else { return None };
    source.to_string().rsplit_once(" at row ")?.1.parse::<usize>().ok()?.checked_sub(1)
}

/// Whether an error may be about one row; after others the transaction may be gone.
fn is_about_a_row(error: &Error) -> bool {
    !matches!(code(error), Some(1205 | 1213 | 1317 | 1927 | 2006 | 2013))
}

/// An error of the server at the line of the row that it is about.
pub(super) fn located(error: Error, file: &StatePath, number: u64) -> Error {
    if !is_about_a_row(&error) {
        return error;
    }
    let message = words(&error);
    match error {
        Error::Engine { source, .. } => {
            let message = message.unwrap_or_else(|| source.to_string());
            Error::Input { file: file.clone(), line: Some(number), message, source: Some(source) }
        }
        other => other,
    }
}
