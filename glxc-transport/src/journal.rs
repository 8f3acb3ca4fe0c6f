//! What an operation has done so far, durable before the next step.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::{Error, ObjectId, Result};

/// A ref that a push moves.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RefUpdate {
    pub(crate) name: String,
    pub(crate) old: ObjectId,
    pub(crate) new: ObjectId,
}

impl RefUpdate {
    /// Where the ref points to before the push, if it is there.
    pub(crate) fn base(&self) -> Option<&ObjectId> {
        (!self.old.is_zero()).then_some(&self.old)
    }
}

/// A state that takes part in a push.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Part {
    pub(crate) state: String,
    pub(crate) replace: bool,
    pub(crate) transactional: bool,
}

/// A line of the journal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "step", rename_all = "UPPERCASE", deny_unknown_fields)]
pub(crate) enum Step {
    /// A push begins: from here on something of `op` may be left.
    Begin { op: String, old: Option<ObjectId>, new: ObjectId, refs: Vec<RefUpdate> },
    /// The system's configuration is about to be applied.
    Sysconf,
    /// These states take part, and whether `ready.rc` is to run afterwards.
    Plan { parts: Vec<Part>, ready: bool },
    /// A state was prepared.
    Staged { state: String },
    /// All states are locked and checked; these are their records.
    Intent { records: BTreeMap<String, String> },
    /// It happens.
    Decided,
    /// A state was committed.
    Done { state: String },
    /// The refs were moved.
    Ref,
}

/// What the journal of an interrupted push says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Interrupted {
    pub(crate) op: String,
    pub(crate) old: Option<ObjectId>,
    pub(crate) new: ObjectId,
    pub(crate) refs: Vec<RefUpdate>,
    pub(crate) sysconf: bool,
    pub(crate) parts: Vec<Part>,
    pub(crate) ready: bool,
    pub(crate) records: Option<BTreeMap<String, String>>,
    pub(crate) decided: bool,
    pub(crate) done: Vec<String>,
    pub(crate) moved: bool,
}

/// The journal that is being written.
#[derive(Debug)]
pub(crate) struct Journal {
    path: PathBuf,
    file: File,
    /// A step that failed may stand in it all the same: neither could it be made durable nor taken out again.
    uncertain: bool,
}

impl Journal {
    /// Begins a journal, or goes on with one after its last complete line.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let file = OpenOptions::new().append(true).create(true).mode(0o600).open(path);
        let journal = Journal { path: path.to_owned(), file: file.map_err(Error::io("open", path))?, uncertain: false };
        let bytes = std::fs::read(path).map_err(Error::io("read", path))?;
        journal.file.set_len(complete(&bytes) as u64).map_err(Error::io("write", path))?;
        journal.sync_folder()?;
        Ok(journal)
    }

    /// Adds a step; it is durable when this returns. A step that could not be made durable did not happen, unless the
    /// journal is uncertain then.
    pub(crate) fn add(&mut self, step: &Step) -> Result<()> {
        Error::point("journal")?;
        let mut line = serde_json::to_vec(step).map_err(|source| self.damaged(0, source))?;
        line.push(b'\n');
        let length = self.file.metadata().map_err(Error::io("look at", &self.path))?.len();
        let write = self.file.write_all(&line).and_then(|()| self.file.sync_data());
        write.map_err(|error| {
            self.uncertain |= self.file.set_len(length).and_then(|()| self.file.sync_data()).is_err();
            Error::io("write", &self.path)(error)
        })?;
        // What is durable happened, whatever is wrong with this process.
        let _ = Error::point("journaled");
        Ok(())
    }

    /// Whether only the next one to read it knows what happened.
    pub(crate) fn is_uncertain(&self) -> bool {
        self.uncertain
    }

    /// Ends it: nothing is left to do.
    pub(crate) fn clear(self) -> Result<()> {
        std::fs::remove_file(&self.path).map_err(Error::io("remove", &self.path))?;
        self.sync_folder()
    }

    fn sync_folder(&self) -> Result<()> {
        let folder = self.path.parent().unwrap_or(Path::new("/"));
        File::open(folder).and_then(|folder| folder.sync_all()).map_err(Error::io("sync", folder))
    }

    fn damaged(&self, line: u64, source: serde_json::Error) -> Error {
        Error::Journal { path: self.path.clone(), line, source }
    }
}

/// How many bytes belong to complete lines: what follows the last newline was not written to its end, so its step was
/// not reported as durable.
fn complete(bytes: &[u8]) -> usize {
    bytes.iter().rposition(|b| *b == b'\n').map_or(0, |end| end + 1)
}

/// Reads the journal of an interrupted push. `None`: there is none, or nothing had begun.
pub(crate) fn read(path: &Path) -> Result<Option<Interrupted>> {
    let bytes = match std::fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(Error::io("read", path)(error)),
    };
    interrupted(steps(&bytes)).map_err(|(line, source)| Error::Journal { path: path.to_owned(), line, source })
}

/// A line of a journal, counted from 1, and what is wrong with it.
type Damage = (u64, serde_json::Error);

/// The steps of the complete lines, each with the number of its line.
fn steps(bytes: &[u8]) -> impl Iterator<Item = std::result::Result<(u64, Step), Damage>> {
    let lines = bytes[..complete(bytes)].split_inclusive(|b| *b == b'\n');
    lines.zip(1..).map(|(line, number)| match serde_json::from_slice(line) {
        Ok(step) => Ok((number, step)),
        Err(source) => Err((number, source)),
    })
}

/// What steps amount to.
fn interrupted(
    mut steps: impl Iterator<Item = std::result::Result<(u64, Step), Damage>>,
) -> std::result::Result<Option<Interrupted>, Damage> {
    let damaged = |line, message| Err((line, serde::de::Error::custom(message)));
    let Some(first) = steps.next() else { return Ok(None) };
    let (_, Step::Begin { op, old, new, refs }) = first? else {
        return damaged(1, "does not begin with BEGIN");
    };
    let mut read = Interrupted {
        op,
        old,
        new,
        refs,
        sysconf: false,
        parts: Vec::new(),
        ready: false,
        records: None,
        decided: false,
        done: Vec::new(),
        moved: false,
    };
    for step in steps {
        let (line, step) = step?;
        match step {
            Step::Begin { .. } => return damaged(line, "BEGIN twice"),
            Step::Sysconf => read.sysconf = true,
            Step::Plan { parts, ready } => (read.parts, read.ready) = (parts, ready),
            Step::Staged { .. } => {}
            Step::Intent { records } => read.records = Some(records),
            Step::Decided => read.decided = true,
            Step::Done { state } => read.done.push(state),
            Step::Ref => read.moved = true,
        }
    }
    Ok(Some(read))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn ids() -> impl Strategy<Value = ObjectId> {
        "[0-9a-f]{40}".prop_map(|hex| ObjectId::new(hex).unwrap())
    }

    fn begins() -> impl Strategy<Value = Step> {
        let update = (any::<String>(), ids(), ids()).prop_map(|(name, old, new)| RefUpdate { name, old, new });
        let refs = prop::collection::vec(update, 0..3);
        (any::<String>(), prop::option::of(ids()), ids(), refs).prop_map(|(op, old, new, refs)| Step::Begin {
            op,
            old,
            new,
            refs,
        })
    }

    fn later() -> impl Strategy<Value = Step> {
        let part = (any::<String>(), any::<bool>(), any::<bool>()).prop_map(|(state, replace, transactional)| Part {
            state,
            replace,
            transactional,
        });
        prop_oneof![
            Just(Step::Sysconf),
            Just(Step::Decided),
            Just(Step::Ref),
            any::<String>().prop_map(|state| Step::Staged { state }),
            any::<String>().prop_map(|state| Step::Done { state }),
            (prop::collection::vec(part, 0..3), any::<bool>()).prop_map(|(parts, ready)| Step::Plan { parts, ready }),
            prop::collection::btree_map(any::<String>(), any::<String>(), 0..3)
                .prop_map(|records| Step::Intent { records }),
        ]
    }

    /// A journal as it is written, and where each of its lines ends.
    fn written(folder: &Path, steps: &[Step]) -> (PathBuf, Vec<u8>, Vec<usize>) {
        let path = folder.join("journal");
        let _ = std::fs::remove_file(&path);
        let mut journal = Journal::open(&path).unwrap();
        let mut ends = Vec::new();
        for step in steps {
            journal.add(step).unwrap();
            ends.push(std::fs::metadata(&path).unwrap().len() as usize);
        }
        let bytes = std::fs::read(&path).unwrap();
        (path, bytes, ends)
    }

    fn read_back(bytes: &[u8]) -> Vec<Step> {
        steps(bytes).map(|step| step.unwrap().1).collect()
    }

    proptest! {
        #[test]
        fn what_was_written_is_read_whatever_was_cut(
            first in begins(), rest in prop::collection::vec(later(), 0..6), cut in any::<prop::sample::Index>(),
        ) {
            let all: Vec<Step> = [first].into_iter().chain(rest).collect();
            let folder = tempfile::tempdir().unwrap();
            let (path, bytes, ends) = written(folder.path(), &all);
            prop_assert_eq!(&read_back(&bytes), &all);
            for length in 0..=bytes.len() {
                let whole = ends.iter().filter(|end| **end <= length).count();
                prop_assert_eq!(read_back(&bytes[..length]), &all[..whole], "cut at {}", length);
                prop_assert_eq!(interrupted(steps(&bytes[..length])).unwrap().is_some(), whole > 0);
            }
            // And is gone on with behind the last whole line.
            let length = cut.index(bytes.len() + 1);
            std::fs::write(&path, &bytes[..length]).unwrap();
            Journal::open(&path).unwrap().add(&Step::Ref).unwrap();
            let whole = ends.iter().filter(|end| **end <= length).count();
            let wanted: Vec<Step> = all[..whole].iter().cloned().chain([Step::Ref]).collect();
            prop_assert_eq!(read_back(&std::fs::read(&path).unwrap()), wanted);
        }

        #[test]
        fn any_bytes_are_a_journal_or_an_error_that_names_a_line(
            first in begins(), rest in prop::collection::vec(later(), 0..4), at in any::<prop::sample::Index>(),
            gone in 0..3usize, new in prop::collection::vec(prop_oneof![any::<u8>(), Just(b'\n'), Just(b'"')], 0..3),
            noise in prop::collection::vec(any::<u8>(), 0..80), whole in any::<bool>(),
        ) {
            let folder = tempfile::tempdir().unwrap();
            let all: Vec<Step> = [first].into_iter().chain(rest).collect();
            let (path, mut bytes, _) = written(folder.path(), &all);
            match whole {
                true => bytes = noise,
                false => {
                    let at = at.index(bytes.len());
                    drop(bytes.splice(at..(at + gone).min(bytes.len()), new));
                }
            }
            std::fs::write(&path, &bytes).unwrap();
            let lines = bytes.iter().filter(|b| **b == b'\n').count() as u64;
            match read(&path) {
                Ok(Some(read)) => prop_assert!(lines > 0 && read.done.len() as u64 <= lines),
                Ok(None) => prop_assert_eq!(lines, 0),
                Err(Error::Journal { line, .. }) => prop_assert!((1..=lines).contains(&line), "{line} of {lines}"),
                Err(error) => prop_assert!(false, "{error}"),
            }
        }
    }

    fn begin() -> Step {
        let id = ObjectId::new("1".repeat(40)).unwrap();
        let refs = vec![RefUpdate { name: "refs/heads/main".into(), old: ObjectId::zero(), new: id.clone() }];
        Step::Begin { op: "0".repeat(16), old: None, new: id, refs }
    }

    #[test]
    fn what_was_added_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal");
        assert_eq!(read(&path).unwrap(), None);
        let mut journal = Journal::open(&path).unwrap();
        assert_eq!(read(&path).unwrap(), None);
        let records = BTreeMap::from([("shop".to_owned(), "record\n\u{1f600}".to_owned())]);
        let parts = vec![Part { state: "shop".into(), replace: false, transactional: true }];
        let plan = Step::Plan { parts: parts.clone(), ready: true };
        for step in [begin(), plan, Step::Intent { records: records.clone() }, Step::Done { state: "shop".into() }] {
            journal.add(&step).unwrap();
        }
        let interrupted = read(&path).unwrap().unwrap();
        assert_eq!((interrupted.records, interrupted.parts), (Some(records), parts));
        assert_eq!((interrupted.decided, interrupted.done.len()), (false, 1));
        journal.clear().unwrap();
        assert_eq!(read(&path).unwrap(), None);
    }

    #[test]
    fn a_torn_last_line_did_not_happen() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal");
        let mut journal = Journal::open(&path).unwrap();
        journal.add(&begin()).unwrap();
        journal.add(&Step::Decided).unwrap();
        let whole = std::fs::read(&path).unwrap();
        for length in 0..whole.len() {
            std::fs::write(&path, &whole[..length]).unwrap();
            let decided = read(&path).unwrap().is_some_and(|interrupted| interrupted.decided);
            assert!(!decided, "{length}");
        }
    }

    #[test]
    fn a_recovery_goes_on_after_a_torn_line() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal");
        Journal::open(&path).unwrap().add(&begin()).unwrap();
        let mut torn = OpenOptions::new().append(true).open(&path).unwrap();
        torn.write_all(b"{\"step\":\"DEC").unwrap();
        Journal::open(&path).unwrap().add(&Step::Ref).unwrap();
        let read = read(&path).unwrap().unwrap();
        assert!(read.moved && !read.decided);
    }

    #[test]
    fn a_step_that_may_stand_there_all_the_same_is_told() {
        let full = PathBuf::from("/dev/full");
        let file = OpenOptions::new().append(true).open(&full).unwrap();
        let mut journal = Journal { path: full, file, uncertain: false };
        // It takes no bytes, and can not be cut either.
        journal.add(&Step::Decided).unwrap_err();
        assert!(journal.is_uncertain());
    }

    #[test]
    fn damage_is_an_error_that_names_the_line() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal");
        Journal::open(&path).unwrap().add(&begin()).unwrap();
        let mut bytes = std::fs::read(&path).unwrap();
        bytes.extend_from_slice(b"{\"step\":\"DECIDER\"}\n");
        std::fs::write(&path, bytes).unwrap();
        assert!(read(&path).unwrap_err().to_string().ends_with("is damaged in line 2"));
        let (_, begin, _) = written(folder.path(), &[begin()]);
        for (bytes, line) in [([&begin[..], b"\n", &begin].concat(), 2), ([&begin[..], &begin].concat(), 2)] {
            std::fs::write(&path, bytes).unwrap();
            assert!(read(&path).unwrap_err().to_string().ends_with(&format!("is damaged in line {line}")));
        }
    }
}
