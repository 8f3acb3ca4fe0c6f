//! Which files a state has, and the check of those that are pushed.

use super::schema_files::SchemaFiles;
use super::sequences;
use crate::engine::Files;
pub(super) use crate::engine::Part;
use crate::rows::{self, Limits, Reader};
use crate::tree::check_case;
use crate::{Cx, Entry, Error, Result, StatePath, Tree};

/// The files of a PostgreSQL state.
pub(super) const FILES: Files =
    Files { kind: "PostgreSQL", row: "row", tables: "tables", part, numbers: Some(("sequences", "sequences moved")) };

/// What a file is part of; `None` where it is none of ours.
pub(super) fn part(path: &StatePath) -> Option<Part> {
    let parts: Vec<&[u8]> = path.components().collect();
    match parts.as_slice() {
        [b".gitattributes"] => Some(Part::Attributes),
        [b"schema", _, ..] => Some(Part::Schema),
        [b"data", table, _, ..] => StatePath::new([b"data/", *table].concat()).ok().map(Part::Rows),
        [b"sequences", _, ..] => Some(Part::Numbers),
        _ => None,
    }
}

/// Checks a pushed tree by itself. Of what base has too nothing is read again.
pub(super) fn check(base: Option<&dyn Tree>, next: &dyn Tree, cx: &Cx<'_>) -> Result<()> {
    check_paths(next)?;
    let schema = || SchemaFiles::of(next)?.check();
    FILES.check(base, next, cx, schema, |folder| check_sequences(next, folder, cx))
}

/// How many folders deep a file may stand.
const DEEPEST: usize = 64;

/// Refuses a path that nobody could check out, and two that are one where case is ignored.
fn check_paths(tree: &dyn Tree) -> Result<()> {
    for Entry { path, .. } in tree.entries() {
        if path.components().nth(DEEPEST + 1).is_some() {
            let end = path.as_bytes().iter().enumerate().filter(|(_, byte)| **byte == b'/').nth(DEEPEST);
            let folder = StatePath::new(&path.as_bytes()[..end.map_or(path.as_bytes().len(), |(at, _)| at)]);
            let folder = folder.map_err(Error::carrier("name a folder"))?;
            return Err(Error::input(&folder, None, format!("more than {DEEPEST} folders deep")));
        }
    }
    check_case(tree.entries())
}

fn check_sequences(next: &dyn Tree, folder: &StatePath, cx: &Cx<'_>) -> Result<()> {
    let Some(first) = next.within(folder).first() else { return Ok(()) };
    let (header, _) = rows::check(next, folder, Limits::default(), cx)?;
    if header != sequences::header() {
        return Err(Error::input(&first.path, 1, format!("must be: {}", sequences::header().to_line())));
    }
    let mut reader = Reader::new(next, folder, Limits::default())?;
    while let Some(line) = reader.next()? {
        if sequences::parse(line.bytes).is_none() {
            return Err(Error::input(line.file, line.number, "not the value of a sequence"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_has_its_part() {
        let part = |path: &str| part(&StatePath::new(path).unwrap());
        assert_eq!(part(".gitattributes"), Some(Part::Attributes));
        assert_eq!(part("data/a.b/x/y.tsv"), Some(Part::Rows(StatePath::new("data/a.b").unwrap())));
        for other in ["data/rows.tsv", "schema", "x", "data", "sequences", "a/.gitattributes"] {
            assert_eq!(part(other), None, "{other}");
        }
    }
}
