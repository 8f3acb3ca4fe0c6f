//! Checks a whole table.

use super::{Header, Limits, Reader, sorted};
use crate::{Cx, Error, Result, StatePath, Tree};

/// Reads a whole table and checks every line, and that no key is there twice. The header and the number of rows.
///
/// A table whose parts are in order, as they are exported, is read once and needs no scratch space.
///
/// # Errors
/// [`Error::Input`] with the place, or both places of a key that is there twice; where there is no part at all. Those of
/// [`super::Sorter`].
pub fn check(tree: &dyn Tree, folder: &StatePath, limits: Limits, cx: &Cx<'_>) -> Result<(Header, u64)> {
    let mut reader = Reader::new(tree, folder, limits)?;
    let missing = || Error::input(folder, None, "no row file; a table without rows has a first line still");
    let header = reader.header().cloned().ok_or_else(missing)?;
    let mut ranges = Ranges::default();
    let mut rows = 0;
    while let Some(line) = reader.next()? {
        rows += 1;
        ranges.add(line.file, line.key);
        if rows % 1024 == 0 {
            cx.check()?;
        }
    }
    if !header.key.is_empty() && !ranges.disjoint() {
        let mut rows = sorted(Reader::new(tree, folder, limits)?, limits, cx)?;
        while rows.current().is_some() {
            rows.advance()?;
        }
    }
    Ok((header, rows))
}

/// The first and last key of each part, as long as keys rise in it.
#[derive(Default)]
struct Ranges {
    parts: Vec<(Vec<u8>, Vec<u8>)>,
    file: Option<StatePath>,
    unordered: bool,
}

impl Ranges {
    fn add(&mut self, file: &StatePath, key: &[u8]) {
        match self.parts.last_mut() {
            Some((_, last)) if self.file.as_ref() == Some(file) => {
                self.unordered |= key <= last.as_slice();
                last.clear();
                last.extend_from_slice(key);
            }
            _ => {
                self.file = Some(file.clone());
                self.parts.push((key.to_vec(), key.to_vec()));
            }
        }
    }

    fn disjoint(mut self) -> bool {
        self.parts.sort();
        !self.unordered && self.parts.windows(2).all(|pair| pair[0].1 < pair[1].0)
    }
}
