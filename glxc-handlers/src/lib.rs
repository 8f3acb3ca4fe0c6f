//! Live state as files, and back.
//!
//! A [`Handler`] serves one kind of live state (a PostgreSQL database, a folder of uploads): it writes that state as
//! deterministic text files and applies a change of those files to the live state, with compare and swap. This
//! crate knows nothing of git, of containers or of where the files are kept: files come from a [`Tree`] and go to a
//! [`Sink`].
//!
//! ```
//! use glxc_handlers::{MemoryTree, StatePath, Tree, differences};
//!
//! let base = MemoryTree::from([("a.txt", "1"), ("b.txt", "2")]);
//! let next = base.with(&StatePath::new("b.txt").unwrap(), "3");
//! let differs = differences(Some(&base), Some(&next));
//! assert_eq!(differs.len(), 1);
//! assert_eq!(differs[0].path.to_string(), "b.txt");
//! ```
//!
//! Files in a plain folder are read, written and loaded by [`folder`]; a handler of one's own is done when it passes [`conformance`].
//!
//! Every engine stands behind a feature of its own name.

mod attendant;
pub mod bson;
pub mod conformance;
mod cx;
#[cfg(any(feature = "postgresql", feature = "mysql", feature = "mongodb"))]
mod engine;
mod error;
pub mod failpoint;
#[cfg(feature = "files")]
pub mod files;
pub mod folder;
mod handler;
mod memory;
#[cfg(feature = "mongodb")]
pub mod mongodb;
#[cfg(feature = "mysql")]
pub mod mysql;
pub mod names;
mod options;
mod path;
#[cfg(feature = "postgresql")]
pub mod postgresql;
pub mod rows;
#[cfg(feature = "script")]
pub mod script;
mod simple;
pub mod text;
mod tree;

pub use attendant::Attendant;
pub use cx::{Cancel, Cx, Progress, Silent};
pub use error::{Cause, Error, Result};
pub use handler::{
    Caps, Change, Commit, Committed, Decision, Description, Direction, Exported, Factory, Fingerprint, Handler, Live,
    OpId, Record, Recorded, Recovered, Registry, Settings, Snapshot, Staged, Unit, Ways, describe_files,
};
pub use memory::{MemorySink, MemoryTree};
pub use options::{Options, Reader as OptionsReader, Value, nearest};
pub use path::{InvalidPath, StatePath};
pub use simple::{Simple, SimpleHandler};
pub use tree::{ContentId, Differs, Entry, Mode, Sink, Tree, differences};
