//! Names of containers.

use std::fmt;

use crate::{Error, Result};

/// A name of a container: `[A-Za-z0-9][A-Za-z0-9_.-]{0,62}` without `..`.
///
/// liblxc itself takes `..`, `a/b` and the empty name, and makes paths of them.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ContainerName(String);

impl ContainerName {
    /// Checks and takes a name.
    ///
    /// # Errors
    /// [`Error::Name`].
    pub fn new(name: impl Into<String>) -> Result<Self> {
        let name = name.into();
        let rest = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-');
        let good = name.len() <= 63
            && name.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric())
            && name.bytes().all(rest)
            && !name.contains("..");
        if good { Ok(ContainerName(name)) } else { Err(Error::Name(name)) }
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ContainerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_paths_options_and_what_needs_quoting() {
        let long = "a".repeat(64);
        for bad in ["", ".", "..", "a..b", "a/b", "../x", "-n", ".a", "_a", "a b", "a\n", "a%", "\u{e9}", &long] {
            assert!(matches!(ContainerName::new(bad), Err(Error::Name(_))), "{bad:?}");
        }
        for good in ["a", "demo", "9-x_y.z", &long[1..]] {
            assert_eq!(ContainerName::new(good).unwrap().as_str(), good);
        }
    }
}
