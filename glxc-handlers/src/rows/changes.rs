//! The rows that differ between two trees.

use std::cmp::Ordering;
use std::collections::HashMap;

use super::{Header, Limits, Line, Reader, Sorted, Sorter};
use crate::{ContentId, Cx, Entry, Result, StatePath, Tree};

/// Where a row stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place<'a> {
    /// The part.
    pub file: &'a StatePath,
    /// The line in it, counted from 1.
    pub line: u64,
}

/// A row that differs. The place is that in next; of a removed row, that in base.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RowChange<'a> {
    /// Only next has it.
    Added {
        /// The row.
        line: &'a [u8],
        /// Where.
        place: Place<'a>,
    },
    /// Only base has it.
    Removed {
        /// The row.
        line: &'a [u8],
        /// Where it was.
        place: Place<'a>,
    },
    /// Both have the key, with other values.
    Changed {
        /// The row in base.
        old: &'a [u8],
        /// The row in next.
        new: &'a [u8],
        /// Where.
        place: Place<'a>,
    },
}

/// How many rows differ.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// In next only.
    pub added: u64,
    /// In both, with other values.
    pub changed: u64,
    /// In base only.
    pub removed: u64,
}

impl Counts {
    /// Counts one more.
    pub fn add(&mut self, change: &RowChange<'_>) {
        match change {
            RowChange::Added { .. } => self.added += 1,
            RowChange::Removed { .. } => self.removed += 1,
            RowChange::Changed { .. } => self.changed += 1,
        }
    }
}

/// The rows of one table that differ between two trees, in the order of their keys. Of a bag, equal lines are counted.
///
/// Only parts whose content differs are read, so a key that next has in a changed part and again in an unchanged one shows as
/// added here; where such a row is live already, [`super::check`] on next tells which of both it is. Where the columns differ, rows of one key are still told as changed;
/// where the keys themselves can not be compared (see [`Header::same_key`]), all rows of base are removed and then all of next
/// are added.
#[derive(Debug)]
pub struct Changes {
    base: Side,
    next: Side,
    comparable: bool,
    /// Whether equal lines are equal rows: both sides have the same columns.
    alike: bool,
}

#[derive(Debug)]
struct Side {
    header: Option<Header>,
    rows: Sorted,
    /// Its current row was given to the caller, who still may look at it.
    spent: bool,
}

impl Changes {
    /// Reads and sorts the parts that differ, in the scratch folder. A missing tree is an empty one.
    ///
    /// # Errors
    /// [`crate::Error::Input`] for a line that is not a row, and those of [`super::sorted`].
    pub fn new(
        base: Option<&dyn Tree>, next: Option<&dyn Tree>, folder: &StatePath, limits: Limits, cx: &Cx<'_>,
    ) -> Result<Self> {
        let (before, after) = (parts(base, folder), parts(next, folder));
        let empty = crate::MemoryTree::default();
        let mut old = Reader::of(base.unwrap_or(&empty), unmatched(before, after), limits)?;
        let mut new = Reader::of(next.unwrap_or(&empty), unmatched(after, before), limits)?;
        let (base_header, next_header) = (old.header().cloned(), new.header().cloned());
        let comparable = match (&base_header, &next_header) {
            (Some(a), Some(b)) => a.same_key(b),
            _ => true,
        };
        let alike = base_header == next_header;
        let (old, new) = differing(&mut old, &mut new, alike, limits, cx)?;
        let base = Side { header: base_header, rows: old, spent: false };
        let next = Side { header: next_header, rows: new, spent: false };
        Ok(Changes { base, next, comparable, alike })
    }

    /// The columns of base, where a part of base differs.
    pub fn base_header(&self) -> Option<&Header> {
        self.base.header.as_ref()
    }

    /// The columns of next, where a part of next differs.
    pub fn next_header(&self) -> Option<&Header> {
        self.next.header.as_ref()
    }

    /// The next row that differs. What it gives must be let go before the one after.
    ///
    /// # Errors
    /// [`crate::Error::Input`] where a side has the same key twice. [`crate::Error::Io`] on the scratch folder.
    #[allow(clippy::should_implement_trait)] // a change borrows both sides, so this can not be an `Iterator`
    pub fn next(&mut self) -> Result<Option<RowChange<'_>>> {
        let order = loop {
            self.base.let_go()?;
            self.next.let_go()?;
            let Some(order) = self.order() else { return Ok(None) };
            self.base.spent = order != Ordering::Greater;
            self.next.spent = order != Ordering::Less;
            if order != Ordering::Equal || !self.alike || self.line(true) != self.line(false) {
                break order;
            }
        };
        let change = match (order, self.base.rows.current(), self.next.rows.current()) {
            (Ordering::Less, Some(old), _) => RowChange::Removed { line: old.bytes, place: old.place() },
            (Ordering::Greater, _, Some(new)) => RowChange::Added { line: new.bytes, place: new.place() },
            (Ordering::Equal, Some(old), Some(new)) => {
                RowChange::Changed { old: old.bytes, new: new.bytes, place: new.place() }
            }
            _ => return Ok(None),
        };
        Ok(Some(change))
    }

    /// Goes through all and counts them.
    ///
    /// # Errors
    /// Those of [`Changes::next`].
    pub fn count(mut self) -> Result<Counts> {
        let mut counts = Counts::default();
        while let Some(change) = self.next()? {
            counts.add(&change);
        }
        Ok(counts)
    }

    /// Which side's row comes first. Rows of a bag have no key, so their lines decide.
    fn order(&self) -> Option<Ordering> {
        let (old, new) = (self.base.rows.current(), self.next.rows.current());
        let bag = |row: &Line<'_>| row.key.is_empty();
        match (old, new) {
            (None, None) => None,
            (Some(_), None) => Some(Ordering::Less),
            (None, Some(_)) => Some(Ordering::Greater),
            (Some(_), Some(_)) if !self.comparable => Some(Ordering::Less),
            (Some(old), Some(new)) if bag(&old) => Some(old.bytes.cmp(new.bytes)),
            (Some(old), Some(new)) => Some(old.key.cmp(new.key)),
        }
    }

    fn line(&self, base: bool) -> Option<&[u8]> {
        let side = if base { &self.base } else { &self.next };
        side.rows.current().map(|row| row.bytes)
    }
}

/// Sorts the rows of two sides, without most of those that both have; see [`walk`].
fn differing(
    old: &mut Reader<'_>, new: &mut Reader<'_>, alike: bool, limits: Limits, cx: &Cx<'_>,
) -> Result<(Sorted, Sorted)> {
    let sorter = |reader: &Reader<'_>| Sorter::new(reader.is_keyed(), limits, cx);
    let (mut gone, mut come) = (sorter(old), sorter(new));
    walk(old, new, alike, cx, &mut |row| gone.push(row), &mut |row| come.push(row))?;
    Ok((gone.finish()?, come.finish()?))
}

/// What is done with a row.
type Visit<'v> = &'v mut dyn FnMut(&Line<'_>) -> Result<()>;

/// Goes through the rows of two sides, without most of those that both have: where the parts of one name have the same row at
/// the same place in their order, it differs in nothing, and is not even parsed. So a few changes in large parts take little
/// time and memory.
pub(super) fn walk(
    old: &mut Reader<'_>, new: &mut Reader<'_>, alike: bool, cx: &Cx<'_>, gone: Visit<'_>, come: Visit<'_>,
) -> Result<()> {
    old.advance()?;
    new.advance()?;
    for count in 1u64.. {
        if count % 1024 == 0 {
            cx.check()?;
        }
        let same = |old: Line<'_>, new: Line<'_>| old.bytes == new.bytes && old.file == new.file;
        if alike && old.current().zip(new.current()).is_some_and(|(old, new)| same(old, new)) {
            old.skip_alike(new)?;
            old.advance()?;
            new.advance()?;
            continue;
        }
        old.parse()?;
        new.parse()?;
        let order = match (old.current(), new.current()) {
            (None, None) => break,
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some(old), Some(new)) => (old.file, old.key, old.bytes).cmp(&(new.file, new.key, new.bytes)),
        };
        if order != Ordering::Greater {
            old.current().map_or(Ok(()), |row| gone(&row))?;
            old.advance()?;
        }
        if order != Ordering::Less {
            new.current().map_or(Ok(()), |row| come(&row))?;
            new.advance()?;
        }
    }
    Ok(())
}

impl Side {
    fn let_go(&mut self) -> Result<()> {
        match std::mem::take(&mut self.spent) {
            true => self.rows.advance(),
            false => Ok(()),
        }
    }
}

fn parts<'t>(tree: Option<&'t dyn Tree>, folder: &StatePath) -> &'t [Entry] {
    tree.map_or(&[], |tree| tree.within(folder))
}

/// The parts whose content the other side does not have. A part that only moved is no difference.
pub(super) fn unmatched<'t>(parts: &'t [Entry], other: &'t [Entry]) -> Vec<&'t Entry> {
    let mut there: HashMap<(&ContentId, crate::Mode), usize> = HashMap::new();
    other.iter().for_each(|entry| *there.entry((&entry.id, entry.mode)).or_default() += 1);
    let mut is_there = |entry: &'t Entry| match there.get_mut(&(&entry.id, entry.mode)) {
        Some(count) if *count > 0 => {
            *count -= 1;
            true
        }
        _ => false,
    };
    parts.iter().filter(|entry| !is_there(entry)).collect()
}
