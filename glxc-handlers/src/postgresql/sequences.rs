//! The values of sequences: a row file in the folder `sequences`, and the rule by which they are imported.

use std::collections::BTreeMap;

use super::copy::{escape, unescape};
use super::schema::{Model, Sequence};
use super::session::Session;
use super::sql::literal;
use crate::engine::Rules;
use crate::rows::{Comparator, Header, Limits, Writer};
use crate::{Error, Result, Sink, StatePath};

/// The folder of the row file.
pub(super) fn folder() -> Result<StatePath> {
    StatePath::new("sequences").map_err(Error::carrier("name the folder of the sequences"))
}

/// The first line of the row file.
pub(super) fn header() -> Header {
    let columns = ["schema", "name", "last_value", "is_called"].map(String::from).to_vec();
    Header { columns, key: vec![(0, Comparator::Bytes), (1, Comparator::Bytes)] }
}

/// How far a sequence has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Position {
    /// The last value that was given out or set.
    pub last_value: i64,
    /// Whether the next one is another.
    pub is_called: bool,
}

impl Position {
    /// The value that the next call gives, but for limits and cycles.
    fn next(self, increment: i64) -> i128 {
        i128::from(self.last_value) + if self.is_called { i128::from(increment) } else { 0 }
    }

    /// The rule of an import. What did not move since `base` becomes `pushed` exactly; otherwise the further one in the
    /// direction of the sequence stays or becomes, so that no value is given out twice.
    pub fn merged(base: Option<Position>, live: Position, pushed: Position, increment: i64) -> Position {
        let (there, wanted) = (live.next(increment), pushed.next(increment));
        let live_is_further = if increment > 0 { there > wanted } else { there < wanted };
        if base != Some(live) && live_is_further { live } else { pushed }
    }
}

/// A line of the row file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub schema: String,
    pub name: String,
    pub position: Position,
}

/// Reads a line of the row file; `None` where it is none.
pub(super) fn parse(line: &[u8]) -> Option<Entry> {
    let fields: Vec<&[u8]> = line.split(|b| *b == b'\t').collect();
    let [schema, name, last_value, is_called] = fields.as_slice() else { return None };
    let last_value = std::str::from_utf8(last_value).ok()?.parse().ok()?;
    let is_called = match *is_called {
        b"t" => true,
        b"f" => false,
        _ => return None,
    };
    Some(Entry { schema: unescape(schema)?, name: unescape(name)?, position: Position { last_value, is_called } })
}

/// The sequences whose values are part of the state: those of tables whose rows are, and those of no table.
pub(super) fn stored<'m>(model: &'m Model, rules: &Rules) -> Vec<&'m Sequence> {
    let stored = |sequence: &&Sequence| {
        let owner = sequence.owned_by.as_ref().and_then(|(table, _)| model.tables.get(table));
        sequence.extension.is_none() && owner.is_none_or(|table| rules.has_rows(&[&table.schema, &table.name]))
    };
    model.sequences.values().filter(stored).collect()
}

/// Reads where sequences are now. A snapshot does not cover them, so they are read after the rows: a value that is too
/// high does no harm.
pub(super) fn read<'s>(
    session: &mut Session, sequences: impl IntoIterator<Item = &'s Sequence>,
) -> Result<BTreeMap<&'s str, Position>> {
    let names: Vec<&str> = sequences.into_iter().map(|sequence| sequence.qualified.as_str()).collect();
    let mut positions = BTreeMap::new();
    for some in names.chunks(100) {
        let one = |(at, name): (usize, &&str)| format!("SELECT {at}, last_value, is_called FROM {name}");
        let sql = some.iter().enumerate().map(one).collect::<Vec<_>>().join(" UNION ALL ");
        for row in session.rows("read the sequences", &sql)? {
            let field = |at: usize| row.get(at).and_then(Option::as_deref).unwrap_or_default();
            let number = |at: usize| field(at).parse::<i64>().map_err(Error::engine("read the sequences"));
            let position = Position { last_value: number(1)?, is_called: field(2) == "t" };
            positions.insert(some[number(0)? as usize], position);
        }
    }
    Ok(positions)
}

/// Writes the row file.
pub(super) fn write(session: &mut Session, model: &Model, rules: &Rules, sink: &mut dyn Sink) -> Result<()> {
    let mut sequences = stored(model, rules);
    sequences.sort_by_key(|sequence| (&sequence.schema, &sequence.name));
    let positions = read(session, sequences.iter().copied())?;
    let mut writer = Writer::new(sink, folder()?, &header(), Limits::default())?;
    for sequence in sequences {
        let Some(Position { last_value, is_called }) = positions.get(sequence.qualified.as_str()) else { continue };
        let called = if *is_called { 't' } else { 'f' };
        let line = format!("{}\t{}\t{last_value}\t{called}", escape(&sequence.schema), escape(&sequence.name));
        writer.line(line.as_bytes())?;
    }
    writer.finish().map(|_| ())
}

/// Moves a sequence by the rule of an import, in a way that a rollback undoes.
pub(super) fn apply(
    session: &mut Session, sequence: &Sequence, base: Option<Position>, pushed: Position,
) -> Result<()> {
    let name = &sequence.qualified;
    let context = format!("set the sequence {name}");
    // It changes nothing, but takes the lock that keeps others from moving the sequence.
    session.run(&context, &format!("ALTER SEQUENCE {name} CACHE {}", sequence.cache))?;
    let live = read(session, [sequence])?.remove(name.as_str());
    let live = live.ok_or_else(|| Error::Engine { context: context.clone(), source: "no value".into() })?;
    let position = Position::merged(base, live, pushed, sequence.increment);
    // Alone, `setval` would survive a rollback; what RESTART makes new does not.
    session.run(&context, &format!("ALTER SEQUENCE {name} RESTART"))?;
    set(session, sequence, position)
}

/// Sets a sequence that this transaction made.
pub(super) fn set(session: &mut Session, sequence: &Sequence, position: Position) -> Result<()> {
    let Position { last_value, is_called } = position;
    let sql = format!("SELECT setval({}::regclass, {last_value}, {is_called})", literal(&sequence.qualified));
    session.run(&format!("set the sequence {}", sequence.qualified), &sql)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(last_value: i64, is_called: bool) -> Position {
        Position { last_value, is_called }
    }

    #[test]
    fn no_value_is_given_out_twice() {
        let base = Some(at(10, true));
        assert_eq!(Position::merged(base, at(10, true), at(5, true), 1), at(5, true), "live = base: exactly");
        assert_eq!(Position::merged(base, at(12, true), at(11, true), 1), at(12, true));
        assert_eq!(Position::merged(base, at(12, true), at(20, true), 1), at(20, true));
        assert_eq!(Position::merged(base, at(8, true), at(9, true), -1), at(8, true), "downwards");
        assert_eq!(Position::merged(None, at(1, false), at(1, true), 1), at(1, true));
        assert_eq!(Position::merged(None, at(i64::MAX, true), at(1, true), 5), at(i64::MAX, true));
    }

    #[test]
    fn lines_are_read_strictly() {
        let entry = Entry { schema: "a\tb".into(), name: "s".into(), position: at(-3, false) };
        assert_eq!(parse(b"a\\tb\ts\t-3\tf"), Some(entry));
        for bad in ["a\ts\t1", "a\ts\tx\tt", "a\ts\t1\ttrue", "\\N\ts\t1\tt"] {
            assert_eq!(parse(bad.as_bytes()), None, "{bad}");
        }
    }
}
