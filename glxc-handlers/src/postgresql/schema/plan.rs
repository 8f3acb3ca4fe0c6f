//! The statements that turn one schema into another, rendered from models alone.

use std::collections::{BTreeMap, BTreeSet};

use super::change::{self, Action, Actions};
use super::model::*;
use super::not_null;
use super::render::{self, quoted};
use super::settings;
use crate::{Error, Result};

/// The statements that turn a live schema into the next one, in one transaction of a superuser whose session is pinned
/// by [`super::PINNED`] and has `check_function_bodies` off.
///
/// Between the two lists the tables have their new columns, and what slows rows down or refuses them for a time
/// (constraints, indexes, triggers, NOT NULL of new columns) is not there yet where it changes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// What is run before rows are written.
    pub before_rows: Vec<String>,
    /// What is run after rows were written.
    pub after_rows: Vec<String>,
    /// The objects that are new, as `table public.orders`.
    pub created: Vec<String>,
    /// The objects that are altered in place.
    pub altered: Vec<String>,
    /// The tables that are made again with the rows that they have.
    pub rebuilt: Vec<String>,
    /// The other objects that are dropped and made again, themselves or as what hangs on one: their object ids change.
    pub replaced: Vec<String>,
    /// The objects that are dropped.
    pub dropped: Vec<String>,
}

impl Plan {
    /// Whether nothing has to be done.
    pub fn is_empty(&self) -> bool {
        self.before_rows.is_empty() && self.after_rows.is_empty()
    }
}

/// Plans the change from a live schema to the next one, where rows may change in every table.
///
/// Not every change is possible (no cast leads from one type to another): the server refuses then, and the caller compares
/// the files of the result with those of `next` in any case.
///
/// # Errors
/// [`Error::Unsupported`] where the database itself would have to be created anew.
pub fn plan(live: &Model, next: &Model) -> Result<Plan> {
    plan_touching(live, next, &next.tables.keys().cloned().collect())
}

/// Like [`plan`], where rows change only in the tables `touched`, by qualified name. A label that an enum gets can not be
/// used in the transaction that adds it: where a touched table has the enum, the enum is made again.
///
/// # Errors
/// As for [`plan`].
pub fn plan_touching(live: &Model, next: &Model, touched: &BTreeSet<String>) -> Result<Plan> {
    if !live.database.is_like(&next.database) {
        let what = format!("another encoding or locale of database {}", live.database.name);
        return Err(Error::Unsupported { what });
    }
    let actions = change::decide(live, next, touched);
    let mut planner = Planner {
        live,
        next,
        late: Vec::new(),
        old: BTreeMap::new(),
        after: BTreeSet::new(),
        inline: BTreeSet::new(),
        made: BTreeSet::new(),
        plan: Plan::default(),
        actions,
    };
    planner.summarize();
    planner.roles();
    planner.release();
    let positions = planner.keep_positions();
    planner.drops();
    planner.resets();
    planner.creates();
    planner.copies();
    planner.plan.before_rows.extend(positions);
    planner.plan.before_rows.append(&mut planner.late);
    planner.sets();
    Ok(planner.plan)
}

struct Planner<'a> {
    live: &'a Model,
    next: &'a Model,
    actions: Actions,
    plan: Plan,
    /// What is dropped only after what used it was altered.
    late: Vec<String>,
    /// The names of tables and types that were renamed because they are made again, qualified.
    old: BTreeMap<ObjectId, String>,
    /// What is created after the rows.
    after: BTreeSet<ObjectId>,
    /// What was created as part of something else.
    inline: BTreeSet<ObjectId>,
    /// What was created or altered so far.
    made: BTreeSet<ObjectId>,
}

impl Planner<'_> {
    fn action(&self, id: &ObjectId) -> &Action {
        self.actions.get(id).unwrap_or(&Action::Keep)
    }

    fn ids(&self, of: impl Fn(&Action) -> bool) -> Vec<ObjectId> {
        self.actions.iter().filter(|(_, action)| of(action)).map(|(id, _)| id.clone()).collect()
    }

    fn before(&mut self, statement: impl Into<String>) {
        self.plan.before_rows.push(statement.into());
    }

    /// Adds a statement to the list that an object belongs to.
    fn at(&mut self, id: &ObjectId, statement: String) {
        match self.after.contains(id) {
            true => self.plan.after_rows.push(statement),
            false => self.plan.before_rows.push(statement),
        }
    }

    fn summarize(&mut self) {
        for (id, action) in &self.actions {
            let settings = |model: &Model| model.objects.get(id).map(|object| object.settings.clone());
            let list = match action {
                _ if self.goes_with_whole(id, action) => continue,
                Action::Create => &mut self.plan.created,
                Action::Drop => &mut self.plan.dropped,
                Action::Rebuild if id.kind == Kind::Table => &mut self.plan.rebuilt,
                Action::Rebuild => &mut self.plan.replaced,
                Action::Keep if settings(self.live) == settings(self.next) => continue,
                Action::Keep | Action::Alter(_) | Action::Retype => &mut self.plan.altered,
            };
            list.push(id.to_string());
        }
    }

    /// Whether what happens to an object is said with what it is part of.
    fn goes_with_whole(&self, id: &ObjectId, action: &Action) -> bool {
        let whole = self.parent(id);
        let with =
            self.actions.get(&whole).filter(|_| whole != *id && !matches!(id.kind, Kind::Trigger | Kind::Policy));
        match with {
            Some(Action::Retype) => id.kind == Kind::Default && *action == Action::Rebuild,
            Some(with) => (with.drops() || with.creates()) && with == action,
            None => false,
        }
    }

    fn parent(&self, id: &ObjectId) -> ObjectId {
        let object = self.live.objects.get(id).or_else(|| self.next.objects.get(id));
        object.and_then(|object| object.parent.clone()).unwrap_or_else(|| id.clone())
    }

    /// Roles that are not there are made without login.
    fn roles(&mut self) {
        for role in self.next.roles.difference(&self.live.cluster_roles) {
            self.plan.before_rows.push(format!("CREATE ROLE {} NOLOGIN", quoted(role)));
        }
    }

    /// Takes sequences from tables that go, and default privileges from what is going to be created.
    fn release(&mut self) {
        let creates = self.actions.values().any(Action::creates);
        for (id, object) in &self.live.objects {
            let next = self.next.objects.get(id);
            for (key, setting) in &object.settings {
                let same = next.and_then(|next| next.settings.get(key)) == Some(setting);
                let released = match id.kind {
                    Kind::Sequence if key == settings::OWNED_BY => !same || self.owner_goes(id),
                    Kind::DefaultPrivileges => creates || !same,
                    _ => false,
                };
                if released {
                    self.plan.before_rows.extend(setting.reset.clone());
                }
            }
        }
    }

    /// Whether the column that a live sequence belongs to goes, or is made again.
    fn owner_goes(&self, sequence: &ObjectId) -> bool {
        let owner = self.live.sequences.get(&sequence.name).and_then(|sequence| self.owner(sequence));
        owner.is_some_and(|column| self.action(&column).drops())
    }

    /// The column that a live sequence belongs to.
    fn owner(&self, sequence: &Sequence) -> Option<ObjectId> {
        let (table, column) = sequence.owned_by.as_ref()?;
        let table = self.live.tables.get(table)?;
        let column = table.columns.iter().find(|other| other.name == *column)?;
        Some(render::column_id(table, column))
    }

    /// Remembers where the sequences stand that are made again under their names, in settings of the transaction. Returns
    /// what puts them there again.
    fn keep_positions(&mut self) -> Vec<String> {
        let mut again = Vec::new();
        for (name, sequence) in &self.live.sequences {
            let holder = match sequence.identity {
                true => self.owner(sequence).map(|column| ObjectId::new(Kind::Identity, column.name)),
                false => Some(ObjectId::new(Kind::Sequence, name)),
            };
            if !self.next.sequences.contains_key(name) || !holder.is_some_and(|id| self.action(&id).drops()) {
                continue;
            }
            let setting = format!("'glxc.position_{}'", again.len());
            let value = "last_value OPERATOR(pg_catalog.||) ' ' OPERATOR(pg_catalog.||) is_called";
            self.plan.before_rows.push(format!("SELECT pg_catalog.set_config({setting}, {value}, true) FROM {name}"));
            let part = |at| format!("pg_catalog.split_part(pg_catalog.current_setting({setting}), ' ', {at})");
            let (value, called) = (part(1), part(2));
            let sequence = render::literal(name);
            again.push(format!(
                "SELECT pg_catalog.setval({sequence}, {value}::pg_catalog.int8, {called}::pg_catalog.bool)"
            ));
        }
        again
    }

    fn drops(&mut self) {
        let dropping: BTreeSet<ObjectId> = self.ids(Action::drops).into_iter().collect();
        let mut order = sorted(&dropping, self.live);
        order.reverse();
        order.sort_by_key(|id| id.kind != Kind::Partition);
        for id in order {
            self.drop(&id);
        }
    }

    fn drop(&mut self, id: &ObjectId) {
        let rebuilt = *self.action(id) == Action::Rebuild;
        let statement = self.live.objects[id].drop.clone();
        match id.kind {
            _ if statement.is_empty() => {}
            Kind::Column | Kind::DomainConstraint if self.action(&self.parent(id)).drops() => {}
            Kind::Table | Kind::Type | Kind::Domain if rebuilt => {
                let table = self.live.tables.get(&id.name).filter(|table| table.partition_of.is_none());
                for parent in table.map(|table| table.parents.clone()).unwrap_or_default() {
                    self.before(format!("ALTER TABLE {} NO INHERIT {parent}", id.name));
                }
                let schema = self.live.objects[id].file.schema.clone().unwrap_or_default();
                let name = format!("glxc_old_{}", self.old.len());
                self.before(format!("ALTER {} {} RENAME TO {name}", id.kind.words(), id.name));
                let name = format!("{}.{name}", quoted(&schema));
                let late = format!("DROP {} {name}", id.kind.words());
                match id.kind {
                    Kind::Table => self.late.insert(0, late),
                    _ => self.late.push(late),
                }
                self.old.insert(id.clone(), name);
            }
            Kind::Type | Kind::Domain | Kind::Extension | Kind::Schema => self.late.push(statement),
            _ => self.before(statement),
        }
    }

    /// Takes back what is set on objects that stay and is no longer so.
    fn resets(&mut self) {
        let mut resets = Vec::new();
        for (id, object) in &self.live.objects {
            let Some(next) = self.next.objects.get(id) else { continue };
            if self.action(id).drops() || id.kind == Kind::DefaultPrivileges {
                continue;
            }
            let not_null = self.kept_not_null(id);
            for (key, setting) in &object.settings {
                let new = next.settings.get(key);
                let replaced = is_additive(id, key) && new != Some(setting);
                let kept = key == settings::OWNED_BY || key == settings::NOT_NULL && not_null.is_some();
                if !kept && (new.is_none() || replaced) {
                    // A constraint must be there still that has a comment; and a parent's NOT NULL is dropped with that of
                    // its children, and has to be first
                    let inherited = id.kind == Kind::Column && object.drop.is_empty();
                    let order = if is_on_not_null(id, key) { 0 } else { 1 + i32::from(inherited) };
                    resets.extend(setting.reset.clone().map(|reset| (order, self.named(id, reset))));
                }
            }
            let renamed = not_null.and_then(|(table, live, next)| not_null::renamed(table, live, next));
            resets.extend(renamed.map(|statement| (3, statement)));
        }
        resets.sort_by_key(|(order, _)| *order);
        self.plan.before_rows.extend(resets.into_iter().map(|(_, reset)| reset));
    }

    /// The table and its column, live and next, where a NOT NULL that is a constraint stays.
    fn kept_not_null(&self, id: &ObjectId) -> Option<(&str, &Column, &Column)> {
        let (table, goes) = (self.parent(id), |id| self.action(id).drops() || self.action(id).creates());
        if id.kind != Kind::Column || goes(id) || goes(&table) {
            return None;
        }
        let (live, next) = (find_column(self.live, &table, id)?, find_column(self.next, &table, id)?);
        let both = live.not_null_constraint.is_some() && next.not_null_constraint.is_some();
        both.then_some((&self.next.tables.get(&table.name)?.qualified, live, next))
    }

    /// A statement about the database, with its name.
    fn named(&self, id: &ObjectId, statement: String) -> String {
        match id.kind {
            Kind::Database => {
                let place = format!("DATABASE {}", settings::DATABASE);
                statement.replacen(&place, &format!("DATABASE {}", quoted(&self.live.database.name)), 1)
            }
            _ => statement,
        }
    }

    fn creates(&mut self) {
        let changes = |action: &Action| action.creates() || matches!(action, Action::Alter(_) | Action::Retype);
        let changing: BTreeSet<ObjectId> = self.ids(changes).into_iter().collect();
        let mut ordered = self.next.clone();
        self.attach_last(&mut ordered);
        self.default_first(&mut ordered);
        for id in sorted(&changing, &ordered) {
            let late = matches!(
                id.kind,
                Kind::Constraint
                    | Kind::Index
                    | Kind::ForeignKey
                    | Kind::Statistics
                    | Kind::Rule
                    | Kind::Trigger
                    | Kind::Policy
            );
            if late || ordered.objects[&id].depends.iter().any(|needed| self.after.contains(needed)) {
                self.after.insert(id.clone());
            }
            match self.action(&id).clone() {
                Action::Alter(statements) => statements.into_iter().for_each(|statement| self.at(&id, statement)),
                Action::Retype => self.retype(&id),
                _ => self.create(&id),
            }
            self.made.insert(id);
        }
    }

    /// What the default of a new column needs comes before the column where it can: then rows that are there get the
    /// default, as they would if somebody had altered the table.
    fn default_first(&self, model: &mut Model) {
        let new = |id: &ObjectId| id.kind == Kind::Column && self.action(id).creates();
        let columns: Vec<ObjectId> = self.actions.keys().filter(|id| new(id)).cloned().collect();
        for column in columns.into_iter().filter(|column| !self.action(&self.parent(column)).creates()) {
            let default = ObjectId::new(Kind::Default, &column.name);
            let Some(object) = model.objects.get(&default) else { continue };
            let needs: BTreeSet<ObjectId> = object.depends.iter().filter(|id| **id != column).cloned().collect();
            if !needs.iter().any(|needed| reaches(model, needed, &column)) {
                model.objects.entry(column).and_modify(|object| object.depends.extend(needs));
            }
        }
    }

    /// A new partition of a table that has indexes is attached when it has its own, which keep their names so.
    fn attach_last(&self, model: &mut Model) {
        let attached: Vec<(ObjectId, ObjectId)> = model
            .objects
            .iter()
            .filter_map(|(id, object)| match &object.definition {
                Definition::Partition { of, .. } if !self.action(&ObjectId::new(Kind::Table, of)).creates() => {
                    Some((id.clone(), object.parent.clone()?))
                }
                _ => None,
            })
            .collect();
        for (partition, table) in attached {
            let parts = model.objects.iter().filter(|(id, object)| {
                matches!(id.kind, Kind::Constraint | Kind::Index) && object.parent.as_ref() == Some(&table)
            });
            let parts: Vec<ObjectId> = parts.map(|(id, _)| id.clone()).collect();
            model.objects.entry(partition).and_modify(|object| object.depends.extend(parts));
        }
    }

    fn create(&mut self, id: &ObjectId) {
        let object = &self.next.objects[id];
        if self.inline.contains(id) {
            return;
        }
        match id.kind {
            Kind::Table => {
                let live = self.live.tables.get(&id.name);
                let kept = |column: &Column| {
                    live.is_none_or(|t| t.columns.iter().any(|c| c.name == column.name && c.not_null))
                };
                let there = |check: &ObjectId| !self.action(check).creates();
                let statement =
                    render::create_bare_table(self.next, &id.name, &render::Bare { not_null: &kept, there: &there });
                self.at(id, statement);
            }
            Kind::Column => self.create_column(id),
            Kind::Identity => {
                let column = object.parent.clone().unwrap_or_else(|| id.clone());
                let not_null =
                    self.next.objects.get(&column).and_then(|column| column.settings.get(settings::NOT_NULL));
                let lacks = !self.action(&self.parent(&column)).creates() && self.kept_not_null(&column).is_none();
                if let Some(setting) = not_null.filter(|_| lacks) {
                    self.at(id, setting.set.clone());
                }
                self.create_plainly(id);
            }
            _ => self.create_plainly(id),
        }
    }

    fn create_plainly(&mut self, id: &ObjectId) {
        if let Some(statement) = id.create(&self.next.objects[id]) {
            self.at(id, statement);
        }
    }

    /// Adds a column, with its default and identity where they can be there from the start: then rows that are there
    /// get their values.
    fn create_column(&mut self, id: &ObjectId) {
        let object = &self.next.objects[id];
        if self.action(&self.parent(id)).creates() || object.drop.is_empty() {
            return;
        }
        let at_once = |part: &ObjectId| {
            let ready = |needed: &ObjectId| {
                needed == id
                    || !self.action(needed).creates()
                    || needed.kind <= Kind::Sequence
                    || self.made.contains(needed)
            };
            self.next.objects.get(part).is_some_and(|object| object.depends.iter().all(ready))
        };
        let parts = [Kind::Default, Kind::Identity].map(|kind| ObjectId::new(kind, &id.name));
        let parts: Vec<ObjectId> = parts.into_iter().filter(at_once).collect();
        let words = parts.iter().filter_map(|part| render::column_words(part, &self.next.objects[part]));
        let mut words: String = words.collect();
        let column =
            find_column(self.next, &self.parent(id), id).filter(|_| parts.iter().any(|p| p.kind == Kind::Identity));
        let name = column.and_then(|column| column.not_null_constraint.as_ref());
        words.extend(name.map(|constraint| format!(" CONSTRAINT {} NOT NULL", constraint.name)));
        let Definition::Column { spec, .. } = &object.definition else { return };
        let added = object.drop.replacen(" DROP COLUMN ", " ADD COLUMN ", 1);
        self.at(id, format!("{added} {spec}{words}"));
        self.inline.extend(parts);
    }

    fn retype(&mut self, id: &ObjectId) {
        let table = self.parent(id);
        let column = find_column(self.next, &table, id);
        let object = &self.next.objects[id];
        let (Some(column), Definition::Column { spec, .. }) = (column, &object.definition) else { return };
        if !column.local || self.action(&table).drops() {
            return;
        }
        let before = self.live.tables.get(&table.name);
        let before = before.and_then(|table| table.columns.iter().find(|before| before.name == column.name));
        let value = self.converted(id, before.unwrap_or(column), column, &column.quoted);
        let statement = format!("ALTER TABLE {} ALTER COLUMN {} TYPE {spec} USING {value}", table.name, column.quoted);
        self.at(id, statement);
    }

    /// The old value of a column as one of its new type: by a cast, or as the text that a file has for it where there is
    /// none. The last step is left to the assignment, which refuses what does not fit where a cast would cut it.
    fn converted(&self, id: &ObjectId, before: &Column, after: &Column, value: &str) -> String {
        let (from, to) = (&before.base_type, &after.base_type);
        match !self.made_again(id) && (from == to || self.live.casts.contains(&(from.clone(), to.clone()))) {
            true => format!("{value}::{to}"),
            false => format!("{value}::pg_catalog.text::{to}"),
        }
    }

    /// Whether the type of a live column is made again, so that the column still has the old one.
    fn made_again(&self, column: &ObjectId) -> bool {
        let object = self.live.objects.get(column);
        object.is_some_and(|object| object.depends.iter().any(|needed| self.old.contains_key(needed)))
    }

    /// Fills tables that were made again with the rows that they had.
    fn copies(&mut self) {
        let tables: Vec<(ObjectId, String)> = self
            .old
            .iter()
            .filter(|(id, _)| id.kind == Kind::Table)
            .map(|(id, old)| (id.clone(), old.clone()))
            .collect();
        for (id, old) in tables {
            let (Some(live), Some(next)) = (self.live.tables.get(&id.name), self.next.tables.get(&id.name)) else {
                continue;
            };
            if live.kind == TableKind::Partitioned || next.kind == TableKind::Partitioned {
                continue;
            }
            let (mut names, mut values) = (Vec::new(), Vec::new());
            for column in next.columns.iter().filter(|column| !column.generated) {
                let Some(before) = live.columns.iter().find(|old| old.name == column.name) else { continue };
                let same = before.type_name == column.type_name && before.base_type == column.base_type;
                let id = render::column_id(next, column);
                let value = match same && !self.made_again(&id) {
                    true => column.quoted.clone(),
                    false => self.converted(&id, before, column, &column.quoted),
                };
                names.push(column.quoted.clone());
                values.push(value);
            }
            if !names.is_empty() {
                let (names, values) = (names.join(", "), values.join(", "));
                let insert = format!("INSERT INTO {} ({names}) OVERRIDING SYSTEM VALUE", id.name);
                self.before(format!("{insert} SELECT {values} FROM ONLY {old}"));
            }
        }
    }

    /// Sets what is set on objects that are new or differ.
    fn sets(&mut self) {
        let mut sets = Vec::new();
        for (id, object) in &self.next.objects {
            let old = self.live.objects.get(id).filter(|_| !self.action(id).creates());
            let not_null = self.kept_not_null(id);
            for (key, setting) in &object.settings {
                let there = old.and_then(|old| old.settings.get(key)) == Some(setting);
                let own = key != settings::NOT_NULL || not_null.is_none() && !self.has_not_null(id);
                if own && (!there || self.lost(id, key)) {
                    let set = self.named_not_null(id, key).unwrap_or_else(|| setting.set.clone());
                    sets.push((key.clone(), id.kind != Kind::Table, id.clone(), set));
                }
            }
            let altered = not_null.map(|(table, live, next)| not_null::altered(table, live, next)).unwrap_or_default();
            sets.extend(altered.into_iter().map(|statement| (settings::NOT_NULL.into(), true, id.clone(), statement)));
        }
        sets.sort_by(|a, b| (&a.0, a.1, &a.2).cmp(&(&b.0, b.1, &b.2)));
        let last = |key: &str, id: &ObjectId| key == settings::POPULATED || id.kind == Kind::DefaultPrivileges;
        let (end, sets): (Vec<_>, Vec<_>) = sets.into_iter().partition(|(key, _, id, _)| last(key, id));
        let mut first = Vec::new();
        for (key, _, id, statement) in sets {
            let statement = self.named(&id, statement);
            match key == settings::NOT_NULL && id.kind == Kind::Column {
                // A primary key would make one by another name
                true if !self.action(&self.parent(&id)).creates() && !self.after.contains(&id) => {
                    // One that a parent gets, too, would have the parent's name
                    first.push((self.named_not_null(&id, &key).is_none(), statement));
                }
                true => self.plan.after_rows.push(statement),
                false if is_on_not_null(&id, &key) => self.plan.after_rows.push(statement),
                false => self.at(&id, statement),
            }
        }
        first.sort_by_key(|(later, _)| *later);
        self.plan.after_rows.splice(0..0, first.into_iter().map(|(_, statement)| statement));
        self.plan.after_rows.extend(self.refresh_order(end));
    }

    /// Whether a setting that an object had and shall have was lost on the way.
    fn lost(&self, id: &ObjectId, key: &str) -> bool {
        match id.kind {
            Kind::Column => *self.action(id) == Action::Retype && key.starts_with("2 ") && key != settings::NOT_NULL,
            Kind::Sequence => key == settings::OWNED_BY && self.owner_goes(id),
            Kind::DefaultPrivileges => self.actions.values().any(Action::creates),
            _ => false,
        }
    }

    /// The statement that makes a NOT NULL by its name, where a parent's would be its name without.
    fn named_not_null(&self, id: &ObjectId, key: &str) -> Option<String> {
        let table = self.parent(id);
        let column = find_column(self.next, &table, id).filter(|_| key == settings::NOT_NULL)?;
        let constraint = column.not_null_constraint.as_ref().filter(|constraint| constraint.inherited)?;
        Some(format!("ALTER TABLE {} ADD {}", table.name, constraint.words(&column.quoted)))
    }

    /// Whether a column has its NOT NULL from the statement that made its table.
    fn has_not_null(&self, id: &ObjectId) -> bool {
        let table = self.parent(id);
        let next = self.next.tables.get(&table.name).zip(find_column(self.next, &table, id));
        let at_once = next.is_some_and(|(table, column)| render::not_null_at_once(table, column));
        match self.action(&table) {
            Action::Create => at_once,
            Action::Rebuild => at_once && find_column(self.live, &table, id).is_some_and(|column| column.not_null),
            _ => false,
        }
    }

    /// The last statements, materialized views after those that they read from.
    fn refresh_order(&self, sets: Vec<(String, bool, ObjectId, String)>) -> Vec<String> {
        let ids: BTreeSet<ObjectId> = sets.iter().map(|(_, _, id, _)| id.clone()).collect();
        let place: BTreeMap<ObjectId, usize> =
            sorted(&self.with_views(ids), self.next).into_iter().enumerate().map(|(at, id)| (id, at)).collect();
        let mut sets = sets;
        sets.sort_by_key(|(_, _, id, _)| place.get(id).copied());
        sets.into_iter().map(|(_, _, _, statement)| statement).collect()
    }

    /// The ids with all views, through which one materialized view may need another.
    fn with_views(&self, mut ids: BTreeSet<ObjectId>) -> BTreeSet<ObjectId> {
        ids.extend(self.next.objects.keys().filter(|id| matches!(id.kind, Kind::View | Kind::Function)).cloned());
        ids
    }
}

/// A column of a table by its id.
fn find_column<'a>(model: &'a Model, table: &ObjectId, id: &ObjectId) -> Option<&'a Column> {
    let table = model.tables.get(&table.name)?;
    let name = id.name.strip_prefix(&table.qualified)?.strip_prefix('.')?;
    table.columns.iter().find(|column| column.quoted == name)
}

/// Whether a setting that is another has to be taken back first.
fn is_additive(id: &ObjectId, key: &str) -> bool {
    key.starts_with("4 ") || key.starts_with("5 ") || id.kind == Kind::Domain && key == settings::NOT_NULL
}

/// Whether something is set on the constraint that a NOT NULL is.
fn is_on_not_null(id: &ObjectId, key: &str) -> bool {
    matches!(id.kind, Kind::Column | Kind::Domain) && key.starts_with("3 comment CONSTRAINT ")
}

/// Whether an object needs another, directly or not.
fn reaches(model: &Model, from: &ObjectId, to: &ObjectId) -> bool {
    let (mut seen, mut open) = (BTreeSet::new(), vec![from]);
    while let Some(id) = open.pop() {
        if id == to {
            return true;
        }
        if seen.insert(id) {
            let object = model.objects.get(id);
            open.extend(object.into_iter().flat_map(|object| object.depends.iter().chain(&object.parent)));
        }
    }
    false
}

/// The objects in an order in which each comes after what it needs, else by kind and name. Cycles are cut at the first.
fn sorted(ids: &BTreeSet<ObjectId>, model: &Model) -> Vec<ObjectId> {
    let mut waits: BTreeMap<&ObjectId, usize> = BTreeMap::new();
    let mut users: BTreeMap<&ObjectId, Vec<&ObjectId>> = BTreeMap::new();
    for id in ids {
        let needed = model.objects.get(id).into_iter().flat_map(|object| &object.depends);
        let needed: Vec<&ObjectId> = needed.filter(|needed| ids.contains(*needed)).collect();
        waits.insert(id, needed.len());
        needed.into_iter().for_each(|needed| users.entry(needed).or_default().push(id));
    }
    let mut ready: BTreeSet<&ObjectId> = waits.iter().filter(|(_, count)| **count == 0).map(|(id, _)| *id).collect();
    let mut order = Vec::with_capacity(ids.len());
    while let Some(id) = ready.pop_first().or_else(|| waits.keys().next().copied()) {
        if waits.remove(id).is_none() {
            continue;
        }
        order.push(id.clone());
        for user in users.get(id).into_iter().flatten() {
            if let Some(count) = waits.get_mut(*user) {
                *count -= 1;
                if *count == 0 {
                    ready.insert(user);
                }
            }
        }
    }
    order
}
