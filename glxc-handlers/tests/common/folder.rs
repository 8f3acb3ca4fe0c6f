//! Trees in folders, for states that are larger than what a test may hold, and how much memory a child took.

use std::fs::{self, File};
use std::hash::Hasher;
use std::io::{BufWriter, Read, Write};
use std::path::{Path, PathBuf};
use std::process::Command;

use glxc_handlers::{ContentId, Entry, Mode, Result, Sink, StatePath, Tree};

/// The peak in KiB that a child told.
pub fn peak(text: &str) -> u64 {
    let peak = text.lines().find_map(|line| line.split_once("VmHWM:")?.1.trim().strip_suffix(" kB")?.parse().ok());
    peak.unwrap_or_else(|| panic!("no peak in {text}"))
}

/// A state's files in a folder.
#[derive(Debug)]
pub struct Folder {
    folder: PathBuf,
    entries: Vec<Entry>,
    open: Option<BufWriter<File>>,
}

/// The files in a folder.
pub fn files(folder: &Path) -> Vec<String> {
    let output = Command::new("find").arg(folder).args(["-type", "f", "-printf", "%P\n"]).output().unwrap();
    String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
}

impl Folder {
    /// For writing.
    pub fn create(folder: &Path) -> Self {
        Folder { folder: folder.to_owned(), entries: Vec::new(), open: None }
    }

    /// For reading.
    pub fn open(folder: &Path) -> Self {
        let id = |name: &str| {
            let (mut file, mut chunk) = (File::open(folder.join(name)).unwrap(), vec![0; 1 << 16]);
            let mut hash = std::hash::DefaultHasher::new();
            while let length @ 1.. = file.read(&mut chunk).unwrap() {
                hash.write(&chunk[..length]);
            }
            ContentId::new(hash.finish().to_be_bytes())
        };
        let entry = |name: &String| Entry { path: StatePath::new(name).unwrap(), mode: Mode::File, id: id(name) };
        let mut entries: Vec<Entry> = files(folder).iter().map(entry).collect();
        entries.sort_by(|a, b| a.path.cmp(&b.path));
        Folder { entries, ..Folder::create(folder) }
    }
}

impl Tree for Folder {
    fn entries(&self) -> &[Entry] {
        &self.entries
    }
    fn open(&self, path: &StatePath) -> Result<Box<dyn Read + '_>> {
        Ok(Box::new(File::open(self.folder.join(path.as_str().unwrap())).unwrap()))
    }
}

impl Sink for Folder {
    fn begin(&mut self, path: &StatePath, _: Mode) -> Result<()> {
        let file = self.folder.join(path.as_str().unwrap());
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        self.open = Some(BufWriter::new(File::create(file).unwrap()));
        Ok(())
    }
    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.open.as_mut().unwrap().write_all(bytes).unwrap();
        Ok(())
    }
    fn end(&mut self) -> Result<()> {
        self.open.take().unwrap().flush().unwrap();
        Ok(())
    }
    fn keep(&mut self, path: &StatePath) -> Result<()> {
        panic!("{path}: nothing is kept here");
    }
}
