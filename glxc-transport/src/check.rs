//! The first step of a push: what can be said of a commit by itself.

use std::collections::BTreeSet;

use glxc_handlers::{Direction, Handler, Mode, Tree};

use crate::config::StateConfig;
use crate::repository::Operation;
use crate::{Config, ConfigError, Error, GitTree, ObjectId, Result, StateRepository};

impl StateRepository {
    /// Checks a pushed commit by itself: settings, trees, files, profiles. Touches nothing live. What it has in common with
    /// `old`, the commit that it is to follow and that was checked, is not read again.
    ///
    /// # Errors
    /// [`Error::Config`], [`Error::Tree`], [`Error::State`] with the place.
    pub fn check(&self, old: Option<&ObjectId>, new: &ObjectId) -> Result<()> {
        let config = self.config(new)?;
        self.check_claims(new, &config)?;
        let before = old.map(|old| self.config(old)).transpose()?;
        let operation = self.check_operation()?;
        for state in &config.states {
            // Under other settings what was right may not be.
            let known = before.as_ref().and_then(|config| config.state(state.name()));
            let known = known.filter(|known| known.handler == state.handler && known.settings == state.settings);
            let base = match (old, known) {
                (Some(old), Some(known)) => {
                    if self.folder_id(old, &known.path)? == self.folder_id(new, &state.path)? {
                        continue;
                    }
                    self.tree(old, &known.path)?
                }
                _ => None,
            };
            self.check_state(&operation, base.as_ref(), new, state)?;
        }
        if let (Some(setup), Some(tree)) = (&self.parts.setup, self.sysconf(new)?) {
            setup.check(&tree).map_err(Error::Setup)?;
        }
        Ok(())
    }

    /// What is live belongs to one state.
    fn check_claims(&self, new: &ObjectId, config: &Config) -> Result<()> {
        let mut others: Vec<(&StateConfig, Box<dyn Handler>)> = Vec::new();
        for state in &config.states {
            let handler = self.handler(new, state)?;
            let claim = handler.claim();
            let meets = others.iter().find(|(_, other)| handler.covers(&other.claim()) || other.covers(&claim));
            if let Some((other, there)) = meets {
                let message = format!(
                    "state `{}` is {}, and state `{}` is {}: what is live belongs to one state (a folder within another's is \
                     that one's too, unless it excludes it)",
                    other.name(),
                    there.place(),
                    state.name(),
                    handler.place()
                );
                let source = ConfigError { line: state.line, message };
                return Err(Error::Config { commit: new.short().into(), source });
            }
            others.push((state, handler));
        }
        Ok(())
    }

    /// Checks all of the states that replace what is live: nothing of them is compared, so nothing is taken as known.
    pub(crate) fn check_replaced(
        &self, operation: &Operation, new: &ObjectId, replace: &BTreeSet<String>,
    ) -> Result<()> {
        let config = self.config(new)?;
        let mut replaced = config.states.iter().filter(|state| replace.contains(state.name()));
        replaced.try_for_each(|state| self.check_state(operation, None, new, state))
    }

    fn check_state(
        &self, operation: &Operation, base: Option<&GitTree>, new: &ObjectId, state: &StateConfig,
    ) -> Result<()> {
        let handler = self.handler(new, state)?;
        let Some(tree) = self.tree(new, &state.path)? else { return Ok(()) };
        check_modes(state, &tree)?;
        self.step(&format!("checking {}", state.name()));
        let base = base.map(|base| base as &dyn Tree);
        let checked = handler.check(base, &tree, &operation.cx(self, None));
        checked.map_err(Error::files(state.name(), &state.path, "check its files"))
    }
}

/// Plain files only; what is pushed one way may be executable.
fn check_modes(state: &StateConfig, tree: &GitTree) -> Result<()> {
    for entry in tree.entries() {
        let allowed = match entry.mode {
            Mode::File => true,
            Mode::Executable => state.settings.direction == Direction::Push,
            Mode::Link => false,
        };
        if !allowed {
            let path = state.path.join(entry.path.as_bytes()).map_or_else(|e| e.to_string(), |path| path.to_string());
            let message = format!("only plain files can be part of state `{}`", state.name());
            return Err(Error::Tree { path, message });
        }
    }
    Ok(())
}
