//! From files to the live folder: one step after the other, each compared once more at the very moment.

use std::os::fd::OwnedFd;

use rustix::fs::{AtFlags, FileType, Mode, RenameFlags, openat, renameat_with, unlinkat};
use rustix::io::Errno;

use super::export::shown;
use super::import::{Expected, Import, Stamp, Step, Unread, is_node, own};
use super::listing::{Kind, Node, Owned};
use super::place::{FOLDER, Place, bits, look, open_file};
use crate::failpoint::point;
use crate::{Change, Committed, Error, Result};

/// What came of a step.
#[derive(PartialEq)]
enum Swapped {
    Done,
    /// The application wrote meanwhile, and its value stays.
    Stays(&'static str),
}

impl From<Errno> for Unread {
    fn from(error: Errno) -> Self {
        Unread::Live(error.into())
    }
}

impl Import<'_> {
    /// Does all steps: first what goes, from the inside out, then what comes, from the outside in. A step that is done already
    /// is passed over, so that an interrupted import can be done again.
    pub(super) fn apply(self) -> Result<Committed> {
        let place = self.root()?;
        let (gone, come): (Vec<&Step>, Vec<&Step>) = self.steps.iter().partition(|step| step.new.is_none());
        let mut notes = Vec::new();
        for step in gone.into_iter().rev().chain(come) {
            if step.is_done(&place, self.change.next.tree)? {
                continue;
            }
            point("files swap")?;
            if let Swapped::Stays(why) = self.step(&place, step)? {
                notes.push(format!("{} {why}", shown(&step.path)));
            }
        }
        rustix::fs::syncfs(place.root()).map_err(|e| Error::io("sync", place.full(b""))(e.into()))?;
        point("files swapped")?;
        self.staging.remove()?;
        Ok(Committed { notes })
    }

    /// The root, which is made where it does not exist.
    fn root(&self) -> Result<Place> {
        let root = &self.settings.root;
        if let Some(place) = Place::open(root)? {
            return Ok(place);
        }
        let owned = self.steps.iter().find(|step| step.path.is_empty()).and_then(|step| step.new.as_ref()?.owned);
        let place = Place::create(root)?;
        let owned = owned.unwrap_or(Owned { mode: self.settings.folder_mode(), user: 0, group: 0 });
        own(place.root(), &owned).map_err(|e| Error::io("own", root)(e.into()))?;
        Ok(place)
    }

    fn step(&self, place: &Place, step: &Step) -> Result<Swapped> {
        if step.path.is_empty() {
            return self.own_folder(step, place.root()).map_err(|e| failed(place, step, e));
        }
        let Some((folder, name)) = place.parent(&step.path)? else {
            return Ok(Swapped::Stays("has no folder any more and is left out"));
        };
        let swapped = match &step.new {
            None => self.remove(step, &folder, name),
            Some(node) if step.is_in_place() || is_folder(node) && is_live_folder(&folder, name) => {
                self.own(step, node, &folder, name)
            }
            Some(_) => match &step.staged {
                Some(staged) => self.exchange(step, staged, &folder, name),
                // it was done before, and the application changed it since
                None => Ok(Swapped::Stays("was changed meanwhile and stays")),
            },
        };
        swapped.map_err(|error| failed(place, step, error))
    }

    /// Gives a file or folder another owner and mode, in place.
    fn own(&self, step: &Step, node: &Node<u32>, folder: &OwnedFd, name: &[u8]) -> Result<Swapped, Unread> {
        if is_folder(node) {
            return match openat(folder, name, FOLDER, Mode::empty()) {
                Ok(inner) => self.own_folder(step, &inner),
                Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => {
                    Ok(Swapped::Stays("was changed meanwhile and stays"))
                }
                Err(error) => Err(error.into()),
            };
        }
        match (open_file(folder, name)?, self.is_old(step, folder, name)?, &node.owned) {
            (Some(file), true, Some(owned)) => own(&file, owned).map(|()| Swapped::Done).map_err(Unread::from),
            _ => Ok(Swapped::Stays("was changed meanwhile and stays")),
        }
    }

    fn own_folder(&self, step: &Step, folder: &OwnedFd) -> Result<Swapped, Unread> {
        let stat = rustix::fs::fstat(folder)?;
        let now = Owned { mode: bits(&stat), user: stat.st_uid, group: stat.st_gid };
        let expected = match &step.old {
            Expected::Any => true,
            Expected::Seen(seen) => *seen == Some(Stamp::of(&stat)),
            Expected::Nothing => false,
            Expected::Is(node) => node.owned.is_none_or(|owned| owned == now),
        };
        match (expected, step.new.as_ref().and_then(|node| node.owned)) {
            (true, Some(owned)) => own(folder, &owned).map(|()| Swapped::Done).map_err(Unread::from),
            (true, None) => Ok(Swapped::Done),
            (false, _) => Ok(Swapped::Stays("was changed meanwhile and stays")),
        }
    }

    /// Moves away what is there, and back where it is not what it should be.
    fn remove(&self, step: &Step, folder: &OwnedFd, name: &[u8]) -> Result<Swapped, Unread> {
        match look(folder, name)? {
            None => Ok(Swapped::Done),
            Some(_) if matches!(step.old, Expected::Nothing) => Ok(Swapped::Stays("came meanwhile and stays")),
            Some(found) if found.kind() == FileType::Directory => self.remove_folder(step, folder, name),
            Some(_) => self.take_out(step, folder, name),
        }
    }

    fn remove_folder(&self, step: &Step, folder: &OwnedFd, name: &[u8]) -> Result<Swapped, Unread> {
        if !self.is_old(step, folder, name)? {
            return Ok(Swapped::Stays("was changed meanwhile and stays"));
        }
        match unlinkat(folder, name, AtFlags::REMOVEDIR) {
            Ok(()) | Err(Errno::NOENT) => Ok(Swapped::Done),
            Err(Errno::NOTEMPTY | Errno::EXIST) => Ok(Swapped::Stays("is not empty and stays")),
            Err(error) => Err(error.into()),
        }
    }

    fn take_out(&self, step: &Step, folder: &OwnedFd, name: &[u8]) -> Result<Swapped, Unread> {
        let (staging, out) = (&self.staging.folder, step.out_name());
        match renameat_with(folder, name, staging, &out, RenameFlags::NOREPLACE) {
            Ok(()) => {}
            Err(Errno::NOENT) if self.staging.is_there()? => return Ok(Swapped::Done),
            Err(Errno::NOENT) => return Err(unprepared()),
            Err(error) => return Err(error.into()),
        }
        if self.is_old(step, staging, out.as_bytes())? {
            return discard(staging, &out).map(|()| Swapped::Done);
        }
        return_out(staging, &out, folder, name)?;
        Ok(Swapped::Stays("was changed meanwhile and stays"))
    }

    /// Puts what was prepared in the place of what is there, in one step.
    fn exchange(&self, step: &Step, staged: &str, folder: &OwnedFd, name: &[u8]) -> Result<Swapped, Unread> {
        let staging = &self.staging.folder;
        let there = look(folder, name)?;
        let is_folder = there.as_ref().is_some_and(|found| found.kind() == FileType::Directory);
        match (&there, &step.old) {
            (Some(_), Expected::Nothing | Expected::Seen(None)) | (None, Expected::Is(_) | Expected::Seen(Some(_))) => {
                return Ok(Swapped::Stays("was changed meanwhile and stays"));
            }
            // a folder can only go once it is empty
            (Some(_), _) if is_folder => match self.remove_folder(step, folder, name)? {
                Swapped::Done => return insert(staging, staged, folder, name),
                stays => return Ok(stays),
            },
            (None, _) => return insert(staging, staged, folder, name),
            (Some(_), _) => {}
        }
        let ours = prepared(staging, staged)?;
        match renameat_with(staging, staged, folder, name, RenameFlags::EXCHANGE) {
            Ok(()) => {}
            // one of both is gone
            Err(Errno::NOENT) => {
                return prepared(staging, staged).map(|_| Swapped::Stays("was removed meanwhile and stays so"));
            }
            Err(error) => return Err(error.into()),
        }
        if self.is_old(step, staging, staged.as_bytes())? {
            discard(staging, staged)?;
            return Ok(Swapped::Done);
        }
        exchange_back(staging, staged, folder, name, Some(ours))?;
        Ok(Swapped::Stays("was changed meanwhile and stays"))
    }

    /// Whether what stands under a name is what the step expects to replace.
    fn is_old(&self, step: &Step, folder: &OwnedFd, name: &[u8]) -> Result<bool, Unread> {
        step.expects(folder, name, self.change)
    }
}

impl Step {
    fn expects(&self, folder: &OwnedFd, name: &[u8], change: &Change<'_>) -> Result<bool, Unread> {
        match (&self.old, change.base) {
            (Expected::Any, _) => Ok(true),
            (Expected::Seen(seen), _) => Ok(Stamp::at(folder, name)? == *seen),
            (Expected::Is(node), Some(base)) => is_node(folder, name, node, base.tree),
            (Expected::Nothing | Expected::Is(_), _) => Ok(false),
        }
    }

    /// See [`super::import::Plan::put_back`].
    pub(super) fn put_back(&self, place: &Place, staging: &OwnedFd, change: &Change<'_>) -> Result<()> {
        let Some((folder, name)) = place.parent(&self.path)? else { return Ok(()) };
        let put_back = || -> Result<(), Unread> {
            let (staged, out, next) = (self.staged_name(), self.out_name(), change.next.tree);
            if look(staging, out.as_bytes())?.is_some() && !self.expects(staging, out.as_bytes(), change)? {
                return_out(staging, &out, &folder, name)?;
            }
            let (Some(new), true) = (&self.new, look(staging, staged.as_bytes())?.is_some()) else { return Ok(()) };
            let exchanged = !is_node(staging, staged.as_bytes(), new, next)? && is_node(&folder, name, new, next)?;
            match exchanged && !self.expects(staging, staged.as_bytes(), change)? {
                true => exchange_back(staging, &staged, &folder, name, Stamp::at(&folder, name)?),
                false => Ok(()),
            }
        };
        put_back().map_err(|error| failed(place, self, error))
    }
}

fn return_out(staging: &OwnedFd, out: &str, folder: &OwnedFd, name: &[u8]) -> Result<(), Unread> {
    match renameat_with(staging, out, folder, name, RenameFlags::NOREPLACE) {
        // the application put another one in its place already
        Err(Errno::EXIST) => discard(staging, out),
        other => Ok(other?),
    }
}

/// Puts what came out in its place again, where `ours` stands. Where something else comes out in turn the application has
/// replaced ours, and that is its last value: it goes back, and so on.
fn exchange_back(
    staging: &OwnedFd, staged: &str, folder: &OwnedFd, name: &[u8], ours: Option<Stamp>,
) -> Result<(), Unread> {
    const TRIES: usize = 100;
    let mut there = ours;
    for _ in 0..TRIES {
        let put = Some(prepared(staging, staged)?);
        match renameat_with(staging, staged, folder, name, RenameFlags::EXCHANGE) {
            // the application removed ours already, so the one that came out is gone too
            Err(Errno::NOENT) => return prepared(staging, staged).map(drop),
            other => other?,
        }
        if Stamp::at(staging, staged.as_bytes())? == there {
            return Ok(());
        }
        there = put;
    }
    Ok(())
}

fn is_folder(node: &Node<u32>) -> bool {
    matches!(node.kind, Kind::Folder)
}

fn is_live_folder(folder: &OwnedFd, name: &[u8]) -> bool {
    look(folder, name).is_ok_and(|found| found.is_some_and(|found| found.kind() == FileType::Directory))
}

/// Puts what was prepared where nothing is.
fn insert(staging: &OwnedFd, staged: &str, folder: &OwnedFd, name: &[u8]) -> Result<Swapped, Unread> {
    match renameat_with(staging, staged, folder, name, RenameFlags::NOREPLACE) {
        Ok(()) => Ok(Swapped::Done),
        Err(Errno::EXIST) => Ok(Swapped::Stays("was changed meanwhile and stays")),
        Err(Errno::NOENT) => {
            prepared(staging, staged).map(|_| Swapped::Stays("has no folder any more and is left out"))
        }
        Err(error) => Err(error.into()),
    }
}

/// What stands in the staging folder under a name. It is private, so what is missing there the application did not remove.
fn prepared(staging: &OwnedFd, name: &str) -> Result<Stamp, Unread> {
    Stamp::at(staging, name.as_bytes())?.ok_or_else(unprepared)
}

fn unprepared() -> Unread {
    let message = "what was prepared for it was removed by something else";
    Unread::Live(std::io::Error::new(std::io::ErrorKind::NotFound, message))
}

/// Removes what came out; a folder that came out in a race stays for the sweep.
fn discard(staging: &OwnedFd, name: &str) -> Result<(), Unread> {
    match unlinkat(staging, name, AtFlags::empty()) {
        Err(Errno::ISDIR) => Ok(()),
        other => Ok(other?),
    }
}

fn failed(place: &Place, step: &Step, error: Unread) -> Error {
    match error {
        Unread::Live(error) => Error::io("replace", place.full(&step.path))(error),
        Unread::Tree(error) => error,
    }
}

#[cfg(test)]
mod tests {
    use super::super::place::open_folder;
    use super::*;

    /// The application replaces its file twice: before the exchange, and again before it is taken back.
    #[test]
    fn what_is_put_back_is_the_last_value() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        std::fs::write(path("ours"), "ours").unwrap();
        let Some(open) = open_folder(folder.path()).unwrap() else { panic!("a folder") };
        let ours = Stamp::at(&open, b"ours").unwrap();
        let read = |name: &str| std::fs::read_to_string(path(name)).unwrap();
        for (live, out, left) in [("ours", "first", "ours"), ("second", "first", "first")] {
            std::fs::write(path("out"), out).unwrap();
            match live {
                "ours" => std::fs::rename(path("ours"), path("live")).unwrap(),
                _ => std::fs::write(path("live"), live).unwrap(),
            }
            exchange_back(&open, "out", &open, b"live", ours.clone()).unwrap();
            assert_eq!(read("live"), if live == "ours" { out } else { live });
            assert_eq!(read("out"), left);
        }
        std::fs::remove_file(path("live")).unwrap();
        exchange_back(&open, "out", &open, b"live", ours).unwrap();
        assert!(!path("live").exists(), "what the application removed stays so");
    }
}
