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
    let damaged = |line: usize, source| Error::Journal { path: path.to_owned(), line: line as u64 + 1, source };
    let mut steps = Vec::new();
    for (number, line) in
        bytes[..complete(&bytes)].split(|b| *b == b'\n').enumerate().filter(|(_, line)| !line.is_empty())
    {
        steps.push(serde_json::from_slice::<Step>(line).map_err(|source| damaged(number, source))?);
    }
    let mut steps = steps.into_iter();
    let Some(first) = steps.next() else { return Ok(None) };
    let Step::Begin { op, old, new, refs } = first else {
        return Err(damaged(0, serde::de::Error::custom("does not begin with BEGIN")));
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
    for (number, step) in steps.enumerate() {
        match step {
            Step::Begin { .. } => return Err(damaged(number + 1, serde::de::Error::custom("BEGIN twice"))),
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

    proptest::proptest! {
        #[test]
        fn any_bytes_are_a_journal_or_an_error(
            cut in 0..400usize, at in 0..400usize, byte in proptest::prelude::any::<u8>(),
        ) {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("journal");
            let mut journal = Journal::open(&path).unwrap();
            for step in [begin(), Step::Sysconf, Step::Decided] {
                journal.add(&step).unwrap();
            }
            let mut bytes = std::fs::read(&path).unwrap();
            bytes.truncate(cut.max(1));
            let at = at % bytes.len();
            bytes[at] = byte;
            std::fs::write(&path, &bytes).unwrap();
            if let Err(error) = read(&path) {
                assert!(error.to_string().contains("is damaged in line"));
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
    }
}
