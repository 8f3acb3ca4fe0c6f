//! Foreign keys, which the replica role does not check.

use super::apply::{Touched, excerpt};
use super::schema::{ForeignKey, Model, Table, TableKind};
use super::session::Session;
use super::sql::{ident, list};
use super::staging::{Files, Staging};
use super::table::is_own;
use crate::{Error, Result};

/// Locks the parents of the rows that will be written. Who deletes a parent locks it first and then looks for its children; if
/// the children were deleted here before their parents are locked, both would wait for each other.
pub(super) fn lock_parents(session: &mut Session, model: &Model, touched: &[&Touched]) -> Result<()> {
    for (key, child, new) in keys_of_children(model, touched) {
        let wanted = wanted(key, child, new);
        let sql = format!("WITH {wanted}, {} SELECT count(*) FROM locked", locked(model, key));
        session.run(&format!("lock the parents of {}", child.qualified), &sql)?;
    }
    Ok(())
}

/// Checks both directions: every row that was written has its parents, which can not go away any more; and nobody refers to a
/// row that was deleted.
pub(super) fn check(session: &mut Session, model: &Model, touched: &[&Touched], files: &Files) -> Result<()> {
    for (key, child, new) in keys_of_children(model, touched) {
        let old = touched.iter().find(|t| t.qualified == child.qualified).and_then(|t| t.old.as_ref());
        check_child(session, model, key, child, (old, new), files)?;
    }
    for (parent, old) in touched.iter().filter_map(|t| Some((model.tables.get(&t.qualified)?, t.old.as_ref()?))) {
        for (child, key) in keys_to(model, parent) {
            check_parent(session, model, key, child, (parent, old))?;
        }
    }
    Ok(())
}

/// The foreign keys of tables into which rows are written.
fn keys_of_children<'a>(
    model: &'a Model, touched: &'a [&Touched],
) -> impl Iterator<Item = (&'a ForeignKey, &'a Table, &'a Staging)> {
    let tables = touched.iter().filter_map(|t| Some((model.tables.get(&t.qualified)?, t.new.as_ref()?)));
    let keys = tables.flat_map(|(child, new)| child.foreign_keys.iter().map(move |key| (key, child, new)));
    keys.filter(|(key, child, _)| !is_part(model, key, child))
}

/// Whether a key is what the server made of another one for one partition of the referenced table.
fn is_part(model: &Model, key: &ForeignKey, child: &Table) -> bool {
    let above = ancestors(model, &key.table);
    let whole = |other: &ForeignKey| other.columns == key.columns && above[1..].contains(&other.table.as_str());
    key.inherited && child.foreign_keys.iter().any(whole)
}

/// A table and the tables that it is a partition of.
fn ancestors<'m>(model: &'m Model, table: &'m str) -> Vec<&'m str> {
    let above = |name: &&'m str| model.tables.get(*name).and_then(|table| table.partition_of.as_deref());
    std::iter::successors(Some(table), above).collect()
}

/// The foreign keys, of whatever table, that lead to a table or to one that it is a partition of.
fn keys_to<'m>(model: &'m Model, parent: &Table) -> Vec<(&'m Table, &'m ForeignKey)> {
    let names = ancestors(model, &parent.qualified);
    let keys = model.tables.values().flat_map(|child| child.foreign_keys.iter().map(move |key| (child, key)));
    keys.filter(|(_, key)| !key.inherited && names.contains(&key.table.as_str())).collect()
}

/// `FROM` for the rows of a table: with its partitions, but without what inherits from it.
fn from(table: Option<&Table>, name: &str) -> String {
    match table.map(|table| table.kind) {
        Some(TableKind::Partitioned) => name.to_owned(),
        _ => format!("ONLY {name}"),
    }
}

/// A pair of columns of a key, compared by its operator.
fn operator(key: &ForeignKey, at: usize, parent: &str, child: &str) -> String {
    let operator = key.operators.get(at).map_or("pg_catalog.=", String::as_str);
    format!("{parent} OPERATOR({operator}) {child}")
}

/// The written rows that need a parent, with the key as `f0`, .... Where the files do not hold a column of the key, since it is
/// computed or left out, the values are those of the live row.
fn wanted(key: &ForeignKey, child: &Table, new: &Staging) -> String {
    let values: Option<Vec<String>> = key.columns.iter().map(|name| new.value_of("w", name)).collect();
    let live = match values {
        Some(_) => String::new(),
        None => format!(" JOIN ONLY {} t ON {}", child.qualified, new.is_row("t", "w")),
    };
    let values = values.unwrap_or_else(|| key.columns.iter().map(|name| format!("t.{}", ident(name))).collect());
    let named = values.iter().enumerate().map(|(at, value)| format!(", {value} AS f{at}")).collect::<String>();
    let given = values.iter().map(|value| format!("{value} IS NOT NULL")).collect::<Vec<_>>().join(" AND ");
    format!("wanted AS (SELECT w.n, w.file, w.line{named} FROM {} w{live} WHERE {given})", new.name)
}

/// The parents of `wanted`, locked.
fn locked(model: &Model, key: &ForeignKey) -> String {
    let columns = list(key.referenced.iter().enumerate(), |(at, name)| format!("p.{} AS r{at}", ident(name)));
    let found = (0..key.columns.len())
        .map(|at| operator(key, at, &format!("p.{}", ident(&key.referenced[at])), &format!("v.f{at}")));
    format!(
        "locked AS MATERIALIZED (SELECT {columns} FROM {} p WHERE EXISTS (SELECT FROM wanted v WHERE {}) FOR KEY SHARE OF p)",
        from(model.tables.get(&key.table), &key.table),
        found.collect::<Vec<_>>().join(" AND ")
    )
}

fn check_child(
    session: &mut Session, model: &Model, key: &ForeignKey, child: &Table, (old, new): (Option<&Staging>, &Staging),
    files: &Files,
) -> Result<()> {
    let wanted = wanted(key, child, new);
    let width = key.columns.len();
    let found = (0..width).map(|at| operator(key, at, &format!("l.r{at}"), &format!("v.f{at}"))).collect::<Vec<_>>();
    let values = list(0..width, |at| format!("pg_catalog.concat(v.f{at})"));
    let sql = format!(
        "WITH {wanted}, {} SELECT v.file, v.line, count(*) OVER (), {values} FROM wanted v \
         WHERE NOT EXISTS (SELECT FROM locked l WHERE {}){} ORDER BY 1, 2 LIMIT 1",
        locked(model, key),
        found.join(" AND "),
        unchanged(key, old, new)
    );
    let context = format!("check the foreign key {} of {}", key.name, child.qualified);
    if let Some(row) = session.rows(&context, &sql)?.first() {
        let message = format!("{} has no row in {}", named(&key.columns, &row[3..]), key.table);
        return Err(violation(key, child, &row[..3], files, &message));
    }
    if key.match_type == 'f' && width > 1 { check_full(session, key, child, new, files) } else { Ok(()) }
}

/// Leaves out the rows whose key did not change, where the server itself never checked the rows that are there.
fn unchanged(key: &ForeignKey, old: Option<&Staging>, new: &Staging) -> String {
    let (Some(old), false) = (old, key.validated) else { return String::new() };
    let text = |staging: &Staging, alias: &str| -> Option<String> {
        let values = key.columns.iter().map(|name| staging.value_of(alias, name)).collect::<Option<Vec<_>>>()?;
        Some(format!("ROW({})::text COLLATE \"C\"", values.join(", ")))
    };
    let (Some(before), Some(after)) = (text(old, "o"), text(new, "w")) else { return String::new() };
    format!(
        " AND NOT EXISTS (SELECT FROM {} o JOIN {} w ON w.n = o.n WHERE o.n = v.n AND {before} = {after})",
        old.name, new.name
    )
}

/// `MATCH FULL`: all columns, or none.
fn check_full(session: &mut Session, key: &ForeignKey, child: &Table, new: &Staging, files: &Files) -> Result<()> {
    let values: Vec<String> = key.columns.iter().filter_map(|name| new.value_of("w", name)).collect();
    let sql = format!(
        "SELECT w.file, w.line, count(*) OVER () FROM {} w WHERE num_nulls({}) BETWEEN 1 AND {} ORDER BY 1, 2 LIMIT 1",
        new.name,
        values.join(", "),
        values.len() - 1
    );
    match session.rows(&format!("check the foreign key {}", key.name), &sql)?.first() {
        Some(row) => Err(violation(key, child, row, files, "some of the columns of the key are null, and not all")),
        None => Ok(()),
    }
}

/// What of the rows of a table refers to rows of `parent` that are not there any more.
fn check_parent(
    session: &mut Session, model: &Model, key: &ForeignKey, child: &Table, (parent, old): (&Table, &Staging),
) -> Result<()> {
    let Some(values) = key.referenced.iter().map(|name| old.value_of("o", name)).collect::<Option<Vec<_>>>() else {
        return check_all(session, model, key, child, old);
    };
    // The staged rows of a push that changes the schema have values of the application's types as text.
    let own = |at: usize| {
        let column = parent.columns.iter().find(|column| column.name == key.referenced[at]);
        column.is_some_and(is_own)
    };
    let printed = |left: &str, right: &str| format!("pg_catalog.concat({left}) = pg_catalog.concat({right})");
    let width = key.columns.len();
    let both = |one: &dyn Fn(usize) -> String| (0..width).map(one).collect::<Vec<_>>().join(" AND ");
    let still = both(&|at| {
        let live = format!("p.{}", ident(&key.referenced[at]));
        if own(at) { format!("{live} = {}", values[at]) } else { printed(&live, &values[at]) }
    });
    let refers = both(&|at| {
        let (gone, child) = (format!("g.r{at}"), format!("c.{}", ident(&key.columns[at])));
        if own(at) { operator(key, at, &gone, &child) } else { printed(&gone, &child) }
    });
    let keys = list(values.iter().enumerate(), |(at, value)| format!("{value} AS r{at}"));
    let sql = format!(
        "WITH gone AS (SELECT {keys} FROM {} o WHERE NOT EXISTS (SELECT FROM {} p WHERE {still})) \
         SELECT count(*) OVER (), {} FROM {} c JOIN gone g ON {refers} ORDER BY 2 LIMIT 1",
        old.name,
        from(model.tables.get(&key.table), &key.table),
        list(0..width, |at| format!("pg_catalog.concat(g.r{at})")),
        from(Some(child), &child.qualified),
    );
    let context = format!("check the foreign key {} of {}", key.name, child.qualified);
    let Some(row) = session.rows(&context, &sql)?.into_iter().next() else { return Ok(()) };
    Err(still_referred(&parent.qualified, key, child, &row))
}

/// Whether all rows of a child have their parents, where the files do not hold what they refer to by.
fn check_all(session: &mut Session, model: &Model, key: &ForeignKey, child: &Table, old: &Staging) -> Result<()> {
    let context = format!("check the foreign key {} of {}", key.name, child.qualified);
    if !session.holds(&context, &format!("SELECT EXISTS (SELECT FROM {})", old.name))? {
        return Ok(());
    }
    if !key.validated {
        let what = format!(
            "to change rows of {}, to whose computed or left out columns a foreign key refers that is not valid ({})",
            key.table, key.name
        );
        return Err(Error::Unsupported { what });
    }
    let column = |at: usize| format!("c.{}", ident(&key.columns[at]));
    let width = key.columns.len();
    let found = (0..width).map(|at| operator(key, at, &format!("p.{}", ident(&key.referenced[at])), &column(at)));
    let sql = format!(
        "SELECT count(*) OVER (), {} FROM {} c WHERE {} AND NOT EXISTS (SELECT FROM {} p WHERE {}) LIMIT 1",
        list(0..width, |at| format!("pg_catalog.concat({})", column(at))),
        from(Some(child), &child.qualified),
        (0..width).map(|at| format!("{} IS NOT NULL", column(at))).collect::<Vec<_>>().join(" AND "),
        from(model.tables.get(&key.table), &key.table),
        found.collect::<Vec<_>>().join(" AND "),
    );
    let Some(row) = session.rows(&context, &sql)?.into_iter().next() else { return Ok(()) };
    Err(still_referred(&key.table, key, child, &row))
}

fn still_referred(parent: &str, key: &ForeignKey, child: &Table, row: &[Option<String>]) -> Error {
    let count = row[0].as_deref().unwrap_or("1");
    let (rows, verb) = if count == "1" { ("row", "refers") } else { ("rows", "refer") };
    let message = format!(
        "{parent} {}: {count} {rows} of {} still {verb} to it (foreign key {})",
        named(&key.referenced, &row[1..]),
        child.qualified,
        key.name
    );
    Error::Violation { message, source: None }
}

fn named(columns: &[String], values: &[Option<String>]) -> String {
    let one = |(name, value): (&String, &Option<String>)| {
        format!("{}={}", name.escape_debug(), excerpt(value.as_deref().unwrap_or_default()))
    };
    columns.iter().zip(values).map(one).collect::<Vec<_>>().join(" ")
}

fn violation(key: &ForeignKey, child: &Table, place: &[Option<String>], files: &Files, what: &str) -> Error {
    let text = |at: usize| place.get(at).and_then(Option::as_deref).unwrap_or_default();
    let place = files.get(text(0)).map_or(String::new(), |file| format!("{file}:{}: ", text(1)));
    let more = match text(2).parse::<u64>() {
        Ok(total) if total > 1 => format!(", and {} more", total - 1),
        _ => String::new(),
    };
    let message = format!("{place}{}: {what} (foreign key {}){more}", child.qualified, key.name);
    Error::Violation { message, source: None }
}
