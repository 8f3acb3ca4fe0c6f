//! The handler of MariaDB and MySQL, against a real server.
#![cfg(feature = "mysql")]
#![allow(missing_docs, clippy::print_stderr, clippy::print_stdout, dead_code)]

mod common;
#[path = "mysql/harness.rs"]
mod harness;

#[path = "mysql/conformance.rs"]
mod conformance;
#[path = "mysql/differential.rs"]
mod differential;
#[path = "mysql/export.rs"]
mod export;
#[path = "mysql/load.rs"]
mod load;
#[path = "mysql/memory.rs"]
mod memory;
#[path = "mysql/rules.rs"]
mod rules;
