//! Whose containers are whose.

use std::ffi::OsStr;
use std::fs::{self, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::PathBuf;

use glxc_lxc::{ContainerName, Host};

use crate::keeper::{Failure, failure};
use crate::protocol::Code;

/// Who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Caller {
    /// Root itself, who may all.
    Root,
    /// A user of this host, who may what is their own.
    User(u32),
}

impl Caller {
    /// From `SUDO_UID`, which sudo sets. Without it root itself called.
    pub(crate) fn new(sudo_uid: Option<&OsStr>) -> Result<Self, Failure> {
        let Some(text) = sudo_uid else { return Ok(Caller::Root) };
        match text.to_str().and_then(|text| text.parse().ok()) {
            Some(0) => Ok(Caller::Root),
            Some(uid) => Ok(Caller::User(uid)),
            None => Err(failure::invalid("SUDO_UID is no number")),
        }
    }
}

/// The registry: a file for each container, with its owner's uid. A container without one is root's.
#[derive(Debug)]
pub(crate) struct Owners(PathBuf);

impl Owners {
    pub(crate) fn new(host: &Host) -> Result<Self, Failure> {
        let folder = host.settings().root.join("owners");
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&folder)
            .map_err(failure::io("create the registry of owners"))?;
        Ok(Owners(folder))
    }

    fn file(&self, name: &ContainerName) -> PathBuf {
        self.0.join(name.as_str())
    }

    /// The owner of a container; nobody where it is root's.
    pub(crate) fn owner(&self, name: &ContainerName) -> Result<Option<u32>, Failure> {
        match fs::read_to_string(self.file(name)) {
            Ok(text) => match text.trim().parse() {
                Ok(uid) => Ok(Some(uid)),
                Err(_) => Err(failure::new(Code::Other, format!("the owner of {name} is recorded as no number"))),
            },
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(failure::io(format!("read the owner of {name}"))(error)),
        }
    }

    /// Whether the caller may work with a container.
    pub(crate) fn allows(&self, caller: Caller, name: &ContainerName) -> Result<bool, Failure> {
        match caller {
            Caller::Root => Ok(true),
            Caller::User(uid) => Ok(self.owner(name)? == Some(uid)),
        }
    }

    /// Makes the caller the owner of a name that has none. Root needs no entry.
    ///
    /// # Errors
    /// [`Code::Denied`] where it is somebody else's.
    pub(crate) fn claim(&self, caller: Caller, name: &ContainerName) -> Result<(), Failure> {
        let Caller::User(uid) = caller else { return Ok(()) };
        let created = OpenOptions::new().write(true).create_new(true).mode(0o600).open(self.file(name));
        match created {
            Ok(mut file) => {
                let written = file.write_all(uid.to_string().as_bytes()).and_then(|()| file.sync_all());
                written.map_err(failure::io(format!("record the owner of {name}")))
            }
            Err(error) if error.kind() == ErrorKind::AlreadyExists => match self.allows(caller, name)? {
                true => Ok(()),
                false => Err(denied(name)),
            },
            Err(error) => Err(failure::io(format!("record the owner of {name}"))(error)),
        }
    }

    /// Forgets the owner of a container that is gone.
    pub(crate) fn release(&self, name: &ContainerName) {
        let _ = fs::remove_file(self.file(name));
    }
}

/// What a caller hears of what is not theirs.
pub(crate) fn denied(name: &ContainerName) -> Failure {
    let hint = Some("choose another name, or ask the owner or root".to_string());
    crate::protocol::Failure { hint, ..failure::new(Code::Denied, format!("the container {name} is somebody else's")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_belongs_to_the_first() {
        let folder = tempfile::tempdir().unwrap();
        let owners = Owners(folder.path().to_path_buf());
        let name = ContainerName::new("a").unwrap();
        let (ann, bob) = (Caller::User(1000), Caller::User(1001));
        assert!(!owners.allows(ann, &name).unwrap() && owners.allows(Caller::Root, &name).unwrap());
        owners.claim(ann, &name).unwrap();
        owners.claim(ann, &name).unwrap();
        assert_eq!(owners.claim(bob, &name).unwrap_err().code, Code::Denied);
        assert!(owners.allows(ann, &name).unwrap() && !owners.allows(bob, &name).unwrap());
        owners.release(&name);
        owners.claim(bob, &name).unwrap();
        assert_eq!(owners.owner(&name).unwrap(), Some(1001));
    }

    #[test]
    fn a_damaged_entry_is_nobodys() {
        let folder = tempfile::tempdir().unwrap();
        let owners = Owners(folder.path().to_path_buf());
        fs::write(folder.path().join("a"), "").unwrap();
        assert!(owners.allows(Caller::User(1000), &ContainerName::new("a").unwrap()).is_err());
    }

    #[test]
    fn the_caller_is_who_called_sudo() {
        assert_eq!(Caller::new(None).unwrap(), Caller::Root);
        assert_eq!(Caller::new(Some(OsStr::new("0"))).unwrap(), Caller::Root);
        assert_eq!(Caller::new(Some(OsStr::new("1000"))).unwrap(), Caller::User(1000));
        assert!(Caller::new(Some(OsStr::new("-1"))).is_err() && Caller::new(Some(OsStr::new(""))).is_err());
    }
}
