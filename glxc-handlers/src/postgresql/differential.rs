//! The import of a difference into a live database: compare and swap.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use postgres::error::SqlState;

use super::apply::{Conflicts, Kept, Touched, fixed, insert_target};
use super::definition::{Definition, Goal};
use super::foreign_keys;
use super::layout::FILES;
use super::recover::{done_schema, drop_schema, require_prepared, session_name, sweep_done};
use super::schema::{Column, Model, Table, TableKind};
use super::sequences::{self, Position};
use super::session::{Session, Watch, as_violation, code};
use super::settings::Target;
use super::sql::{ident, literal};
use super::staging::{Files, Room, Source, Staging};
use super::table::{check_header, folder, is_own, missing_rows};
use super::triggers::Quiet;
use crate::engine::Rules;
use crate::failpoint::point;
use crate::rows::{self, Changes, Counts, Header, Limits, RowChange};
use crate::{Change, Committed, Cx, Description, Error, Record, Result, Staged, StatePath};

/// A staged difference.
#[derive(Debug)]
pub(super) struct Differential<'a> {
    change: &'a Change<'a>,
    cx: &'a Cx<'a>,
    /// What the session and what it prepares are called.
    name: String,
    session: Session,
    room: Room,
    definition: Definition<'a>,
    tables: Vec<TouchedTable>,
    files: Files,
    sequences: Vec<MovedSequence>,
    /// How many rows differ, by the folder of their table.
    counts: BTreeMap<StatePath, Counts>,
    notes: Vec<String>,
    /// The name of the prepared transaction, once it is.
    prepared: Option<String>,
    /// It was committed or rolled back, or `recover` has to say what came of it.
    settled: bool,
}

/// A table whose rows differ, and where.
#[derive(Debug)]
struct TouchedTable {
    folder: StatePath,
    /// Whether the push drops it.
    dropped: bool,
    /// The first line of its new row files.
    header: Option<Header>,
    rows: Touched,
}

/// A table before and after the push.
#[derive(Clone, Debug)]
struct Pair {
    folder: StatePath,
    old: Option<Table>,
    new: Option<Table>,
}

impl Pair {
    fn qualified(&self) -> &str {
        self.old.as_ref().or(self.new.as_ref()).map_or("", |table| &table.qualified)
    }
}

#[derive(Debug)]
struct MovedSequence {
    entry: sequences::Entry,
    base: Option<Position>,
}

impl<'a> Differential<'a> {
    /// Reads what differs and loads it into staging tables.
    pub fn stage(target: &'a Target, change: &'a Change<'a>, cx: &'a Cx<'a>) -> Result<Self> {
        let name = session_name(target, change.op);
        let mut session = Session::live(target, &name)?;
        sweep_done(&mut session)?;
        let definition = Definition::read(&mut session, target, change)?;
        let (tables, files, counts, notes, prepared, settled) = Default::default();
        let sequences = moved_sequences(change, cx)?;
        let room = make_room(&mut session, change)?;
        let mut staged = Differential {
            change,
            cx,
            name,
            session,
            room,
            definition,
            tables,
            files,
            sequences,
            counts,
            notes,
            prepared,
            settled,
        };
        let watch = Watch::new(&staged.session, cx);
        staged.stage_all(target).map_err(|error| Watch::explain(error, cx))?;
        point("postgresql staged")?;
        drop(watch);
        Ok(staged)
    }

    fn stage_all(&mut self, target: &Target) -> Result<()> {
        let touched = self.touched()?;
        self.definition.check_base(touched.iter().map(Pair::qualified))?;
        touched.into_iter().try_for_each(|pair| self.stage_pair(target, pair))
    }

    /// The tables whose rows the push touches, in the order of their names: where files differ, and those that it makes or
    /// drops.
    fn touched(&self) -> Result<Vec<Pair>> {
        let mut folders = FILES.rows_folders(self.change.differs);
        let (live, goal) = (&self.definition.live, self.definition.goal_model());
        let both = live.tables.values().chain(goal.tables.values()).filter(|table| table.kind == TableKind::Ordinary);
        for table in both {
            if !(live.tables.contains_key(&table.qualified) && goal.tables.contains_key(&table.qualified)) {
                folders.insert(folder(&table.schema, &table.name)?);
            }
        }
        let mut pairs = Vec::new();
        for folder in folders {
            let (old, new) = (find(live, &folder)?.cloned(), find(goal, &folder)?.cloned());
            let first = self.change.next.tree.within(&folder).first().map(|entry| &entry.path);
            match (&new, first) {
                (None, Some(file)) => return Err(Error::input(file, None, "the pushed schema has no such table")),
                _ if old.is_none() && new.is_none() => {}
                _ => pairs.push(Pair { folder, old, new }),
            }
        }
        pairs.sort_by(|a, b| a.qualified().cmp(b.qualified()));
        Ok(pairs)
    }

    fn stage_pair(&mut self, target: &Target, pair: Pair) -> Result<()> {
        self.cx.check()?;
        let Some(table) = pair.old.as_ref().or(pair.new.as_ref()) else { return Ok(()) };
        let managed = |rules: &Rules| rules.has_rows(&[&table.schema, &table.name]);
        let base_rules = self.change.base.as_ref().map(|base| Rules::of(base.options)).transpose()?;
        if managed(&target.rules) && base_rules.as_ref().is_none_or(managed) {
            self.cx.progress.begin(&table.qualified, None);
            self.stage_rows(&pair)?;
            self.cx.progress.end();
        } else if pair.new.is_none() {
            // It is dropped: its rows, which no file holds, must be none.
            self.push(pair, None, None, None);
        } else if pair.old.is_some() {
            self.notes.push(format!("{}: its rows are not managed on both sides; left alone", table.qualified));
        }
        Ok(())
    }

    fn stage_rows(&mut self, pair: &Pair) -> Result<()> {
        let source = Source { change: self.change, folder: &pair.folder, cx: self.cx };
        let (before, after, counts) = source.sides(&mut self.files)?;
        self.counts.insert(pair.folder.clone(), counts);
        let follows =
            matches!((&before.header, &after.header), (Some(a), Some(b)) if !b.key.is_empty() && a.same_key(b));
        let first = self.change.next.tree.within(&pair.folder).first().map(|entry| &entry.path);
        if let Some(table) = &pair.new {
            let missing = || Error::input(&pair.folder, None, missing_rows(table));
            let first = first.ok_or_else(missing)?;
            let checked = after.header.as_ref().map_or(Ok(()), |header| check_header(table, header));
            checked.map_err(|message| Error::input(first, 1, message))?;
        }
        let number = self.tables.len();
        let (mut old, mut new) = (None, None);
        let header = after.header.clone().or_else(|| before.header.clone()).filter(|_| pair.new.is_some());
        if let (Some(table), Some(columns)) = (&pair.old, before.header.as_ref().or(after.header.as_ref())) {
            let staging = Staging::create(&mut self.session, &self.room, &format!("old_{number}"), table, columns)?;
            before.load(&mut self.session, &staging, &self.files)?;
            old = Some(staging);
        }
        if let (Some(table), Some(header), None) = (&pair.new, &header, &self.definition.goal) {
            let staging = Staging::create(&mut self.session, &self.room, &format!("new_{number}"), table, header)?;
            after.load(&mut self.session, &staging, &self.files)?;
            new = Some(staging);
        }
        self.push(pair.clone(), header, old, new);
        match self.tables.last() {
            Some(table) if counts.added > 0 && counts.removed > 0 && !follows => {
                table.rows.refuse_loss("together with another key")
            }
            _ => Ok(()),
        }
    }

    fn push(&mut self, pair: Pair, header: Option<Header>, old: Option<Staging>, new: Option<Staging>) {
        let kept = match (&pair.old, &pair.new, &header) {
            (Some(before), Some(after), Some(header)) => kept(before, after, header),
            _ => Vec::new(),
        };
        let (number, room) = (self.tables.len(), self.room.clone());
        // Where the schema changes, the new rows are staged once the old ones are gone.
        let fixed = pair.new.as_ref().filter(|_| self.definition.goal.is_none()).and_then(fixed);
        let rows = Touched { number, room, qualified: pair.qualified().to_owned(), old, new, kept, fixed };
        self.tables.push(TouchedTable { folder: pair.folder, dropped: pair.new.is_none(), header, rows });
    }

    fn begin(&mut self) -> Result<()> {
        let begin = "BEGIN ISOLATION LEVEL READ COMMITTED; SET LOCAL session_replication_role = replica; \
                     SET CONSTRAINTS ALL IMMEDIATE";
        self.session.run("begin", begin)?;
        // In the order of names, so that two who do this wait for each other and not for ever.
        for name in self.definition.tables_to_lock(self.tables.iter().map(|table| table.rows.qualified.as_str())) {
            let context = format!("lock {}", name.qualified);
            self.session.run(&context, &format!("LOCK TABLE ONLY {} IN {} MODE", name.qualified, name.mode))?;
        }
        Ok(())
    }

    fn compare(&mut self) -> Result<()> {
        let mut conflicts = Conflicts::default();
        for table in &self.tables {
            if table.rows.adds_live(&mut self.session)? {
                // Either the application added it too, or the push has it in another part as well.
                rows::check(self.change.next.tree, &table.folder, Limits::default(), self.cx)?;
            }
            table.rows.conflicts(&mut self.session, &mut conflicts)?;
            if table.dropped {
                table.rows.unseen(&mut self.session, &mut conflicts)?;
            }
        }
        conflicts.check()?;
        self.refuse_moves()
    }

    /// A row that moves to another partition is gone in one table and new in the other.
    fn refuse_moves(&mut self) -> Result<()> {
        let model = &self.definition.live;
        let root = |rows: &Touched| model.tables.get(&rows.qualified).and_then(|table| table.partition_of.clone());
        for to in self.tables.iter().map(|table| &table.rows) {
            let Some(of) = root(to).filter(|_| !to.kept.is_empty()) else { continue };
            for from in self.tables.iter().map(|table| &table.rows) {
                if from.number != to.number
                    && root(from).as_ref() == Some(&of)
                    && to.takes_from(from, &mut self.session)?
                {
                    to.refuse_loss("by moving it to another partition")?;
                }
            }
        }
        Ok(())
    }

    /// The names of the touched tables that are in a model, with what they are partitions of, for their triggers.
    fn names(&self, model: &Model) -> Vec<String> {
        let mut names = BTreeSet::new();
        for table in &self.tables {
            let mut name = Some(&table.rows.qualified);
            while let Some(table) = name.and_then(|name| model.tables.get(name)) {
                names.insert(table.qualified.clone());
                name = table.partition_of.as_ref();
            }
        }
        names.into_iter().collect()
    }

    fn swap(&mut self) -> Result<()> {
        let names = self.names(&self.definition.live);
        let quiet = Quiet::new(&mut self.session, &names)?;
        if self.definition.goal.is_none() {
            let touched: Vec<&Touched> = self.tables.iter().map(|table| &table.rows).collect();
            foreign_keys::lock_parents(&mut self.session, &self.definition.live, &touched)?;
        }
        for table in &self.tables {
            table.rows.keep(&mut self.session)?;
        }
        for table in &self.tables {
            table.rows.delete(&mut self.session)?;
        }
        if self.definition.goal.is_none() {
            self.insert()?;
            return quiet.restore(&mut self.session);
        }
        quiet.restore(&mut self.session)?;
        for old in self.tables.iter().filter_map(|table| table.rows.old.as_ref()) {
            old.release_types(&mut self.session)?;
        }
        self.definition.before_rows(&mut self.session)?;
        self.stage_late()?;
        let names = self.names(self.definition.goal_model());
        let quiet = Quiet::new(&mut self.session, &names)?;
        self.insert()?;
        quiet.restore(&mut self.session)?;
        self.definition.after_rows(&mut self.session)
    }

    /// Stages the new rows once the tables have their new columns and types.
    fn stage_late(&mut self) -> Result<()> {
        let Some(Goal { model, .. }) = &self.definition.goal else { return Ok(()) };
        for table in &mut self.tables {
            let (Some(header), Some(goal)) = (&table.header, model.tables.get(&table.rows.qualified)) else { continue };
            let source = Source { change: self.change, folder: &table.folder, cx: self.cx };
            let name = format!("new_{}", table.rows.number);
            let staging = Staging::create(&mut self.session, &self.room, &name, goal, header)?;
            source.sides(&mut self.files)?.1.load(&mut self.session, &staging, &self.files)?;
            table.rows.new = Some(staging);
        }
        Ok(())
    }

    fn insert(&mut self) -> Result<()> {
        let model = self.definition.goal_model();
        for table in &self.tables {
            let Some(goal) = model.tables.get(&table.rows.qualified) else { continue };
            self.cx.check()?;
            table.rows.write(&mut self.session, insert_target(model, goal), &self.files)?;
        }
        Ok(())
    }

    fn move_sequences(&mut self) -> Result<()> {
        let model = self.definition.goal_model();
        for MovedSequence { entry, base } in &self.sequences {
            let here = |s: &&super::schema::Sequence| s.schema == entry.schema && s.name == entry.name;
            match model.sequences.values().find(here) {
                Some(sequence) => sequences::apply(&mut self.session, sequence, *base, entry.position)?,
                None => {
                    let message = format!("{}.{}: the pushed schema has no such sequence", entry.schema, entry.name);
                    return Err(Error::input(&sequences::folder()?, None, message));
                }
            }
        }
        Ok(())
    }

    fn lock_and_write(&mut self) -> Result<()> {
        self.begin()?;
        self.definition.check_unmoved(&mut self.session)?;
        self.compare()?;
        point("postgresql locked")?;
        self.swap()?;
        self.move_sequences()?;
        let touched: Vec<&Touched> = self.tables.iter().map(|table| &table.rows).collect();
        foreign_keys::check(&mut self.session, self.definition.goal_model(), &touched, &self.files)?;
        self.definition.check_reached(&mut self.session)?;
        let done = format!("CREATE SCHEMA {}", ident(&done_schema(self.change.op)));
        self.session.run("mark the transaction", &done)?;
        point("postgresql written")
    }

    /// Ends what is not settled yet, and takes the staging tables away.
    fn undo(&mut self) -> Result<()> {
        if !std::mem::replace(&mut self.settled, true) {
            match self.prepared.take() {
                Some(name) => self.session.run("roll back what is prepared", &format!("ROLLBACK PREPARED {name}"))?,
                None => self.session.run("roll back", "ROLLBACK")?,
            }
        }
        self.leave_room()
    }

    fn leave_room(&mut self) -> Result<()> {
        match std::mem::replace(&mut self.room, Room::Session) {
            Room::Session => Ok(()),
            Room::Schema(name) => drop_schema(&mut self.session, &name),
        }
    }
}

impl Staged for Differential<'_> {
    fn lock(&mut self) -> Result<Record> {
        let start = Instant::now();
        let watch = Watch::of_locks(&mut self.session, self.definition.target, &self.name, self.cx)?;
        let locked = self.lock_and_write();
        let impatient = watch.was_impatient();
        drop(watch);
        locked.map_err(|error| told(Watch::explain(error, self.cx), start, impatient))?;
        Ok(Record::default())
    }

    fn description(&self) -> Option<Description> {
        Some(FILES.counted(self.change.differs, &self.counts))
    }

    fn notes(&self) -> Vec<String> {
        self.notes.iter().cloned().chain(self.definition.notes()).collect()
    }

    fn prepare(&mut self) -> Result<()> {
        let name = literal(&self.name);
        self.session.run("prepare the transaction", &format!("PREPARE TRANSACTION {name}"))?;
        self.prepared = Some(name);
        Ok(())
    }

    fn commit(mut self: Box<Self>) -> Result<Committed> {
        self.settled = true;
        match self.prepared.take() {
            Some(name) => self.session.run("commit what is prepared", &format!("COMMIT PREPARED {name}"))?,
            None => self.session.run("commit", "COMMIT")?,
        }
        let mut notes = self.notes();
        if let Err(error) = self.leave_room() {
            notes.push(format!("staging tables are removed later: {error}"));
        }
        Ok(Committed { notes })
    }

    fn abort(mut self: Box<Self>) -> Result<()> {
        self.undo()
    }
}

/// Where the staging tables of a change go.
fn make_room(session: &mut Session, change: &Change<'_>) -> Result<Room> {
    if !change.prepare {
        return Ok(Room::Session);
    }
    require_prepared(session)?;
    let schema = Room::schema(change.op);
    session.run("make room for staging tables", &format!("CREATE SCHEMA {}", ident(&schema)))?;
    Ok(Room::Schema(schema))
}

impl Drop for Differential<'_> {
    fn drop(&mut self) {
        // Closing the session would do it too where nothing is prepared, but a little later.
        if let Err(error) = self.undo() {
            tracing::debug!(%error, "the session ended before the roll back");
        }
    }
}

/// A lock that was not given, or a deadlock that the server resolved, as the time-out that it is; and a violated rule as that.
fn told(error: Error, start: Instant, impatient: bool) -> Error {
    let waited = |code: &SqlState| match *code {
        SqlState::QUERY_CANCELED => impatient,
        ref code => [SqlState::LOCK_NOT_AVAILABLE, SqlState::T_R_DEADLOCK_DETECTED].contains(code),
    };
    match (&error, code(&error)) {
        (Error::Engine { context, .. }, Some(code)) if waited(code) => {
            Error::Timeout { what: format!("PostgreSQL, asked to {context},"), after: start.elapsed() }
        }
        _ => as_violation(error),
    }
}

/// The table whose rows stand in a folder.
fn find<'m>(model: &'m Model, wanted: &StatePath) -> Result<Option<&'m Table>> {
    for table in model.tables.values().filter(|table| table.kind == TableKind::Ordinary) {
        if folder(&table.schema, &table.name)? == *wanted {
            return Ok(Some(table));
        }
    }
    Ok(None)
}

/// The columns whose live values stay: they are there before and after, can be written, and the files do not have them.
fn kept(old: &Table, new: &Table, header: &Header) -> Vec<Kept> {
    let column = |after: &Column| {
        let before = old.columns.iter().find(|column| column.name == after.name)?;
        let stays = !before.generated && !after.generated && !header.columns.contains(&after.name);
        let plain = is_own(before) && before.type_kind != 'd' && before.type_name == after.type_name;
        stays.then(|| Kept { name: after.name.clone(), by_text: (!plain).then(|| after.type_name.clone()) })
    };
    new.columns.iter().filter_map(column).collect()
}

/// The sequences that a push moves, with where base has them.
fn moved_sequences(change: &Change<'_>, cx: &Cx<'_>) -> Result<Vec<MovedSequence>> {
    let base = change.base.as_ref().map(|base| base.tree);
    let mut changes = Changes::new(base, Some(change.next.tree), &sequences::folder()?, Limits::default(), cx)?;
    let mut moved = Vec::new();
    while let Some(row) = changes.next()? {
        let (old, new) = match row {
            RowChange::Added { line, place } => (None, Some((line, place))),
            RowChange::Changed { old, new, place } => (Some(old), Some((new, place))),
            RowChange::Removed { .. } => (None, None),
        };
        if let Some((line, place)) = new {
            let bad = || Error::input(place.file, place.line, "not the value of a sequence");
            let entry = sequences::parse(line).ok_or_else(bad)?;
            let base = old.and_then(sequences::parse).map(|entry| entry.position);
            moved.push(MovedSequence { entry, base });
        }
    }
    Ok(moved)
}
