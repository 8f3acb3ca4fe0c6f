//! The MongoDB handler, against a real server.
#![cfg(feature = "mongodb")]
#![allow(missing_docs, clippy::print_stderr, clippy::print_stdout, dead_code)]

mod common;
#[path = "mongodb/harness.rs"]
mod harness;

#[path = "mongodb/answers.rs"]
mod answers;
#[path = "mongodb/conformance.rs"]
mod conformance;
#[path = "mongodb/export.rs"]
mod export;
#[path = "mongodb/import.rs"]
mod import;
#[path = "mongodb/login.rs"]
mod login;
#[path = "mongodb/memory.rs"]
mod memory;
#[path = "mongodb/recover.rs"]
mod recover;
#[path = "mongodb/rules.rs"]
mod rules;
