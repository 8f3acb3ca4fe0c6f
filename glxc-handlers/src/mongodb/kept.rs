//! The files of what is replaced, in a folder of the operation: live is compared with them, and a recovery finds them there.

use std::fs::{self, File};
use std::hash::Hasher;
use std::io::{BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use siphasher::sip128::{Hasher128, SipHasher24};

use crate::{ContentId, Entry, Error, Mode, Result, Sink, StatePath, Tree};

/// Its name in the folder of the operation.
const NAME: &str = "mongodb-replaced";
/// What says that all of it is there.
const WHOLE: &str = "mongodb-replaced-whole";

/// Writes the files. They are durable once it is finished.
#[derive(Debug)]
pub(super) struct Keeper {
    folder: PathBuf,
    whole: PathBuf,
    open: Option<BufWriter<File>>,
}

impl Keeper {
    pub fn new(op_dir: &Path) -> Result<Self> {
        let keeper = Keeper { folder: op_dir.join(NAME), whole: op_dir.join(WHOLE), open: None };
        if keeper.folder.exists() {
            fs::remove_dir_all(&keeper.folder).map_err(Error::io("remove", &keeper.folder))?;
        }
        fs::create_dir(&keeper.folder).map_err(Error::io("create", &keeper.folder))?;
        Ok(keeper)
    }

    /// Everything is there.
    pub fn finish(self) -> Result<()> {
        let file = File::create(&self.whole).map_err(Error::io("create", &self.whole))?;
        rustix::fs::syncfs(&file).map_err(|errno| Error::io("save", &self.whole)(errno.into()))
    }
}

impl Sink for Keeper {
    fn begin(&mut self, path: &StatePath, _: Mode) -> Result<()> {
        let file = place(&self.folder, path)?;
        let folder = file.parent().unwrap_or(&self.folder);
        fs::create_dir_all(folder).map_err(Error::io("create", folder))?;
        self.open = Some(BufWriter::new(File::create(&file).map_err(Error::io("create", &file))?));
        Ok(())
    }

    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.open.as_mut().map_or(Ok(()), |file| file.write_all(bytes)).map_err(Error::io("write", &self.folder))
    }

    fn end(&mut self) -> Result<()> {
        self.open.take().map_or(Ok(()), |mut file| file.flush()).map_err(Error::io("write", &self.folder))
    }

    fn keep(&mut self, _: &StatePath) -> Result<()> {
        Ok(())
    }
}

/// Reads them again.
#[derive(Debug)]
pub(super) struct Kept {
    folder: PathBuf,
    entries: Vec<Entry>,
}

impl Kept {
    /// `None` where there is nothing, or not all of it.
    pub fn open(op_dir: &Path) -> Result<Option<Self>> {
        if !op_dir.join(WHOLE).exists() {
            return Ok(None);
        }
        let (folder, mut entries) = (op_dir.join(NAME), Vec::new());
        let mut open = vec![folder.clone()];
        while let Some(at) = open.pop() {
            for found in fs::read_dir(&at).map_err(Error::io("read", &at))? {
                let found = found.map_err(Error::io("read", &at))?.path();
                match found.is_dir() {
                    true => open.push(found),
                    false => entries.push(entry(&folder, &found)?),
                }
            }
        }
        entries.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(Some(Kept { folder, entries }))
    }
}

impl Tree for Kept {
    fn entries(&self) -> &[Entry] {
        &self.entries
    }

    fn open(&self, path: &StatePath) -> Result<Box<dyn Read + '_>> {
        let file = place(&self.folder, path)?;
        Ok(Box::new(File::open(&file).map_err(Error::io("open", &file))?))
    }
}

/// Names are ours, so all of them are text.
fn place(folder: &Path, path: &StatePath) -> Result<PathBuf> {
    let name = path.as_str().ok_or("a name that is not UTF-8").map_err(Error::carrier("name a file"))?;
    Ok(folder.join(name))
}

fn entry(folder: &Path, file: &Path) -> Result<Entry> {
    let name = file.strip_prefix(folder).ok().and_then(Path::to_str).unwrap_or_default();
    let path = StatePath::new(name).map_err(Error::carrier("name a file"))?;
    let mut input = BufReader::new(File::open(file).map_err(Error::io("open", file))?);
    let (mut hasher, mut chunk) = (SipHasher24::new(), vec![0; 64 << 10]);
    loop {
        match input.read(&mut chunk).map_err(Error::io("read", file))? {
            0 => break,
            length => hasher.write(&chunk[..length]),
        }
    }
    Ok(Entry { path, mode: Mode::File, id: ContentId::new(hasher.finish128().as_u128().to_be_bytes()) })
}
