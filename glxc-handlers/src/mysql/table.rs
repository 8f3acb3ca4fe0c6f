//! How the rows of one table stand in files, and the SQL that follows from it.

use super::sql::{ident, list};
use super::value::Column;
use crate::rows::Header;
use crate::{Error, Result, StatePath, names};

/// A table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Table {
    pub name: String,
    pub columns: Vec<Column>,
    /// The columns of its key by number, in the order of the key; empty for a bag.
    pub key: Vec<usize>,
    /// The columns of all its unique keys; a unique key over a part of a value or a computed column is not told by columns.
    pub uniques: Vec<Vec<String>>,
    pub foreign_keys: Vec<ForeignKey>,
    /// The value that the next row gets, where it has such a column.
    pub auto_increment: Option<u64>,
    /// Its rows are part of the state.
    pub has_rows: bool,
}

/// A foreign key of a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ForeignKey {
    pub name: String,
    pub columns: Vec<String>,
    /// The referenced table and its columns.
    pub table: String,
    pub referenced: Vec<String>,
}

impl Table {
    /// The columns that stand in the files.
    pub fn stored(&self) -> Vec<&Column> {
        self.columns.iter().filter(|column| !column.generated && !column.left_out).collect()
    }

    /// The columns that are left out of the files, and keep what they have.
    pub fn left_out(&self) -> impl Iterator<Item = &Column> {
        self.columns.iter().filter(|column| column.left_out)
    }

    /// The folder of its row files.
    pub fn folder(&self) -> Result<StatePath> {
        folder(&self.name)
    }

    /// The columns of its key.
    pub fn key_columns(&self) -> Vec<&Column> {
        self.key.iter().map(|at| &self.columns[*at]).collect()
    }

    /// The first line of its row files.
    pub fn header(&self) -> Header {
        let stored = self.stored();
        let at = |key: &usize| {
            let column = &self.columns[*key];
            Some((stored.iter().position(|other| other.name == column.name)?, column.comparator()))
        };
        let key = self.key.iter().filter_map(at).collect();
        Header { columns: stored.iter().map(|column| column.name.clone()).collect(), key }
    }

    /// What to select of the stored columns.
    pub fn select(&self, alias: &str) -> String {
        let all: Vec<String> = self.stored().iter().flat_map(|column| column.select(alias)).collect();
        // A table may have computed columns only.
        if all.is_empty() { "1".into() } else { all.join(", ") }
    }

    /// Whether the server can give the rows in the order of the files.
    pub fn sorted_by_server(&self) -> bool {
        !self.key.is_empty() && self.key_columns().iter().all(|column| column.sorts_alike())
    }

    /// The order of the files, where the server sorts so.
    pub fn order(&self) -> String {
        list(self.key_columns(), |column| ident(&column.name))
    }
}

/// The folder of a table's row files.
pub(super) fn folder(table: &str) -> Result<StatePath> {
    StatePath::new(format!("data/{}", names::encode(table))).map_err(Error::carrier("name the folder of a table"))
}
