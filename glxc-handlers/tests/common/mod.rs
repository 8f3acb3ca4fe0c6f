//! What the tests of the engines share.

pub mod postgres;
