//! A push: base, live and next meet, and either all of it happens or none.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::path::Path;
use std::time::{Duration, Instant};

use glxc_handlers::{
    Attendant, Change, Commit, Committed, Cx, Decision, Description, Differs, Direction, Handler, Live, OpId, Options,
    Record, Recorded, Recovered, Staged, StatePath, Tree, Ways, differences, failpoint,
};

use crate::config::{PushPolicy, StateConfig};
use crate::journal::{self, Journal, RefUpdate, Step};
use crate::repository::{Operation, sysconf_path};
use crate::{Error, GitTree, ObjectId, Result, StateRepository};

/// A state that takes part in a push, with what is compared.
#[derive(Debug)]
pub(crate) struct Part {
    pub(crate) name: String,
    /// Where its files stand in the repository.
    pub(crate) path: StatePath,
    pub(crate) handler: Box<dyn Handler>,
    base: Option<(GitTree, Options)>,
    next: GitTree,
    options: Options,
    differs: Vec<Differs>,
    pub(crate) replace: bool,
    /// Other states with a transaction change in the same push, so that none of them may decide.
    prepare: bool,
    /// What is live now is in no commit, and is kept as one before it is replaced.
    pub(crate) keep: bool,
    direction: Direction,
}

impl Part {
    pub(crate) fn change<'a>(&'a self, op: &'a OpId) -> Change<'a> {
        Change {
            op,
            base: self.base.as_ref().map(|(tree, options)| Recorded { tree, options }),
            next: Recorded { tree: &self.next, options: &self.options },
            differs: &self.differs,
            replace: self.replace,
            prepare: self.prepare,
        }
    }

    fn is_transactional(&self) -> bool {
        self.handler.caps().commit == Commit::Transactional
    }

    fn is_compensated(&self) -> bool {
        self.handler.caps().commit == Commit::Compensated
    }

    /// Whether its own commit decides the push.
    fn decides(&self) -> bool {
        self.is_transactional() && !self.prepare
    }
}

/// Of several transactions none decides: each is prepared, and the journal decides.
fn prepare_several(parts: &mut [Part]) {
    let several = parts.iter().filter(|part| part.is_transactional()).count() > 1;
    parts.iter_mut().for_each(|part| part.prepare = several && part.is_transactional());
}

/// How far a push came when it failed.
enum Failed {
    /// Nothing happened.
    Declined(Error),
    /// It happened, or may have, and the next contact finishes it.
    Unfinished(Error),
}

impl From<Error> for Failed {
    fn from(error: Error) -> Self {
        Failed::Declined(error)
    }
}

impl StateRepository {
    /// Applies `old` to `new` and moves the refs. Called under the lock.
    pub(crate) fn apply(
        &self, old: Option<&ObjectId>, new: &ObjectId, refs: &[RefUpdate], replace: &BTreeSet<String>,
    ) -> Result<()> {
        let (operation, mut journal) = self.begin_push(old, new, refs)?;
        match self.attempt(&operation, &mut journal, old, new, refs, replace) {
            Ok(ready) => {
                if let Err(error) = self.finish(journal, ready) {
                    self.note(&format!("cleaning up is tried again at the next push or pull: {}", causes(&error)));
                }
                Ok(())
            }
            Err(Failed::Declined(error)) => {
                self.take_back();
                Err(error)
            }
            Err(Failed::Unfinished(error)) => {
                self.note("this push is finished by the next push or pull");
                Err(error)
            }
        }
    }

    /// Starts the operation of a push, and its journal.
    pub(crate) fn begin_push(
        &self, old: Option<&ObjectId>, new: &ObjectId, refs: &[RefUpdate],
    ) -> Result<(Operation, Journal)> {
        let operation = self.new_operation()?;
        self.update_refs(format!("create {} {new}\n", operation.reference("pushed")).as_bytes())?;
        Error::point("begin")?;
        let mut journal = Journal::open(&self.journal_path())?;
        let begin =
            Step::Begin { op: operation.id.to_string(), old: old.cloned(), new: new.clone(), refs: refs.to_vec() };
        journal.add(&begin)?;
        Ok((operation, journal))
    }

    /// Takes back a push that was not decided. The journal stays where this fails, and the next contact tries again.
    pub(crate) fn take_back(&self) {
        if let Err(undo) = self.settle(true) {
            self.note(&format!("cleaning up is tried again at the next push or pull: {}", causes(&undo)));
        }
    }

    /// Everything up to the moved refs. Returns whether `ready.rc` is to run.
    fn attempt(
        &self, operation: &Operation, journal: &mut Journal, old: Option<&ObjectId>, new: &ObjectId,
        refs: &[RefUpdate], replace: &BTreeSet<String>,
    ) -> Result<bool, Failed> {
        self.check_refs_movable(refs)?;
        if let Some(old) = old {
            self.check_policy(operation, old, new)?;
        }
        self.check_replaced(operation, new, replace)?;
        let step = tracing::debug_span!("sysconf").entered();
        let sysconf = self.apply_sysconf(operation, journal, old, new)?;
        drop(step);
        let step = tracing::debug_span!("plan").entered();
        let parts = self.plan(operation, old, new, replace, self.parts.waits.ready)?;
        drop(step);
        let ready = needs_ready(old, sysconf, &parts);
        journal.add(&planned(&parts, ready))?;
        self.import(operation, journal, old, &parts, refs)?;
        Ok(ready)
    }

    /// With `push.policy = "strict"`, any live change that was never pulled declines the push.
    pub(crate) fn check_policy(&self, operation: &Operation, old: &ObjectId, new: &ObjectId) -> Result<()> {
        if self.config(new)?.push != PushPolicy::Strict {
            return Ok(());
        }
        let candidate = self.candidate(operation, old)?.commit;
        if candidate == *old {
            return Ok(());
        }
        let subject = self.git.output(&["log", "-1", "--format=%s", candidate.as_str()])?;
        let subject = String::from_utf8_lossy(&subject).trim().to_owned();
        Err(Error::Refused(format!("there are live changes that were not pulled ({subject}): pull, merge, push again")))
    }

    fn apply_sysconf(
        &self, operation: &Operation, journal: &mut Journal, old: Option<&ObjectId>, new: &ObjectId,
    ) -> Result<bool> {
        let (Some(setup), Some((base, next))) = (&self.parts.setup, self.sysconf_change(operation, old, new)?) else {
            return Ok(false);
        };
        let base = base.as_ref().map(|tree| tree as &dyn Tree);
        journal.add(&Step::Sysconf)?;
        self.step("setting up the system");
        Error::point("sysconf")?;
        setup.apply(base, &next, &operation.cx(self, None)).map_err(Error::Setup)?;
        Error::point("sysconf applied")?;
        Ok(true)
    }

    /// The configuration before and after the push, where there is something to apply.
    pub(crate) fn sysconf_change(
        &self, operation: &Operation, old: Option<&ObjectId>, new: &ObjectId,
    ) -> Result<Option<(Option<GitTree>, GitTree)>> {
        let Some(setup) = &self.parts.setup else { return Ok(None) };
        let next = self.sysconf(new)?;
        let base = old.map(|old| self.tree_beside(old, &sysconf_path()?, next.as_ref())).transpose()?.flatten();
        let Some(next) = next else {
            return match base {
                Some(_) => Err(Error::Refused("`sysconf/` was removed; a container keeps its configuration".into())),
                None => Ok(None),
            };
        };
        let differs = setup.plan(base.as_ref().map(|tree| tree as &dyn Tree), &next, &operation.cx(self, None));
        Ok(differs.map_err(Error::Setup)?.then_some((base, next)))
    }

    /// Which states take part, and against what they are compared, once their engines answer.
    pub(crate) fn plan(
        &self, operation: &Operation, old: Option<&ObjectId>, new: &ObjectId, replace: &BTreeSet<String>,
        patience: Duration,
    ) -> Result<Vec<Part>> {
        let config = self.config(new)?;
        if let Some(unknown) = replace.iter().find(|name| config.state(name).is_none()) {
            return Err(Error::Refused(format!("-o replace={unknown}: there is no such state in glxc.toml")));
        }
        let mut parts = Vec::new();
        for state in &config.states {
            let asked = replace.contains(state.name());
            let Some(mut part) = self.part(old, new, state)? else {
                match asked {
                    true => return Err(Error::Refused(format!("-o replace={}: it has no files", state.name()))),
                    false => continue,
                }
            };
            let ready = operation.cx(self, Some(Instant::now() + patience));
            self.step(&format!("waiting for {}", part.name));
            part.handler.ready(&ready).map_err(Error::state(&part.name, "wait for it"))?;
            if part.base.is_none() || asked {
                part.keep = old.is_some() && self.may_replace(operation, &part, asked)?;
                part.replace = true;
            }
            if part.replace || !part.differs.is_empty() || self.options_changed(&part) {
                parts.push(part);
            }
        }
        prepare_several(&mut parts);
        Ok(parts)
    }

    fn options_changed(&self, part: &Part) -> bool {
        part.base.as_ref().is_some_and(|(_, options)| *options != part.options)
    }

    fn part(&self, old: Option<&ObjectId>, new: &ObjectId, state: &StateConfig) -> Result<Option<Part>> {
        let name = state.name().to_owned();
        let next = self.tree(new, &state.path)?;
        let base_config = old.map(|old| self.config(old)).transpose()?;
        let base_state = base_config.as_ref().and_then(|config| config.state(&name));
        let mut base = None;
        if let (Some(old), Some(base_state)) = (old, base_state) {
            if base_state.handler != state.handler {
                let message = format!("state `{name}` had the handler `{}`: give it another name", base_state.handler);
                return Err(Error::Refused(message));
            }
            // Options that this program does not read any more say nothing.
            let was = self.handler(old, base_state).ok().map(|handler| handler.place());
            let is = self.handler(new, state)?.place();
            if let Some(was) = was.filter(|was| *was != is) {
                let message = format!("state `{name}` was {was} and is {is} now: give it another name");
                return Err(Error::Refused(message));
            }
            base = self
                .tree_beside(old, &base_state.path, next.as_ref())?
                .map(|tree| (tree, base_state.settings.options.clone()));
        }
        let Some(next) = next else {
            return match (base, base_state) {
                (None, _) | (_, None) => Ok(None),
                (Some(_), Some(before)) if before.path != state.path => Err(Error::Refused(format!(
                    "state `{name}` moved, but its files did not: git mv {} {}",
                    before.path, state.path
                ))),
                (Some(_), Some(_)) => Err(Error::Refused(format!(
                    "the folder {} of state `{name}` was removed: take the state out of glxc.toml instead",
                    state.path
                ))),
            };
        };
        let differs = differences(base.as_ref().map(|(tree, _)| tree as &dyn Tree), Some(&next));
        Ok(Some(Part {
            handler: self.handler(new, state)?,
            path: state.path.clone(),
            name,
            base,
            next,
            options: state.settings.options.clone(),
            differs,
            replace: false,
            prepare: false,
            keep: false,
            direction: state.settings.direction,
        }))
    }

    /// Live data that no commit knows is only replaced where that was asked for. Returns whether there is any.
    fn may_replace(&self, operation: &Operation, part: &Part, asked: bool) -> Result<bool> {
        let cx = operation.cx(self, None);
        if part.handler.live(&cx).map_err(Error::state(&part.name, "look at it"))? != Live::Present {
            return Ok(false);
        }
        if !asked {
            return Err(Error::Refused(format!(
                "state `{0}` is new here and the container has data for it already: push glxc.toml alone, pull, merge; \
                 or `git push -o replace={0}`",
                part.name
            )));
        }
        Ok(true)
    }

    /// Keeps a state's live data as a commit under a branch of its own.
    fn keep_live(&self, operation: &Operation, old: &ObjectId, part: &Part) -> Result<()> {
        let cx = operation.cx(self, None);
        self.step(&format!("exporting {}", part.name));
        let mut import = crate::import::Import::new(&self.git, operation.scratch());
        let mut sink = import.sink(None);
        part.handler.export(None, &mut sink, &cx).map_err(Error::state(&part.name, "export"))?;
        let written = sink.finish()?;
        let branch = format!("replaced/{}-{}", part.name, operation.id);
        let message = format!("{}: {} before it was replaced", self.parts.container, part.name);
        let author = format!("{0} <glxc@{0}>", self.parts.container);
        import.commit(&format!("refs/heads/{branch}"), old, &message, &author, &[(part.path.clone(), written)])?;
        self.note(&format!("{}: what was live before is kept in the branch {branch}", part.name));
        Ok(())
    }

    /// What was kept in a branch was not replaced after all.
    fn drop_kept(&self, operation: &Operation) -> Result<()> {
        let ending = format!("-{}", operation.id);
        let names = self.git.references()?.into_keys();
        let kept = names.filter(|name| name.starts_with("refs/heads/replaced/") && name.ends_with(&ending));
        let commands: String = kept.map(|name| format!("delete {name}\n")).collect();
        if commands.is_empty() { Ok(()) } else { self.update_refs(commands.as_bytes()) }
    }

    /// Stage, lock, decide, commit, move the refs.
    fn import(
        &self, operation: &Operation, journal: &mut Journal, old: Option<&ObjectId>, parts: &[Part], refs: &[RefUpdate],
    ) -> Result<(), Failed> {
        let cx = operation.cx(self, None);
        let changes: Vec<Change<'_>> = parts.iter().map(|part| part.change(&operation.id)).collect();
        let folders = parts.iter().map(|part| operation.folder_of(&part.name)).collect::<Result<Vec<_>>>()?;
        let cxs: Vec<Cx<'_>> = folders.iter().map(|folder| Cx { op_dir: folder, ..cx }).collect();
        let mut staged: Vec<(&Part, Box<dyn Staged + '_>)> = Vec::new();
        for ((part, change), cx) in parts.iter().zip(&changes).zip(&cxs) {
            self.step(&format!("preparing {}", part.name));
            let _span = tracing::debug_span!("stage", state = part.name).entered();
            Error::point("stage")?;
            let one =
                part.handler.stage(change, cx).map_err(Error::files(&part.name, &part.path, "prepare the import"))?;
            Error::point("staged")?;
            let description = self.describe(part, change, one.description(), operation)?;
            self.note(&format!("{}: {}", part.name, description.summary));
            self.tell_ways(&part.name, part.handler.caps().ways);
            staged.push((part, one));
            journal.add(&Step::Staged { state: part.name.clone() })?;
        }
        // Only now, since a handler declines what is written to a state that it replaces after it was staged.
        for part in parts.iter().filter(|part| part.replace) {
            match old {
                Some(old) if part.keep => self.keep_live(operation, old, part)?,
                Some(_) => drop(self.may_replace(operation, part, false)?),
                None => {}
            }
        }
        // A compensated import happens inside `lock`, so those come last; of the others, the long ones first.
        staged.sort_by_key(|(part, _)| match part.handler.caps().commit {
            Commit::Redo => 0,
            Commit::Transactional => 1,
            Commit::Compensated => 2,
        });
        let mut records = BTreeMap::new();
        for (part, one) in &mut staged {
            self.step(&format!("changing {}", part.name));
            let _span = tracing::debug_span!("lock", state = part.name).entered();
            Error::point("lock")?;
            let Record(record) = one.lock().map_err(Error::files(&part.name, &part.path, "import"))?;
            records.insert(part.name.clone(), record);
            Error::point("locked")?;
        }
        self.check_refs_movable(refs)?;
        let attendant = self.prepare(&mut staged)?;
        if self.parts.cancel.is_cancelled() {
            return Err(Error::Cancelled.into());
        }
        journal.add(&Step::Intent { records: records.clone() })?;
        Error::point("decide")?;
        // With one transactional state its own commit is the decision, so it goes first.
        staged.sort_by_key(|(part, _)| !part.is_transactional());
        if !parts.iter().any(Part::decides)
            && let Err(error) = journal.add(&Step::Decided)
        {
            if journal.is_uncertain() {
                leave_as_after_a_kill(staged, attendant);
                return Err(Failed::Unfinished(error));
            }
            return Err(error.into());
        }
        let mut staged = staged.into_iter();
        for (part, one) in staged.by_ref() {
            let done = self
                .commit_one(operation, part, one, records.get(&part.name).cloned())
                .and_then(|()| journal.add(&Step::Done { state: part.name.clone() }).map_err(Failed::Unfinished));
            if let Err(failed) = done {
                if matches!(failed, Failed::Unfinished(_)) {
                    leave_as_after_a_kill(staged, attendant);
                }
                return Err(failed);
            }
        }
        let _span = tracing::debug_span!("refs").entered();
        self.move_refs(refs).map_err(Failed::Unfinished)?;
        Error::point("refs moved").map_err(Failed::Unfinished)?;
        journal.add(&Step::Ref).map_err(Failed::Unfinished)
    }

    /// Says what it means that a state goes one way only.
    pub(crate) fn tell_ways(&self, name: &str, ways: Ways) {
        let meaning = match ways {
            Ways::Both => return,
            Ways::Exported => "is only exported: its pushed files change nothing live, and the next pull replaces them",
            Ways::Imported => {
                "is only imported: what changes live is neither recorded by a pull nor compared by a push"
            }
        };
        self.note(&format!("{name}: {meaning}"));
    }

    /// Has each of several transactions prepared. What is prepared keeps its locks when this process dies, so another one
    /// waits for that from here on.
    fn prepare(&self, staged: &mut [(&Part, Box<dyn Staged + '_>)]) -> Result<Option<Attendant>> {
        let mut prepared = staged.iter_mut().filter(|(part, _)| part.prepare).peekable();
        if prepared.peek().is_none() {
            return Ok(None);
        }
        let attendant = self.parts.attendant.as_deref().map(attendant).transpose()?;
        for (part, one) in prepared {
            let _span = tracing::debug_span!("prepare", state = part.name).entered();
            Error::point("prepare")?;
            one.prepare().map_err(Error::state(&part.name, "prepare its transaction"))?;
            Error::point("prepared")?;
        }
        Ok(attendant)
    }

    /// A part in words; `known` are those of its handler, where it has them already.
    pub(crate) fn describe(
        &self, part: &Part, change: &Change<'_>, known: Option<Description>, operation: &Operation,
    ) -> Result<Description> {
        let _span = tracing::debug_span!("describe", state = part.name).entered();
        if part.replace {
            return Ok(Description {
                summary: format!("load {} files", part.next.entries().len()),
                details: Vec::new(),
            });
        }
        let cx = operation.cx(self, None);
        let description = match known {
            Some(known) => known,
            None => {
                part.handler.describe(change, &cx).map_err(Error::files(&part.name, &part.path, "read its files"))?
            }
        };
        let summary = match description.summary.is_empty() {
            true => "only settings changed".into(),
            false => description.summary,
        };
        Ok(Description { summary, ..description })
    }

    /// Commits one state. Where that fails the outcome is unknown, and the engine is asked.
    fn commit_one(
        &self, operation: &Operation, part: &Part, staged: Box<dyn Staged + '_>, record: Option<String>,
    ) -> Result<(), Failed> {
        let span = tracing::debug_span!("commit", state = part.name).entered();
        let committed = failpoint::at("commit").map_err(glxc_handlers::Error::io("pass", "commit"));
        let committed = committed.and_then(|()| staged.commit());
        drop(span);
        let error = match committed {
            Ok(committed) => {
                let _ = Error::point("committed");
                self.tell_notes(part, committed);
                return Ok(());
            }
            Err(error) => Error::state(&part.name, "commit")(error),
        };
        let decision = if part.decides() { Decision::Ask } else { Decision::Commit };
        match self.recover_part(operation, part, record.map(Record).as_ref(), decision) {
            Ok(false) if part.decides() => Err(Failed::Declined(error)),
            Ok(_) => Ok(()),
            Err(_) => Err(Failed::Unfinished(error)),
        }
    }

    /// Not more of them than a person reads; `-o plan` tells them all.
    fn tell_notes(&self, part: &Part, committed: Committed) {
        shortened(committed.notes).iter().for_each(|note| self.note(&format!("{}: {note}", part.name)));
    }

    fn recover_part(
        &self, operation: &Operation, part: &Part, record: Option<&Record>, decision: Decision,
    ) -> Result<bool> {
        let deadline = Instant::now() + self.parts.waits.ready;
        let never = glxc_handlers::Cancel::new();
        let folder = operation.folder_of(&part.name)?;
        let cx = Cx { cancel: &never, op_dir: &folder, ..operation.cx(self, Some(deadline)) };
        part.handler.ready(&cx).map_err(Error::state(&part.name, "wait for it"))?;
        let cx = Cx { deadline: None, ..cx };
        let change = part.change(&operation.id);
        Error::point("recover")?;
        let recovered = part.handler.recover(&change, record, decision, &cx);
        Error::point("recovered")?;
        match recovered.map_err(Error::state(&part.name, "recover"))? {
            Recovered::Committed(committed) => {
                self.tell_notes(part, committed);
                Ok(true)
            }
            Recovered::Aborted => Ok(false),
        }
    }

    /// Nothing may hinder the refs once it is decided: another ref in the way, or an old value that is not so.
    pub(crate) fn check_refs_movable(&self, refs: &[RefUpdate]) -> Result<()> {
        let mut input = b"start\n".to_vec();
        input.extend(refs_commands(refs));
        input.extend_from_slice(b"prepare\nabort\n");
        self.git.feed(&["update-ref", "--stdin"], &input).map(drop)
    }

    pub(crate) fn move_refs(&self, refs: &[RefUpdate]) -> Result<()> {
        Error::point("refs")?;
        self.update_refs(&refs_commands(refs))
    }

    /// What follows the moved refs: nothing of it can decline the push any more.
    fn finish(&self, journal: Journal, ready: bool) -> Result<()> {
        let _span = tracing::debug_span!("clear").entered();
        if ready {
            Error::point("ready")?;
            self.run_ready()?;
        }
        if let Some(main) = self.main()? {
            self.forget_fingerprints(&main)?;
            self.record_roots(&main)?;
        }
        Error::point("clear")?;
        self.clear_states()?;
        Error::point("cleared")?;
        journal.clear()?;
        Error::point("journal cleared")?;
        self.sweep()
    }

    /// The journal tells the outcome until here, and nobody asks the engines for it any more.
    fn clear_states(&self) -> Result<()> {
        let Some(settled) = journal::read(&self.journal_path())? else { return Ok(()) };
        let operation = self.operation(OpId::new(settled.op).map_err(|e| Error::Protocol(e.to_string()))?)?;
        let config = self.config(&settled.new)?;
        for part in &settled.parts {
            let Some(state) = config.state(&part.state) else { continue };
            let never = glxc_handlers::Cancel::new();
            let handler = self.handler(&settled.new, state)?;
            let cx = glxc_handlers::Cx { cancel: &never, ..operation.cx(self, None) };
            if handler.clear(&operation.id, &cx).is_err() {
                // The engine may have died since, and be on its way back.
                let deadline = Some(Instant::now() + self.parts.waits.ready);
                handler
                    .ready(&glxc_handlers::Cx { deadline, ..cx })
                    .map_err(Error::state(state.name(), "wait for it"))?;
                handler.clear(&operation.id, &cx).map_err(Error::state(state.name(), "clear"))?;
            }
        }
        Ok(())
    }

    fn run_ready(&self) -> Result<()> {
        let _span = tracing::debug_span!("ready").entered();
        let Some(setup) = &self.parts.setup else { return Ok(()) };
        let operation = self.new_operation()?;
        self.step("starting what needs the data");
        let never = glxc_handlers::Cancel::new();
        if let Err(error) = setup.ready(&glxc_handlers::Cx { cancel: &never, ..operation.cx(self, None) }) {
            let causes = causes(&*error);
            self.note(&format!("the data is in place, but `ready.rc` failed: {causes}"));
        }
        Ok(())
    }

    /// Settles what an interrupted operation left: finishes what was decided, removes what was not. Under the lock.
    /// Without `scripts` a pending `ready.rc` is left to the next contact.
    pub(crate) fn settle(&self, scripts: bool) -> Result<()> {
        let _span = tracing::debug_span!("settle").entered();
        let Some(interrupted) = journal::read(&self.journal_path())? else {
            if self.journal_path().exists() {
                Journal::open(&self.journal_path())?.clear()?;
            }
            return self.sweep();
        };
        let id = OpId::new(interrupted.op.clone()).map_err(|e| Error::Protocol(e.to_string()))?;
        let operation = self.operation(id)?;
        let mut journal = Journal::open(&self.journal_path())?;
        let parts = self.interrupted_parts(&interrupted)?;
        if !self.settle_parts(&operation, &mut journal, &interrupted, &parts)? {
            self.undo_sysconf(&operation, &interrupted, scripts)?;
            self.put_back(&operation, &interrupted, &parts)?;
            self.drop_kept(&operation)?;
            journal.clear()?;
            return self.sweep();
        }
        if !interrupted.moved {
            let now = self.git.references()?;
            let is_left = |update: &&RefUpdate| *now.get(&update.name).unwrap_or(&ObjectId::zero()) != update.new;
            let left: Vec<_> = interrupted.refs.iter().filter(is_left).cloned().collect();
            self.move_refs(&left)?;
            journal.add(&Step::Ref)?;
        }
        match interrupted.ready && !scripts {
            true => Ok(()),
            false => self.finish(journal, interrupted.ready),
        }
    }

    fn interrupted_parts(&self, interrupted: &journal::Interrupted) -> Result<Vec<Part>> {
        let config = self.config(&interrupted.new)?;
        let mut parts = Vec::new();
        for planned in &interrupted.parts {
            let state = config.state(&planned.state);
            let part = state.map(|state| self.part(interrupted.old.as_ref(), &interrupted.new, state)).transpose()?;
            let Some(mut part) = part.flatten() else {
                return Err(Error::Protocol(format!("the journal names the unknown state {}", planned.state)));
            };
            part.replace = planned.replace;
            parts.push(part);
        }
        prepare_several(&mut parts);
        Ok(parts)
    }

    /// Returns whether the operation happened.
    fn settle_parts(
        &self, operation: &Operation, journal: &mut Journal, interrupted: &journal::Interrupted, parts: &[Part],
    ) -> Result<bool> {
        let record = |part: &Part| {
            let records = interrupted.records.as_ref()?;
            records.get(&part.name).map(|record| Record(record.clone()))
        };
        let mut decided = interrupted.decided || !interrupted.done.is_empty();
        let mut done: BTreeSet<&str> = interrupted.done.iter().map(String::as_str).collect();
        let decides = parts.iter().find(|part| part.decides());
        if let (false, Some(_), Some(part)) = (decided, &interrupted.records, decides) {
            decided = self.recover_part(operation, part, record(part).as_ref(), Decision::Ask)?;
            if decided {
                journal.add(&Step::Done { state: part.name.clone() })?;
                done.insert(&part.name);
            }
        }
        let decision = if decided { Decision::Commit } else { Decision::Abort };
        for part in parts.iter().filter(|part| !done.contains(&*part.name) && (decided || !part.is_compensated())) {
            self.recover_part(operation, part, record(part).as_ref(), decision)?;
            if decided {
                journal.add(&Step::Done { state: part.name.clone() })?;
            }
        }
        Ok(decided)
    }

    /// Puts back what was imported as a whole, with the programs of the configuration before the push: those of the push may
    /// be what failed. On a container that this push made there are no others, and the next push resumes all the same.
    fn put_back(&self, operation: &Operation, interrupted: &journal::Interrupted, parts: &[Part]) -> Result<()> {
        for part in parts.iter().filter(|part| part.is_compensated()) {
            match self.recover_part(operation, part, None, Decision::Abort) {
                Err(error) if interrupted.old.is_none() => self.note(&causes(&error)),
                outcome => drop(outcome?),
            }
        }
        Ok(())
    }

    /// On a container that this push made nothing is undone: it stays, and the next push resumes.
    fn undo_sysconf(&self, operation: &Operation, interrupted: &journal::Interrupted, scripts: bool) -> Result<()> {
        let (Some(setup), Some(_), true) = (&self.parts.setup, &interrupted.old, interrupted.sysconf) else {
            return Ok(());
        };
        let never = glxc_handlers::Cancel::new();
        let cx = glxc_handlers::Cx { cancel: &never, ..operation.cx(self, None) };
        Error::point("sysconf undo")?;
        let left = setup.undo(scripts, &cx).map_err(Error::Setup)?;
        Error::point("sysconf undone")?;
        left.iter().for_each(|left| self.note(&format!("sysconf: not undone: {left}")));
        Ok(())
    }
}

/// Whether `ready.rc` is to run once the data is in place.
pub(crate) fn needs_ready(old: Option<&ObjectId>, sysconf: bool, parts: &[Part]) -> bool {
    old.is_none() || sysconf || parts.iter().any(|part| part.direction == Direction::Push)
}

/// The step of the journal that names the states of a push.
pub(crate) fn planned(parts: &[Part], ready: bool) -> Step {
    let part = |part: &Part| journal::Part {
        state: part.name.clone(),
        replace: part.replace,
        transactional: part.is_transactional(),
    };
    Step::Plan { parts: parts.iter().map(part).collect(), ready }
}

fn refs_commands(refs: &[RefUpdate]) -> Vec<u8> {
    let command = |update: &RefUpdate| match update.new.is_zero() {
        true => format!("delete {} {}\n", update.name, update.old),
        false => format!("update {} {} {}\n", update.name, update.new, update.old),
    };
    refs.iter().map(command).collect::<String>().into_bytes()
}

fn attendant(command: &[OsString]) -> Result<Attendant> {
    Attendant::start(command).map_err(Error::io("run", command.first().map_or(Path::new(""), Path::new)))
}

/// Nobody may abort what is staged, whose outcome is not known yet. Nor may what is prepared stay when this process ends.
fn leave_as_after_a_kill<'a>(
    staged: impl IntoIterator<Item = (&'a Part, Box<dyn Staged + 'a>)>, attendant: Option<Attendant>,
) {
    staged.into_iter().for_each(std::mem::forget);
    std::mem::forget(attendant);
}

/// The first of many lines, and how many follow.
pub(crate) fn shortened(mut lines: Vec<String>) -> Vec<String> {
    const MOST: usize = 20;
    if lines.len() > MOST {
        let more = lines.len() - (MOST - 1);
        lines.truncate(MOST - 1);
        lines.push(format!("and {more} more"));
    }
    lines
}

/// An error with its causes in one line.
pub(crate) fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(&format!(": {error}"));
        cause = error.source();
    }
    text
}
