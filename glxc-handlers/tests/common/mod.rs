//! What the tests of the engines share.

pub mod battery;
pub mod folder;
pub mod memory;
#[cfg(feature = "mongodb")]
pub mod mongodb;
#[cfg(feature = "mysql")]
pub mod mysql;
#[cfg(feature = "postgresql")]
pub mod postgres;
mod skip;
pub mod states;

#[allow(unused_imports, reason = "some tests run everywhere")]
pub use skip::skip;
