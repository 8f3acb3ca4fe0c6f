//! The live database as files.

use super::schema::{self, ConfigTable, Model};
use super::scope::leave_out;
use super::session::{Session, Watch};
use super::settings::Target;
use super::sql::literal;
use super::table::{RowTable, row_tables};
use super::{copy, sequences, snapshot};
use crate::engine::Rules;
use crate::rows::{Limits, Line, Sorter, Writer, gitattributes};
use crate::{Cx, Error, Exported, Fingerprint, Result, Sink, StatePath};

/// Part of every fingerprint: another way of writing means other files. Raise it with every change of what an export writes.
const FORMAT: &str = "postgresql 2";

/// Writes the live database as files.
pub(super) fn export(target: &Target, name: &str, sink: &mut dyn Sink, cx: &Cx<'_>) -> Result<Exported> {
    let fingerprint = fingerprint(target, name)?;
    let (mut session, mut model) = snapshot::open(target, name, cx)?;
    let _watch = Watch::new(&session, cx);
    let ruled = notes(&model, &target.rules);
    let members = changed_members(&mut session)?;
    leave_out(&mut model, &target.rules)?;
    refuse_what_is_not_kept(&mut session, &model, &target.rules)?;
    let attributes = StatePath::new(".gitattributes").map_err(Error::carrier("name the attributes"))?;
    sink.put(&attributes, gitattributes().as_bytes())?;
    for (path, bytes) in schema::files(&model)? {
        sink.put(&path, &bytes)?;
    }
    for table in row_tables(&model, &target.rules)? {
        write_rows(&mut session, &model, &table, sink, cx)?;
    }
    sequences::write(&mut session, &model, &target.rules, sink)?;
    session.run("end the transaction", "COMMIT")?;
    let notes = model.notes.into_iter().chain(ruled).chain(members).collect();
    Ok(Exported { fingerprint: Some(fingerprint), notes })
}

/// What is not kept, since an extension brings its own, in a line.
fn changed_members(session: &mut Session) -> Result<Option<String>> {
    const NAMED: usize = 10;
    let changed = session.column("look into the extensions", include_str!("changed_members.sql"))?;
    let more = changed.len().saturating_sub(NAMED);
    let names = changed.iter().take(NAMED).map(String::as_str).collect::<Vec<_>>().join(", ");
    let more = if more > 0 { format!(", and {more} more") } else { String::new() };
    let line = format!("changed on objects of extensions, which come back as the extension makes them: {names}{more}");
    Ok((!changed.is_empty()).then_some(line))
}

fn write_rows(
    session: &mut Session, model: &Model, table: &RowTable<'_>, sink: &mut dyn Sink, cx: &Cx<'_>,
) -> Result<()> {
    let context = format!("read the rows of {}", table.table.qualified);
    let sorted = table.sorted_by_server(&model.database.encoding);
    let (header, folder) = (table.header(), table.folder()?);
    let sql = table.copy_out(sorted);
    cx.progress.begin(&table.table.qualified, None);
    let mut done = 0;
    let mut count = |rows: u64| {
        done += rows;
        if done % 10_000 == 0 {
            cx.progress.advance(done);
        }
    };
    if sorted {
        let mut writer = Writer::new(sink, folder, &header, Limits::default())?;
        copy::out(session, &context, &sql, cx, |line| {
            count(1);
            writer.line(line)
        })?;
        writer.finish()?;
    } else {
        let mut sorter = Sorter::new(!header.key.is_empty(), Limits::default(), cx);
        let (mut key, mut number) = (Vec::new(), 0);
        copy::out(session, &context, &sql, cx, |bytes| {
            count(1);
            number += 1;
            key.clear();
            header.push_key(bytes, &mut key).map_err(Error::engine(context.clone()))?;
            sorter.push(&Line { bytes, key: &key, file: &folder, number })
        })?;
        let mut writer = Writer::new(sink, folder.clone(), &header, Limits::default())?;
        sorter.finish()?.write(&mut writer)?;
        writer.finish()?;
    }
    cx.progress.end();
    Ok(())
}

/// Refuses what would be lost without a word.
fn refuse_what_is_not_kept(session: &mut Session, model: &Model, rules: &Rules) -> Result<()> {
    if session.holds("look for large objects", "SELECT EXISTS (SELECT FROM pg_largeobject_metadata)")? {
        return Err(Error::Unsupported { what: "large objects (pg_largeobject)".into() });
    }
    for ConfigTable { extension, table, condition } in &model.config_tables {
        let place = format!(
            "SELECT n.nspname, c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
             WHERE c.oid = {}::regclass",
            literal(table)
        );
        let place = session.rows("name a table of an extension", &place)?.into_iter().next().unwrap_or_default();
        let left_out = matches!(place.as_slice(), [Some(schema), Some(name)] if !rules.has_rows(&[schema, name]));
        let context = format!("look into {table}");
        let sql = format!("SELECT EXISTS (SELECT FROM {table} {condition})");
        if !left_out && session.holds(&context, &sql)? {
            return Err(Error::Unsupported { what: format!("rows of {table}, a table of the extension {extension}") });
        }
    }
    refuse_dangling(model, rules)
}

/// Refuses a foreign key from rows that are in the files to rows that are not.
fn refuse_dangling(model: &Model, rules: &Rules) -> Result<()> {
    for table in model.tables.values().filter(|table| rules.has_rows(&[&table.schema, &table.name])) {
        for key in &table.foreign_keys {
            let Some(parent) = model.tables.get(&key.table) else { continue };
            if !rules.has_rows(&[&parent.schema, &parent.name]) {
                let option = format!("tables.{}.{}", parent.schema, parent.name);
                let message = format!(
                    "{} refers to {} by the foreign key {}, and the rows of that are left out",
                    table.qualified, parent.qualified, key.name
                );
                return Err(Error::option(option, message));
            }
        }
    }
    Ok(())
}

/// What the rules leave out, a line each.
fn notes(model: &Model, rules: &Rules) -> Vec<String> {
    let note = |table: &schema::Table| {
        let has = |name: &str| table.columns.iter().any(|column| column.name == name);
        rules.note(&[&table.schema, &table.name], &table.qualified, has)
    };
    model.tables.values().filter_map(note).collect()
}

/// A cheap sign that nothing at all changed: what is visible to a new transaction, where every sequence is (a snapshot does
/// not cover them), and which server this is, in which life: after a crash or a restore the same numbers may mean
/// another history.
pub(super) fn fingerprint(target: &Target, name: &str) -> Result<Fingerprint> {
    let mut session = Session::live(target, name)?;
    let sql = "SELECT concat_ws(' ', pg_current_snapshot(), s.system_identifier, c.timeline_id, d.oid, d.datname, \
               extract(epoch FROM a.backend_start), current_setting('server_version_num')) \
               FROM pg_control_system() s, pg_control_checkpoint() c, pg_database d, pg_stat_activity a \
               WHERE d.datname = current_database() AND a.backend_type = 'checkpointer'";
    let context = "take a fingerprint";
    let server = session.value(context, sql)?;
    let sql = "SELECT quote_ident(n.nspname) || '.' || quote_ident(c.relname) FROM pg_class c \
               JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.relkind = 'S' AND c.relpersistence <> 't' ORDER BY 1";
    let mut positions = Vec::new();
    for some in session.column(context, sql)?.chunks(100) {
        let one = |name: &String| format!("SELECT {} AS name, last_value, is_called FROM {name}", literal(name));
        let all = some.iter().map(one).collect::<Vec<_>>().join(" UNION ALL ");
        let sql = format!(
            "SELECT md5(string_agg(concat_ws(' ', name, last_value, is_called), ',' ORDER BY name)) FROM ({all}) s"
        );
        positions.push(session.value(context, &sql)?);
    }
    Ok(Fingerprint(format!("{FORMAT}; {server}; {}; {:?}", positions.join(" "), target.rules)))
}
