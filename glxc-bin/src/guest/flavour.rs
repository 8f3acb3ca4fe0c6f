//! Which kinds of state beyond ours a container is served with: from its first contact with a guest that has them, one that
//! lacks them is refused, since it could neither export nor recover what is there.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::symlink;
use std::path::Path;

use glxc_handlers::Registry;

use super::{FOLDER, Result};

/// The link by which the unit at the container's start finds the guest.
const LINK: &str = "/usr/bin/glxc";

/// The kinds that are not ours.
pub(super) fn of(registry: &Registry) -> BTreeSet<String> {
    let ours = super::registry();
    let ours: BTreeSet<&str> = ours.names().collect();
    registry.names().filter(|name| !ours.contains(name)).map(str::to_owned).collect()
}

/// Refuses a guest that lacks a kind.
pub(super) fn check(registry: &Registry) -> Result<()> {
    let known: BTreeSet<&str> = registry.names().collect();
    let recorded = recorded()?;
    let lacking: Vec<&str> = recorded.iter().map(String::as_str).filter(|kind| !known.contains(kind)).collect();
    match lacking.is_empty() {
        true => Ok(()),
        false => Err(format!(
            "this container has states of the kind `{}`, which this guest does not know; `glxc init NAME --guest PATH` names the \
             guest that does",
            lacking.join("`, `")
        )
        .into()),
    }
}

/// Remembers a flavour, and sees to it that recovery at the container's start has it.
pub(super) fn record(flavour: &BTreeSet<String>) -> Result<()> {
    if flavour.is_empty() {
        return Ok(());
    }
    if recorded()? != *flavour {
        let path = Path::new(FOLDER).join("kinds");
        let fresh = path.with_extension("new");
        let mut file = File::create(&fresh)?;
        flavour.iter().try_for_each(|kind| writeln!(file, "{kind}"))?;
        file.sync_all()?;
        fs::rename(fresh, path)?;
    }
    let program = std::env::current_exe()?;
    if fs::canonicalize(LINK).ok().as_deref() != Some(&program) {
        let fresh = format!("{LINK}.{}", std::process::id());
        symlink(program, &fresh)?;
        fs::rename(fresh, LINK)?;
    }
    Ok(())
}

fn recorded() -> Result<BTreeSet<String>> {
    match fs::read_to_string(Path::new(FOLDER).join("kinds")) {
        Ok(text) => Ok(text.lines().map(str::to_owned).collect()),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(BTreeSet::new()),
        Err(error) => Err(error.into()),
    }
}
