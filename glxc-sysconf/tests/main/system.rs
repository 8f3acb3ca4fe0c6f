use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use glxc_sysconf::{Error, File, Kind};

use crate::support::System;

#[test]
fn files_are_linked_and_go_again() {
    let system = System::new();
    std::fs::write(system.path("etc/motd"), "the package's\n").unwrap();
    std::fs::set_permissions(system.path("etc/motd"), PermissionsExt::from_mode(0o640)).unwrap();
    let before = system.picture();
    let mut next = system.files([("actual/tree/etc/motd", "ours\n"), ("actual/tree/opt/shop/a/x", "x")]);
    next.insert("actual/tree/usr/bin/tool".into(), File::new(Kind::Executable, "#!/bin/sh\n"));
    system.push(None, &next).unwrap();
    assert_eq!(system.read("etc/motd"), "ours\n");
    assert_eq!(system.read("sysconf/compiled/opt/shop/a/x"), "x");
    assert!(system.is_link("etc/motd") && system.is_link("usr/bin/tool"));
    assert_eq!(std::fs::metadata(system.path("usr/bin/tool")).unwrap().permissions().mode() & 0o777, 0o755);
    assert!(system.sysconf.plan(Some(&next), &next).unwrap().is_empty());

    system.push(Some(&next), &system.files([])).unwrap_err();
    let empty = glxc_sysconf::Files::new();
    system.push(Some(&next), &empty).unwrap();
    let mut after = system.picture();
    after.retain(|path, _| !path.starts_with("sysconf") && !path.starts_with("var"));
    let mut before = before;
    before.retain(|path, _| !path.starts_with("sysconf") && !path.starts_with("var"));
    assert_eq!(after, before);
}

#[test]
fn an_edit_through_the_link_comes_back() {
    let system = System::new();
    let base = system.files([("actual/tree/etc/a", "1"), ("actual/tree/etc/b", "1")]);
    system.push(None, &base).unwrap();
    std::fs::write(system.path("etc/a"), "2").unwrap();
    let exported = system.export();
    assert_eq!(exported.files, system.files([("actual/tree/etc/a", "2"), ("actual/tree/etc/b", "1")]));
    assert!(exported.notes.is_empty(), "{:?}", exported.notes);
}

#[test]
fn a_replaced_link_is_taken_back_and_linked_again() {
    let system = System::new();
    let base = system.files([
        ("actual/deps", "web"),
        ("web/tree/etc/a", "1"),
        ("actual/tree/etc/unit", "1"),
        ("actual/copy", "etc/unit"),
        ("actual/tree/etc/link", "->a"),
    ]);
    system.push(None, &base).unwrap();
    assert!(!system.is_link("etc/unit"));
    assert_eq!(std::fs::read_link(system.path("etc/link")).unwrap(), Path::new("a"));
    system.replace("etc/a", "2");
    std::fs::write(system.path("etc/unit"), "2").unwrap();
    std::fs::remove_file(system.path("etc/link")).unwrap();
    symlink("b", system.path("etc/link")).unwrap();
    let exported = system.export();
    let mut wanted = base.clone();
    wanted.insert("web/tree/etc/a".into(), File::new(Kind::File, "2"));
    wanted.insert("actual/tree/etc/unit".into(), File::new(Kind::File, "2"));
    wanted.insert("actual/tree/etc/link".into(), File::new(Kind::Link, "b"));
    assert_eq!(exported.files, wanted);
    assert_eq!(exported.notes.len(), 3, "{:?}", exported.notes);
    assert!(system.is_link("etc/a"));
    let again = system.export();
    assert_eq!((again.files, again.notes.len()), (wanted, 0));
}

#[test]
fn a_file_that_became_a_link_elsewhere_is_a_link_in_its_profile() {
    let system = System::new();
    let base = system.files([("actual/tree/etc/localtime", "utc")]);
    system.push(None, &base).unwrap();
    std::fs::remove_file(system.path("etc/localtime")).unwrap();
    symlink("../usr/share/zoneinfo/X", system.path("etc/localtime")).unwrap();
    let live = system.export().files;
    assert_eq!(live[Path::new("actual/tree/etc/localtime")], File::new(Kind::Link, "../usr/share/zoneinfo/X"));
    assert_eq!(std::fs::read_link(system.path("etc/localtime")).unwrap(), Path::new("../usr/share/zoneinfo/X"));
    assert_eq!(system.export().files, live);
}

#[test]
fn a_removed_file_is_reported_and_stays_removed() {
    let system = System::new();
    let base = system.files([("actual/tree/etc/a", "1"), ("actual/tree/etc/b", "1")]);
    system.push(None, &base).unwrap();
    std::fs::remove_file(system.path("etc/a")).unwrap();
    let exported = system.export();
    assert_eq!(exported.files, base);
    assert!(exported.notes[0].contains("etc/a was removed; its file actual/tree/etc/a stays"), "{:?}", exported.notes);
    let next = system.files([("actual/tree/etc/a", "1"), ("actual/tree/etc/b", "2")]);
    system.push(Some(&base), &next).unwrap();
    assert!(!system.path("etc/a").exists());
    assert_eq!(system.read("etc/b"), "2");
}

#[test]
fn what_both_changed_declines_and_what_one_changed_meets() {
    let system = System::new();
    let base = system.files([("actual/tree/etc/a", "1"), ("actual/tree/etc/b", "1"), ("actual/setup.rc", "echo ran")]);
    system.push(None, &base).unwrap();
    system.replace("etc/a", "live");
    let live_only = system.sysconf.plan(Some(&base), &base).unwrap();
    assert!(live_only.is_empty(), "what only live changed is no reason to set up");
    let before = system.picture();
    let mut next = base.clone();
    next.insert("actual/tree/etc/a".into(), File::new(Kind::File, "next"));
    let error = system.push(Some(&base), &next).unwrap_err();
    assert_eq!(error.to_string(), "changed meanwhile: actual/tree/etc/a");
    assert_eq!(system.picture(), before);
    let mut next = base.clone();
    next.insert("actual/tree/etc/b".into(), File::new(Kind::File, "next"));
    let (_, lines) = system.push(Some(&base), &next).unwrap();
    assert_eq!(lines, ["actual: ran"]);
    assert_eq!((system.read("etc/a"), system.read("etc/b")), ("live".into(), "next".into()));
    assert_eq!(&*system.export().files[Path::new("actual/tree/etc/a")].content, b"live");
}

#[test]
fn a_change_between_plan_and_apply_declines() {
    let system = System::new();
    let base = system.files([("actual/tree/etc/a", "1")]);
    system.push(None, &base).unwrap();
    let next = system.files([("actual/tree/etc/a", "2")]);
    let plan = system.sysconf.plan(Some(&base), &next).unwrap();
    std::fs::write(system.path("etc/a"), "live").unwrap();
    let before = system.picture();
    let applied = system.sysconf.apply(&plan, &system.operation(), &mut crate::support::scripts(&mut |_, _| {}));
    assert!(matches!(applied, Err(Error::Changed { total: 1, .. })), "{applied:?}");
    assert_eq!(system.picture(), before);
}

#[test]
fn the_winner_may_change() {
    let system = System::new();
    let base = system.files([("actual/deps", "web"), ("web/tree/etc/a", "web")]);
    system.push(None, &base).unwrap();
    let mut next = base.clone();
    next.insert("actual/tree/etc/a".into(), File::new(Kind::File, "own"));
    system.push(Some(&base), &next).unwrap();
    assert_eq!(system.read("etc/a"), "own");
    next.insert("actual/copy".into(), File::new(Kind::File, "/etc/a"));
    system.push(None, &next).unwrap();
    assert_eq!((system.read("etc/a"), system.is_link("etc/a")), ("own".into(), false));
    system.push(Some(&next), &base).unwrap();
    assert_eq!((system.read("etc/a"), system.is_link("etc/a")), ("web".into(), true));
}

#[test]
fn a_copy_takes_owner_and_mode_of_what_was_there() {
    let system = System::new();
    std::fs::write(system.path("etc/sudoers"), "package").unwrap();
    std::fs::set_permissions(system.path("etc/sudoers"), PermissionsExt::from_mode(0o440)).unwrap();
    system.push(None, &system.files([("actual/copy", "etc/sudoers"), ("actual/tree/etc/sudoers", "ours")])).unwrap();
    let mode = std::fs::metadata(system.path("etc/sudoers")).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode, system.read("etc/sudoers")), (0o440, "ours".into()));
}

#[test]
fn undo_puts_everything_back() {
    let system = System::new();
    std::fs::write(system.path("etc/c"), "package").unwrap();
    let base = system.files([
        ("actual/tree/etc/a", "1"),
        ("actual/tree/etc/gone", "1"),
        ("actual/setup.rc", "echo base >> $SYSCONF_PATH/../runs"),
    ]);
    system.push(None, &base).unwrap();
    system.replace("etc/a", "edited");
    let mut before = system.picture();
    let next = system.files([
        ("actual/tree/etc/c", "ours"),
        ("actual/tree/etc/new/deep/x", "x"),
        ("actual/tree/etc/unit", "u"),
        ("actual/copy", "etc/unit"),
        ("actual/tree/etc/a", "1"),
        ("actual/setup.rc", "echo next >> $SYSCONF_PATH/../runs"),
    ]);
    system.push(Some(&base), &next).unwrap();
    assert!(!system.path("etc/gone").exists() && system.read("etc/c") == "ours");
    system.undo();
    before.insert("runs".into(), format!("{:o} base\nnext\nbase\n", 0o100644));
    assert_eq!(system.picture(), before);
    std::fs::write(system.path("etc/c"), "later").unwrap();
    system.undo();
    assert_eq!(system.read("etc/c"), "later", "a second one has nothing to do");
    assert!(system.sysconf.plan(Some(&base), &base).unwrap().is_empty());
}

/// Between an installation and its undoing somebody may edit what was installed. That is live, and stays.
#[test]
fn undo_leaves_what_was_edited_since() {
    let system = System::new();
    std::fs::write(system.path("etc/c"), "package").unwrap();
    let base = system.files([("actual/tree/etc/a", "1"), ("actual/tree/etc/gone", "1"), ("actual/tree/etc/z", "1")]);
    system.push(None, &base).unwrap();
    let next = system.files([
        ("actual/tree/etc/a", "2"),
        ("actual/tree/etc/c", "ours"),
        ("actual/tree/etc/new/x", "2"),
        ("actual/tree/etc/unit", "2"),
        ("actual/copy", "etc/unit"),
        ("actual/tree/etc/z", "2"),
    ]);
    system.push(Some(&base), &next).unwrap();
    // through its link, in its place, and where it went
    std::fs::write(system.path("etc/a"), "edited").unwrap();
    ["etc/c", "etc/unit", "etc/gone"].iter().for_each(|path| system.replace(path, "edited"));
    std::fs::remove_file(system.path("sysconf/actual/tree/etc/z")).unwrap();
    let notes = system.undo().notes;
    for path in ["sysconf/actual/tree/etc/a", "etc/c", "etc/unit", "etc/gone", "sysconf/actual/tree/etc/z"] {
        let note = format!("{} was changed since it was installed, and stays", system.path(path).display());
        assert!(notes.contains(&note), "{path}: {notes:?}");
    }
    assert_eq!(notes.len(), 5, "{notes:?}");
    for path in ["etc/a", "etc/c", "etc/unit", "etc/gone"] {
        assert_eq!(system.read(path), "edited", "{path}");
    }
    assert!(!system.path("etc/new").exists() && !system.path("sysconf/actual/tree/etc/z").exists());
    let exported = system.export().files;
    for path in ["actual/tree/etc/a", "actual/tree/etc/gone"] {
        assert_eq!(&*exported[Path::new(path)].content, b"edited", "an edit comes with the next pull: {path}");
    }
    assert_eq!(system.undo().notes, Vec::<String>::new());
}

#[test]
fn kinds_that_can_not_be_kept_are_named() {
    let system = System::new();
    let base = system.files([("actual/tree/etc/a", "1")]);
    system.push(None, &base).unwrap();
    let made = std::process::Command::new("mkfifo").arg(system.path("sysconf/actual/tree/etc/pipe")).status().unwrap();
    assert!(made.success());
    let error = system.sysconf.export().unwrap_err();
    assert!(error.to_string().starts_with("actual/tree/etc/pipe: a device, socket or pipe"), "{error}");
}

#[test]
fn a_folder_in_the_way_is_named_and_nothing_changes() {
    let system = System::new();
    std::fs::create_dir_all(system.path("etc/a/b")).unwrap();
    let error = system.push(None, &system.files([("actual/tree/etc/a", "1"), ("actual/tree/etc/0", "0")])).unwrap_err();
    assert!(matches!(error, Error::Unsupported { .. }), "{error}");
    assert!(!system.path("etc/0").exists() && !system.path("sysconf/actual").exists());
}

#[test]
fn own_ground_is_refused() {
    let system = System::new();
    for path in ["sysconf/x", "sysconf", "var/lib/state/installed"] {
        let error = system.push(None, &system.files([(&*format!("actual/tree/{path}"), "1")])).unwrap_err();
        assert!(error.to_string().contains("nothing may be installed there"), "{path}: {error}");
    }
}

#[test]
fn links_lead_nowhere() {
    let (system, outside) = (System::new(), tempfile::tempdir().unwrap());
    let out = format!("->{}", outside.path().display());
    // A link as a profile's folder of files, and one planted live where files are to be written.
    let next = system.files([("actual/setup.rc", ""), ("actual/tree/etc/out", &*out)]);
    system.push(None, &next).unwrap();
    std::fs::create_dir_all(system.path("sysconf/actual/tree")).unwrap();
    std::fs::remove_dir_all(system.path("sysconf/actual")).unwrap();
    symlink(outside.path(), system.path("sysconf/actual")).unwrap();
    let error = system.push(Some(&next), &system.files([("actual/setup.rc", "true")])).unwrap_err();
    assert!(matches!(error, Error::Changed { .. }), "{error}");
    system.push(None, &next).unwrap();
    assert!(system.path("sysconf/actual/setup.rc").is_file());
    assert_eq!(std::fs::read_dir(outside.path()).unwrap().count(), 0);
    assert_eq!(std::fs::read_link(system.path("etc/out")).unwrap(), outside.path());
}

#[test]
fn leftovers_of_packages_are_not_exported() {
    let system = System::new();
    let base = system.files([("actual/tree/etc/a", "1")]);
    system.push(None, &base).unwrap();
    std::fs::write(system.path("sysconf/actual/tree/etc/a.dpkg-dist"), "package").unwrap();
    assert_eq!(system.export().files, base);
}

#[test]
fn profiles_for_another_distribution_are_refused() {
    let system = System::new();
    std::fs::write(system.path("etc/os-release"), "NAME=\"Debian\"\nID=debian\n").unwrap();
    let error = system.push(None, &system.files([("actual/setup.rc", ""), ("type", "alpine\n")])).unwrap_err();
    assert_eq!(error.to_string(), "type: made for alpine, but the container is debian");
    system.push(None, &system.files([("actual/setup.rc", ""), ("type", "debian\n")])).unwrap();
}
