//! Properties of merged row files.

use std::collections::{BTreeMap, BTreeSet};

use glxc_handlers::rows::{Comparator, Header, Limits, Merge, Merged, Scope, Writer};
use glxc_handlers::{Cancel, Cx, Error, MemorySink, MemoryTree, Result, Silent, StatePath};
use proptest::prelude::*;

/// Small enough that a few rows make many parts, so that borders move.
const SMALL: Limits = Limits { part: 60, cut: 300, folder: 4, line: 1 << 20, memory: 2000 };

type Row = [u8; 3];
type Rows = BTreeMap<u32, Row>;

/// One edit of one row.
#[derive(Clone, Copy, Debug)]
enum Edit {
    Set(usize, u8),
    Remove,
    Insert(Row),
}

fn cases() -> u32 {
    let scale = std::env::var("GLXC_TEST_SCALE").ok().and_then(|scale| scale.parse::<f64>().ok()).unwrap_or(1.0);
    ((2000.0 * scale) as u32).max(1)
}

fn header(comparator: Comparator) -> Header {
    Header { columns: ["id", "a", "b", "c"].map(String::from).to_vec(), key: vec![(0, comparator)] }
}

fn line(id: u32, row: Row) -> String {
    let [a, b, c] = row;
    format!("{id}\t{a}\t{b}\t{c}")
}

fn folder() -> StatePath {
    StatePath::new("data/t").unwrap()
}

/// The table as it is exported: in order, in parts.
fn export(header: &Header, lines: &[String]) -> MemoryTree {
    let mut keyed: Vec<(Vec<u8>, &String)> = lines
        .iter()
        .map(|line| {
            let mut key = Vec::new();
            header.push_key(line.as_bytes(), &mut key).unwrap();
            (key, line)
        })
        .collect();
    keyed.sort();
    let mut sink = MemorySink::new(None);
    let mut writer = Writer::new(&mut sink, folder(), header, SMALL).unwrap();
    keyed.iter().for_each(|(_, line)| writer.line(line.as_bytes()).unwrap());
    writer.finish().unwrap();
    sink.finish().unwrap()
}

fn table(comparator: Comparator, rows: &Rows) -> MemoryTree {
    export(&header(comparator), &rows.iter().map(|(id, row)| line(*id, *row)).collect::<Vec<_>>())
}

fn with_merge<T>(trees: [&MemoryTree; 3], scope: Scope, act: impl FnOnce(Merge) -> Result<T>) -> Result<T> {
    let scratch = tempfile::tempdir().unwrap();
    let (path, cancel) = (scratch.path(), Cancel::new());
    let cx = Cx { progress: &Silent, cancel: &cancel, deadline: None, scratch: path, op_dir: path };
    act(Merge::new(trees.map(|tree| tree as _), &folder(), scope, SMALL, &cx)?)
}

/// The merged table as it is exported, and the ids of the rows in conflict.
fn merge(trees: [&MemoryTree; 3]) -> Result<(MemoryTree, BTreeSet<u32>)> {
    with_merge(trees, Scope::Table, |mut merge| {
        let header = merge.header().clone();
        let mut sink = MemorySink::new(None);
        let mut writer = Writer::new(&mut sink, folder(), &header, SMALL)?;
        let mut conflicts = BTreeSet::new();
        while let Some(merged) = merge.next()? {
            match merged {
                Merged::Row(line) => writer.line(line)?,
                Merged::Conflict(c) => {
                    let line = c.base.or(c.ours).or(c.theirs).unwrap();
                    let id = line.split(|b| *b == b'\t').next().unwrap();
                    conflicts.insert(std::str::from_utf8(id).unwrap().parse().unwrap());
                }
            }
        }
        writer.finish()?;
        Ok((sink.finish()?, conflicts))
    })
}

fn lines_of(trees: [&MemoryTree; 3], scope: Scope) -> Vec<String> {
    with_merge(trees, scope, |mut merge| {
        let mut lines = Vec::new();
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        while let Some(merged) = merge.next()? {
            lines.push(match merged {
                Merged::Row(line) => text(line),
                Merged::Conflict(c) => {
                    let shown = |side: Option<&[u8]>| side.map_or("-".into(), text);
                    format!("{} < {} > {}", shown(c.ours), shown(c.base), shown(c.theirs))
                }
            });
        }
        Ok(lines)
    })
    .unwrap()
}

fn apply(rows: &Rows, edits: &Edits) -> Rows {
    let mut rows = rows.clone();
    for (id, edits) in edits {
        for edit in edits {
            match edit {
                Edit::Set(column, value) => {
                    if let Some(row) = rows.get_mut(id) {
                        row[*column] = *value;
                    }
                }
                Edit::Remove => drop(rows.remove(id)),
                Edit::Insert(row) => {
                    rows.entry(*id).or_insert(*row);
                }
            }
        }
    }
    rows
}

/// What one side does to each row.
type Edits = BTreeMap<u32, Vec<Edit>>;

/// A table, edits of both sides, and the rows that both sides edit in ways that can not be merged.
fn world() -> impl Strategy<Value = (Rows, [Edits; 2], BTreeSet<u32>)> {
    let rows = prop::collection::btree_map(0..60_u32, any::<Row>(), 0..40);
    let edit = (0..80_u32, 0..8_u8, 0..3_usize, any::<Row>(), any::<bool>());
    (rows, prop::collection::vec(edit, 0..25), any::<bool>()).prop_map(|(rows, edits, overlap)| {
        let mut sides = [Edits::new(), Edits::new()];
        let mut conflicts = BTreeSet::new();
        let mut seen = BTreeSet::new();
        for (id, kind, column, values, first) in edits {
            if !seen.insert(id) {
                continue;
            }
            let (one, other) = if first { (0, 1) } else { (1, 0) };
            let Some(row) = rows.get(&id) else {
                sides[one].insert(id, vec![Edit::Insert(values)]);
                match kind {
                    0 => drop(sides[other].insert(id, vec![Edit::Insert(values)])),
                    1 if overlap => {
                        let mut changed = values;
                        changed[column] ^= 1;
                        sides[other].insert(id, vec![Edit::Insert(changed)]);
                        conflicts.insert(id);
                    }
                    _ => {}
                }
                continue;
            };
            let set = |column: usize, by: u8| Edit::Set(column, row[column] ^ by);
            match kind {
                0 => drop(sides[one].insert(id, vec![Edit::Remove])),
                1 => sides.iter_mut().for_each(|side| drop(side.insert(id, vec![Edit::Remove]))),
                2 => sides.iter_mut().for_each(|side| drop(side.insert(id, vec![set(column, 1)]))),
                3 if overlap => {
                    sides[one].insert(id, vec![set(column, 1)]);
                    sides[other].insert(id, vec![set(column, 2), set((column + 1) % 3, 1)]);
                    conflicts.insert(id);
                }
                4 if overlap => {
                    sides[one].insert(id, vec![set(column, 1)]);
                    sides[other].insert(id, vec![Edit::Remove]);
                    conflicts.insert(id);
                }
                _ => {
                    sides[one].insert(id, vec![set(column, 1)]);
                    sides[other].insert(id, vec![set((column + 1) % 3, 1), set((column + 2) % 3, 1)]);
                }
            }
        }
        (rows, sides, conflicts)
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), ..ProptestConfig::default() })]

    #[test]
    fn edits_of_different_cells_merge_and_only_others_conflict(
        (rows, edits, conflicts) in world(), numbers in any::<bool>(),
    ) {
        let comparator = if numbers { Comparator::Number } else { Comparator::Bytes };
        let [ours, theirs] = edits.each_ref().map(|edits| apply(&rows, edits));
        let mut both = apply(&apply(&rows, &edits[0]), &edits[1]);
        both.retain(|id, _| !conflicts.contains(id));
        let trees = [&rows, &ours, &theirs].map(|rows| table(comparator, rows));
        let [base, ours, theirs] = trees.each_ref();
        let wanted = (table(comparator, &both), conflicts);
        prop_assert_eq!(&merge([base, ours, theirs]).unwrap(), &wanted);
        prop_assert_eq!(&merge([base, theirs, ours]).unwrap(), &wanted);
    }

    #[test]
    fn a_bag_keeps_what_each_side_added_and_loses_what_each_removed(
        base in prop::collection::vec(0..6_u8, 0..12),
        ours in prop::collection::vec((0..6_u8, any::<bool>()), 0..6),
        theirs in prop::collection::vec((6..9_u8, any::<bool>()), 0..6),
    ) {
        let header = Header { columns: vec!["a".into()], key: vec![] };
        let edit = |lines: &[u8], edits: &[(u8, bool)]| {
            let mut lines = lines.to_vec();
            for (line, add) in edits {
                match lines.iter().position(|there| there == line) {
                    Some(at) if !add => drop(lines.remove(at)),
                    _ if *add => lines.push(*line),
                    _ => {}
                }
            }
            lines
        };
        let bag = |lines: &[u8]| {
            let mut lines: Vec<String> = lines.iter().map(u8::to_string).collect();
            lines.sort();
            export(&header, &lines)
        };
        let both = bag(&edit(&edit(&base, &ours), &theirs));
        let (base, ours, theirs) = (bag(&base), bag(&edit(&base, &ours)), bag(&edit(&base, &theirs)));
        let lines = |trees| lines_of(trees, Scope::Table);
        prop_assert_eq!(lines([&base, &ours, &theirs]), lines([&both, &both, &both]));
    }
}

fn plain(text: &str) -> MemoryTree {
    MemoryTree::from([("data/t/rows.tsv", text)])
}

const HEAD: &str = "#glxc-rows 1\tkey=1n\tid\ta\n";

#[test]
fn the_versions_of_a_conflict_are_shown() {
    let (base, ours) = (plain(&format!("{HEAD}1\tx\n2\tx\n3\tx\n")), plain(&format!("{HEAD}1\ty\n3\ty\n4\ty\n")));
    let theirs = plain(&format!("{HEAD}1\tz\n2\tz\n4\tz\n"));
    let wanted = ["1\ty < 1\tx > 1\tz", "- < 2\tx > 2\tz", "3\ty < 3\tx > -", "4\ty < - > 4\tz"];
    assert_eq!(lines_of([&base, &ours, &theirs], Scope::Table), wanted);
}

#[test]
fn a_row_that_is_gone_from_both_parts_may_have_moved() {
    for head in [HEAD, "#glxc-rows 1\tbag\tid\ta\n"] {
        let (base, other) = (plain(&format!("{head}1\tx\n2\tx\n")), plain(&format!("{head}1\tx\n")));
        assert_eq!(lines_of([&base, &other, &other], Scope::Table), ["1\tx"]);
        assert_eq!(lines_of([&base, &other, &other], Scope::Part), ["1\tx", "- < 2\tx > -"]);
    }
}

#[test]
fn equal_lines_of_a_bag_are_counted() {
    let head = "#glxc-rows 1\tbag\ta\n";
    let bag = |count: usize| plain(&format!("{head}{}", "x\n".repeat(count)));
    for (base, ours, theirs, merged) in
        [(1, 2, 2, 2), (1, 2, 3, 4), (1, 0, 0, 0), (2, 1, 3, 2), (3, 1, 0, 0), (0, 1, 0, 1)]
    {
        let trees = [base, ours, theirs].map(bag);
        assert_eq!(lines_of(trees.each_ref(), Scope::Table).len(), merged, "{base} {ours} {theirs}");
    }
}

#[test]
fn a_column_that_one_side_added_merges_with_rows_of_the_other() {
    let wide = "#glxc-rows 1\tkey=1n\tid\tnew\ta\n";
    let base = plain(&format!("{HEAD}1\tx\n2\tx\n3\tx\n"));
    let ours = plain(&format!("{HEAD}1\ty\n3\tx\n4\tx\n"));
    let theirs = plain(&format!("{wide}1\t0\tx\n2\t0\tx\n3\t7\tz\n"));
    let merged = ["1\t0\ty", "3\t7\tz", "4\t\\N\tx < - > -"];
    assert_eq!(lines_of([&base, &ours, &theirs], Scope::Table), merged);
    let narrow = plain("#glxc-rows 1\tkey=1n\tid\n1\n2\n");
    assert_eq!(lines_of([&base, &plain(&format!("{HEAD}1\tx\n2\tx\n")), &narrow], Scope::Table), ["1", "2"]);
}

#[test]
fn columns_that_both_sides_changed_are_refused() {
    let with = |columns: &str| plain(&format!("#glxc-rows 1\tkey=1n\tid\t{columns}\n"));
    let (base, ours, theirs) = (with("a"), with("a\tb"), with("a\tc"));
    let error = merge([&base, &ours, &theirs]).unwrap_err();
    assert!(
        matches!(&error, Error::Input { .. }) && error.to_string().contains("both sides changed the columns"),
        "{error}"
    );
    let other_key = plain("#glxc-rows 1\tkey=2n\tid\ta\n");
    let error = merge([&base, &base, &other_key]).unwrap_err();
    assert!(error.to_string().contains("one side changed the key"), "{error}");
}

#[test]
fn a_side_without_a_part_is_an_empty_table() {
    let one = plain(&format!("{HEAD}1\tx\n"));
    let none = MemoryTree::default();
    assert_eq!(lines_of([&none, &one, &one], Scope::Table), ["1\tx"]);
    assert_eq!(lines_of([&none, &one, &none], Scope::Table), ["1\tx"]);
    assert!(merge([&none, &none, &none]).is_err());
}
