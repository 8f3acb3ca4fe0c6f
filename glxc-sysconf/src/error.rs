//! Errors of sysconf.

use std::path::{Path, PathBuf};
use std::time::Duration;

/// The result of a call.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What sysconf can answer instead of a result.
///
/// Paths are beneath the folder of the profiles, unless a message says otherwise. `Display` says this level only; the
/// cause is in [`std::error::Error::source`].
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Profiles depend on each other in a circle.
    #[error("profiles depend on each other: {}", .chain.join(" -> "))]
    Cycle {
        /// The names from the root profile to the one that closes the circle.
        chain: Vec<String>,
    },
    /// A profile is named that is not there.
    #[error("no such profile: {}", .chain.join(" -> "))]
    Missing {
        /// The names from the root profile to the missing one.
        chain: Vec<String>,
    },
    /// Two profiles have different files for one place, and neither depends on the other.
    #[error("{} is in both {} and {}, and neither profile depends on the other", shown(.path), .first.join(" -> "), .second.join(" -> "))]
    Clash {
        /// The place in the target.
        path: PathBuf,
        /// The names from the root profile to one of them.
        first: Vec<String>,
        /// The names from the root profile to the other.
        second: Vec<String>,
    },
    /// A file of the profiles can not be used as it is.
    #[error("{}: {message}", shown(.path))]
    Invalid {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        message: String,
    },
    /// The live files changed where the push changes them too. Nothing was written.
    #[error("changed meanwhile: {}", conflicts(.first, *.total))]
    Changed {
        /// The first of them, at most ten.
        first: Vec<PathBuf>,
        /// How many there are in all.
        total: usize,
    },
    /// The system holds something where a file should be, or a file of a kind that can not be kept.
    #[error("{}: {what}", shown(.path))]
    Unsupported {
        /// The place: beneath the profiles' folder, or absolute.
        path: PathBuf,
        /// What is there.
        what: &'static str,
    },
    /// A script of a profile failed.
    #[error("profile {profile}: {script} ended with {status}")]
    Script {
        /// The profile.
        profile: String,
        /// The file's name.
        script: &'static str,
        /// The exit status or the signal, in words.
        status: String,
    },
    /// A script of a profile took too long and was killed.
    #[error("profile {profile}: {script} did not end within {} s", .after.as_secs())]
    Timeout {
        /// The profile.
        profile: String,
        /// The file's name.
        script: &'static str,
        /// How long it was given.
        after: Duration,
    },
    /// The caller asked to stop.
    #[error("cancelled")]
    Cancelled,
    /// A file that this crate wrote earlier can not be read.
    #[error("{}: {message}", .path.display())]
    State {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        message: &'static str,
    },
    /// An operation on a file failed.
    #[error("{operation} {}", shown(.path))]
    Io {
        /// The verb, as `open`.
        operation: &'static str,
        /// The file.
        path: PathBuf,
        /// The system's error.
        #[source]
        source: std::io::Error,
    },
}

impl Error {
    pub(crate) fn invalid(path: impl Into<PathBuf>, message: impl Into<String>) -> Self {
        Error::Invalid { path: path.into(), message: message.into() }
    }

    /// A failed operation on a file, as a function for `map_err`.
    pub(crate) fn io<E: Into<std::io::Error>>(
        operation: &'static str, path: impl Into<PathBuf>,
    ) -> impl FnOnce(E) -> Self {
        let path = path.into();
        move |source| Error::Io { operation, path, source: source.into() }
    }
}

fn conflicts(first: &[PathBuf], total: usize) -> String {
    let named = first.iter().map(|path| shown(path)).collect::<Vec<_>>().join(", ");
    match total.saturating_sub(first.len()) {
        0 => named,
        more => format!("{named} and {more} more"),
    }
}

/// A path as text, with control characters escaped.
pub(crate) fn shown(path: &Path) -> String {
    let mut text = String::new();
    for c in path.to_string_lossy().chars() {
        match c.is_control() {
            true => text.extend(c.escape_unicode()),
            false => text.push(c),
        }
    }
    text
}
