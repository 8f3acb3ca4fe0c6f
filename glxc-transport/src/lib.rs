//! Git as the carrier of live state.
//!
//! A [`StateRepository`] is a bare git repository next to some live states. Before a client fetches,
//! [`StateRepository::export`] commits what changed live. When a client pushes, [`proc_receive`] applies the change to
//! the live states, all of it or nothing, and only then moves the branch. Which states there are stands in the
//! [`Config`] of the commit; what a state is, only its [`glxc_handlers::Handler`] knows.
//!
//! ```
//! use std::sync::Arc;
//! use glxc_handlers::{Cancel, Registry, Silent};
//! use glxc_transport::{Error, Parts, StateRepository, Waits};
//!
//! let folder = tempfile::tempdir().unwrap();
//! let repository = StateRepository::open(Parts {
//!     folder: folder.path().join("glxc"),
//!     hooks: folder.path().join("hooks"),
//!     container: "demo".into(),
//!     registry: Registry::new(),
//!     setup: None,
//!     progress: Arc::new(Silent),
//!     cancel: Cancel::new(),
//!     waits: Waits::default(),
//!     attendant: None,
//! })
//! .unwrap();
//! repository.bind("main").unwrap();
//! assert!(matches!(repository.export(), Err(Error::Unborn { .. })));
//! ```
//!
//! The program `examples/host` serves such a repository to git on this machine, with a kind of state of its own.

mod check;
mod config;
mod error;
mod export;
mod git;
mod hooks;
mod import;
mod journal;
mod lock;
mod objects;
pub mod pkt;
mod preview;
mod push;
mod repository;
mod setup;
mod tree;

pub use config::{Config, ConfigError, Container, FILE as CONFIG_FILE, PushPolicy, StateConfig, Url, is_name};
pub use error::{Error, Result};
pub use git::{Git, MINIMUM_VERSION, ObjectId};
pub use hooks::{PLAN, PLAN_ONLY, pre_receive, proc_receive};
pub use repository::{Parts, StateRepository, Waits};
pub use setup::{SYSCONF, Setup};
pub use tree::GitTree;
