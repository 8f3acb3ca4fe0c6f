//! Definitions of objects as files, and back.
//!
//! A file holds one statement, as the server prints it, behind what it depends on besides its text: `-- sql_mode: ...` and the
//! like. A pushed file must be spelled so too: it is created in a database of its own, read back, and must be the same.

use std::collections::BTreeSet;
use std::ops::Range;

use super::product::Product;
use crate::{Cx, Entry, Error, Result, StatePath, Tree, names};

/// The most that the file of one object may have, in bytes.
const LONGEST_FILE: u64 = 1 << 20;

/// The most that all of them may have together, in bytes: they are held in memory.
const LARGEST: u64 = 32 << 20;

/// How the file of the database begins where its server is MySQL.
const OF_MYSQL: &str = "-- server: MySQL\n";

/// A kind of object, in the order in which they are created.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    Table,
    Function,
    Procedure,
    View,
    Trigger,
    Event,
}

const KINDS: [Kind; 6] = [Kind::Table, Kind::Function, Kind::Procedure, Kind::View, Kind::Trigger, Kind::Event];

impl Kind {
    /// The folder of their files.
    pub fn folder(self) -> &'static str {
        match self {
            Kind::Table => "schema/tables",
            Kind::Function => "schema/functions",
            Kind::Procedure => "schema/procedures",
            Kind::View => "schema/views",
            Kind::Trigger => "schema/triggers",
            Kind::Event => "schema/events",
        }
    }

    /// As in SQL.
    pub fn word(self) -> &'static str {
        match self {
            Kind::Table => "TABLE",
            Kind::Function => "FUNCTION",
            Kind::Procedure => "PROCEDURE",
            Kind::View => "VIEW",
            Kind::Trigger => "TRIGGER",
            Kind::Event => "EVENT",
        }
    }

    /// The session settings that belong to a definition.
    fn context(self) -> &'static [&'static str] {
        match self {
            Kind::Table => &[],
            Kind::View => &["character_set_client", "collation_connection"],
            Kind::Function | Kind::Procedure => &["sql_mode", "character_set_client", "collation_connection"],
            Kind::Trigger => &["order", "sql_mode", "character_set_client", "collation_connection"],
            Kind::Event => &["sql_mode", "time_zone", "character_set_client", "collation_connection"],
        }
    }
}

/// An object with its definition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Object {
    pub kind: Kind,
    pub name: String,
    /// What its meaning depends on, in the order of [`Kind::context`]; the place of a trigger among those of its event, too.
    pub context: Vec<(&'static str, String)>,
    /// The statement that creates it, without a qualified name and an end.
    pub sql: String,
}

impl Object {
    /// Its file.
    pub fn path(&self) -> Result<StatePath> {
        let path = format!("{}/{}.sql", self.kind.folder(), names::encode(&self.name));
        StatePath::new(path).map_err(Error::carrier("name the file of an object"))
    }

    /// The text of its file.
    pub fn text(&self) -> String {
        let context = self.context.iter().map(|(key, value)| format!("-- {key}: {value}\n"));
        format!("{}{};\n", context.collect::<String>(), self.sql)
    }

    /// A value of the context.
    pub fn context(&self, key: &str) -> &str {
        self.context.iter().find(|(name, _)| *name == key).map_or("", |(_, value)| value)
    }

    /// Where in an event it stands whether it is enabled.
    fn status(&self) -> Option<Range<usize>> {
        const BEFORE: &str = " ON COMPLETION ";
        let (schedule, _) = self.sql.split_once(BEFORE)?;
        let (_, times) = schedule.split_once(" ON SCHEDULE ")?;
        // Outside of the quotes of a time, and of a comment.
        let is_plain = |b: u8| b.is_ascii_alphanumeric() || b" ':-_.".contains(&b);
        let is_closed = times.bytes().filter(|b| *b == b'\'').count().is_multiple_of(2);
        (is_closed && times.bytes().all(is_plain)).then_some(())?;
        let behind = schedule.len() + BEFORE.len();
        let rest = &self.sql[behind..];
        let kept = ["NOT PRESERVE ", "PRESERVE "].into_iter().find(|word| rest.starts_with(word))?.len();
        let is_there = |word: &&str| {
            let rest = rest[kept..].strip_prefix(*word);
            rest.is_some_and(|rest| rest.starts_with(" DO ") || rest.starts_with(" COMMENT '"))
        };
        let status = ["ENABLE", "DISABLE", "DISABLE ON SLAVE", "DISABLE ON REPLICA"].into_iter().find(is_there)?;
        Some(behind + kept..behind + kept + status.len())
    }

    /// The same, where it is an event that does nothing yet.
    pub fn at_rest(&self) -> Object {
        let mut object = self.clone();
        if let Some(status) = self.status().filter(|_| self.kind == Kind::Event) {
            object.sql.replace_range(status, "DISABLE");
        }
        object
    }

    /// The object of a file.
    fn parse(path: &StatePath, bytes: &[u8], product: Product) -> Result<Self> {
        let bad = |message: &str| Error::input(path, None, message);
        let text = std::str::from_utf8(bytes).map_err(|_| bad("invalid UTF-8"))?;
        if let Some(line) = text.split('\n').position(|line| line.contains(is_control)) {
            return Err(Error::input(path, line as u64 + 1, "a control character"));
        }
        let kind = KINDS.into_iter().find(|kind| path.to_string().starts_with(&format!("{}/", kind.folder())));
        let kind = kind.ok_or_else(|| bad("not a file of a MySQL state"))?;
        let (mut rest, mut context) = (text, Vec::new());
        for key in kind.context() {
            let line = rest.strip_prefix(&format!("-- {key}: ")).and_then(|rest| rest.split_once('\n'));
            let (value, further) = line.ok_or_else(|| bad(&format!("lacks its line `-- {key}: `")))?;
            let more: &[u8] = if *key == "time_zone" { b"_/+-:" } else { b"_," };
            if !value.bytes().all(|b| b.is_ascii_alphanumeric() || more.contains(&b)) {
                return Err(bad(&format!("`{key}` is no such value")));
            }
            context.push((*key, value.to_owned()));
            rest = further;
        }
        let sql = rest.strip_suffix(";\n").ok_or_else(|| bad("does not end in `;` and a newline"))?.to_owned();
        let name = created(kind, &sql).ok_or_else(|| {
            bad(&format!("does not begin as the server prints the definition of a {}", kind.word().to_lowercase()))
        })?;
        let object = Object { kind, name, context, sql };
        if object.path()? != *path {
            return Err(bad(&format!(
                "creates `{}`, which belongs into {}",
                object.name.escape_debug(),
                object.path()?
            )));
        }
        object.check(path, product)?;
        Ok(object)
    }

    /// Refuses what would do more than create it.
    fn check(&self, path: &StatePath, product: Product) -> Result<()> {
        if self.kind == Kind::Table {
            let words = words(&self.sql, product).map_err(|message| Error::input(path, None, message))?;
            if let Some(word) = words.iter().find(|word| ["SELECT", "VALUE"].contains(&word.as_str())) {
                return Err(Error::input(path, None, format!("`{word}` in the definition of a table")));
            }
        }
        if self.kind == Kind::Event && self.status().is_none() {
            return Err(Error::input(path, None, "the schedule is not as the server prints it"));
        }
        if self.kind == Kind::Trigger && self.context("order").parse::<u32>().is_err() {
            return Err(Error::input(path, 1, "the order is no number"));
        }
        Ok(())
    }
}

fn is_control(c: char) -> bool {
    c.is_control() && c != '\t' && c != '\r'
}

/// The words of a table's definition outside of quotes, in capital letters. There are no comments, in which a quote would be
/// none, but those that MySQL reads as a part of the definition: `/*!80016 ... */`.
fn words(sql: &str, product: Product) -> Result<Vec<String>, String> {
    let mut words = vec![String::new()];
    let mut chars = sql.chars();
    while let Some(c) = chars.next() {
        let rest = chars.as_str();
        let is_read = || {
            product == Product::MySql
                && rest.strip_prefix("*!").is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
        };
        match c {
            '/' if rest.starts_with('*') && !is_read() => return Err("a comment in the definition of a table".into()),
            '#' => return Err("a comment in the definition of a table".into()),
            '-' if rest.starts_with('-') => return Err("a comment in the definition of a table".into()),
            '\'' | '"' | '`' => {
                let mut open = true;
                while let Some(inner) = chars.next() {
                    match inner {
                        '\\' if c != '`' => drop(chars.next()),
                        // A doubled quote closes and opens again.
                        inner if inner == c => {
                            open = false;
                            break;
                        }
                        _ => {}
                    }
                }
                if open {
                    return Err(format!("{c} is not closed"));
                }
            }
            c if c.is_alphanumeric() || c == '_' || c == '$' => {
                words.last_mut().into_iter().for_each(|word| word.extend(c.to_uppercase()));
                continue;
            }
            _ => {}
        }
        words.push(String::new());
    }
    words.retain(|word| !word.is_empty());
    Ok(words)
}

/// The name of what a statement creates, where it begins as the server prints it.
fn created(kind: Kind, sql: &str) -> Option<String> {
    let (name, rest, next) = match kind {
        Kind::Table => {
            let (name, rest) = quoted(sql.strip_prefix("CREATE TABLE ")?)?;
            (name, rest.to_owned(), " (\n")
        }
        Kind::View => {
            let rest = sql.strip_prefix("CREATE ALGORITHM=")?;
            let (algorithm, rest) = rest.split_once(" DEFINER=")?;
            ["UNDEFINED", "MERGE", "TEMPTABLE"].contains(&algorithm).then_some(())?;
            let rest = definer(&format!("CREATE DEFINER={rest}"))?;
            let rest = rest.strip_prefix(" SQL SECURITY ")?;
            let rest = rest.strip_prefix("DEFINER").or(rest.strip_prefix("INVOKER"))?;
            let (name, rest) = quoted(rest.strip_prefix(" VIEW ")?)?;
            // MySQL names the columns, where the definition does.
            (name, rest.to_owned(), if rest.starts_with(" (`") { " (`" } else { " AS " })
        }
        Kind::Trigger => {
            let (name, _, rest) = trigger(sql)?;
            (name, rest, " FOR EACH ROW ")
        }
        Kind::Event => {
            let rest = definer(sql)?;
            let (name, rest) = quoted(rest.strip_prefix(" EVENT ")?)?;
            (name, rest.to_owned(), " ON SCHEDULE ")
        }
        Kind::Function | Kind::Procedure => {
            let rest = definer(sql)?;
            let rest = rest.strip_prefix(if kind == Kind::Function { " FUNCTION " } else { " PROCEDURE " })?;
            let (name, rest) = quoted(rest)?;
            (name, rest.to_owned(), "(")
        }
    };
    rest.starts_with(next).then_some(name)
}

/// What follows the account in the statement of an object that has one.
fn definer(sql: &str) -> Option<String> {
    let (_, rest) = quoted(sql.strip_prefix("CREATE DEFINER=")?)?;
    Some(rest.strip_prefix('@').map_or(Some(rest), |host| quoted(host).map(|(_, rest)| rest))?.to_owned())
}

/// The name of a trigger, its table, and what follows.
fn trigger(sql: &str) -> Option<(String, String, String)> {
    let rest = definer(sql)?;
    let (name, rest) = quoted(rest.strip_prefix(" TRIGGER ")?)?;
    let (timing, rest) = rest.strip_prefix(' ')?.split_once(' ')?;
    let (event, rest) = rest.split_once(" ON ")?;
    ["BEFORE", "AFTER"].contains(&timing).then_some(())?;
    ["INSERT", "UPDATE", "DELETE"].contains(&event).then_some(())?;
    let (table, rest) = quoted(rest)?;
    Some((name, table, rest.to_owned()))
}

/// A quoted name at the beginning of a text, and what follows.
fn quoted(text: &str) -> Option<(String, &str)> {
    let mut rest = text.strip_prefix('`')?;
    let mut name = String::new();
    loop {
        let (part, further) = rest.split_once('`')?;
        name.push_str(part);
        match further.strip_prefix('`') {
            Some(more) => {
                name.push('`');
                rest = more;
            }
            None => return Some((name, further)),
        }
    }
}

/// What a database is created with.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Database {
    /// Whose definitions these are.
    pub product: Product,
    pub charset: String,
    pub collation: String,
}

impl Database {
    /// Its file.
    pub fn path() -> Result<StatePath> {
        StatePath::new("schema/database.sql").map_err(Error::carrier("name the file of the database"))
    }

    /// What stands behind `CREATE DATABASE` and its name.
    pub fn options(&self) -> String {
        format!("CHARACTER SET {} COLLATE {}", self.charset, self.collation)
    }

    /// The text of its file: without the name, which is an option of the state.
    pub fn text(&self) -> String {
        let server = if self.product == Product::MySql { OF_MYSQL } else { "" };
        format!("{server}CREATE DATABASE {};\n", self.options())
    }

    /// Refuses the files of the other product: their definitions and values are others.
    pub fn require(tree: &dyn Tree, product: Product) -> Result<()> {
        let path = Database::path()?;
        let recorded = Database::parse(&path, &tree.read(&path, LONGEST_FILE)?)?.product;
        let (recorded, there) = match recorded == product {
            true => return Ok(()),
            false => (recorded.name(), product.name()),
        };
        let message = format!("the files are of {recorded}, and the server is {there}, which can not load them");
        Err(Error::input(&path, 1, message))
    }

    fn parse(path: &StatePath, bytes: &[u8]) -> Result<Self> {
        let text = std::str::from_utf8(bytes).unwrap_or_default();
        let (product, text) = match text.strip_prefix(OF_MYSQL) {
            Some(text) => (Product::MySql, text),
            None => (Product::MariaDb, text),
        };
        let words = text.strip_prefix("CREATE DATABASE CHARACTER SET ").and_then(|rest| rest.strip_suffix(";\n"));
        let is_name = |name: &str| !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
        match words.and_then(|words| words.split_once(" COLLATE ")) {
            Some((charset, collation)) if is_name(charset) && is_name(collation) => {
                Ok(Database { product, charset: charset.into(), collation: collation.into() })
            }
            _ => Err(Error::input(path, 1, "must be: CREATE DATABASE CHARACTER SET x COLLATE y;")),
        }
    }
}

/// The pushed definitions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Schema {
    pub database: Database,
    /// In the order of their files.
    pub objects: Vec<Object>,
}

impl Schema {
    /// Reads and checks the schema files of a tree.
    pub fn of(tree: &dyn Tree, cx: &Cx<'_>) -> Result<Self> {
        let folder = folder()?;
        let (mut schema, mut total, mut found) = (Schema::default(), 0, false);
        // The file of the database is the first.
        for Entry { path, .. } in tree.within(&folder) {
            cx.check()?;
            let bytes = tree.read(path, LONGEST_FILE)?;
            total += bytes.len() as u64;
            if total > LARGEST {
                let message = format!("the files of the schema have more than {} MiB together", LARGEST >> 20);
                return Err(Error::input(path, None, message));
            }
            if *path == Database::path()? {
                schema.database = Database::parse(path, &bytes)?;
                found = true;
            } else {
                schema.objects.push(Object::parse(path, &bytes, schema.database.product)?);
            }
        }
        match found {
            true => Ok(schema),
            false => Err(Error::input(&Database::path()?, None, "is missing")),
        }
    }

    /// The tables on which triggers of a tree stand.
    pub fn with_triggers(tree: &dyn Tree) -> Result<BTreeSet<String>> {
        let folder =
            StatePath::new(Kind::Trigger.folder()).map_err(Error::carrier("name the folder of the triggers"))?;
        let table = |entry: &Entry| -> Result<Option<String>> {
            let object = Object::parse(&entry.path, &tree.read(&entry.path, LONGEST_FILE)?, Product::default())?;
            Ok(trigger(&object.sql).map(|(_, table, _)| table))
        };
        tree.within(&folder).iter().filter_map(|entry| table(entry).transpose()).collect()
    }

    /// The objects of a kind.
    pub fn of_kind(&self, kind: Kind) -> impl Iterator<Item = &Object> {
        self.objects.iter().filter(move |object| object.kind == kind)
    }
}

/// The folder of the schema files.
pub(super) fn folder() -> Result<StatePath> {
    StatePath::new("schema").map_err(Error::carrier("name the folder of the schema"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(path: &str, text: &str) -> Result<Object> {
        Object::parse(&StatePath::new(path).unwrap(), text.as_bytes(), Product::MariaDb)
    }

    #[test]
    fn a_file_comes_back() {
        let object = Object {
            kind: Kind::Trigger,
            name: "a`b".into(),
            context: vec![
                ("order", "2".into()),
                ("sql_mode", String::new()),
                ("character_set_client", "utf8mb4".into()),
                ("collation_connection", "utf8mb4_bin".into()),
            ],
            sql: "CREATE DEFINER=`x`@`%` TRIGGER `a``b` BEFORE INSERT ON `t` FOR EACH ROW set new.x = ';'".into(),
        };
        let path = object.path().unwrap();
        assert_eq!(Object::parse(&path, object.text().as_bytes(), Product::MySql).unwrap(), object);
    }

    #[test]
    fn what_does_more_than_create_is_refused() {
        let head = "CREATE TABLE `t` (\n  `a` int(11)\n) ENGINE=InnoDB";
        assert!(parse("schema/tables/t.sql", &format!("{head};\n")).is_ok());
        for (path, text) in [
            ("schema/tables/t.sql", format!("{head} SELECT 1;\n")),
            ("schema/tables/t.sql", head.to_owned()),
            ("schema/tables/x.sql", format!("{head};\n")),
            ("schema/tables/t.sql", "CREATE TABLE `x`.`t` (\n);\n".into()),
            ("schema/tables/t.sql", "DROP TABLE `t`;\n".into()),
            ("schema/tables/t.sql", format!("{head} COMMENT='x;\n")),
            ("schema/tables/t.sql", format!("{head} /* ' */ SELECT 1 /* ' */;\n")),
            ("schema/tables/t.sql", format!("{head} # '\n SELECT 1 # ';\n")),
            ("schema/tables/t.sql", format!("{head} -- '\n SELECT 1 -- ';\n")),
            ("schema/tables/t.sql", format!("{head} /*!50100 PARTITION BY HASH (`a`) */;\n")),
            ("schema/views/t.sql", format!("{head};\n")),
            ("schema/other/t.sql", format!("{head};\n")),
            ("schema/tables/t.sql", format!("{head}\0;\n")),
        ] {
            assert!(parse(path, &text).is_err(), "{path} {text}");
        }
    }

    #[test]
    fn an_event_at_rest_is_disabled() {
        let event = |sql: &str| Object {
            kind: Kind::Event,
            name: "e".into(),
            context: vec![
                ("sql_mode", String::new()),
                ("time_zone", "America/Port-au-Prince".into()),
                ("character_set_client", "utf8mb4".into()),
                ("collation_connection", "utf8mb4_bin".into()),
            ],
            sql: format!("CREATE DEFINER=`x`@`%` EVENT `e` ON SCHEDULE {sql}"),
        };
        for (sql, wanted) in [
            (
                "AT '2001-02-03 04:05:06' ON COMPLETION NOT PRESERVE ENABLE DO begin end",
                "NOT PRESERVE DISABLE DO begin end",
            ),
            (
                "EVERY '1:30' HOUR_MINUTE STARTS '2001-02-03 04:05:06' ON COMPLETION PRESERVE DISABLE ON SLAVE COMMENT 'ENABLE' DO x",
                "PRESERVE DISABLE COMMENT 'ENABLE' DO x",
            ),
        ] {
            let object = event(sql);
            assert!(object.at_rest().sql.ends_with(wanted), "{}", object.at_rest().sql);
            assert_eq!(
                Object::parse(&object.path().unwrap(), object.text().as_bytes(), Product::MySql).unwrap(),
                object
            );
        }
        for sql in [
            "EVERY ' ON COMPLETION PRESERVE DISABLE DO ' DAY ON COMPLETION PRESERVE ENABLE DO x",
            "EVERY 1 DAY /* ON COMPLETION PRESERVE DISABLE DO */ ON COMPLETION PRESERVE ENABLE DO x",
            "EVERY 1 DAY ON COMPLETION PRESERVE DO x",
            "EVERY 1 DAY DO x",
        ] {
            let object = event(sql);
            assert!(Object::parse(&object.path().unwrap(), object.text().as_bytes(), Product::MySql).is_err(), "{sql}");
        }
    }

    #[test]
    fn words_stand_outside_of_quotes() {
        assert_eq!(words("a 'b c''d\\' e' `f``g` \"h\" i_1", Product::MariaDb).unwrap(), ["A", "I_1"]);
        assert!(words("a 'b", Product::MariaDb).is_err());
        assert_eq!(words("a /*!80023 INVISIBLE */", Product::MySql).unwrap(), ["A", "80023", "INVISIBLE"]);
        assert!(words("a /* ' */ b", Product::MySql).is_err());
    }
}
