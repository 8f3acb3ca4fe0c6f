//! Rows of files into tables.

use super::session::{Session, code, is_warning, words};
use super::sql::{ident, list};
use super::table::Table;
use crate::{Error, Result, StatePath};

/// About how long a statement gets, in bytes.
const STATEMENT: usize = 512 << 10;

/// Inserts rows into a table, many in one statement.
#[derive(Debug)]
pub(super) struct Inserter<'t> {
    table: &'t Table,
    context: String,
    head: String,
    values: Vec<String>,
    places: Vec<(StatePath, u64)>,
    size: usize,
}

impl<'t> Inserter<'t> {
    /// For a table, whose name in SQL is `to`.
    pub fn new(table: &'t Table, to: &str) -> Self {
        let columns = list(table.stored(), |column| ident(&column.name));
        let head = format!("INSERT INTO {to} ({columns}) VALUES ");
        let (values, places, size) = Default::default();
        Inserter { table, context: format!("write rows of {}", table.name), head, values, places, size }
    }

    /// Adds a row, from a line of a file with the columns of the table.
    pub fn add(&mut self, session: &mut Session, line: &[u8], file: &StatePath, number: u64) -> Result<()> {
        let values = format!("({})", literals(self.table, line, file, number)?.join(", "));
        let length = self.head.len() + values.len() + 1;
        if length > session.longest {
            let message =
                format!("takes {length} bytes in SQL; the server takes {} (max_allowed_packet)", session.longest);
            return Err(Error::input(file, number, message));
        }
        if self.head.len() + self.size + values.len() + 2 * self.values.len() > session.longest {
            self.finish(session)?;
        }
        let loose = no_labels(self.table, line);
        if !loose.is_empty() {
            self.finish(session)?;
            let sql = format!("{}{values}", self.head);
            let written = session.write_loosely(&self.context, &sql, &loose);
            return written.map_err(|error| located(error, file, number));
        }
        self.size += values.len();
        self.values.push(values);
        self.places.push((file.clone(), number));
        if self.size >= STATEMENT { self.finish(session) } else { Ok(()) }
    }

    /// Writes what was added.
    pub fn finish(&mut self, session: &mut Session) -> Result<()> {
        self.size = 0;
        let (values, places) = (std::mem::take(&mut self.values), std::mem::take(&mut self.places));
        if values.is_empty() {
            return Ok(());
        }
        let written = session.write(&self.context, &format!("{}{}", self.head, values.join(", ")));
        let Err(error) = written else { return Ok(()) };
        if !is_about_a_row(&error) {
            return Err(error);
        }
        if is_warning(&error) {
            return match warned_row(&error).and_then(|row| places.get(row)) {
                Some((file, number)) => Err(located(error, file, *number)),
                None => Err(error),
            };
        }
        // The statement wrote nothing: one row after the other tells which it is.
        for (values, (file, number)) in values.iter().zip(&places) {
            if let Err(error) = session.write(&self.context, &format!("{}{values}", self.head)) {
                return Err(located(error, file, *number));
            }
        }
        Err(error)
    }
}

/// The values of a line in SQL.
pub(super) fn literals(table: &Table, line: &[u8], file: &StatePath, number: u64) -> Result<Vec<String>> {
    let stored = table.stored();
    let fields = line.split(|b| *b == b'\t');
    let literal = |(column, field): (&&super::value::Column, &[u8])| {
        let name = column.name.escape_debug();
        let wrong = || Error::input(file, number, format!("column `{name}`: not a value as the server prints it"));
        column.literal(field).ok_or_else(wrong)
    };
    stored.iter().zip(fields).map(literal).collect()
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
