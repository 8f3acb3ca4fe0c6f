//! Rows that differ, in tables of their own: `old_N` and `new_N` for the N-th table that a push touches.
//!
//! Their columns are typed, so that the server itself brings values that a person wrote (`1.0e3`, `2024-1-5`) into the form in
//! which it prints its own. Rows are compared by that text: `=` would take 1.0 for 1.00 and -0 for 0, and json or
//! point have none.

use std::fs::File;
use std::io::{self, BufRead, BufReader, BufWriter, Seek, Write};
use std::path::PathBuf;

use super::copy;
use super::schema::{Column, Table};
use super::session::{Session, server_error};
use super::sql::{ident, list};
use super::table::{is_own, own_equality, printed};
use crate::rows::{Changes, Comparator, Counts, Header, Limits, Place, RowChange};
use crate::{Change, Cx, Error, OpId, Result, StatePath};

/// Where staging tables are made.
#[derive(Clone, Debug)]
pub(super) enum Room {
    /// In the session, as temporary tables: nothing of them outlives it.
    Session,
    /// In a schema of the operation: a transaction that touched a temporary table can not be prepared.
    Schema(String),
}

impl Room {
    /// The schema's name for an operation.
    pub fn schema(op: &OpId) -> String {
        format!("glxc_{op}")
    }

    /// The name of a table in it, in SQL.
    pub fn table(&self, name: &str) -> String {
        match self {
            Room::Session => format!("pg_temp.{name}"),
            Room::Schema(schema) => format!("{}.{name}", ident(schema)),
        }
    }

    /// The words that create a table in it.
    pub fn create(&self, name: &str) -> String {
        let kind = if matches!(self, Room::Session) { "TEMPORARY" } else { "UNLOGGED" };
        format!("CREATE {kind} TABLE {}", self.table(name))
    }
}

/// A table of staged rows. Its columns are `n` (the number of the change; both rows of a changed one have the same),
/// `file` and `line` (where it stands), and `c1`, `c2`, ... for the columns of the files.
#[derive(Clone, Debug)]
pub(super) struct Staging {
    /// Its name in SQL.
    pub name: String,
    /// The columns of the files.
    pub columns: Vec<Column>,
    /// The key of the files: indexes of columns; empty for a bag.
    pub key: Vec<(usize, Comparator)>,
}

impl Staging {
    /// Creates an empty one.
    pub fn create(session: &mut Session, room: &Room, name: &str, table: &Table, header: &Header) -> Result<Self> {
        let column = |name: &String| {
            let found = table.columns.iter().find(|column| column.name == *name);
            let missing =
                || Error::Engine { context: format!("stage {}", table.qualified), source: "no column".into() };
            found.cloned().ok_or_else(missing)
        };
        let columns: Vec<Column> = header.columns.iter().map(column).collect::<Result<_>>()?;
        let typed = columns.iter().enumerate().map(|(at, column)| {
            let collation = column.collation.iter().map(|name| format!(" COLLATE {name}")).collect::<String>();
            format!(", c{} {}{collation}", at + 1, column.type_name)
        });
        let create = room.create(name);
        let sql = format!("{create} (n bigint, file int, line bigint{})", typed.collect::<String>());
        session.run(&format!("stage {}", table.qualified), &sql)?;
        Ok(Staging { name: room.table(name), columns, key: header.key.clone() })
    }

    /// Lets go of the types that the application made, so that they can be altered; their values stay as text.
    pub fn release_types(&self, session: &mut Session) -> Result<()> {
        for (at, column) in self.columns.iter().enumerate() {
            let value = format!("c{}", at + 1);
            let to = match (is_own(column), column.type_kind) {
                (true, 'd') => column.base_type.clone(),
                (true, _) => continue,
                (false, _) => format!("text USING {}", printed(&value)),
            };
            let sql = format!("ALTER TABLE {} ALTER {value} TYPE {to}", self.name);
            session.run("let go of a type", &sql)?;
        }
        Ok(())
    }

    /// The column `at` of the staging table.
    fn value(&self, alias: &str, at: usize) -> String {
        format!("{alias}.c{}", at + 1)
    }

    /// The column of the staging table that holds a column of the table.
    pub fn value_of(&self, alias: &str, name: &str) -> Option<String> {
        self.columns.iter().position(|column| column.name == name).map(|at| self.value(alias, at))
    }

    /// A whole row as text, as the output functions print it.
    pub fn text(&self, alias: &str) -> String {
        let all = list(0..self.columns.len(), |at| self.value(alias, at));
        format!("ROW({all})::text COLLATE \"C\"")
    }

    /// The same columns of the table itself.
    pub fn live_text(&self, alias: &str) -> String {
        let all = list(&self.columns, |column| format!("{alias}.{}", ident(&column.name)));
        format!("ROW({all})::text COLLATE \"C\"")
    }

    /// Whether a row of the table has the key whose values `key` prints, by the number of the key column.
    pub fn has_key(&self, live: &str, key: impl Fn(usize) -> String) -> String {
        let one = |(number, (at, comparator)): (usize, &(usize, Comparator))| {
            let column = &self.columns[*at];
            let (live, key) = (format!("{live}.{}", ident(&column.name)), key(number));
            let alike = format!("pg_catalog.concat({live}) = pg_catalog.concat({key})");
            match (own_equality(column), comparator) {
                (true, Comparator::Number) => format!("{live} = {key}"),
                // The files tell rows apart that the type does not, by case or collation.
                (true, _) => format!("{live} = {key} AND {alike}"),
                (false, _) => alike,
            }
        };
        self.key.iter().enumerate().map(one).collect::<Vec<_>>().join(" AND ")
    }

    /// Whether a row of the table is one of this table, by its key or in a bag by the whole row.
    pub fn is_row(&self, live: &str, alias: &str) -> String {
        match self.key.is_empty() {
            true => format!("{} = {}", self.live_text(live), self.text(alias)),
            false => self.has_key(live, |number| self.value(alias, self.key[number].0)),
        }
    }

    /// The value of a key column.
    pub fn key_value(&self, alias: &str, number: usize) -> String {
        self.value(alias, self.key[number].0)
    }
}

/// The files whose rows were staged, in the order of their numbers.
#[derive(Debug, Default)]
pub(super) struct Files(Vec<StatePath>);

impl Files {
    fn number(&mut self, path: &StatePath) -> usize {
        match self.0.iter().rposition(|other| other == path) {
            Some(at) => at,
            None => {
                self.0.push(path.clone());
                self.0.len() - 1
            }
        }
    }

    /// A file by the number that a staging table holds.
    pub fn get(&self, number: &str) -> Option<&StatePath> {
        self.0.get(number.parse::<usize>().ok()?)
    }
}

/// Where the changes of one table stand.
#[derive(Debug)]
pub(super) struct Source<'a> {
    pub change: &'a Change<'a>,
    pub folder: &'a StatePath,
    pub cx: &'a Cx<'a>,
}

impl Source<'_> {
    /// Both sides of each change as text for COPY, and how many there are, in one pass.
    pub fn sides(&self, files: &mut Files) -> Result<(Side, Side, Counts)> {
        let _span = tracing::debug_span!("rows").entered();
        let base = self.change.base.as_ref().map(|base| base.tree);
        let mut changes = Changes::new(base, Some(self.change.next.tree), self.folder, Limits::default(), self.cx)?;
        let mut old = Side::new(changes.base_header(), self.cx)?;
        let mut new = Side::new(changes.next_header(), self.cx)?;
        let (mut number, mut counts) = (0, Counts::default());
        while let Some(change) = changes.next()? {
            number += 1;
            if number % 1024 == 0 {
                self.cx.check()?;
            }
            counts.add(&change);
            match change {
                RowChange::Added { line, place } => new.add(number, files, place, line)?,
                RowChange::Removed { line, place } => old.add(number, files, place, line)?,
                RowChange::Changed { old: before, new: after, place } => {
                    old.add(number, files, place, before)?;
                    new.add(number, files, place, after)?;
                }
            }
        }
        Ok((old, new, counts))
    }
}

/// One side of the changes of a table, in an unnamed file of the scratch folder.
#[derive(Debug)]
pub(super) struct Side {
    /// The columns, where a part of this side differs.
    pub header: Option<Header>,
    text: BufWriter<File>,
    scratch: PathBuf,
}

impl Side {
    fn new(header: Option<&Header>, cx: &Cx<'_>) -> Result<Self> {
        let scratch = cx.scratch.to_path_buf();
        let file = tempfile::tempfile_in(&scratch).map_err(Error::io("create a file in", &scratch))?;
        Ok(Side { header: header.cloned(), text: BufWriter::new(file), scratch })
    }

    fn add(&mut self, number: u64, files: &mut Files, place: Place<'_>, line: &[u8]) -> Result<()> {
        copy::check_end(line).map_err(|message| Error::input(place.file, place.line, message))?;
        let empty = self.header.as_ref().is_none_or(|header| header.columns.is_empty());
        let tab = if empty { "" } else { "\t" };
        write!(self.text, "{number}\t{}\t{}{tab}", files.number(place.file), place.line)
            .and_then(|()| self.text.write_all(line))
            .and_then(|()| self.text.write_all(b"\n"))
            .map_err(Error::io("write to", &self.scratch))
    }

    /// Loads it into a staging table.
    pub fn load(self, session: &mut Session, to: &Staging, files: &Files) -> Result<()> {
        let _span = tracing::debug_span!("copy").entered();
        let reading = || Error::io("read in", &self.scratch);
        let mut text = self.text.into_inner().map_err(|error| reading()(error.into_error()))?;
        text.rewind().map_err(reading())?;
        let copied = copy::into(session, CONTEXT, &format!("COPY {} FROM STDIN", to.name), |out| {
            io::copy(&mut text, out).map(drop).map_err(super::session::failed_io(CONTEXT))
        });
        if let Err(error) = copied {
            text.rewind().map_err(reading())?;
            return Err(located(text, files, error));
        }
        session.run(CONTEXT, &format!("ANALYZE {}", to.name))
    }
}

const CONTEXT: &str = "stage the rows that differ";

/// An error of a COPY as one of the line that it is about.
fn located(text: File, files: &Files, error: Error) -> Error {
    let Some(message) = server_error(&error).map(|db| db.message().to_owned()) else { return error };
    let row = copy::failed_row(&error).and_then(|row| usize::try_from(row).ok()?.checked_sub(1));
    let line = row.and_then(|row| BufReader::new(text).split(b'\n').nth(row)?.ok());
    let place = line.and_then(|line| {
        let mut fields = line.split(|b| *b == b'\t').map(|field| std::str::from_utf8(field).ok());
        let file = fields.nth(1)??;
        Some((files.get(file)?.clone(), fields.next()??.parse().ok()?))
    });
    match place {
        Some((file, line)) => input(file, line, message, Some(error)),
        None => error,
    }
}

/// An error at a line, with what caused it.
pub(super) fn input(file: StatePath, line: u64, message: String, cause: Option<Error>) -> Error {
    let source = cause.map(|error| match error {
        Error::Engine { source, .. } => source,
        other => other.into(),
    });
    Error::Input { file, line: Some(line), message, source }
}
