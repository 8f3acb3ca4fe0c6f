//! The files of a database: which there are, the check of those that are pushed, and a change of them in words.

use std::collections::{BTreeMap, BTreeSet};

use crate::rows::{self, Changes, Counts, Limits};
use crate::{Change, Cx, Description, Differs, Error, Mode, Result, StatePath, Tree, names};

/// What a file is part of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    /// The attributes for git.
    Attributes,
    /// The definition of an object.
    Schema,
    /// The rows of a table, by its folder.
    Rows(StatePath),
    /// The numbers that sequences and the like have reached. MongoDB has none.
    #[cfg_attr(not(any(feature = "postgresql", feature = "mysql")), allow(dead_code))]
    Numbers,
}

/// The files of a kind of database.
pub(crate) struct Files {
    /// What it is called.
    pub kind: &'static str,
    /// What one of its rows is called, and its tables.
    pub row: &'static str,
    pub tables: &'static str,
    /// What a file is part of; `None` where it is none of its own.
    pub part: fn(&StatePath) -> Option<Part>,
    /// The folder of the numbers, and what to say where only they differ.
    pub numbers: Option<(&'static str, &'static str)>,
}

impl Files {
    /// The folders of the tables whose row files differ, each once.
    pub fn rows_folders(&self, differs: &[Differs]) -> BTreeSet<StatePath> {
        let folder = |differs: &Differs| match (self.part)(&differs.path) {
            Some(Part::Rows(folder)) => Some(folder),
            _ => None,
        };
        differs.iter().filter_map(folder).collect()
    }

    /// Checks a pushed tree by itself. Of what base has too nothing is read again, by the checks of schema and numbers neither.
    pub fn check(
        &self, base: Option<&dyn Tree>, next: &dyn Tree, cx: &Cx<'_>, schema: impl FnOnce() -> Result<()>,
        numbers: impl FnOnce(&StatePath) -> Result<()>,
    ) -> Result<()> {
        let mut folders = BTreeSet::new();
        for entry in next.entries() {
            if entry.mode != Mode::File {
                return Err(Error::input(&entry.path, None, "not a plain file"));
            }
            match (self.part)(&entry.path) {
                Some(Part::Rows(folder)) => drop(folders.insert(folder)),
                Some(_) => {}
                None => return Err(Error::input(&entry.path, None, format!("not a file of a {} state", self.kind))),
            }
        }
        let same = |folder: &StatePath| base.is_some_and(|base| base.within(folder) == next.within(folder));
        let named = |name: &str| StatePath::new(name).map_err(Error::carrier("name a folder of the state"));
        if !same(&named("schema")?) {
            schema()?;
        }
        for folder in folders.iter().filter(|folder| !same(folder)) {
            match base {
                Some(base) => rows::check_changed(base, next, folder, Limits::default(), cx)?,
                None => drop(rows::check(next, folder, Limits::default(), cx)?),
            }
        }
        let Some((folder, _)) = self.numbers else { return Ok(()) };
        let folder = named(folder)?;
        if same(&folder) { Ok(()) } else { numbers(&folder) }
    }

    /// Says how many rows of which tables differ, and which objects.
    pub fn describe(&self, change: &Change<'_>, cx: &Cx<'_>) -> Result<Description> {
        let base = change.base.as_ref().map(|base| base.tree);
        let mut tables = BTreeMap::new();
        for folder in self.rows_folders(change.differs) {
            let changes = Changes::new(base, Some(change.next.tree), &folder, Limits::default(), cx)?;
            tables.insert(folder, changes.count()?);
        }
        Ok(self.counted(change.differs, &tables))
    }

    /// The same with rows that were counted already, by the folder of their table.
    pub fn counted(&self, differs: &[Differs], tables: &BTreeMap<StatePath, Counts>) -> Description {
        let of = |wanted: Part| differs.iter().filter(move |one| (self.part)(&one.path).as_ref() == Some(&wanted));
        let objects: Vec<String> = of(Part::Schema).map(object).collect();
        let moved = of(Part::Numbers).next().and(self.numbers).map(|(_, moved)| moved);
        let changed = tables.iter().filter(|(_, counts)| **counts != Counts::default());
        let rows: Vec<(String, Counts)> = changed.map(|(folder, counts)| (table_name(folder), *counts)).collect();
        let summary = self.summary(&objects, &rows, moved);
        let details = objects.into_iter().chain(rows.iter().map(|(name, counts)| self.in_table(name, counts)));
        Description { summary, details: details.collect() }
    }

    fn summary(&self, objects: &[String], rows: &[(String, Counts)], moved: Option<&str>) -> String {
        let schema = match objects {
            [] => None,
            [one] => Some(one.clone()),
            many => Some(format!("{} objects of the schema", many.len())),
        };
        let rows = match rows {
            [] => None,
            [(name, counts)] => Some(self.in_table(name, counts)),
            many => {
                let all = many.iter().fold(Counts::default(), |sum, (_, counts)| Counts {
                    added: sum.added + counts.added,
                    changed: sum.changed + counts.changed,
                    removed: sum.removed + counts.removed,
                });
                Some(format!("{} in {} {}", self.words(&all), many.len(), self.tables))
            }
        };
        let moved = moved.filter(|_| schema.is_none() && rows.is_none()).map(str::to_owned);
        [schema, rows, moved].into_iter().flatten().collect::<Vec<_>>().join("; ")
    }

    fn in_table(&self, name: &str, counts: &Counts) -> String {
        format!("{} in {name}", self.words(counts))
    }

    fn words(&self, counts: &Counts) -> String {
        let parts = [(counts.changed, "changed"), (counts.added, "added"), (counts.removed, "removed")];
        let parts = parts.into_iter().filter(|(count, _)| *count > 0).enumerate();
        let part = |(at, (count, verb)): (usize, (u64, &str))| match (at, count) {
            (0, 1) => format!("1 {} {verb}", self.row),
            (0, _) => format!("{count} {}s {verb}", self.row),
            _ => format!("{count} {verb}"),
        };
        parts.map(part).collect::<Vec<_>>().join(", ")
    }
}

fn object(differs: &Differs) -> String {
    let verb = match (&differs.base, &differs.next) {
        (None, _) => "added",
        (_, None) => "removed",
        _ => "changed",
    };
    format!("{} {verb}", differs.path)
}

/// The table of a folder, as people know it.
fn table_name(folder: &StatePath) -> String {
    let name = String::from_utf8_lossy(folder.name()).into_owned();
    crate::text::escaped(&names::decode_all(&name).map_or(name, |parts| parts.join(".")))
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::{Cancel, Entry, MemoryTree, OpId, Options, Recorded, Silent, differences};

    const FILES: Files =
        Files { kind: "test", row: "row", tables: "tables", part, numbers: Some(("numbers", "numbers moved")) };

    fn part(path: &StatePath) -> Option<Part> {
        let folder = path.to_string().rsplit_once('/')?.0.to_owned();
        StatePath::new(folder).ok().map(Part::Rows)
    }

    #[test]
    fn a_folder_that_is_no_table_is_named_harmlessly() {
        let name = |folder: &str| table_name(&StatePath::new(folder).unwrap());
        assert_eq!(name("data/public.+orders"), "public.Orders");
        assert_eq!(name("data/public.%1b[2J"), "public.%1b[2J");
        assert_eq!(name("data/a\u{1b}[2J"), "a\\u{1b}[2J");
    }

    fn counts(changed: u64, added: u64, removed: u64) -> Counts {
        Counts { added, changed, removed }
    }

    /// Counts how often a file is opened.
    #[derive(Debug)]
    struct Counted(MemoryTree, AtomicUsize);

    impl Tree for Counted {
        fn entries(&self) -> &[Entry] {
            self.0.entries()
        }

        fn open(&self, path: &StatePath) -> Result<Box<dyn std::io::Read + '_>> {
            self.1.fetch_add(1, Ordering::Relaxed);
            self.0.open(path)
        }
    }

    #[test]
    fn each_part_is_read_once() {
        let part = |ids: std::ops::Range<u32>| {
            let lines: String = ids.map(|id| format!("{id}\n")).collect();
            format!("#glxc-rows 1\tkey=1n\tid\n{lines}")
        };
        let files = [("a.tsv", part(0..5)), ("b.tsv", part(5..10)), ("c.tsv", part(10..12))];
        let tree = files.iter().fold(MemoryTree::default(), |tree, (name, text)| {
            tree.with(&StatePath::new(format!("data/public.t/{name}")).unwrap(), text.as_str())
        });
        let next = Counted(tree, AtomicUsize::new(0));
        let (op, options) = (OpId::new("0".repeat(16)).unwrap(), Options::new());
        let differs = differences(None, Some(&next));
        let next_tree = Recorded { tree: &next, options: &options };
        let change = Change { op: &op, base: None, next: next_tree, differs: &differs, replace: true, prepare: false };
        let (cancel, scratch) = (Cancel::new(), std::path::Path::new("/nowhere"));
        let cx = Cx { progress: &Silent, cancel: &cancel, deadline: None, scratch, op_dir: scratch };
        assert_eq!(FILES.describe(&change, &cx).unwrap().summary, "12 rows added in public.t");
        assert_eq!(next.1.into_inner(), 3);
    }

    #[test]
    fn every_table_is_named() {
        let folder = |number| StatePath::new(format!("data/public.t{number}")).unwrap();
        let tables = (0..300).map(|number| (folder(number), counts(1, 0, 0))).collect();
        assert_eq!(FILES.counted(&[], &tables).details.len(), 300);
    }

    #[test]
    fn reads_as_a_sentence() {
        let orders = ("public.orders".to_owned(), counts(1, 0, 0));
        let items = ("public.items".to_owned(), counts(0, 2, 3));
        assert_eq!(FILES.summary(&[], std::slice::from_ref(&orders), Some("moved")), "1 row changed in public.orders");
        assert_eq!(FILES.summary(&[], std::slice::from_ref(&items), None), "2 rows added, 3 removed in public.items");
        assert_eq!(FILES.summary(&[], &[orders, items], None), "1 row changed, 2 added, 3 removed in 2 tables");
        assert_eq!(FILES.summary(&["a".into(), "b".into()], &[], None), "2 objects of the schema");
        assert_eq!(FILES.summary(&[], &[], Some("moved")), "moved");
        assert_eq!(FILES.summary(&[], &[], None), "");
        let documents = Files { row: "document", tables: "collections", ..FILES };
        let both = [("a".to_owned(), counts(0, 1, 0)), ("b".to_owned(), counts(2, 0, 0))];
        assert_eq!(documents.summary(&[], &both, None), "2 documents changed, 1 added in 2 collections");
    }
}
