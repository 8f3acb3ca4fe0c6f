//! What is set on objects after they were created: owners, options, comments, grants.

use super::model::*;
use super::query::Row;
use super::read::Reader;
use crate::Result;

/// The object id of `pg_class` itself, which never changes.
pub(super) const CLASS: u32 = 1259;
/// That of `pg_type`.
pub(super) const TYPE: u32 = 1247;

/// The key of an owner.
pub(super) const OWNER: &str = "1 owner";
/// The key of NOT NULL.
pub(super) const NOT_NULL: &str = "2 not null";

/// The key of the column that a sequence belongs to.
pub(super) const OWNED_BY: &str = "2 owned by";
/// The key of whether a materialized view has rows.
pub(super) const POPULATED: &str = "9 populated";

/// What stands for the database's name in statements, since the files hold for a database of any name.
pub(super) const DATABASE: &str = "current_database";

/// The object that holds what is set on the database and on what the server brought.
pub(super) fn database() -> ObjectId {
    ObjectId::new(Kind::Database, DATABASE)
}

pub(super) fn read(reader: &mut Reader<'_>) -> Result<()> {
    owners(reader)?;
    altered(reader)?;
    comments(reader)?;
    grants(reader)?;
    default_privileges(reader)?;
    database_settings(reader)?;
    for row in reader.rows("SELECT rolname AS name FROM pg_catalog.pg_roles")? {
        reader.model.cluster_roles.insert(row.string("name")?);
    }
    let policies = "SELECT DISTINCT r.rolname AS name FROM pg_catalog.pg_policy p, pg_catalog.unnest(p.polroles) u
        JOIN pg_catalog.pg_roles r ON r.oid = u";
    for row in reader.rows(policies)? {
        role(reader, row.opt("name")?);
    }
    Ok(())
}

/// Remembers a role that something names. The server's own are everywhere.
fn role(reader: &mut Reader<'_>, name: Option<&str>) {
    if let Some(name) = name.filter(|name| !name.starts_with("pg_")) {
        reader.model.roles.insert(name.to_owned());
    }
}

fn set(reader: &mut Reader<'_>, id: &ObjectId, key: String, set: String, reset: Option<String>) {
    if let Some(object) = reader.model.objects.get_mut(id) {
        object.settings.insert(key, Setting { set, reset });
    }
}

fn owners(reader: &mut Reader<'_>) -> Result<()> {
    for row in reader.own_rows(include_str!("catalog/owners.sql"))? {
        let Some(known) = reader.find((row.number("class")?, row.number("oid")?, 0)).cloned() else { continue };
        let statement = format!("ALTER {} {} OWNER TO {}", known.id.kind.words(), known.id.name, row.text("quoted")?);
        set(reader, &known.id, OWNER.into(), statement, None);
        role(reader, Some(row.text("name")?));
    }
    Ok(())
}

fn altered(reader: &mut Reader<'_>) -> Result<()> {
    for row in reader.own_rows(include_str!("catalog/settings.sql"))? {
        let place = (row.number("class")?, row.number("oid")?, row.number("sub")?);
        let Some(known) = reader.find(place).cloned() else { continue };
        let key = match known.part && place.2 != 0 {
            true => format!("{} {}", row.text("key")?, known.subject),
            false => row.string("key")?,
        };
        set(reader, &known.id, key, row.string("set")?, row.opt("reset")?.map(str::to_owned));
    }
    Ok(())
}

fn comments(reader: &mut Reader<'_>) -> Result<()> {
    for row in reader.rows(include_str!("catalog/comments.sql"))? {
        let place = (row.number("class")?, row.number("oid")?, row.number("sub")?);
        let Some(known) = reader.known.get(&place).filter(|known| !known.subject.is_empty()).cloned() else { continue };
        let key = if known.part { format!("3 comment {}", known.subject) } else { "3 comment".into() };
        let on = format!("COMMENT ON {} IS", known.subject);
        set(reader, &known.id, key, format!("{on} {}", row.text("comment")?), Some(format!("{on} NULL")));
    }
    Ok(())
}

/// The words of a grant and of its opposite. Revoking from who got it by default is granted back.
fn grant(row: &Row, prefix: &str, privileges: &str, on: &str) -> Result<(String, Setting)> {
    let role = row.text("quoted")?;
    let option = if row.flag("grantable")? { " WITH GRANT OPTION" } else { "" };
    let give = format!("{prefix}GRANT {privileges} {on} TO {role}{option}");
    let take = format!("{prefix}REVOKE {privileges} {on} FROM {role}");
    let (key, setting) = match row.flag("grants")? {
        true => ("5 grant", Setting { set: give, reset: Some(take) }),
        false => ("4 revoke", Setting { set: take, reset: Some(give) }),
    };
    Ok((format!("{key} {on} {role}{option}"), setting))
}

fn grants(reader: &mut Reader<'_>) -> Result<()> {
    for row in reader.rows(include_str!("catalog/grants.sql"))? {
        let (oid, subject): (u32, _) = (row.number("oid")?, row.text("subject")?);
        let known = reader.find((row.number("class")?, oid, row.number("sub")?)).cloned();
        let id = match known {
            Some(known) => known.id,
            None if oid < 16384 => database(),
            None => continue,
        };
        let (privileges, on) = match subject.split_once(") ON ") {
            Some((column, table)) if row.number::<i32>("sub")? != 0 => {
                let each = row.text("privileges")?.split(", ").map(|privilege| format!("{privilege} {column})"));
                (each.collect::<Vec<_>>().join(", "), format!("ON {table}"))
            }
            _ => (row.string("privileges")?, format!("ON {subject}")),
        };
        let (key, setting) = grant(&row, "", &privileges, &on)?;
        set(reader, &id, format!("{key} {subject}"), setting.set, setting.reset);
        role(reader, row.opt("name")?);
    }
    Ok(())
}

fn default_privileges(reader: &mut Reader<'_>) -> Result<()> {
    for row in reader.rows(include_str!("catalog/default_privileges.sql"))? {
        let schema = row.opt("schema_quoted")?.map_or(String::new(), |schema| format!(" IN SCHEMA {schema}"));
        let (owner, objects) = (row.text("role_quoted")?, row.text("objects")?);
        let id = ObjectId::new(Kind::DefaultPrivileges, format!("FOR ROLE {owner}{schema} ON {objects}"));
        let prefix = format!("ALTER DEFAULT PRIVILEGES FOR ROLE {owner}{schema} ");
        let (key, setting) = grant(&row, &prefix, row.text("privileges")?, &format!("ON {objects}"))?;
        let file = FileName { folder: "", schema: None, name: "default_privileges".into() };
        let object = reader.model.objects.entry(id).or_insert_with(|| Object::new(file, Definition::Implied));
        if row.opt("schema_quoted")?.is_some() {
            object.depends.insert(ObjectId::new(Kind::Schema, row.text("schema_quoted")?));
        }
        object.settings.insert(key, setting);
        role(reader, row.opt("name")?);
        role(reader, Some(row.text("role")?));
    }
    Ok(())
}

/// Settings whose value is a list, as a list of identifiers and not as one text.
const LISTS: [&str; 6] = [
    "search_path",
    "temp_tablespaces",
    "session_preload_libraries",
    "shared_preload_libraries",
    "local_preload_libraries",
    "unix_socket_directories",
];

fn database_settings(reader: &mut Reader<'_>) -> Result<()> {
    for row in reader.rows(include_str!("catalog/database_settings.sql"))? {
        let value = match (LISTS.contains(&row.text("name")?), row.text("value")?) {
            (true, "" | "\"\"") => "''",
            (true, list) => list,
            (false, _) => row.text("literal")?,
        };
        let alter = match row.opt("role_quoted")? {
            Some(role) => format!("ALTER ROLE {role} IN DATABASE {DATABASE}"),
            None => format!("ALTER DATABASE {DATABASE}"),
        };
        let name = row.text("quoted")?;
        let key = format!("2 {} {name}", row.opt("role_quoted")?.unwrap_or_default());
        let (statement, reset) = (format!("{alter} SET {name} TO {value}"), format!("{alter} RESET {name}"));
        set(reader, &database(), key, statement, Some(reset));
        role(reader, row.opt("role")?);
    }
    Ok(())
}
