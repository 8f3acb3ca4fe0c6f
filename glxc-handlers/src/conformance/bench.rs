//! What the promises share: contexts, exports, imports.

use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use tempfile::TempDir;

use super::{Broken, Subject, Variant};
use crate::{
    Cancel, Change, Cx, Error, Exported, Handler, MemorySink, MemoryTree, Mode, OpId, Options, Progress, Recorded,
    Result as Answer, Tree, differences,
};

pub(super) type Result<T = ()> = std::result::Result<T, Broken>;

/// Fails with a text.
pub(super) fn broken<T>(what: impl Into<String>) -> Result<T> {
    Err(Broken(what.into()))
}

/// Fails unless it is so.
pub(super) fn must(so: bool, what: &str) -> Result {
    if so { Ok(()) } else { broken(what) }
}

/// An answer that must be no error.
pub(super) fn fine<T>(answer: Answer<T>, what: &str) -> Result<T> {
    answer.map_err(|error| Broken(format!("{what}: {}", causes(&error))))
}

/// An error with its causes.
fn causes(error: &Error) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        text += &format!(": {cause}");
        source = cause.source();
    }
    text
}

/// Counts what it is told, and may ask to stop then.
#[derive(Debug, Default)]
pub(super) struct Listener {
    pub(super) begun: AtomicU64,
    pub(super) ended: AtomicU64,
    pub(super) stop_at_begin: Mutex<Option<Cancel>>,
}

impl Progress for Listener {
    fn begin(&self, _: &str, _: Option<u64>) {
        self.begun.fetch_add(1, Ordering::SeqCst);
        if let Ok(Some(cancel)) = self.stop_at_begin.lock().as_deref() {
            cancel.cancel();
        }
    }
    fn advance(&self, _: u64) {}
    fn end(&self) {
        self.ended.fetch_add(1, Ordering::SeqCst);
    }
    fn note(&self, _: &str) {}
}

static OPERATIONS: AtomicU64 = AtomicU64::new(0);

/// The place of one operation.
pub(super) struct Bench<'s> {
    pub(super) subject: &'s dyn Subject,
    pub(super) cancel: Cancel,
    pub(super) listener: Listener,
    op: OpId,
    options: Options,
    folder: TempDir,
    scratch: PathBuf,
    op_dir: PathBuf,
}

impl<'s> Bench<'s> {
    pub(super) fn new(subject: &'s dyn Subject) -> Result<Self> {
        let io = |error: std::io::Error| Broken(format!("no temporary folder: {error}"));
        let folder = tempfile::tempdir().map_err(io)?;
        let [scratch, op_dir] = ["scratch", "op"].map(|name| folder.path().join(name));
        std::fs::create_dir(&scratch).and_then(|()| std::fs::create_dir(&op_dir)).map_err(io)?;
        // unique on this machine too, where a real server outlives the test
        let number = OPERATIONS.fetch_add(1, Ordering::SeqCst) << 32 | u64::from(std::process::id());
        let op = fine(OpId::new(format!("{number:016x}")), "an operation's id")?;
        let (cancel, listener, options) = (Cancel::new(), Listener::default(), subject.options());
        Ok(Bench { subject, cancel, listener, op, options, folder, scratch, op_dir })
    }

    pub(super) fn cx(&self) -> Cx<'_> {
        Cx {
            progress: &self.listener,
            cancel: &self.cancel,
            deadline: None,
            scratch: &self.scratch,
            op_dir: &self.op_dir,
        }
    }

    pub(super) fn export(&self, base: Option<&MemoryTree>) -> Result<MemoryTree> {
        let (tree, _) = fine(self.try_export(&*self.subject.handler(), base), "export")?;
        match tree.entries().iter().find(|entry| entry.mode != Mode::File) {
            Some(entry) => broken(format!("the export of {} is not a plain file", entry.path)),
            None => Ok(tree),
        }
    }

    pub(super) fn try_export(
        &self, handler: &dyn Handler, base: Option<&MemoryTree>,
    ) -> Answer<(MemoryTree, Exported)> {
        let mut sink = MemorySink::new(base.cloned());
        let recorded = base.map(|tree| Recorded { tree, options: &self.options });
        let exported = handler.export(recorded.as_ref(), &mut sink, &self.cx())?;
        Ok((sink.finish()?, exported))
    }

    /// Brings live to a variant and exports it.
    pub(super) fn export_of(&self, variant: Variant) -> Result<MemoryTree> {
        self.subject.set(variant);
        self.export(None)
    }

    /// The files of base and of next; base is live then.
    pub(super) fn base_and_next(&self) -> Result<(MemoryTree, MemoryTree)> {
        let next = self.export_of(Variant::Next)?;
        let base = self.export_of(Variant::Base)?;
        must(base != next, "base and next have the same files")?;
        Ok((base, next))
    }

    /// What live looks like after setting it so.
    pub(super) fn look_of(&self, variant: Variant) -> Vec<u8> {
        self.subject.set(variant);
        self.subject.live()
    }

    /// Calls with a change.
    pub(super) fn with_change<T>(
        &self, base: Option<&MemoryTree>, next: &MemoryTree, replace: bool, act: impl FnOnce(&Change<'_>) -> T,
    ) -> T {
        self.with_prepared(base, next, replace, false, act)
    }

    /// Calls with a change that is to be prepared, or not.
    pub(super) fn with_prepared<T>(
        &self, base: Option<&MemoryTree>, next: &MemoryTree, replace: bool, prepare: bool,
        act: impl FnOnce(&Change<'_>) -> T,
    ) -> T {
        let recorded = |tree| Recorded { tree, options: &self.options };
        let base: Option<&dyn Tree> = base.map(|tree| tree as &dyn Tree);
        let differs = differences(base, Some(next));
        let base = base.map(recorded);
        act(&Change { op: &self.op, base, next: recorded(next), differs: &differs, replace, prepare })
    }

    /// A whole import; what failed is aborted.
    pub(super) fn import(&self, base: Option<&MemoryTree>, next: &MemoryTree, replace: bool) -> Answer<()> {
        let (handler, cx) = (self.subject.handler(), self.cx());
        self.with_change(base, next, replace, |change| {
            handler.check(change.base.map(|base| base.tree), next, &cx)?;
            let mut staged = handler.stage(change, &cx)?;
            match staged.lock() {
                Ok(_) => staged.commit().map(drop),
                Err(error) => staged.abort().and(Err(error)),
            }
        })
    }

    /// Live is as it was and nothing was left.
    pub(super) fn untouched(&self, before: &[u8], when: &str) -> Result {
        must(self.subject.live() == before, &format!("live differs after {when}"))?;
        match self.subject.leftovers().first() {
            Some(left) => broken(format!("{left} is left after {when}")),
            None => self.scratch_is_empty(when),
        }
    }

    /// Scratch space is the caller's to remove, but outside of its two folders nothing may appear.
    fn scratch_is_empty(&self, when: &str) -> Result {
        let entries = std::fs::read_dir(self.folder.path()).map_err(|e| Broken(e.to_string()))?;
        must(entries.count() == 2, &format!("a file beside the scratch folder after {when}"))
    }
}
