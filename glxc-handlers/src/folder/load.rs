//! The way from the files to what is live: stage, lock, decide, commit; and what an interrupted one takes.

use std::ffi::OsString;
use std::path::Path;

use crate::{
    Attendant, Cancel, Change, Commit, Cx, Decision, Description, Direction, Error, Live, Mode, OpId, Record,
    Recovered, Staged, Tree, Ways,
};

use super::journal::{self, Journal, Phase};
use super::tree::copy;
use super::{
    Changed, Control, Done, Folder, FolderError, FolderSink, FolderTree, Places, Result, State, random_op, wait,
};

/// A state that takes part in a load.
struct Part<'a> {
    state: &'a State,
    places: Places,
    base: Option<FolderTree>,
    next: FolderTree,
    replace: bool,
    prepare: bool,
    /// What is live is in no folder of this kind, and is kept before it is replaced.
    keep: bool,
}

impl Part<'_> {
    fn name(&self) -> &str {
        self.state.name()
    }

    fn commit(&self) -> Commit {
        self.state.handler.caps().commit
    }

    fn changed<'a>(&'a self, op: &'a OpId) -> Changed<'a> {
        let base = self.base.as_ref();
        Changed::new(op, &self.state.settings.options, base, &self.next, self.replace, self.prepare)
    }

    fn files(&self, doing: &'static str) -> impl FnOnce(Error) -> FolderError {
        FolderError::files(self.name(), &self.state.settings.path, doing)
    }
}

impl Folder {
    /// Applies what was changed in the files since live and the folder agreed, to all states or to none. `replace` names states
    /// whose files replace whatever is live.
    ///
    /// # Errors
    /// [`FolderError::Unseen`], [`FolderError::Settings`], [`FolderError::NoFiles`], and [`FolderError::State`] with
    /// [`Error::Changed`], [`Error::Input`], [`Error::Violation`] and others: then nothing has changed. Where the engine died while it
    /// committed it may have; the next dump or load finishes it or takes it back.
    pub fn load(&self, replace: &[&str], control: &Control<'_>) -> Result<Vec<Done>> {
        let unknown = replace.iter().find(|name| !self.states.iter().any(|state| state.name() == **name));
        if let Some(state) = unknown {
            return Err(FolderError::Unknown { state: (*state).into() });
        }
        self.settle(control)?;
        let parts = self.plan(replace, control).inspect_err(|_| drop(self.sweep()))?;
        if parts.is_empty() {
            self.sweep()?;
            return Ok(Vec::new());
        }
        let part = |part: &Part<'_>| journal::Part {
            state: part.name().into(),
            replace: part.replace,
            prepare: part.prepare,
            record: None,
        };
        let mut journal =
            Journal { op: random_op(), dump: false, phase: Phase::Staged, parts: parts.iter().map(part).collect() };
        journal.write(&self.journal())?;
        let op = journal.op.clone();
        let mut attendant = None;
        let error = match self.import(&op, &mut journal, &parts, &mut attendant, control) {
            Ok(done) => {
                if let Err(error) = self.finish(&journal, control) {
                    control.progress.note(&format!("cleaning up is tried again at the next dump or load: {error}"));
                }
                return Ok(done);
            }
            Err(error) => error,
        };
        match self.settle(control) {
            // It had been decided; what failed afterwards is done now.
            Ok(true) => Ok(parts.iter().map(|part| done(part, Description::default())).collect()),
            Ok(false) => Err(error),
            Err(undo) => {
                // What is prepared must not stay when this process ends.
                std::mem::forget(attendant);
                control.progress.note(&format!("cleaning up is tried again at the next dump or load: {undo}"));
                Err(error)
            }
        }
    }

    /// Which states take part, checked, with their files as they are now.
    fn plan(&self, replace: &[&str], control: &Control<'_>) -> Result<Vec<Part<'_>>> {
        let mut parts = Vec::new();
        for state in &self.states {
            control.progress.step(&format!("checking {}", state.name()));
            parts.extend(self.part(state, replace.contains(&state.name()), control)?);
        }
        let several = parts.iter().filter(|part| part.commit() == Commit::Transactional).count() > 1;
        parts.iter_mut().for_each(|part| part.prepare = several && part.commit() == Commit::Transactional);
        Ok(parts)
    }

    fn part<'a>(&'a self, state: &'a State, asked: bool, control: &Control<'_>) -> Result<Option<Part<'a>>> {
        let name = state.name();
        let read = || FolderError::files(name, &state.settings.path, "read its files");
        let here = FolderTree::open(self.place(state)?).map_err(read())?;
        let known = self.known(state)?;
        if here.entries().is_empty() {
            return match known.is_some() || asked {
                true => Err(FolderError::NoFiles { state: name.into(), path: state.settings.path.clone() }),
                false => Ok(None),
            };
        }
        if let (Some(known), false) = (&known, asked) {
            if known.tree.entries() == here.entries() && known.same_rules {
                return Ok(None);
            }
            if !known.same_rules {
                return Err(FolderError::Settings { state: name.into() });
            }
        }
        check_modes(state, &here)?;
        let (places, never) = (self.places(state)?, Cancel::new());
        let cx = places.cx(control, &never);
        wait(state, control, &cx)?;
        let base = known.map(|known| known.tree).filter(|_| !asked);
        let keep = base.is_none() && self.may_replace(state, asked, &cx)?;
        // What is compared and applied must not change any more, whoever edits the files meanwhile.
        copy(&here, base.as_ref(), &places.new.join("tree")).map_err(read())?;
        self.sign(state, &places.new)?;
        let next = FolderTree::open(places.new.join("tree"))?;
        let checked = state.handler.check(base.as_ref().map(|tree| tree as &dyn Tree), &next, &cx);
        checked.map_err(FolderError::files(name, &state.settings.path, "check its files"))?;
        Ok(Some(Part { state, places, replace: base.is_none(), base, next, prepare: false, keep }))
    }

    /// What no dump or load of this folder knows is only replaced where that was asked for. Returns whether there is any.
    fn may_replace(&self, state: &State, asked: bool, cx: &Cx<'_>) -> Result<bool> {
        let live = state.handler.live(cx).map_err(FolderError::state(state.name(), "look at it"))?;
        match live == Live::Present {
            true if !asked => Err(FolderError::Unseen { state: state.name().into() }),
            present => Ok(present),
        }
    }

    /// Stage, lock, decide, commit.
    fn import(
        &self, op: &OpId, journal: &mut Journal, parts: &[Part<'_>], attendant: &mut Option<Attendant>,
        control: &Control<'_>,
    ) -> Result<Vec<Done>> {
        let never = Cancel::new();
        let changed: Vec<Changed<'_>> = parts.iter().map(|part| part.changed(op)).collect();
        let changes: Vec<Change<'_>> = changed.iter().map(Changed::get).collect();
        let cxs: Vec<Cx<'_>> = parts.iter().map(|part| part.places.cx(control, &never)).collect();
        let mut staged: Vec<(usize, Box<dyn Staged + '_>, Done)> = Vec::new();
        for (number, (part, (change, cx))) in parts.iter().zip(changes.iter().zip(&cxs)).enumerate() {
            control.progress.step(&format!("preparing {}", part.name()));
            let one = part.state.handler.stage(change, cx).map_err(part.files("prepare the import"))?;
            let description = match (part.replace, one.description()) {
                (true, _) => Description {
                    summary: format!("loaded from {} files", part.next.entries().len()),
                    details: Vec::new(),
                },
                (false, Some(description)) => description,
                (false, None) => part.state.handler.describe(change, cx).map_err(part.files("read its files"))?,
            };
            let mut done = done(part, description);
            done.notes.extend(one.notes());
            staged.push((number, one, done));
        }
        // Only now, since a handler declines what is written to a state that it replaces after it was staged.
        for (part, cx) in parts.iter().zip(&cxs).filter(|(part, _)| part.replace) {
            match part.keep {
                true => self.keep_live(part, op, cx)?,
                false => drop(self.may_replace(part.state, false, cx)?),
            }
        }
        // A compensated import happens inside `lock`, so those come last; of the others, the long ones first.
        staged.sort_by_key(|(number, ..)| match parts[*number].commit() {
            Commit::Redo => 0,
            Commit::Transactional => 1,
            Commit::Compensated => 2,
        });
        for (number, one, _) in &mut staged {
            control.progress.step(&format!("changing {}", parts[*number].name()));
            let record = one.lock().map_err(parts[*number].files("import"))?;
            journal.parts[*number].record = Some(record);
        }
        if parts.iter().any(|part| part.prepare) {
            *attendant = control.attendant.map(start).transpose()?;
        }
        for (number, one, _) in staged.iter_mut().filter(|(number, ..)| parts[*number].prepare) {
            one.prepare().map_err(FolderError::state(parts[*number].name(), "prepare its transaction"))?;
        }
        if control.cancel.is_some_and(Cancel::is_cancelled) {
            return Err(FolderError::state(parts[0].name(), "go on")(Error::Cancelled));
        }
        // With one transactional state its own commit is the decision, so it goes first.
        let decides = |part: &Part<'_>| part.commit() == Commit::Transactional && !part.prepare;
        staged.sort_by_key(|(number, ..)| !decides(&parts[*number]));
        let phase = if parts.iter().any(decides) { Phase::Intent } else { Phase::Decided };
        let decided = Journal { phase, ..journal.clone() };
        if let Err(error) = decided.write(&self.journal()) {
            // Whether it is written is unknown, and with it whether an abort is right.
            staged.into_iter().for_each(|(_, one, _)| std::mem::forget(one));
            return Err(error);
        }
        *journal = decided;
        let mut all = Vec::new();
        let mut staged = staged.into_iter();
        while let Some((number, one, mut done)) = staged.next() {
            match one.commit() {
                Ok(committed) => done.notes.extend(committed.notes),
                Err(error) => {
                    staged.for_each(|(_, one, _)| std::mem::forget(one));
                    return Err(FolderError::state(parts[number].name(), "commit")(error));
                }
            }
            all.push(done);
        }
        journal.phase = Phase::Finishing;
        journal.write(&self.journal())?;
        all.sort_by_key(|done| parts.iter().position(|part| part.name() == done.state));
        Ok(all)
    }

    /// Keeps what is live, as files.
    fn keep_live(&self, part: &Part<'_>, op: &OpId, cx: &Cx<'_>) -> Result<()> {
        let name = format!("{}-{op}", crate::names::encode(part.name()));
        let folder = self.ours().join("replaced").join(&name);
        super::private(&folder)?;
        cx.progress.step(&format!("exporting {}", part.name()));
        let mut sink = FolderSink::create(&folder, None)?;
        let exported = part.state.handler.export(None, &mut sink, cx);
        if let Err(error) = exported {
            super::remove(&folder)?;
            return Err(FolderError::state(part.name(), "keep what is live")(error));
        }
        sink.finish()?;
        cx.progress.note(&format!("{}: what was live before is kept in .glxc/replaced/{name}", part.name()));
        Ok(())
    }

    /// Settles what an interrupted dump or load left, as each of them does first: finishes what happened, removes what did not.
    /// Returns whether there was one that happened.
    ///
    /// # Errors
    /// [`FolderError::Interrupted`], [`FolderError::Journal`], [`FolderError::Record`], and [`FolderError::State`] where an engine does
    /// not answer.
    pub fn settle(&self, control: &Control<'_>) -> Result<bool> {
        let Some(mut journal) = Journal::read(&self.journal())? else {
            self.sweep()?;
            return Ok(false);
        };
        if journal.phase != Phase::Finishing {
            if !self.settle_parts(&journal, control)? {
                super::remove(&self.journal())?;
                self.sweep()?;
                return Ok(false);
            }
            journal.phase = Phase::Finishing;
            journal.write(&self.journal())?;
        }
        self.finish(&journal, control)?;
        Ok(true)
    }

    /// Whether it happened; then all of it has.
    fn settle_parts(&self, journal: &Journal, control: &Control<'_>) -> Result<bool> {
        let mut parts = Vec::new();
        for planned in &journal.parts {
            let state = self.state(&planned.state)?;
            let places = self.places(state)?;
            if self.signed(state, &places.new)? != Some(true) {
                return Err(FolderError::Interrupted { state: planned.state.clone() });
            }
            let base = match planned.replace {
                true => None,
                false => Some(FolderTree::open(places.base.join("tree"))?),
            };
            let next = FolderTree::open(places.new.join("tree"))?;
            let (replace, prepare) = (planned.replace, planned.prepare);
            let part = Part { state, places, base, next, replace, prepare, keep: false };
            parts.push((part, planned.record.as_ref()));
        }
        let decider = parts.iter().find(|(part, _)| part.commit() == Commit::Transactional && !part.prepare);
        let happened = match (journal.phase, decider) {
            (Phase::Intent, Some((part, record))) => {
                self.recover(part, *record, &journal.op, Decision::Ask, control)?
            }
            (phase, _) => phase != Phase::Staged,
        };
        // What was imported as a whole is put back last.
        parts.sort_by_key(|(part, _)| part.commit() == Commit::Compensated);
        let decision = if happened { Decision::Commit } else { Decision::Abort };
        for (part, record) in &parts {
            self.recover(part, *record, &journal.op, decision, control)?;
        }
        Ok(happened)
    }

    fn recover(
        &self, part: &Part<'_>, record: Option<&Record>, op: &OpId, decision: Decision, control: &Control<'_>,
    ) -> Result<bool> {
        let never = Cancel::new();
        let cx = part.places.cx(&Control { cancel: None, ..*control }, &never);
        wait(part.state, control, &cx)?;
        let changed = part.changed(op);
        let recovered = part.state.handler.recover(&changed.get(), record, decision, &cx);
        match recovered.map_err(FolderError::state(part.name(), "settle an interrupted load"))? {
            Recovered::Aborted => Ok(false),
            Recovered::Committed(committed) => {
                committed.notes.iter().for_each(|note| control.progress.note(&format!("{}: {note}", part.name())));
                Ok(true)
            }
        }
    }
}

fn start(command: &[OsString]) -> Result<Attendant> {
    let program = command.first().map_or(Path::new(""), Path::new);
    Ok(Attendant::start(command).map_err(Error::io("run", program))?)
}

fn done(part: &Part<'_>, description: Description) -> Done {
    let notes = match part.state.handler.caps().ways {
        Ways::Both => Vec::new(),
        Ways::Exported => vec!["it is only exported: its files change nothing live".into()],
        Ways::Imported => vec!["it is only imported: what changes live is neither dumped nor compared".into()],
    };
    Done { state: part.name().into(), description, notes }
}

/// Plain files only; what goes one way may be executable.
fn check_modes(state: &State, tree: &FolderTree) -> Result<()> {
    let allowed = |mode| match mode {
        Mode::File => true,
        Mode::Executable => state.settings.direction == Direction::Push,
        Mode::Link => false,
    };
    match tree.entries().iter().find(|entry| !allowed(entry.mode)) {
        None => Ok(()),
        Some(entry) => {
            let error = Error::input(&entry.path, None, "only plain files can be part of a state");
            Err(FolderError::files(state.name(), &state.settings.path, "check its files")(error))
        }
    }
}
