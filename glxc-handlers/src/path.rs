//! Paths beneath the folder of a state.

use std::fmt;

/// A path beneath the folder of a state, as bytes with `/` between the components.
///
/// It never is empty, absolute, or has an empty, `.` or `..` component or a NUL byte, so joining it to
/// a folder stays beneath that folder as long as no component is a symbolic link.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StatePath(Vec<u8>);

/// A path that can not be a [`StatePath`].
#[derive(Debug, thiserror::Error)]
#[error("not a path beneath a state: {}", .0.escape_ascii())]
pub struct InvalidPath(Vec<u8>);

impl StatePath {
    /// Checks and takes a path.
    ///
    /// # Errors
    /// [`InvalidPath`] where it is empty or absolute, or has an empty, `.` or `..` component or NUL.
    pub fn new(path: impl AsRef<[u8]>) -> Result<Self, InvalidPath> {
        let bytes = path.as_ref();
        let component = |c: &[u8]| !matches!(c, b"" | b"." | b"..");
        if bytes.contains(&0) || !bytes.split(|b| *b == b'/').all(component) {
            return Err(InvalidPath(bytes.to_vec()));
        }
        Ok(StatePath(bytes.to_vec()))
    }

    /// The path followed by a further one.
    ///
    /// # Errors
    /// [`InvalidPath`] where the further one could not stand alone.
    pub fn join(&self, further: impl AsRef<[u8]>) -> Result<Self, InvalidPath> {
        let further = StatePath::new(further)?;
        Ok(StatePath([self.0.as_slice(), b"/", &further.0].concat()))
    }

    /// The bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The text, where it is UTF-8.
    pub fn as_str(&self) -> Option<&str> {
        std::str::from_utf8(&self.0).ok()
    }

    /// The last component.
    pub fn name(&self) -> &[u8] {
        self.0.rsplit(|b| *b == b'/').next().unwrap_or(&self.0)
    }

    /// The components, outermost first.
    pub fn components(&self) -> impl Iterator<Item = &[u8]> {
        self.0.split(|b| *b == b'/')
    }

    /// Whether it is `folder` itself or stands beneath it.
    pub fn is_within(&self, folder: &StatePath) -> bool {
        self.0.strip_prefix(folder.0.as_slice()).is_some_and(|rest| rest.is_empty() || rest[0] == b'/')
    }

    /// What follows `folder/`, where it stands beneath it.
    pub fn beneath(&self, folder: &StatePath) -> Option<StatePath> {
        let rest = self.0.strip_prefix(folder.0.as_slice())?.strip_prefix(b"/")?;
        Some(StatePath(rest.to_vec()))
    }
}

/// Prints the path with everything but printable ASCII and valid printable UTF-8 escaped, so that a name
/// can not write to a terminal what it likes.
impl fmt::Display for StatePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for chunk in self.0.utf8_chunks() {
            for c in chunk.valid().chars() {
                match c {
                    '\\' => f.write_str("\\\\")?,
                    c if crate::text::is_unsafe(c) => write!(f, "{}", c.escape_unicode())?,
                    c => write!(f, "{c}")?,
                }
            }
            for byte in chunk.invalid() {
                write!(f, "\\x{byte:02x}")?;
            }
        }
        Ok(())
    }
}

impl fmt::Debug for StatePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "StatePath({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_what_leaves_the_folder() {
        for bad in ["", "/", "/a", "a/", "a//b", ".", "..", "a/../b", "a/./b", "a\0b"] {
            assert!(StatePath::new(bad).is_err(), "{bad:?}");
        }
        for good in ["a", "a/b", ".gitattributes", "a/..b", "\u{e9}"] {
            assert!(StatePath::new(good).is_ok(), "{good:?}");
        }
    }

    #[test]
    fn within_is_by_component() {
        let path = StatePath::new("data/orders/rows.tsv").unwrap();
        assert!(path.is_within(&StatePath::new("data/orders").unwrap()));
        assert!(path.is_within(&path));
        assert!(!path.is_within(&StatePath::new("data/ord").unwrap()));
        assert_eq!(path.beneath(&StatePath::new("data").unwrap()).unwrap().to_string(), "orders/rows.tsv");
    }

    #[test]
    fn prints_without_control_characters() {
        let path = StatePath::new(b"a\x1b[2J\xff\xe2\x80\xaeb").unwrap();
        assert_eq!(path.to_string(), "a\\u{1b}[2J\\xff\\u{202e}b");
    }
}
