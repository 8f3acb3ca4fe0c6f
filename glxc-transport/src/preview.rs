//! What a push would do: `git push -o plan`.
//!
//! It is found out by the steps of a push itself, up to the decision, which are then taken back as those of a declined push
//! are. What a push does before the decision and others would notice is left out: the system's configuration is compared
//! and not applied; a state that is replaced as a whole is loaded and not locked, since that ends the sessions of its
//! application; and a state that is imported inside `lock` is only described.

use std::collections::BTreeSet;
use std::time::Duration;

use glxc_handlers::{Change, Commit};

use crate::journal::{Journal, RefUpdate, Step};
use crate::push::{Part, causes, needs_ready, planned};
use crate::repository::Operation;
use crate::{Error, ObjectId, Result, StateRepository};

/// How long an engine is waited for that may only come with the pushed configuration.
const PATIENCE: Duration = Duration::from_secs(5);

impl StateRepository {
    /// Tells what a push would do. Called under the lock; afterwards everything is as it was.
    ///
    /// # Errors
    /// What the push would be declined for, first of all.
    pub(crate) fn preview(
        &self, old: Option<&ObjectId>, new: &ObjectId, refs: &[RefUpdate], replace: &BTreeSet<String>,
    ) -> Result<()> {
        let (operation, mut journal) = self.begin_push(old, new, refs)?;
        let outcome = self.preview_steps(&operation, &mut journal, old, new, refs, replace);
        drop(journal);
        self.take_back();
        outcome
    }

    fn preview_steps(
        &self, operation: &Operation, journal: &mut Journal, old: Option<&ObjectId>, new: &ObjectId,
        refs: &[RefUpdate], replace: &BTreeSet<String>,
    ) -> Result<()> {
        self.check_refs_movable(refs)?;
        if let Some(old) = old {
            self.check_policy(operation, old, new)?;
        }
        self.check_replaced(operation, new, replace)?;
        let sysconf = self.sysconf_change(operation, old, new)?.is_some();
        if sysconf {
            self.note("sysconf: changed files would be installed, and set-up would run");
        }
        let patience = if sysconf { PATIENCE } else { self.parts.waits.ready };
        let parts = match self.plan(operation, old, new, replace, patience) {
            Err(error @ Error::State { .. }) if sysconf => {
                self.note(&format!("the states can not be planned before sysconf is applied: {}", causes(&error)));
                return Ok(());
            }
            parts => parts?,
        };
        let ready = needs_ready(old, sysconf, &parts);
        journal.add(&planned(&parts, ready))?;
        if parts.is_empty() {
            self.note("no state would change");
        }
        let mut first = Ok(());
        for part in &parts {
            if let Err(error) = self.preview_part(operation, journal, part) {
                self.note(&format!("would be declined: {}", causes(&error)));
                first = first.and(Err(error));
            }
        }
        if ready && self.parts.setup.is_some() {
            self.note("ready.rc would run");
        }
        first
    }

    fn preview_part(&self, operation: &Operation, journal: &mut Journal, part: &Part) -> Result<()> {
        let change = part.change(&operation.id);
        self.tell(operation, part, &change)?;
        if part.handler.caps().commit == Commit::Compensated {
            return Ok(());
        }
        self.step(&format!("preparing {}", part.name));
        let cx = operation.cx(self, None);
        let mut staged =
            part.handler.stage(&change, &cx).map_err(Error::files(&part.name, &part.path, "prepare the import"))?;
        journal.add(&Step::Staged { state: part.name.clone() })?;
        if !part.replace {
            staged.lock().map_err(Error::files(&part.name, &part.path, "import"))?;
        }
        staged.notes().iter().for_each(|note| self.note(&format!("{}: {note}", part.name)));
        staged.abort().map_err(Error::state(&part.name, "take back"))
    }

    /// A part in words: each table or file by itself, where there are several.
    fn tell(&self, operation: &Operation, part: &Part, change: &Change<'_>) -> Result<()> {
        let description = self.describe(part, change, None, operation)?;
        self.note(&format!("{}: {}", part.name, description.summary));
        self.tell_ways(&part.name, part.handler.caps().ways);
        if part.keep {
            self.note(&format!("{}: what is live now would be kept in a branch", part.name));
        }
        if description.details.len() > 1 {
            description.details.iter().for_each(|line| self.note(&format!("{}:   {line}", part.name)));
        }
        Ok(())
    }
}
