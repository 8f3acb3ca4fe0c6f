//! Rows to parts.

use std::collections::HashSet;

use siphasher::sip::SipHasher24;

use super::{BadRow, Header, Limits};
use crate::{Error, Mode, Result, Sink, StatePath};

/// Small writes are gathered to this size.
const BUFFER: usize = 64 << 10;

/// Writes the rows of one table, which arrive in order.
///
/// It holds one row at most. A table without rows is a first part without rows.
pub struct Writer<'s> {
    sink: &'s mut dyn Sink,
    table: StatePath,
    header: Header,
    first_line: String,
    limits: Limits,
    /// The folder that the split has reached, beneath the table's.
    folder: Option<String>,
    /// The open part without the number of its cut, its cuts, and the bytes of the rows of the last.
    part: Option<(String, u32, u64)>,
    /// Hashes that named a part. Somebody can construct two keys of one hash; the second is no border.
    used: HashSet<u64>,
    /// The key of the last row, and the row itself in a bag.
    last: Option<(Vec<u8>, Vec<u8>)>,
    last_was_large: bool,
    buffer: Vec<u8>,
    written: Written,
}

/// What a [`Writer`] wrote.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Written {
    /// Rows.
    pub rows: u64,
    /// Files.
    pub parts: u64,
}

impl<'s> Writer<'s> {
    /// Begins a table in its folder, which holds nothing else.
    ///
    /// # Errors
    /// [`Error::Unsupported`] where the header is none, as [`Header::check`] says.
    pub fn new(sink: &'s mut dyn Sink, folder: StatePath, header: &Header, limits: Limits) -> Result<Self> {
        header.check().map_err(|bad| Error::Unsupported { what: format!("{folder}: {bad}") })?;
        Ok(Writer {
            sink,
            table: folder,
            header: header.clone(),
            first_line: header.to_line(),
            limits,
            folder: None,
            part: None,
            used: HashSet::new(),
            last: None,
            last_was_large: false,
            buffer: Vec::new(),
            written: Written::default(),
        })
    }

    /// Adds a row, without its newline.
    ///
    /// # Errors
    /// [`Error::Engine`] where it is not a line of this table, or not behind the last one in order (in a table with a key the
    /// same key is not behind). [`Error::Unsupported`] where it is too long. Those of the sink.
    pub fn line(&mut self, line: &[u8]) -> Result<()> {
        if line.len() as u64 > self.limits.line {
            let row = self.header.name_row(line);
            let what = format!("{}: {row}: a row of more than {} bytes", self.table, self.limits.line);
            return Err(Error::Unsupported { what });
        }
        let mut key = Vec::new();
        let checked = self.header.check_line(line).and_then(|()| self.header.push_key(line, &mut key));
        checked.map_err(|bad| self.bad(line, bad))?;
        let bag = self.header.key.is_empty();
        let row = (key, if bag { line.to_vec() } else { Vec::new() });
        let repeated = self.last.as_ref() == Some(&row);
        if self.last.as_ref().is_some_and(|last| row < *last || repeated && !bag) {
            return Err(self.bad(line, BadRow("not in order behind the row before".into())));
        }
        self.turn_page(if bag { &row.1 } else { &row.0 }, line.len() as u64 + 1, repeated)?;
        self.last = Some(row);
        self.last_was_large = line.len() as u64 + 1 >= self.limits.part;
        self.add(line)?;
        self.add(b"\n")?;
        self.written.rows += 1;
        Ok(())
    }

    /// Ends the table.
    ///
    /// # Errors
    /// Those of the sink.
    pub fn finish(mut self) -> Result<Written> {
        if self.part.is_none() {
            self.begin("rows".into(), 0)?;
        }
        self.end()?;
        Ok(self.written)
    }

    /// Begins a part where the next row demands one.
    fn turn_page(&mut self, key: &[u8], size: u64, repeated: bool) -> Result<()> {
        let hash = SipHasher24::new().hash(key);
        let below =
            |rarer: u64| u128::from(hash) < (u128::from(size) << 64) / u128::from(self.limits.part) / u128::from(rarer);
        let border = (below(1) || self.last_was_large) && !repeated;
        match self.part.take() {
            None => self.begin("rows".into(), 0)?,
            Some(_) if border && self.used.insert(hash) => {
                let name = format!("{hash:016x}");
                let split = below(self.limits.folder);
                self.end()?;
                if split {
                    self.folder = Some(name.clone());
                }
                self.begin(name, 0)?;
            }
            Some((name, cuts, length)) if length > 0 && length + size > self.limits.cut => {
                self.end()?;
                self.begin(name, cuts + 1)?;
            }
            open => self.part = open,
        }
        if let Some((_, _, length)) = &mut self.part {
            *length += size;
        }
        Ok(())
    }

    fn begin(&mut self, name: String, cuts: u32) -> Result<()> {
        let file = if cuts == 0 { format!("{name}.tsv") } else { format!("{name}.{cuts}.tsv") };
        let path = self.folder.iter().chain([&file]).try_fold(self.table.clone(), |path, further| path.join(further));
        let path = path.map_err(Error::carrier("name a part"))?;
        self.sink.begin(&path, Mode::File)?;
        self.part = Some((name, cuts, 0));
        self.written.parts += 1;
        let first_line = format!("{}\n", self.first_line);
        self.add(first_line.as_bytes())
    }

    fn end(&mut self) -> Result<()> {
        self.sink.write(&self.buffer)?;
        self.buffer.clear();
        self.sink.end()
    }

    fn add(&mut self, bytes: &[u8]) -> Result<()> {
        if self.buffer.len() + bytes.len() > BUFFER {
            self.sink.write(&self.buffer)?;
            self.buffer.clear();
        }
        if bytes.len() > BUFFER {
            return self.sink.write(bytes);
        }
        self.buffer.extend_from_slice(bytes);
        Ok(())
    }

    fn bad(&self, line: &[u8], bad: BadRow) -> Error {
        let context = format!("write {} ({})", self.table, self.header.name_row(line));
        Error::Engine { context, source: bad.into() }
    }
}

impl std::fmt::Debug for Writer<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Writer").field("table", &self.table).field("written", &self.written).finish()
    }
}
