//! How the rows of one table stand in files, and the SQL that follows from it.

use super::schema::{Column, Model, Table, TableKind};
use super::sql::{ident, list};
use crate::engine::Rules;
use crate::rows::{Comparator, Header};
use crate::{Error, Result, StatePath, names};

/// Types whose values are ordered as numbers in files.
const NUMBERS: [&str; 7] = ["int2", "int4", "int8", "numeric", "float4", "float8", "oid"];
/// Types whose own order is that of the bytes of their text.
const PLAIN: [&str; 2] = ["uuid", "bool"];
/// Types that are ordered by bytes under the collation `C`.
const TEXTS: [&str; 2] = ["text", "varchar"];

/// A table whose rows are part of the state.
#[derive(Clone, Debug)]
pub(super) struct RowTable<'m> {
    pub table: &'m Table,
    /// The columns that stand in the files.
    pub columns: Vec<&'m Column>,
    /// The key, beginning with the first column of the index; empty for a bag.
    pub key: Vec<&'m Column>,
}

/// All tables whose rows are part of the state.
pub(super) fn row_tables<'m>(model: &'m Model, rules: &Rules) -> Result<Vec<RowTable<'m>>> {
    let tables = model.tables.values().filter(|table| table.kind == TableKind::Ordinary);
    tables
        .filter(|table| rules.has_rows(&[&table.schema, &table.name]))
        .map(|table| RowTable::new(table, rules))
        .collect()
}

impl<'m> RowTable<'m> {
    fn new(table: &'m Table, rules: &Rules) -> Result<Self> {
        let without = rules.without(&[&table.schema, &table.name]);
        let stored = |column: &&Column| !column.generated && !without.contains(&column.name);
        let columns: Vec<&Column> = table.columns.iter().filter(stored).collect();
        let mut key = Vec::new();
        for name in table.key.iter().flatten() {
            let left_out = || {
                let key = format!("tables.{}.{}", table.schema, table.name);
                Error::option(
                    key,
                    format!("column `{}` is part of the key and can not be left out", name.escape_debug()),
                )
            };
            // A generated column can be part of a key, but does not stand in the files; then the rows are a bag.
            match columns.iter().find(|column| column.name == *name) {
                Some(column) => key.push(*column),
                None if without.contains(name) => return Err(left_out()),
                None => return Ok(RowTable { table, columns, key: Vec::new() }),
            }
        }
        let generated = table.columns.iter().filter(|column| column.generated).count();
        if key.is_empty() && columns.len() + generated < table.columns.len() {
            let message =
                "has no key, so its columns can not be left out: their values would be lost with every change";
            return Err(Error::option(format!("tables.{}.{}", table.schema, table.name), message));
        }
        Ok(RowTable { table, columns, key })
    }

    /// The folder of its row files.
    pub fn folder(&self) -> Result<StatePath> {
        folder(&self.table.schema, &self.table.name)
    }

    /// The first line of its row files.
    pub fn header(&self) -> Header {
        let at = |column: &Column| self.columns.iter().position(|other| other.name == column.name);
        let key = self.key.iter().filter_map(|column| Some((at(column)?, comparator(column)))).collect();
        Header { columns: self.columns.iter().map(|column| column.name.clone()).collect(), key }
    }

    /// Whether the server can give the rows in the order of the files. Bytes sort alike on both sides only where the
    /// server's are those of the files.
    pub fn sorted_by_server(&self, encoding: &str) -> bool {
        let bytes = self.key.iter().any(|column| comparator(column) == Comparator::Bytes);
        !self.key.is_empty() && (!bytes || encoding == "UTF8")
    }

    /// The statement that reads its rows, in the order of the files where `sorted`.
    pub fn copy_out(&self, sorted: bool) -> String {
        let columns = list(&self.columns, |column| ident(&column.name));
        let order = match sorted {
            true => format!(" ORDER BY {}", list(&self.key, |column| order(column))),
            false => String::new(),
        };
        format!("COPY (SELECT {columns} FROM ONLY {}{order}) TO STDOUT", self.table.qualified)
    }
}

/// The folder of a table's row files.
pub(super) fn folder(schema: &str, table: &str) -> Result<StatePath> {
    let folder = format!("data/{}", names::encode_all(&[schema, table]));
    StatePath::new(folder).map_err(Error::carrier("name the folder of a table"))
}

/// Compares the first line of pushed row files with the table.
pub(super) fn check_header(table: &Table, header: &Header) -> Result<(), String> {
    let find = |name: &String| table.columns.iter().find(|column| column.name == *name);
    for name in &header.columns {
        match find(name) {
            None => return Err(format!("{} has no column `{}`", table.qualified, name.escape_debug())),
            Some(column) if column.generated => {
                return Err(format!("column `{}` of {} is generated", name.escape_debug(), table.qualified));
            }
            Some(_) => {}
        }
    }
    let key = header.key.iter().map(|(at, how)| (Some(&header.columns[*at]), Some(*how)));
    let expected = table.key.iter().flatten().map(|name| (Some(name), find(name).map(comparator)));
    match header.key.is_empty() || key.eq(expected) {
        true => Ok(()),
        false => Err(format!("another key than that of {}", table.qualified)),
    }
}

/// The type of a column without its schema, where that is the server's own.
fn own_type(column: &Column) -> &str {
    // Names that are keywords too, as `numeric`, are quoted.
    column.base_type.strip_prefix("pg_catalog.").unwrap_or_default().trim_matches('"')
}

/// How files order the values of a column.
pub(super) fn comparator(column: &Column) -> Comparator {
    match NUMBERS.contains(&own_type(column)) {
        true => Comparator::Number,
        false => Comparator::Bytes,
    }
}

/// What to say where a table has no row file.
pub(super) fn missing_rows(table: &Table) -> String {
    format!("the rows of {} are missing; a table without rows has a first line still", table.qualified)
}

/// Whether a column's type, under its domains, is the server's own.
pub(super) fn is_own(column: &Column) -> bool {
    !own_type(column).is_empty()
}

/// Whether `=` is the equality of a key column's type without a search path; types of extensions have theirs elsewhere.
pub(super) fn own_equality(column: &Column) -> bool {
    is_own(column) || matches!(column.type_kind, 'e' | 'r' | 'm')
}

/// A value as the text that its output function gives. `concat` alone would make NULL an empty text.
pub(super) fn printed(value: &str) -> String {
    format!("CASE WHEN {value} IS NOT NULL THEN pg_catalog.concat({value}) END")
}

/// The expression by which the server sorts as the files do; by the column itself where an index may serve it.
fn order(column: &Column) -> String {
    let name = ident(&column.name);
    match own_type(column) {
        own if NUMBERS.contains(&own) || PLAIN.contains(&own) => name,
        own if TEXTS.contains(&own) => format!("{name} COLLATE \"C\""),
        // Unlike a cast, it gives what the type's output function gives.
        _ => format!("pg_catalog.concat({name}) COLLATE \"C\""),
    }
}
