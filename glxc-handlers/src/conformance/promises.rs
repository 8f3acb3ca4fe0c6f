//! One function a promise.

use std::sync::atomic::Ordering;

use super::bench::{Bench, Result, broken, fine, must};
use super::{Edit, Kept, Outcome, Subject, Variant};
use crate::{
    Cancel, Change, Commit, Decision, Error, Live, MemoryTree, Mode, Record, Recovered, Result as Answer, Sink, Staged,
    StatePath, Tree, Unit,
};

/// The same state gives the same files: twice, after a restart, after another history, whatever base is.
///
/// # Errors
/// [`super::Broken`]. The same holds for the other promises.
pub fn determinism(subject: &dyn Subject) -> Outcome {
    let bench = Bench::new(subject)?;
    let (base, next) = bench.base_and_next()?;
    must(bench.export(None)? == base, "two exports differ")?;
    must(bench.export(Some(&base))? == base, "an export on top of itself differs")?;
    must(bench.export(Some(&next))? == base, "an export keeps what differs from its base")?;
    subject.set(Variant::Next);
    must(bench.export(Some(&base))? == next, "an export misses what changed since its base")?;
    subject.set(Variant::Empty);
    must(bench.export_of(Variant::Base)? == base, "exports of the same state differ after another history")?;
    subject.edit(Edit::Other);
    must(bench.export(None)? != base, "an export misses what the application wrote")?;
    Ok(Kept::Yes)
}

/// What is exported and loaded into an empty or missing state is the same state.
pub fn round_trip(subject: &dyn Subject) -> Outcome {
    let bench = Bench::new(subject)?;
    let next = bench.export_of(Variant::Next)?;
    let look = subject.live();
    let absent = subject.can_be_absent().then_some(Variant::Absent);
    for variant in absent.into_iter().chain([Variant::Empty, Variant::Base]) {
        let bench = Bench::new(subject)?;
        subject.set(variant);
        fine(bench.import(None, &next, true), "import without a base")?;
        must(subject.live() == look, &format!("live is not what was imported, on top of {variant:?}"))?;
        must(bench.export(None)? == next, &format!("the files differ after an import on top of {variant:?}"))?;
    }
    Ok(Kept::Yes)
}

/// Live base and a push of next makes live next; also in the other direction, and to nothing.
pub fn difference(subject: &dyn Subject) -> Outcome {
    let bench = Bench::new(subject)?;
    let variants = [Variant::Base, Variant::Next, Variant::Empty];
    for from in variants {
        for to in variants.into_iter().filter(|to| *to != from) {
            let (next, look) = (bench.export_of(to)?, subject.live());
            let base = bench.export_of(from)?;
            fine(Bench::new(subject)?.import(Some(&base), &next, false), &format!("import {to:?} on {from:?}"))?;
            must(subject.live() == look, &format!("live is not {to:?} after it was imported on {from:?}"))?;
            must(bench.export(Some(&base))? == next, "the files differ after an import")?;
        }
    }
    Ok(Kept::Yes)
}

/// Where the application changed what the push changes, it declines with [`Error::Changed`], and nothing changes.
pub fn compare_and_swap(subject: &dyn Subject) -> Outcome {
    subject.set(Variant::Base);
    subject.edit(Edit::Contested);
    let edited = subject.live();
    for late in [false, true] {
        let bench = Bench::new(subject)?;
        let (base, next) = bench.base_and_next()?;
        let (handler, cx) = (subject.handler(), bench.cx());
        if !late {
            subject.edit(Edit::Contested);
        }
        let answer = bench.with_change(Some(&base), &next, false, |change| {
            let mut staged = handler.stage(change, &cx)?;
            if late {
                subject.edit(Edit::Contested);
            }
            let locked = staged.lock().map(drop);
            staged.abort().and(locked)
        });
        let when = if late { "between stage and lock" } else { "before the push" };
        match answer {
            Err(Error::Changed { first, total }) => {
                must(!first.is_empty() && total >= first.len() as u64, "a conflict without a name")?;
            }
            Err(other) => fine(Err(other), &format!("a write {when} must be `changed meanwhile`, but"))?,
            Ok(()) => return broken(format!("a write {when} was overwritten")),
        }
        bench.untouched(&edited, "a declined push")?;
    }
    Ok(Kept::Yes)
}

/// What only the application changed stays, for handlers that compare items; those that compare the whole decline.
pub fn other_items_survive(subject: &dyn Subject) -> Outcome {
    let bench = Bench::new(subject)?;
    subject.set(Variant::Next);
    subject.edit(Edit::Other);
    let both = subject.live();
    let (base, next) = bench.base_and_next()?;
    subject.edit(Edit::Other);
    let edited = subject.live();
    let answer = bench.import(Some(&base), &next, false);
    if subject.handler().caps().unit == Unit::Whole {
        must(matches!(answer, Err(Error::Changed { .. })), "a change of the whole was not declined")?;
        bench.untouched(&edited, "a declined push")?;
        return Ok(Kept::Yes);
    }
    fine(answer, "import beside a change of another item")?;
    must(subject.live() == both, "a change of another item, or the push, is lost")?;
    Ok(Kept::Yes)
}

/// Stage changes nothing visible; abort and drop, after stage and after lock, leave no trace.
pub fn abort_without_a_trace(subject: &dyn Subject) -> Outcome {
    let bench = Bench::new(subject)?;
    let (base, next) = bench.base_and_next()?;
    let before = subject.live();
    for (lock, drops) in [(false, false), (false, true), (true, false), (true, true)] {
        let bench = Bench::new(subject)?;
        let (handler, cx) = (subject.handler(), bench.cx());
        bench.with_change(Some(&base), &next, false, |change| -> Result {
            let mut staged = fine(handler.stage(change, &cx), "stage")?;
            must(subject.live() == before, "stage changes what is live")?;
            if lock {
                fine(staged.lock(), "lock")?;
            }
            match drops {
                true => drop(staged),
                false => fine(staged.abort(), "abort")?,
            }
            Ok(())
        })?;
        let what = if drops { "a drop" } else { "an abort" };
        bench.untouched(&before, &format!("{what} after {}", if lock { "lock" } else { "stage" }))?;
        must(bench.export(None)? == base, "the files differ after an abort")?;
    }
    Ok(Kept::Yes)
}

/// A kill after stage or after lock, and the decision is that it did not happen: nothing is left, however often it recovers,
/// whether or not the record was kept.
pub fn kill_before_the_decision(subject: &dyn Subject) -> Outcome {
    let (base, next) = Bench::new(subject)?.base_and_next()?;
    let before = subject.live();
    let ask = subject.handler().caps().commit == Commit::Transactional;
    for (lock, decision, with_record) in [
        (false, Decision::Abort, false),
        (true, Decision::Abort, false),
        (true, Decision::Abort, true),
        (true, Decision::Ask, true),
    ] {
        if decision == Decision::Ask && !ask {
            continue;
        }
        let killed = Killed::at(subject, &base, &next, if lock { At::Lock } else { At::Stage })?;
        for time in 1..=2 {
            let record = killed.record.as_ref().filter(|_| with_record);
            let recovered = killed.recover(record, decision)?;
            let when =
                format!("recover ({decision:?}, time {time}) of a kill after {}", if lock { "lock" } else { "stage" });
            must(recovered == Recovered::Aborted, &format!("committed at {when}"))?;
            killed.bench.untouched(&before, &when)?;
        }
        must(killed.bench.export(None)? == base, "the files differ after a recovery")?;
        subject.edit(Edit::Contested);
        let later = subject.live();
        killed.recover(killed.record.as_ref().filter(|_| with_record), decision)?;
        must(subject.live() == later, "a further recovery overwrites what was written since")?;
        subject.set(Variant::Base);
    }
    Ok(Kept::Yes)
}

/// A kill after the decision: it happens, once, however often it recovers.
pub fn kill_after_the_decision(subject: &dyn Subject) -> Outcome {
    let (base, next) = Bench::new(subject)?.base_and_next()?;
    subject.set(Variant::Next);
    let look = subject.live();
    let transactional = subject.handler().caps().commit == Commit::Transactional;
    for (at, decision) in [(At::Lock, Decision::Commit), (At::Commit, Decision::Commit), (At::Commit, Decision::Ask)] {
        if decision == Decision::Ask && !transactional {
            continue;
        }
        subject.set(Variant::Base);
        let killed = Killed::at(subject, &base, &next, at)?;
        for time in 1..=2 {
            let recovered = killed.recover(killed.record.as_ref(), decision)?;
            let when = format!("recover ({decision:?}, time {time}) of a kill after {at:?}");
            must(matches!(recovered, Recovered::Committed(_)), &format!("not committed at {when}"))?;
            killed.bench.untouched(&look, &when)?;
        }
        must(killed.bench.export(None)? == next, "the files differ after a recovery")?;
        subject.edit(Edit::Contested);
        let later = subject.live();
        killed.recover(killed.record.as_ref(), decision)?;
        must(subject.live() == later, "a further recovery overwrites what was written since")?;
    }
    Ok(Kept::Yes)
}

/// What is prepared waits for its end, whoever brings it: nothing of it is visible before, and a commit, an abort or a
/// recovery, by this program or after a kill, does what it says.
pub fn prepared(subject: &dyn Subject) -> Outcome {
    if subject.handler().caps().commit != Commit::Transactional {
        return Ok(Kept::NotMade);
    }
    let (base, next) = Bench::new(subject)?.base_and_next()?;
    let before = subject.live();
    let look = Bench::new(subject)?.look_of(Variant::Next);
    let ends = [Prepared::Commits, Prepared::Aborts, Prepared::Drops, Prepared::Dies(true), Prepared::Dies(false)];
    for (replace, end) in [false, true].into_iter().flat_map(|replace| ends.map(|end| (replace, end))) {
        subject.set(Variant::Base);
        let bench = Bench::new(subject)?;
        let from = (!replace).then_some(&base);
        let answer = bench.with_prepared(from, &next, replace, true, |change| end_prepared(&bench, change, end))?;
        match answer {
            Err(Error::Unsupported { .. }) => return Ok(Kept::NotMade),
            other => fine(other, &format!("a prepared import ({end:?})"))?,
        }
        let happened = matches!(end, Prepared::Commits | Prepared::Dies(true));
        bench.untouched(if happened { &look } else { &before }, &format!("a prepared import ({end:?})"))?;
        let wanted = if happened { &next } else { &base };
        must(bench.export(None)? == *wanted, &format!("the files differ after a prepared import ({end:?})"))?;
    }
    Ok(Kept::Yes)
}

/// How what was prepared ends.
#[derive(Clone, Copy, Debug)]
enum Prepared {
    Commits,
    Aborts,
    Drops,
    /// The program dies; whether it had been decided that it happens.
    Dies(bool),
}

fn end_prepared(bench: &Bench<'_>, change: &Change<'_>, end: Prepared) -> Result<Answer<()>> {
    let (subject, cx) = (bench.subject, bench.cx());
    let handler = subject.handler();
    let mut staged = fine(handler.stage(change, &cx), "stage what is to be prepared")?;
    let record = fine(staged.lock(), "lock")?;
    if let Err(error) = staged.prepare() {
        return Ok(staged.abort().and(Err(error)));
    }
    match end {
        Prepared::Commits => return Ok(staged.commit().and_then(|_| handler.clear(change.op, &cx))),
        Prepared::Aborts => return Ok(staged.abort()),
        Prepared::Drops => drop(staged),
        Prepared::Dies(decided) => {
            std::mem::forget(staged);
            subject.kill();
            let decision = if decided { Decision::Commit } else { Decision::Abort };
            for time in 1..=2 {
                let recovered = fine(subject.handler().recover(change, Some(&record), decision, &cx), "recover")?;
                let is = matches!(recovered, Recovered::Committed(_));
                must(is == decided, &format!("recovery number {time} with {decision:?} answers {recovered:?}"))?;
            }
            fine(subject.handler().clear(change.op, &cx), "clear")?;
        }
    }
    Ok(Ok(()))
}

/// What the application wrote between a kill and the recovery stays and is reported, where items are done again.
pub fn late_writes_stay(subject: &dyn Subject) -> Outcome {
    if subject.handler().caps().commit != Commit::Redo {
        return Ok(Kept::NotMade);
    }
    let (base, next) = Bench::new(subject)?.base_and_next()?;
    subject.set(Variant::Next);
    subject.edit(Edit::Contested);
    let both = subject.live();
    subject.set(Variant::Base);
    let killed = Killed::at(subject, &base, &next, At::Lock)?;
    subject.edit(Edit::Contested);
    match killed.recover(killed.record.as_ref(), Decision::Commit)? {
        Recovered::Committed(committed) => must(!committed.notes.is_empty(), "a late write is not reported")?,
        Recovered::Aborted => return broken("a late write undoes what was decided"),
    }
    killed.bench.untouched(&both, "a recovery beside a late write")?;
    Ok(Kept::Yes)
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum At {
    Stage,
    Lock,
    Commit,
}

/// An import that was killed.
struct Killed<'s> {
    bench: Bench<'s>,
    base: &'s MemoryTree,
    next: &'s MemoryTree,
    record: Option<Record>,
}

impl<'s> Killed<'s> {
    fn at(subject: &'s dyn Subject, base: &'s MemoryTree, next: &'s MemoryTree, at: At) -> Result<Self> {
        let bench = Bench::new(subject)?;
        let record = bench.with_change(Some(base), next, false, |change| -> Result<Option<Record>> {
            let (handler, cx) = (subject.handler(), bench.cx());
            let mut staged: Box<dyn Staged + '_> = fine(handler.stage(change, &cx), "stage")?;
            let record = if at == At::Stage { None } else { Some(fine(staged.lock(), "lock")?) };
            match at {
                At::Commit => drop(fine(staged.commit(), "commit")?),
                At::Stage | At::Lock => std::mem::forget(staged),
            }
            std::mem::forget(handler);
            Ok(record)
        })?;
        subject.kill();
        Ok(Killed { bench, base, next, record })
    }

    fn recover(&self, record: Option<&Record>, decision: Decision) -> Result<Recovered> {
        let handler = self.bench.subject.handler();
        let recovered = self.bench.with_change(Some(self.base), self.next, false, |change| {
            handler.recover(change, record, decision, &self.bench.cx())
        });
        fine(recovered, "recover")
    }
}

/// Links, executables, unexpected files and garbage are [`Error::Input`] that names the file, and nothing changes.
pub fn hostile_trees(subject: &dyn Subject) -> Outcome {
    let bench = Bench::new(subject)?;
    let (base, next) = bench.base_and_next()?;
    let before = subject.live();
    fine(subject.handler().check(None, &next, &bench.cx()), "check what was exported")?;
    for (path, tree) in hostile(subject, &next)? {
        let (handler, cx) = (subject.handler(), bench.cx());
        for known in [None, Some(&next as &dyn Tree)] {
            match handler.check(known, &tree, &cx) {
                Err(Error::Input { file, .. }) => must(file == path, &format!("{file} is blamed for {path}"))?,
                Err(other) => fine(Err(other), &format!("{path} must be refused as input, but"))?,
                Ok(()) => return broken(format!("{path} was accepted")),
            }
        }
        let staged = bench.with_change(Some(&base), &tree, false, |change| {
            let mut staged = handler.stage(change, &cx)?;
            let locked = staged.lock().map(drop);
            staged.abort().and(locked)
        });
        must(!matches!(staged, Err(Error::Changed { .. })), &format!("{path} shows as a change of the application"))?;
        bench.untouched(&before, "a hostile tree")?;
    }
    Ok(Kept::Yes)
}

fn hostile(subject: &dyn Subject, next: &MemoryTree) -> Result<Vec<(StatePath, MemoryTree)>> {
    let path = |text: &str| StatePath::new(text).map_err(|e| super::Broken(e.to_string()));
    let with = |path: &StatePath, mode: Mode, content: &[u8]| {
        let mut files = next.files().clone();
        files.insert(path.clone(), (mode, content.to_vec()));
        (path.clone(), MemoryTree::new(files))
    };
    let mut trees = vec![with(&path("zz/link")?, Mode::Link, b"/etc/passwd")];
    let unexpected = path("unexpected.bin")?;
    if !subject.takes_any_content(&unexpected) {
        trees.push(with(&unexpected, Mode::File, b"\0\xff"));
    }
    for entry in next.entries() {
        let content = next.files()[&entry.path].1.clone();
        trees.push(with(&entry.path, Mode::Link, b"/etc/passwd"));
        trees.push(with(&entry.path, Mode::Executable, &content));
        if !subject.takes_any_content(&entry.path) {
            trees.push(with(&entry.path, Mode::File, b"\0garbage\xff\n"));
            trees.push(with(
                &entry.path,
                Mode::File,
                b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n",
            ));
        }
    }
    Ok(trees)
}

/// An empty state is exported as files; an absent one is [`Error::Gone`]; and the handler tells them apart.
pub fn empty_is_not_absent(subject: &dyn Subject) -> Outcome {
    let bench = Bench::new(subject)?;
    let live = || fine(subject.handler().live(&bench.cx()), "live");
    subject.set(Variant::Base);
    must(live()? == Live::Present, "a state that holds something is not `Present`")?;
    must(!bench.export_of(Variant::Empty)?.entries().is_empty(), "an empty state has no files")?;
    must(live()? == Live::Empty, "a state that holds nothing is not `Empty`")?;
    if subject.can_be_absent() {
        subject.set(Variant::Absent);
        must(live()? == Live::Absent, "a state that is not there is not `Absent`")?;
        let answer = bench.try_export(&*subject.handler(), None);
        must(matches!(answer, Err(Error::Gone { .. })), "the export of an absent state is not `Gone`")?;
    }
    Ok(Kept::Yes)
}

/// Exports and imports tell their progress, and end what they begin.
pub fn progress(subject: &dyn Subject) -> Outcome {
    let bench = Bench::new(subject)?;
    let (base, next) = bench.base_and_next()?;
    let told = |what: &str, act: &dyn Fn(&Bench<'_>) -> Answer<()>| -> Result {
        let bench = Bench::new(subject)?;
        fine(act(&bench), what)?;
        let (begun, ended) = (&bench.listener.begun, &bench.listener.ended);
        must(begun.load(Ordering::SeqCst) > 0, &format!("{what} tells no progress"))?;
        must(
            begun.load(Ordering::SeqCst) == ended.load(Ordering::SeqCst),
            &format!("{what} does not end what it begins"),
        )
    };
    told("an export", &|bench| bench.try_export(&*subject.handler(), None).map(drop))?;
    told("an import", &|bench| bench.import(Some(&base), &next, false))?;
    Ok(Kept::Yes)
}

/// Who is asked to stop stops with [`Error::Cancelled`], before or amid a call, and leaves no trace.
pub fn cancellation(subject: &dyn Subject) -> Outcome {
    let (base, next) = Bench::new(subject)?.base_and_next()?;
    let before = subject.live();
    let cancelled = |answer: Answer<()>, what: &str| match answer {
        Err(Error::Cancelled) => Ok(()),
        Err(other) => fine(Err(other), &format!("{what} must be `cancelled`, but")),
        Ok(()) => broken(format!("{what} goes on")),
    };
    let bench = Bench::new(subject)?;
    bench.cancel.cancel();
    cancelled(bench.try_export(&*subject.handler(), None).map(drop), "an export that is asked to stop")?;
    bench.untouched(&before, "a cancelled export")?;
    let staged = stage_and_lock(&bench, &base, &next, None);
    cancelled(staged, "a stage that is asked to stop")?;
    bench.untouched(&before, "a cancelled stage")?;
    let bench = Bench::new(subject)?;
    cancelled(stage_and_lock(&bench, &base, &next, Some(&bench.cancel)), "a lock that is asked to stop")?;
    bench.untouched(&before, "a cancelled lock")?;
    let bench = Bench::new(subject)?;
    if let Ok(mut stop) = bench.listener.stop_at_begin.lock() {
        *stop = Some(bench.cancel.clone());
    }
    cancelled(stage_and_lock(&bench, &base, &next, None), "an import that is asked to stop amid")?;
    bench.untouched(&before, "an import that was cancelled amid")?;
    Ok(Kept::Yes)
}

/// Stages, locks and aborts; may ask to stop between the first two.
fn stage_and_lock(bench: &Bench<'_>, base: &MemoryTree, next: &MemoryTree, stop: Option<&Cancel>) -> Answer<()> {
    let (handler, cx) = (bench.subject.handler(), bench.cx());
    bench.with_change(Some(base), next, false, |change| {
        let mut staged = handler.stage(change, &cx)?;
        if let Some(cancel) = stop {
            cancel.cancel();
        }
        let locked = staged.lock().map(drop);
        staged.abort().and(locked)
    })
}

/// With `replace`, next is live afterwards, whatever was.
pub fn replace(subject: &dyn Subject) -> Outcome {
    let look = Bench::new(subject)?.look_of(Variant::Next);
    for edit in [Edit::Contested, Edit::Other] {
        let bench = Bench::new(subject)?;
        let (base, next) = bench.base_and_next()?;
        subject.edit(edit);
        let edited = subject.live();
        let killed = stage_and_lock_replacing(&bench, &base, &next);
        fine(killed, "prepare a replacement")?;
        bench.untouched(&edited, "an aborted replacement")?;
        let bench = Bench::new(subject)?;
        fine(bench.import(Some(&base), &next, true), "replace")?;
        must(subject.live() == look, &format!("live is not next after it was replaced ({edit:?})"))?;
    }
    Ok(Kept::Yes)
}

fn stage_and_lock_replacing(bench: &Bench<'_>, base: &MemoryTree, next: &MemoryTree) -> Answer<()> {
    let (handler, cx) = (bench.subject.handler(), bench.cx());
    bench.with_change(Some(base), next, true, |change| {
        let mut staged = handler.stage(change, &cx)?;
        let locked = staged.lock().map(drop);
        staged.abort().and(locked)
    })
}

/// Where the carrier fails, the export does, and leaves no trace.
pub fn broken_carrier(subject: &dyn Subject) -> Outcome {
    let bench = Bench::new(subject)?;
    subject.set(Variant::Base);
    let before = subject.live();
    for fails_at in [Call::Begin, Call::Write, Call::End] {
        let answer = subject.handler().export(None, &mut BrokenSink(fails_at), &bench.cx());
        must(answer.is_err(), &format!("an export goes on where the carrier fails at {fails_at:?}"))?;
        bench.untouched(&before, "an export that failed")?;
    }
    Ok(Kept::Yes)
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Call {
    Begin,
    Write,
    End,
}

/// Fails at one kind of call.
struct BrokenSink(Call);

impl BrokenSink {
    fn fail_at(&self, call: Call) -> Answer<()> {
        match call == self.0 {
            true => Err(Error::Carrier { context: "write".into(), source: "no space left".into() }),
            false => Ok(()),
        }
    }
}

impl Sink for BrokenSink {
    fn begin(&mut self, _: &StatePath, _: Mode) -> Answer<()> {
        self.fail_at(Call::Begin)
    }
    fn write(&mut self, _: &[u8]) -> Answer<()> {
        self.fail_at(Call::Write)
    }
    fn end(&mut self) -> Answer<()> {
        self.fail_at(Call::End)
    }
    fn keep(&mut self, _: &StatePath) -> Answer<()> {
        Ok(())
    }
}
