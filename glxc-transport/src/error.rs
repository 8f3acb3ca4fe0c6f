//! Errors of the sync cycle.

use std::path::PathBuf;

use glxc_handlers::StatePath;

use crate::ConfigError;

/// The result of a call of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a pull or a push did not happen.
///
/// `Display` says this level only; the cause is in [`std::error::Error::source`].
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// `glxc.toml` of a commit can not be used.
    #[error("the settings of commit {commit} can not be used")]
    Config {
        /// The commit, shortened.
        commit: String,
        /// What is wrong.
        #[source]
        source: ConfigError,
    },
    /// The pushed or recorded tree can not be used.
    #[error("{path}: {message}")]
    Tree {
        /// The path from the top of the repository.
        path: String,
        /// What is wrong.
        message: String,
    },
    /// A state's handler refused or failed.
    #[error("{state}: {doing}")]
    State {
        /// The name of the state.
        state: String,
        /// What was being done.
        doing: &'static str,
        /// The handler's error.
        #[source]
        source: glxc_handlers::Error,
    },
    /// The system's configuration could not be applied or read.
    #[error("sysconf")]
    Setup(#[source] glxc_handlers::Cause),
    /// The rules of a push forbid it.
    #[error("{0}")]
    Refused(String),
    /// Nothing was pushed yet.
    #[error("`{branch}` is not there yet: push first")]
    Unborn {
        /// The bound branch.
        branch: String,
    },
    /// Another operation holds the lock.
    #[error("another operation is under way: {holder}")]
    Locked {
        /// What it says of itself.
        holder: String,
    },
    /// The data of the state repository was written by a newer program.
    #[error("{path} has format {found}, this program knows {known}: upgrade glxc", path = .path.display())]
    Newer {
        /// The folder.
        path: PathBuf,
        /// Its format.
        found: String,
        /// The newest known.
        known: u32,
    },
    /// The journal of an interrupted operation can not be read.
    #[error("the journal {} is damaged in line {line}", .path.display())]
    Journal {
        /// The journal.
        path: PathBuf,
        /// The line, counted from 1.
        line: u64,
        /// What is wrong with it.
        #[source]
        source: serde_json::Error,
    },
    /// git failed.
    #[error("git {command}: {message}")]
    Git {
        /// The subcommand.
        command: String,
        /// What it said.
        message: String,
    },
    /// An operation on a file failed.
    #[error("{operation} {}", .path.display())]
    Io {
        /// The verb.
        operation: &'static str,
        /// The file, program or stream.
        path: PathBuf,
        /// The system's error.
        #[source]
        source: std::io::Error,
    },
    /// The other side of the git protocol sent something unexpected.
    #[error("git protocol: {0}")]
    Protocol(String),
    /// The caller asked to stop, before anything was decided.
    #[error("cancelled")]
    Cancelled,
}

impl Error {
    pub(crate) fn io(operation: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| Error::Io { operation, path, source }
    }

    /// Comes by a point at which a test may let something die.
    pub(crate) fn point(name: &'static str) -> crate::Result<()> {
        glxc_handlers::failpoint::at(name).map_err(Error::io("pass", name))
    }

    pub(crate) fn state(state: &str, doing: &'static str) -> impl FnOnce(glxc_handlers::Error) -> Self {
        let state = state.to_owned();
        move |source| match source {
            glxc_handlers::Error::Cancelled => Error::Cancelled,
            source => Error::State { state, doing, source },
        }
    }

    /// As [`Error::state`], for what may name a file of the state: the user knows it by its path from the top.
    pub(crate) fn files(
        state: &str, path: &StatePath, doing: &'static str,
    ) -> impl FnOnce(glxc_handlers::Error) -> Self {
        let path = path.clone();
        let error = Error::state(state, doing);
        move |source| match source {
            glxc_handlers::Error::Input { file, line, message, source } => {
                let file = path.join(file.as_bytes()).unwrap_or(file);
                error(glxc_handlers::Error::Input { file, line, message, source })
            }
            glxc_handlers::Error::Violation { message, source } if begins_with_place(&message) => {
                error(glxc_handlers::Error::Violation { message: format!("{path}/{message}"), source })
            }
            source => error(source),
        }
    }

    pub(crate) fn git(command: &str, message: impl Into<String>) -> Self {
        Error::Git { command: command.into(), message: message.into() }
    }
}

/// Whether a message begins with a file beneath the folder of a state and a line: `data/x/rows.tsv:2: `. Names and
/// values of rows, with which others begin, do not look like that.
fn begins_with_place(message: &str) -> bool {
    let Some((place, _)) = message.split_once(": ") else { return false };
    let Some((file, line)) = place.rsplit_once(':') else { return false };
    let is_file = file.contains('/') && !file.contains(|c: char| c == '=' || c.is_whitespace());
    is_file && !line.is_empty() && line.bytes().all(|b| b.is_ascii_digit()) && StatePath::new(file).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_named_from_the_top() {
        let shown = |source: glxc_handlers::Error| {
            let path = StatePath::new("data/app").unwrap();
            std::error::Error::source(&Error::files("app", &path, "import")(source)).unwrap().to_string()
        };
        let violation =
            |message: &str| shown(glxc_handlers::Error::Violation { message: message.into(), source: None });
        let placed = "data/public.payment/rows.tsv:2: public.payment: order_id=9 is not in public.orders";
        assert_eq!(violation(placed), format!("data/app/{placed}"));
        for other in ["public.orders id=a/b:2: x", "public.orders: refused", "1/2 of it:x: y", "a/b:: c", "a/b c:1: d"]
        {
            assert_eq!(violation(other), other);
        }
        let file = StatePath::new("schema/x.sql").unwrap();
        assert_eq!(shown(glxc_handlers::Error::input(&file, 3, "no")), "data/app/schema/x.sql:3: no");
    }
}
