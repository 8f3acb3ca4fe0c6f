//! The next numbers of AUTO_INCREMENT columns: a row file of its own, since they move with every row that is inserted, and the
//! rule by which they are imported.

use std::collections::BTreeMap;

use super::catalog::{Model, printed_number};
use super::session::Session;
use super::sql::{literal, qualified};
use super::value::{escape, unescape};
use crate::rows::{self, Comparator, Header, Limits, Reader, Writer};
use crate::{Cx, Error, Result, Sink, StatePath, Tree};

/// The folder of the row file.
pub(super) fn folder() -> Result<StatePath> {
    StatePath::new("auto_increment").map_err(Error::carrier("name the folder of the next numbers"))
}

fn header() -> Header {
    Header { columns: ["table", "next"].map(String::from).to_vec(), key: vec![(0, Comparator::Bytes)] }
}

/// Writes the row file.
pub(super) fn write(model: &Model, sink: &mut dyn Sink) -> Result<()> {
    let mut writer = Writer::new(sink, folder()?, &header(), Limits::default())?;
    for table in model.tables.values().filter(|table| table.has_rows) {
        if let Some(next) = table.auto_increment {
            writer.line(format!("{}\t{next}", escape(&table.name)).as_bytes())?;
        }
    }
    writer.finish().map(drop)
}

/// The numbers of a tree, by table, with their places.
pub(super) fn read(tree: &dyn Tree, cx: &Cx<'_>) -> Result<BTreeMap<String, (u64, StatePath, u64)>> {
    let (folder, mut numbers) = (folder()?, BTreeMap::new());
    let Some(first) = tree.within(&folder).first() else { return Ok(numbers) };
    if rows::check(tree, &folder, Limits::default(), cx)?.0 != header() {
        return Err(Error::input(&first.path, 1, format!("must be: {}", header().to_line())));
    }
    let mut reader = Reader::new(tree, &folder, Limits::default())?;
    while let Some(line) = reader.next()? {
        let mut fields = line.bytes.split(|b| *b == b'\t');
        let table = fields.next().and_then(unescape);
        let next = fields.next().and_then(|next| std::str::from_utf8(next).ok()?.parse().ok());
        let (Some(table), Some(next)) = (table, next) else {
            return Err(Error::input(line.file, line.number, "not the next number of a table"));
        };
        numbers.insert(table, (next, line.file.clone(), line.number));
    }
    Ok(numbers)
}

/// The rule of an import. What did not move since `base` becomes `pushed` exactly; otherwise the further one stays or becomes,
/// so that no number is given out twice.
pub(super) fn merged(base: Option<u64>, live: u64, pushed: u64) -> u64 {
    if base == Some(live) { pushed } else { live.max(pushed) }
}

/// The next number of a table, as it is now. (MySQL lists none before the first row.)
pub(super) fn live(session: &mut Session, database: &str, table: &str) -> Result<Option<u64>> {
    let context = "read the next number of a table";
    let sql = format!(
        "SELECT 1 FROM information_schema.COLUMNS WHERE TABLE_SCHEMA = {} AND TABLE_NAME = {} \
         AND EXTRA LIKE '%auto_increment%'",
        literal(database),
        literal(table)
    );
    if !session.finds(context, &sql)? {
        return Ok(None);
    }
    let rows = session.texts(context, &format!("SHOW CREATE TABLE {}", qualified(database, table)))?;
    Ok(rows.first().and_then(|row| row.get(1)).map(|printed| printed_number(printed).unwrap_or(1)))
}

/// Sets the next number of a table. The server keeps it above the numbers that are there.
pub(super) fn set(session: &mut Session, database: &str, table: &str, next: u64) -> Result<()> {
    let sql = format!("ALTER TABLE {} AUTO_INCREMENT = {next}", qualified(database, table));
    session.run(&format!("set the next number of {table}"), &sql)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_number_is_given_out_twice() {
        assert_eq!(merged(Some(10), 10, 5), 5, "live = base: exactly");
        assert_eq!(merged(Some(10), 12, 11), 12);
        assert_eq!(merged(Some(10), 12, 20), 20);
        assert_eq!(merged(None, 1, 7), 7);
    }
}
