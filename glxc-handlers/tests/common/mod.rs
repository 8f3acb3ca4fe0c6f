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
pub mod states;

/// Says why tests are skipped, or fails where skipping is not allowed: then there is nothing that they could not have.
pub fn skip(reason: &str) {
    let required = ["CI", "GLXC_TEST_REQUIRE"].iter().any(|name| std::env::var_os(name).is_some());
    assert!(!required, "{reason}");
    eprintln!("skipped: {reason}");
}
