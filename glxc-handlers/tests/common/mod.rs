//! What the tests of the engines share.

pub mod folder;
pub mod postgres;
