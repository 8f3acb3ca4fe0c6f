//! Pushed schema files as a model, by way of a scratch database that is thrown away.
//!
//! Pushed SQL never touches a database of the user. Each statement is of a kind from a closed list, and is run alone, in
//! one transaction that is rolled back, inside a `SECURITY DEFINER` function that belongs to a role without any right
//! elsewhere: there the server refuses `SET ROLE`, `SET SESSION AUTHORIZATION` and every transaction command, also to
//! what a definition evaluates. What only a superuser may do evaluates nothing of what was pushed: extensions, owners,
//! comments, grants and settings.

use std::collections::{BTreeMap, BTreeSet};

use postgres::Client;
use postgres::error::{DbError, ErrorPosition, SqlState};

use super::model::{Database, Model};
use super::render::{literal, quoted};
use super::sql::{Token, TokenKind};
use super::statements::{self, Placed, Step, qualified, words};
use crate::{Error, OpId, Result, StatePath};

/// A pushed file of a schema.
#[derive(Clone, Copy, Debug)]
pub struct Source<'a> {
    /// Where it stands beneath the folder of the state.
    pub path: &'a StatePath,
    /// Its content.
    pub bytes: &'a [u8],
    /// Whether the push changes it: then the bodies of its functions are checked.
    pub changed: bool,
}

/// As many statements as there may be together: they are held in memory, and run one by one.
const MOST_STATEMENTS: usize = 1 << 18;

/// Hands out the statements of files, and whether the push changes them.
fn each<'a>(
    files: impl IntoIterator<Item = Source<'a>>, mut each: impl FnMut(Placed<'a>, bool) -> Result<()>,
) -> Result<()> {
    let mut count = 0;
    for file in files {
        statements::read(file.path, file.bytes, |placed| {
            count += 1;
            if count > MOST_STATEMENTS {
                let message = format!("more than {MOST_STATEMENTS} statements in the files of the schema");
                return Err(placed.error(message));
            }
            each(placed, file.changed)
        })?;
    }
    Ok(())
}

/// Checks pushed schema files as far as that is possible without a server.
///
/// # Errors
/// [`Error::Input`] with file and line.
pub fn check<'a>(files: impl IntoIterator<Item = Source<'a>>) -> Result<()> {
    each(files, |_, _| Ok(()))
}

/// With what the files say that the database was created, where they say it.
///
/// # Errors
/// [`Error::Input`] with file and line.
pub fn database<'a>(files: impl IntoIterator<Item = Source<'a>>) -> Result<Option<Database>> {
    let mut database = None;
    let own = files.into_iter().filter(|file| file.path.as_str() == Some("schema/database.sql"));
    each(own, |placed, _| {
        if placed.step == Step::Database && database.is_none() {
            database = Some(created_with(&placed)?);
        }
        Ok(())
    })?;
    Ok(database)
}

fn created_with(placed: &Placed<'_>) -> Result<Database> {
    let mut database = Database { provider: "c".into(), ..Database::default() };
    for pair in placed.tokens()[3..].chunks(2) {
        let [key, value] = pair else { return Err(placed.error("an option without a value")) };
        let text = &placed.text[value.span.clone()];
        let value = text.trim_matches('\'').replace("''", "'");
        match key.word().unwrap_or_default() {
            "TEMPLATE" if value == "template0" => {}
            "ENCODING" => database.encoding = value,
            "LC_COLLATE" => database.collate = value,
            "LC_CTYPE" => database.ctype = value,
            "LOCALE_PROVIDER" => database.provider = value.chars().take(1).collect(),
            "ICU_LOCALE" | "BUILTIN_LOCALE" => database.locale = Some(value),
            "ICU_RULES" => database.icu_rules = Some(value),
            other => return Err(placed.error(format!("unknown option {other} of CREATE DATABASE"))),
        }
    }
    Ok(database)
}

impl Database {
    /// The statement that creates such a database under a name (not quoted).
    pub fn create(&self, name: &str) -> String {
        self.statement().replacen(super::settings::DATABASE, &quoted(name), 1)
    }

    /// Whether two databases can hold the same schema: all but their names.
    pub fn is_like(&self, other: &Database) -> bool {
        Database { name: String::new(), ..self.clone() } == Database { name: String::new(), ..other.clone() }
    }
}

impl std::fmt::Display for Database {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "encoding {}, locale {} and {}", self.encoding, self.collate, self.ctype)?;
        self.locale.iter().try_for_each(|locale| write!(f, " ({locale})"))
    }
}

/// The name of the scratch database and of everything else that an operation makes in the cluster.
pub fn name(op: &OpId) -> String {
    format!("glxc_{op}")
}

/// Connects to a database of the cluster, by name, as a superuser.
pub type Connect<'a> = &'a mut dyn FnMut(&str) -> Result<Client>;

/// Loads schema files into a scratch database like `like`, and reads them back.
///
/// The scratch database is dropped in any case but a crash; see [`sweep`].
///
/// # Errors
/// [`Error::Input`] with file, line and the engine's words; [`Error::Unsupported`] as for [`super::read()`].
pub fn load(
    admin: &mut Client, connect: Connect<'_>, op: &OpId, like: &Database, files: &[Source<'_>],
) -> Result<Model> {
    let mut placed = Vec::new();
    each(files.iter().copied(), |statement, changed| {
        placed.push((statement, changed));
        Ok(())
    })?;
    for (statement, _) in placed.iter().filter(|(placed, _)| placed.step == Step::Database) {
        if !created_with(statement)?.is_like(like) {
            return Err(
                statement.error("the database has another encoding or locale; it would have to be created anew")
            );
        }
    }
    sweep(admin, op)?;
    let name = name(op);
    admin.batch_execute(&like.create(&name)).map_err(Error::engine("create the scratch database"))?;
    let loaded = connect(&name).and_then(|client| Loader::new(client, &name)?.load(placed));
    let swept = sweep(admin, op);
    let mut model = loaded?;
    swept?;
    model.database = like.clone();
    Ok(model)
}

/// Removes what an operation left in the cluster. Nothing there is no error.
///
/// # Errors
/// [`Error::Engine`].
pub fn sweep(admin: &mut Client, op: &OpId) -> Result<()> {
    let statement = format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", name(op));
    admin.batch_execute(&statement).map_err(Error::engine("drop the scratch database"))
}

/// How long one pushed statement may take.
const PATIENCE: &str = "60s";

struct Loader<'a> {
    client: Client,
    /// The name of the database, of the role without rights, and of the schema of the function that runs as it.
    name: &'a str,
    /// Where that function stands in the catalog.
    places: Vec<String>,
}

impl<'a> Loader<'a> {
    fn new(client: Client, name: &'a str) -> Result<Self> {
        let mut loader = Loader { client, name, places: Vec::new() };
        loader.run(&format!(
            "BEGIN; {}; SET LOCAL client_min_messages = warning; CREATE ROLE {name} NOLOGIN; CREATE SCHEMA {name};
            GRANT USAGE ON SCHEMA {name} TO {name}; GRANT CREATE ON DATABASE {name} TO {name}; DROP SCHEMA public;
            CREATE FUNCTION {name}.run(pg_catalog.text) RETURNS pg_catalog.void LANGUAGE plpgsql SECURITY DEFINER
                AS 'BEGIN EXECUTE $1; END';
            ALTER FUNCTION {name}.run(pg_catalog.text) OWNER TO {name}",
            super::PINNED
        ))?;
        Ok(loader)
    }

    fn run(&mut self, sql: &str) -> Result<()> {
        self.client.batch_execute(sql).map_err(Error::engine("prepare the scratch database"))
    }

    fn load(mut self, placed: Vec<(Placed<'_>, bool)>) -> Result<Model> {
        self.roles(&placed)?;
        let mut steps: BTreeMap<(Step, usize), Vec<(Placed<'_>, bool)>> = BTreeMap::new();
        let depths = depths(&placed);
        let procedural = |placed: &Placed<'_>| {
            placed.step == Step::Extension && extension_name(placed).as_deref() == Some(PROCEDURAL)
        };
        let procedural = placed.iter().any(|(placed, _)| procedural(placed));
        for (placed, changed) in placed {
            let deep = depths.get(&target(&placed)).copied().unwrap_or_default();
            let order = if placed.step == Step::Index { usize::MAX - deep } else { 0 };
            steps.entry((placed.step, order)).or_default().push((placed, changed));
        }
        let mut waiting: Vec<(Placed<'_>, bool)> = Vec::new();
        let mut functions = Vec::new();
        let mut checked = false;
        for ((step, _), new) in steps {
            if step.by_superuser() && step != Step::Extension && !checked {
                self.finish(&waiting, &mut functions)?;
                checked = true;
            }
            functions.extend(new.iter().filter(|(placed, changed)| *changed && is_function(placed)).cloned());
            waiting.extend(new);
            while self.pass(&mut waiting)? {}
        }
        self.finish(&waiting, &mut functions)?;
        self.read(procedural)
    }

    /// Refuses what could not be run, and checks the bodies of functions.
    fn finish(&mut self, waiting: &[(Placed<'_>, bool)], functions: &mut Vec<(Placed<'_>, bool)>) -> Result<()> {
        if let Some((placed, _)) = waiting.first().cloned() {
            return self.attempt(&placed, false).and(Err(placed.error("could not be run")));
        }
        functions.drain(..).try_for_each(|(placed, _)| self.attempt(&placed, true))
    }

    /// Tries all that waits once. Whether something could be run and something still waits.
    fn pass(&mut self, waiting: &mut Vec<(Placed<'_>, bool)>) -> Result<bool> {
        let before = waiting.len();
        let mut left = Vec::new();
        for (placed, changed) in waiting.drain(..) {
            match self.attempt(&placed, false) {
                Ok(()) => {}
                Err(Error::Input { .. }) => left.push((placed, changed)),
                Err(other) => return Err(other),
            }
        }
        *waiting = left;
        Ok(!waiting.is_empty() && waiting.len() < before)
    }

    /// Runs one statement; what it changed is gone where it fails.
    fn attempt(&mut self, placed: &Placed<'_>, check: bool) -> Result<()> {
        if matches!(placed.step, Step::Role | Step::Database) {
            return Ok(());
        }
        self.prepare(check)?;
        let text = match check {
            true => replacing(placed),
            false => self.text(placed)?,
        };
        let done = match placed.step.by_superuser() {
            _ if text.is_empty() => Ok(0),
            true => self.client.execute_typed(&text, &[]),
            false => {
                let call = format!("SELECT {}.run($1)", self.name);
                self.client.execute(&call, &[&text])
            }
        };
        let end =
            if done.is_ok() { "RELEASE SAVEPOINT one" } else { "ROLLBACK TO SAVEPOINT one; RELEASE SAVEPOINT one" };
        match done {
            Err(error) if error.as_db_error().is_none() => Err(Error::engine("load the schema")(error)),
            done => {
                self.run(end)?;
                done.map(drop).map_err(|error| failed(placed, &text, error))
            }
        }
    }

    /// Pins what an earlier statement may have changed, and makes sure that the function that runs without rights is
    /// still as it was made: every change of it makes a new row of the catalog.
    fn prepare(&mut self, check: bool) -> Result<()> {
        let name = self.name;
        let check = if check { "on" } else { "off" };
        let sql = format!(
            "{}; SAVEPOINT one; SET LOCAL check_function_bodies = {check}; SET LOCAL statement_timeout = '{PATIENCE}';
            SET LOCAL row_security = on;
            SELECT p.oid::pg_catalog.text || p.ctid::pg_catalog.text AS place FROM pg_catalog.pg_proc p
            WHERE p.pronamespace = '{name}'::pg_catalog.regnamespace",
            super::PINNED
        );
        let rows = super::query::rows(&mut self.client, &sql)?;
        let places = rows.iter().map(|row| row.string("place")).collect::<Result<Vec<_>>>()?;
        if self.places.is_empty() {
            self.places = places;
        } else if self.places != places {
            let what = "a definition that changes what protects the cluster from it".into();
            return Err(Error::Unsupported { what });
        }
        Ok(())
    }

    /// The text of a statement as it is run here; empty where there is nothing to do.
    fn text(&mut self, placed: &Placed<'_>) -> Result<String> {
        match placed.step {
            Step::Extension => extension(&mut self.client, placed),
            Step::DatabaseSetting | Step::Comment | Step::Grant => Ok(placed.for_database(self.name)),
            _ => Ok(first(placed)),
        }
    }

    /// Makes the roles that the files name and the cluster has not, until the end of the transaction.
    fn roles(&mut self, placed: &[(Placed<'_>, bool)]) -> Result<()> {
        let rows = super::query::rows(&mut self.client, "SELECT rolname AS name FROM pg_catalog.pg_roles")?;
        let mut there: BTreeSet<String> = rows.iter().map(|row| row.string("name")).collect::<Result<_>>()?;
        for (placed, _) in placed.iter().filter(|(placed, _)| placed.step == Step::Role) {
            let role = placed.tokens().get(2).and_then(Token::name).unwrap_or_default();
            if there.insert(role.clone()) {
                let statement = format!("CREATE ROLE {} NOLOGIN", quoted(&role));
                self.client.batch_execute(&statement).map_err(|error| failed(placed, &statement, error))?;
            }
        }
        Ok(())
    }

    /// Reads what was loaded, without what this program needed to load it.
    fn read(mut self, procedural: bool) -> Result<Model> {
        let name = self.name;
        self.run(&format!(
            "{}; DROP SCHEMA {name} CASCADE; REASSIGN OWNED BY {name} TO CURRENT_USER;
            REVOKE CREATE ON DATABASE {name} FROM {name}; DROP ROLE {name}",
            super::PINNED
        ))?;
        if !procedural {
            self.run("DROP EXTENSION plpgsql")?;
        }
        let temporary = "SELECT 1 AS x FROM pg_catalog.pg_class WHERE relpersistence = 't' AND relnamespace = pg_catalog.pg_my_temp_schema()";
        if !super::query::rows(&mut self.client, temporary)?.is_empty() {
            return Err(Error::Unsupported { what: "a temporary table in a schema file".into() });
        }
        super::read(&mut self.client)
    }
}

fn is_function(placed: &Placed<'_>) -> bool {
    placed.step == Step::Function
        && words(&placed.tokens()).iter().any(|word| matches!(*word, "FUNCTION" | "PROCEDURE"))
}

/// A statement that does not replace: the same object in two files is an error.
fn first(placed: &Placed<'_>) -> String {
    let tokens = placed.tokens();
    match words(&tokens).as_slice() {
        ["CREATE", "OR", "REPLACE", _, ..] => format!("CREATE {}", &placed.text[tokens[3].span.start..]),
        _ => placed.text.to_owned(),
    }
}

/// A `CREATE FUNCTION` that replaces.
fn replacing(placed: &Placed<'_>) -> String {
    match words(&placed.tokens()).as_slice() {
        ["CREATE", "OR", ..] => placed.text.to_owned(),
        _ => placed.text.replacen(&placed.text[..6], "CREATE OR REPLACE", 1),
    }
}

/// The extension that every new database has, and that this program needs itself.
const PROCEDURAL: &str = "plpgsql";

fn extension_name(placed: &Placed<'_>) -> Option<String> {
    let tokens = placed.tokens();
    let start = if words(&tokens).get(2) == Some(&"IF") { 5 } else { 2 };
    tokens.get(start)?.name()
}

/// The statement for an extension, from its name, schema and version alone. A version that this server does not have
/// becomes the one that it has.
fn extension(client: &mut Client, placed: &Placed<'_>) -> Result<String> {
    let tokens = placed.tokens();
    let name = extension_name(placed).ok_or_else(|| placed.error("an extension without a name"))?;
    let after = |word: &str| {
        let at = tokens.iter().skip(3).position(|token| token.is(word))? + 4;
        let text = tokens.get(at)?;
        Some(match &text.kind {
            TokenKind::Constant => placed.text[text.span.clone()].trim_matches('\'').to_owned(),
            _ => text.name()?,
        })
    };
    let sql =
        format!(
        "SELECT v.version AS version, EXISTS (SELECT FROM pg_catalog.pg_extension e WHERE e.extname = v.name) AS there
        FROM pg_catalog.pg_available_extension_versions v WHERE v.name = {}", literal(&name));
    let mut versions = BTreeMap::new();
    for row in super::query::rows(client, &sql)? {
        versions.insert(row.string("version")?, row.flag("there")?);
    }
    if versions.is_empty() {
        return Err(placed.error(format!("extension {name} is not installed on this server")));
    }
    if name == PROCEDURAL && versions.values().any(|there| *there) {
        return Ok(String::new());
    }
    let schema = after("SCHEMA").map_or(String::new(), |schema| format!(" SCHEMA {}", quoted(&schema)));
    let version = after("VERSION").filter(|version| versions.contains_key(version));
    let version = version.map_or(String::new(), |version| format!(" VERSION {}", literal(&version)));
    Ok(format!("CREATE EXTENSION {}{schema}{version}", quoted(&name)))
}

/// The table that a statement is about, qualified and not quoted.
fn target(placed: &Placed<'_>) -> Vec<String> {
    let tokens = placed.tokens();
    let word = if tokens.first().is_some_and(|token| token.is("ALTER")) || placed.step == Step::Table {
        "TABLE"
    } else {
        "ON"
    };
    let Some(mut at) = tokens.iter().position(|token| token.is(word)) else { return Vec::new() };
    while tokens.get(at + 1).is_some_and(|token| ["ONLY", "IF", "NOT", "EXISTS"].iter().any(|word| token.is(word))) {
        at += 1;
    }
    qualified(&tokens, at + 1).map(|(names, _)| names).unwrap_or_default()
}

/// How many tables are above each partition.
fn depths(placed: &[(Placed<'_>, bool)]) -> BTreeMap<Vec<String>, usize> {
    let mut parents = BTreeMap::new();
    for (placed, _) in placed {
        if !matches!(placed.step, Step::Table | Step::Attach) {
            continue;
        }
        let tokens = placed.tokens();
        let after = |word: &str| tokens.iter().position(|token| token.is(word)).map(|at| at + 1);
        let pair = match placed.step {
            Step::Table if tokens.iter().any(|token| token.is("PARTITION")) => {
                let of = after("PARTITION").filter(|at| tokens.get(*at).is_some_and(|token| token.is("OF")));
                of.and_then(|at| qualified(&tokens, at + 1)).map(|(parent, _)| (target(placed), parent))
            }
            Step::Attach => {
                after("ATTACH").and_then(|at| qualified(&tokens, at + 1)).map(|(child, _)| (child, target(placed)))
            }
            _ => None,
        };
        parents.extend(pair);
    }
    let depth =
        |name: &Vec<String>| std::iter::successors(parents.get(name), |name| parents.get(*name)).take(100).count();
    parents.keys().map(|name| (name.clone(), depth(name))).collect()
}

/// An engine's refusal at a statement, with the line that the engine means.
fn failed(placed: &Placed<'_>, text: &str, error: postgres::Error) -> Error {
    let Some(database) = error.as_db_error() else { return Error::engine("load the schema")(error) };
    let line = placed.line + line_within(text, database);
    let mut message = database.message().to_owned();
    if let Some(detail) = database.detail() {
        message += &format!(" ({detail})");
    }
    if database.code() == &SqlState::QUERY_CANCELED {
        message += &format!(" (a statement may take {PATIENCE})");
    }
    Error::Input { file: placed.file.clone(), line: Some(line), message, source: Some(error.into()) }
}

/// How many lines below the start of a statement the engine means.
fn line_within(text: &str, error: &DbError) -> u64 {
    let (query, position) = match error.position() {
        Some(ErrorPosition::Internal { position, query }) => (query.as_str(), *position),
        Some(ErrorPosition::Original(position)) => (text, *position),
        None => return 0,
    };
    let Some(start) = text.find(query) else { return 0 };
    let before = text[start..].chars().take(position.saturating_sub(1) as usize).filter(|c| *c == '\n').count();
    (text[..start].matches('\n').count() + before) as u64
}
