//! States in tests: what a call is given, errors, trees.

use glxc_handlers::{Cancel, Cx, MemoryTree, Silent, StatePath, differences};

/// Calls with a context whose folders live as long as the call.
pub fn with_cx<T>(call: impl FnOnce(&Cx<'_>) -> T) -> T {
    let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let cancel = Cancel::new();
    call(&Cx {
        progress: &Silent,
        cancel: &cancel,
        deadline: None,
        scratch: folders[0].path(),
        op_dir: folders[1].path(),
    })
}

/// An error with its causes.
pub fn chain(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(cause) => format!("{error}\n  {}", chain(cause)),
        None => error.to_string(),
    }
}

pub fn path(path: &str) -> StatePath {
    StatePath::new(path).unwrap()
}

/// Compares two trees file by file.
#[track_caller]
pub fn assert_same(live: &MemoryTree, wanted: &MemoryTree) {
    for differs in differences(Some(live), Some(wanted)) {
        let [live, wanted] =
            [live, wanted].map(|tree| tree.files().get(&differs.path).map(|(_, bytes)| String::from_utf8_lossy(bytes)));
        assert_eq!(live, wanted, "{}", differs.path);
    }
}

/// A file of a tree, as text.
pub fn text(tree: &MemoryTree, file: &str) -> String {
    let (_, bytes) = tree.files().get(&path(file)).unwrap_or_else(|| panic!("no {file} in {:?}", tree.files().keys()));
    String::from_utf8(bytes.clone()).unwrap()
}

/// The same tree with a text replaced in a file, where it must stand once.
pub fn edited(tree: &MemoryTree, file: &str, from: &str, to: &str) -> MemoryTree {
    let text = text(tree, file);
    assert_eq!(text.matches(from).count(), 1, "{from:?} in {file}:\n{text}");
    tree.with(&path(file), text.replace(from, to))
}

/// The same tree with rows added to a file.
pub fn added(tree: &MemoryTree, file: &str, rows: &str) -> MemoryTree {
    tree.with(&path(file), text(tree, file) + rows)
}
