//! `git push -o plan`: what a push would do, and nothing of it.

mod world;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use world::{Said, World};

impl World {
    fn plan(&self, options: &[&str]) -> Said {
        let options: Vec<&str> = options.iter().flat_map(|option| ["-o", option]).collect();
        self.git(&[&["push", "-o", "plan"], &options[..], &["demo", "main"]].concat())
    }

    /// Everything that a push could have changed, but for objects that nothing refers to, and who held the lock last.
    fn everything(&self) -> BTreeMap<String, String> {
        let mut files = BTreeMap::new();
        for folder in ["host", "kv", "two", "docs"] {
            collect(&self.path(folder), &mut files);
        }
        let not_of_the_state = ["/calls", "/checks", "/lock"];
        files.retain(|name, _| !name.contains("/objects/") && !not_of_the_state.iter().any(|end| name.ends_with(end)));
        assert!(files.keys().any(|name| name.contains("refs")), "{:?}", files.keys());
        files
    }
}

fn collect(path: &Path, files: &mut BTreeMap<String, String>) {
    match fs::read_dir(path) {
        Ok(entries) => entries.flatten().for_each(|entry| collect(&entry.path(), files)),
        Err(_) => drop(
            fs::read(path)
                .map(|bytes| files.insert(path.display().to_string(), String::from_utf8_lossy(&bytes).into())),
        ),
    }
}

const DONE: &str = "! [remote rejected] main -> main (plan only: nothing was changed)";

#[test]
fn a_plan_tells_what_a_push_would_do_and_changes_nothing() {
    let world = World::pushed();
    let root = world.path("docs");
    fs::create_dir(&root).unwrap();
    let docs = format!("[state.docs]\nhandler = \"files\"\npath = \"docs\"\nroot = \"{}\"\n", root.display());
    let docs = format!("{docs}direction = \"push\"\nowner = \"{0}\"\ngroup = \"{0}\"\n", "root");
    world.write("glxc.toml", &(world.read("glxc.toml") + &docs));
    world.write("docs/a.txt", "a\n");
    world.write("docs/b.txt", "b\n");
    world.write("data/kv/keys.tsv", "a\t1\nb\t2\nc\t3\n");
    world.write("sysconf/motd", "welcome\n");
    world.commit("a lot");
    let before = world.everything();
    world.calls();
    let text = world.plan(&[]).declined(DONE);
    for line in [
        "remote: sysconf: changed files would be installed, and set-up would run",
        "remote: kv: 2 keys changed",
        "remote: docs: load 2 files",
        "remote: ready.rc would run",
    ] {
        assert!(text.contains(line), "{line:?} in:\n{text}");
    }
    assert_eq!(world.everything(), before);
    let calls = world.calls();
    let called = |what: &str| calls.iter().any(|call| call.ends_with(what));
    assert!(called("kv lock") && !called(" commit") && !called("docs lock"), "{calls:?}");
    world.assert_nothing_left();
    world.push().accepted();
    assert_eq!(
        (world.live("kv"), fs::read_to_string(root.join("b.txt")).unwrap()),
        ("a\t1\nb\t2\nc\t3\n".into(), "b\n".into())
    );
}

#[test]
fn a_plan_is_not_cut_short() {
    let world = World::pushed();
    let keys: String = (0..300).map(|number| format!("key {number:03}\t1\n")).collect();
    world.write("data/kv/keys.tsv", &keys);
    world.commit("many keys");
    let text = world.plan(&[]).declined(DONE);
    for number in 0..300 {
        assert!(text.contains(&format!("kv:   key {number:03}")), "{number} in:\n{text}");
    }
}

#[test]
fn a_plan_names_every_conflict() {
    let world = World::pushed();
    world.config(&["kv"]);
    let two = world.state("two", "store");
    world.write("glxc.toml", &(world.read("glxc.toml") + &two));
    world.write("data/two/keys.tsv", "x\t1\n");
    world.commit("two");
    world.push().accepted();
    world.write_live("kv", "a\t2\nb\t1\n");
    world.write("data/kv/keys.tsv", "a\t5\nb\t1\n");
    world.commit("a is 5");
    let before = world.everything();
    let text = world.plan(&[]).declined("the push would be declined: kv: import: changed meanwhile: a)");
    assert!(text.contains("(plan only: nothing was changed; "), "{text}");
    assert!(text.contains("remote: would be declined: kv: import: changed meanwhile: a"), "{text}");
    let text = world.plan(&["replace=kv"]).declined(DONE);
    assert!(text.contains("remote: kv: what is live now would be kept in a branch"), "{text}");
    world.plan(&["replace=none"]).declined("-o replace=none: there is no such state in glxc.toml");
    assert_eq!(world.everything(), before);
    world.assert_nothing_left();
}

#[test]
fn a_plan_of_other_refs_and_of_nothing() {
    let world = World::pushed();
    world.git(&["checkout", "-q", "-b", "dev"]).accepted();
    world.write("README", "x\n");
    world.commit("dev");
    let before = world.everything();
    let text = world.git(&["push", "-o", "plan", "demo", "dev", "dev:main"]).declined("nothing was changed");
    assert_eq!(text.matches("(plan only: nothing was changed)").count(), 2, "{text}");
    assert!(text.contains("remote: no state would change"), "{text}");
    world
        .git(&["push", "-o", "paln", "demo", "dev"])
        .declined("unknown push option `paln`; known are plan and replace=NAME");
    assert_eq!(world.everything(), before);
    world.git(&["push", "-o", "plan", "demo", "main"]).accepted();
}

#[test]
fn a_killed_plan_leaves_nothing() {
    let world = World::pushed();
    world.write("data/kv/keys.tsv", "a\t5\nb\t1\n");
    world.commit("a is 5");
    world.set_faults(&["kv locked kill"]);
    world.plan(&[]).declined("");
    assert_eq!(world.faults_left(), 0);
    world.git(&["fetch", "demo"]).accepted();
    assert_eq!(
        (world.live("kv"), world.git(&["rev-parse", "demo/main"]).accepted().trim()),
        ("a\t1\nb\t1\n".into(), &*world.main_in_container())
    );
    world.assert_nothing_left();
}

#[test]
fn another_live_place_under_the_same_name_is_declined() {
    let world = World::pushed();
    let (old, new) = (world.path("kv").display().to_string(), world.path("other").display().to_string());
    world.write("glxc.toml", &world.read("glxc.toml").replace(&old, &new));
    world.commit("another file");
    let words = format!("state `kv` was the file {old} and is the file {new} now: give it another name");
    world.push().declined(&words);
    assert!(!world.path("other").exists());
    world.assert_nothing_left();
}
