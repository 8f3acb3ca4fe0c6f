//! The contract of [`crate::Handler`] as code.
//!
//! A handler is done when [`run_all`] finds nothing: implement [`Subject`] over a live state of its kind, in a test. Each
//! promise is a function of its own too. The module also has [`MemoryHandler`], the smallest handler that keeps them all.
//!
//! ```
//! use glxc_handlers::conformance::{Edit, MemoryHandler, MemoryStore, Subject, Variant, run_all};
//! use glxc_handlers::Handler;
//!
//! struct Memory(MemoryStore);
//!
//! impl Subject for Memory {
//!     fn handler(&self) -> Box<dyn Handler> {
//!         Box::new(MemoryHandler::transactional(self.0.clone()))
//!     }
//!     fn set(&self, variant: Variant) {
//!         let items: Option<&[(&str, &str)]> = match variant {
//!             Variant::Absent => None,
//!             Variant::Empty => Some(&[]),
//!             Variant::Base => Some(&[("contested", "1"), ("other", "1"), ("removed", "1")]),
//!             Variant::Next => Some(&[("added", "2"), ("contested", "2"), ("other", "1")]),
//!         };
//!         self.0.set(items.map(|items| items.iter().map(|(n, v)| (n.to_string(), v.to_string())).collect()));
//!     }
//!     fn edit(&self, edit: Edit) {
//!         match edit {
//!             Edit::Contested => self.0.insert("contested", "edited"),
//!             Edit::Other => self.0.insert("other", "edited"),
//!         }
//!     }
//!     fn live(&self) -> Vec<u8> {
//!         format!("{:?}", self.0.get()).into_bytes()
//!     }
//!     fn leftovers(&self) -> Vec<String> {
//!         self.0.leftovers()
//!     }
//! }
//!
//! let report = run_all(&Memory(MemoryStore::new()));
//! assert!(report.failed.is_empty(), "{report}");
//! assert!(report.kept.len() >= 14);
//! ```

mod bench;
mod memory;
mod promises;

use std::fmt;

pub use memory::{MemoryHandler, MemoryStore};
pub use promises::*;

use crate::{Handler, Options, StatePath};

/// What the live state is brought to. Base and next differ in that an item was added, the *contested* item was changed and
/// an item was removed; the *other* item is the same in both.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Variant {
    /// It, or what it lives in, does not exist.
    Absent,
    /// It exists and holds nothing.
    Empty,
    /// What was recorded.
    Base,
    /// What is pushed.
    Next,
}

/// What the application writes meanwhile: a fixed new value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Edit {
    /// To the item that base and next have differently.
    Contested,
    /// To the item that they have alike.
    Other,
}

/// A live state and its handler under test.
///
/// Its methods may panic where the live state can not be reached: that is a failed test, not a broken promise.
pub trait Subject {
    /// A fresh handler, as after a restart of the program.
    fn handler(&self) -> Box<dyn Handler>;

    /// The options of the state.
    fn options(&self) -> Options {
        Options::new()
    }

    /// Brings the live state to a variant, whatever it was. Called with the same variant, it may take another way there (rows
    /// in another order): the exports must be equal all the same.
    fn set(&self, variant: Variant);

    /// Whether [`Variant::Absent`] exists for this kind.
    fn can_be_absent(&self) -> bool {
        true
    }

    /// Writes as the application does.
    fn edit(&self, edit: Edit);

    /// Everything that the application sees, for comparing; not read through the handler.
    fn live(&self) -> Vec<u8>;

    /// Names of what operations left that were neither committed nor aborted: scratch schemas, temporary files, open
    /// transactions.
    fn leftovers(&self) -> Vec<String>;

    /// Ends what the engine still holds for a program that was killed: its sessions. The suite kills by forgetting.
    fn kill(&self) {}

    /// Whether this file may hold any content, so that garbage in it is no error; and so may be there, where no export has
    /// it.
    fn takes_any_content(&self, path: &StatePath) -> bool {
        path.name() == b".gitattributes"
    }
}

/// A promise that was not kept, in words.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Broken(pub(crate) String);

/// Whether a promise was kept.
pub type Outcome = Result<Kept, Broken>;

/// How a promise was kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kept {
    /// It was tested.
    Yes,
    /// The handler does not make this promise, as its caps say.
    NotMade,
}

/// What [`run_all`] found.
#[derive(Debug, Default)]
pub struct Report {
    /// Promises that were tested and kept.
    pub kept: Vec<&'static str>,
    /// Promises that the handler does not make.
    pub not_made: Vec<&'static str>,
    /// Promises that were broken, and how.
    pub failed: Vec<(&'static str, Broken)>,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} kept, {} not made, {} broken", self.kept.len(), self.not_made.len(), self.failed.len())?;
        self.failed.iter().try_for_each(|(promise, broken)| write!(f, "\n{promise}: {broken}"))
    }
}

/// A test of one promise.
pub type Promise = fn(&dyn Subject) -> Outcome;

/// Every promise by its name.
pub const PROMISES: [(&str, Promise); 16] = [
    ("determinism", determinism),
    ("round trip", round_trip),
    ("difference", difference),
    ("compare and swap", compare_and_swap),
    ("other items survive", other_items_survive),
    ("abort without a trace", abort_without_a_trace),
    ("kill before the decision", kill_before_the_decision),
    ("kill after the decision", kill_after_the_decision),
    ("prepared", prepared),
    ("late writes stay", late_writes_stay),
    ("hostile trees", hostile_trees),
    ("empty is not absent", empty_is_not_absent),
    ("progress", progress),
    ("cancellation", cancellation),
    ("replace", replace),
    ("broken carrier", broken_carrier),
];

/// Tests every promise.
pub fn run_all(subject: &dyn Subject) -> Report {
    let mut report = Report::default();
    for (name, promise) in PROMISES {
        match promise(subject) {
            Ok(Kept::Yes) => report.kept.push(name),
            Ok(Kept::NotMade) => report.not_made.push(name),
            Err(broken) => report.failed.push((name, broken)),
        }
    }
    report
}
