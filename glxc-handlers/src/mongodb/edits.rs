//! The documents that a push changes, in batches, and how they are compared and written.

use std::borrow::Cow;
use std::collections::HashMap;

use super::definition::Definition;
use super::export::simply;
use super::session::{DUPLICATE, Session};
use siphasher::sip128::SipHasher24;

use crate::bson::{self, Builder};
use crate::rows::{Changes, Header, Limits, RowChange};
use crate::{Cx, Error, Result, StatePath, Tree};

/// How many documents are dealt with at a time, and about how many bytes of them.
const BATCH: (usize, usize) = (200, 4 << 20);
/// A document of which two do not fit into the condition of a write.
const LARGE: usize = 7 << 20;

/// What tells a document from every other: its length and a hash.
pub(super) type Print = (usize, u128);

fn print(document: &[u8]) -> Print {
    (document.len(), SipHasher24::new().hash(document).as_u128())
}

/// A document that differs.
#[derive(Debug)]
pub(super) struct Edit {
    pub key: Vec<u8>,
    /// For a message.
    pub name: String,
    pub old: Option<Vec<u8>>,
    pub new: Option<Vec<u8>>,
    pub file: StatePath,
    pub line: u64,
}

impl Edit {
    fn of(change: &RowChange<'_>, header: &Header) -> Result<Edit> {
        let (old, new, place) = match change {
            RowChange::Added { line, place } => (None, Some(*line), *place),
            RowChange::Removed { line, place } => (Some(*line), None, *place),
            RowChange::Changed { old, new, place } => (Some(*old), Some(*new), *place),
        };
        let input = |bad: bson::BadDocument| Error::input(place.file, place.line, bad.to_string());
        let document = |line: Option<&[u8]>| line.map(bson::from_line).transpose().map_err(input);
        let any = old.or(new).unwrap_or_default();
        let (old, new) = (document(old)?, document(new)?);
        let key = bson::key_of(old.as_deref().or(new.as_deref()).unwrap_or_default()).map_err(input)?;
        Ok(Edit { key, name: header.name_row(any), old, new, file: place.file.clone(), line: place.line })
    }

    pub fn old_print(&self) -> Option<Print> {
        self.old.as_deref().map(print)
    }

    pub fn new_print(&self) -> Option<Print> {
        self.new.as_deref().map(print)
    }

    fn size(&self) -> usize {
        [&self.old, &self.new].into_iter().flatten().map(Vec::len).sum()
    }

    /// What the server could not do in one step.
    pub fn check(&self) -> Result<()> {
        let (Some(old), Some(new)) = (&self.old, &self.new) else { return Ok(()) };
        let id = |document| bson::id(document).map(|id| (id.kind, id.value));
        if id(old) != id(new) {
            let message = "only the type of its `_id` is changed: remove it in one push and add it in another";
            return Err(Error::input(&self.file, self.line, message));
        }
        let mut names = bson::elements(new).into_iter().flatten().map_while(std::result::Result::ok);
        match names.any(|element| element.name.starts_with(b"$")) {
            true => Err(Error::input(
                &self.file,
                self.line,
                "a field that begins with `$` in a document that is there already",
            )),
            false => Ok(()),
        }
    }
}

/// Calls with all edits of a collection in batches.
pub(super) fn each_batch(
    base: Option<&dyn Tree>, next: &dyn Tree, folder: &StatePath, cx: &Cx<'_>,
    mut act: impl FnMut(Vec<Edit>) -> Result<()>,
) -> Result<()> {
    let mut changes = Changes::new(base, Some(next), folder, Limits::default(), cx)?;
    let (header, mut batch, mut size) = (super::layout::header(), Vec::new(), 0);
    while let Some(change) = changes.next()? {
        let edit = Edit::of(&change, &header)?;
        size += edit.size();
        batch.push(edit);
        if batch.len() >= BATCH.0 || size >= BATCH.1 {
            cx.check()?;
            size = 0;
            act(std::mem::take(&mut batch))?;
        }
    }
    cx.check()?;
    if batch.is_empty() { Ok(()) } else { act(batch) }
}

/// What is there for some edits, by the keys of the documents.
pub(super) fn fetch(session: &mut Session, definition: &Definition, edits: &[Edit]) -> Result<HashMap<Vec<u8>, Print>> {
    let ids = edits.iter().filter_map(|edit| edit.old.as_deref().or(edit.new.as_deref()));
    let ids = ids.filter_map(|document| bson::id(document).ok()).map(|id| (id.kind, id.value));
    let ids = Builder::new().array("$in", ids).done();
    let query = Builder::new().text("find", &definition.name);
    let query = query.document("filter", &Builder::new().document("_id", &ids).done());
    let (context, mut found) = (format!("compare documents of {}", definition.name), HashMap::new());
    session.each(&context, Session::batched(simply(query, definition)), |document| {
        let key = bson::key_of(document).map_err(Error::engine(context.as_str()))?;
        found.insert(key, print(document));
        Ok(())
    })?;
    Ok(found)
}

/// Inserts documents, and compares what is there then. The first that is refused, or kept otherwise, is an error by its line.
pub(super) fn insert_all(session: &mut Session, definition: &Definition, edits: &[Edit]) -> Result<()> {
    let new: Vec<&[u8]> = edits.iter().filter_map(|edit| edit.new.as_deref()).collect();
    let refused = session.write(&definition.name, "insert", "documents", &new)?;
    if let Some((number, refusal)) = refused.into_iter().min_by_key(|(number, _)| *number) {
        let Some(edit) = edits.get(number) else { return Err(Error::engine("insert documents")(refusal)) };
        let (file, message) = (edit.file.clone(), refusal.message.clone());
        return Err(Error::Input { file, line: Some(edit.line), message, source: Some(refusal.into()) });
    }
    let there = fetch(session, definition, edits)?;
    match edits.iter().find(|edit| there.get(&edit.key).copied() != edit.new_print()) {
        None => Ok(()),
        Some(edit) => Err(Error::input(&edit.file, edit.line, "the server keeps this document otherwise")),
    }
}

/// What came of a batch.
#[derive(Debug, Default)]
pub(super) struct Applied {
    /// Something was written.
    pub moved: bool,
    /// Documents that another one stands in the way of, by a unique index.
    pub blocked: Vec<String>,
    /// Documents that the application wrote meanwhile.
    pub stayed: Vec<String>,
}

/// Does what is not done yet: what is new stays, what is old becomes new, and anything else was written meanwhile.
pub(super) fn apply(session: &mut Session, definition: &Definition, edits: &[Edit]) -> Result<Applied> {
    let (mut applied, live) = (Applied::default(), fetch(session, definition, edits)?);
    let is_due = |edit: &&Edit| live.get(&edit.key).copied() == edit.old_print() && edit.old != edit.new;
    let due: Vec<&Edit> = edits.iter().filter(is_due).collect();
    let blocked = write(session, definition, &due, true)?;
    let mut now = fetch(session, definition, edits)?;
    let is_left = |edit: &&&Edit, now: &HashMap<Vec<u8>, Print>| {
        edit.old.is_some() && now.get(&edit.key).copied() == edit.old_print() && !blocked.contains(&edit.key)
    };
    let left: Vec<&Edit> = due.iter().filter(|edit| is_left(edit, &now)).copied().collect();
    if !left.is_empty() {
        // The server does not find them equal to themselves, as it does with NaN; their size must do.
        write(session, definition, &left, false)?;
        now = fetch(session, definition, edits)?;
    }
    for edit in edits {
        match now.get(&edit.key).copied() {
            there if there == edit.new_print() => applied.moved |= due.iter().any(|due| due.key == edit.key),
            _ if blocked.contains(&edit.key) => applied.blocked.push(edit.name.clone()),
            _ => applied.stayed.push(edit.name.clone()),
        }
    }
    Ok(applied)
}

/// Writes edits, each under the condition that its document is the old one. The keys of those that a unique index refused.
fn write(session: &mut Session, definition: &Definition, edits: &[&Edit], whole: bool) -> Result<Vec<Vec<u8>>> {
    let mut blocked = Vec::new();
    for (verb, name) in [("delete", "deletes"), ("update", "updates"), ("insert", "documents")] {
        let (mut statements, mut of) = (Vec::new(), Vec::new());
        for edit in edits {
            let statement = match (verb, &edit.old, &edit.new) {
                ("delete", Some(old), None) => Builder::new().document("q", &is(old, whole)).int32("limit", 1),
                ("update", Some(old), Some(new)) => Builder::new().document("q", &is(old, whole)).document("u", new),
                ("insert", None, Some(new)) => {
                    statements.push(Cow::Borrowed(new.as_slice()));
                    of.push(edit);
                    continue;
                }
                _ => continue,
            };
            statements.push(Cow::Owned(simply(statement, definition).done()));
            of.push(edit);
        }
        let statements: Vec<&[u8]> = statements.iter().map(AsRef::as_ref).collect();
        let refused = if statements.is_empty() {
            Vec::new()
        } else {
            session.write(&definition.name, verb, name, &statements)?
        };
        for (number, refusal) in refused {
            match of.get(number).filter(|_| refusal.code == DUPLICATE) {
                Some(edit) => blocked.push(edit.key.clone()),
                None => return Err(Error::engine(format!("write to {}", definition.name))(refusal)),
            }
        }
    }
    Ok(blocked)
}

/// The condition that a document is this one.
///
/// The server finds 1 and 1.0 equal; its size tells most of these apart. Of a large document it is all that is compared.
fn is(document: &[u8], whole: bool) -> Vec<u8> {
    let root = Builder::new().text("$bsonSize", "$$ROOT").done();
    let same_size =
        Builder::new().array("$eq", [(3, root.as_slice()), (16, &(document.len() as i32).to_le_bytes())]).done();
    let literal = Builder::new().document("$literal", document).done();
    let root = Builder::new().text("x", "$$ROOT").done();
    let root = bson::field(&root, "x").map(|root| root.value.to_vec()).unwrap_or_default();
    let same = Builder::new().array("$eq", [(2, root.as_slice()), (3, literal.as_slice())]).done();
    let all = if whole && document.len() < LARGE { vec![same_size, same] } else { vec![same_size] };
    let condition = Builder::new().documents("$and", &all).done();
    let id = bson::id(document).map_or_else(|_| Builder::new(), |id| Builder::new().value("$eq", id.kind, id.value));
    Builder::new().document("_id", &id.done()).document("$expr", &condition).done()
}
