//! The built-in profile `sysconf.base`, and the shell functions that it stands for.

use std::path::PathBuf;

use crate::files::{File, Files, Kind};
use crate::profiles::Profile;

/// The name by which profiles depend on it.
pub(crate) const NAME: &str = "sysconf.base";

/// The functions that every script can call.
pub(crate) const HELPERS: &str = include_str!("helpers.sh");

/// The places from which old profiles source them.
const PLACES: [&str; 4] = [
    "usr/lib/sysconf.base/common.sh",
    "usr/share/nef-common/shell-command",
    "usr/share/nef-common/shell-templating",
    "usr/share/sysconf.base/common.sh",
];

pub(crate) fn profile() -> Profile {
    Profile {
        name: NAME.into(),
        dependencies: Vec::new(),
        environment: false,
        setup: None,
        ready: false,
        builtin: true,
    }
}

pub(crate) fn files() -> Files {
    let tree = PathBuf::from(NAME).join("tree");
    PLACES.iter().map(|place| (tree.join(place), File::new(Kind::File, HELPERS))).collect()
}
