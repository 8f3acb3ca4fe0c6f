//! The import: what differs is tried beside the live collections, compared, and then done document by document.
//!
//! A standalone server has neither transactions nor locks. So everything that the server could refuse or forget is found by trying it in
//! collections of our own, before the decision; and each document is written under the condition that it still is what was compared.
//! What is done is found by looking at live, so it can be done again after a crash.

use std::collections::BTreeSet;

use super::definition::{Definition, Definitions, index_name};
use super::edits::{self, Edit, each_batch};
use super::kept::{Keeper, Kept};
use super::layout::definitions;
use super::session::{DUPLICATE, Session, code};
use super::settings::Target;
use super::{catalog, export};
use crate::bson::{Builder, elements, field};
use crate::engine::Rules;
use crate::failpoint::point;
use crate::rows::{self, Limits};
use crate::{Change, Committed, Cx, Error, OpId, Record, Result, Staged, StatePath, Tree};

/// The options of a collection that can be changed, and what they are where nobody set them.
const CHANGEABLE: [&str; 3] = ["validator", "validationLevel", "validationAction"];

/// What is weaker than promised, for who pushes.
const GRADE: &str = "documents are written one after the other, each as a whole, and not all in one moment";

/// What an import compares with: the files that were recorded, or those of what it replaces.
#[derive(Debug)]
enum Base<'a> {
    None,
    Recorded(&'a dyn Tree),
    Replaced(Kept),
}

impl Base<'_> {
    fn tree(&self) -> Option<&dyn Tree> {
        match self {
            Base::None => None,
            Base::Recorded(tree) => Some(*tree),
            Base::Replaced(kept) => Some(kept),
        }
    }
}

/// A push to a database.
#[derive(Debug)]
pub(super) struct Import<'a> {
    target: &'a Target,
    change: &'a Change<'a>,
    cx: &'a Cx<'a>,
    session: Session,
    base: Base<'a>,
    /// The rules of base and of next: only what both manage is compared.
    rules: [Rules; 2],
    /// The definitions of base and of next.
    before: Definitions,
    after: Definitions,
    settled: bool,
}

/// Conflicts of a push with what the application did meanwhile.
#[derive(Debug, Default)]
struct Conflicts {
    first: Vec<String>,
    total: u64,
}

impl Conflicts {
    fn add(&mut self, name: String) {
        if self.first.len() < 10 {
            self.first.push(name);
        }
        self.total += 1;
    }

    fn decline(self) -> Result<()> {
        if self.total == 0 { Ok(()) } else { Err(Error::Changed { first: self.first, total: self.total }) }
    }
}

impl<'a> Import<'a> {
    /// Tries what differs.
    pub fn stage(target: &'a Target, change: &'a Change<'a>, cx: &'a Cx<'a>) -> Result<Self> {
        if change.replace || change.base.is_none() {
            let mut keeper = Keeper::new(cx.op_dir)?;
            export::export(target, &mut keeper, cx)?;
            keeper.finish()?;
        }
        let mut import = Import::of(target, change, cx)?;
        import.compare_definitions()?;
        for (number, name) in import.names().into_iter().enumerate() {
            import.try_one(&name, &temporary("new", change.op, number))?;
        }
        point("mongodb staged")?;
        Ok(import)
    }

    /// The same import, wherever it was interrupted.
    pub fn of(target: &'a Target, change: &'a Change<'a>, cx: &'a Cx<'a>) -> Result<Self> {
        let base = match change.base.filter(|_| !change.replace) {
            Some(base) => Base::Recorded(base.tree),
            None => Kept::open(cx.op_dir)?.map_or(Base::None, Base::Replaced),
        };
        let of_base = match (&base, change.base) {
            (Base::Recorded(_), Some(base)) => Rules::of_collections(base.options)?,
            _ => target.rules.clone(),
        };
        let rules = [of_base, target.rules.clone()];
        let managed = |tree| -> Result<Definitions> {
            let mut all = definitions(tree)?;
            all.retain(|name, _| !rules.iter().any(|rules| rules.ignores(&[name])));
            Ok(all)
        };
        let before = base.tree().map_or(Ok(Definitions::new()), managed)?;
        let (after, session) = (managed(change.next.tree)?, Session::connect(target)?);
        Ok(Import { target, change, cx, session, base, rules, before, after, settled: false })
    }

    /// Whether the documents of a collection are part of the state on both sides.
    fn has_documents(&self, name: &str) -> bool {
        self.rules.iter().all(|rules| rules.has_rows(&[name]))
    }

    /// What differs in its definition or its documents, by name. The number of each names what it is tried in.
    fn names(&self) -> Vec<String> {
        let all: BTreeSet<&String> = self.before.keys().chain(self.after.keys()).collect();
        all.into_iter().filter(|name| self.differs(name)).cloned().collect()
    }

    fn differs(&self, name: &str) -> bool {
        self.before.get(name) != self.after.get(name) || self.has_documents(name) && self.files_differ(name)
    }

    fn files_differ(&self, name: &str) -> bool {
        let definition = self.before.get(name).or(self.after.get(name));
        let folder = definition.and_then(|definition| definition.folder().ok());
        let files = |tree: Option<&dyn Tree>| folder.as_ref().and_then(|f| Some(tree?.within(f).to_vec()));
        files(self.base.tree()).unwrap_or_default() != files(Some(self.change.next.tree)).unwrap_or_default()
    }

    /// What is told besides what happens to the documents.
    fn notes(&self) -> Vec<String> {
        let is_left_alone = |name: &&String| !self.has_documents(name) && self.files_differ(name);
        let names: BTreeSet<&String> = self.before.keys().chain(self.after.keys()).filter(is_left_alone).collect();
        let left_alone = |name| format!("{name}: its documents are not managed on both sides; left alone");
        let grade = (!self.names().is_empty()).then(|| GRADE.to_owned());
        grade.into_iter().chain(names.into_iter().map(left_alone)).collect()
    }

    /// What live says of something that a push changes must be what base says, or next already.
    fn compare_definitions(&mut self) -> Result<()> {
        let (live, mut conflicts) = (catalog::read(&mut self.session, &self.target.rules)?, Conflicts::default());
        for name in self.names() {
            let (before, after, there) = (self.before.get(&name), self.after.get(&name), live.definitions.get(&name));
            if there != before && there != after {
                conflicts.add(format!("the definition of {name}"));
            }
            self.check_change(before, after)?;
        }
        conflicts.decline()
    }

    /// Some options can be given only to a new collection.
    fn check_change(&self, before: Option<&Definition>, after: Option<&Definition>) -> Result<()> {
        let (Some(before), Some(after)) = (before, after) else { return Ok(()) };
        if before.is_view || after.is_view {
            return match before.is_view && after.is_view {
                true => Ok(()),
                false => {
                    Err(Error::input(&after.path()?, 1, "a view in the place of a collection, or the other way round"))
                }
            };
        }
        for option in all_options(before, after) {
            let of = |definition: &Definition| field(&definition.options, &option).map(|o| (o.kind, o.value.to_vec()));
            if of(before) != of(after) && !CHANGEABLE.contains(&option.as_str()) {
                let message = format!("{option} of a collection that is there can not be changed");
                return Err(Error::input(&after.path()?, 1, message));
            }
            if of(after).is_none() && option == "validator" {
                let message = "a validator that is to go must be `{}`";
                return Err(Error::input(&after.path()?, 1, message));
            }
        }
        Ok(())
    }

    /// Makes what is to be in a collection of our own: what the server refuses, forgets or alters is found there.
    fn try_one(&mut self, name: &str, temporary: &str) -> Result<()> {
        self.session.drop(temporary)?;
        let Some(after) = self.after.get(name).cloned() else { return Ok(()) };
        self.cx.progress.begin(name, None);
        let tried = self.rehearse(&after, temporary).and_then(|()| self.fill(&after, temporary));
        self.cx.progress.end();
        let is_new = !self.before.contains_key(name) && !after.is_view;
        if tried.is_err() || !is_new {
            self.session.drop(temporary)?;
        }
        tried.and_then(|()| self.cx.check())
    }

    fn fill(&mut self, after: &Definition, temporary: &str) -> Result<()> {
        let copy = Definition { name: temporary.to_owned(), ..after.clone() };
        create(&mut self.session, &copy, &after.path()?)?;
        if after.is_view {
            return self.check_read_back(after, &copy);
        }
        point("mongodb tried")?;
        let (first, last): (Vec<_>, Vec<_>) = copy.parts.iter().partition(|index| !expires(index));
        create_indexes(&mut self.session, temporary, &first, after)?;
        let is_whole = after.is_unique() || self.before.get(&after.name) != Some(after);
        let base = if is_whole { None } else { self.base.tree() };
        let has_documents = self.has_documents(&after.name);
        let (session, cx, mut done) = (&mut self.session, self.cx, 0);
        let insert = |mut edits: Vec<Edit>| {
            edits.retain(|edit| edit.new.is_some());
            done += edits.len() as u64;
            cx.progress.advance(done);
            if edits.is_empty() { Ok(()) } else { edits::insert_all(session, &copy, &edits) }
        };
        if has_documents {
            each_batch(base, self.change.next.tree, &after.folder()?, cx, insert)?;
        }
        create_indexes(&mut self.session, temporary, &last, after)?;
        self.check_read_back(after, &copy)
    }

    /// Does what a commit does to the documents that differ, on copies of them: where unique values are exchanged, no order of
    /// single writes gets there.
    fn rehearse(&mut self, after: &Definition, temporary: &str) -> Result<()> {
        let Some(before) = self.before.get(&after.name).filter(|before| !before.is_view) else { return Ok(()) };
        let stays = |index: &&Vec<u8>| before.parts.contains(index) && !expires(index);
        let parts = after.parts.iter().filter(stays).cloned().collect();
        let copy = Definition { name: temporary.to_owned(), parts, ..after.clone() };
        if !copy.is_unique() || !self.has_documents(&after.name) {
            return Ok(());
        }
        create(&mut self.session, &copy, &after.path()?)?;
        create_indexes(&mut self.session, temporary, &copy.parts.iter().collect::<Vec<_>>(), after)?;
        let (session, folder) = (&mut self.session, after.folder()?);
        each_batch(self.base.tree(), self.change.next.tree, &folder, self.cx, |edits| {
            edits.iter().try_for_each(Edit::check)?;
            let old: Vec<&[u8]> = edits.iter().filter_map(|edit| edit.old.as_deref()).collect();
            let refused =
                if old.is_empty() { Vec::new() } else { session.write(temporary, "insert", "documents", &old)? };
            refused
                .into_iter()
                .try_for_each(|(_, refusal)| Err(Error::engine("copy the documents that differ")(refusal)))
        })?;
        let mut notes = Vec::new();
        self.apply_documents(&copy, &folder, &mut notes)?;
        self.session.drop(temporary)?;
        match notes.first() {
            None => Ok(()),
            Some(note) => {
                let note = note.replacen(temporary, &after.name, 1);
                let what = format!("to exchange values of a unique index in one push ({note})");
                Err(Error::Unsupported { what })
            }
        }
    }

    /// What was created must be what the file says: servers accept options, and forget them.
    fn check_read_back(&mut self, after: &Definition, copy: &Definition) -> Result<()> {
        let path = after.path()?;
        let there = catalog::read_one(&mut self.session, &copy.name)?;
        let there = there.ok_or_else(|| Error::input(&path, 1, "the server did not create it"))?;
        for option in all_options(copy, &there) {
            let of = |definition: &Definition| field(&definition.options, &option).map(|o| (o.kind, o.value.to_vec()));
            match (of(copy), of(&there)) {
                (Some(wanted), Some(kept)) if wanted == kept => {}
                (_, None) => return Err(Error::input(&path, 1, format!("the server forgets {option}"))),
                _ => {
                    return Err(Error::input(
                        &path,
                        1,
                        format!("the server keeps another {option}: {}", printed(&there.options)),
                    ));
                }
            }
        }
        for (number, wanted) in copy.parts.iter().enumerate() {
            let kept = match copy.is_view {
                true => there.parts.get(number),
                false => there.index(index_name(wanted)),
            };
            match kept {
                Some(kept) if kept == wanted => {}
                Some(kept) => {
                    let message = format!("the server keeps it as {}", printed(kept));
                    return Err(Error::input(&path, number as u64 + 2, message));
                }
                None => return Err(Error::input(&path, number as u64 + 2, "the server forgets it")),
            }
        }
        if there.parts.len() == copy.parts.len() {
            Ok(())
        } else {
            Err(Error::input(&path, 1, "the server adds to it"))
        }
    }

    /// Compares live with base, document by document.
    fn compare(&mut self) -> Result<()> {
        self.compare_definitions()?;
        let live = catalog::read(&mut self.session, &self.target.rules)?;
        let mut conflicts = Conflicts::default();
        for name in self.names() {
            let Some(there) = live.definitions.get(&name).filter(|definition| !definition.is_view) else {
                continue;
            };
            let has_documents = self.has_documents(&name);
            let (session, mut removed, mut adds_live) = (&mut self.session, 0, false);
            let compare = |edits: Vec<Edit>| {
                edits.iter().try_for_each(Edit::check)?;
                let found = edits::fetch(session, there, &edits)?;
                for edit in &edits {
                    let now = found.get(&edit.key).copied();
                    removed += u64::from(edit.new.is_none() && now.is_some());
                    adds_live |= edit.old.is_none() && now.is_some();
                    if now != edit.old_print() && now != edit.new_print() {
                        conflicts.add(format!("{name} {}", edit.name));
                    }
                }
                Ok(())
            };
            if has_documents {
                each_batch(self.base.tree(), self.change.next.tree, &there.folder()?, self.cx, compare)?;
            }
            if adds_live {
                // Either the application added it too, or the push has it twice.
                rows::check(self.change.next.tree, &there.folder()?, Limits::default(), self.cx)?;
            }
            if !self.after.contains_key(&name) && self.session.count(&name, 0)? != removed {
                conflicts.add(format!("{name}, which has further documents"));
            }
        }
        conflicts.decline()
    }

    /// Does what is not done yet.
    pub fn apply(&mut self) -> Result<Vec<String>> {
        let (names, mut notes) = (self.names(), Vec::new());
        for name in &names {
            if let Some(before) = self.before.get(name).filter(|before| before.is_view) {
                let there = catalog::read_one(&mut self.session, name)?;
                if there.as_ref() == Some(before) {
                    self.session.drop(name)?;
                }
            }
        }
        for (number, name) in names.iter().enumerate() {
            let is_view = [&self.before, &self.after].iter().any(|all| all.get(name).is_some_and(|d| d.is_view));
            if !is_view {
                self.apply_collection(name, number, &mut notes)?;
            }
        }
        for name in &names {
            if let Some(after) = self.after.get(name).filter(|after| after.is_view)
                && catalog::read_one(&mut self.session, name)?.is_none()
            {
                create(&mut self.session, after, &after.path()?)?;
            }
        }
        Ok(notes)
    }

    fn apply_collection(&mut self, name: &str, number: usize, notes: &mut Vec<String>) -> Result<()> {
        let (before, after) = (self.before.get(name).cloned(), self.after.get(name).cloned());
        let Some(definition) = after.as_ref().or(before.as_ref()) else { return Ok(()) };
        if let Some(after) = &after {
            self.be_there(after, &temporary("new", self.change.op, number))?;
            point("mongodb moved")?;
            self.change_definition(before.as_ref(), after)?;
        } else if catalog::read_one(&mut self.session, name)?.is_none() {
            return Ok(());
        }
        if self.has_documents(name) {
            self.apply_documents(definition, &definition.folder()?, notes)?;
        }
        match &after {
            Some(after) => self.add_indexes(after, notes),
            None => self.remove(name, &temporary("old", self.change.op, number), notes),
        }
    }

    /// Moves a new collection to its place, or makes it there.
    fn be_there(&mut self, after: &Definition, temporary: &str) -> Result<()> {
        if catalog::read_one(&mut self.session, &after.name)?.is_some() {
            return Ok(());
        }
        if catalog::read_one(&mut self.session, temporary)?.is_some() {
            match self.session.rename(temporary, &after.name) {
                // FerretDB gives no collection a name with a dot; its documents are inserted anew then.
                Err(error) if code(&error).is_some() => tracing::debug!(%error, "not renamed"),
                renamed => return renamed,
            }
        }
        create(&mut self.session, after, &after.path()?)
    }

    /// Changes options, and drops the indexes that are not wanted any more.
    fn change_definition(&mut self, before: Option<&Definition>, after: &Definition) -> Result<()> {
        let Some(before) = before.filter(|before| *before != after) else { return Ok(()) };
        if before.options != after.options {
            let changed = elements(&after.options).into_iter().flatten().map_while(std::result::Result::ok);
            let changed = changed.filter(|option| CHANGEABLE.iter().any(|known| known.as_bytes() == option.name));
            let command = changed.fold(Builder::new().text("collMod", &after.name), Builder::element);
            self.session.run(&format!("change the options of {}", after.name), command)?;
        }
        let Some(live) = catalog::read_one(&mut self.session, &after.name)? else { return Ok(()) };
        for index in &before.parts {
            let name = index_name(index);
            if after.index(name) != Some(index) && live.index(name) == Some(index) {
                let command = Builder::new().text("dropIndexes", &after.name).text("index", name);
                self.session.run(&format!("drop the index {name} of {}", after.name), command)?;
            }
        }
        Ok(())
    }

    /// Creates the indexes that are not there. One that documents of the application are in the way of is told.
    fn add_indexes(&mut self, after: &Definition, notes: &mut Vec<String>) -> Result<()> {
        let live = catalog::read_one(&mut self.session, &after.name)?;
        let is_missing = |index: &&Vec<u8>| live.as_ref().is_none_or(|live| live.index(index_name(index)).is_none());
        for index in after.parts.iter().filter(is_missing) {
            match create_index(&mut self.session, &after.name, index) {
                // It was tried on the pushed documents, so others are in its way.
                Err(error) if code(&error).is_some() => {
                    let (name, why) = (index_name(index), std::error::Error::source(&error).map(ToString::to_string));
                    notes.push(format!("{}: the index {name} is not made: {}", after.name, why.unwrap_or_default()));
                }
                created => created?,
            }
            point("mongodb indexed")?;
        }
        Ok(())
    }

    /// Applies the edits of one collection: what is removed first, so that it is in nobody's way; then the rest, again as long as
    /// one that a unique index refused can go on once another has moved.
    fn apply_documents(&mut self, definition: &Definition, folder: &StatePath, notes: &mut Vec<String>) -> Result<()> {
        let mut is_first = true;
        loop {
            let (mut moved, mut blocked, mut stayed) = (false, Vec::new(), Vec::new());
            for is_removal in [true, false] {
                let session = &mut self.session;
                each_batch(self.base.tree(), self.change.next.tree, folder, self.cx, |mut edits| {
                    edits.retain(|edit| edit.new.is_none() == is_removal);
                    if !edits.is_empty() {
                        let applied = edits::apply(session, definition, &edits)?;
                        point("mongodb written")?;
                        moved |= applied.moved;
                        blocked.extend(applied.blocked);
                        stayed.extend(applied.stayed);
                    }
                    Ok(())
                })?;
            }
            if is_first {
                notes.extend(
                    stayed.iter().map(|name| format!("{} {name} was changed meanwhile and stays", definition.name)),
                );
            }
            is_first = false;
            if blocked.is_empty() || !moved {
                let note = |name| format!("{} {name} stays: another document has its unique value", definition.name);
                notes.extend(blocked.into_iter().map(note));
                return Ok(());
            }
        }
    }

    /// Drops a collection that is empty. It is taken away first: what is written to it meanwhile comes back.
    fn remove(&mut self, name: &str, away: &str, notes: &mut Vec<String>) -> Result<()> {
        if self.session.count(name, 1)? == 0 {
            self.session.rename(name, away)?;
            point("mongodb away")?;
            if self.session.count(away, 1)? == 0 {
                self.session.drop(away)?;
                return point("mongodb dropped");
            }
            give_back(&mut self.session, away, name)?;
        }
        notes.push(format!("{name} was written to meanwhile and stays"));
        Ok(())
    }

    fn clean(&mut self) -> Result<()> {
        self.settled = true;
        sweep(self.target, self.change.op)
    }
}

impl Staged for Import<'_> {
    fn lock(&mut self) -> Result<Record> {
        self.cx.check()?;
        self.compare()?;
        point("mongodb compared")?;
        Ok(Record::default())
    }

    fn notes(&self) -> Vec<String> {
        Import::notes(self)
    }

    fn commit(mut self: Box<Self>) -> Result<Committed> {
        // Whatever happens from here on, `recover` has to finish it.
        self.settled = true;
        let mut notes = Import::notes(&self);
        notes.extend(self.apply()?);
        point("mongodb applied")?;
        sweep(self.target, self.change.op)?;
        Ok(Committed { notes })
    }

    fn abort(mut self: Box<Self>) -> Result<()> {
        self.clean()
    }
}

impl Drop for Import<'_> {
    fn drop(&mut self) {
        if !self.settled
            && let Err(error) = self.clean()
        {
            tracing::warn!(%error, "collections of an aborted import are left");
        }
    }
}

/// Removes the collections of an operation that are not where they belong.
pub(super) fn sweep(target: &Target, op: &OpId) -> Result<()> {
    let (mut session, mut left) = (Session::connect(target)?, Vec::new());
    session.each("list the collections", Builder::new().int32("listCollections", 1), |entry| {
        let name = field(entry, "name").and_then(|name| name.text()).unwrap_or_default();
        left.extend(name.starts_with(&format!("glxc_new_{op}_")).then(|| name.to_owned()));
        Ok(())
    })?;
    left.iter().try_for_each(|name| session.drop(name))
}

/// Puts back what was taken away to be dropped, where that was interrupted.
pub(super) fn put_back(target: &Target, change: &Change<'_>, cx: &Cx<'_>) -> Result<()> {
    let mut import = Import::of(target, change, cx)?;
    import.settled = true;
    for (number, name) in import.names().iter().enumerate() {
        let away = temporary("old", change.op, number);
        if catalog::read_one(&mut import.session, &away)?.is_some() {
            match import.session.count(&away, 1)? {
                0 => import.session.drop(&away)?,
                _ => give_back(&mut import.session, &away, name)?,
            }
        }
    }
    Ok(())
}

/// Inserts again what was written to a collection while it was taken away. What is there meanwhile stays.
fn give_back(session: &mut Session, away: &str, name: &str) -> Result<()> {
    let mut documents = Vec::new();
    session.each(&format!("read {away}"), Session::batched(Builder::new().text("find", away)), |document| {
        documents.push(document.to_vec());
        Ok(())
    })?;
    for batch in documents.chunks(100) {
        let batch: Vec<&[u8]> = batch.iter().map(Vec::as_slice).collect();
        let refused = session.write(name, "insert", "documents", &batch)?;
        if let Some((_, refusal)) = refused.into_iter().find(|(_, refusal)| refusal.code != DUPLICATE) {
            return Err(Error::engine(format!("give back the documents of {name}"))(refusal));
        }
    }
    session.drop(away)
}

fn temporary(kind: &str, op: &OpId, number: usize) -> String {
    format!("glxc_{kind}_{op}_{number}")
}

/// Whether an index lets the server delete documents.
fn expires(index: &[u8]) -> bool {
    field(index, "expireAfterSeconds").is_some()
}

fn all_options(one: &Definition, other: &Definition) -> BTreeSet<String> {
    let names = |definition: &Definition| -> Vec<String> {
        let options = elements(&definition.options).into_iter().flatten().map_while(std::result::Result::ok);
        options.map(|option| String::from_utf8_lossy(option.name).into_owned()).collect()
    };
    names(one).into_iter().chain(names(other)).collect()
}

fn printed(document: &[u8]) -> String {
    crate::bson::to_line(document).map(|line| String::from_utf8_lossy(&line).into_owned()).unwrap_or_default()
}

/// Creates a collection without its indexes, or a view.
fn create(session: &mut Session, definition: &Definition, path: &StatePath) -> Result<()> {
    let options = elements(&definition.options).map_err(Error::engine("read options"))?;
    let options = options.map_while(std::result::Result::ok);
    let mut command = options.fold(Builder::new().text("create", &definition.name), Builder::element);
    if definition.is_view {
        command = command.documents("pipeline", &definition.parts);
    }
    let created = session.run(&format!("create {}", definition.name), command);
    created.map(drop).map_err(|error| refused(error, path, 1))
}

fn create_indexes(session: &mut Session, name: &str, indexes: &[&Vec<u8>], of: &Definition) -> Result<()> {
    let path = of.path()?;
    for index in indexes {
        let line = of.parts.iter().position(|other| other == *index).unwrap_or_default() as u64 + 2;
        create_index(session, name, index).map_err(|error| refused(error, &path, line))?;
    }
    Ok(())
}

fn create_index(session: &mut Session, name: &str, index: &Vec<u8>) -> Result<()> {
    let command = Builder::new().text("createIndexes", name).documents("indexes", [index]);
    session.run(&format!("create the index {} of {name}", index_name(index)), command).map(drop)
}

/// What the server says to a definition, with its place.
fn refused(error: Error, path: &StatePath, line: u64) -> Error {
    let Error::Engine { source, .. } = &error else { return error };
    match source.downcast_ref::<super::session::Refusal>() {
        None => error,
        Some(refusal) => {
            let message = refusal.message.clone();
            Error::Input { file: path.clone(), line: Some(line), message, source: Some(error.into()) }
        }
    }
}
