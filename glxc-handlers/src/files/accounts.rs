//! Names of users and groups.
//!
//! They are read from `/etc/passwd` and `/etc/group` here: a statically linked program must not ask the system's name service,
//! which would load modules of whatever distribution it runs in.

use std::collections::HashMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use crate::{Error, Result};

/// The users and groups of this system.
#[derive(Debug)]
pub(super) struct Accounts {
    users: Names,
    groups: Names,
}

#[derive(Debug, Default)]
struct Names {
    by_name: HashMap<Arc<str>, u32>,
    by_id: HashMap<u32, Arc<str>>,
}

impl Accounts {
    /// Reads them. Missing files are empty ones.
    pub(super) fn read(etc: &Path) -> Result<Self> {
        Ok(Accounts { users: Names::read(&etc.join("passwd"))?, groups: Names::read(&etc.join("group"))? })
    }

    pub(super) fn user(&mut self, id: u32) -> Arc<str> {
        self.users.name(id)
    }

    pub(super) fn group(&mut self, id: u32) -> Arc<str> {
        self.groups.name(id)
    }

    pub(super) fn user_id(&self, name: &str) -> Option<u32> {
        self.users.id(name)
    }

    pub(super) fn group_id(&self, name: &str) -> Option<u32> {
        self.groups.id(name)
    }
}

impl Names {
    fn read(path: &Path) -> Result<Self> {
        let bytes = match fs::read(path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
            other => other.map_err(Error::io("read", path))?,
        };
        let mut names = Names::default();
        for line in String::from_utf8_lossy(&bytes).lines() {
            let mut fields = line.split(':');
            let (Some(name), Some(id)) = (fields.next(), fields.nth(1).and_then(|id| id.parse().ok())) else {
                continue;
            };
            if !is_name(name) {
                continue;
            }
            // the first of several lines counts, as it does for the system
            let name: Arc<str> = name.into();
            names.by_id.entry(id).or_insert_with(|| name.clone());
            names.by_name.entry(name).or_insert(id);
        }
        // the name of an id must mean that id again
        let by_name = &names.by_name;
        names.by_id.retain(|id, name| by_name.get(name) == Some(id));
        Ok(names)
    }

    /// The name of an id, or its digits.
    fn name(&mut self, id: u32) -> Arc<str> {
        self.by_id.entry(id).or_insert_with(|| id.to_string().into()).clone()
    }

    fn id(&self, name: &str) -> Option<u32> {
        self.by_name.get(name).copied().or_else(|| name.parse().ok().filter(|id| *id != u32::MAX && digits(name)))
    }
}

fn digits(text: &str) -> bool {
    text.bytes().all(|b| b.is_ascii_digit())
}

/// Whether a name can be written as it is, and not be taken for an id.
pub(super) fn is_name(name: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-' | b'$' | b'@' | b'+');
    !name.is_empty() && name.bytes().all(plain) && !digits(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_ids_agree() {
        let etc = tempfile::tempdir().unwrap();
        let passwd = "root:x:0:0:::\nwww:x:33:33\ntoor:x:0:0\n1000:x:7:7\nno-id:x:\nwww:x:34:34\nbad name:x:8:8\n";
        fs::write(etc.path().join("passwd"), passwd).unwrap();
        let mut accounts = Accounts::read(etc.path()).unwrap();
        for (id, name) in [(0, "root"), (33, "www"), (7, "7"), (34, "34"), (8, "8"), (1000, "1000")] {
            assert_eq!(&*accounts.user(id), name);
            assert_eq!(accounts.user_id(name), Some(id));
        }
        assert_eq!(accounts.user_id("toor"), Some(0));
        assert_eq!(&*accounts.group(0), "0");
        assert_eq!(
            (accounts.user_id("nobody"), accounts.user_id("4294967295"), accounts.user_id("+1")),
            (None, None, None)
        );
    }
}
