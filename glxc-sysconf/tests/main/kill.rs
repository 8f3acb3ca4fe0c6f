//! An installation cut at any step is undone, or gone on with.

use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use glxc_sysconf::{Error, Files, Scripts, Sysconf};

use crate::support::System;

const MARK: &str = "echo set up >> $SYSCONF_PATH/../runs";

/// A system with an installation, and the files of the next.
fn prepared() -> (System, Files, Files) {
    let system = System::new();
    std::fs::write(system.path("etc/c"), "package").unwrap();
    let base = system.files([
        ("actual/tree/etc/a", "1"),
        ("actual/tree/etc/gone", "1"),
        ("actual/deps", "web"),
        ("web/setup.rc", MARK),
    ]);
    system.push(None, &base).unwrap();
    let next = system.files([
        ("actual/tree/etc/a", "2"),
        ("actual/tree/etc/c", "ours"),
        ("actual/tree/etc/deep/x", "x"),
        ("actual/tree/etc/unit", "u"),
        ("actual/tree/etc/link", "->a"),
        ("actual/copy", "etc/unit"),
        ("actual/deps", "web sysconf.base"),
        ("web/setup.rc", MARK),
    ]);
    (system, base, next)
}

type Picture = Vec<(std::path::PathBuf, String)>;

/// What a push without interruption started from, and comes to.
fn pictures() -> (Picture, Picture) {
    let (system, base, next) = prepared();
    let before = relative(&system);
    system.push(Some(&base), &next).unwrap();
    (before, relative(&system))
}

/// The picture without what differs from one temporary folder to the next.
fn relative(system: &System) -> Picture {
    let root = system.path("").display().to_string();
    let all = system.picture().into_iter().filter(|(path, _)| path != Path::new("runs"));
    all.map(|(path, text)| (path, text.replace(root.trim_end_matches('/'), ""))).collect()
}

fn runs(system: &System) -> usize {
    system.read("runs").lines().count()
}

#[test]
fn cut_at_any_step() {
    let (before, after) = pictures();
    assert_ne!(before, after);
    let mut cut = 0;
    for moments in 1.. {
        let (system, base, next) = prepared();
        let Some(error) = system.push_until(Some(&base), &next, moments) else { break };
        assert!(matches!(error, Error::Cancelled), "{error}");
        cut += 1;
        if moments % 2 == 0 {
            system.undo();
            assert_eq!(relative(&system), before, "undone after {moments}");
            system.push(Some(&base), &next).unwrap();
        } else {
            // Gone on with as on a container that the push made: next replaces what is there.
            system.push(None, &next).unwrap();
            assert!(runs(&system) > 1, "set-up must run where it had not ended");
        }
        assert_eq!(relative(&system), after, "gone on with after {moments}");
        assert!(system.sysconf.plan(Some(&next), &next).unwrap().is_empty());
    }
    assert!(cut > 20, "{cut}");
}

#[test]
fn a_failed_script_leaves_set_up_to_do() {
    let (system, base, mut next) = prepared();
    let failing = system.files([("web/setup.rc", "exit 7")]).remove(Path::new("web/setup.rc")).unwrap();
    let good = next.insert("web/setup.rc".into(), failing).unwrap();
    let before = relative(&system);
    assert!(matches!(system.push(Some(&base), &next), Err(Error::Script { .. })));
    system.sysconf.undo(&system.operation(), None).unwrap();
    assert_eq!(relative(&system), before);
    let plan = system.sysconf.plan(Some(&base), &base).unwrap();
    assert!(!plan.is_empty() && plan.changes().is_empty(), "set-up is still to be run");
    let ran = runs(&system);
    system.push(Some(&base), &base).unwrap();
    assert_eq!(runs(&system), ran + 1);
    next.insert("web/setup.rc".into(), good);
    system.push(Some(&base), &next).unwrap();
}

/// Not a test by itself: the process that [`killed`] kills.
#[test]
fn victim() {
    let Ok(root) = std::env::var("GLXC_SYSCONF_VICTIM") else { return };
    let root = Path::new(&root);
    let moments: usize = std::env::var("GLXC_SYSCONF_MOMENTS").unwrap().parse().unwrap();
    let sysconf = Sysconf::new(root.join("sysconf"), root.join("var/lib/state"));
    let next = glxc_sysconf::read_files(&root.join("next")).unwrap();
    let plan = sysconf.plan(Some(&sysconf.export().unwrap().files), &next).unwrap();
    let left = std::cell::Cell::new(moments);
    let kill = || {
        left.set(left.get().saturating_sub(1));
        if left.get() == 0 {
            let own = rustix::process::getpid();
            rustix::process::kill_process(own, rustix::process::Signal::KILL).unwrap();
        }
        false
    };
    let timeout = Duration::from_secs(60);
    let mut scripts = Scripts { output: &mut |_, _| {}, cancelled: &kill, timeout };
    sysconf.apply(&plan, &root.join("operation"), &mut scripts).unwrap();
}

/// Starts the process that applies `next` and is killed after so many moments.
fn start_victim(system: &System, next: &Files, moments: usize) -> Child {
    for (path, file) in next {
        let path = system.path("next").join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        match file.kind {
            glxc_sysconf::Kind::Link => {
                let target = String::from_utf8(file.content.to_vec()).unwrap();
                std::os::unix::fs::symlink(target, path).unwrap();
            }
            _ => std::fs::write(path, &file.content).unwrap(),
        }
    }
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "kill::victim"])
        .env("GLXC_SYSCONF_VICTIM", system.path(""))
        .env("GLXC_SYSCONF_MOMENTS", moments.to_string())
        .spawn()
        .unwrap()
}

/// Waits for something that comes soon.
#[track_caller]
fn soon(what: &str, mut has_come: impl FnMut() -> bool) {
    let since = Instant::now();
    while !has_come() {
        assert!(since.elapsed() < Duration::from_secs(20), "{what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// The processes that name a path in their environment.
fn processes_of(path: &Path) -> usize {
    let names = |process: std::fs::DirEntry| {
        let environment = std::fs::read(process.path().join("environ")).unwrap_or_default();
        environment.windows(path.as_os_str().len()).any(|part| part == path.as_os_str().as_encoded_bytes())
    };
    std::fs::read_dir("/proc").unwrap().flatten().map(names).filter(|named| *named).count()
}

#[test]
fn a_script_ends_with_the_process_that_runs_it() {
    let (system, _, _) = prepared();
    let script = "trap '' TERM HUP; bash -c 'sleep 300 & touch $SYSCONF_PATH/../started; wait' & sleep 300";
    let next = system.files([("actual/setup.rc", script)]);
    let mut victim = start_victim(&system, &next, usize::MAX);
    soon("the script starts", || system.path("started").exists());
    assert!(processes_of(&system.path("sysconf")) >= 4, "the script, its child and two that sleep");
    victim.kill().unwrap();
    victim.wait().unwrap();
    soon("the script ends, with all that it started", || processes_of(&system.path("sysconf")) == 0);
}

#[test]
fn killed() {
    let (before, after) = pictures();
    for moments in [3, 9, 15, 22] {
        let (system, base, next) = prepared();
        let status = start_victim(&system, &next, moments).wait().unwrap();
        assert_eq!(status.signal(), Some(9), "the victim must have been killed");
        std::fs::remove_dir_all(system.path("next")).unwrap();
        system.undo();
        assert_eq!(relative(&system), before, "undone after {moments}");
        system.push(Some(&base), &next).unwrap();
        assert_eq!(relative(&system), after);
    }
}
