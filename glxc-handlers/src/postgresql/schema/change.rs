//! What has to happen to each object so that one schema becomes another.

use std::collections::{BTreeMap, BTreeSet};

use super::model::*;
use super::render::{column_id, fill, literal};

/// What happens to one object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Action {
    /// It stays; its settings may change.
    Keep,
    /// It is new.
    Create,
    /// It goes.
    Drop,
    /// It goes and is made again; a table keeps its rows.
    Rebuild,
    /// It stays and these statements change it.
    Alter(Vec<String>),
    /// A column gets another type, or its type was made again.
    Retype,
}

impl Action {
    pub(super) fn drops(&self) -> bool {
        matches!(self, Action::Drop | Action::Rebuild)
    }

    pub(super) fn creates(&self) -> bool {
        matches!(self, Action::Create | Action::Rebuild)
    }

    fn stays(&self) -> bool {
        matches!(self, Action::Keep | Action::Alter(_))
    }
}

pub(super) type Actions = BTreeMap<ObjectId, Action>;

/// Decides for each object. Rows are going to change in the tables `touched`.
pub(super) fn decide(live: &Model, next: &Model, touched: &BTreeSet<String>) -> Actions {
    let mut actions = Actions::new();
    for id in live.objects.keys().chain(next.objects.keys()) {
        let action = match (live.objects.get(id), next.objects.get(id)) {
            (Some(_), None) => Action::Drop,
            (None, _) => Action::Create,
            (Some(old), Some(new)) => change(id, old, &new.definition),
        };
        actions.insert(id.clone(), action);
    }
    for table in live.tables.values() {
        let Some(new) = next.tables.get(&table.qualified) else { continue };
        match fits(live, next, table, new) {
            Some(again) => actions.extend(again.into_iter().map(|id| (id, Action::Rebuild))),
            None => _ = actions.insert(ObjectId::new(Kind::Table, &table.qualified), Action::Rebuild),
        }
    }
    // Whether an enum can be extended is known when all that is made again is known, and rebuilding it makes
    // more be made again.
    spread(live, &mut actions);
    let adds = |action: &Action| matches!(action, Action::Alter(all) if all.iter().any(|s| s.contains(" ADD VALUE ")));
    let enums = actions.iter().filter(|(id, action)| {
        id.kind == Kind::Type && adds(action) && uses_new_label(id, live, next, &actions, touched)
    });
    let enums: Vec<ObjectId> = enums.map(|(id, _)| id.clone()).collect();
    actions.extend(enums.into_iter().map(|id| (id, Action::Rebuild)));
    spread(live, &mut actions);
    merge_checks(live, next, &mut actions);
    actions
}

/// A partition shares the checks of the tables above it: attaching takes its own as those, and detaching leaves it them.
fn merge_checks(live: &Model, next: &Model, actions: &mut Actions) {
    let shared = |id: &ObjectId, action: &Action| {
        let (own, with) = match action {
            Action::Drop => (live, next),
            Action::Create => (next, live),
            _ => return false,
        };
        let table = own.objects[id].parent.as_ref().filter(|table| table.kind == Kind::Table);
        let stays = |table: &&ObjectId| actions.get(table).is_some_and(Action::stays);
        table.filter(stays).is_some_and(|table| is_above(own, with, id, &table.name))
    };
    let merged: Vec<ObjectId> = actions
        .iter()
        .filter(|(id, a)| id.kind == Kind::Constraint && shared(id, a))
        .map(|(id, _)| id.clone())
        .collect();
    merged.iter().for_each(|id| _ = actions.remove(id));
}

/// Whether a constraint of a table in one model is, in the other, one of a table that it is a partition of.
fn is_above(own: &Model, with: &Model, id: &ObjectId, table: &str) -> bool {
    let words = |model: &Model, id: &ObjectId, table: &str| match &model.objects.get(id)?.definition {
        Definition::Statement(text) => text.strip_prefix(&format!("ALTER TABLE {table} ADD ")).map(str::to_owned),
        _ => None,
    };
    let above = |name: &String| with.tables.get(name).and_then(|table| table.partition_of.clone());
    let Some(name) = id.name.strip_suffix(&format!(" ON {table}")) else { return false };
    let mine = words(own, id, table);
    std::iter::successors(above(&table.to_owned()), above).any(|parent| {
        let theirs = words(with, &ObjectId::new(Kind::Constraint, format!("{name} ON {parent}")), &parent);
        theirs.is_some() && theirs == mine
    })
}

/// What becomes of an object by its definition alone.
fn change(id: &ObjectId, object: &Object, new: &Definition) -> Action {
    let old = &object.definition;
    if old == new {
        return Action::Keep;
    }
    let altered = match (old, new) {
        (Definition::Replaceable { signature: old, .. }, Definition::Replaceable { signature, body }) => {
            let fits = if id.kind == Kind::View { signature.starts_with(old) } else { signature == old };
            fits.then(|| vec![format!("CREATE OR REPLACE {body}")])
        }
        (Definition::Options { create: old, .. }, Definition::Options { create, alter, options }) => {
            let kindless = |create: &str| create.replace(" GENERATED ALWAYS AS ", " GENERATED BY DEFAULT AS ");
            let word = if id.kind == Kind::Identity { "SET " } else { "" };
            let options: Vec<String> = options.iter().map(|option| format!("{word}{option}")).collect();
            (kindless(old) == kindless(create)).then(|| vec![fill(alter, &options)])
        }
        (Definition::Enum { labels: old }, Definition::Enum { labels }) => {
            added_labels(&id.name, old, labels).or_else(|| renamed_labels(&id.name, old, labels))
        }
        (Definition::Composite { attributes: old }, Definition::Composite { attributes }) => {
            changed_attributes(&id.name, old, attributes)
        }
        (Definition::Extension { schema: old, version: from }, Definition::Extension { schema, version }) => {
            let update = format!("ALTER EXTENSION {} UPDATE TO {}", id.name, literal(version));
            let moved = format!("ALTER EXTENSION {} SET SCHEMA {schema}", id.name);
            Some(
                [(from != version).then_some(update), (old != schema).then_some(moved)].into_iter().flatten().collect(),
            )
        }
        (Definition::Column { generated: false, .. }, Definition::Column { generated: false, .. }) => {
            return Action::Retype;
        }
        (Definition::Column { spec: old, .. }, Definition::Column { spec, generated: false }) => {
            is_generated_from(old, spec).then(|| drop_expression(object))
        }
        (Definition::Statement(old), Definition::Statement(new)) => changed_statement(id.kind, old, new),
        _ => None,
    };
    altered.map_or(Action::Rebuild, Action::Alter)
}

/// Whether the first column is generated and stored, and but for that the second.
fn is_generated_from(old: &str, plain: &str) -> bool {
    let generated = |rest: &str| rest.starts_with(" GENERATED ALWAYS AS (") && rest.ends_with(" STORED");
    old.strip_prefix(plain).is_some_and(generated)
}

/// A generated column becomes a plain one that keeps its values; that of a child does so with its parent's.
fn drop_expression(column: &Object) -> Vec<String> {
    let alter = column.drop.replacen(" DROP COLUMN ", " ALTER COLUMN ", 1);
    if alter.is_empty() { Vec::new() } else { vec![format!("{alter} DROP EXPRESSION")] }
}

/// The statements that change what is defined by one statement.
fn changed_statement(kind: Kind, old: &str, new: &str) -> Option<Vec<String>> {
    match kind {
        Kind::Default => Some(vec![new.to_owned()]),
        Kind::Constraint | Kind::ForeignKey | Kind::DomainConstraint => {
            let (alter, rest) = new.split_once(" ADD CONSTRAINT ")?;
            let name = &rest[..quoted_length(rest)];
            if old.strip_suffix(" NOT VALID") == Some(new) {
                return Some(vec![format!("{alter} VALIDATE CONSTRAINT {name}")]);
            }
            let ((old, _), (same, deferrable)) = (deferral(old), deferral(new));
            (kind == Kind::ForeignKey && old == same)
                .then(|| vec![format!("{alter} ALTER CONSTRAINT {name} {deferrable}")])
        }
        _ => None,
    }
}

/// A foreign key without when it is checked, and that.
fn deferral(statement: &str) -> (&str, &'static str) {
    let kinds = [
        (" DEFERRABLE INITIALLY DEFERRED", "DEFERRABLE INITIALLY DEFERRED"),
        (" DEFERRABLE", "DEFERRABLE INITIALLY IMMEDIATE"),
    ];
    let found = kinds.into_iter().find_map(|(suffix, words)| Some((statement.strip_suffix(suffix)?, words)));
    found.unwrap_or((statement, "NOT DEFERRABLE INITIALLY IMMEDIATE"))
}

/// The length of a name at the start of a text, as it is quoted there.
fn quoted_length(text: &str) -> usize {
    let mut within = false;
    let end = text.char_indices().find(|(_, c)| {
        within ^= *c == '"';
        *c == ' ' && !within
    });
    end.map_or(text.len(), |(at, _)| at)
}

/// The statements that add labels, where labels were only added.
fn added_labels(name: &str, old: &[String], new: &[String]) -> Option<Vec<String>> {
    let kept: Vec<&String> = new.iter().filter(|label| old.contains(label)).collect();
    if kept.len() != old.len() || kept.into_iter().ne(old) {
        return None;
    }
    let add = |(at, label): (usize, &String)| {
        let place = match at.checked_sub(1) {
            Some(before) => format!(" AFTER {}", literal(&new[before])),
            None => old.first().map_or(String::new(), |first| format!(" BEFORE {}", literal(first))),
        };
        format!("ALTER TYPE {name} ADD VALUE {}{place}", literal(label))
    };
    Some(new.iter().enumerate().filter(|(_, label)| !old.contains(label)).map(add).collect())
}

/// The statements that rename labels, where each is either the same or has gone from all places.
fn renamed_labels(name: &str, old: &[String], new: &[String]) -> Option<Vec<String>> {
    let pairs: Vec<(&String, &String)> = old.iter().zip(new).filter(|(old, new)| old != new).collect();
    let renamed = old.len() == new.len() && pairs.iter().all(|(from, to)| !new.contains(from) && !old.contains(to));
    let rename =
        |(from, to): (&String, &String)| format!("ALTER TYPE {name} RENAME VALUE {} TO {}", literal(from), literal(to));
    renamed.then(|| pairs.into_iter().map(rename).collect())
}

/// The statements that drop and add attributes, where those that stay keep their order and type.
fn changed_attributes(name: &str, old: &[(String, String)], new: &[(String, String)]) -> Option<Vec<String>> {
    let kept = old.iter().filter(|attribute| new.contains(attribute));
    let count = kept.clone().count();
    if !kept.eq(&new[..count]) {
        return None;
    }
    let gone = old.iter().filter(|attribute| !new.contains(attribute));
    let dropped = gone.map(|(attribute, _)| format!("ALTER TYPE {name} DROP ATTRIBUTE {attribute}"));
    let added =
        new[count..].iter().map(|(attribute, spec)| format!("ALTER TYPE {name} ADD ATTRIBUTE {attribute} {spec}"));
    Some(dropped.chain(added).collect())
}

/// Whether a label that is added may be needed before the transaction ends, when it can not be used yet.
fn uses_new_label(id: &ObjectId, live: &Model, next: &Model, actions: &Actions, touched: &BTreeSet<String>) -> bool {
    let labels = |model: &Model| match model.objects.get(id).map(|object| &object.definition) {
        Some(Definition::Enum { labels }) => labels.clone(),
        _ => Vec::new(),
    };
    let (old, new) = (labels(live), labels(next));
    let added: Vec<String> = new.iter().filter(|label| !old.contains(label)).map(|label| literal(label)).collect();
    let users = next.objects.iter().filter(|(other, object)| *other != id && object.depends.contains(id));
    users.into_iter().any(|(user, object)| {
        let in_rows = user.kind == Kind::Column
            && object.parent.as_ref().is_some_and(|table| touched.contains(&table.name) || actions[table].creates());
        in_rows || user.kind != Kind::Column && !added.is_empty() && !actions[user].stays()
    }) || actions.iter().any(|(user, action)| {
        let text = format!("{:?}", next.objects.get(user).map(|object| &object.definition));
        !action.stays() && *action != Action::Drop && added.iter().any(|label| text.contains(label.as_str()))
    })
}

/// The columns that are dropped and added again so that a table gets the columns of another in their order, by that and
/// by adding and dropping others: those that are computed, in another way than before. `None` where that does not do it.
fn fits(live: &Model, next: &Model, old: &Table, new: &Table) -> Option<Vec<ObjectId>> {
    // What comes from a parent stands where the server puts it: behind the own columns when it was added later
    let own = |table: &Table, column: &Column| column.local || table.partition_of.is_some();
    let spec = |model: &Model, table: &Table, column: &Column| match model.objects.get(&column_id(table, column)) {
        Some(Object { definition: Definition::Column { spec, .. }, .. }) => spec.clone(),
        _ => String::new(),
    };
    let mut again = Vec::new();
    let mut kept = Vec::new();
    for column in old.columns.iter().filter(|column| own(old, column)) {
        let Some(after) = new.columns.iter().find(|after| after.name == column.name) else { continue };
        let (was, is) = (spec(live, old, column), spec(next, new, after));
        match (column.generated, after.generated) {
            (false, false) => kept.push(&column.name),
            _ if was == is || !after.generated && is_generated_from(&was, &is) => kept.push(&column.name),
            (_, true) => again.push(column_id(new, after)),
            (true, false) => return None,
        }
    }
    let after = new.columns.iter().filter(|column| own(new, column)).map(|column| &column.name);
    // What an own column becomes when it is a parent's from now on (or the other way) is for the server to order.
    let kept: Vec<&String> =
        kept.into_iter().filter(|name| new.columns.iter().any(|c| own(new, c) && c.name == **name)).collect();
    after.zip(&kept).all(|(name, kept)| name == *kept).then_some(again)
}

/// Carries what goes to what needs it: that has to go first and come again.
fn spread(live: &Model, actions: &mut Actions) {
    let mut users: BTreeMap<&ObjectId, Vec<&ObjectId>> = BTreeMap::new();
    for (id, object) in &live.objects {
        object.depends.iter().for_each(|needed| users.entry(needed).or_default().push(id));
    }
    let goes = |action: &Action| action.drops() || *action == Action::Retype;
    let mut gone: Vec<ObjectId> = actions.iter().filter(|(_, a)| goes(a)).map(|(id, _)| id.clone()).collect();
    while let Some(needed) = gone.pop() {
        for user in users.get(&needed).into_iter().flatten() {
            let may_change = actions[*user].stays() || actions[*user] == Action::Retype && actions[&needed].drops();
            if !may_change {
                continue;
            }
            let Some((id, action)) = carried(live, actions, &needed, user) else { continue };
            if actions[&id] != action {
                actions.insert(id.clone(), action);
                gone.push(id);
            }
        }
    }
}

/// What becomes of an object when something that it needs goes: of which object, and what.
fn carried(live: &Model, actions: &Actions, needed: &ObjectId, user: &ObjectId) -> Option<(ObjectId, Action)> {
    let table = live.objects[user].parent.as_ref();
    let rebuild = |id: &ObjectId| Some((id.clone(), Action::Rebuild));
    match (user.kind, needed.kind) {
        (Kind::Schema | Kind::Extension, _) => None,
        (Kind::Identity, Kind::Column) if actions[needed] == Action::Retype => None,
        (Kind::Constraint | Kind::Index | Kind::Statistics, Kind::Column) if follows(live, actions, user) => None,
        (Kind::Column, _) if table == Some(needed) => rebuild(user),
        (Kind::Column, Kind::Column) => match live.objects[needed].parent.as_ref() == table {
            true => rebuild(table?),
            false if actions[needed] == Action::Retype => Some((user.clone(), Action::Retype)),
            false => None,
        },
        (Kind::Column, Kind::Type | Kind::Domain | Kind::Extension) => match live.objects[user].definition {
            Definition::Column { generated: false, .. } if actions[user].stays() => {
                Some((user.clone(), Action::Retype))
            }
            Definition::Column { generated: false, .. } => None,
            _ => rebuild(table?),
        },
        (Kind::Column, _) => rebuild(table?),
        _ => rebuild(user),
    }
}

/// Whether the server itself makes again what hangs on a column that gets another type. It does so column by column, so
/// what joins two of them has to go first.
fn follows(live: &Model, actions: &Actions, user: &ObjectId) -> bool {
    let object = &live.objects[user];
    let retyped = object.depends.iter().filter(|id| actions.get(id) == Some(&Action::Retype)).count();
    let others = object.depends.iter().any(|id| actions.get(id).is_some_and(Action::drops));
    let only_comments = object.settings.keys().all(|key| key.starts_with("3 "));
    retyped == 1 && !others && only_comments && actions[user] == Action::Keep
}
