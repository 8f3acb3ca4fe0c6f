//! Three versions of a table to one, by key and column by column.

use super::{Header, Limits, Line, Reader, Sorted, sorted};
use crate::{Cx, Error, Result, StatePath, Tree};

/// What stands for a value that a side does not know.
const NULL: &[u8] = b"\\N";

/// A row of the merged table, without its newline, or the versions of one that nobody can merge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Merged<'a> {
    /// A row.
    Row(&'a [u8]),
    /// Both sides changed it, each in its way.
    Conflict(Conflict<'a>),
}

/// The versions of one row, in the columns of the merged table. `None` where that side does not have it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Conflict<'a> {
    /// What both sides began with.
    pub base: Option<&'a [u8]>,
    /// The row on one side.
    pub ours: Option<&'a [u8]>,
    /// The row on the other.
    pub theirs: Option<&'a [u8]>,
}

/// What is merged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Whole tables.
    Table,
    /// One part of a table. A row that is gone from both sides may have moved to other parts, once on each side, so
    /// it is a conflict here.
    Part,
}

/// The rows of three versions of a table as one, in the order of their keys.
///
/// Different rows, and different columns of one row, merge. The same column changed to different values, a row removed here
/// and changed there, and a key inserted with different values are conflicts. In a bag the counts of equal lines merge:
/// where both sides changed one, alike, it is one change; else both changes count.
///
/// Columns that only one side added, removed or moved are those of the merged table. A new row that has no value for a new
/// column is a conflict, with `\N` in its place.
///
/// ```
/// use glxc_handlers::rows::{Limits, Merge, Merged, Scope};
/// use glxc_handlers::{Cancel, Cx, MemoryTree, Silent, StatePath};
///
/// # fn main() -> glxc_handlers::Result<()> {
/// let table = |row| MemoryTree::from([("t/rows.tsv", &*format!("#glxc-rows 1\tkey=1n\tid\tstatus\tnote\n{row}\n"))]);
/// let (base, ours, theirs) = (table("7\topen\t-"), table("7\tpaid\t-"), table("7\topen\tfragile"));
/// let scratch = tempfile::tempdir().unwrap();
/// # let (path, cancel) = (scratch.path(), Cancel::new());
/// # let cx = Cx { progress: &Silent, cancel: &cancel, deadline: None, scratch: path, op_dir: path };
/// let folder = StatePath::new("t").unwrap();
/// let mut merge = Merge::new([&base, &ours, &theirs], &folder, Scope::Table, Limits::default(), &cx)?;
/// assert_eq!(merge.next()?, Some(Merged::Row(b"7\tpaid\tfragile")));
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Merge {
    header: Header,
    /// Base, ours, theirs.
    sides: [Side; 3],
    scope: Scope,
    rows: [Vec<u8>; 3],
    merged: Vec<u8>,
    /// How many more times the merged line of a bag is to be given.
    repeat: u64,
}

#[derive(Debug)]
struct Side {
    /// For each column of the merged table, which column of this side it is. `None` where they are the same.
    columns: Option<Vec<Option<usize>>>,
    rows: Sorted,
}

impl Merge {
    /// Reads and sorts base, ours and theirs, in the scratch folder. A side without a part is an empty table.
    ///
    /// # Errors
    /// [`Error::Input`] for a line that is not a row, a key that is twice on one side, columns that both sides changed, or a
    /// key that one side defined anew. Those of [`sorted`].
    pub fn new(trees: [&dyn Tree; 3], folder: &StatePath, scope: Scope, limits: Limits, cx: &Cx<'_>) -> Result<Self> {
        let read = |tree| -> Result<_> {
            let reader = Reader::new(tree, folder, limits)?;
            let header = reader.header().cloned();
            Ok((header, sorted(reader, limits, cx)?))
        };
        let [base, ours, theirs] = trees;
        let (base, ours, theirs) = (read(base)?, read(ours)?, read(theirs)?);
        let header = merged_header([&base.0, &ours.0, &theirs.0], folder)?;
        let sides = [base, ours, theirs].map(|(own, rows)| Side {
            columns: own.filter(|own| *own != header).map(|own| mapping(&header, &own)),
            rows,
        });
        let (rows, merged) = Default::default();
        Ok(Merge { header, sides, scope, rows, merged, repeat: 0 })
    }

    /// The columns and the key of the merged table.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// The next row or conflict. What it gives must be let go before the one after.
    ///
    /// # Errors
    /// [`Error::Input`] where a side has the same key twice. [`Error::Io`] on the scratch folder.
    #[allow(clippy::should_implement_trait)] // a row borrows the merge, so this can not be an `Iterator`
    pub fn next(&mut self) -> Result<Option<Merged<'_>>> {
        if self.repeat > 0 {
            self.repeat -= 1;
            return Ok(Some(Merged::Row(&self.merged)));
        }
        match self.header.key.is_empty() {
            true => self.next_line(),
            false => self.next_row(),
        }
    }

    fn next_row(&mut self) -> Result<Option<Merged<'_>>> {
        loop {
            let Some(key) = self.first(|line| line.key) else { return Ok(None) };
            let mut there = [false; 3];
            let mut known = [true; 3];
            for (at, side) in self.sides.iter_mut().enumerate() {
                let Some(line) = side.rows.current().filter(|line| line.key == key) else { continue };
                there[at] = true;
                known[at] = project(line.bytes, side.columns.as_deref(), &mut self.rows[at]);
                side.rows.advance()?;
            }
            let outcome = self.merge_row(there, known);
            if outcome == Outcome::Gone {
                continue;
            }
            return Ok(Some(match outcome {
                Outcome::Side(side) => Merged::Row(&self.rows[side]),
                Outcome::Cells => Merged::Row(&self.merged),
                Outcome::Conflict | Outcome::Gone => {
                    let row = |at: usize| there[at].then_some(self.rows[at].as_slice());
                    Merged::Conflict(Conflict { base: row(0), ours: row(1), theirs: row(2) })
                }
            }));
        }
    }

    /// `there`: which sides have the row; `known`: whether they have a value for each of its columns.
    fn merge_row(&mut self, there: [bool; 3], known: [bool; 3]) -> Outcome {
        let unchanged = |side: usize| {
            cells(&self.rows[0])
                .zip(cells(&self.rows[side]))
                .enumerate()
                .all(|(column, (a, b))| a == b || !self.has(0, column) || !self.has(side, column))
        };
        match there {
            [true, false, false] if self.scope == Scope::Part => Outcome::Conflict,
            [_, false, false] => Outcome::Gone,
            [true, true, false] if unchanged(1) => Outcome::Gone,
            [true, false, true] if unchanged(2) => Outcome::Gone,
            [true, true, false] | [true, false, true] => Outcome::Conflict,
            [false, true, false] if known[1] => Outcome::Side(1),
            [false, false, true] if known[2] => Outcome::Side(2),
            [false, true, false] | [false, false, true] => Outcome::Conflict,
            [based, true, true] => self.merge_cells(based),
        }
    }

    fn merge_cells(&mut self, based: bool) -> Outcome {
        if self.rows[1] == self.rows[2] {
            return Outcome::Side(1);
        }
        let mut merged = std::mem::take(&mut self.merged);
        merged.clear();
        let mut base = cells(&self.rows[0]);
        for (column, (ours, theirs)) in cells(&self.rows[1]).zip(cells(&self.rows[2])).enumerate() {
            let base = base.next().filter(|_| based && self.has(0, column));
            let cell = match (self.has(1, column), self.has(2, column)) {
                (true, false) => ours,
                (false, true) => theirs,
                _ if ours == theirs || base == Some(theirs) => ours,
                _ if base == Some(ours) => theirs,
                _ => {
                    self.merged = merged;
                    return Outcome::Conflict;
                }
            };
            if column > 0 {
                merged.push(b'\t');
            }
            merged.extend_from_slice(cell);
        }
        self.merged = merged;
        Outcome::Cells
    }

    /// Whether a side has a column of the merged table.
    fn has(&self, side: usize, column: usize) -> bool {
        self.sides[side].columns.as_ref().is_none_or(|columns| columns.get(column).is_some_and(Option::is_some))
    }

    fn next_line(&mut self) -> Result<Option<Merged<'_>>> {
        loop {
            let Some(line) = self.first(|line| line.bytes) else { return Ok(None) };
            let mut counts = [0_u64; 3];
            for (count, side) in counts.iter_mut().zip(&mut self.sides) {
                while side.rows.current().is_some_and(|current| current.bytes == line) {
                    *count += 1;
                    side.rows.advance()?;
                }
            }
            self.merged = line;
            let [base, ours, theirs] = counts;
            if self.scope == Scope::Part && ours.max(theirs) < base {
                return Ok(Some(Merged::Conflict(Conflict { base: Some(&self.merged), ours: None, theirs: None })));
            }
            let merged = match (base, ours, theirs) {
                _ if ours == theirs || base == theirs => ours,
                _ if base == ours => theirs,
                _ => (ours + theirs).saturating_sub(base),
            };
            if merged > 0 {
                self.repeat = merged - 1;
                return Ok(Some(Merged::Row(&self.merged)));
            }
        }
    }

    /// The least of what the sides have next.
    fn first(&self, of: for<'l> fn(&Line<'l>) -> &'l [u8]) -> Option<Vec<u8>> {
        self.sides.iter().filter_map(|side| side.rows.current().map(|line| of(&line).to_vec())).min()
    }
}

#[derive(PartialEq, Eq)]
enum Outcome {
    Gone,
    Side(usize),
    Cells,
    Conflict,
}

fn cells(row: &[u8]) -> impl Iterator<Item = &[u8]> {
    row.split(|b| *b == b'\t')
}

/// The header that the merged table has: that of the side which changed it.
fn merged_header(headers: [&Option<Header>; 3], folder: &StatePath) -> Result<Header> {
    let refuse = |message: &str| Err(Error::input(folder, None, message));
    let (base, ours, theirs) = match headers {
        [base, Some(ours), Some(theirs)] => (base.as_ref(), ours, theirs),
        [_, Some(only), None] | [_, None, Some(only)] | [Some(only), None, None] => return Ok(only.clone()),
        _ => return refuse("no row file on any side"),
    };
    if ours == theirs || base == Some(theirs) {
        check_key(base, ours, folder)?;
        return Ok(ours.clone());
    }
    if base != Some(ours) {
        return refuse(
            "both sides changed the columns of this table: take one side's files and make the other's change again",
        );
    }
    check_key(base, theirs, folder)?;
    Ok(theirs.clone())
}

/// Rows are matched by key, so all sides must have the same.
fn check_key(base: Option<&Header>, merged: &Header, folder: &StatePath) -> Result<()> {
    match base {
        Some(base) if base != merged && (!base.same_key(merged) || merged.key.is_empty()) => {
            let message = "one side changed the key of this table, or the columns of a table without one: take that \
                           side's files and make the other's change again";
            Err(Error::input(folder, None, message))
        }
        _ => Ok(()),
    }
}

fn mapping(merged: &Header, side: &Header) -> Vec<Option<usize>> {
    merged.columns.iter().map(|name| side.columns.iter().position(|other| other == name)).collect()
}

/// Writes a row of a side in the columns of the merged table; whether it has a value for each.
fn project(line: &[u8], columns: Option<&[Option<usize>]>, row: &mut Vec<u8>) -> bool {
    row.clear();
    let Some(columns) = columns else {
        row.extend_from_slice(line);
        return true;
    };
    let values: Vec<&[u8]> = cells(line).collect();
    for (at, column) in columns.iter().enumerate() {
        if at > 0 {
            row.push(b'\t');
        }
        row.extend_from_slice(column.and_then(|column| values.get(column).copied()).unwrap_or(NULL));
    }
    columns.iter().all(Option::is_some)
}
