//! How a NOT NULL that is a constraint of its own becomes another (18 and later). A column never loses it on the way, which
//! its primary key would not allow.

use super::model::{Column, NotNull};

/// The statement that gives it its other name. It comes before the table is attached to another one, which may share it then.
pub(super) fn renamed(table: &str, live: &Column, next: &Column) -> Option<String> {
    let (old, new) = both(live, next)?;
    // It is renamed with that of the parent
    let shared = old.inherited && new.inherited;
    (old.name != new.name && !shared)
        .then(|| format!("ALTER TABLE {table} RENAME CONSTRAINT {} TO {}", old.name, new.name))
}

/// The statements that make it what it shall be but for its name.
pub(super) fn altered(table: &str, live: &Column, next: &Column) -> Vec<String> {
    let Some((old, new)) = both(live, next) else { return Vec::new() };
    let (name, column, mut statements) = (&new.name, &next.quoted, Vec::new());
    if !new.local {
        return statements;
    }
    if old.no_inherit != new.no_inherit {
        let inherit = if new.no_inherit { "NO INHERIT" } else { "INHERIT" };
        statements.push(format!("ALTER TABLE {table} ALTER CONSTRAINT {name} {inherit}"));
    }
    match (old.validated, new.validated) {
        (false, true) => statements.push(format!("ALTER TABLE {table} VALIDATE CONSTRAINT {name}")),
        (true, false) => {
            statements.push(format!("ALTER TABLE {table} ALTER COLUMN {column} DROP NOT NULL"));
            statements.push(format!("ALTER TABLE {table} ADD {}", new.words(column)));
        }
        _ if !old.local && new.inherited => {
            statements.push(format!("ALTER TABLE {table} ALTER COLUMN {column} SET NOT NULL"));
        }
        _ => {}
    }
    statements
}

fn both<'a>(live: &'a Column, next: &'a Column) -> Option<(&'a NotNull, &'a NotNull)> {
    live.not_null_constraint.as_ref().zip(next.not_null_constraint.as_ref())
}
