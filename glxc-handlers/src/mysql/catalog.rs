//! What a database holds: its definitions, as files, and what reading and writing rows needs to know of its tables.
//!
//! Every object is one of the kinds that are written here, or an error that names it.

use std::collections::BTreeMap;

use super::product::Product;
use super::schema::{Database, Kind, Object};
use super::session::{Session, code};
use super::sql::{end_of_quoted, ident, literal};
use super::table::{ForeignKey, Table};
use super::value::{Column, kind};
use crate::engine::Rules;
use crate::{Error, Result, StatePath};

/// Everything of a database but its rows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Model {
    pub database: Database,
    pub tables: BTreeMap<String, Table>,
    pub objects: Vec<Object>,
    /// The tables that the rules ignore: they are in none of the others.
    pub ignored: Vec<String>,
    /// The names of the tables that triggers stand on.
    pub with_triggers: Vec<String>,
}

impl Model {
    /// The schema files.
    pub fn files(&self) -> Result<BTreeMap<StatePath, String>> {
        let mut files = BTreeMap::from([(Database::path()?, self.database.text())]);
        for object in &self.objects {
            files.insert(object.path()?, object.text());
        }
        Ok(files)
    }

    /// The table whose rows stand in a folder.
    pub fn table_of(&self, wanted: &StatePath) -> Result<Option<&Table>> {
        for table in self.tables.values() {
            if table.folder()? == *wanted {
                return Ok(Some(table));
            }
        }
        Ok(None)
    }
}

/// Reads a database, which becomes the current one, but for what the rules leave out.
pub(super) fn read(session: &mut Session, database: &str, rules: &Rules) -> Result<Model> {
    session.enter(database)?;
    let mut reader = Reader { session, schema: literal(database), database, rules, model: Model::default() };
    reader.ignored()?;
    reader.refuse_unknown()?;
    reader.database()?;
    // First: a view that is not valid is in the way of the lists of columns.
    reader.views()?;
    reader.refuse_lossy_text()?;
    reader.tables()?;
    reader.columns()?;
    reader.keys()?;
    reader.refuse_lost_columns()?;
    reader.foreign_keys()?;
    reader.refuse_dangling()?;
    reader.routines()?;
    reader.triggers()?;
    reader.events()?;
    reader.model.objects.sort_by(|a, b| (a.kind, &a.name).cmp(&(b.kind, &b.name)));
    Ok(reader.model)
}

/// Whether a database holds nothing.
pub(super) fn is_empty(session: &mut Session, database: &str) -> Result<bool> {
    let name = literal(database);
    let sql = format!(
        "SELECT 1 FROM information_schema.TABLES WHERE TABLE_SCHEMA = {name} UNION ALL \
         SELECT 1 FROM information_schema.ROUTINES WHERE BINARY ROUTINE_SCHEMA = {name} UNION ALL \
         SELECT 1 FROM information_schema.EVENTS WHERE BINARY EVENT_SCHEMA = {name} LIMIT 1"
    );
    Ok(!session.finds("look for objects", &sql)?)
}

struct Reader<'s> {
    session: &'s mut Session,
    /// The name of the database as a constant.
    schema: String,
    database: &'s str,
    rules: &'s Rules,
    model: Model,
}

fn unsupported<T>(what: String) -> Result<T> {
    Err(Error::Unsupported { what })
}

fn lossy<T>(name: &str) -> Result<T> {
    unsupported(format!("{name}: a `?` in its definition, for which the server may have another character"))
}

impl Reader<'_> {
    fn texts(&mut self, context: &str, sql: &str) -> Result<Vec<Vec<String>>> {
        self.session.texts(context, &sql.replace("{schema}", &self.schema))
    }

    fn ignores(&self, table: &str) -> bool {
        self.rules.ignores(&[table])
    }

    fn ignored(&mut self) -> Result<()> {
        let sql = "SELECT TABLE_NAME FROM information_schema.TABLES WHERE TABLE_SCHEMA = {schema} \
                   AND TABLE_TYPE <> 'VIEW' ORDER BY TABLE_NAME";
        let names = self.texts("list the tables", sql)?.into_iter().map(|mut row| row.swap_remove(0));
        self.model.ignored = names.filter(|name| self.rules.ignores(&[name])).collect();
        Ok(())
    }

    /// Everything that is not one of the kinds that are written.
    fn refuse_unknown(&mut self) -> Result<()> {
        let sql = "SELECT TABLE_NAME, TABLE_TYPE, IFNULL(ENGINE, '') FROM information_schema.TABLES \
                   WHERE TABLE_SCHEMA = {schema} AND NOT (TABLE_TYPE = 'VIEW' \
                   OR TABLE_TYPE = 'BASE TABLE' AND ENGINE <=> 'InnoDB') ORDER BY TABLE_NAME";
        if let Some(row) = self.texts("list the tables", sql)?.iter().find(|row| !self.ignores(&row[0])) {
            return unsupported(format!("{} ({} {})", row[0], row[1].to_lowercase(), row[2]));
        }
        let routines = "SELECT ROUTINE_NAME, ROUTINE_TYPE FROM information_schema.ROUTINES WHERE BINARY ROUTINE_SCHEMA = {schema} \
                        AND ROUTINE_TYPE NOT IN ('FUNCTION', 'PROCEDURE')";
        let libraries = match self.session.product {
            Product::MariaDb => "",
            Product::MySql => {
                " UNION ALL SELECT LIBRARY_NAME, 'LIBRARY' FROM information_schema.LIBRARIES \
                               WHERE BINARY LIBRARY_SCHEMA = {schema}"
            }
        };
        match self.texts("list the routines", &format!("{routines}{libraries} ORDER BY 1 LIMIT 1"))?.first() {
            Some(row) => unsupported(format!("{} {}", row[1].to_lowercase(), row[0])),
            None => Ok(()),
        }
    }

    /// The server prints a `?` for a character beyond the basic plane: MariaDB in a default, a label or an expression of a table,
    /// MySQL in a label or a partition. Nothing tells it from a question mark.
    fn refuse_lossy_text(&mut self) -> Result<()> {
        let sql = match self.session.product {
            Product::MariaDb => {
                "SELECT TABLE_NAME, CONCAT(TABLE_NAME, '.', COLUMN_NAME) FROM information_schema.COLUMNS \
                   WHERE TABLE_SCHEMA = {schema} AND CONCAT_WS(' ', COLUMN_DEFAULT, COLUMN_TYPE, GENERATION_EXPRESSION) \
                   LIKE '%?%' UNION ALL SELECT TABLE_NAME, CONCAT(TABLE_NAME, ', check ', CONSTRAINT_NAME) \
                   FROM information_schema.CHECK_CONSTRAINTS WHERE CONSTRAINT_SCHEMA = {schema} \
                   AND CHECK_CLAUSE LIKE '%?%'"
            }
            Product::MySql => {
                "SELECT TABLE_NAME, CONCAT(TABLE_NAME, '.', COLUMN_NAME) FROM information_schema.COLUMNS \
                 WHERE TABLE_SCHEMA = {schema} AND DATA_TYPE IN ('enum', 'set') AND COLUMN_TYPE LIKE '%?%' UNION ALL \
                 SELECT TABLE_NAME, CONCAT(TABLE_NAME, ', partition ', PARTITION_NAME) FROM information_schema.PARTITIONS \
                 WHERE TABLE_SCHEMA = {schema} AND CONCAT_WS(' ', PARTITION_EXPRESSION, SUBPARTITION_EXPRESSION, \
                 PARTITION_DESCRIPTION) LIKE '%?%'"
            }
        };
        match self.texts("look for text that the server can not print", sql)?.iter().find(|row| !self.ignores(&row[0]))
        {
            Some(row) => lossy(&row[1]),
            None => Ok(()),
        }
    }

    fn database(&mut self) -> Result<()> {
        let product = self.session.product;
        let more = match product {
            Product::MariaDb => "IF(SCHEMA_COMMENT = '', '', 'the comment')",
            Product::MySql => {
                "CONCAT(IF(DEFAULT_ENCRYPTION = 'NO', '', 'the encryption'), (SELECT IF(OPTIONS = '', '', CONCAT('the \
                               option ', OPTIONS)) FROM information_schema.SCHEMATA_EXTENSIONS e WHERE e.SCHEMA_NAME = {schema}))"
            }
        };
        let sql = format!(
            "SELECT DEFAULT_CHARACTER_SET_NAME, DEFAULT_COLLATION_NAME, {more} FROM information_schema.SCHEMATA \
             WHERE SCHEMA_NAME = {{schema}}"
        );
        let rows = self.texts("read the database's own settings", &sql)?;
        let Some([charset, collation, more]) = rows.first().map(Vec::as_slice) else {
            return Err(Error::Gone { what: format!("database {}", self.database.escape_debug()) });
        };
        if !more.is_empty() {
            return unsupported(format!("{more} of the database"));
        }
        self.model.database = Database { product, charset: charset.clone(), collation: collation.clone() };
        Ok(())
    }

    fn tables(&mut self) -> Result<()> {
        let sql = "SELECT TABLE_NAME FROM information_schema.TABLES \
                   WHERE TABLE_SCHEMA = {schema} AND TABLE_TYPE = 'BASE TABLE' ORDER BY TABLE_NAME";
        for row in self.texts("list the tables", sql)? {
            let name = row[0].clone();
            if self.ignores(&name) {
                continue;
            }
            let printed = self.created(&format!("TABLE {}", ident(&name)), 1)?;
            let sql = without_auto_increment(&printed);
            match self.session.product {
                Product::MariaDb if sql.contains("/*") => {
                    return unsupported(format!(
                        "table {name}: a comment in its definition (a compressed column, say)"
                    ));
                }
                Product::MySql if sql.contains("\n) /*!50100 TABLESPACE ") => {
                    return unsupported(format!("table {name} in a tablespace that is the server's own"));
                }
                _ => {}
            }
            let object = Object { kind: Kind::Table, name: name.clone(), context: Vec::new(), sql };
            self.model.objects.push(object);
            let (columns, key, uniques, foreign_keys) = Default::default();
            let (has_rows, auto_increment) = (self.rules.has_rows(&[&name]), printed_number(&printed));
            let table = Table { name, columns, key, uniques, foreign_keys, auto_increment, has_rows };
            self.model.tables.insert(table.name.clone(), table);
        }
        Ok(())
    }

    /// The statement that `SHOW CREATE` prints.
    fn created(&mut self, what: &str, column: usize) -> Result<String> {
        let context = format!("read the definition of {what}");
        let row = self.session.texts(&context, &format!("SHOW CREATE {what}"))?.into_iter().next();
        let sql = row.and_then(|row| row.into_iter().nth(column)).filter(|sql| !sql.is_empty());
        sql.ok_or_else(|| Error::Engine { context, source: "the server does not show it".into() })
    }

    fn columns(&mut self) -> Result<()> {
        let is_generated = match self.session.product {
            Product::MariaDb => "IS_GENERATED <> 'NEVER'",
            Product::MySql => "GENERATION_EXPRESSION <> ''",
        };
        let sql = format!(
            "SELECT TABLE_NAME, COLUMN_NAME, DATA_TYPE, IFNULL(CHARACTER_SET_NAME, ''), {is_generated}, IS_NULLABLE, EXTRA \
             FROM information_schema.COLUMNS WHERE TABLE_SCHEMA = {{schema}} ORDER BY TABLE_NAME, ORDINAL_POSITION"
        );
        for row in self.texts("list the columns", &sql)? {
            let Some(table) = self.model.tables.get_mut(&row[0]) else { continue };
            let Some(kind) = kind(&row[2], &row[3]) else {
                return unsupported(format!("column {}.{} of the type {}", row[0], row[1], row[2]));
            };
            if row[6].contains("SYSTEM") {
                return unsupported(format!("column {}.{} of system versioning", row[0], row[1]));
            }
            let (generated, nullable) = (row[4] == "1", row[5] == "YES");
            if row[6].contains("auto_increment") {
                table.auto_increment = table.auto_increment.or(Some(1));
            }
            let left_out = !generated && self.rules.without(&[&row[0]]).contains(&row[1]);
            table.columns.push(Column { name: row[1].clone(), kind, generated, nullable, left_out });
        }
        Ok(())
    }

    /// The primary key, else the first unique one by name whose columns are whole, stored and never NULL.
    fn keys(&mut self) -> Result<()> {
        let sql = "SELECT TABLE_NAME, INDEX_NAME, IFNULL(COLUMN_NAME, ''), IFNULL(SUB_PART, '') \
                   FROM information_schema.STATISTICS WHERE TABLE_SCHEMA = {schema} AND NON_UNIQUE = 0 \
                   ORDER BY BINARY TABLE_NAME, INDEX_NAME <> 'PRIMARY', INDEX_NAME, SEQ_IN_INDEX";
        let rows = self.texts("list the keys", sql)?;
        for index in rows.chunk_by(|a, b| a[..2] == b[..2]) {
            let Some(table) = self.model.tables.get_mut(&index[0][0]) else { continue };
            table.uniques.push(index.iter().map(|row| row[2].clone()).collect());
            let column = |row: &Vec<String>| {
                let at = table.columns.iter().position(|column| column.name == row[2])?;
                let column = &table.columns[at];
                (row[3].is_empty() && !column.generated && !column.nullable).then_some(at)
            };
            if table.key.is_empty()
                && let Some(key) = index.iter().map(column).collect::<Option<Vec<usize>>>()
            {
                table.key = key;
            }
        }
        Ok(())
    }

    /// A column that is left out keeps its value by the key of its row.
    fn refuse_lost_columns(&self) -> Result<()> {
        for table in self.model.tables.values() {
            let option = || format!("tables.{}", table.name);
            if let Some(column) = table.key_columns().into_iter().find(|column| column.left_out) {
                let name = column.name.escape_debug();
                let message = format!("column `{name}` is part of the key and can not be left out");
                return Err(Error::option(option(), message));
            }
            if table.key.is_empty() && table.left_out().next().is_some() {
                let message =
                    "has no key, so its columns can not be left out: their values would be lost with every change";
                return Err(Error::option(option(), message));
            }
        }
        Ok(())
    }

    /// Refuses a foreign key from rows that are in the files to rows that are not.
    fn refuse_dangling(&self) -> Result<()> {
        for table in self.model.tables.values().filter(|table| table.has_rows) {
            let left_out = |key: &&ForeignKey| !self.rules.has_rows(&[&key.table]);
            if let Some(key) = table.foreign_keys.iter().find(left_out) {
                let message = format!(
                    "{} refers to {} by the foreign key {}, and the rows of that are left out",
                    table.name, key.table, key.name
                );
                return Err(Error::option(format!("tables.{}", key.table), message));
            }
        }
        Ok(())
    }

    fn foreign_keys(&mut self) -> Result<()> {
        self.refuse_far_keys()?;
        let sql = "SELECT CONSTRAINT_NAME, TABLE_NAME, COLUMN_NAME, REFERENCED_TABLE_NAME, REFERENCED_COLUMN_NAME \
                   FROM information_schema.KEY_COLUMN_USAGE WHERE TABLE_SCHEMA = {schema} \
                   AND REFERENCED_TABLE_NAME IS NOT NULL ORDER BY BINARY TABLE_NAME, CONSTRAINT_NAME, ORDINAL_POSITION";
        for row in self.texts("list the foreign keys", sql)? {
            let Some(table) = self.model.tables.get_mut(&row[1]) else { continue };
            if table.foreign_keys.last().is_none_or(|key| key.name != row[0]) {
                let (columns, referenced) = Default::default();
                let (name, parent) = (row[0].clone(), row[3].clone());
                table.foreign_keys.push(ForeignKey { name, columns, table: parent, referenced });
            }
            if let Some(key) = table.foreign_keys.last_mut() {
                key.columns.push(row[2].clone());
                key.referenced.push(row[4].clone());
            }
        }
        Ok(())
    }

    /// Foreign keys between this database and another. MariaDB lists quickly only those of its engine, which names both as folders.
    fn refuse_far_keys(&mut self) -> Result<()> {
        let sql = match self.session.product {
            Product::MariaDb => {
                "SELECT ID FROM information_schema.INNODB_SYS_FOREIGN WHERE SUBSTRING_INDEX(FOR_NAME, '/', 1) <> \
                 SUBSTRING_INDEX(REF_NAME, '/', 1) AND BINARY CONVERT({schema} USING filename) IN \
                 (BINARY SUBSTRING_INDEX(FOR_NAME, '/', 1), BINARY SUBSTRING_INDEX(REF_NAME, '/', 1)) LIMIT 1"
            }
            Product::MySql => {
                "SELECT CONCAT(CONSTRAINT_SCHEMA, '/', CONSTRAINT_NAME) FROM information_schema.REFERENTIAL_CONSTRAINTS \
                 WHERE CONSTRAINT_SCHEMA <> UNIQUE_CONSTRAINT_SCHEMA \
                 AND {schema} IN (CONSTRAINT_SCHEMA, UNIQUE_CONSTRAINT_SCHEMA) ORDER BY 1 LIMIT 1"
            }
        };
        match self.texts("look for foreign keys to other databases", sql)?.first() {
            Some(row) => unsupported(format!("foreign key {} to another database", row[0])),
            None => Ok(()),
        }
    }

    fn views(&mut self) -> Result<()> {
        let sql = "SELECT TABLE_NAME FROM information_schema.TABLES WHERE TABLE_SCHEMA = {schema} \
                   AND TABLE_TYPE = 'VIEW' ORDER BY TABLE_NAME";
        for row in self.texts("list the views", sql)? {
            let name = row[0].clone();
            let context = format!("read the definition of view {name}");
            let rows = match self.session.texts(&context, &format!("SHOW CREATE VIEW {}", ident(&name))) {
                // It needs something that is gone, or may not be used by its definer; it could not be created again.
                Err(error) if code(&error) == Some(1356) => {
                    return unsupported(format!("view {name}, which is not valid"));
                }
                rows => rows?,
            };
            let Some([_, sql, client, connection]) = rows.first().map(Vec::as_slice) else {
                return Err(Error::Engine { context, source: "the server does not show it".into() });
            };
            if sql.contains('?') {
                return lossy(&format!("view {name}"));
            }
            if names_database(sql, self.database) {
                let what = format!(
                    "view {name}: its text names its database, as it does in MariaDB where its definer is gone"
                );
                return unsupported(what);
            }
            if let Some(table) = self.model.ignored.iter().find(|table| sql.contains(&ident(table))) {
                return Err(Error::option("tables", format!("view {name} names {table}, which is ignored")));
            }
            let context = vec![("character_set_client", client.clone()), ("collation_connection", connection.clone())];
            self.push(Object { kind: Kind::View, name, context, sql: sql.clone() }, None)?;
        }
        Ok(())
    }

    fn routines(&mut self) -> Result<()> {
        let sql = "SELECT ROUTINE_NAME, ROUTINE_TYPE, SQL_MODE, CHARACTER_SET_CLIENT, COLLATION_CONNECTION, \
                   DATABASE_COLLATION FROM information_schema.ROUTINES WHERE BINARY ROUTINE_SCHEMA = {schema} ORDER BY 1, 2";
        for row in self.texts("list the routines", sql)? {
            let kind = if row[1] == "FUNCTION" { Kind::Function } else { Kind::Procedure };
            let name = row[0].clone();
            let sql = self.created(&format!("{} {}", kind.word(), ident(&name)), 2)?;
            if sql.contains(" AGGREGATE FUNCTION ") {
                return unsupported(format!("aggregate function {name}"));
            }
            let context = vec![
                ("sql_mode", row[2].clone()),
                ("character_set_client", row[3].clone()),
                ("collation_connection", row[4].clone()),
            ];
            self.push(Object { kind, name, context, sql }, Some(&row[5]))?;
        }
        Ok(())
    }

    fn triggers(&mut self) -> Result<()> {
        let sql = "SELECT TRIGGER_NAME, ACTION_ORDER, SQL_MODE, CHARACTER_SET_CLIENT, COLLATION_CONNECTION, \
                   DATABASE_COLLATION, DEFINER, ACTION_TIMING, EVENT_MANIPULATION, EVENT_OBJECT_TABLE, ACTION_STATEMENT \
                   FROM information_schema.TRIGGERS WHERE EVENT_OBJECT_SCHEMA = {schema} ORDER BY TRIGGER_NAME";
        for row in self.texts("list the triggers", sql)? {
            if self.ignores(&row[9]) {
                continue;
            }
            let name = row[0].clone();
            let sql = match self.session.product {
                Product::MariaDb => {
                    let body = self.body_of_trigger(&name, &row[10])?;
                    trigger(&row, &body)
                }
                Product::MySql => self.created(&format!("TRIGGER {}", ident(&name)), 2)?,
            };
            let context = vec![
                ("order", row[1].clone()),
                ("sql_mode", row[2].clone()),
                ("character_set_client", row[3].clone()),
                ("collation_connection", row[4].clone()),
            ];
            self.push(Object { kind: Kind::Trigger, name, context, sql }, Some(&row[5]))?;
            self.model.with_triggers.push(row[9].clone());
        }
        Ok(())
    }

    /// What a trigger of MariaDB does: listed it has a `?` for what is beyond the basic plane, which the statement has at its end.
    fn body_of_trigger(&mut self, name: &str, listed: &str) -> Result<String> {
        if !listed.contains('?') {
            return Ok(listed.to_owned());
        }
        let printed = self.created(&format!("TRIGGER {}", ident(name)), 2)?;
        let from = printed.char_indices().rev().nth(listed.chars().count() - 1);
        match from.map(|(at, _)| &printed[at..]).filter(|body| is_same_but_lossy(body, listed)) {
            Some(body) => Ok(body.to_owned()),
            None => lossy(&format!("trigger {name}")),
        }
    }

    fn events(&mut self) -> Result<()> {
        let sql = "SELECT EVENT_NAME, SQL_MODE, TIME_ZONE, CHARACTER_SET_CLIENT, COLLATION_CONNECTION, DATABASE_COLLATION \
                   FROM information_schema.EVENTS WHERE BINARY EVENT_SCHEMA = {schema} ORDER BY 1";
        for row in self.texts("list the events", sql)? {
            let name = row[0].clone();
            let sql = self.created(&format!("EVENT {}", ident(&name)), 3)?;
            let context = vec![
                ("sql_mode", row[1].clone()),
                ("time_zone", row[2].clone()),
                ("character_set_client", row[3].clone()),
                ("collation_connection", row[4].clone()),
            ];
            self.push(Object { kind: Kind::Event, name, context, sql }, Some(&row[5]))?;
        }
        Ok(())
    }

    /// Adds an object whose text means something under its context alone.
    fn push(&mut self, object: Object, database_collation: Option<&String>) -> Result<()> {
        let charset = object.context("character_set_client");
        if !object.sql.is_ascii() && !["utf8mb4", "utf8mb3"].contains(&charset) {
            let (kind, name) = (object.kind.word().to_lowercase(), &object.name);
            return unsupported(format!("{kind} {name}, whose text was written in the character set {charset}"));
        }
        if database_collation.is_some_and(|collation| *collation != self.model.database.collation) {
            let (kind, name) = (object.kind.word().to_lowercase(), &object.name);
            return unsupported(format!("{kind} {name}, which was made under another collation of the database"));
        }
        self.model.objects.push(object);
        Ok(())
    }
}

/// Whether a statement has a column with the database before its table, which may have the same name.
fn names_database(sql: &str, database: &str) -> bool {
    let database = format!("{}.", ident(database));
    sql.match_indices(&database).any(|(at, _)| {
        let table = &sql[at + database.len()..];
        table.starts_with('`') && table[end_of_quoted(table, b'`')..].starts_with('.')
    })
}

/// Whether a text is what the server listed, but for characters beyond the basic plane.
fn is_same_but_lossy(text: &str, listed: &str) -> bool {
    text.chars().zip(listed.chars()).all(|(a, b)| a == b || a > '\u{ffff}' && b == '?')
}

/// The definition of a trigger from what is listed of it: the text of MariaDB has the name as it was typed, perhaps with the
/// database.
fn trigger(row: &[String], body: &str) -> String {
    let definer = match row[6].rsplit_once('@') {
        Some((user, host)) if !host.is_empty() => format!("{}@{}", ident(user), ident(host)),
        _ => ident(row[6].trim_end_matches('@')),
    };
    format!(
        "CREATE DEFINER={definer} TRIGGER {} {} {} ON {} FOR EACH ROW {body}",
        ident(&row[0]),
        row[7],
        row[8],
        ident(&row[9]),
    )
}

/// What stands in the definition of a table before the next number of its column.
const BEFORE_NUMBER: &str = "\n) ENGINE=InnoDB AUTO_INCREMENT=";

/// The next number that a definition has. The first is not printed.
pub(super) fn printed_number(printed: &str) -> Option<u64> {
    let digits = &printed[printed.rfind(BEFORE_NUMBER)? + BEFORE_NUMBER.len()..];
    digits.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

/// The definition of a table without the number that moves with every row.
fn without_auto_increment(printed: &str) -> String {
    let Some(at) = printed.rfind(BEFORE_NUMBER) else { return printed.to_owned() };
    let end = at + BEFORE_NUMBER.len();
    let digits = printed[end..].bytes().take_while(u8::is_ascii_digit).count();
    format!("{}\n) ENGINE=InnoDB{}", &printed[..at], &printed[end + digits..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_mark_may_be_another_character() {
        assert!(is_same_but_lossy("set 'é😀?'", "set 'é??'"));
        assert!(!is_same_but_lossy("set 'é😀a'", "set 'é??'"));
    }

    #[test]
    fn a_table_may_have_the_name_of_its_database() {
        assert!(names_database("select `shop`.`t`.`a` AS `a` from `t`", "shop"));
        assert!(!names_database("select `shop`.`a` AS `a`,`t`.`b` from `shop` join `t`", "shop"));
    }

    #[test]
    fn only_the_number_goes() {
        let printed = "CREATE TABLE `t` (\n  `a` int(11) COMMENT ') ENGINE=InnoDB AUTO_INCREMENT=7'\n\
                       ) ENGINE=InnoDB AUTO_INCREMENT=12 DEFAULT CHARSET=utf8mb4";
        let wanted = printed.replace(" AUTO_INCREMENT=12", "");
        assert_eq!(without_auto_increment(printed), wanted);
        assert_eq!(without_auto_increment(&wanted), wanted);
        assert_eq!((printed_number(printed), printed_number(&wanted)), (Some(12), None));
    }
}
