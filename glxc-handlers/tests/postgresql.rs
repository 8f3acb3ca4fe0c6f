//! The PostgreSQL handler, against a real server.
#![cfg(feature = "postgresql")]
#![allow(missing_docs, clippy::print_stderr, clippy::print_stdout, dead_code)]

#[path = "data/changes.rs"]
mod cases;
mod common;
#[path = "postgresql/harness.rs"]
mod harness;

#[path = "postgresql/conformance.rs"]
mod conformance;
#[path = "postgresql/differential.rs"]
mod differential;
#[path = "postgresql/export.rs"]
mod export;
#[path = "postgresql/folder.rs"]
mod folder;
#[path = "postgresql/hostile.rs"]
mod hostile;
#[path = "postgresql/in_place.rs"]
mod in_place;
#[path = "postgresql/load.rs"]
mod load;
#[path = "postgresql/memory.rs"]
mod memory;
#[path = "postgresql/pairs.rs"]
mod pairs;
#[path = "postgresql/recover.rs"]
mod recover;
#[path = "postgresql/rules.rs"]
mod rules;
#[path = "postgresql/schema.rs"]
mod schema;
#[path = "postgresql/versions.rs"]
mod versions;
