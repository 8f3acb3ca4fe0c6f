//! What a call to a handler carries besides its subject.

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::{Error, Result};

/// The context of one call: progress, cancellation, a deadline and places for bulk data.
#[derive(Clone, Copy)]
pub struct Cx<'a> {
    /// Who is told of the progress.
    pub progress: &'a dyn Progress,
    /// Asked between steps; see [`Cx::check`].
    pub cancel: &'a Cancel,
    /// When to give up waiting.
    pub deadline: Option<Instant>,
    /// An existing folder for temporary files, removed by the caller after the call, whatever happens.
    pub scratch: &'a Path,
    /// An existing folder of this state that lives as long as the operation, and survives a crash: bulk that
    /// [`crate::Handler::recover`] needs goes here, made durable before `lock` returns.
    pub op_dir: &'a Path,
}

impl Cx<'_> {
    /// Fails where the caller asked to stop or the deadline has passed. Long loops call it.
    ///
    /// # Errors
    /// [`Error::Cancelled`], [`Error::Timeout`].
    pub fn check(&self) -> Result<()> {
        if self.cancel.is_cancelled() {
            return Err(Error::Cancelled);
        }
        match self.deadline {
            Some(deadline) if Instant::now() >= deadline => {
                Err(Error::Timeout { what: "the operation".into(), after: Duration::ZERO })
            }
            _ => Ok(()),
        }
    }
}

impl fmt::Debug for Cx<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cx").field("deadline", &self.deadline).field("scratch", &self.scratch).finish()
    }
}

/// A flag that asks to stop. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Cancel(Arc<AtomicBool>);

impl Cancel {
    /// A flag that is not set.
    pub fn new() -> Self {
        Cancel::default()
    }

    /// Asks to stop.
    pub fn cancel(&self) {
        self.0.store(true, Ordering::SeqCst);
    }

    /// Whether somebody asked to stop.
    pub fn is_cancelled(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }

    /// The flag itself, for a signal handler to set.
    pub fn flag(&self) -> Arc<AtomicBool> {
        self.0.clone()
    }
}

/// Is told how far a call has come. Text may hold anything that the engine holds; whoever shows it to a
/// person escapes it (see [`crate::text::escaped`]).
///
/// Where a call succeeds, each `begin` has had its `end`. Calls come from the thread that works, and it waits for them: whoever draws or
/// sends should do so elsewhere, or seldom. `advance` may come for each row.
pub trait Progress: Send + Sync {
    /// What is done from here on, as `exporting shop`, which tasks are parts of; it lasts until the next one.
    fn step(&self, _text: &str) {}
    /// A task begins; `total` counts its units (rows, bytes, files) where they are known.
    fn begin(&self, task: &str, total: Option<u64>);
    /// So many units are done since `begin`.
    fn advance(&self, done: u64);
    /// The task ended.
    fn end(&self);
    /// A line for the user that is no error.
    fn note(&self, text: &str);
}

/// Tells nobody.
#[derive(Clone, Copy, Debug, Default)]
pub struct Silent;

impl Progress for Silent {
    fn begin(&self, _: &str, _: Option<u64>) {}
    fn advance(&self, _: u64) {}
    fn end(&self) {}
    fn note(&self, _: &str) {}
}
