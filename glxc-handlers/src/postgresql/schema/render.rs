//! The files of a schema: one object with all its parts a file, in an order that only depends on the schema.

use std::collections::{BTreeMap, BTreeSet};

use super::model::*;
use super::settings;
use crate::{Error, Result, StatePath, names};

/// Writes the files of a schema, beneath `schema/`, sorted by path. Equal schemas give equal bytes.
///
/// # Errors
/// [`Error::Carrier`] where a name can not be the name of a file, which should never be.
pub fn files(model: &Model) -> Result<Vec<(StatePath, Vec<u8>)>> {
    let mut groups: BTreeMap<&FileName, Vec<&ObjectId>> = BTreeMap::new();
    for (id, object) in &model.objects {
        groups.entry(&object.file).or_default().push(id);
    }
    for ids in groups.values_mut() {
        ids.sort_by_key(|id| (model.objects[*id].parent.is_some(), *id));
    }
    let mut files = BTreeMap::from([(path("schema/roles.sql")?, roles(model).into_bytes())]);
    for (name, ids) in groups {
        files.insert(name.path()?, file(model, &ids).into_bytes());
    }
    Ok(files.into_iter().collect())
}

impl FileName {
    /// Where the file stands beneath the folder of the state.
    ///
    /// # Errors
    /// As for [`files`].
    pub fn path(&self) -> Result<StatePath> {
        let names: Vec<&str> = self.schema.iter().map(String::as_str).chain([self.name.as_str()]).collect();
        let folder = if self.folder.is_empty() { String::new() } else { format!("{}/", self.folder) };
        path(&format!("schema/{folder}{}.sql", names::encode_all(&names)))
    }
}

fn path(text: &str) -> Result<StatePath> {
    StatePath::new(text).map_err(Error::carrier("name a file of the schema"))
}

/// A name as SQL writes it, always in quotes where it is not a plain lower case word.
pub(super) fn quoted(name: &str) -> String {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    match name.starts_with(|c: char| c.is_ascii_lowercase() || c == '_') && name.chars().all(plain) {
        true => name.to_owned(),
        false => format!("\"{}\"", name.replace('"', "\"\"")),
    }
}

/// A text as SQL writes it.
pub(super) fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

fn roles(model: &Model) -> String {
    model.roles.iter().map(|role| format!("CREATE ROLE {};\n", quoted(role))).collect()
}

impl Database {
    /// The statement that says with what the database was created.
    pub(super) fn statement(&self) -> String {
        let Database { encoding, collate, ctype, .. } = self;
        let mut options = vec![
            format!("ENCODING {}", literal(encoding)),
            format!("LC_COLLATE {}", literal(collate)),
            format!("LC_CTYPE {}", literal(ctype)),
        ];
        let (provider, word) = match self.provider.as_str() {
            "i" => ("icu", "ICU_LOCALE"),
            "b" => ("builtin", "BUILTIN_LOCALE"),
            _ => ("libc", ""),
        };
        if let (Some(locale), false) = (&self.locale, word.is_empty()) {
            options.push(format!("LOCALE_PROVIDER {provider}"));
            options.push(format!("{word} {}", literal(locale)));
        }
        options.extend(self.icu_rules.as_ref().map(|rules| format!("ICU_RULES {}", literal(rules))));
        format!("CREATE DATABASE {} TEMPLATE template0\n    {}", settings::DATABASE, options.join("\n    "))
    }
}

/// One file: blocks with an empty line between them, each a definition and what is set on it.
fn file(model: &Model, ids: &[&ObjectId]) -> String {
    let mut inline = Inline::default();
    let mut first = Vec::new();
    for id in ids {
        match id.kind {
            Kind::Table => first.push(ended(&create_table(model, &id.name, &mut inline))),
            Kind::Database => first.push(ended(&model.database.statement())),
            _ => {}
        }
    }
    let mut blocks: Vec<String> = Vec::new();
    for id in ids {
        let object = &model.objects[*id];
        let done = inline.done.contains(*id);
        let definition = match &object.definition {
            Definition::Table { .. } => first.pop().unwrap_or_default(),
            Definition::Implied => first.pop().unwrap_or_default(),
            _ if done => String::new(),
            _ => id.create(object).map_or(String::new(), |statement| ended(&statement)),
        };
        let not_null = inline.not_null.contains(*id);
        let set = object.settings.iter().filter(|(key, _)| !(not_null && *key == settings::NOT_NULL));
        let set: String = set.map(|(_, setting)| ended(&setting.set)).collect();
        match blocks.last_mut() {
            Some(block) if definition.is_empty() => *block += &set,
            _ => blocks.push(definition + &set),
        }
    }
    blocks.retain(|block| !block.is_empty());
    blocks.join("\n")
}

fn ended(statement: &str) -> String {
    format!("{statement};\n")
}

impl Definition {
    /// The statement that creates it, where there is one that does not need the rest of the model.
    pub(super) fn create(&self) -> Option<String> {
        Some(match self {
            Definition::Statement(statement) => statement.clone(),
            Definition::Replaceable { body, .. } => format!("CREATE {body}"),
            Definition::Options { create, options, .. } => fill(create, &unusual(options)),
            _ => return None,
        })
    }
}

/// Puts options in the place of the last `{}`.
pub(super) fn fill(pattern: &str, options: &[String]) -> String {
    match pattern.rsplit_once("{}") {
        Some((before, after)) if options.is_empty() => format!("{}{after}", before.trim_end()),
        Some((before, after)) => format!("{before}{}{after}", options.join(" ")),
        None => pattern.to_owned(),
    }
}

/// The options of a sequence that differ from what it has without them.
fn unusual(options: &[String]) -> Vec<String> {
    let plain = !options.iter().any(|option| option.starts_with("INCREMENT BY -") || option.starts_with("MINVALUE"));
    let usual = |option: &&String| match option.as_str() {
        "AS bigint" | "INCREMENT BY 1" | "NO MINVALUE" | "NO MAXVALUE" | "CACHE 1" | "NO CYCLE" => true,
        "START WITH 1" => plain,
        _ => false,
    };
    options.iter().filter(|option| !usual(option)).cloned().collect()
}

impl ObjectId {
    /// The definition of an object by itself: names are known, so its words are all that it takes.
    pub(super) fn create(&self, object: &Object) -> Option<String> {
        match &object.definition {
            Definition::Enum { labels } => {
                let labels: Vec<String> = labels.iter().map(|label| format!("    {}", literal(label))).collect();
                Some(format!("CREATE TYPE {} AS ENUM (\n{}\n)", self.name, labels.join(",\n")))
            }
            Definition::Composite { attributes } => {
                let attributes: Vec<String> =
                    attributes.iter().map(|(name, spec)| format!("    {name} {spec}")).collect();
                Some(format!("CREATE TYPE {} AS (\n{}\n)", self.name, attributes.join(",\n")))
            }
            Definition::Extension { schema, version } => {
                Some(format!("CREATE EXTENSION {} WITH SCHEMA {schema} VERSION {}", self.name, literal(version)))
            }
            Definition::Partition { of, bound } => {
                let table = self.name.strip_suffix(&format!(" OF {of}")).unwrap_or(&self.name);
                Some(format!("ALTER TABLE {of} ATTACH PARTITION {table} {bound}"))
            }
            definition => definition.create(),
        }
    }
}

/// What a `CREATE TABLE` says so that nothing else has to.
#[derive(Default)]
pub(super) struct Inline {
    /// Objects that are part of the statement, or need none.
    done: BTreeSet<ObjectId>,
    /// Columns whose NOT NULL is part of the statement.
    not_null: BTreeSet<ObjectId>,
}

/// Asks something about a part of a table.
type Ask<'a, T> = &'a dyn Fn(&T) -> bool;

/// What the statement that creates a table leaves to others.
pub(super) struct Bare<'a> {
    /// Which of the columns that are NOT NULL are so from the start.
    pub(super) not_null: Ask<'a, Column>,
    /// Which checks the tables above it have already.
    pub(super) there: Ask<'a, ObjectId>,
}

/// The statement that creates a table with its columns alone; a partition has to be attached by another.
pub(super) fn create_bare_table(model: &Model, name: &str, bare: &Bare<'_>) -> String {
    let Some((table, suffix)) = table_parts(model, name) else { return String::new() };
    let line = |column| column_line(model, table, column, None, (bare.not_null)(column));
    let columns = own_columns(table).map(line);
    let not_null = own_not_null(table).filter(|(column, _)| (bare.not_null)(column)).map(|(_, line)| line);
    let lines: Vec<String> = columns.chain(inherited_checks(model, table, bare.there)).chain(not_null).collect();
    with_lines(name, &lines, suffix)
}

fn table_parts<'a>(model: &'a Model, name: &str) -> Option<(&'a Table, &'a str)> {
    match &model.objects.get(&ObjectId::new(Kind::Table, name))?.definition {
        Definition::Table { suffix } => Some((model.tables.get(name)?, suffix)),
        _ => None,
    }
}

/// The statement that creates a table with as much as can stand in it, which is noted in `inline`.
fn create_table(model: &Model, name: &str, inline: &mut Inline) -> String {
    let Some((table, suffix)) = table_parts(model, name) else { return String::new() };
    if let Some((id, of, bound)) = like_parent(model, table) {
        inline.done.insert(id);
        omit_inherited(model, table, inline);
        let defaults: Vec<String> =
            table.columns.iter().filter_map(|column| own_default(model, table, column, inline)).collect();
        let defaults = if defaults.is_empty() { String::new() } else { format!(" ({})", defaults.join(", ")) };
        return format!("CREATE TABLE {name} PARTITION OF {of}{defaults} {bound}{suffix}");
    }
    for column in own_columns(table) {
        inline.done.insert(column_id(table, column));
        if not_null_at_once(table, column) {
            inline.not_null.insert(column_id(table, column));
        }
    }
    for column in table.columns.iter().filter(|column| !column.local && table.partition_of.is_none()) {
        inline.done.insert(column_id(table, column));
        omit_like_parent(model, table, column, inline);
    }
    let mut lines: Vec<String> =
        own_columns(table).map(|column| column_line(model, table, column, Some(&mut *inline), true)).collect();
    lines.extend(inherited_checks(model, table, &|_| true));
    for (column, line) in own_not_null(table) {
        inline.not_null.insert(column_id(table, column));
        let usual = column.not_null_constraint.as_ref().is_some_and(|constraint| constraint.usual);
        let by_key = usual && in_primary_key(table, column) && !shares_key(table);
        lines.extend((!by_key).then_some(line));
    }
    lines.extend(constraint_lines(model, table, inline));
    with_lines(name, &lines, suffix)
}

fn with_lines(name: &str, lines: &[String], suffix: &str) -> String {
    match lines.is_empty() {
        true => format!("CREATE TABLE {name} (){suffix}"),
        false => format!("CREATE TABLE {name} (\n    {}\n){suffix}", lines.join(",\n    ")),
    }
}

/// The columns that the table's own statement has: a partition states all.
fn own_columns(table: &Table) -> impl Iterator<Item = &Column> {
    table.columns.iter().filter(|column| column.local || table.partition_of.is_some())
}

pub(super) fn column_id(table: &Table, column: &Column) -> ObjectId {
    ObjectId::new(Kind::Column, format!("{}.{}", table.qualified, column.quoted))
}

/// A column with its type, and with `inline` its default and identity.
fn column_line(model: &Model, table: &Table, column: &Column, inline: Option<&mut Inline>, not_null: bool) -> String {
    let id = column_id(table, column);
    let mut line = column.quoted.clone();
    let named = inline.is_none();
    if let Some(Object { definition: Definition::Column { spec, .. }, .. }) = model.objects.get(&id) {
        line += &format!(" {spec}");
    }
    if let Some(inline) = inline {
        line += &column_default(model, &id, inline).unwrap_or_default();
        line += &column_identity(model, &id, inline).unwrap_or_default();
    }
    if not_null {
        line += &not_null_words(table, column, named);
    }
    line
}

/// The words at a column that refuse NULL, where words at a column can. `named`: with the name of the constraint in any case.
fn not_null_words(table: &Table, column: &Column, named: bool) -> String {
    match &column.not_null_constraint {
        None if !column.not_null => String::new(),
        Some(constraint) if !constraint.is_plain() => String::new(),
        // A child has it from its parents, but a partition is made without them
        Some(constraint) if !constraint.local && table.partition_of.is_none() => String::new(),
        Some(constraint) if named || !constraint.usual => format!(" CONSTRAINT {} NOT NULL", constraint.name),
        _ => " NOT NULL".into(),
    }
}

fn in_primary_key(table: &Table, column: &Column) -> bool {
    table.uniques.iter().any(|unique| unique.kind == UniqueKind::Primary && unique.columns.contains(&column.name))
}

/// Whether a child has the NOT NULL of a column of its primary key from its parents alone. A key that is there from the start
/// would make that the child's own, too.
fn shares_key(table: &Table) -> bool {
    let shared = |constraint: &NotNull| !constraint.local;
    let key = table.columns.iter().filter(|column| in_primary_key(table, column));
    key.filter_map(|column| column.not_null_constraint.as_ref()).any(shared)
}

/// What a child itself says of the NOT NULL of columns that it has from its parents alone.
fn own_not_null(table: &Table) -> impl Iterator<Item = (&Column, String)> {
    let inherited = table.columns.iter().filter(|column| !column.local && table.partition_of.is_none());
    inherited.filter_map(|column| {
        let constraint = column.not_null_constraint.as_ref()?;
        (constraint.local && constraint.is_plain()).then(|| (column, constraint.words(&column.quoted)))
    })
}

/// Whether the words at a column say all about its NOT NULL. A partition's own becomes its parent's when it is attached.
pub(super) fn not_null_at_once(table: &Table, column: &Column) -> bool {
    column.not_null_constraint.as_ref().is_none_or(|constraint| {
        constraint.is_plain() && !(constraint.local && constraint.inherited && table.partition_of.is_some())
    })
}

/// Whether all that an object needs is there before its table: types, sequences, extensions.
fn simple(object: &Object) -> bool {
    let simple = |id: &ObjectId| {
        !matches!(id.kind, Kind::Function | Kind::Procedure | Kind::Aggregate | Kind::View | Kind::MaterializedView)
    };
    object.depends.iter().all(simple)
}

fn column_default(model: &Model, column: &ObjectId, inline: &mut Inline) -> Option<String> {
    let id = ObjectId::new(Kind::Default, &column.name);
    let object = model.objects.get(&id).filter(|object| simple(object))?;
    let words = column_words(&id, object)?;
    inline.done.insert(id);
    Some(words)
}

fn default_expression(object: &Object) -> Option<&str> {
    let Definition::Statement(statement) = &object.definition else { return None };
    let prefix = object.drop.strip_suffix("DROP DEFAULT")?;
    statement.strip_prefix(prefix)?.strip_prefix("SET DEFAULT ")
}

fn column_identity(model: &Model, column: &ObjectId, inline: &mut Inline) -> Option<String> {
    let id = ObjectId::new(Kind::Identity, &column.name);
    let words = column_words(&id, model.objects.get(&id)?)?;
    inline.done.insert(id);
    Some(words)
}

/// A default or identity as it stands behind the type of its column.
pub(super) fn column_words(id: &ObjectId, object: &Object) -> Option<String> {
    if id.kind == Kind::Default {
        return Some(format!(" DEFAULT {}", default_expression(object)?));
    }
    let create = object.definition.create()?;
    let prefix = object.drop.strip_suffix("DROP IDENTITY")?;
    Some(format!(" {}", create.strip_prefix(prefix)?.strip_prefix("ADD ")?))
}

/// The checks of the tables above a partition, which it must have before it can be attached.
fn inherited_checks(model: &Model, table: &Table, there: Ask<'_, ObjectId>) -> Vec<String> {
    let mut lines = BTreeSet::new();
    let mut above = table.partition_of.as_ref().and_then(|of| model.tables.get(of));
    while let Some(parent) = above {
        let inherits = |line: &str| line.contains(" CHECK (") && !line.ends_with(" NO INHERIT");
        lines.extend(constraints(model, parent).filter(|(id, line)| inherits(line) && there(id)).map(|(_, line)| line));
        above = parent.partition_of.as_ref().and_then(|of| model.tables.get(of));
    }
    lines.into_iter().collect()
}

/// The constraints of a table, each as `CONSTRAINT name ...`.
fn constraints<'a>(model: &'a Model, table: &'a Table) -> impl Iterator<Item = (&'a ObjectId, String)> {
    let parent = ObjectId::new(Kind::Table, &table.qualified);
    let prefix = format!("ALTER TABLE {} ADD ", table.qualified);
    let own = move |object: &Object| object.parent.as_ref() == Some(&parent);
    let kinds = model.objects.range(ObjectId::new(Kind::Constraint, "")..ObjectId::new(Kind::Index, ""));
    kinds.filter(move |(_, object)| own(object)).filter_map(move |(id, object)| {
        let Definition::Statement(statement) = &object.definition else { return None };
        Some((id, statement.strip_prefix(&prefix)?.to_owned()))
    })
}

/// The constraints that can stand in the statement, the primary key first. Those of partitioned tables are made after
/// those of their partitions, which have names of their own.
fn constraint_lines(model: &Model, table: &Table, inline: &mut Inline) -> Vec<String> {
    let apart = table.kind == TableKind::Partitioned || table.partition_of.is_some();
    let shares = shares_key(table);
    let fits = |id: &ObjectId, line: &str| {
        let apart = apart || shares && line.contains(" PRIMARY KEY (");
        (!apart || line.contains(" CHECK (")) && !line.ends_with(" NOT VALID") && simple(&model.objects[id])
    };
    let mut lines: Vec<(&ObjectId, String)> = constraints(model, table).filter(|(id, line)| fits(id, line)).collect();
    lines.sort_by_key(|(id, line)| (!line.contains(" PRIMARY KEY ("), id.name.clone()));
    inline.done.extend(lines.iter().map(|(id, _)| (*id).clone()));
    lines.into_iter().map(|(_, line)| line).collect()
}

/// Where a partition has the columns of its parent in the same order: its attachment, the parent and the bounds.
fn like_parent<'a>(model: &'a Model, table: &Table) -> Option<(ObjectId, &'a str, &'a str)> {
    let of = table.partition_of.as_ref()?;
    let parent = model.tables.get(of)?;
    let not_null = |column: &Column, below: bool| {
        let inherits = |not_null: &&NotNull| if below { not_null.inherited } else { !not_null.no_inherit };
        column.not_null_constraint.as_ref().filter(inherits).map(|not_null| not_null.name.clone())
    };
    let spec = |table: &Table, column: &Column, below: bool| {
        let object = model.objects.get(&column_id(table, column));
        (column.name.clone(), object.map(|object| object.definition.clone()), not_null(column, below))
    };
    let columns = |table: &Table, below| -> Vec<_> { table.columns.iter().map(|c| spec(table, c, below)).collect() };
    let id = ObjectId::new(Kind::Partition, format!("{} OF {of}", table.qualified));
    let Definition::Partition { of, bound } = &model.objects.get(&id)?.definition else { return None };
    (columns(parent, false) == columns(table, true)).then_some((id, of, bound))
}

/// Notes what a partition has from its parent.
fn omit_inherited(model: &Model, table: &Table, inline: &mut Inline) {
    for column in &table.columns {
        inline.done.insert(column_id(table, column));
        omit_like_parent(model, table, column, inline);
    }
}

/// The default of a partition's column, where it is not that of its parent.
fn own_default(model: &Model, table: &Table, column: &Column, inline: &mut Inline) -> Option<String> {
    let id = column_id(table, column);
    let same = inline.done.contains(&ObjectId::new(Kind::Default, &id.name));
    let default = if same { None } else { column_default(model, &id, inline) };
    default.map(|default| format!("{}{default}", column.quoted))
}

/// Notes the default and NOT NULL of a column that are those of a parent.
fn omit_like_parent(model: &Model, table: &Table, column: &Column, inline: &mut Inline) {
    let parents = table.parents.iter().filter_map(|name| model.tables.get(name));
    let above = parents.flat_map(|parent| parent.columns.iter().map(move |column| (parent, column)));
    for (parent, above) in above.filter(|(_, above)| above.name == column.name) {
        if above.not_null && column.not_null_constraint.is_none() {
            inline.not_null.insert(column_id(table, column));
        }
        let [own, other] =
            [column_id(table, column), column_id(parent, above)].map(|id| ObjectId::new(Kind::Default, id.name));
        let [mine, theirs] = [&own, &other].map(|id| model.objects.get(id));
        let at_once = theirs.is_none_or(simple);
        if at_once && mine.and_then(default_expression) == theirs.and_then(default_expression) {
            inline.done.insert(own);
        }
    }
}
