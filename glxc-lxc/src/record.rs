//! What a container was made with, kept beside it.

use std::fs;
use std::io::Write;
use std::net::Ipv4Addr;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::{Error, Limits, Result};

/// The file of a container's record, in its folder.
const FILE: &str = "glxc.json";

/// What a container was made with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Record {
    /// False from before the first file of the root until all of them are durable.
    pub(crate) complete: bool,
    /// The suite of the distribution.
    pub(crate) release: String,
    /// Debian's word for the architecture.
    pub(crate) arch: String,
    /// What it may use.
    pub(crate) limits: Limits,
    /// The host's id of the container's root.
    pub(crate) first_id: u32,
    /// Its address.
    pub(crate) address: Ipv4Addr,
}

impl Record {
    /// The record in a container's folder; nothing where there is none.
    pub(crate) fn read(folder: &Path) -> Result<Option<Self>> {
        let path = folder.join(FILE);
        match fs::read(&path) {
            Ok(bytes) => Ok(Some(serde_json::from_slice(&bytes).map_err(Error::io("read", path))?)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(Error::io("read", path)(error)),
        }
    }

    /// Writes the record durably.
    pub(crate) fn write(&self, folder: &Path) -> Result<()> {
        let bytes = serde_json::to_vec_pretty(self).map_err(Error::io("write", folder.join(FILE)))?;
        write_file(folder, FILE, &bytes, 0o600)
    }
}

/// Writes a file of ours as a whole and durably: after a crash it has the old content or the new.
pub(crate) fn write_file(folder: &Path, name: &str, bytes: &[u8], mode: u32) -> Result<()> {
    let path = folder.join(name);
    let write = || -> std::io::Result<()> {
        let mut file = tempfile::NamedTempFile::new_in(folder)?;
        file.write_all(bytes)?;
        file.as_file().set_permissions(fs::Permissions::from_mode(mode))?;
        file.as_file().sync_all()?;
        file.persist(&path)?;
        fs::File::open(folder)?.sync_all()
    };
    write().map_err(Error::io("write", &path))
}
