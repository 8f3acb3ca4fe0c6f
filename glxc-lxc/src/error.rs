//! Errors of containers.

use std::io;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::time::Duration;

/// The result of a call.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What can go wrong. `Display` says this level only; the cause is in [`std::error::Error::source`].
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The text is no name of a container.
    #[error(
        "\"{}\" is no name for a container: use 1 to 63 letters, digits, `_`, `-` and `.`, starting with a letter or a \
         digit, without `..`", .0.escape_default()
    )]
    Name(String),
    /// A value of a [`crate::Spec`] or of [`crate::Settings`] is not allowed.
    #[error("`{field}` can not be \"{}\": {reason}", .value.escape_default())]
    Value {
        /// The field.
        field: &'static str,
        /// Its value.
        value: String,
        /// What would be right.
        reason: &'static str,
    },
    /// There is a container of that name.
    #[error("a container named {0} exists already")]
    Exists(String),
    /// There is none.
    #[error("no container is named {0}")]
    NotFound(String),
    /// Its creation was cut short.
    #[error("the container {0} was not created to the end; create it again, or destroy it")]
    HalfMade(String),
    /// It must run for this.
    #[error("the container {0} does not run")]
    NotRunning(String),
    /// Somebody else works on it (or on the host's shared settings) for too long.
    #[error("somebody else is working on {what} for more than {} s", .after.as_secs())]
    Busy {
        /// What is locked.
        what: String,
        /// How long was waited.
        after: Duration,
    },
    /// A program or a file that this crate needs is not installed.
    #[error("{what} is not installed")]
    Missing {
        /// The program or file.
        what: String,
        /// The Debian package that has it.
        package: &'static str,
    },
    /// liblxc refused or failed.
    #[error("liblxc could not {operation} the container {name}{}", reasons(.reason))]
    Lxc {
        /// The verb.
        operation: &'static str,
        /// The container.
        name: String,
        /// The last error lines of liblxc's own log.
        reason: Vec<String>,
    },
    /// A program failed.
    #[error("{program} failed ({status}){}", reasons(.output))]
    Program {
        /// Its name.
        program: String,
        /// How it ended.
        status: ExitStatus,
        /// The last lines that it wrote to stderr.
        output: Vec<String>,
    },
    /// The bridge can not be made or used.
    #[error("the bridge {bridge} can not be used")]
    Bridge {
        /// Its name.
        bridge: String,
        /// Why.
        #[source]
        source: Box<Error>,
    },
    /// The bridge's network is in use elsewhere on this host.
    #[error("the network {subnet}/24 is in use by the interface {interface}")]
    Subnet {
        /// The network.
        subnet: std::net::Ipv4Addr,
        /// Who has a route into it.
        interface: String,
    },
    /// Every range of 65,536 ids is taken.
    #[error("no range of 65536 user and group ids is free from {first} on")]
    NoIds {
        /// Where the search began.
        first: u32,
    },
    /// Every address of the bridge's network is taken.
    #[error("no address is free in {subnet}/24")]
    NoAddress {
        /// The network.
        subnet: std::net::Ipv4Addr,
    },
    /// The disk is full.
    #[error("no space is left on the device of {}", .0.display())]
    DiskFull(PathBuf),
    /// The mirror has no such release.
    #[error("the mirror {mirror} has no release \"{release}\"")]
    UnknownRelease {
        /// What was asked for.
        release: String,
        /// Where it was looked for.
        mirror: String,
        /// What the program said.
        #[source]
        source: Box<Error>,
    },
    /// The container's init system did not come up in time.
    #[error("the container {name} was not ready within {} s; it says {state}{}", .after.as_secs(), reasons(.console))]
    NotReady {
        /// The container.
        name: String,
        /// What its init system answered last.
        state: String,
        /// How long was waited.
        after: Duration,
        /// The last lines of its console.
        console: Vec<String>,
    },
    /// The caller asked to stop.
    #[error("cancelled")]
    Cancelled,
    /// An operation on a file failed.
    #[error("{operation} {}", .path.display())]
    Io {
        /// The verb, as `open`.
        operation: &'static str,
        /// The file.
        path: PathBuf,
        /// The system's error.
        #[source]
        source: io::Error,
    },
}

impl Error {
    /// A failed operation on a file, as a function for `map_err`. A full disk is told apart.
    pub(crate) fn io<E: Into<io::Error>>(operation: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(E) -> Self {
        let path = path.into();
        move |source| match source.into() {
            source if source.kind() == io::ErrorKind::StorageFull => Error::DiskFull(path),
            source => Error::Io { operation, path, source },
        }
    }
}

/// `: a; b`, or nothing. The lines may hold what a container said: who shows them escapes them.
fn reasons(lines: &[String]) -> String {
    if lines.is_empty() { String::new() } else { format!(": {}", lines.join("; ")) }
}
