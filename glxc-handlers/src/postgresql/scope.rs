//! Which objects of a database a state is about.

use std::collections::BTreeSet;

use super::schema::{Kind, Model, ObjectId};
use crate::engine::Rules;
use crate::{Error, Result};

/// Takes the tables out that the rules ignore, with all that is part of them.
pub(super) fn leave_out(model: &mut Model, rules: &Rules) -> Result<()> {
    let ignored = model.tables.values().filter(|table| rules.ignores(&[&table.schema, &table.name]));
    let ignored: BTreeSet<String> = ignored.map(|table| table.qualified.clone()).collect();
    if ignored.is_empty() {
        return Ok(());
    }
    let mut gone: BTreeSet<ObjectId> = ignored.iter().map(|name| ObjectId::new(Kind::Table, name)).collect();
    let owned = |owner: &Option<(String, String)>| owner.as_ref().is_some_and(|(table, _)| ignored.contains(table));
    let sequences = model.sequences.values().filter(|sequence| owned(&sequence.owned_by));
    gone.extend(sequences.map(|sequence| ObjectId::new(Kind::Sequence, &sequence.qualified)));
    loop {
        let part =
            |id: &&ObjectId| !gone.contains(id) && model.objects[*id].parent.as_ref().is_some_and(|p| gone.contains(p));
        let parts: Vec<ObjectId> = model.objects.keys().filter(part).cloned().collect();
        if parts.is_empty() {
            break;
        }
        gone.extend(parts);
    }
    for (id, object) in model.objects.iter().filter(|(id, _)| !gone.contains(id)) {
        if let Some(needed) = object.depends.iter().find(|needed| gone.contains(needed)) {
            return Err(Error::option("tables", format!("{id} needs {needed}, which is ignored")));
        }
    }
    model.objects.retain(|id, _| !gone.contains(id));
    model.tables.retain(|name, _| !ignored.contains(name));
    model.sequences.retain(|_, sequence| !owned(&sequence.owned_by));
    Ok(())
}
