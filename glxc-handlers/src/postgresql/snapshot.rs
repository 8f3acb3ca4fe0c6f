//! One point in time of a database, for reading.
//!
//! Three races are closed here. A table that is rewritten between the snapshot and its lock reads as empty without an error;
//! so all tables are locked before the transaction takes its snapshot. The server's functions that print definitions look
//! at the present and not at the snapshot; so the catalogs must not have changed until everything is printed. And a lock
//! that waits makes everybody behind it wait too; so the wait is short, and tried again.

use std::time::Duration;

use postgres::error::SqlState;

use super::schema::{self, Model};
use super::session::{Session, code};
use super::settings::Target;
use super::sql::qualified;
use crate::engine::until_quiet;
use crate::{Cx, Error, Result};

/// How long one try waits for the locks. Behind it the application waits.
const WAIT: Duration = Duration::from_secs(3);

const TABLES: &str = "SELECT c.oid, n.nspname, c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
     WHERE c.relkind IN ('r', 'p') AND c.relpersistence <> 't' AND n.nspname !~ '^pg_' \
     AND n.nspname <> 'information_schema' ORDER BY n.nspname, c.relname";

/// The catalogs that the printing functions and the model read, with a condition that leaves temporary tables out.
const CATALOGS: &[(&str, &str)] = &[
    ("pg_class", "relpersistence <> 't'"),
    ("pg_attribute", "attrelid NOT IN (SELECT oid FROM temporary)"),
    ("pg_attrdef", "adrelid NOT IN (SELECT oid FROM temporary)"),
    ("pg_constraint", "conrelid NOT IN (SELECT oid FROM temporary)"),
    ("pg_index", "indrelid NOT IN (SELECT oid FROM temporary)"),
    ("pg_trigger", "tgrelid NOT IN (SELECT oid FROM temporary)"),
    ("pg_rewrite", "ev_class NOT IN (SELECT oid FROM temporary)"),
    ("pg_type", "typnamespace NOT IN (SELECT oid FROM pg_namespace WHERE nspname ~ '^pg_temp')"),
    ("pg_namespace", "nspname !~ '^pg_(toast_)?temp'"),
    ("pg_proc", "true"),
    ("pg_aggregate", "true"),
    ("pg_sequence", "seqrelid NOT IN (SELECT oid FROM temporary)"),
    ("pg_inherits", "true"),
    ("pg_partitioned_table", "true"),
    ("pg_enum", "true"),
    ("pg_range", "true"),
    ("pg_operator", "true"),
    ("pg_opclass", "true"),
    ("pg_opfamily", "true"),
    ("pg_amop", "true"),
    ("pg_amproc", "true"),
    ("pg_cast", "true"),
    ("pg_collation", "true"),
    ("pg_conversion", "true"),
    ("pg_language", "true"),
    ("pg_transform", "true"),
    ("pg_extension", "true"),
    ("pg_policy", "true"),
    ("pg_statistic_ext", "true"),
    ("pg_default_acl", "true"),
    ("pg_event_trigger", "true"),
    ("pg_description", "objoid NOT IN (SELECT oid FROM temporary)"),
    ("pg_foreign_data_wrapper", "true"),
    ("pg_foreign_server", "true"),
    ("pg_foreign_table", "true"),
    ("pg_ts_config", "true"),
    ("pg_ts_config_map", "true"),
    ("pg_ts_dict", "true"),
    ("pg_ts_parser", "true"),
    ("pg_ts_template", "true"),
    ("pg_publication", "true"),
    ("pg_publication_rel", "true"),
    ("pg_largeobject_metadata", "true"),
    ("pg_authid", "true"),
    ("pg_db_role_setting", "true"),
];

/// A sign of every version of every row of the catalogs: equal signs, equal definitions. (Sums of hashes, since sorting some
/// fifteen thousand rows takes longer than reading them.)
pub(super) fn catalog_sign(session: &mut Session) -> Result<String> {
    let one = |(catalog, condition): &(&str, &str)| {
        format!(
            "SELECT '{catalog} ' || count(*) || ' ' || coalesce(sum(hashtextextended(ctid::text || xmin::text, 0)), 0) AS sign \
             FROM pg_catalog.{catalog} WHERE {condition}"
        )
    };
    let all = CATALOGS.iter().map(one).collect::<Vec<_>>().join(" UNION ALL ");
    let sql = format!(
        "WITH temporary AS (SELECT oid FROM pg_class WHERE relpersistence = 't') \
         SELECT md5(string_agg(sign, ',' ORDER BY sign COLLATE \"C\")) FROM ({all}) signs"
    );
    session.value("read the catalogs", &sql)
}

/// The schema and name of every table of the application.
pub(super) fn tables(session: &mut Session) -> Result<Vec<(String, String)>> {
    let rows = session.rows("list the tables", TABLES)?;
    let text = |value: &mut Option<String>| value.take().unwrap_or_default();
    Ok(rows.into_iter().map(|mut row| (text(&mut row[1]), text(&mut row[2]))).collect())
}

/// Opens a transaction that reads one point in time, with every table locked against changes of its definition, and
/// reads the schema.
pub(super) fn open(target: &Target, name: &str, cx: &Cx<'_>) -> Result<(Session, Model)> {
    let mut session = Session::connect(target, &target.database, name)?;
    session.restrict_views()?;
    let mut now = Session::connect(target, &target.database, name)?;
    let model = until_quiet(&target.database, cx, || {
        let model = attempt(&mut session, &mut now)?;
        if model.is_none() {
            session.run("end the transaction", "ROLLBACK")?;
        }
        Ok(model)
    })?;
    Ok((session, model))
}

/// One attempt; `None` where somebody was in the way.
fn attempt(session: &mut Session, now: &mut Session) -> Result<Option<Model>> {
    let tables = session.rows("list the tables", TABLES)?;
    session.run("begin", "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")?;
    match lock(session, &tables) {
        Err(error) if is_in_the_way(&error) => return Ok(None),
        other => other?,
    }
    if session.rows("list the tables", TABLES)? != tables {
        return Ok(None);
    }
    let before = catalog_sign(session)?;
    let model = schema::read(session.client());
    if catalog_sign(now)? != before {
        return Ok(None);
    }
    Ok(Some(model?))
}

fn lock(session: &mut Session, tables: &[Vec<Option<String>>]) -> Result<()> {
    let (wait, later) = (session.lock_timeout.min(WAIT), session.lock_timeout);
    session.run("set the time to wait for a lock", &format!("SET LOCAL lock_timeout = {}", wait.as_millis()))?;
    for some in tables.chunks(200) {
        let name = |row: &Vec<Option<String>>| {
            let text = |at: usize| row[at].as_deref().unwrap_or_default();
            format!("ONLY {}", qualified(text(1), text(2)))
        };
        let names = some.iter().map(name).collect::<Vec<_>>().join(", ");
        session.run("lock the tables for reading", &format!("LOCK TABLE {names} IN ACCESS SHARE MODE"))?;
    }
    session.run("set the time to wait for a lock", &format!("SET LOCAL lock_timeout = {}", later.as_millis()))
}

/// Somebody holds a lock, or changed or dropped what was listed.
pub(super) fn is_in_the_way(error: &Error) -> bool {
    code(error).is_some_and(|code| {
        [
            SqlState::LOCK_NOT_AVAILABLE,
            SqlState::T_R_DEADLOCK_DETECTED,
            SqlState::UNDEFINED_TABLE,
            SqlState::UNDEFINED_OBJECT,
            SqlState::INVALID_SCHEMA_NAME,
        ]
        .contains(code)
    })
}
