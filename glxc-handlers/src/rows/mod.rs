//! Row files: a table as text, one row a line, in parts of about 1 MiB.
//!
//! The format is specified in `docs/FORMATS.md`. In short: every table is a folder; its rows stand in the order of their key,
//! in the engine's own bulk text form; a new part begins where a hash of the key says so, so that one changed row changes one
//! part. The first line of every part is a [`Header`].
//!
//! ```
//! use glxc_handlers::rows::{Comparator, Header, Limits, Reader, Writer};
//! use glxc_handlers::{MemorySink, StatePath};
//!
//! # fn main() -> glxc_handlers::Result<()> {
//! let header = Header { columns: vec!["id".into(), "name".into()], key: vec![(0, Comparator::Number)] };
//! let folder = StatePath::new("data/public.users").unwrap();
//! let mut sink = MemorySink::new(None);
//! let mut writer = Writer::new(&mut sink, folder.clone(), &header, Limits::default())?;
//! writer.line(b"9\tada")?;
//! writer.line(b"10\tgrace")?;
//! writer.finish()?;
//!
//! let tree = sink.finish()?;
//! let mut reader = Reader::new(&tree, &folder, Limits::default())?;
//! let first = reader.next()?.unwrap();
//! assert_eq!((first.bytes, first.number), (&b"9\tada"[..], 2));
//! # Ok(())
//! # }
//! ```

mod changes;
mod check;
mod header;
mod key;
mod merge;
mod reader;
mod sorter;
mod writer;

pub use changes::{Changes, Counts, Place, RowChange};
pub use check::{check, check_changed};
pub use header::{Comparator, Header, VERSION, escape, unescape};
pub(crate) use key::push_number;
pub use merge::{Conflict, Merge, Merged, Scope};
pub use reader::{Line, Reader};
pub use sorter::{Sorted, Sorter, sorted};
pub use writer::{Writer, Written};

/// A line that is not what a row file holds.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct BadRow(pub(crate) String);

/// Sizes. Those that shape files are part of the format: only tests change them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The mean size of a part in bytes. A row of this size or more is a part of its own.
    pub part: u64,
    /// Where a part without a border is cut, in bytes of rows.
    pub cut: u64,
    /// The mean number of parts in a folder.
    pub folder: u64,
    /// The longest line that is read or written, in bytes.
    pub line: u64,
    /// The memory that sorting takes before it goes to files, in bytes.
    pub memory: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Limits { part: 1 << 20, cut: 16 << 20, folder: 256, line: 256 << 20, memory: 16 << 20 }
    }
}

/// The `.gitattributes` of a state that holds row files: git keeps their bytes as they are, and diffs and merges them by
/// GLXC's drivers, where these are installed.
pub fn gitattributes() -> &'static str {
    concat!(
        "# Written by glxc: these files are data, kept byte by byte.\n",
        "* -text -filter -ident !working-tree-encoding -whitespace diff=glxc merge=glxc\n",
    )
}

/// The beginning of a text for a message.
fn excerpt(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(&bytes[..bytes.len().min(1000)]);
    let short: String = text.chars().take(60).collect();
    let more = if short.len() < bytes.len() { "…" } else { "" };
    crate::text::escaped(&short).replace('\t', " ") + more
}
