//! The model of a database from its catalogs.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::ops::RangeInclusive;

use postgres::GenericClient;

use super::model::*;
use super::query::{self, Row};
use super::{relations, settings, settled};
use crate::{Error, Result};

/// The oldest and the newest server that is known, by its major version. What a newer one brings would be lost without a word.
const KNOWN: RangeInclusive<u32> = 13..=18;

/// What the users of a database made: not in a schema of the server, nor in one of an operation of ours.
const USER_SCHEMA: &str =
    "(n.nspname !~ '^pg_' AND n.nspname <> 'information_schema' AND n.nspname !~ '^glxc_(done_)?[0-9a-f]{16}$')";

/// Reads the schema of a database.
///
/// The session must have `search_path` empty and the other settings that decide how the server writes constants pinned;
/// see [`super::PINNED`]. The catalogs are read by several queries: use a transaction of one snapshot, but know that the
/// server's own functions that write definitions look at the newest catalogs.
///
/// # Errors
/// [`Error::Unsupported`] with the names of what would be lost; [`Error::Engine`].
pub fn read(client: &mut impl GenericClient) -> Result<Model> {
    let mut run = |sql: &str| query::rows(client, sql);
    let mut reader = Reader::new(&mut run);
    reader.database()?;
    reader.closed()?;
    reader.members()?;
    reader.schemas()?;
    reader.extensions()?;
    reader.types()?;
    reader.casts()?;
    reader.functions()?;
    reader.aggregates()?;
    relations::read(&mut reader)?;
    settings::read(&mut reader)?;
    reader.depends()?;
    reader.notes();
    settled::settle(&mut reader.model);
    Ok(reader.model)
}

/// Where something stands in the catalogs: the catalog, the object, the column.
pub(super) type Key = (u32, u32, i32);

/// What is known of a place in the catalogs.
#[derive(Clone)]
pub(super) struct Known {
    /// The object that it is, or is part of.
    pub(super) id: ObjectId,
    /// How `COMMENT ON` names it.
    pub(super) subject: String,
    /// Whether it is only a part of the object (a column of a view, the index of a constraint).
    pub(super) part: bool,
}

/// Asks for the rows of a query.
type Run<'a> = &'a mut dyn FnMut(&str) -> Result<Vec<Row>>;

pub(super) struct Reader<'a> {
    run: Run<'a>,
    pub(super) model: Model,
    pub(super) known: HashMap<Key, Known>,
    /// What belongs to an extension.
    members: HashSet<(u32, u32)>,
    /// Tables and views by object id.
    pub(super) relations: HashMap<u32, ObjectId>,
    /// Edges that the server's dependencies do not have.
    pub(super) edges: Vec<(ObjectId, ObjectId)>,
}

impl<'a> Reader<'a> {
    fn new(run: Run<'a>) -> Self {
        let model = Model::default();
        Reader {
            run,
            model,
            known: HashMap::new(),
            members: HashSet::new(),
            relations: HashMap::new(),
            edges: Vec::new(),
        }
    }

    /// The rows of a query about what users made.
    pub(super) fn rows(&mut self, sql: &str) -> Result<Vec<Row>> {
        (self.run)(&sql.replace("{user_schema}", USER_SCHEMA))
    }

    /// The rows of a query with `class` and `oid`, without the members of extensions.
    pub(super) fn own_rows(&mut self, sql: &str) -> Result<Vec<Row>> {
        let mut own = Vec::new();
        for row in self.rows(sql)? {
            if !self.members.contains(&(row.number("class")?, row.number("oid")?)) {
                own.push(row);
            }
        }
        Ok(own)
    }

    /// Adds an object that a row of a catalog is.
    pub(super) fn add(&mut self, row: &Row, id: ObjectId, mut object: Object) -> Result<()> {
        if object.drop.is_empty() && id.kind != Kind::Database {
            object.drop = format!("DROP {} {}", id.kind.words(), id.name);
        }
        let key = (row.number("class")?, row.number("oid")?, 0);
        let subject = format!("{} {}", id.kind.words(), id.name);
        self.know(key, &id, subject, false);
        self.model.objects.insert(id, object);
        Ok(())
    }

    /// Remembers what a place in the catalogs is.
    pub(super) fn know(&mut self, key: Key, id: &ObjectId, subject: String, part: bool) {
        self.known.insert(key, Known { id: id.clone(), subject, part });
    }

    /// What a place in the catalogs is, or the whole that it is in.
    pub(super) fn find(&self, key: Key) -> Option<&Known> {
        self.known.get(&key).or_else(|| self.known.get(&(key.0, key.1, 0)))
    }

    fn database(&mut self) -> Result<()> {
        let rows = self.rows(include_str!("catalog/database.sql"))?;
        let row = rows.first().ok_or_else(|| Error::Gone { what: "the database".into() })?;
        self.model.version = row.number("version")?;
        known(self.model.version)?;
        self.model.database = Database {
            name: row.string("name")?,
            encoding: row.string("encoding")?,
            collate: row.string("collate")?,
            ctype: row.string("ctype")?,
            provider: row.string("provider")?,
            locale: row.opt("locale")?.map(str::to_owned),
            icu_rules: row.opt("icu_rules")?.map(str::to_owned),
        };
        for (column, what) in [("placed", "tablespace"), ("limited", "connection limit"), ("template", "template flag")]
        {
            if row.flag(column)? {
                self.model.notes.push(format!("the {what} of the database is not kept"));
            }
        }
        let file = FileName { folder: "", schema: None, name: "database".into() };
        self.add(row, settings::database(), Object::new(file, Definition::Implied))
    }

    fn closed(&mut self) -> Result<()> {
        let rows = self.rows(include_str!("catalog/closed.sql"))?;
        let names: Vec<&str> = rows.iter().map(|row| row.text("name")).collect::<Result<_>>()?;
        if names.is_empty() {
            return Ok(());
        }
        let mut what = names[..names.len().min(10)].join(", ");
        if names.len() > 10 {
            what += &format!(" and {} more", names.len() - 10);
        }
        Err(Error::Unsupported { what })
    }

    fn members(&mut self) -> Result<()> {
        let sql = "SELECT d.classid AS class, d.objid AS oid, pg_catalog.quote_ident(e.extname) AS extension
            FROM pg_catalog.pg_depend d JOIN pg_catalog.pg_extension e ON e.oid = d.refobjid
            WHERE d.deptype = 'e' AND d.refclassid = 'pg_catalog.pg_extension'::pg_catalog.regclass";
        for row in self.rows(sql)? {
            let (class, oid) = (row.number("class")?, row.number("oid")?);
            let id = ObjectId::new(Kind::Extension, row.text("extension")?);
            self.members.insert((class, oid));
            self.know((class, oid, 0), &id, String::new(), true);
        }
        Ok(())
    }

    fn schemas(&mut self) -> Result<()> {
        let sql = "SELECT n.tableoid AS class, n.oid, n.nspname AS name, pg_catalog.quote_ident(n.nspname) AS quoted
            FROM pg_catalog.pg_namespace n WHERE {user_schema}";
        for row in self.own_rows(sql)? {
            let id = ObjectId::new(Kind::Schema, row.text("quoted")?);
            let file = FileName { folder: "schemas", schema: None, name: row.string("name")? };
            let object = Object::new(file, Definition::Statement(format!("CREATE SCHEMA {}", id.name)));
            self.add(&row, id, object)?;
        }
        Ok(())
    }

    fn extensions(&mut self) -> Result<()> {
        let sql = "SELECT e.tableoid AS class, e.oid, e.extname AS name, pg_catalog.quote_ident(e.extname) AS quoted,
                pg_catalog.quote_ident(n.nspname) AS schema, e.extversion AS version
            FROM pg_catalog.pg_extension e JOIN pg_catalog.pg_namespace n ON n.oid = e.extnamespace";
        for row in self.rows(sql)? {
            let id = ObjectId::new(Kind::Extension, row.text("quoted")?);
            let file = FileName { folder: "extensions", schema: None, name: row.string("name")? };
            let (schema, version) = (row.string("schema")?, row.string("version")?);
            self.add(&row, id, Object::new(file, Definition::Extension { schema, version }))?;
        }
        let sql = "SELECT e.extname AS extension, t::pg_catalog.oid::pg_catalog.regclass AS name, e.extcondition[i] AS condition
            FROM pg_catalog.pg_extension e, pg_catalog.unnest(e.extconfig) WITH ORDINALITY u(t, i) ORDER BY 1, i";
        for row in self.rows(sql)? {
            let (extension, table) = (row.string("extension")?, row.string("name")?);
            let condition = row.opt("condition")?.unwrap_or_default().to_owned();
            self.model.config_tables.push(ConfigTable { extension, table, condition });
        }
        Ok(())
    }

    fn types(&mut self) -> Result<()> {
        let labels = self.labels()?;
        let attributes = self.attributes()?;
        for row in self.own_rows(include_str!("catalog/types.sql"))? {
            let (oid, qualified): (u32, _) = (row.number("oid")?, row.string("qualified")?);
            let kind = if row.letter("kind")? == 'd' { Kind::Domain } else { Kind::Type };
            let definition = match row.letter("kind")? {
                'e' => Definition::Enum { labels: labels.get(&oid).cloned().unwrap_or_default() },
                'c' => {
                    let relation: u32 = row.number("relation")?;
                    let attributes = attributes.get(&relation).cloned().unwrap_or_default();
                    Definition::Composite { attributes }
                }
                'd' => Definition::Statement(domain(&row, &qualified)?),
                _ => Definition::Statement(range(&row, &qualified)?),
            };
            let id = ObjectId::new(kind, qualified);
            self.know_type(&row, &id)?;
            self.add(&row, id, Object::new(in_schema("types", &row)?, definition))?;
        }
        Ok(())
    }

    fn casts(&mut self) -> Result<()> {
        let name = |t: &str, n: &str| {
            format!("pg_catalog.quote_ident({n}.nspname) || '.' || pg_catalog.quote_ident({t}.typname)")
        };
        let sql = format!(
            "SELECT {} AS source, {} AS target FROM pg_catalog.pg_cast c
            JOIN pg_catalog.pg_type s ON s.oid = c.castsource JOIN pg_catalog.pg_namespace sn ON sn.oid = s.typnamespace
            JOIN pg_catalog.pg_type t ON t.oid = c.casttarget JOIN pg_catalog.pg_namespace tn ON tn.oid = t.typnamespace",
            name("s", "sn"),
            name("t", "tn")
        );
        for row in self.rows(&sql)? {
            self.model.casts.insert((row.string("source")?, row.string("target")?));
        }
        Ok(())
    }

    /// The other types and the relation that come with a type.
    fn know_type(&mut self, row: &Row, id: &ObjectId) -> Result<()> {
        let class: u32 = row.number("class")?;
        for column in ["array", "multirange", "multirange_array"] {
            if let Some(oid) = row.opt(column)?.and_then(|oid| oid.parse().ok()) {
                self.know((class, oid, 0), id, String::new(), true);
            }
        }
        let relation: u32 = row.number("relation")?;
        if relation != 0 {
            self.relations.insert(relation, id.clone());
            self.know((settings::CLASS, relation, 0), id, format!("TYPE {}", id.name), true);
        }
        Ok(())
    }

    fn labels(&mut self) -> Result<HashMap<u32, Vec<String>>> {
        let sql =
            "SELECT enumtypid AS type, enumlabel AS label FROM pg_catalog.pg_enum ORDER BY enumtypid, enumsortorder";
        let mut labels: HashMap<u32, Vec<String>> = HashMap::new();
        for row in self.rows(sql)? {
            labels.entry(row.number("type")?).or_default().push(row.string("label")?);
        }
        Ok(labels)
    }

    fn attributes(&mut self) -> Result<HashMap<u32, Vec<(String, String)>>> {
        let mut attributes: HashMap<u32, Vec<(String, String)>> = HashMap::new();
        for row in self.rows(include_str!("catalog/columns.sql"))? {
            if row.letter("relation_kind")? == 'c' {
                let attribute = (row.string("quoted")?, relations::typed(&row)?);
                attributes.entry(row.number("relation")?).or_default().push(attribute);
            }
        }
        Ok(attributes)
    }

    fn functions(&mut self) -> Result<()> {
        for row in self.own_rows(include_str!("catalog/functions.sql"))? {
            let kind = if row.letter("kind")? == 'p' { Kind::Procedure } else { Kind::Function };
            let id = ObjectId::new(kind, row.text("qualified")?);
            let signature = format!("{} -> {}", row.text("arguments")?, row.text("result")?);
            let definition = row.text("definition")?.trim_end();
            let body = definition.strip_prefix("CREATE OR REPLACE ").unwrap_or(definition).to_owned();
            let definition = Definition::Replaceable { signature: vec![signature], body };
            self.add(&row, id, Object::new(in_schema("functions", &row)?, definition))?;
        }
        Ok(())
    }

    fn aggregates(&mut self) -> Result<()> {
        for row in self.own_rows(include_str!("catalog/aggregates.sql"))? {
            let plain = row.text("plain")?;
            let id = ObjectId::new(Kind::Aggregate, format!("{plain}({})", row.text("identity")?));
            let (arguments, options) = (row.text("arguments")?, row.text("options")?);
            let statement = format!("CREATE AGGREGATE {plain}({arguments}) (\n    {options}\n)");
            let object = Object::new(in_schema("functions", &row)?, Definition::Statement(statement));
            self.add(&row, id, object)?;
        }
        Ok(())
    }

    /// Says which rows are not kept: nothing can write into a materialized view.
    fn notes(&mut self) {
        let populated =
            self.model.objects.iter().filter(|(_, object)| object.settings.contains_key(settings::POPULATED));
        let notes = populated.map(|(id, _)| format!("{id}: its rows are computed again by an import, not kept"));
        self.model.notes.extend(notes);
    }

    /// Adds the edges between objects.
    fn depends(&mut self) -> Result<()> {
        let mut edges = std::mem::take(&mut self.edges);
        for row in self.rows(include_str!("catalog/depends.sql"))? {
            let from = self.find((row.number("class")?, row.number("oid")?, row.number("sub")?));
            let to = self.find((row.number("other_class")?, row.number("other_oid")?, row.number("other_sub")?));
            if let (Some(from), Some(to)) = (from, to) {
                edges.push((from.id.clone(), to.id.clone()));
            }
        }
        let parents: BTreeMap<ObjectId, ObjectId> =
            self.model.objects.iter().filter_map(|(id, o)| Some((id.clone(), o.parent.clone()?))).collect();
        edges.extend(parents.clone());
        for (from, to) in edges {
            let owned = from.kind == Kind::Sequence && matches!(to.kind, Kind::Table | Kind::Column);
            if from != to && !owned && !is_within(&parents, &to, &from) && self.model.objects.contains_key(&to) {
                self.model.objects.entry(from).and_modify(|object| _ = object.depends.insert(to));
            }
        }
        Ok(())
    }
}

/// Refuses a server, by its `server_version_num`, whose catalogs are not known.
fn known(version: u32) -> Result<()> {
    let major = version / 10_000;
    if KNOWN.contains(&major) {
        return Ok(());
    }
    let what = format!("PostgreSQL {major} (known are {} to {})", KNOWN.start(), KNOWN.end());
    Err(Error::Unsupported { what })
}

/// Whether an object is part of another.
fn is_within(parents: &BTreeMap<ObjectId, ObjectId>, part: &ObjectId, whole: &ObjectId) -> bool {
    std::iter::successors(parents.get(part), |id| parents.get(id)).any(|id| id == whole)
}

impl Object {
    pub(super) fn new(file: FileName, definition: Definition) -> Self {
        Object {
            file,
            parent: None,
            definition,
            drop: String::new(),
            settings: BTreeMap::new(),
            depends: BTreeSet::new(),
        }
    }

    pub(super) fn part_of(mut self, parent: &ObjectId) -> Self {
        self.parent = Some(parent.clone());
        self
    }

    pub(super) fn dropped_by(mut self, statement: impl Into<String>) -> Self {
        self.drop = statement.into();
        self
    }
}

/// The file of an object that is in a schema.
pub(super) fn in_schema(folder: &'static str, row: &Row) -> Result<FileName> {
    Ok(FileName { folder, schema: Some(row.string("schema")?), name: row.string("name")? })
}

fn domain(row: &Row, qualified: &str) -> Result<String> {
    let collation = row.opt("collation")?.map_or(String::new(), |name| format!(" COLLATE {name}"));
    Ok(format!("CREATE DOMAIN {qualified} AS {}{collation}", row.text("base")?))
}

fn range(row: &Row, qualified: &str) -> Result<String> {
    let mut options = vec![format!("SUBTYPE = {}", row.text("subtype")?)];
    for (word, column) in [
        ("SUBTYPE_OPCLASS", "opclass"),
        ("COLLATION", "range_collation"),
        ("SUBTYPE_DIFF", "subtype_diff"),
        ("MULTIRANGE_TYPE_NAME", "multirange_name"),
    ] {
        options.extend(row.opt(column)?.map(|value| format!("{word} = {value}")));
    }
    Ok(format!("CREATE TYPE {qualified} AS RANGE (\n    {}\n)", options.join(",\n    ")))
}

#[cfg(test)]
mod tests {
    use super::known;

    #[test]
    fn other_versions_are_refused_by_name() {
        assert!([130_000, 150_018, 170_012, 180_006].into_iter().all(|version| known(version).is_ok()));
        assert_eq!(known(190_000).unwrap_err().to_string(), "not supported: PostgreSQL 19 (known are 13 to 18)");
        assert!(known(120_022).is_err());
    }
}
