//! Rows in any order to rows in order, in bounded memory.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::collections::binary_heap::PeekMut;
use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Seek, Write};
use std::path::PathBuf;

use super::{Limits, Line, Place, Reader, Writer};
use crate::{Cx, Error, Result, StatePath};

/// How many runs are merged at a time, where their rows are small.
const FAN: usize = 64;

/// Sorts rows by key, then by line. What does not fit into memory goes to unnamed files in the scratch folder.
#[derive(Debug)]
pub struct Sorter {
    scratch: PathBuf,
    memory: usize,
    keyed: bool,
    files: Vec<StatePath>,
    batch: Batch,
    /// Sorted runs; those of one level are merged to one of the next.
    levels: Vec<Vec<Source>>,
    longest: usize,
}

impl Sorter {
    /// An empty one; `keyed` says whether the same key twice is an error.
    pub fn new(keyed: bool, limits: Limits, cx: &Cx<'_>) -> Self {
        let (memory, scratch) = (limits.memory, cx.scratch.to_path_buf());
        Sorter { scratch, memory, keyed, files: Vec::new(), batch: Batch::default(), levels: Vec::new(), longest: 0 }
    }

    /// Adds a row.
    ///
    /// # Errors
    /// [`Error::Io`] on the scratch folder.
    pub fn push(&mut self, line: &Line<'_>) -> Result<()> {
        if self.files.last() != Some(line.file) {
            self.files.push(line.file.clone());
        }
        self.longest = self.longest.max(line.bytes.len() + line.key.len());
        self.batch.push(line, self.files.len() - 1);
        if self.batch.size() >= self.memory {
            let batch = std::mem::take(&mut self.batch);
            self.spill(vec![batch.sorted()], 0).map_err(Error::io("sort rows in", &self.scratch))?;
        }
        Ok(())
    }

    /// All rows in order, of which the first is current.
    ///
    /// # Errors
    /// [`Error::Io`] on the scratch folder.
    pub fn finish(mut self) -> Result<Sorted> {
        let mut sources: Vec<Source> = self.levels.drain(..).flatten().collect();
        sources.push(self.batch.sorted());
        let merge = Merge::new(sources).map_err(Error::io("sort rows in", &self.scratch))?;
        let (keyed, files, scratch) = (self.keyed, self.files, self.scratch);
        let mut sorted = Sorted {
            merge,
            row: Row::default(),
            last_key: Vec::new(),
            started: false,
            ended: false,
            keyed,
            files,
            scratch,
        };
        sorted.advance()?;
        Ok(sorted)
    }

    /// Merges runs to one on a level, and that level where it is full.
    fn spill(&mut self, sources: Vec<Source>, level: usize) -> io::Result<()> {
        let run = write_run(sources, &self.scratch)?;
        if self.levels.len() == level {
            self.levels.push(Vec::new());
        }
        self.levels[level].push(run);
        let fan = (2 * self.memory / self.longest.max(1)).clamp(2, FAN);
        if self.levels[level].len() < fan {
            return Ok(());
        }
        let full = std::mem::take(&mut self.levels[level]);
        self.spill(full, level + 1)
    }
}

/// Rows in order. One is current; the same key twice is an error where rows have one.
#[derive(Debug)]
pub struct Sorted {
    merge: Merge,
    row: Row,
    last_key: Vec<u8>,
    started: bool,
    ended: bool,
    keyed: bool,
    files: Vec<StatePath>,
    scratch: PathBuf,
}

impl Sorted {
    /// Writes all rows.
    ///
    /// # Errors
    /// As for [`Sorted::advance`] and [`Writer::line`].
    pub fn write(mut self, writer: &mut Writer<'_>) -> Result<()> {
        while let Some(line) = self.current() {
            writer.line(line.bytes)?;
            self.advance()?;
        }
        Ok(())
    }

    /// The current row; `None` behind the last.
    pub fn current(&self) -> Option<Line<'_>> {
        let Row { key, line, file, number } = &self.row;
        (!self.ended).then(|| Line { bytes: line, key, file: &self.files[*file], number: *number })
    }

    /// Makes the next row current.
    ///
    /// # Errors
    /// [`Error::Input`] where it has the key of the one before, with both places. [`Error::Io`] on the scratch folder.
    pub fn advance(&mut self) -> Result<()> {
        let (file, number) = (self.row.file, self.row.number);
        self.last_key.clone_from(&self.row.key);
        self.ended = !self.merge.next(&mut self.row).map_err(Error::io("sort rows in", &self.scratch))?;
        if self.started && !self.ended && self.keyed && self.row.key == self.last_key {
            let first = format!("{}:{number}", self.files[file]);
            let message = format!("the same key as in {first}");
            return Err(Error::input(&self.files[self.row.file], self.row.number, message));
        }
        self.started = true;
        Ok(())
    }
}

/// Sorts what a reader gives.
///
/// # Errors
/// Those of the reader and of [`Sorter`], and those of [`Cx::check`].
pub fn sorted(mut reader: Reader<'_>, limits: Limits, cx: &Cx<'_>) -> Result<Sorted> {
    let mut sorter = Sorter::new(reader.is_keyed(), limits, cx);
    while let Some(line) = reader.next()? {
        sorter.push(&line)?;
        if line.number % 1024 == 0 {
            cx.check()?;
        }
    }
    sorter.finish()
}

impl<'r> Line<'r> {
    /// Where the row stands.
    pub fn place(&self) -> Place<'r> {
        Place { file: self.file, line: self.number }
    }
}

/// A row on its own. The order of the fields is the order of rows.
#[derive(Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
struct Row {
    key: Vec<u8>,
    line: Vec<u8>,
    file: usize,
    number: u64,
}

/// Rows in one piece of memory.
#[derive(Debug, Default)]
struct Batch {
    bytes: Vec<u8>,
    slots: Vec<Slot>,
}

/// Where in the bytes key and line of a row stand.
#[derive(Clone, Copy, Debug)]
struct Slot {
    key: usize,
    line: usize,
    end: usize,
    file: usize,
    number: u64,
}

impl Batch {
    fn size(&self) -> usize {
        self.bytes.len() + self.slots.len() * size_of::<Slot>()
    }

    fn push(&mut self, line: &Line<'_>, file: usize) {
        let key = self.bytes.len();
        let middle = key + line.key.len();
        self.bytes.extend_from_slice(line.key);
        self.bytes.extend_from_slice(line.bytes);
        self.slots.push(Slot { key, line: middle, end: self.bytes.len(), file, number: line.number });
    }

    /// The rows, last first, to be taken from the end.
    fn sorted(mut self) -> Source {
        let bytes = &self.bytes;
        let row = |slot: &Slot| (&bytes[slot.key..slot.line], &bytes[slot.line..slot.end], slot.file, slot.number);
        self.slots.sort_unstable_by(|a, b| row(b).cmp(&row(a)));
        Source::Memory(self)
    }
}

/// A sorted run.
#[derive(Debug)]
enum Source {
    Memory(Batch),
    File(BufReader<File>),
}

impl Source {
    /// Fills in the next row. Whether there was one.
    fn next(&mut self, row: &mut Row) -> io::Result<bool> {
        match self {
            Source::Memory(batch) => {
                let Some(slot) = batch.slots.pop() else { return Ok(false) };
                row.key.clear();
                row.key.extend_from_slice(&batch.bytes[slot.key..slot.line]);
                row.line.clear();
                row.line.extend_from_slice(&batch.bytes[slot.line..slot.end]);
                (row.file, row.number) = (slot.file, slot.number);
                Ok(true)
            }
            Source::File(input) => read_row(input, row),
        }
    }
}

fn read_row(input: &mut impl Read, row: &mut Row) -> io::Result<bool> {
    let mut numbers = [[0; 8]; 4];
    match input.read_exact(numbers.as_flattened_mut()) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(false),
        outcome => outcome?,
    }
    let [key, line, file, number] = numbers.map(u64::from_le_bytes);
    row.key.resize(key as usize, 0);
    input.read_exact(&mut row.key)?;
    row.line.resize(line as usize, 0);
    input.read_exact(&mut row.line)?;
    (row.file, row.number) = (file as usize, number);
    Ok(true)
}

fn write_row(output: &mut impl Write, row: &Row) -> io::Result<()> {
    for number in [row.key.len() as u64, row.line.len() as u64, row.file as u64, row.number] {
        output.write_all(&number.to_le_bytes())?;
    }
    output.write_all(&row.key)?;
    output.write_all(&row.line)
}

fn write_run(sources: Vec<Source>, scratch: &std::path::Path) -> io::Result<Source> {
    let mut output = BufWriter::new(tempfile::tempfile_in(scratch)?);
    let (mut merge, mut row) = (Merge::new(sources)?, Row::default());
    while merge.next(&mut row)? {
        write_row(&mut output, &row)?;
    }
    let mut file = output.into_inner().map_err(io::IntoInnerError::into_error)?;
    file.rewind()?;
    Ok(Source::File(BufReader::with_capacity(32 << 10, file)))
}

/// Several runs as one.
#[derive(Debug)]
struct Merge {
    sources: Vec<Source>,
    heads: BinaryHeap<Reverse<(Row, usize)>>,
}

impl Merge {
    fn new(mut sources: Vec<Source>) -> io::Result<Self> {
        let mut heads = BinaryHeap::new();
        for (at, source) in sources.iter_mut().enumerate() {
            let mut row = Row::default();
            if source.next(&mut row)? {
                heads.push(Reverse((row, at)));
            }
        }
        Ok(Merge { sources, heads })
    }

    /// Swaps the next row in. Whether there was one.
    fn next(&mut self, row: &mut Row) -> io::Result<bool> {
        let Some(mut head) = self.heads.peek_mut() else { return Ok(false) };
        let Reverse((least, source)) = &mut *head;
        std::mem::swap(least, row);
        if !self.sources[*source].next(least)? {
            PeekMut::pop(head);
        }
        Ok(true)
    }
}
