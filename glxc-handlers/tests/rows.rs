//! Properties of row files.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::sync::atomic::{AtomicU64, Ordering};

use glxc_handlers::rows::{
    Changes, Comparator, Counts, Header, Limits, Reader, RowChange, Writer, Written, check, check_changed,
};
use glxc_handlers::{
    Cancel, Cx, Entry, Error, MemorySink, MemoryTree, Mode, Result, Silent, StatePath, Tree, differences,
};
use proptest::prelude::*;

/// Small enough that a few hundred rows make many parts, cuts, folders and sorted runs.
const SMALL: Limits = Limits { part: 200, cut: 1000, folder: 4, line: 1 << 20, memory: 2000 };

fn path(text: &str) -> StatePath {
    StatePath::new(text).unwrap()
}

fn table() -> StatePath {
    path("data/t")
}

fn header(key: &[(usize, Comparator)]) -> Header {
    Header { columns: vec!["id".into(), "name".into()], key: key.to_vec() }
}

fn keyed() -> Header {
    header(&[(0, Comparator::Number)])
}

fn bag() -> Header {
    header(&[])
}

fn with_cx<T>(act: impl FnOnce(&Cx<'_>) -> T) -> T {
    let scratch = tempfile::tempdir().unwrap();
    let (path, cancel) = (scratch.path(), Cancel::new());
    act(&Cx { progress: &Silent, cancel: &cancel, deadline: None, scratch: path, op_dir: path })
}

fn try_write<'r>(
    header: &Header, limits: Limits, rows: impl IntoIterator<Item = &'r [u8]>,
) -> Result<(MemoryTree, Written)> {
    let mut sink = MemorySink::new(None);
    let mut writer = Writer::new(&mut sink, table(), header, limits)?;
    rows.into_iter().try_for_each(|row| writer.line(row))?;
    let written = writer.finish()?;
    Ok((sink.finish()?, written))
}

fn write<'r>(header: &Header, limits: Limits, rows: impl IntoIterator<Item = &'r [u8]>) -> MemoryTree {
    try_write(header, limits, rows).unwrap().0
}

fn write_map(rows: &BTreeMap<u32, String>) -> MemoryTree {
    let lines: Vec<String> = rows.iter().map(|(id, name)| format!("{id}\t{name}")).collect();
    write(&keyed(), SMALL, lines.iter().map(String::as_bytes))
}

fn read(tree: &dyn Tree, limits: Limits) -> Result<Vec<Vec<u8>>> {
    let mut reader = Reader::new(tree, &table(), limits)?;
    let mut rows = Vec::new();
    while let Some(line) = reader.next()? {
        rows.push(line.bytes.to_vec());
    }
    Ok(rows)
}

/// A tree of the given lines, in the given order, without any care for borders.
fn by_hand(header: &Header, parts: &[(&str, &[&str])]) -> MemoryTree {
    let file = |(name, lines): &(&str, &[&str])| {
        (path(&format!("data/t/{name}")), (Mode::File, text_of(header, lines).into_bytes()))
    };
    MemoryTree::new(parts.iter().map(file).collect())
}

fn text_of(header: &Header, lines: &[&str]) -> String {
    [header.to_line().as_str()].iter().chain(lines).map(|line| format!("{line}\n")).collect()
}

/// Files whose content is on one side only. (A folder that splits moves files without a change.)
fn touched(a: &MemoryTree, b: &MemoryTree) -> usize {
    let ids = |tree: &MemoryTree| tree.entries().iter().map(|e| e.id.clone()).collect::<BTreeSet<_>>();
    let (a, b) = (ids(a), ids(b));
    a.difference(&b).count().max(b.difference(&a).count())
}

fn name() -> impl Strategy<Value = String> {
    prop_oneof!["[a-z]{0,30}", "[a-z]{0,3}\\\\t", "é{0,60}", "[a-z]{250,300}"]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), ..ProptestConfig::default() })]

    #[test]
    fn what_is_written_is_read(rows in proptest::collection::btree_map(any::<u32>(), name(), 0..200)) {
        let tree = write_map(&rows);
        let lines: BTreeSet<Vec<u8>> = rows.iter().map(|(id, name)| format!("{id}\t{name}").into_bytes()).collect();
        prop_assert_eq!(read(&tree, SMALL).unwrap().into_iter().collect::<BTreeSet<_>>(), lines);
        let (found, count) = with_cx(|cx| check(&tree, &table(), SMALL, cx)).unwrap();
        prop_assert_eq!((found, count), (keyed(), rows.len() as u64));
        prop_assert!(rows.len() < 100 || tree.entries().len() > 5);
    }

    #[test]
    fn any_bytes_are_rows_or_an_error_with_a_place(
        rows in proptest::collection::btree_map(0..50u32, "[a-z\\\\]{0,5}", 0..10),
        edits in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>(), 0..3u8), 0..4),
        noise in proptest::option::of(proptest::collection::vec(any::<u8>(), 0..60)),
    ) {
        let lines: Vec<String> = rows.iter().map(|(id, name)| format!("{id}\t{name}")).collect();
        let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
        let mut bytes = noise.unwrap_or_else(|| text_of(&keyed(), &lines).into_bytes());
        for (at, byte, kind) in edits {
            let at = at.index(bytes.len() + 1);
            match kind {
                0 => bytes.insert(at, byte),
                1 => bytes.truncate(at),
                _ => if let Some(old) = bytes.get_mut(at) { *old = byte },
            }
        }
        let tree = MemoryTree::default().with(&path("data/t/rows.tsv"), bytes);
        match with_cx(|cx| check(&tree, &table(), SMALL, cx)) {
            Err(error) => prop_assert!(error.to_string().starts_with("data/t/rows.tsv:"), "{}", error),
            Ok((header, count)) => {
                let rows = read(&tree, SMALL).unwrap();
                prop_assert_eq!(rows.len() as u64, count);
                // What is a row can be written, and is the same then.
                let mut sorted = Vec::new();
                for row in rows {
                    let mut key = Vec::new();
                    header.push_key(&row, &mut key).unwrap();
                    sorted.push((key, row));
                }
                sorted.sort();
                let again = write(&header, SMALL, sorted.iter().map(|(_, row)| row.as_slice()));
                let expected: BTreeSet<Vec<u8>> = sorted.iter().map(|(_, row)| row.clone()).collect();
                prop_assert_eq!(read(&again, SMALL).unwrap().into_iter().collect::<BTreeSet<_>>(), expected);
            }
        }
    }

    #[test]
    fn a_changed_row_touches_two_parts_at_most(
        rows in proptest::collection::btree_map(0..500u32, "[a-z]{0,30}", 1..200), id in 0..500u32, new in "[a-z]{0,30}", remove in any::<bool>(),
    ) {
        let mut changed = rows.clone();
        if remove { changed.remove(&id); } else { changed.insert(id, new); }
        // a run without a border is cut by size, which moves the cuts behind
        let limits = Limits { cut: u64::MAX, ..SMALL };
        let tree = |rows: &BTreeMap<u32, String>| {
            let lines: Vec<String> = rows.iter().map(|(id, name)| format!("{id}\t{name}")).collect();
            write(&keyed(), limits, lines.iter().map(String::as_bytes))
        };
        prop_assert!(touched(&tree(&rows), &tree(&changed)) <= 2);
    }

    #[test]
    fn changes_make_next_of_base(
        base in proptest::collection::btree_map(0..300u32, name(), 0..150), edits in proptest::collection::vec((0..300u32, proptest::option::of(name())), 0..20),
        shuffled in any::<prop::sample::Index>(),
    ) {
        let mut next = base.clone();
        for (id, name) in &edits {
            match name { Some(name) => { next.insert(*id, name.clone()); } None => { next.remove(id); } }
        }
        let (before, after) = (write_map(&base), write_map(&next));
        // by hand: all rows of next rotated, in one part
        let mut lines: Vec<String> = next.iter().map(|(id, name)| format!("{id}\t{name}")).collect();
        if !lines.is_empty() { let by = shuffled.index(lines.len()); lines.rotate_left(by); }
        let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
        let edited = by_hand(&keyed(), &[("rows.tsv", &lines)]);
        for after in [&after, &edited] {
            let mut model = base.clone();
            let mut last = None;
            with_cx(|cx| {
                let mut changes = Changes::new(Some(&before), Some(after), &table(), SMALL, cx).unwrap();
                while let Some(change) = changes.next().unwrap() {
                    let id = apply(&mut model, change, after);
                    assert!(last < Some(id));
                    last = Some(id);
                }
            });
            prop_assert_eq!(&model, &next);
        }
        let sorted = with_cx(|cx| resorted(&edited, cx));
        prop_assert_eq!(sorted, after);
    }

    #[test]
    fn bags_are_counted(base in proptest::collection::vec("[ab]\t[ab]{0,2}", 0..60), next in proptest::collection::vec("[ab]\t[ab]{0,2}", 0..60)) {
        let tree = |rows: &[String]| {
            let mut rows = rows.to_vec();
            rows.sort();
            write(&bag(), SMALL, rows.iter().map(String::as_bytes))
        };
        let counts = |rows: &[String]| {
            let mut counts: BTreeMap<String, u64> = BTreeMap::new();
            rows.iter().for_each(|row| *counts.entry(row.clone()).or_default() += 1);
            counts
        };
        let (a, b) = (counts(&base), counts(&next));
        let more = |a: &BTreeMap<String, u64>, b: &BTreeMap<String, u64>| {
            a.iter().map(|(row, n)| n.saturating_sub(b.get(row).copied().unwrap_or(0))).sum::<u64>()
        };
        let found = with_cx(|cx| Changes::new(Some(&tree(&base)), Some(&tree(&next)), &table(), SMALL, cx).unwrap().count());
        prop_assert_eq!(found.unwrap(), Counts { added: more(&b, &a), changed: 0, removed: more(&a, &b) });
    }
}

fn cases() -> u32 {
    let scale: f64 = std::env::var("GLXC_TEST_SCALE").ok().and_then(|text| text.parse().ok()).unwrap_or(1.0);
    (96.0 * scale) as u32
}

fn parse(line: &[u8]) -> (u32, String) {
    let (id, name) = std::str::from_utf8(line).unwrap().split_once('\t').unwrap();
    (id.parse().unwrap(), name.to_owned())
}

/// Applies a change to the model, and looks it up at its place.
fn apply(model: &mut BTreeMap<u32, String>, change: RowChange<'_>, next: &MemoryTree) -> u32 {
    let there = |line: &[u8], place: glxc_handlers::rows::Place<'_>| {
        let text = String::from_utf8(next.read(place.file, 1 << 20).unwrap()).unwrap();
        assert_eq!(text.lines().nth(place.line as usize - 1).unwrap().as_bytes(), line);
    };
    match change {
        RowChange::Added { line, place } => {
            there(line, place);
            let (id, name) = parse(line);
            assert_eq!(model.insert(id, name), None);
            id
        }
        RowChange::Removed { line, .. } => {
            let (id, name) = parse(line);
            assert_eq!(model.remove(&id), Some(name));
            id
        }
        RowChange::Changed { old, new, place } => {
            there(new, place);
            let (id, name) = parse(new);
            assert_eq!(model.insert(id, name), Some(parse(old).1));
            id
        }
    }
}

/// What the next export makes of hand edits.
fn resorted(tree: &MemoryTree, cx: &Cx<'_>) -> MemoryTree {
    let mut rows = glxc_handlers::rows::sorted(Reader::new(tree, &table(), SMALL).unwrap(), SMALL, cx).unwrap();
    let mut sink = MemorySink::new(None);
    let mut writer = Writer::new(&mut sink, table(), &keyed(), SMALL).unwrap();
    while let Some(row) = rows.current() {
        writer.line(row.bytes).unwrap();
        rows.advance().unwrap();
    }
    writer.finish().unwrap();
    sink.finish().unwrap()
}

#[test]
fn parts_are_about_a_mebibyte_for_small_and_large_rows() {
    for (length, rows) in [(20, 1_200_000), (100_000, 240)] {
        let text = "x".repeat(length);
        let lines = (0..rows).map(|id| format!("{id:08}\t{}", &text[..length - 10]));
        let mut sink = MemorySink::new(None);
        let mut writer = Writer::new(&mut sink, table(), &keyed(), Limits::default()).unwrap();
        lines.for_each(|line| writer.line(line.as_bytes()).unwrap());
        let written = writer.finish().unwrap();
        let mean = length as u64 * rows / written.parts;
        assert!((700 << 10..1500 << 10).contains(&mean), "{length}: {mean} in {} parts", written.parts);
    }
}

#[test]
fn a_large_row_is_a_part_of_its_own() {
    let large = format!("2\t{}", "x".repeat(300));
    let tree = write(&keyed(), SMALL, [b"1\ta".as_slice(), large.as_bytes(), b"3\tb"]);
    assert_eq!(tree.entries().len(), 3);
    assert_eq!(tree.entries().iter().filter(|entry| entry.path.name() == b"rows.tsv").count(), 1);
}

#[test]
fn equal_lines_have_one_border_and_are_cut_by_size() {
    let limits = Limits { folder: 1 << 40, ..SMALL };
    let row = |id: u32| format!("{id:09}\t{}", "x".repeat(60));
    let border = (0..).find(|id| write(&bag(), limits, ["\ta".as_bytes(), row(*id).as_bytes()]).entries().len() == 2);
    let row = row(border.unwrap());
    let tree = write(&bag(), limits, std::iter::once("\ta".as_bytes()).chain(std::iter::repeat_n(row.as_bytes(), 30)));
    let names: Vec<&[u8]> = tree.entries().iter().map(|entry| entry.path.name()).collect();
    // 14 rows of 71 bytes to a part: x.1.tsv, x.2.tsv, x.tsv, and rows.tsv with the other row
    assert_eq!(names.len(), 4, "{names:?}");
    let stem = names[2].strip_suffix(b".tsv").unwrap();
    assert_eq!(names[..2], [[stem, b".1.tsv"].concat(), [stem, b".2.tsv"].concat()]);
    assert_eq!(names[3], b"rows.tsv");
}

#[test]
fn equal_lines_alone_have_no_border() {
    let large = "x".repeat(300);
    let row = format!("\t{large}");
    let tree = write(&bag(), SMALL, std::iter::repeat_n(row.as_bytes(), 9));
    let names: Vec<&[u8]> = tree.entries().iter().map(|entry| entry.path.name()).collect();
    assert_eq!(names, [b"rows.1.tsv".as_slice(), b"rows.2.tsv", b"rows.tsv"]);
}

#[test]
fn folders_split_and_content_stays_readable() {
    let rows: Vec<String> = (0..2000).map(|id| format!("{id}\tname of {id}")).collect();
    let tree = write(&keyed(), SMALL, rows.iter().map(String::as_bytes));
    let folders: BTreeSet<usize> = tree.entries().iter().map(|entry| entry.path.components().count()).collect();
    assert_eq!(folders, BTreeSet::from([3, 4]));
    assert_eq!(read(&tree, SMALL).unwrap().len(), 2000);
}

#[test]
fn an_empty_table_is_a_first_line() {
    let (tree, written) = try_write(&keyed(), SMALL, []).unwrap();
    assert_eq!((tree.entries().len(), written), (1, Written { rows: 0, parts: 1 }));
    assert_eq!(tree.read(&path("data/t/rows.tsv"), 99).unwrap(), b"#glxc-rows 1\tkey=1n\tid\tname\n");
    assert_eq!(with_cx(|cx| check(&tree, &table(), SMALL, cx)).unwrap(), (keyed(), 0));
    let none = with_cx(|cx| check(&MemoryTree::default(), &table(), SMALL, cx)).unwrap_err();
    assert!(none.to_string().contains("no row file"));
}

#[test]
fn the_writer_refuses_disorder() {
    for (header, rows, message) in [
        (keyed(), ["10\ta", "9\tb"], "write data/t (id=9)"),
        (keyed(), ["1\ta", "1.0\tb"], "write data/t (id=1.0)"),
        (bag(), ["b\t", "a\t"], "write data/t (row `a `)"),
        (keyed(), ["1\ta", "x\tb"], "write data/t (id=x)"),
        (keyed(), ["1\ta", "2"], "write data/t (id=2)"),
        (keyed(), ["1\ta", "2\ta\nb"], "write data/t (id=2)"),
    ] {
        let error = try_write(&header, SMALL, rows.map(str::as_bytes)).unwrap_err();
        assert_eq!(error.to_string(), message);
    }
    assert!(try_write(&bag(), SMALL, [b"a\t".as_slice(), b"a\t"]).is_ok());
    let long = try_write(&keyed(), Limits { line: 5, ..SMALL }, [b"12\tabc".as_slice()]).unwrap_err();
    assert!(matches!(long, Error::Unsupported { .. }), "{long}");
}

#[test]
fn bad_files_are_refused_with_their_place() {
    let first = "#glxc-rows 1\tkey=1n\tid\tname\n";
    let long = format!("{first}1\t{}\n", "x".repeat(3000));
    for (text, message) in [
        ("", "data/t/rows.tsv:1: not a row file"),
        ("id\tname\n", "data/t/rows.tsv:1: not a row file"),
        ("#glxc-rows 1\tkey=1n\tid\tname\r\n1\ta\r\n", "data/t/rows.tsv:1: the line ends with a carriage return"),
        ("version https://git-lfs.github.com/spec/v1\noid x\n", "data/t/rows.tsv:1: a Git LFS pointer"),
        ("<<<<<<< ours\n", "data/t/rows.tsv:1: an unresolved merge conflict"),
        (&format!("{first}1\ta\r\n"), "data/t/rows.tsv:2: the line ends with a carriage return"),
        (&format!("{first}1\ta\n2\n"), "data/t/rows.tsv:3: 1 values, but 2 columns"),
        (&format!("{first}\n"), "data/t/rows.tsv:2: 0 values, but 2 columns"),
        (&format!("{first}<<<<<<< ours\n"), "data/t/rows.tsv:2: an unresolved merge conflict"),
        (&format!("{first}x\ta\n"), "data/t/rows.tsv:2: column `id`: not a number: `x`"),
        (&format!("{first}1\ta\0\n"), "data/t/rows.tsv:2: a raw byte 00"),
        (&long, "data/t/rows.tsv:2: a line of more than 2000 bytes"),
    ] {
        let tree = MemoryTree::from([("data/t/rows.tsv", text)]);
        let error = read(&tree, Limits { line: 2000, ..SMALL }).unwrap_err().to_string();
        assert!(error.starts_with(message), "{text:?}: {error}");
    }
    let good = MemoryTree::from([("data/t/rows.tsv", first)]);
    assert_eq!(read(&good.with(&path("data/t/0a.tsv"), format!("{first}1\ta\n2\tb")), SMALL).unwrap().len(), 2);
    let invalid = read(&good.with(&path("data/t/x.tsv"), [first.as_bytes(), b"1\t\xff\n"].concat()), SMALL);
    assert_eq!(invalid.unwrap_err().to_string(), "data/t/x.tsv:2: invalid UTF-8");
    let other = read(&good.with(&path("data/t/x.tsv"), "#glxc-rows 1\tbag\tid\n"), SMALL).unwrap_err().to_string();
    assert_eq!(other, "data/t/x.tsv:1: another first line than in data/t/rows.tsv");
    let stray = read(&good.with(&path("data/t/notes.txt"), ""), SMALL).unwrap_err().to_string();
    assert!(stray.starts_with("data/t/notes.txt: not expected here"), "{stray}");
    let mut files = good.files().clone();
    files.insert(path("data/t/l.tsv"), (Mode::Link, b"/etc/passwd".to_vec()));
    assert_eq!(read(&MemoryTree::new(files), SMALL).unwrap_err().to_string(), "data/t/l.tsv: not a plain file");
}

/// One part without an end, which counts what is read of it.
#[derive(Debug)]
struct Endless(MemoryTree, AtomicU64);

impl Tree for Endless {
    fn entries(&self) -> &[Entry] {
        self.0.entries()
    }

    fn open(&self, path: &StatePath) -> Result<Box<dyn Read + '_>> {
        Ok(Box::new(Counted(Box::new(self.0.open(path)?.chain(std::io::repeat(b'x'))), &self.1)))
    }
}

struct Counted<'t>(Box<dyn Read + 't>, &'t AtomicU64);

impl Read for Counted<'_> {
    fn read(&mut self, bytes: &mut [u8]) -> std::io::Result<usize> {
        let read = self.0.read(bytes)?;
        self.1.fetch_add(read as u64, Ordering::Relaxed);
        Ok(read)
    }
}

#[test]
fn a_line_without_an_end_is_read_up_to_the_limit() {
    let first = "#glxc-rows 1\tkey=1n\tid\tname\n";
    for (text, line) in [("", 1), ("version", 1), (first, 2), (&format!("{first}1\ta\n2\t"), 3)] {
        let tree = Endless(MemoryTree::from([("data/t/rows.tsv", text)]), AtomicU64::new(0));
        let error = read(&tree, SMALL).unwrap_err().to_string();
        assert_eq!(error, format!("data/t/rows.tsv:{line}: a line of more than {} bytes", SMALL.line));
        assert!(tree.1.into_inner() < SMALL.line + (128 << 10));
    }
}

/// A first line is held in memory several times over, by its columns: it has a limit of its own.
#[test]
fn a_first_line_is_shorter_than_a_row_may_be() {
    for text in ["", "#glxc-rows 1\tbag\t"] {
        let tree = Endless(MemoryTree::from([("data/t/rows.tsv", text)]), AtomicU64::new(0));
        let error = read(&tree, Limits::default()).unwrap_err().to_string();
        assert_eq!(error, "data/t/rows.tsv:1: a line of more than 1048576 bytes");
        assert!(tree.1.into_inner() < (1 << 20) + (128 << 10));
    }
    let wide = |columns: usize, key: usize| {
        let name = |n: usize| format!("c{n:059}");
        let columns = (0..columns).map(name).collect();
        let header = Header { columns, key: (0..key).map(|at| (at, Comparator::Bytes)).collect() };
        read(&by_hand(&header, &[("rows.tsv", &[])]), Limits::default()).map_err(|error| error.to_string())
    };
    assert_eq!(wide(4096, 64), Ok(vec![]));
    assert_eq!(wide(4097, 0).unwrap_err(), "data/t/rows.tsv:1: 4097 columns, of at most 4096 in the first line");
    assert_eq!(wide(65, 65).unwrap_err(), "data/t/rows.tsv:1: 65 columns of the key, of at most 64 in the first line");
}

#[test]
fn the_same_key_twice_names_both_places() {
    let tree = by_hand(&keyed(), &[("a.tsv", &["5\tx", "1\ta"]), ("b.tsv", &["7\tz", "1.0\tb"])]);
    let error = with_cx(|cx| check(&tree, &table(), SMALL, cx)).unwrap_err().to_string();
    assert_eq!(error, "data/t/b.tsv:3: the same key as in data/t/a.tsv:3");
    let tree = by_hand(&keyed(), &[("a.tsv", &["1\ta", "1\tb"])]);
    let error = with_cx(|cx| check(&tree, &table(), SMALL, cx)).unwrap_err().to_string();
    assert_eq!(error, "data/t/a.tsv:3: the same key as in data/t/a.tsv:2");
    // each part in order, but their ranges meet
    let tree = by_hand(&keyed(), &[("a.tsv", &["1\tx", "5\ta"]), ("b.tsv", &["5\tz", "7\tb"])]);
    let error = with_cx(|cx| check(&tree, &table(), SMALL, cx)).unwrap_err().to_string();
    assert_eq!(error, "data/t/b.tsv:2: the same key as in data/t/a.tsv:3");
    let error = with_cx(|cx| Changes::new(None, Some(&tree), &table(), SMALL, cx).unwrap().count()).unwrap_err();
    assert!(error.to_string().contains("the same key"));
    // overlapping, but no key twice
    let tree = by_hand(&keyed(), &[("a.tsv", &["1\tx", "5\ta"]), ("b.tsv", &["4\tz", "7\tb"])]);
    assert_eq!(with_cx(|cx| check(&tree, &table(), SMALL, cx)).unwrap().1, 4);
}

#[test]
fn what_base_has_is_not_checked_again() {
    let base = by_hand(&keyed(), &[("a.tsv", &["not a row"]), ("b.tsv", &["1\ta", "2\tb"])]);
    let check = |next: &MemoryTree| with_cx(|cx| check_changed(&base, next, &table(), SMALL, cx));
    let refused = |next: &MemoryTree| check(next).unwrap_err().to_string();
    let part =
        |header: &Header, name: &str, rows: &[&str]| base.with(&path(&format!("data/t/{name}")), text_of(header, rows));
    check(&base).unwrap();
    check(&part(&keyed(), "b.tsv", &["1\tb"])).unwrap();
    check(&base.without(&path("data/t/b.tsv"))).unwrap();
    check(&by_hand(&keyed(), &[("moved/a.tsv", &["not a row"]), ("b.tsv", &["3\tc"])])).unwrap();
    assert!(refused(&part(&keyed(), "b.tsv", &["1"])).starts_with("data/t/b.tsv:2: "));
    assert_eq!(
        refused(&part(&keyed(), "b.tsv", &["1\tb", "1\tc"])),
        "data/t/b.tsv:3: the same key as in data/t/b.tsv:2"
    );
    // A row that base has at the same place is not looked at again; who adds its key once more finds it live.
    check(&part(&keyed(), "b.tsv", &["1\ta", "1\tb"])).unwrap();
    assert!(refused(&part(&keyed(), "b.tsv", &["1\ta", "2"])).starts_with("data/t/b.tsv:3: "));
    let other = "data/t/b.tsv:1: another first line than in data/t/a.tsv";
    assert_eq!(refused(&part(&bag(), "b.tsv", &["1\ta"])), other);
    assert!(refused(&part(&keyed(), "b.txt", &["1\ta"])).starts_with("data/t/b.txt: not expected here"));
    // Where all parts have another first line, none is known.
    let other = by_hand(&bag(), &[("a.tsv", &["not a row"]), ("b.tsv", &["1\ta"])]);
    assert!(refused(&other).starts_with("data/t/a.tsv:2: "));
}

#[test]
fn rows_that_differ_in_a_large_part_are_told_with_their_places() {
    let row = |id: usize| format!("{id}\t{}", "x".repeat(id % 97));
    let rows: Vec<String> = (0..6000).map(row).collect();
    let part = |rows: &[String]| {
        let rows: Vec<&str> = rows.iter().map(String::as_str).collect();
        by_hand(&keyed(), &[("rows.tsv", &rows)])
    };
    // Around each multiple of what is read at a time, where rows are cut, and at both ends.
    let (mut at, mut near) = (text_of(&keyed(), &[]).len(), Vec::new());
    for (id, row) in rows.iter().enumerate() {
        at += row.len() + 1;
        let border = |before: usize| (at + before) / (64 << 10) != (at - row.len() - 1) / (64 << 10);
        if id == 0 || id == 5999 || border(0) || border(200) {
            near.push(id);
        }
    }
    assert!(near.len() > 8, "{near:?}");
    for id in near {
        for longer in [0, 1, 3] {
            let mut next = rows.clone();
            next[id] = format!("{id}\t{}", "y".repeat(id % 97 + longer));
            let counts = changed(&part(&rows), &part(&next), id as u64 + 2);
            let same = u64::from(next[id] != rows[id]);
            assert_eq!(counts, Counts { added: 0, changed: same, removed: 0 }, "{id}");
            next.remove(id);
            let counts = changed(&part(&rows), &part(&next), id as u64 + 2);
            assert_eq!(counts, Counts { added: 0, changed: 0, removed: 1 }, "{id}");
        }
    }
}

/// Counts the rows that differ, of which there is one, at a line.
fn changed(base: &MemoryTree, next: &MemoryTree, line: u64) -> Counts {
    let mut counts = Counts::default();
    with_cx(|cx| {
        check_changed(base, next, &table(), Limits::default(), cx).unwrap();
        let mut changes = Changes::new(Some(base), Some(next), &table(), Limits::default(), cx).unwrap();
        while let Some(change) = changes.next().unwrap() {
            counts.add(&change);
            let (RowChange::Added { place, .. } | RowChange::Removed { place, .. } | RowChange::Changed { place, .. }) =
                change;
            assert_eq!(place.line, line);
        }
    });
    counts
}

#[test]
fn a_new_column_is_a_change_and_a_new_key_is_not_comparable() {
    let base = by_hand(&keyed(), &[("rows.tsv", &["1\ta", "2\tb"])]);
    let wide = Header { columns: vec!["id".into(), "name".into(), "age".into()], ..keyed() };
    let next = by_hand(&wide, &[("rows.tsv", &["1\ta\t7", "3\tc\t8"])]);
    with_cx(|cx| {
        let changes = Changes::new(Some(&base), Some(&next), &table(), SMALL, cx).unwrap();
        assert_eq!((changes.base_header(), changes.next_header()), (Some(&keyed()), Some(&wide)));
        assert_eq!(changes.count().unwrap(), Counts { added: 1, changed: 1, removed: 1 });
        let other = by_hand(&header(&[(1, Comparator::Bytes)]), &[("rows.tsv", &["1\ta", "2\tb"])]);
        let changes = Changes::new(Some(&base), Some(&other), &table(), SMALL, cx).unwrap();
        assert_eq!(changes.count().unwrap(), Counts { added: 2, changed: 0, removed: 2 });
    });
}

#[test]
fn parts_that_are_equal_or_moved_are_not_read() {
    let base = by_hand(&keyed(), &[("a.tsv", &["not a row"]), ("b.tsv", &["1\ta"])]);
    let next = by_hand(&keyed(), &[("f/a.tsv", &["not a row"]), ("b.tsv", &["1\tb"])]);
    assert_eq!(differences(Some(&base), Some(&next)).len(), 3);
    let counts = with_cx(|cx| Changes::new(Some(&base), Some(&next), &table(), SMALL, cx).unwrap().count());
    assert_eq!(counts.unwrap(), Counts { added: 0, changed: 1, removed: 0 });
}

#[test]
fn sorting_goes_through_files_and_merges_runs() {
    // 2,000 bytes of memory and 40,000 rows: some thousand runs, on more than two levels
    let rows: Vec<String> = (0..40_000u64).map(|id| format!("{}\tx", id * 7919 % 40_009)).collect();
    let rows: Vec<&str> = rows.iter().map(String::as_str).collect();
    let tree = by_hand(&keyed(), &[("rows.tsv", &rows)]);
    let sorted = with_cx(|cx| resorted(&tree, cx));
    assert_eq!(read(&sorted, SMALL).unwrap().len(), 40_000);
}

#[test]
fn git_takes_the_attributes_as_meant() {
    let folder = tempfile::tempdir().unwrap();
    let git = |arguments: &[&str]| {
        let output = std::process::Command::new("git").arg("-C").arg(folder.path()).args(arguments).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    git(&["init", "-q"]);
    std::fs::create_dir(folder.path().join("data")).unwrap();
    std::fs::write(
        folder.path().join(".gitattributes"),
        "* text eol=crlf filter=lfs ident working-tree-encoding=UTF-16\n",
    )
    .unwrap();
    std::fs::write(folder.path().join("data/.gitattributes"), glxc_handlers::rows::gitattributes()).unwrap();
    let bytes = "#glxc-rows 1\tbag\tid\n$Id$\n";
    std::fs::write(folder.path().join("data/rows.tsv"), bytes).unwrap();
    git(&["-c", "filter.lfs.clean=tr a-z A-Z", "add", "data/rows.tsv"]);
    assert_eq!(git(&["cat-file", "blob", ":data/rows.tsv"]), bytes);
    let attributes = git(&["check-attr", "diff", "merge", "--", "data/rows.tsv"]);
    assert!(attributes.contains("diff: glxc") && attributes.contains("merge: glxc"), "{attributes}");
}
