//! Which files a state has, and the check of those that are pushed.

use std::collections::BTreeSet;

use super::increments;
use super::schema::{self, Schema};
use crate::rows::{self, Limits};
use crate::tree::check_case;
use crate::{Cx, Differs, Error, Mode, Result, StatePath, Tree};

/// What a file is part of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// The attributes for git.
    Attributes,
    /// The definition of an object.
    Schema,
    /// The rows of a table, by its folder.
    Rows(StatePath),
    /// The next numbers of the tables.
    Increments,
}

/// What a file is part of; `None` where it is none of ours.
pub(super) fn part(path: &StatePath) -> Option<Part> {
    let parts: Vec<&[u8]> = path.components().collect();
    match parts.as_slice() {
        [b".gitattributes"] => Some(Part::Attributes),
        [b"schema", _] | [b"schema", _, _] => Some(Part::Schema),
        [b"data", table, _] | [b"data", table, _, _] => {
            StatePath::new([b"data/", *table].concat()).ok().map(Part::Rows)
        }
        [b"auto_increment", _] => Some(Part::Increments),
        _ => None,
    }
}

/// The folders of the tables whose row files differ, each once.
pub(super) fn rows_folders(differs: &[Differs]) -> BTreeSet<StatePath> {
    let folder = |differs: &Differs| match part(&differs.path) {
        Some(Part::Rows(folder)) => Some(folder),
        _ => None,
    };
    differs.iter().filter_map(folder).collect()
}

/// Checks a pushed tree by itself. Of what base has too nothing is read again.
pub(super) fn check(base: Option<&dyn Tree>, next: &dyn Tree, cx: &Cx<'_>) -> Result<()> {
    check_case(next.entries())?;
    let mut folders = BTreeSet::new();
    for entry in next.entries() {
        if entry.mode != Mode::File {
            return Err(Error::input(&entry.path, None, "not a plain file"));
        }
        match part(&entry.path) {
            Some(Part::Rows(folder)) => drop(folders.insert(folder)),
            Some(_) => {}
            None => return Err(Error::input(&entry.path, None, "not a file of a MySQL state")),
        }
    }
    let same = |folder: &StatePath| base.is_some_and(|base| base.within(folder) == next.within(folder));
    if !same(&schema::folder()?) {
        Schema::of(next, cx)?;
    }
    for folder in folders.iter().filter(|folder| !same(folder)) {
        match base {
            Some(base) => rows::check_changed(base, next, folder, Limits::default(), cx)?,
            None => drop(rows::check(next, folder, Limits::default(), cx)?),
        }
    }
    let increments = increments::folder()?;
    if same(&increments) { Ok(()) } else { increments::read(next, cx).map(drop) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_has_its_part() {
        let part = |path: &str| part(&StatePath::new(path).unwrap());
        assert_eq!(part(".gitattributes"), Some(Part::Attributes));
        assert_eq!(part("data/a/x/y.tsv"), Some(Part::Rows(StatePath::new("data/a").unwrap())));
        for other in ["data/rows.tsv", "schema", "x", "data", "auto_increment", "a/.gitattributes", "data/a/x/y/z.tsv"]
        {
            assert_eq!(part(other), None, "{other}");
        }
    }
}
