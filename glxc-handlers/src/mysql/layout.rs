//! Which files a state has, and the check of those that are pushed.

use super::increments;
use super::schema::Schema;
use crate::engine::Files;
pub(super) use crate::engine::Part;
use crate::tree::check_case;
use crate::{Cx, Result, StatePath, Tree};

/// The files of a MySQL state.
pub(super) const FILES: Files = Files {
    kind: "MySQL",
    row: "row",
    tables: "tables",
    part,
    numbers: Some(("auto_increment", "next numbers moved")),
};

/// What a file is part of; `None` where it is none of ours.
pub(super) fn part(path: &StatePath) -> Option<Part> {
    let parts: Vec<&[u8]> = path.components().collect();
    match parts.as_slice() {
        [b".gitattributes"] => Some(Part::Attributes),
        [b"schema", _] | [b"schema", _, _] => Some(Part::Schema),
        [b"data", table, _] | [b"data", table, _, _] => {
            StatePath::new([b"data/", *table].concat()).ok().map(Part::Rows)
        }
        [b"auto_increment", _] => Some(Part::Numbers),
        _ => None,
    }
}

/// Checks a pushed tree by itself. Of what base has too nothing is read again.
pub(super) fn check(base: Option<&dyn Tree>, next: &dyn Tree, cx: &Cx<'_>) -> Result<()> {
    check_case(next.entries())?;
    let schema = || Schema::of(next, cx).map(drop);
    FILES.check(base, next, cx, schema, |_| increments::read(next, cx).map(drop))
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
