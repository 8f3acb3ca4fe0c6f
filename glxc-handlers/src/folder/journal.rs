//! What is under way, so that whoever comes next can finish it or take it back.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;

use super::FolderError;
use crate::rows::{escape, unescape};
use crate::{Error, OpId, Record};

const FIRST: &str = "#glxc-folder 1";

/// How far an operation came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// States are staged and locked. It did not happen.
    Staged,
    /// The transaction of one state decides; its engine knows.
    Intent,
    /// It happened.
    Decided,
    /// Everything is new, but for our own record. A dump begins here.
    Finishing,
}

const PHASES: [(Phase, &str); 4] = [
    (Phase::Staged, "staged"),
    (Phase::Intent, "intent"),
    (Phase::Decided, "decided"),
    (Phase::Finishing, "finishing"),
];

/// A state that takes part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Part {
    pub(super) state: String,
    pub(super) replace: bool,
    /// Whether another state's transaction changes with it.
    pub(super) prepare: bool,
    pub(super) record: Option<Record>,
}

/// The whole journal. It is replaced at each step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Journal {
    pub(super) op: OpId,
    /// Whether live goes to the files.
    pub(super) dump: bool,
    pub(super) phase: Phase,
    pub(super) parts: Vec<Part>,
}

impl Journal {
    fn text(&self) -> String {
        let phase = PHASES.iter().find(|(phase, _)| *phase == self.phase).map_or("", |(_, word)| word);
        let way = if self.dump { "dump" } else { "load" };
        let mut text = format!("{FIRST}\n{way}\t{}\t{phase}\n", self.op);
        for part in &self.parts {
            let how = match (part.replace, part.prepare) {
                (false, false) => "change",
                (true, false) => "replace",
                (false, true) => "change prepared",
                (true, true) => "replace prepared",
            };
            text += &format!("{}\t{how}", escape(&part.state));
            text += &part.record.as_ref().map_or(String::new(), |record| format!("\t{}", escape(&record.0)));
            text.push('\n');
        }
        text
    }

    fn parse(text: &str) -> Option<Journal> {
        let mut lines = text.strip_prefix(FIRST)?.strip_prefix('\n')?.strip_suffix('\n')?.split('\n');
        let mut words = lines.next()?.split('\t');
        let dump = match words.next()? {
            "dump" => true,
            "load" => false,
            _ => return None,
        };
        let op = OpId::new(words.next()?).ok()?;
        let word = words.next()?;
        let phase = PHASES.iter().find(|(_, name)| *name == word)?.0;
        Some(Journal { op, dump, phase, parts: lines.map(part).collect::<Option<_>>()? })
    }

    pub(super) fn read(path: &Path) -> Result<Option<Journal>, FolderError> {
        match fs::read_to_string(path) {
            Ok(text) => Journal::parse(&text).map(Some).ok_or_else(|| FolderError::Journal { path: path.into() }),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(Error::io("read", path)(error).into()),
        }
    }

    pub(super) fn write(&self, path: &Path) -> Result<(), FolderError> {
        Ok(write_durably(path, self.text().as_bytes())?)
    }
}

fn part(line: &str) -> Option<Part> {
    let mut words = line.split('\t');
    let state = unescape(words.next()?)?;
    let (replace, prepare) = match words.next()? {
        "change" => (false, false),
        "replace" => (true, false),
        "change prepared" => (false, true),
        "replace prepared" => (true, true),
        _ => return None,
    };
    let record = words.next().map(|record| unescape(record).map(Record));
    Some(Part { state, replace, prepare, record: record.map_or(Some(None), |record| record.map(Some))? })
}

/// Writes a file so that after a crash it has its old content or the new one.
pub(super) fn write_durably(path: &Path, content: &[u8]) -> Result<(), Error> {
    let fresh = path.with_extension("new");
    let write = || {
        let mut file = File::create(&fresh)?;
        file.write_all(content)?;
        file.sync_all()?;
        fs::rename(&fresh, path)?;
        File::open(path.parent().unwrap_or(path))?.sync_all()
    };
    write().map_err(Error::io("write", path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let op = OpId::new("0123456789abcdef").unwrap();
        let part = |state: &str, replace, prepare, record: Option<&str>| Part {
            state: state.into(),
            replace,
            prepare,
            record: record.map(|record| Record(record.into())),
        };
        for (phase, _) in PHASES {
            for dump in [true, false] {
                let parts = vec![
                    part("shop", true, false, None),
                    part("a\tb\n", false, true, Some("x\t\n\\")),
                    part("c", false, false, Some("")),
                    part("d", true, true, None),
                ];
                let journal = Journal { op: op.clone(), dump, phase, parts };
                assert_eq!(Journal::parse(&journal.text()), Some(journal));
            }
        }
    }

    #[test]
    fn what_is_cut_or_newer_is_not_read() {
        let op = OpId::new("0123456789abcdef").unwrap();
        let text = Journal { op, dump: false, phase: Phase::Intent, parts: Vec::new() }.text();
        for cut in 0..text.len() {
            assert_eq!(Journal::parse(&text[..cut]), None, "{cut}");
        }
        assert_eq!(Journal::parse(&text.replace("folder 1", "folder 2")), None);
    }
}
