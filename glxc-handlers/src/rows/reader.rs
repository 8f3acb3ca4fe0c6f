//! Parts to rows.

use std::io::{BufRead, BufReader, Read};

use super::{BadRow, Header, Limits, header};
use crate::{Entry, Error, Mode, Result, StatePath, Tree};

const LFS: &[u8] = b"version https://git-lfs.github.com/spec/";

/// How much is read of a part at a time, in bytes.
const BUFFER: usize = 64 << 10;

/// Reads the rows of all parts of one table, part after part, in the order in which they stand there.
#[derive(Debug)]
pub struct Reader<'t> {
    tree: &'t dyn Tree,
    rest: Vec<&'t Entry>,
    limits: Limits,
    header: Option<Header>,
    /// The first part and its first line: all others must have the same.
    first: Option<(&'t StatePath, Vec<u8>)>,
    part: Option<Part<'t>>,
    key: Vec<u8>,
    line: Vec<u8>,
    /// Whether the key is that of the line.
    parsed: bool,
}

struct Part<'t> {
    input: BufReader<Box<dyn Read + 't>>,
    file: &'t StatePath,
    number: u64,
}

impl std::fmt::Debug for Part<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.file, self.number)
    }
}

/// A row and its place.
#[derive(Clone, Copy, Debug)]
pub struct Line<'r> {
    /// The row, without its newline.
    pub bytes: &'r [u8],
    /// Its key, as [`Header::push_key`] makes it.
    pub key: &'r [u8],
    /// The part in which it stands.
    pub file: &'r StatePath,
    /// Its line there, counted from 1.
    pub number: u64,
}

impl<'t> Reader<'t> {
    /// Begins to read a table in its folder.
    ///
    /// # Errors
    /// [`Error::Input`] where the folder holds anything but row files, or the first is none. [`Error::Carrier`].
    pub fn new(tree: &'t dyn Tree, folder: &StatePath, limits: Limits) -> Result<Self> {
        Reader::of(tree, tree.within(folder).iter().collect(), limits)
    }

    /// Reads certain parts only.
    pub(super) fn of(tree: &'t dyn Tree, mut parts: Vec<&'t Entry>, limits: Limits) -> Result<Self> {
        for Entry { path, mode, .. } in &parts {
            if *mode != Mode::File {
                return Err(Error::input(path, None, "not a plain file"));
            }
            if !path.name().ends_with(b".tsv") {
                return Err(Error::input(
                    path,
                    None,
                    "not expected here: a table's folder holds row files (.tsv) only",
                ));
            }
        }
        parts.reverse();
        let (key, line) = Default::default();
        let mut reader =
            Reader { tree, rest: parts, limits, header: None, first: None, part: None, key, line, parsed: false };
        reader.open_next()?;
        Ok(reader)
    }

    /// The first line of all parts; `None` where there is no part.
    pub fn header(&self) -> Option<&Header> {
        self.header.as_ref()
    }

    /// Whether the rows have a key.
    pub(super) fn is_keyed(&self) -> bool {
        self.header.as_ref().is_some_and(|header| !header.key.is_empty())
    }

    /// The next row. What it gives must be let go before the one after.
    ///
    /// # Errors
    /// [`Error::Input`] with file and line where a line is not a row, [`Error::Carrier`].
    #[allow(clippy::should_implement_trait)] // a row borrows the reader, so this can not be an `Iterator`
    pub fn next(&mut self) -> Result<Option<Line<'_>>> {
        self.advance()?;
        self.parse()?;
        Ok(self.current())
    }

    /// Makes the next line current, which [`Reader::parse`] has to take for a row yet.
    pub(super) fn advance(&mut self) -> Result<()> {
        self.parsed = false;
        while let Some(part) = &mut self.part {
            if part.read_line(&mut self.line, self.limits.line)? {
                break;
            }
            self.open_next()?;
        }
        Ok(())
    }

    /// Leaves out what both sides have at the same place of parts of one name, in whole lines behind the current ones, which
    /// are alike.
    pub(super) fn skip_alike(&mut self, other: &mut Reader<'_>) -> Result<()> {
        let (Some(one), Some(two)) = (&mut self.part, &mut other.part) else { return Ok(()) };
        if one.file != two.file {
            return Ok(());
        }
        loop {
            let (ours, theirs) = (one.fill()?, two.fill()?);
            let common = common_prefix(ours, theirs);
            let Some(last) = ours[..common].iter().rposition(|byte| *byte == b'\n') else { return Ok(()) };
            let lines = ours[..=last].iter().filter(|byte| **byte == b'\n').count() as u64;
            one.leave_out(last + 1, lines);
            two.leave_out(last + 1, lines);
        }
    }

    /// Checks the current line, and makes its key.
    pub(super) fn parse(&mut self) -> Result<()> {
        let (Some(part), Some(header), false) = (&self.part, &self.header, self.parsed) else { return Ok(()) };
        self.key.clear();
        let checked = header.check_line(&self.line).and_then(|()| header.push_key(&self.line, &mut self.key));
        self.parsed = true;
        checked.map_err(|bad| Error::input(part.file, part.number, bad.0))
    }

    /// The current row, once there was a first; `None` behind the last. It has its key once it is parsed.
    pub(super) fn current(&self) -> Option<Line<'_>> {
        let part = self.part.as_ref()?;
        Some(Line { bytes: &self.line, key: &self.key, file: part.file, number: part.number })
    }

    /// Leaves the rest of the current part unread.
    pub(super) fn skip_part(&mut self) -> Result<()> {
        self.open_next()
    }

    /// Opens the next part, where there is one, and compares its first line.
    fn open_next(&mut self) -> Result<()> {
        self.part = None;
        let Some(entry) = self.rest.pop() else { return Ok(()) };
        let input = BufReader::with_capacity(BUFFER, self.tree.open(&entry.path)?);
        let mut part = Part { input, file: &entry.path, number: 0 };
        part.read_line(&mut self.line, self.limits.line.min(header::LONGEST))?;
        let bad = |bad: BadRow| Error::input(&entry.path, 1, bad.0);
        if self.line.starts_with(LFS) {
            return Err(bad(BadRow("a Git LFS pointer where rows should be; push the file itself".into())));
        }
        match &self.first {
            None => {
                self.header = Some(Header::parse(&self.line).map_err(|error| bad(self.explain(error)))?);
                self.first = Some((&entry.path, self.line.clone()));
            }
            Some((_, line)) if *line == self.line => {}
            Some((file, _)) => return Err(bad(self.explain(BadRow(format!("another first line than in {file}"))))),
        }
        self.part = Some(part);
        Ok(())
    }

    /// Two mishaps that have nothing to do with the header itself.
    fn explain(&self, error: BadRow) -> BadRow {
        match self.line.as_slice() {
            line if line.ends_with(b"\r") => {
                BadRow("the line ends with a carriage return; row files have plain newlines".into())
            }
            line if line.starts_with(b"<<<<<<<") => BadRow("an unresolved merge conflict".into()),
            _ => error,
        }
    }
}

/// How many bytes both begin with.
fn common_prefix(one: &[u8], two: &[u8]) -> usize {
    const STEP: usize = 256;
    let steps = one.chunks_exact(STEP).zip(two.chunks_exact(STEP)).take_while(|(a, b)| a == b).count() * STEP;
    steps + one[steps..].iter().zip(&two[steps..]).take_while(|(a, b)| a == b).count()
}

impl Part<'_> {
    /// What is read and not used yet; nothing at the end.
    fn fill(&mut self) -> Result<&[u8]> {
        self.input.fill_buf().map_err(Error::carrier(format!("read {}", self.file)))
    }

    fn leave_out(&mut self, bytes: usize, lines: u64) {
        self.input.consume(bytes);
        self.number += lines;
    }

    /// Reads a line without its newline, which the last one need not have. Whether there was one.
    fn read_line(&mut self, line: &mut Vec<u8>, limit: u64) -> Result<bool> {
        line.clear();
        let read = (&mut self.input).take(limit + 1).read_until(b'\n', line);
        read.map_err(Error::carrier(format!("read {}", self.file)))?;
        self.number += 1;
        if line.last() == Some(&b'\n') {
            line.pop();
            return Ok(true);
        }
        if line.len() as u64 > limit {
            return Err(Error::input(self.file, self.number, format!("a line of more than {limit} bytes")));
        }
        Ok(!line.is_empty())
    }
}
