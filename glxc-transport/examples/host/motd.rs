//! A system's configuration of one file: `sysconf/motd` is installed as the file `motd` of the host's folder.

use std::fs::{self, OpenOptions};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use glxc_handlers::{Cause, Cx, Sink, StatePath, Tree};
use glxc_transport::Setup;

use crate::faults::Faults;

const LIMIT: u64 = 1 << 20;

#[derive(Debug)]
pub struct Motd {
    folder: PathBuf,
    faults: Faults,
}

impl Motd {
    pub fn new(folder: &Path, faults: Faults) -> Self {
        Motd { folder: folder.to_owned(), faults }
    }

    fn live(&self) -> PathBuf {
        self.folder.join("motd")
    }
}

fn path() -> Result<StatePath, Cause> {
    Ok(StatePath::new("motd")?)
}

fn read(tree: &dyn Tree) -> Result<Vec<u8>, Cause> {
    Ok(tree.read(&path()?, LIMIT)?)
}

fn read_if_there(file: &Path) -> Result<Option<Vec<u8>>, Cause> {
    match fs::read(file) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error.into()),
    }
}

impl Setup for Motd {
    fn check(&self, next: &dyn Tree) -> Result<(), Cause> {
        read(next).map(drop)
    }

    fn plan(&self, base: Option<&dyn Tree>, next: &dyn Tree, _: &Cx<'_>) -> Result<bool, Cause> {
        let (base, next, live) = (base.map(read).transpose()?, Some(read(next)?), read_if_there(&self.live())?);
        if base.is_some() && base != next && live != base && live != next {
            return Err("changed meanwhile: motd".into());
        }
        Ok(base != next && live != next)
    }

    fn apply(&self, _: Option<&dyn Tree>, next: &dyn Tree, cx: &Cx<'_>) -> Result<(), Cause> {
        self.faults.at("apply")?;
        if let Some(before) = read_if_there(&self.live())? {
            fs::write(cx.op_dir.join("motd"), before)?;
        }
        fs::write(self.live(), read(next)?)?;
        Ok(self.faults.at("applied")?)
    }

    fn undo(&self, _: bool, cx: &Cx<'_>) -> Result<Vec<String>, Cause> {
        self.faults.at("undo")?;
        if let Some(before) = read_if_there(&cx.op_dir.join("motd"))? {
            fs::write(self.live(), before)?;
        }
        self.faults.at("undone")?;
        Ok(Vec::new())
    }

    fn ready(&self, cx: &Cx<'_>) -> Result<(), Cause> {
        self.faults.at("ready")?;
        cx.check()?;
        let mut log = OpenOptions::new().append(true).create(true).open(self.folder.join("ready"))?;
        Ok(log.write_all(b"ready\n")?)
    }

    fn export(&self, sink: &mut dyn Sink, _: &Cx<'_>) -> Result<Vec<String>, Cause> {
        sink.put(&path()?, &fs::read(self.live())?)?;
        Ok(Vec::new())
    }
}
