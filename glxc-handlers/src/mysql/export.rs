//! The live database as files.

use siphasher::sip128::SipHasher24;

use super::catalog::{self, Model};
use super::schema::Schema;
use super::session::{Session, code};
use super::settings::Target;
use super::sql::{ident, literal};
use super::table::Table;
use super::{increments, value};
use crate::engine::{Rules, until_quiet};
use crate::rows::{Limits, Line, Sorter, Writer, gitattributes};
use crate::{Cx, Error, Exported, Fingerprint, MemorySink, Result, Sink, StatePath};

/// Part of every fingerprint: another way of writing means other files. Raise it with every change of what an export writes.
const FORMAT: &str = "mysql 2";

/// Writes the live database as files.
pub(super) fn export(target: &Target, sink: &mut dyn Sink, cx: &Cx<'_>) -> Result<Exported> {
    let fingerprint = Some(fingerprint(target)?);
    let (mut session, model) = snapshot(target, cx)?;
    write_schema(&model, sink, cx)?;
    for table in model.tables.values().filter(|table| table.has_rows) {
        write_rows(&mut session, table, sink, cx)?;
    }
    increments::write(&model, sink)?;
    session.run("end the transaction", "COMMIT")?;
    Ok(Exported { fingerprint, notes: notes(&model, &target.rules) })
}

/// A cheap sign that nothing changed: how far the log of InnoDB is, which every write of a row moves, and every definition that
/// is kept beside it. It is of one life of the server: after a crash the log may have lost its end, and reach the same place
/// with other writes. (The log of a server that is left alone stops, once it has written what was changed to its place.)
pub(super) fn fingerprint(target: &Target) -> Result<Fingerprint> {
    let mut session = Session::live(target)?;
    // First: what comes later is in no fingerprint that equals this one.
    let server = session.value("take a fingerprint", session.product.log_position())?;
    let model = catalog::read(&mut session, &target.database, &target.rules)?;
    let definitions = SipHasher24::new().hash(format!("{model:?}").as_bytes()).as_u128();
    Ok(Fingerprint(format!("{FORMAT}; {server}; {definitions:032x}; {:?}", target.rules)))
}

/// What the rules leave out, a line each.
fn notes(model: &Model, rules: &Rules) -> Vec<String> {
    let ignored = model.ignored.iter().filter_map(|name| rules.note(&[name], name, |_| false));
    let ruled = model.tables.values().filter_map(|table| {
        rules.note(&[&table.name], &table.name, |name| table.columns.iter().any(|column| column.name == name))
    });
    ignored.chain(ruled).collect()
}

/// Writes what is not rows.
pub(super) fn write_schema(model: &Model, sink: &mut dyn Sink, cx: &Cx<'_>) -> Result<()> {
    let attributes = StatePath::new(".gitattributes").map_err(Error::carrier("name the attributes"))?;
    let mut files = MemorySink::new(None);
    for (path, text) in model.files()? {
        files.put(&path, text.as_bytes())?;
    }
    let files = files.finish()?;
    // What could not be pushed again is not exported.
    Schema::of(&files, cx).map_err(|error| Error::Unsupported { what: error.to_string() })?;
    sink.put(&attributes, gitattributes().as_bytes())?;
    files.files().iter().try_for_each(|(path, (_, bytes))| sink.put(path, bytes))
}

/// Opens a transaction that reads one point in time, and reads the definitions.
///
/// A snapshot covers rows and not definitions. So every table is touched, which keeps its definition until the transaction
/// ends, and nothing may have changed between a look before the snapshot and one behind.
fn snapshot(target: &Target, cx: &Cx<'_>) -> Result<(Session, Model)> {
    let mut session = Session::live(target)?;
    let model = until_quiet(&target.database, cx, || {
        let model = match attempt(&mut session, target) {
            Err(error) if is_in_the_way(&error) => None,
            attempted => attempted?,
        };
        if model.is_none() {
            session.run("end the transaction", "ROLLBACK")?;
        }
        Ok(model)
    })?;
    Ok((session, model))
}

fn attempt(session: &mut Session, target: &Target) -> Result<Option<Model>> {
    let Target { database, rules, .. } = target;
    let before = (catalog::read(session, database, rules)?, birthdays(session, database)?);
    session.run("begin", "START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY")?;
    for table in before.0.tables.keys() {
        session.run(&format!("look at {table}"), &format!("SELECT 1 FROM {} LIMIT 0", ident(table)))?;
    }
    let after = (catalog::read(session, database, rules)?, birthdays(session, database)?);
    let unmoved = without_numbers(before.0) == without_numbers(after.0.clone()) && before.1 == after.1;
    Ok(unmoved.then_some(after.0))
}

/// When the tables were made: one that was dropped and made again, or emptied by TRUNCATE, is another.
fn birthdays(session: &mut Session, database: &str) -> Result<Vec<Vec<String>>> {
    let sql = format!(
        "SELECT TABLE_NAME, CREATE_TIME FROM information_schema.TABLES WHERE TABLE_SCHEMA = {} ORDER BY 1",
        literal(database)
    );
    session.texts("list the tables", &sql)
}

/// The definitions, without what every row moves.
pub(super) fn without_numbers(mut model: Model) -> Model {
    model.tables.values_mut().for_each(|table| table.auto_increment = None);
    model
}

/// Somebody holds a lock, or changed or dropped what was listed.
fn is_in_the_way(error: &Error) -> bool {
    matches!(code(error), Some(1205 | 1213 | 1412 | 1146 | 1049 | 1305 | 1360 | 1539 | 1684))
}

/// Writes the rows of a table, which the session sees in the current database.
pub(super) fn write_rows(session: &mut Session, table: &Table, sink: &mut dyn Sink, cx: &Cx<'_>) -> Result<()> {
    let context = format!("read the rows of {}", table.name);
    let (header, folder, columns) = (table.header(), table.folder()?, table.stored());
    // Without an alias: under LOCK TABLES it would be another table.
    let name = ident(&table.name);
    let mut sql = format!("SELECT {} FROM {name}", table.select(&name));
    let sorted = table.sorted_by_server();
    if sorted {
        sql += &format!(" ORDER BY {}", table.order());
    }
    cx.progress.begin(&table.name, None);
    let mut done = 0;
    let mut count = || -> Result<u64> {
        done += 1;
        if done % 1000 == 0 {
            cx.check()?;
            cx.progress.advance(done);
        }
        Ok(done)
    };
    if sorted {
        let mut writer = Writer::new(sink, folder, &header, Limits::default())?;
        session.each(&context, &sql, |row| {
            count()?;
            writer.line(&value::line(&columns, row)?)
        })?;
        writer.finish()?;
    } else {
        let mut sorter = Sorter::new(!header.key.is_empty(), Limits::default(), cx);
        let mut key = Vec::new();
        session.each(&context, &sql, |row| {
            let (number, bytes) = (count()?, value::line(&columns, row)?);
            key.clear();
            header.push_key(&bytes, &mut key).map_err(Error::engine(context.clone()))?;
            sorter.push(&Line { bytes: &bytes, key: &key, file: &folder, number })
        })?;
        let mut writer = Writer::new(sink, folder.clone(), &header, Limits::default())?;
        sorter.finish()?.write(&mut writer)?;
        writer.finish()?;
    }
    cx.progress.end();
    cx.check()
}
