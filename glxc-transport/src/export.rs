//! A pull's first half: what changed live becomes a commit on the bound branch.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::time::Instant;

use glxc_handlers::{Change, Cx, Exported, Fingerprint, Handler, Live, Recorded, StatePath, Tree, Ways, differences};
use serde::{Deserialize, Serialize};

use crate::config::{Config, StateConfig};
use crate::import::{Import, Written};
use crate::push::shortened;
use crate::repository::{Operation, sysconf_path, write_durably};
use crate::{Error, GitTree, ObjectId, Result, StateRepository};

/// What is remembered of a state's last export or load.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Remembered {
    /// Where its files stand, to remove them when the state is no longer managed.
    path: String,
    /// "Nothing changed since": valid for this tree and these settings only.
    unchanged: Option<Unchanged>,
}

#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Unchanged {
    fingerprint: String,
    tree: ObjectId,
    settings: String,
}

/// An export before it is agreed on.
pub(crate) struct Candidate {
    /// The commit on top of the main it was made for; the same where nothing changed.
    pub(crate) commit: ObjectId,
    remember: BTreeMap<String, Remembered>,
}

/// A state that an export visits.
struct Visited<'a> {
    config: &'a StateConfig,
    handler: Box<dyn Handler>,
    base: Option<GitTree>,
}

impl StateRepository {
    /// Commits what changed live since the last agreed commit, and returns the commit that is agreed now.
    ///
    /// # Errors
    /// [`Error::Unborn`] where nothing was pushed yet; [`Error::State`] where a state can not be exported: then nothing
    /// was committed.
    pub fn export(&self) -> Result<ObjectId> {
        let _lock = self.begin("a pull")?;
        let Some(main) = self.main()? else {
            return Err(Error::Unborn { branch: self.branch()?.unwrap_or_default() });
        };
        let operation = self.new_operation()?;
        let outcome = self.candidate(&operation, &main).and_then(|candidate| self.agree(&main, candidate));
        let swept = self.sweep();
        outcome.and_then(|commit| swept.map(|()| commit))
    }

    fn agree(&self, main: &ObjectId, candidate: Candidate) -> Result<ObjectId> {
        if candidate.commit != *main {
            let update = format!("update {} {} {main}\n", self.main_ref()?, candidate.commit);
            Error::point("export commit")?;
            self.update_refs(update.as_bytes())?;
        }
        Error::point("export agreed")?;
        self.remember(candidate.remember)?;
        Error::point("remembered")?;
        Ok(candidate.commit)
    }

    /// Exports everything into a commit on top of `main`, without moving a branch.
    pub(crate) fn candidate(&self, operation: &Operation, main: &ObjectId) -> Result<Candidate> {
        let config = self.config(main)?;
        let cx = operation.cx(self, None);
        let mut states = self.visited(main, &config)?;
        states.sort_by_key(|state| !state.handler.caps().database);
        let mut import = Import::new(&self.git, operation.scratch());
        let mut written: Vec<(StatePath, Written)> = Vec::new();
        let mut notes: Vec<String> = Vec::new();
        let mut fingerprints = BTreeMap::new();
        for state in &states {
            let ready = operation.cx(self, Some(Instant::now() + self.parts.waits.ready));
            let name = state.config.name();
            self.step(&format!("exporting {name}"));
            state.handler.ready(&ready).map_err(Error::state(name, "wait for it"))?;
            Error::point("export")?;
            let Some((files, exported)) = self.export_state(state, &mut import, &cx)? else { continue };
            Error::point("exported")?;
            notes.extend(exported.notes.iter().map(|note| format!("{name}: {note}")));
            fingerprints.insert(name.to_owned(), exported.fingerprint);
            written.extend(files.map(|files| (state.config.path.clone(), files)));
        }
        if let (Some(setup), Some(base)) = (&self.parts.setup, &self.sysconf(main)?) {
            let mut sink = import.sink(Some(base));
            notes.extend(setup.export(&mut sink, &cx).map_err(Error::Setup)?);
            written.push((sysconf_path()?, sink.finish()?));
        }
        for path in self.abandoned(&config)? {
            written.push((path, Written::nothing()));
        }
        written.retain(|(_, written)| !written.unchanged);
        let commit = match written.is_empty() {
            true => main.clone(),
            false => {
                let reference = operation.reference("export");
                let provisional = import.commit(&reference, main, "export", &self.author(), &written)?;
                self.described(main, &provisional, &config, &states, &notes, &cx)?
            }
        };
        let remember = self.to_remember(&commit, &config, fingerprints)?;
        Ok(Candidate { commit, remember })
    }

    fn visited<'a>(&self, main: &ObjectId, config: &'a Config) -> Result<Vec<Visited<'a>>> {
        let visit = |config: &'a StateConfig| {
            let handler = self.handler(main, config)?;
            Ok(Visited { config, handler, base: self.tree(main, &config.path)? })
        };
        config.states.iter().map(visit).collect()
    }

    /// Exports one state. `None`: newly managed and not there yet. No files: nothing changed since the last export.
    fn export_state(
        &self, state: &Visited<'_>, import: &mut Import, cx: &Cx<'_>,
    ) -> Result<Option<(Option<Written>, Exported)>> {
        let name = state.config.name();
        let export = |error| Error::state(name, "export")(error);
        let Some(base) = &state.base else {
            if state.handler.live(cx).map_err(export)? == Live::Absent {
                self.note(&format!("{name}: not there yet, nothing to export"));
                return Ok(None);
            }
            let mut sink = import.sink(None);
            let exported = state.handler.export(None, &mut sink, cx).map_err(export)?;
            return Ok(Some((Some(sink.finish()?), exported)));
        };
        let fingerprint = state.handler.fingerprint(cx).map_err(export)?;
        if self.is_unchanged(state.config, base, fingerprint.as_ref())? {
            return Ok(Some((None, Exported { fingerprint, notes: Vec::new() })));
        }
        let ways = state.handler.caps().ways;
        if ways == Ways::Imported {
            self.tell_ways(name, ways);
        }
        let recorded = Recorded { tree: base, options: &state.config.settings.options };
        let mut sink = import.sink(Some(base));
        let exported = state.handler.export(Some(&recorded), &mut sink, cx).map_err(export)?;
        Ok(Some((Some(sink.finish()?), exported)))
    }

    fn author(&self) -> String {
        format!("{0} <glxc@{0}>", self.parts.container)
    }

    /// The commit with its message; `main` itself where no file differs.
    fn described(
        &self, main: &ObjectId, provisional: &ObjectId, config: &Config, states: &[Visited<'_>], notes: &[String],
        cx: &Cx<'_>,
    ) -> Result<ObjectId> {
        let tree = |commit: &ObjectId| self.git.resolve(&format!("{commit}^{{tree}}"));
        let (old, new) = (tree(main)?, tree(provisional)?);
        let Some(new) = new.filter(|new| old.as_ref() != Some(new)) else { return Ok(main.clone()) };
        let mut changes: Vec<(String, Vec<String>)> = Vec::new();
        for state in states {
            changes.extend(self.describe_state(state, provisional, cx)?);
        }
        if self.sysconf(main)?.map(|tree| tree.id().clone()) != self.sysconf(provisional)?.map(|t| t.id().clone()) {
            let differs = differences(
                self.sysconf(main)?.as_ref().map(|t| t as &dyn Tree),
                self.sysconf(provisional)?.as_ref().map(|t| t as &dyn Tree),
            );
            let description = glxc_handlers::describe_files(&differs);
            changes.push((format!("sysconf: {}", description.summary), shortened(description.details)));
        }
        for path in self.abandoned(config)? {
            if self.folder_id(main, &path)?.is_none() {
                continue;
            }
            changes.push((format!("{path}: no longer managed"), Vec::new()));
        }
        let message = message(&self.parts.container, &changes, notes);
        let author = [("GIT_AUTHOR_NAME", "GIT_AUTHOR_EMAIL"), ("GIT_COMMITTER_NAME", "GIT_COMMITTER_EMAIL")];
        let email = format!("glxc@{}", self.parts.container);
        let environment = author.iter().flat_map(|(name, mail)| {
            [((*name).into(), self.parts.container.clone().into()), ((*mail).into(), email.clone().into())]
        });
        let git = self.git.clone().with_environment(environment);
        let id = git.feed(&["commit-tree", new.as_str(), "-p", main.as_str()], message.as_bytes())?;
        ObjectId::new(id.trim_ascii())
    }

    fn describe_state(
        &self, state: &Visited<'_>, commit: &ObjectId, cx: &Cx<'_>,
    ) -> Result<Option<(String, Vec<String>)>> {
        let name = state.config.name();
        let base = state.base.as_ref();
        let Some(next) = self.tree_beside(commit, &state.config.path, base)? else { return Ok(None) };
        if base.is_some_and(|base| base.id() == next.id()) {
            return Ok(None);
        }
        let differs = differences(base.map(|tree| tree as &dyn Tree), Some(&next));
        let options = &state.config.settings.options;
        let op = glxc_handlers::OpId::new("0".repeat(16)).map_err(Error::state(name, "describe"))?;
        let change = Change {
            op: &op,
            base: base.map(|tree| Recorded { tree, options }),
            next: Recorded { tree: &next, options },
            differs: &differs,
            replace: base.is_none(),
            prepare: false,
        };
        let description = state.handler.describe(&change, cx).map_err(Error::state(name, "describe"))?;
        let summary = if description.summary.is_empty() { "files rewritten" } else { &description.summary };
        Ok(Some((format!("{name}: {summary}"), shortened(description.details))))
    }

    fn remembered_path(&self, state: &str) -> PathBuf {
        self.parts.folder.join("recorded").join(format!("{state}.json"))
    }

    fn remembered(&self, state: &str) -> Result<Option<Remembered>> {
        let path = self.remembered_path(state);
        match fs::read(&path) {
            // What can not be read says nothing, and the next export writes it anew.
            Ok(bytes) => Ok(serde_json::from_slice(&bytes).ok()),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(Error::io("read", path)(error)),
        }
    }

    fn is_unchanged(&self, state: &StateConfig, base: &GitTree, fingerprint: Option<&Fingerprint>) -> Result<bool> {
        let Some(Fingerprint(fingerprint)) = fingerprint.cloned() else { return Ok(false) };
        let now = Unchanged { fingerprint, tree: base.id().clone(), settings: settings_text(state) };
        Ok(self.remembered(state.name())?.is_some_and(|remembered| remembered.unchanged == Some(now)))
    }

    /// A fingerprint is kept for the tree of the export that it was taken for, and no other.
    fn to_remember(
        &self, commit: &ObjectId, config: &Config, mut fingerprints: BTreeMap<String, Option<Fingerprint>>,
    ) -> Result<BTreeMap<String, Remembered>> {
        let mut all = BTreeMap::new();
        for state in &config.states {
            let Some(tree) = self.folder_id(commit, &state.path)? else { continue };
            let unchanged = fingerprints.remove(state.name()).flatten().map(|Fingerprint(fingerprint)| Unchanged {
                fingerprint,
                tree,
                settings: settings_text(state),
            });
            all.insert(state.name().to_owned(), Remembered { path: state.path.to_string(), unchanged });
        }
        Ok(all)
    }

    fn remember(&self, all: BTreeMap<String, Remembered>) -> Result<()> {
        self.forget(|state| !all.contains_key(state))?;
        for (state, remembered) in all {
            let path = self.remembered_path(&state);
            let bytes = serde_json::to_vec(&remembered).map_err(|e| Error::Protocol(e.to_string()))?;
            write_durably(&path, &bytes)?;
        }
        Ok(())
    }

    fn forget(&self, which: impl Fn(&str) -> bool) -> Result<()> {
        for state in self.remembered_states()? {
            if which(&state) {
                let path = self.remembered_path(&state);
                fs::remove_file(&path).map_err(Error::io("remove", &path))?;
            }
        }
        Ok(())
    }

    fn remembered_states(&self) -> Result<Vec<String>> {
        let folder = self.parts.folder.join("recorded");
        let mut states = Vec::new();
        for entry in fs::read_dir(&folder).map_err(Error::io("list", &folder))? {
            let name = entry.map_err(Error::io("list", &folder))?.file_name();
            states.extend(name.to_string_lossy().strip_suffix(".json").map(str::to_owned));
        }
        Ok(states)
    }

    /// After a push live is `main` plus changes not yet recorded, so no fingerprint holds any more.
    pub(crate) fn forget_fingerprints(&self, commit: &ObjectId) -> Result<()> {
        let mut all = BTreeMap::new();
        for state in self.remembered_states()? {
            if let Some(remembered) = self.remembered(&state)? {
                all.insert(state, Remembered { unchanged: None, ..remembered });
            }
        }
        all.extend(self.to_remember(commit, &self.config(commit)?, BTreeMap::new())?);
        self.remember(all)
    }

    /// Folders of states that were managed and are not any more.
    fn abandoned(&self, config: &Config) -> Result<Vec<StatePath>> {
        let mut paths = Vec::new();
        for state in self.remembered_states()? {
            let Some(remembered) = self.remembered(&state)? else { continue };
            let Ok(path) = StatePath::new(remembered.path) else { continue };
            let used = |other: &StateConfig| other.path.is_within(&path) || path.is_within(&other.path);
            if !config.states.iter().any(used) {
                paths.push(path);
            }
        }
        Ok(paths)
    }
}

/// Settings as a text that is equal where they are.
fn settings_text(state: &StateConfig) -> String {
    let options: Vec<_> = state.settings.options.iter().map(|(key, value, _)| (key, value)).collect();
    format!("{} {} {:?} {options:?}", env!("CARGO_PKG_VERSION"), state.handler, state.settings.direction)
}

/// `demo: shop: 1 row changed in public.orders`, with the details beneath.
fn message(container: &str, changes: &[(String, Vec<String>)], notes: &[String]) -> String {
    let subject = match changes {
        [(summary, _)] => format!("{container}: {summary}"),
        [] => format!("{container}: live changes"),
        several => {
            let names: Vec<_> = several.iter().filter_map(|(summary, _)| summary.split(':').next()).collect();
            format!("{container}: live changes in {}", names.join(", "))
        }
    };
    let mut text = glxc_handlers::text::escaped(&subject);
    for (summary, details) in changes.iter().filter(|(_, details)| changes.len() > 1 || !details.is_empty()) {
        text.push_str(&format!("\n\n{}", glxc_handlers::text::escaped(summary)));
        for detail in details {
            text.push_str(&format!("\n  {}", glxc_handlers::text::escaped(detail)));
        }
    }
    for (number, note) in notes.iter().enumerate() {
        text.push_str(if number == 0 { "\n\n" } else { "\n" });
        text.push_str(&format!("Note: {}", glxc_handlers::text::escaped(note)));
    }
    text.push('\n');
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_change_is_the_subject() {
        let changes = [("shop: 1 row changed in public.orders".to_owned(), vec![])];
        assert_eq!(message("demo", &changes, &[]), "demo: shop: 1 row changed in public.orders\n");
    }

    #[test]
    fn a_message_is_no_list_of_everything() {
        let lines = |count: usize| (1..=count).map(|number| number.to_string()).collect::<Vec<_>>();
        assert_eq!(shortened(lines(20)), lines(20));
        assert_eq!(shortened(lines(21)), [lines(19), vec!["and 2 more".to_owned()]].concat());
    }

    #[test]
    fn several_changes_are_listed() {
        let changes = [("a: 1 row added".to_owned(), vec!["x".to_owned()]), ("b: 2 files added".to_owned(), vec![])];
        let text = message("demo", &changes, &["a: esc \u{1b}".to_owned()]);
        let expected =
            "demo: live changes in a, b\n\na: 1 row added\n  x\n\nb: 2 files added\n\nNote: a: esc \\u{1b}\n";
        assert_eq!(text, expected);
    }
}
