//! Checks a whole table.

use super::changes::{unmatched, walk};
use super::{Header, Limits, Reader, Sorted, Sorter, sorted};
use crate::{Cx, Entry, Error, Result, StatePath, Tree};

/// Reads a whole table and checks every line, and that no key is there twice. The header and the number of rows.
///
/// A table whose parts are in order, as they are exported, is read once and needs no scratch space.
///
/// # Errors
/// [`Error::Input`] with the place, or both places of a key that is there twice; where there is no part at all. Those of
/// [`super::Sorter`].
pub fn check(tree: &dyn Tree, folder: &StatePath, limits: Limits, cx: &Cx<'_>) -> Result<(Header, u64)> {
    let parts: Vec<&Entry> = tree.within(folder).iter().collect();
    let (header, rows) = check_parts(tree, &parts, 0, limits, cx)?;
    let missing = || Error::input(folder, None, "no row file; a table without rows has a first line still");
    Ok((header.ok_or_else(missing)?, rows))
}

/// The same of what base, which was checked, does not have. Of parts that it has only a first line is read, and where a part
/// of next has the rows of the one of that name in base, those are not checked again.
///
/// A key that is there again in what base has is not found: [`super::Changes`] tells such a row as added, and who adds a row
/// that is live already calls [`check`].
///
/// # Errors
/// As for [`check`].
pub fn check_changed(base: &dyn Tree, next: &dyn Tree, folder: &StatePath, limits: Limits, cx: &Cx<'_>) -> Result<()> {
    let (before, after) = (base.within(folder), next.within(folder));
    let changed = unmatched(after, before);
    let gone = unmatched(before, after);
    if !gone.is_empty() && !changed.is_empty() && check_rows(base, &gone, next, &changed, limits, cx)? {
        return Ok(());
    }
    let is_known = |entry: &&Entry| changed.binary_search_by(|other| other.path.cmp(&entry.path)).is_err();
    if let (Some(known), false) = (after.iter().find(is_known), changed.is_empty()) {
        let parts: Vec<&Entry> = [known].into_iter().chain(changed).collect();
        return check_parts(next, &parts, 1, limits, cx).map(drop);
    }
    check_parts(next, &changed, 0, limits, cx).map(drop)
}

/// Checks the rows of changed parts that differ from those of base. `false` where the columns differ, so that every row does.
fn check_rows(
    base: &dyn Tree, gone: &[&Entry], next: &dyn Tree, changed: &[&Entry], limits: Limits, cx: &Cx<'_>,
) -> Result<bool> {
    let open = || -> Result<(Reader<'_>, Reader<'_>)> {
        Ok((Reader::of(base, gone.to_vec(), limits)?, Reader::of(next, changed.to_vec(), limits)?))
    };
    let (mut old, mut new) = open()?;
    if old.header() != new.header() {
        return Ok(false);
    }
    let mut ranges = Ranges { room: limits.memory, ..Ranges::default() };
    walk(&mut old, &mut new, true, cx, &mut |_| Ok(()), &mut |row| {
        ranges.add(row.file, row.key);
        Ok(())
    })?;
    if new.is_keyed() && !ranges.disjoint() {
        let (mut old, mut new) = open()?;
        let mut rows = Sorter::new(true, limits, cx);
        walk(&mut old, &mut new, true, cx, &mut |_| Ok(()), &mut |row| rows.push(row))?;
        find_twice(rows.finish()?)?;
    }
    Ok(true)
}

/// Goes through all rows; a key that is there twice is an error.
fn find_twice(mut rows: Sorted) -> Result<()> {
    while rows.current().is_some() {
        rows.advance()?;
    }
    Ok(())
}

/// Checks parts of one table. Of the first `known` ones only the first line is read. The header, where there is one, and the
/// number of rows.
fn check_parts(
    tree: &dyn Tree, parts: &[&Entry], known: usize, limits: Limits, cx: &Cx<'_>,
) -> Result<(Option<Header>, u64)> {
    let open = || -> Result<Reader<'_>> {
        let mut reader = Reader::of(tree, parts.to_vec(), limits)?;
        (0..known).try_for_each(|_| reader.skip_part())?;
        Ok(reader)
    };
    let mut reader = open()?;
    let header = reader.header().cloned();
    let mut ranges = Ranges { room: limits.memory, ..Ranges::default() };
    let mut rows = 0;
    while let Some(line) = reader.next()? {
        rows += 1;
        ranges.add(line.file, line.key);
        if rows % 1024 == 0 {
            cx.check()?;
        }
    }
    if reader.is_keyed() && !ranges.disjoint() {
        find_twice(sorted(open()?, limits, cx)?)?;
    }
    Ok((header, rows))
}

/// The first and last key of each part, as long as keys rise in it and there is room for all of them.
#[derive(Default)]
struct Ranges {
    parts: Vec<(Vec<u8>, Vec<u8>)>,
    /// How many bytes they may still take.
    room: usize,
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
                // Where keys are that long, sorting takes less.
                let taken = key.len() + self.parts.last().map_or(0, |(_, last)| last.len());
                match self.room.checked_sub(taken) {
                    Some(room) => (self.room, _) = (room, self.parts.push((key.to_vec(), key.to_vec()))),
                    None => (self.unordered, self.parts) = (true, Vec::new()),
                }
            }
        }
    }

    fn disjoint(mut self) -> bool {
        self.parts.sort();
        !self.unordered && self.parts.windows(2).all(|pair| pair[0].1 < pair[1].0)
    }
}
