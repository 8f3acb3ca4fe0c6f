//! What the sync cycle needs of the system's configuration, so that it need not know how that is done.

use std::fmt;

use glxc_handlers::{Cause, Cx, Sink, Tree};

/// The folder of the repository that holds the system's configuration.
pub const SYSCONF: &str = "sysconf";

/// Applies the `sysconf/` folder of a repository to a system, and reads it back.
///
/// It can not be staged like data: the database server may not exist before the set-up scripts ran. So a push applies it
/// first, and where a later step fails, [`Setup::undo`] puts back what can be put back.
pub trait Setup: Send + Sync + fmt::Debug {
    /// Checks a pushed tree by itself.
    ///
    /// # Errors
    /// An error that names the file or the chain of profiles.
    fn check(&self, next: &dyn Tree) -> Result<(), Cause>;

    /// Whether live differs from what `base` to `next` would make of it, so that there is something to apply.
    ///
    /// # Errors
    /// Where both sides changed the same file: `changed meanwhile: ...`.
    fn plan(&self, base: Option<&dyn Tree>, next: &dyn Tree, cx: &Cx<'_>) -> Result<bool, Cause>;

    /// Installs the files and runs the set-up scripts. What it needs to undo this later is durable under
    /// [`Cx::op_dir`] before anything is touched.
    ///
    /// # Errors
    /// Where a file can not be installed or a script fails. The caller calls `undo` then.
    fn apply(&self, base: Option<&dyn Tree>, next: &dyn Tree, cx: &Cx<'_>) -> Result<(), Cause>;

    /// Puts files and links back as they were before the `apply` whose [`Cx::op_dir`] this is, and runs set-up again
    /// where `scripts` says so (else the next apply runs it). Idempotent; nothing where nothing was applied. Returns
    /// what could not be undone, for the user.
    ///
    /// # Errors
    /// Where a file can not be put back.
    fn undo(&self, scripts: bool, cx: &Cx<'_>) -> Result<Vec<String>, Cause>;

    /// Runs what must start after the data is in place.
    ///
    /// # Errors
    /// Where a script fails; it is reported, not a decline.
    fn ready(&self, cx: &Cx<'_>) -> Result<(), Cause>;

    /// Writes the live configuration as files. Returns lines for the commit message.
    ///
    /// # Errors
    /// Where a file can not be read or is of a kind that can not be kept.
    fn export(&self, sink: &mut dyn Sink, cx: &Cx<'_>) -> Result<Vec<String>, Cause>;
}
