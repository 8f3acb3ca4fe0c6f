//! Which files a state has, and the check of those that are pushed.

use std::collections::BTreeSet;

use super::definition::{Definition, Definitions};
use crate::engine::{Files, Part, Rules};
use crate::rows::{Comparator, Header, Limits, Reader};
use crate::tree::check_case;
use crate::{Cx, Error, Result, StatePath, Tree, names};

/// The files of a MongoDB state.
pub(super) const FILES: Files = Files { kind: "MongoDB", row: "document", tables: "collections", part, numbers: None };

/// What a file is part of; `None` where it is none of ours.
fn part(path: &StatePath) -> Option<Part> {
    let parts: Vec<&[u8]> = path.components().collect();
    match parts.as_slice() {
        [b".gitattributes"] => Some(Part::Attributes),
        [b"schema", b"collections" | b"views", _] => Some(Part::Schema),
        [b"data", name, _] | [b"data", name, _, _] => StatePath::new([b"data/", *name].concat()).ok().map(Part::Rows),
        _ => None,
    }
}

/// The first line of every row file.
pub(super) fn header() -> Header {
    Header { columns: vec!["document".into()], key: vec![(0, Comparator::Document)] }
}

/// All definitions of a tree.
pub(super) fn definitions(tree: &dyn Tree) -> Result<Definitions> {
    let mut all = Definitions::new();
    for entry in tree.entries().iter().filter(|entry| part(&entry.path) == Some(Part::Schema)) {
        let definition = Definition::read(tree, &entry.path)?;
        let name = definition.name.clone();
        if let Some(other) = all.insert(name, definition) {
            return Err(Error::input(&entry.path, 1, format!("{} has this name too", other.path()?)));
        }
    }
    Ok(all)
}

/// Checks a pushed tree by itself. Of what base has too only definitions are read again.
pub(super) fn check(base: Option<&dyn Tree>, next: &dyn Tree, rules: &Rules, cx: &Cx<'_>) -> Result<()> {
    check_case(next.entries())?;
    FILES.check(base, next, cx, || Ok(()), |_| Ok(()))?;
    let mut folders: BTreeSet<StatePath> = next.entries().iter().filter_map(|entry| rows_of(&entry.path)).collect();
    for definition in definitions(next)?.values().filter(|definition| !definition.is_view) {
        let folder = definition.folder()?;
        let is_there = folders.remove(&folder);
        if !rules.has_rows(&[&definition.name]) {
            continue;
        }
        if !is_there {
            let message = format!("its documents are missing: {folder} has a first line at least");
            return Err(Error::input(&definition.path()?, None, message));
        }
        if base.is_none_or(|base| base.within(&folder) != next.within(&folder)) {
            check_header(next, &folder)?;
        }
    }
    let is_managed = |folder: &&StatePath| collection_of(folder).is_none_or(|name| rules.has_rows(&[&name]));
    match folders.iter().find(is_managed).and_then(|folder| next.within(folder).first()) {
        Some(entry) => {
            Err(Error::input(&entry.path, None, "there is no collection of this name in schema/collections"))
        }
        None => Ok(()),
    }
}

/// The folder of documents that a file stands in.
fn rows_of(file: &StatePath) -> Option<StatePath> {
    match part(file) {
        Some(Part::Rows(folder)) => Some(folder),
        _ => None,
    }
}

/// The collection whose documents stand in a folder.
fn collection_of(folder: &StatePath) -> Option<String> {
    names::decode(std::str::from_utf8(folder.name()).ok()?)
}

fn check_header(tree: &dyn Tree, folder: &StatePath) -> Result<()> {
    let first = tree.within(folder).first().map_or(folder, |entry| &entry.path);
    match Reader::new(tree, folder, Limits::default())?.header() {
        Some(found) if *found == header() => Ok(()),
        _ => Err(Error::input(first, 1, format!("must be: {}", header().to_line()))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_has_its_part() {
        let part = |path: &str| part(&StatePath::new(path).unwrap());
        assert_eq!(part(".gitattributes"), Some(Part::Attributes));
        assert_eq!(part("schema/views/a.jsonl"), Some(Part::Schema));
        assert_eq!(part("data/a/x/y.tsv"), Some(Part::Rows(StatePath::new("data/a").unwrap())));
        for other in ["data/rows.tsv", "schema/a", "x", "data", "a/.gitattributes", "data/a/x/y/z.tsv"] {
            assert_eq!(part(other), None, "{other}");
        }
    }
}
