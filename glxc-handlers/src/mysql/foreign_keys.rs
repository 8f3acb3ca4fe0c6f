//! Foreign keys, which are not checked while rows are written: the server would delete the children of a row that a push
//! changes.

use super::catalog::Model;
use super::session::Session;
use super::sql::{ident, qualified};
use super::table::{ForeignKey, Table};
use super::value::Column;
use crate::{Error, Result, StatePath};

/// Of one foreign key, the values whose children are to be looked at, and where they come from.
#[derive(Debug)]
pub(super) struct Watched<'m> {
    child: &'m Table,
    key: &'m ForeignKey,
    /// The columns whose values are collected: those of the child, or of the parent.
    columns: Vec<(usize, &'m Column)>,
    /// Whether the changed table is the parent.
    parent: bool,
    conditions: Vec<String>,
    place: Option<(StatePath, u64)>,
}

/// How many values one query looks at.
const BATCH: usize = 200;

/// The foreign keys of a table and those that lead to it.
pub(super) fn of<'m>(model: &'m Model, table: &'m Table) -> Result<Vec<Watched<'m>>> {
    let own = table.foreign_keys.iter().map(|key| (table, key, &key.columns, false));
    let all = model.tables.values().flat_map(|child| child.foreign_keys.iter().map(move |key| (child, key)));
    let to = all.filter(|(_, key)| key.table == table.name).map(|(child, key)| (child, key, &key.referenced, true));
    let watched = |(child, key, names, parent): (&'m Table, &'m ForeignKey, &'m Vec<String>, bool)| {
        let stored = table.stored();
        let find = |name: &String| {
            let at = stored.iter().position(|column| column.name == *name)?;
            Some((at, stored[at]))
        };
        let columns = names.iter().map(find).collect::<Option<Vec<_>>>();
        let what =
            || format!("to change rows of {} with a foreign key over computed columns ({})", table.name, key.name);
        let columns = columns.ok_or_else(|| Error::Unsupported { what: what() })?;
        Ok(Watched { child, key, columns, parent, conditions: Vec::new(), place: None })
    };
    own.chain(to).map(watched).collect()
}

impl Watched<'_> {
    /// Looks at a row that was written, or of which something refers to what it was.
    pub fn look(
        &mut self, session: &mut Session, database: &str, old: Option<&[u8]>, new: Option<&[u8]>,
        place: (&StatePath, u64),
    ) -> Result<()> {
        let fields = |line: &[u8]| -> Vec<Vec<u8>> {
            let all: Vec<&[u8]> = line.split(|b| *b == b'\t').collect();
            self.columns.iter().map(|(at, _)| all.get(*at).copied().unwrap_or_default().to_vec()).collect()
        };
        let (old, new) = (old.map(fields), new.map(fields));
        let looked = if self.parent { &old } else { &new };
        let Some(values) = looked.as_ref().filter(|_| old != new) else { return Ok(()) };
        if values.iter().any(|value| value == b"\\N") {
            return Ok(());
        }
        let is = |((_, column), (value, name)): (&(usize, &Column), (&Vec<u8>, &String))| {
            Some(format!("c.{} = {}", ident(name), column.literal(value)?))
        };
        let pairs = self.columns.iter().zip(values.iter().zip(&self.key.columns));
        let condition = pairs.map(is).collect::<Option<Vec<_>>>().map(|all| format!("({})", all.join(" AND ")));
        self.conditions.extend(condition);
        self.place.get_or_insert_with(|| (place.0.clone(), place.1));
        if self.conditions.len() < BATCH { Ok(()) } else { self.finish(session, database) }
    }

    /// Fails where a child that was looked at has no parent. Both stay as they are until the end of the transaction.
    pub fn finish(&mut self, session: &mut Session, database: &str) -> Result<()> {
        if self.conditions.is_empty() {
            return Ok(());
        }
        let conditions = std::mem::take(&mut self.conditions);
        let place = self.place.take();
        let sql = format!(
            "{} AND ({}) LIMIT 1 LOCK IN SHARE MODE",
            orphans(database, self.child, self.key),
            conditions.join(" OR ")
        );
        let context = format!("check the foreign key {} of {}", self.key.name, self.child.name);
        let Some(row) = session.rows(&context, &sql)?.into_iter().next() else { return Ok(()) };
        let value = |(name, value): (&String, &Option<Vec<u8>>)| {
            let value =
                String::from_utf8_lossy(value.as_deref().unwrap_or_default()).chars().take(60).collect::<String>();
            format!("{}={}", name.escape_debug(), crate::text::escaped(&value).replace(['\n', '\t'], " "))
        };
        let values = self.key.columns.iter().zip(&row).map(value).collect::<Vec<_>>().join(" ");
        let (child, parent, key) = (&self.child.name, &self.key.table, &self.key.name);
        let near = place.map_or(String::new(), |(file, line)| format!(" (looked at from {file}:{line} on)"));
        let message = format!("{child} {values}: no such row in {parent} (foreign key {key}){near}");
        Err(Error::Violation { message, source: None })
    }
}

/// The query for the rows of a child without a parent; further conditions may be added.
fn orphans(database: &str, child: &Table, key: &ForeignKey) -> String {
    let columns = |alias: &str, names: &[String]| -> Vec<String> {
        names.iter().map(|name| format!("{alias}.{}", ident(name))).collect()
    };
    let (own, theirs) = (columns("c", &key.columns), columns("p", &key.referenced));
    let on = own.iter().zip(&theirs).map(|(a, b)| format!("{b} = {a}")).collect::<Vec<_>>().join(" AND ");
    let there = own.iter().map(|column| format!("{column} IS NOT NULL")).collect::<Vec<_>>().join(" AND ");
    format!(
        "SELECT {} FROM {} c LEFT JOIN {} p ON {on} WHERE {there} AND {} IS NULL",
        own.join(", "),
        qualified(database, &child.name),
        qualified(database, &key.table),
        theirs[0]
    )
}

/// How many rows of a database have no parent, a line for each foreign key.
pub(super) fn notes(session: &mut Session, database: &str, model: &Model) -> Result<Vec<String>> {
    let mut notes = Vec::new();
    for table in model.tables.values() {
        for key in &table.foreign_keys {
            let sql = format!("SELECT COUNT(*) FROM ({}) orphans", orphans(database, table, key));
            let count = session.value(&format!("check the foreign key {} of {}", key.name, table.name), &sql)?;
            if count != "0" {
                notes.push(format!(
                    "{}: {count} rows without a row in {} (foreign key {})",
                    table.name, key.table, key.name
                ));
            }
        }
    }
    Ok(notes)
}
