//! Tables, views and sequences, and what belongs to them, from the catalogs.

use std::collections::HashMap;

use super::model::*;
use super::query::Row;
use super::read::{Reader, in_schema};
use super::settings;
use crate::Result;

pub(super) fn read(reader: &mut Reader<'_>) -> Result<()> {
    let parents = parents(reader)?;
    relations(reader, &parents)?;
    columns(reader)?;
    sequences(reader)?;
    constraints(reader)?;
    indexes(reader)?;
    triggers(reader)?;
    rules(reader)?;
    policies(reader)?;
    statistics(reader)?;
    hashes_enum(&mut reader.model);
    Ok(())
}

/// The type of a column with its collation.
pub(super) fn typed(row: &Row) -> Result<String> {
    let collation = row.opt("collation")?.map_or(String::new(), |name| format!(" COLLATE {name}"));
    Ok(format!("{}{collation}", row.text("type")?))
}

/// What each table inherits from, in order.
fn parents(reader: &mut Reader<'_>) -> Result<HashMap<u32, Vec<String>>> {
    let sql = "SELECT inhrelid AS child, inhparent::pg_catalog.regclass AS parent FROM pg_catalog.pg_inherits
        ORDER BY inhrelid, inhseqno";
    let mut parents: HashMap<u32, Vec<String>> = HashMap::new();
    for row in reader.rows(sql)? {
        parents.entry(row.number("child")?).or_default().push(row.string("parent")?);
    }
    Ok(parents)
}

fn relations(reader: &mut Reader<'_>, parents: &HashMap<u32, Vec<String>>) -> Result<()> {
    for row in reader.own_rows(include_str!("catalog/relations.sql"))? {
        let qualified = row.string("qualified")?;
        let parents = parents.get(&row.number("oid")?).cloned().unwrap_or_default();
        let (id, object) = match row.letter("kind")? {
            'v' => view(&row, &qualified)?,
            'm' => materialized_view(&row, &qualified)?,
            'S' => continue,
            _ => table(reader, &row, &qualified, parents)?,
        };
        let types: [u32; 2] = [row.number("row_type")?, row.number("row_array")?];
        for oid in types {
            reader.know((settings::TYPE, oid, 0), &id, String::new(), true);
        }
        reader.relations.insert(row.number("oid")?, id.clone());
        reader.add(&row, id, object)?;
    }
    Ok(())
}

fn view(row: &Row, qualified: &str) -> Result<(ObjectId, Object)> {
    let options = row.opt("options")?.map_or(String::new(), |options| format!(" WITH ({options})"));
    let query = row.text("query")?.trim_end_matches(';');
    let body = format!("VIEW {qualified}{options} AS\n{query}");
    let definition = Definition::Replaceable { signature: Vec::new(), body };
    Ok((ObjectId::new(Kind::View, qualified), Object::new(in_schema("views", row)?, definition)))
}

fn materialized_view(row: &Row, qualified: &str) -> Result<(ObjectId, Object)> {
    let method = method(row)?;
    let query = row.text("query")?.trim_end_matches(';');
    let statement = format!("CREATE MATERIALIZED VIEW {qualified}{method} AS\n{query}\nWITH NO DATA");
    let object = Object::new(in_schema("views", row)?, Definition::Statement(statement));
    Ok((ObjectId::new(Kind::MaterializedView, qualified), object))
}

fn method(row: &Row) -> Result<String> {
    Ok(row.opt("method")?.map_or(String::new(), |method| format!(" USING {method}")))
}

fn table(reader: &mut Reader<'_>, row: &Row, qualified: &str, mut parents: Vec<String>) -> Result<(ObjectId, Object)> {
    let id = ObjectId::new(Kind::Table, qualified);
    let file = in_schema("tables", row)?;
    let bound = row.opt("bound")?.map(str::to_owned);
    let partition_of = bound.as_ref().and_then(|_| parents.first().cloned());
    let mut suffix = String::new();
    if let (Some(of), Some(bound)) = (&partition_of, bound) {
        let partition = ObjectId::new(Kind::Partition, format!("{qualified} OF {of}"));
        let object = Object::new(file.clone(), Definition::Partition { of: of.clone(), bound })
            .part_of(&id)
            .dropped_by(format!("ALTER TABLE {of} DETACH PARTITION {qualified}"));
        reader.edges.push((partition.clone(), ObjectId::new(Kind::Table, of)));
        reader.model.objects.insert(partition, object);
    } else if !parents.is_empty() {
        suffix += &format!("\nINHERITS ({})", parents.join(", "));
    }
    if let Some(key) = row.opt("partition_key")? {
        suffix += &format!("\nPARTITION BY {key}");
    }
    suffix += &method(row)?;
    let kind = if row.letter("kind")? == 'p' { TableKind::Partitioned } else { TableKind::Ordinary };
    let table = Table {
        oid: row.number("oid")?,
        schema: row.string("schema")?,
        name: row.string("name")?,
        qualified: qualified.into(),
        kind,
        unlogged: row.flag("unlogged")?,
        columns: Vec::new(),
        key: None,
        key_name: None,
        uniques: Vec::new(),
        foreign_keys: Vec::new(),
        triggers: Vec::new(),
        row_security: row.flag("row_security")?,
        force_row_security: row.flag("force_row_security")?,
        replica_identity: row.letter("replica_identity")?,
        parents: std::mem::take(&mut parents),
        partition_of,
        hash_partitioned_by_enum: row.flag("hashes_enum")?,
    };
    reader.model.tables.insert(qualified.into(), table);
    Ok((id, Object::new(file, Definition::Table { suffix }).dropped_by(format!("DROP TABLE {qualified}"))))
}

/// A partition inherits the way that its rows are found.
fn hashes_enum(model: &mut Model) {
    loop {
        let hashing = |model: &Model, name: &String| model.tables.get(name).is_some_and(|t| t.hash_partitioned_by_enum);
        let next = model.tables.values().find(|table| {
            !table.hash_partitioned_by_enum && table.partition_of.as_ref().is_some_and(|of| hashing(model, of))
        });
        let Some(name) = next.map(|table| table.qualified.clone()) else { return };
        model.tables.entry(name).and_modify(|table| table.hash_partitioned_by_enum = true);
    }
}

fn columns(reader: &mut Reader<'_>) -> Result<()> {
    let rows = reader.rows(include_str!("catalog/columns.sql"))?;
    for row in &rows {
        let relation: u32 = row.number("relation")?;
        let Some(id) = reader.relations.get(&relation).cloned() else { continue };
        let key = (settings::CLASS, relation, row.number("number")?);
        let name = format!("{}.{}", id.name, row.text("quoted")?);
        match id.kind {
            Kind::Table => table_column(reader, row, &id, key)?,
            kind => {
                reader.know(key, &id, format!("COLUMN {name}"), true);
                if kind == Kind::View {
                    view_column(reader, row, &id)?;
                }
            }
        }
    }
    inherited_columns(reader);
    Ok(())
}

fn view_column(reader: &mut Reader<'_>, row: &Row, view: &ObjectId) -> Result<()> {
    let column = format!("{} {}", row.text("quoted")?, typed(row)?);
    let object = reader.model.objects.get_mut(view);
    if let Some(Definition::Replaceable { signature, .. }) = object.map(|object| &mut object.definition) {
        signature.push(column);
    }
    let Some(expression) = row.opt("expression")? else { return Ok(()) };
    add_default(reader, row, view, view, expression)
}

/// Adds the default of a column; `holder` is what the default is part of.
fn add_default(
    reader: &mut Reader<'_>, row: &Row, relation: &ObjectId, holder: &ObjectId, expression: &str,
) -> Result<()> {
    let id = ObjectId::new(Kind::Default, format!("{}.{}", relation.name, row.text("quoted")?));
    let only = if relation.kind == Kind::Table { "TABLE ONLY" } else { "VIEW" };
    let alter = format!("ALTER {only} {} ALTER COLUMN {}", relation.name, row.text("quoted")?);
    let file = reader.model.objects[relation].file.clone();
    let object = Object::new(file, Definition::Statement(format!("{alter} SET DEFAULT {expression}")))
        .part_of(holder)
        .dropped_by(format!("{alter} DROP DEFAULT"));
    if row.opt("default_oid")?.is_some() {
        let key = (row.number("default_class")?, row.number("default_oid")?, 0);
        reader.know(key, &id, String::new(), true);
    }
    reader.model.objects.insert(id, object);
    Ok(())
}

fn table_column(reader: &mut Reader<'_>, row: &Row, table: &ObjectId, key: super::read::Key) -> Result<()> {
    let generated = match row.letter("generated")? {
        ' ' => None,
        's' => Some("STORED"),
        _ => Some("VIRTUAL"),
    };
    let expression = row.opt("expression")?;
    let mut spec = typed(row)?;
    if let (Some(kind), Some(expression)) = (generated, expression) {
        spec += &format!(" GENERATED ALWAYS AS ({expression}) {kind}");
    }
    let id = ObjectId::new(Kind::Column, format!("{}.{}", table.name, row.text("quoted")?));
    let file = reader.model.objects[table].file.clone();
    let local = row.flag("local")? || !row.flag("inherited")?;
    let drop =
        if local { format!("ALTER TABLE {} DROP COLUMN {}", table.name, row.text("quoted")?) } else { String::new() };
    let mut object = Object::new(file, Definition::Column { spec, generated: generated.is_some() });
    object = object.part_of(table).dropped_by(drop);
    let column = column(row, generated.is_some(), local)?;
    if let Some(setting) = not_null_setting(&table.name, &column) {
        object.settings.insert(settings::NOT_NULL.into(), setting);
    }
    if let Some(constraint) = &column.not_null_constraint {
        let place = (row.number("constraint_class")?, row.number("constraint_oid")?, 0);
        reader.know(place, &id, format!("CONSTRAINT {} ON {}", constraint.name, table.name), true);
    }
    reader.know(key, &id, format!("COLUMN {}", id.name), false);
    reader.model.objects.insert(id.clone(), object);
    match (generated, expression) {
        (Some(_), Some(_)) => {
            let attribute = (row.number("default_class")?, row.number("default_oid")?, 0);
            reader.know(attribute, &id, String::new(), true);
        }
        (None, Some(expression)) => add_default(reader, row, table, &id, expression)?,
        _ => {}
    }
    reader.model.tables.entry(table.name.clone()).and_modify(|table| table.columns.push(column));
    Ok(())
}

/// What sets that a column is NOT NULL, where its table has that by itself.
fn not_null_setting(table: &str, column: &Column) -> Option<Setting> {
    let alter = format!("ALTER TABLE {table} ALTER COLUMN {}", column.quoted);
    let set = match &column.not_null_constraint {
        None if !column.not_null => return None,
        Some(constraint) if !constraint.local => return None,
        Some(constraint) if !(constraint.inherited || constraint.usual && constraint.is_plain()) => {
            format!("ALTER TABLE {table} ADD {}", constraint.words(&column.quoted))
        }
        _ => format!("{alter} SET NOT NULL"),
    };
    Some(Setting { set, reset: Some(format!("{alter} DROP NOT NULL")) })
}

impl NotNull {
    /// Whether a word at the column says all.
    pub(super) fn is_plain(&self) -> bool {
        self.validated && !self.no_inherit
    }

    /// The constraint of a column as it is added to a table.
    pub(super) fn words(&self, column: &str) -> String {
        let no_inherit = if self.no_inherit { " NO INHERIT" } else { "" };
        let not_valid = if self.validated { "" } else { " NOT VALID" };
        format!("CONSTRAINT {} NOT NULL {column}{no_inherit}{not_valid}", self.name)
    }
}

fn not_null_constraint(row: &Row) -> Result<Option<NotNull>> {
    let Some(name) = row.opt("constraint_name")? else { return Ok(None) };
    Ok(Some(NotNull {
        name: name.to_owned(),
        usual: row.flag("constraint_usual")?,
        local: row.flag("constraint_local")?,
        inherited: row.flag("constraint_inherited")?,
        no_inherit: row.flag("constraint_no_inherit")?,
        validated: row.flag("constraint_validated")?,
    }))
}

fn column(row: &Row, generated: bool, local: bool) -> Result<Column> {
    let identity = match row.letter("identity")? {
        'a' => Some(Identity::Always),
        'd' => Some(Identity::ByDefault),
        _ => None,
    };
    Ok(Column {
        name: row.string("name")?,
        quoted: row.string("quoted")?,
        number: row.number("number")?,
        type_name: row.string("type")?,
        type_kind: row.letter("type_kind")?,
        base_type: row.string("base")?,
        collation: row.opt("collation")?.map(str::to_owned),
        not_null: row.flag("not_null")?,
        not_null_constraint: not_null_constraint(row)?,
        generated,
        identity,
        default: if generated { None } else { row.opt("expression")?.map(str::to_owned) },
        local,
    })
}

/// Joins columns that come from a parent with the parent's, and states where a child lacks a parent's default.
fn inherited_columns(reader: &mut Reader<'_>) {
    let mut lacking = Vec::new();
    for table in reader.model.tables.values() {
        for column in table.columns.iter().filter(|column| !column.local) {
            let own = ObjectId::new(Kind::Column, format!("{}.{}", table.qualified, column.quoted));
            for parent in table.parents.iter().filter_map(|name| reader.model.tables.get(name)) {
                let Some(above) = parent.columns.iter().find(|c| c.name == column.name) else { continue };
                let id = ObjectId::new(Kind::Column, format!("{}.{}", parent.qualified, above.quoted));
                reader.edges.push((own.clone(), id));
                if above.default.is_some() && column.default.is_none() && column.identity.is_none() {
                    lacking.push((table.qualified.clone(), own.clone(), column.quoted.clone()));
                }
            }
        }
    }
    for (table, column, quoted) in lacking {
        let alter = format!("ALTER TABLE ONLY {table} ALTER COLUMN {quoted}");
        let file = reader.model.objects[&column].file.clone();
        let object = Object::new(file, Definition::Statement(format!("{alter} SET DEFAULT NULL")))
            .part_of(&column)
            .dropped_by(format!("{alter} DROP DEFAULT"));
        reader.model.objects.insert(ObjectId::new(Kind::Default, column.name.clone()), object);
    }
}

fn sequences(reader: &mut Reader<'_>) -> Result<()> {
    for row in reader.rows(include_str!("catalog/sequences.sql"))? {
        let oid: u32 = row.number("oid")?;
        let sequence = sequence(&row)?;
        if sequence.extension.is_none() {
            let subject = format!("SEQUENCE {}", sequence.qualified);
            let (id, object) =
                if sequence.identity { identity(reader, &row, &sequence)? } else { plain(reader, &row, &sequence)? };
            reader.know((settings::CLASS, oid, 0), &id, subject, sequence.identity);
            reader.model.objects.insert(id, object);
        }
        reader.model.sequences.insert(sequence.qualified.clone(), sequence);
    }
    values(reader)
}

fn sequence(row: &Row) -> Result<Sequence> {
    let owned_by = match (row.opt("relation_name")?, row.opt("column_name")?) {
        (Some(table), Some(column)) => Some((table.to_owned(), column.to_owned())),
        _ => None,
    };
    Ok(Sequence {
        schema: row.string("schema")?,
        name: row.string("name")?,
        qualified: row.string("qualified")?,
        type_name: row.string("type")?,
        increment: row.number("increment")?,
        min: row.number("min")?,
        max: row.number("max")?,
        start: row.number("start")?,
        cache: row.number("cache")?,
        cycle: row.flag("cycle")?,
        last_value: 0,
        is_called: false,
        owned_by,
        identity: row.flag("identity")?,
        extension: row.opt("extension")?.map(str::to_owned),
    })
}

/// The options of a sequence that are not those that its type and direction give by themselves.
fn options(sequence: &Sequence) -> Vec<String> {
    let (least, greatest) = match sequence.type_name.as_str() {
        "smallint" => (i64::from(i16::MIN), i64::from(i16::MAX)),
        "integer" => (i64::from(i32::MIN), i64::from(i32::MAX)),
        _ => (i64::MIN, i64::MAX),
    };
    let (min, max) = if sequence.increment > 0 { (1, greatest) } else { (least, -1) };
    let bound = |word: &str, value: i64, default: i64| match value == default {
        true => format!("NO {word}"),
        false => format!("{word} {value}"),
    };
    vec![
        format!("INCREMENT BY {}", sequence.increment),
        bound("MINVALUE", sequence.min, min),
        bound("MAXVALUE", sequence.max, max),
        format!("START WITH {}", sequence.start),
        format!("CACHE {}", sequence.cache),
        if sequence.cycle { "CYCLE".into() } else { "NO CYCLE".into() },
    ]
}

fn plain(reader: &Reader<'_>, row: &Row, sequence: &Sequence) -> Result<(ObjectId, Object)> {
    let mut options = options(sequence);
    options.insert(0, format!("AS {}", sequence.type_name));
    let name = &sequence.qualified;
    let owner = row.opt("relation_name")?.and_then(|name| reader.model.objects.get(&ObjectId::new(Kind::Table, name)));
    let file = match owner {
        Some(table) => table.file.clone(),
        None => in_schema("sequences", row)?,
    };
    let definition = Definition::Options {
        create: format!("CREATE SEQUENCE {name} {{}}"),
        alter: format!("ALTER SEQUENCE {name} {{}}"),
        options,
    };
    let object = Object::new(file, definition).dropped_by(format!("DROP SEQUENCE IF EXISTS {name}"));
    Ok((ObjectId::new(Kind::Sequence, name), object))
}

fn identity(reader: &mut Reader<'_>, row: &Row, sequence: &Sequence) -> Result<(ObjectId, Object)> {
    let (table, column) = (row.text("relation_name")?, row.text("column_quoted")?);
    let holder = ObjectId::new(Kind::Column, format!("{table}.{column}"));
    let found = reader.model.tables.get(table).and_then(|table| {
        let own = sequence.owned_by.as_ref().map(|(_, column)| column);
        table.columns.iter().find(|column| own == Some(&column.name))?.identity
    });
    let kind = if found == Some(Identity::Always) { "ALWAYS" } else { "BY DEFAULT" };
    let alter = format!("ALTER TABLE {table} ALTER COLUMN {column}");
    let set: Vec<String> = options(sequence);
    let definition = Definition::Options {
        create: format!("{alter} ADD GENERATED {kind} AS IDENTITY (SEQUENCE NAME {} {{}})", sequence.qualified),
        alter: format!("{alter} SET GENERATED {kind} {{}}"),
        options: set,
    };
    let file = reader.model.objects.get(&holder).map(|object| object.file.clone());
    let file = match file {
        Some(file) => file,
        None => in_schema("sequences", row)?,
    };
    let object = Object::new(file, definition).part_of(&holder).dropped_by(format!("{alter} DROP IDENTITY"));
    Ok((ObjectId::new(Kind::Identity, holder.name), object))
}

/// Reads the values of all sequences.
fn values(reader: &mut Reader<'_>) -> Result<()> {
    let literal = |name: &str| format!("'{}'", name.replace('\'', "''"));
    let names: Vec<String> = reader.model.sequences.keys().cloned().collect();
    for some in names.chunks(500) {
        let selects =
            some.iter().map(|name| format!("SELECT {} AS name, last_value, is_called FROM {name}", literal(name)));
        let sql = selects.collect::<Vec<_>>().join(" UNION ALL ");
        for row in reader.rows(&sql)? {
            if let Some(sequence) = reader.model.sequences.get_mut(row.text("name")?) {
                sequence.last_value = row.number("last_value")?;
                sequence.is_called = row.flag("is_called")?;
            }
        }
    }
    Ok(())
}

fn constraints(reader: &mut Reader<'_>) -> Result<()> {
    let mut columns: HashMap<u32, Vec<(String, String, String)>> = HashMap::new();
    for row in reader.rows(include_str!("catalog/foreign_key_columns.sql"))? {
        let pair = (row.string("name")?, row.string("referenced")?, row.string("operator")?);
        columns.entry(row.number("oid")?).or_default().push(pair);
    }
    for row in reader.own_rows(include_str!("catalog/constraints.sql"))? {
        let relation: u32 = row.number("relation")?;
        match reader.relations.get(&relation).cloned() {
            _ if row.letter("kind")? == 'n' => know_not_null(reader, &row)?,
            Some(table) => table_constraint(reader, &row, &table, columns.remove(&row.number("oid")?))?,
            None if relation == 0 => domain_constraint(reader, &row)?,
            None => {}
        }
    }
    Ok(())
}

/// Remembers a NOT NULL that is a constraint. Its column or domain says all of it but a comment, and columns are known.
fn know_not_null(reader: &mut Reader<'_>, row: &Row) -> Result<()> {
    if row.number::<u32>("domain")? != 0 {
        let domain = ObjectId::new(Kind::Domain, row.text("domain_name")?);
        let subject = format!("CONSTRAINT {} ON DOMAIN {}", row.text("quoted")?, domain.name);
        reader.know((row.number("class")?, row.number("oid")?, 0), &domain, subject, true);
    }
    Ok(())
}

fn domain_constraint(reader: &mut Reader<'_>, row: &Row) -> Result<()> {
    let domain = ObjectId::new(Kind::Domain, row.text("domain_name")?);
    let Some(file) = reader.model.objects.get(&domain).map(|object| object.file.clone()) else { return Ok(()) };
    let quoted = row.text("quoted")?;
    let id = ObjectId::new(Kind::DomainConstraint, format!("{quoted} ON DOMAIN {}", domain.name));
    let statement = format!("ALTER DOMAIN {} ADD CONSTRAINT {quoted} {}", domain.name, row.text("definition")?);
    let object = Object::new(file, Definition::Statement(statement))
        .part_of(&domain)
        .dropped_by(format!("ALTER DOMAIN {} DROP CONSTRAINT {quoted}", domain.name));
    reader.add(row, id, object)
}

fn table_constraint(
    reader: &mut Reader<'_>, row: &Row, table: &ObjectId, columns: Option<Vec<(String, String, String)>>,
) -> Result<()> {
    let (kind, quoted) = (row.letter("kind")?, row.text("quoted")?);
    if kind == 'f' {
        let foreign_key = foreign_key(row, columns.unwrap_or_default())?;
        reader.model.tables.entry(table.name.clone()).and_modify(|table| table.foreign_keys.push(foreign_key));
        if row.flag("clone")? {
            return Ok(());
        }
    }
    if kind == 'c' && !row.flag("local")? {
        return Ok(());
    }
    let word = if kind == 'f' { Kind::ForeignKey } else { Kind::Constraint };
    let id = ObjectId::new(word, format!("{quoted} ON {}", table.name));
    let file = reader.model.objects[table].file.clone();
    let statement = format!("ALTER TABLE {} ADD CONSTRAINT {quoted} {}", table.name, row.text("definition")?);
    let object = Object::new(file, Definition::Statement(statement))
        .part_of(table)
        .dropped_by(format!("ALTER TABLE {} DROP CONSTRAINT IF EXISTS {quoted}", table.name));
    if matches!(kind, 'p' | 'u' | 'x') {
        let key = (settings::CLASS, row.number("index")?, 0);
        reader.know(key, &id, format!("INDEX {}", row.text("index_name")?), true);
    }
    reader.add(row, id, object)
}

fn foreign_key(row: &Row, columns: Vec<(String, String, String)>) -> Result<ForeignKey> {
    Ok(ForeignKey {
        name: row.string("name")?,
        columns: columns.iter().map(|(own, _, _)| own.clone()).collect(),
        table: row.string("referenced")?,
        referenced: columns.iter().map(|(_, other, _)| other.clone()).collect(),
        operators: columns.into_iter().map(|(_, _, operator)| operator).collect(),
        deferrable: row.flag("deferrable")?,
        deferred: row.flag("deferred")?,
        match_type: row.letter("match_type")?,
        validated: row.flag("validated")?,
        inherited: row.flag("clone")?,
    })
}

/// A key column of a unique index: its name where it is a column, its expression, its operator.
type KeyColumn = (Option<String>, String, Option<String>);

fn indexes(reader: &mut Reader<'_>) -> Result<()> {
    let mut keys: HashMap<u32, Vec<KeyColumn>> = HashMap::new();
    for row in reader.rows(include_str!("catalog/index_columns.sql"))? {
        let name = row.opt("name")?.map(str::to_owned);
        let operator = row.opt("operator")?.map(str::to_owned);
        keys.entry(row.number("index")?).or_default().push((name, row.string("expression")?, operator));
    }
    let mut attached = Vec::new();
    for row in reader.own_rows(include_str!("catalog/indexes.sql"))? {
        let Some(relation) = reader.relations.get(&row.number("relation")?).cloned() else { continue };
        if row.opt("constraint_oid")?.is_none() {
            index(reader, &row, &relation)?;
        }
        let oid: u32 = row.number("oid")?;
        if let Some(parent) = row.opt("parent")?.and_then(|parent| parent.parse::<u32>().ok()) {
            attached.push((parent, oid));
        }
        if row.flag("is_unique")? || row.flag("exclusion")? {
            let unique = unique(&row, keys.remove(&oid).unwrap_or_default())?;
            let (valid, immediate) = (row.flag("valid")?, row.flag("immediate")?);
            reader.model.tables.entry(relation.name).and_modify(|table| {
                table.uniques.push(unique);
                choose_key(table, valid && immediate);
            });
        }
    }
    for (parent, child) in attached {
        let ids = [parent, child].map(|oid| reader.find((settings::CLASS, oid, 0)).map(|known| known.id.clone()));
        if let [Some(parent), Some(child)] = ids {
            reader.edges.push((parent, child));
        }
    }
    for table in reader.model.tables.values_mut() {
        table.uniques.sort_by(|a, b| a.name.cmp(&b.name));
        table.foreign_keys.sort_by(|a, b| a.name.cmp(&b.name));
    }
    Ok(())
}

fn unique(row: &Row, key: Vec<KeyColumn>) -> Result<Unique> {
    let kind = match row.opt("constraint_kind")? {
        Some("p") => UniqueKind::Primary,
        Some("u") => UniqueKind::Unique,
        Some("x") => UniqueKind::Exclusion,
        _ => UniqueKind::Index,
    };
    Ok(Unique {
        name: row.string("name")?,
        kind,
        columns: key.iter().map(|(name, _, _)| name.clone()).collect::<Option<_>>().unwrap_or_default(),
        operators: key.iter().filter_map(|(_, _, operator)| operator.clone()).collect(),
        expressions: key.into_iter().map(|(_, expression, _)| expression).collect(),
        predicate: row.opt("predicate")?.map(str::to_owned),
        deferrable: !row.flag("immediate")?,
        nulls_not_distinct: row.flag("nulls_not_distinct")?,
    })
}

/// Takes the unique index that was added last as the key where it is a better one: the primary key, else the one
/// with the fewest columns, then the first by name.
fn choose_key(table: &mut Table, usable: bool) {
    let Some(unique) = table.uniques.last() else { return };
    let not_null = |name: &String| table.columns.iter().any(|column| &column.name == name && column.not_null);
    let whole = unique.predicate.is_none() && unique.kind != UniqueKind::Exclusion;
    if !usable || !whole || unique.columns.is_empty() || !unique.columns.iter().all(not_null) {
        return;
    }
    let grade = |unique: &Unique| (unique.kind != UniqueKind::Primary, unique.columns.len(), unique.name.clone());
    let current = table.key_name.as_ref().and_then(|name| table.uniques.iter().find(|unique| &unique.name == name));
    if current.is_none_or(|current| grade(unique) < grade(current)) {
        table.key = Some(unique.columns.clone());
        table.key_name = Some(unique.name.clone());
    }
}

fn index(reader: &mut Reader<'_>, row: &Row, relation: &ObjectId) -> Result<()> {
    let id = ObjectId::new(Kind::Index, row.text("qualified")?);
    let only = format!(" ON ONLY {} ", relation.name);
    let statement = row.text("definition")?.replacen(&only, &format!(" ON {} ", relation.name), 1);
    let file = reader.model.objects[relation].file.clone();
    let drop = format!("DROP INDEX IF EXISTS {}", id.name);
    let object = Object::new(file, Definition::Statement(statement)).part_of(relation).dropped_by(drop);
    reader.add(row, id, object)
}

fn triggers(reader: &mut Reader<'_>) -> Result<()> {
    for row in reader.own_rows(include_str!("catalog/triggers.sql"))? {
        let Some(relation) = reader.relations.get(&row.number("relation")?).cloned() else { continue };
        let trigger = Trigger {
            name: row.string("name")?,
            enabled: row.letter("enabled")?,
            internal: row.flag("internal")?,
            inherited: row.flag("clone")?,
        };
        let own = !trigger.internal && !trigger.inherited;
        reader.model.tables.entry(relation.name.clone()).and_modify(|table| table.triggers.push(trigger));
        if own {
            on_relation(reader, &row, Kind::Trigger, &relation, row.string("definition")?)?;
        }
    }
    Ok(())
}

/// Adds a trigger, rule or policy.
fn on_relation(reader: &mut Reader<'_>, row: &Row, kind: Kind, relation: &ObjectId, statement: String) -> Result<()> {
    let id = ObjectId::new(kind, format!("{} ON {}", row.text("quoted")?, relation.name));
    let file = reader.model.objects[relation].file.clone();
    let drop = format!("DROP {} {}", kind.words(), id.name);
    reader.add(row, id, Object::new(file, Definition::Statement(statement)).part_of(relation).dropped_by(drop))
}

fn rules(reader: &mut Reader<'_>) -> Result<()> {
    for row in reader.own_rows(include_str!("catalog/rules.sql"))? {
        let Some(relation) = reader.relations.get(&row.number("relation")?).cloned() else { continue };
        if row.flag("is_query")? {
            let key = (row.number("class")?, row.number("oid")?, 0);
            reader.know(key, &relation, String::new(), true);
        } else {
            let statement = row.text("definition")?.trim_end_matches(';').to_owned();
            on_relation(reader, &row, Kind::Rule, &relation, statement)?;
        }
    }
    Ok(())
}

fn policies(reader: &mut Reader<'_>) -> Result<()> {
    for row in reader.own_rows(include_str!("catalog/policies.sql"))? {
        let Some(relation) = reader.relations.get(&row.number("relation")?).cloned() else { continue };
        let name = format!("CREATE POLICY {} ON {}", row.text("quoted")?, relation.name);
        let statement = format!("{name}\n    {}", row.text("definition")?);
        on_relation(reader, &row, Kind::Policy, &relation, statement)?;
    }
    Ok(())
}

fn statistics(reader: &mut Reader<'_>) -> Result<()> {
    for row in reader.own_rows(include_str!("catalog/statistics.sql"))? {
        let Some(relation) = reader.relations.get(&row.number("relation")?).cloned() else { continue };
        let id = ObjectId::new(Kind::Statistics, row.text("qualified")?);
        let file = reader.model.objects[&relation].file.clone();
        let drop = format!("DROP STATISTICS {}", id.name);
        let object = Object::new(file, Definition::Statement(row.string("definition")?));
        reader.add(&row, id, object.part_of(&relation).dropped_by(drop))?;
    }
    Ok(())
}
