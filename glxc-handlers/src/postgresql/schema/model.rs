//! What a PostgreSQL database's schema is made of, read from its catalogs.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// The schema of one database: every object that its users made.
///
/// Two databases with equal schemas have equal models, whatever their history, object ids apart.
#[derive(Clone, Debug, Default)]
pub struct Model {
    /// `server_version_num` of the server it was read from.
    pub version: u32,
    /// The database itself.
    pub database: Database,
    /// Every object, by what it is and its name.
    pub objects: BTreeMap<ObjectId, Object>,
    /// The tables in detail, by [`Table::qualified`]; their parts are also in [`Model::objects`].
    pub tables: BTreeMap<String, Table>,
    /// The sequences in detail, those of identity columns included, by [`Sequence::qualified`].
    pub sequences: BTreeMap<String, Sequence>,
    /// The names of the roles that own something, were granted something or are named by a policy, not quoted.
    pub roles: BTreeSet<String>,
    /// The names of all roles of the cluster. Not part of the schema.
    pub cluster_roles: BTreeSet<String>,
    /// From which type to which a cast leads, besides those by way of text. Not part of the schema.
    pub casts: BTreeSet<(String, String)>,
    /// The configuration tables of extensions, which belong to the extension but hold rows of the user.
    pub config_tables: Vec<ConfigTable>,
    /// What the files do not keep and why, each a line for the commit message.
    pub notes: Vec<String>,
}

/// The database itself: what can only be chosen when it is created.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Database {
    /// Its name, not quoted. Never part of the files.
    pub name: String,
    /// The encoding, as `UTF8`.
    pub encoding: String,
    /// `LC_COLLATE`.
    pub collate: String,
    /// `LC_CTYPE`.
    pub ctype: String,
    /// The locale provider: `c` (the C library), `i` (ICU) or `b` (built in).
    pub provider: String,
    /// The provider's locale, where the provider is not the C library.
    pub locale: Option<String>,
    /// ICU rules (16 and later).
    pub icu_rules: Option<String>,
}

/// What kind of object something is. The order is the order in which equal objects are created.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// The database's own settings, comment and grants.
    Database,
    /// A schema.
    Schema,
    /// An extension.
    Extension,
    /// An enum, composite or range type.
    Type,
    /// A domain.
    Domain,
    /// A check of a domain.
    DomainConstraint,
    /// A sequence that belongs to no identity column.
    Sequence,
    /// A function, window functions included.
    Function,
    /// A procedure.
    Procedure,
    /// An aggregate.
    Aggregate,
    /// A table, partitioned tables and partitions included.
    Table,
    /// A column of a table.
    Column,
    /// That a table is a partition of another.
    Partition,
    /// The default of a column.
    Default,
    /// That a column is an identity column, with the options of its sequence.
    Identity,
    /// A view.
    View,
    /// A materialized view.
    MaterializedView,
    /// A primary key, unique, check or exclusion constraint.
    Constraint,
    /// An index without a constraint.
    Index,
    /// A foreign key.
    ForeignKey,
    /// Extended statistics.
    Statistics,
    /// A rule.
    Rule,
    /// A trigger.
    Trigger,
    /// A row security policy.
    Policy,
    /// What new objects of a role are granted.
    DefaultPrivileges,
}

impl Kind {
    /// SQL's word for it, as after `COMMENT ON`.
    pub fn words(self) -> &'static str {
        match self {
            Kind::Database => "DATABASE",
            Kind::Schema => "SCHEMA",
            Kind::Extension => "EXTENSION",
            Kind::Type => "TYPE",
            Kind::Domain => "DOMAIN",
            Kind::DomainConstraint | Kind::Constraint | Kind::ForeignKey => "CONSTRAINT",
            Kind::Sequence => "SEQUENCE",
            Kind::Function => "FUNCTION",
            Kind::Procedure => "PROCEDURE",
            Kind::Aggregate => "AGGREGATE",
            Kind::Table => "TABLE",
            Kind::Column => "COLUMN",
            Kind::Partition => "PARTITION",
            Kind::Default => "DEFAULT",
            Kind::Identity => "IDENTITY",
            Kind::View => "VIEW",
            Kind::MaterializedView => "MATERIALIZED VIEW",
            Kind::Index => "INDEX",
            Kind::Statistics => "STATISTICS",
            Kind::Rule => "RULE",
            Kind::Trigger => "TRIGGER",
            Kind::Policy => "POLICY",
            Kind::DefaultPrivileges => "DEFAULT PRIVILEGES",
        }
    }
}

/// The identity of an object: its kind and its name as SQL writes it, qualified and quoted where needed.
///
/// The name is `public.orders`, `public.f(integer)`, `public.orders.id` for a column, and `orders_pkey ON
/// public.orders` for what belongs to a table.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectId {
    /// The kind.
    pub kind: Kind,
    /// The name.
    pub name: String,
}

impl ObjectId {
    /// Names an object.
    pub fn new(kind: Kind, name: impl Into<String>) -> Self {
        ObjectId { kind, name: name.into() }
    }
}

impl fmt::Display for ObjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind.words().to_lowercase(), self.name)
    }
}

/// One object of a schema.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Object {
    /// The file that it is written to.
    pub file: FileName,
    /// What it is part of: it is dropped with that.
    pub parent: Option<ObjectId>,
    /// What it is.
    pub definition: Definition,
    /// The statement that removes it; empty where it goes with what it is part of.
    pub drop: String,
    /// What is set after it was created (owner, comment, grants, storage, ...), by a key that sorts.
    pub settings: BTreeMap<String, Setting>,
    /// What must be there before it.
    pub depends: BTreeSet<ObjectId>,
}

/// Where an object is written: a folder, and a name in two parts.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct FileName {
    /// The folder beneath `schema/`, as `tables`; or empty.
    pub folder: &'static str,
    /// The schema that the object is in, not quoted, where it is in one.
    pub schema: Option<String>,
    /// The name, not quoted.
    pub name: String,
}

/// How an object is created.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Definition {
    /// By one statement.
    Statement(String),
    /// It is there as soon as its parent or what it depends on is (an inherited column, the database).
    Implied,
    /// A table; its columns are in [`Model::tables`].
    Table {
        /// What follows the list of columns: `PARTITION BY`, `INHERITS`, `USING`.
        suffix: String,
    },
    /// A column of a table.
    Column {
        /// The type, the collation where it is not that of the type, and `GENERATED ALWAYS AS` where it is generated.
        spec: String,
        /// Whether it is generated.
        generated: bool,
    },
    /// That a table is a partition.
    Partition {
        /// The parent table.
        of: String,
        /// `FOR VALUES ...` or `DEFAULT`.
        bound: String,
    },
    /// An enum.
    Enum {
        /// Its labels, in order.
        labels: Vec<String>,
    },
    /// A composite type.
    Composite {
        /// Its attributes, each as name and type with collation.
        attributes: Vec<(String, String)>,
    },
    /// An extension.
    Extension {
        /// The schema, quoted.
        schema: String,
        /// The version.
        version: String,
    },
    /// What can be altered by stating all its options again: a sequence, an identity.
    Options {
        /// What creates it: options are inserted at `{}`.
        create: String,
        /// What alters it: options are inserted at `{}`.
        alter: String,
        /// The options, as for `CREATE SEQUENCE`.
        options: Vec<String>,
    },
    /// What can be replaced as long as its signature stays or only grows: a function, a view.
    Replaceable {
        /// The columns of a view, or the signature of a function as one element.
        signature: Vec<String>,
        /// The statement without `CREATE`.
        body: String,
    },
}

/// What is set on an object after it was created.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting {
    /// The statement that sets it.
    pub set: String,
    /// The statement that takes it back, where that means something (an owner can only be replaced).
    pub reset: Option<String>,
}

/// What kind of table it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TableKind {
    /// A table that holds rows. It may be a partition: see [`Table::partition_of`].
    Ordinary,
    /// A partitioned table: its rows are in its partitions.
    Partitioned,
}

/// A table in detail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table {
    /// Its object id, in the database that it was read from. Not part of the state.
    pub oid: u32,
    /// The schema, not quoted.
    pub schema: String,
    /// The name, not quoted.
    pub name: String,
    /// `schema.name`, quoted where needed: the name to use in SQL.
    pub qualified: String,
    /// The kind.
    pub kind: TableKind,
    /// Whether it is unlogged.
    pub unlogged: bool,
    /// The columns in order, dropped ones left out.
    pub columns: Vec<Column>,
    /// The columns that name a row: the primary key, else a valid, immediate, whole unique index over plain
    /// columns that are all NOT NULL. Not quoted.
    pub key: Option<Vec<String>>,
    /// The name of the index behind [`Table::key`], not quoted.
    pub key_name: Option<String>,
    /// The primary key, unique and exclusion constraints, and unique indexes.
    pub uniques: Vec<Unique>,
    /// The foreign keys, clones on partitions included.
    pub foreign_keys: Vec<ForeignKey>,
    /// The triggers, those that the server made for foreign keys included.
    pub triggers: Vec<Trigger>,
    /// Whether row security is on.
    pub row_security: bool,
    /// Whether row security is also for the owner.
    pub force_row_security: bool,
    /// `relreplident`: `d`, `n`, `f` or `i`.
    pub replica_identity: char,
    /// The tables that it inherits from, qualified, in order. A partition has one.
    pub parents: Vec<String>,
    /// The table that it is a partition of, qualified.
    pub partition_of: Option<String>,
    /// Whether a partition key above it, its own included, hashes an enum: rows must be loaded through the root
    /// of the partitions then, since the hash depends on object ids.
    pub hash_partitioned_by_enum: bool,
}

/// A column of a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Column {
    /// The name, not quoted.
    pub name: String,
    /// The name, quoted where needed.
    pub quoted: String,
    /// `attnum`. Not part of the state.
    pub number: i16,
    /// The type as `format_type` writes it.
    pub type_name: String,
    /// `typtype` of the type: `b`ase, `c`omposite, `d`omain, `e`num, `r`ange, `m`ultirange.
    pub type_kind: char,
    /// The type without domains and typmod, as `pg_catalog.numeric`: what decides how values are ordered.
    pub base_type: String,
    /// The collation, where it is not that of the type, quoted.
    pub collation: Option<String>,
    /// Whether no row has NULL there.
    pub not_null: bool,
    /// The constraint by which NULL is refused, where the server has one for it (18 and later).
    pub not_null_constraint: Option<NotNull>,
    /// Whether the value is computed from other columns: it can be neither read as state nor written.
    pub generated: bool,
    /// Whether it is an identity column.
    pub identity: Option<Identity>,
    /// The default, as an expression.
    pub default: Option<String>,
    /// Whether the table has it by itself, not (only) from a parent.
    pub local: bool,
}

/// A NOT NULL that is a constraint with a name (18 and later).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotNull {
    /// The name, quoted where needed.
    pub name: String,
    /// Whether the server gives that name where a statement says none.
    pub usual: bool,
    /// Whether the table has it by itself, not (only) from a parent.
    pub local: bool,
    /// Whether a parent has it, too.
    pub inherited: bool,
    /// Whether children do not get it.
    pub no_inherit: bool,
    /// Whether the rows that are there were checked.
    pub validated: bool,
}

/// The kind of an identity column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Identity {
    /// `GENERATED ALWAYS`.
    Always,
    /// `GENERATED BY DEFAULT`.
    ByDefault,
}

/// What kind of rule a [`Unique`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UniqueKind {
    /// A primary key.
    Primary,
    /// A unique constraint.
    Unique,
    /// A unique index without a constraint.
    Index,
    /// An exclusion constraint.
    Exclusion,
}

/// A primary key, a unique or exclusion constraint, or a unique index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unique {
    /// The name, not quoted.
    pub name: String,
    /// The kind.
    pub kind: UniqueKind,
    /// The key columns, not quoted; empty where one of them is an expression.
    pub columns: Vec<String>,
    /// For an exclusion constraint: the operator of each key column, qualified, as `pg_catalog.=`.
    pub operators: Vec<String>,
    /// The expressions of the key columns as SQL, in order.
    pub expressions: Vec<String>,
    /// The condition of a partial index.
    pub predicate: Option<String>,
    /// Whether it is checked at the end of the statement or transaction: replica mode does not check it.
    pub deferrable: bool,
    /// Whether two NULLs are equal (15 and later).
    pub nulls_not_distinct: bool,
}

/// A foreign key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ForeignKey {
    /// The name, not quoted.
    pub name: String,
    /// The columns, not quoted.
    pub columns: Vec<String>,
    /// The referenced table, qualified.
    pub table: String,
    /// The referenced columns, not quoted.
    pub referenced: Vec<String>,
    /// The operators that compare a referenced column with its column, qualified.
    pub operators: Vec<String>,
    /// Whether it may be checked at the end of the transaction.
    pub deferrable: bool,
    /// Whether it is so unless said otherwise.
    pub deferred: bool,
    /// `confmatchtype`: `s`imple, `f`ull or `p`artial.
    pub match_type: char,
    /// Whether the rows that are there were checked.
    pub validated: bool,
    /// Whether it comes from a foreign key of the partitioned table.
    pub inherited: bool,
}

/// A trigger.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trigger {
    /// The name, not quoted.
    pub name: String,
    /// `tgenabled`: `O`rigin, `D`isabled, `R`eplica or `A`lways.
    pub enabled: char,
    /// Whether the server made it for a constraint.
    pub internal: bool,
    /// Whether it comes from a trigger of the partitioned table.
    pub inherited: bool,
}

/// A sequence in detail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sequence {
    /// The schema, not quoted.
    pub schema: String,
    /// The name, not quoted.
    pub name: String,
    /// `schema.name`, quoted where needed.
    pub qualified: String,
    /// The type, as `bigint`.
    pub type_name: String,
    /// What each call adds.
    pub increment: i64,
    /// The least value.
    pub min: i64,
    /// The greatest value.
    pub max: i64,
    /// The first value.
    pub start: i64,
    /// How many values a session takes at once.
    pub cache: i64,
    /// Whether it starts again at its end.
    pub cycle: bool,
    /// The last value that was given out or set. Not part of the schema.
    pub last_value: i64,
    /// Whether the next call gives another value than `last_value`. Not part of the schema.
    pub is_called: bool,
    /// The column that it belongs to: the qualified table, and the column, not quoted.
    pub owned_by: Option<(String, String)>,
    /// Whether it is the sequence of an identity column.
    pub identity: bool,
    /// Whether it belongs to an extension.
    pub extension: Option<String>,
}

/// A configuration table of an extension.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigTable {
    /// The extension, not quoted.
    pub extension: String,
    /// The table, qualified.
    pub table: String,
    /// The condition that its user's rows fulfil, as `WHERE ...`; or empty for all rows.
    pub condition: String,
}
