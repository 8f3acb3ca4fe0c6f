//! The contract's own handlers keep it, and handlers that break a promise are caught.

use std::collections::BTreeMap;

use glxc_handlers::conformance::{Edit, MemoryHandler, MemoryStore, PROMISES, Subject, Variant, run_all};
use glxc_handlers::{
    Caps, Change, Committed, Cx, Decision, Error, Exported, Handler, Live, MemorySink, Mode, Record, Recorded,
    Recovered, Result, Simple, SimpleHandler, Sink, Staged, StatePath, Tree,
};

type Items = BTreeMap<String, String>;

/// A store under test, with a handler made by a function.
struct Under {
    store: MemoryStore,
    make: Box<dyn Fn(MemoryStore) -> Box<dyn Handler>>,
}

impl Under {
    fn new(make: impl Fn(MemoryStore) -> Box<dyn Handler> + 'static) -> Self {
        Under { store: MemoryStore::new(), make: Box::new(make) }
    }
}

fn items(variant: Variant) -> Option<Items> {
    let items: &[(&str, &str)] = match variant {
        Variant::Absent => return None,
        Variant::Empty => &[],
        Variant::Base => &[("contested", "1\t2"), ("other", "1"), ("removed", "\\1")],
        Variant::Next => &[("added", "2\n"), ("contested", "2"), ("other", "1")],
    };
    Some(items.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect())
}

impl Subject for Under {
    fn handler(&self) -> Box<dyn Handler> {
        (self.make)(self.store.clone())
    }
    fn set(&self, variant: Variant) {
        self.store.set(items(variant));
    }
    fn edit(&self, edit: Edit) {
        self.store.insert(if edit == Edit::Contested { "contested" } else { "other" }, "edited");
    }
    fn live(&self) -> Vec<u8> {
        format!("{:?}", self.store.get()).into_bytes()
    }
    fn leftovers(&self) -> Vec<String> {
        self.store.leftovers()
    }
}

#[test]
fn the_memory_handler_keeps_every_promise() {
    let report = run_all(&Under::new(|store| Box::new(MemoryHandler::redo(store))));
    assert!(report.failed.is_empty() && report.not_made == ["prepared"], "{report}");
    let report = run_all(&Under::new(|store| Box::new(MemoryHandler::transactional(store))));
    assert!(report.failed.is_empty() && report.not_made == ["late writes stay"], "{report}");
}

/// The store, as a whole.
#[derive(Debug)]
struct Whole(MemoryStore);

impl SimpleHandler for Whole {
    fn export(&self, sink: &mut dyn Sink, cx: &Cx<'_>) -> Result<Exported> {
        MemoryHandler::redo(self.0.clone()).export(None, sink, cx)
    }
    fn import(&self, files: &dyn Tree, cx: &Cx<'_>) -> Result<()> {
        if files.entries().is_empty() {
            self.0.set(None);
            return Ok(());
        }
        cx.check()?;
        let mut reader = glxc_handlers::rows::Reader::new(files, &path("items"), Default::default())?;
        let mut live = Items::new();
        while let Some(line) = reader.next()? {
            let unescape = |text: &str| glxc_handlers::rows::unescape(text).unwrap();
            let (name, value) = std::str::from_utf8(line.bytes).unwrap().split_once('\t').unwrap();
            live.insert(unescape(name), unescape(value));
        }
        self.0.set(Some(live));
        Ok(())
    }
    fn live(&self, cx: &Cx<'_>) -> Result<Live> {
        MemoryHandler::redo(self.0.clone()).live(cx)
    }
    fn check(&self, files: &dyn Tree, cx: &Cx<'_>) -> Result<()> {
        MemoryHandler::redo(self.0.clone()).check(None, files, cx)
    }
}

#[test]
fn a_simple_handler_keeps_what_its_caps_say() {
    let report = run_all(&Under::new(|store| Box::new(Simple::new(Whole(store)))));
    assert!(report.failed.is_empty() && report.not_made == ["prepared", "late writes stay"], "{report}");
}

fn path(text: &str) -> StatePath {
    StatePath::new(text).unwrap()
}

/// How a double breaks the contract.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Fault {
    ClockInExport,
    KeepsStaleFiles,
    ForgetsAnItem,
    ImportsNothing,
    SkipsRemovals,
    OverwritesContested,
    ComparesOnlyAtStage,
    DeclinesOthers,
    LosesOthers,
    StageWrites,
    AbortKeepsScratch,
    LockWritesAndAbortStays,
    RecoverKeepsScratch,
    RecoverCommitsWhatWasNot,
    RecoverForgetsTheDecision,
    RecoverOverwritesLateWrites,
    RecoverIsSilent,
    TakesLinks,
    TakesStrays,
    TakesGarbage,
    BlamesAnother,
    EmptyIsAbsent,
    AbsentIsEmpty,
    ExportsAbsent,
    TellsNothing,
    NeverEnds,
    IgnoresCancel,
    LockIgnoresCancel,
    ReplaceCompares,
    IgnoresTheCarrier,
    PrepareCommits,
}

use Fault::*;

/// The faults and the promise that each breaks.
const FAULTS: [(Fault, &str); 31] = [
    (ClockInExport, "determinism"),
    (KeepsStaleFiles, "determinism"),
    (ForgetsAnItem, "round trip"),
    (ImportsNothing, "difference"),
    (SkipsRemovals, "difference"),
    (OverwritesContested, "compare and swap"),
    (ComparesOnlyAtStage, "compare and swap"),
    (DeclinesOthers, "other items survive"),
    (LosesOthers, "other items survive"),
    (StageWrites, "abort without a trace"),
    (AbortKeepsScratch, "abort without a trace"),
    (LockWritesAndAbortStays, "abort without a trace"),
    (RecoverKeepsScratch, "kill before the decision"),
    (RecoverCommitsWhatWasNot, "kill before the decision"),
    (RecoverForgetsTheDecision, "kill after the decision"),
    (RecoverOverwritesLateWrites, "late writes stay"),
    (RecoverIsSilent, "late writes stay"),
    (TakesLinks, "hostile trees"),
    (TakesStrays, "hostile trees"),
    (TakesGarbage, "hostile trees"),
    (BlamesAnother, "hostile trees"),
    (EmptyIsAbsent, "empty is not absent"),
    (AbsentIsEmpty, "empty is not absent"),
    (ExportsAbsent, "empty is not absent"),
    (TellsNothing, "progress"),
    (NeverEnds, "progress"),
    (IgnoresCancel, "cancellation"),
    (LockIgnoresCancel, "cancellation"),
    (ReplaceCompares, "replace"),
    (IgnoresTheCarrier, "broken carrier"),
    (PrepareCommits, "prepared"),
];

/// The memory handler with one fault.
#[derive(Debug)]
struct Faulty {
    inner: MemoryHandler,
    store: MemoryStore,
    fault: Fault,
}

impl Faulty {
    fn has(&self, fault: Fault) -> bool {
        self.fault == fault
    }

    fn edit_live(&self, edit: impl FnOnce(&mut Items)) {
        let mut live = self.store.get().unwrap_or_default();
        edit(&mut live);
        self.store.set(Some(live));
    }
}

/// Tells what a double does not want told.
struct Muted<'a>(&'a dyn glxc_handlers::Progress, Fault);

impl glxc_handlers::Progress for Muted<'_> {
    fn begin(&self, task: &str, total: Option<u64>) {
        if self.1 != TellsNothing {
            self.0.begin(task, total);
        }
    }
    fn advance(&self, _: u64) {}
    fn end(&self) {
        if self.1 != NeverEnds && self.1 != TellsNothing {
            self.0.end();
        }
    }
    fn note(&self, _: &str) {}
}

impl Handler for Faulty {
    fn caps(&self) -> Caps {
        self.inner.caps()
    }

    fn live(&self, cx: &Cx<'_>) -> Result<Live> {
        Ok(match self.inner.live(cx)? {
            Live::Empty if self.has(EmptyIsAbsent) => Live::Absent,
            Live::Absent if self.has(AbsentIsEmpty) => Live::Empty,
            live => live,
        })
    }

    fn check(&self, base: Option<&dyn Tree>, next: &dyn Tree, cx: &Cx<'_>) -> Result<()> {
        let link = next.entries().iter().any(|entry| entry.mode == Mode::Link);
        let stray = next.entry(&path("unexpected.bin")).is_some();
        match self.inner.check(base, next, cx) {
            Err(_) if self.has(TakesLinks) && link => Ok(()),
            Err(_) if self.has(TakesStrays) && stray => Ok(()),
            Err(_) if self.has(TakesGarbage) && !link && !stray => Ok(()),
            Err(Error::Input { .. }) if self.has(BlamesAnother) => Err(Error::input(&path("x"), 1, "wrong")),
            answer => answer,
        }
    }

    fn export(&self, base: Option<&Recorded<'_>>, sink: &mut dyn Sink, cx: &Cx<'_>) -> Result<Exported> {
        let muted = Muted(cx.progress, self.fault);
        let never = glxc_handlers::Cancel::new();
        let cancel = if self.has(IgnoresCancel) { &never } else { cx.cancel };
        let cx = &Cx { progress: &muted, cancel, ..*cx };
        match self.fault {
            ClockInExport => {
                let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
                sink.put(&path("clock"), format!("{now:?}").as_bytes())?;
            }
            KeepsStaleFiles if base.is_some() => {
                sink.keep(&path("items"))?;
                return sink.keep(&path(".gitattributes")).map(|()| Exported::default());
            }
            ExportsAbsent if self.store.get().is_none() => return Ok(Exported::default()),
            ForgetsAnItem => {
                let mut live = self.store.get().ok_or_else(|| Error::Gone { what: "it".into() })?;
                live.remove("added");
                let partial = MemoryStore::new();
                partial.set(Some(live));
                return MemoryHandler::redo(partial).export(base, sink, cx);
            }
            IgnoresTheCarrier => {
                let mut memory = MemorySink::new(None);
                self.inner.export(base, &mut memory, cx)?;
                for (path, (_, bytes)) in memory.finish()?.files() {
                    let _ = sink.put(path, bytes);
                }
                return Ok(Exported::default());
            }
            _ => {}
        }
        self.inner.export(base, sink, cx)
    }

    fn stage<'a>(&'a self, change: &'a Change<'a>, cx: &'a Cx<'a>) -> Result<Box<dyn Staged + 'a>> {
        // what a double changes must live as long as the call's own arguments
        let muted = Box::leak(Box::new(Muted(cx.progress, self.fault)));
        let never = Box::leak(Box::new(glxc_handlers::Cancel::new()));
        let cancel = if self.has(IgnoresCancel) { never } else { cx.cancel };
        let cx = Box::leak(Box::new(Cx { progress: muted, cancel, ..*cx }));
        let contested = || self.store.get().unwrap_or_default().get("contested").cloned();
        let seen = contested();
        let replace = change.replace && !self.has(ReplaceCompares) || self.has(OverwritesContested);
        let change = Box::leak(Box::new(Change { replace, ..*change }));
        if self.has(StageWrites) {
            self.edit_live(|live| drop(live.insert("contested".into(), "staged".into())));
        }
        let inner = self.inner.stage(change, cx)?;
        Ok(Box::new(FaultyStaged { handler: self, inner: Some(inner), seen, before: None, early: None }))
    }

    fn recover(
        &self, change: &Change<'_>, record: Option<&Record>, decision: Decision, cx: &Cx<'_>,
    ) -> Result<Recovered> {
        match self.fault {
            RecoverKeepsScratch if decision == Decision::Abort => return Ok(Recovered::Aborted),
            RecoverCommitsWhatWasNot => {
                return self.inner.recover(change, record, Decision::Commit, cx);
            }
            RecoverForgetsTheDecision => return self.inner.recover(change, record, Decision::Abort, cx),
            RecoverOverwritesLateWrites => {
                let _ = self.inner.recover(change, record, decision, cx)?;
                let replacing = Change { replace: true, ..*change };
                return self.inner.recover(&replacing, record, decision, cx);
            }
            _ => {}
        }
        match self.inner.recover(change, record, decision, cx)? {
            Recovered::Committed(_) if self.has(RecoverIsSilent) => Ok(Recovered::Committed(Committed::default())),
            other => Ok(other),
        }
    }
}

struct FaultyStaged<'a> {
    handler: &'a Faulty,
    inner: Option<Box<dyn Staged + 'a>>,
    seen: Option<String>,
    before: Option<Items>,
    early: Option<Committed>,
}

impl Staged for FaultyStaged<'_> {
    fn lock(&mut self) -> Result<Record> {
        let Faulty { store, fault, .. } = self.handler;
        let other = || Error::Changed { first: vec!["other".into()], total: 1 };
        let edited = |name: &str| store.get().unwrap_or_default().get(name).is_some_and(|value| value == "edited");
        match fault {
            LockIgnoresCancel => return Ok(Record::default()),
            DeclinesOthers if edited("other") => return Err(other()),
            // what it saw when it staged decides, not what is live now
            ComparesOnlyAtStage if self.seen.as_deref() != Some("edited") => return Ok(Record::default()),
            LockWritesAndAbortStays => store.insert("contested", "locked"),
            LosesOthers if edited("other") => store.insert("other", "1"),
            _ => {}
        }
        if *fault == LockWritesAndAbortStays {
            return Ok(Record::default());
        }
        self.before = store.get();
        self.inner.as_mut().unwrap().lock()
    }

    fn prepare(&mut self) -> Result<()> {
        if self.handler.has(PrepareCommits)
            && let Some(inner) = self.inner.take()
        {
            self.early = Some(inner.commit()?);
            return Ok(());
        }
        self.inner.as_mut().unwrap().prepare()
    }

    fn commit(mut self: Box<Self>) -> Result<Committed> {
        if let Some(early) = self.early {
            return Ok(early);
        }
        let (handler, before) = (self.handler, self.before.take());
        let committed = self.inner.take().unwrap().commit()?;
        match handler.fault {
            ImportsNothing => handler.store.set(before),
            SkipsRemovals => {
                let removed = before.as_ref().and_then(|items| items.get_key_value("removed"));
                removed.into_iter().for_each(|(name, value)| handler.store.insert(name, value));
            }
            _ => {}
        }
        Ok(committed)
    }

    fn abort(mut self: Box<Self>) -> Result<()> {
        let Some(inner) = self.inner.take() else { return Ok(()) };
        match self.handler.fault {
            AbortKeepsScratch => std::mem::forget(inner),
            _ => inner.abort()?,
        }
        Ok(())
    }
}

#[test]
fn every_broken_promise_is_caught() {
    let mut caught = 0;
    for (fault, promise) in FAULTS {
        let make = move |store: MemoryStore| -> Box<dyn Handler> {
            let make = if promise == "prepared" { MemoryHandler::transactional } else { MemoryHandler::redo };
            Box::new(Faulty { inner: make(store.clone()), store, fault })
        };
        let report = run_all(&Under::new(make));
        assert!(report.failed.iter().any(|(name, _)| *name == promise), "{fault:?}: {report}");
        caught += 1;
    }
    assert_eq!(caught, FAULTS.len());
    let unmatched = PROMISES.iter().find(|(name, _)| !FAULTS.iter().any(|(_, promise)| promise == name));
    assert!(unmatched.is_none(), "no double breaks {:?}", unmatched.map(|(name, _)| name));
}
