//! States that come, go, move, change their kind or are replaced, and what is remembered of them.

mod world;

use std::fs;

use world::World;

impl World {
    fn set_config(&self, text: &str) {
        self.write("glxc.toml", text);
    }

    fn remembered(&self, name: &str) -> String {
        fs::read_to_string(self.path(&format!("host/glxc/recorded/{name}.json"))).unwrap()
    }

    fn exports(&self) -> usize {
        self.calls().iter().filter(|call| call.ends_with(" export")).count()
    }
}

#[test]
fn what_was_checked_is_not_checked_again() {
    let world = World::pushed();
    assert_eq!(world.checks(), ["kv all"]);
    world.write("data/kv/keys.tsv", "a\t1\nb\t3\n");
    world.commit("rows");
    world.push().accepted();
    assert_eq!(world.checks(), ["kv what differs"]);
    world.write("README", "nothing of a state\n");
    world.commit("readme");
    world.push().accepted();
    assert!(world.checks().is_empty());
    world.write("data/kv/keys.tsv", "a\t1\nb\t4\n");
    world.commit("replace it");
    world.git(&["push", "-o", "replace=kv", "demo", "main"]).accepted();
    assert_eq!(world.checks(), ["kv what differs", "kv all"]);
    world.write("glxc.toml", &world.read("glxc.toml").replace("[state.kv]", "[state.kv]\ndirection = \"push\""));
    world.commit("other settings");
    world.push().accepted();
    assert_eq!(world.checks(), ["kv all"]);
}

#[test]
fn what_did_not_change_is_not_exported_again() {
    let world = World::pushed();
    world.calls();
    world.pull().accepted();
    assert_eq!(world.exports(), 1, "a push leaves live and `main` apart for all that is known");
    world.pull().accepted();
    assert_eq!(world.exports(), 0);
    world.write_live("kv", "a\t2\n");
    world.pull().accepted();
    assert_eq!((world.exports(), world.read("data/kv/keys.tsv")), (1, "a\t2\n".into()));
    world.assert_nothing_left();
}

#[test]
fn a_sign_of_no_change_is_only_good_for_its_commit() {
    let world = World::pushed();
    world.write_live("kv", "a\t1\nb\t1\n");
    world.pull().accepted();
    let before = world.remembered("kv");
    world.write_live("kv", "a\t2\n");
    world.pull().accepted();
    // A crash after the commit and before the file was written leaves the one before; then live is as it was.
    fs::write(world.path("host/glxc/recorded/kv.json"), before).unwrap();
    world.write_live("kv", "a\t1\nb\t1\n");
    world.pull().accepted();
    assert_eq!(world.read("data/kv/keys.tsv"), "a\t1\nb\t1\n");
}

#[test]
fn a_push_forgets_every_sign_of_no_change() {
    let world = World::pushed();
    world.pull().accepted();
    assert!(world.remembered("kv").contains("\"fingerprint\""));
    world.write("README", "x\n");
    world.commit("not about the state");
    world.push().accepted();
    assert!(world.remembered("kv").contains("\"unchanged\":null"), "{}", world.remembered("kv"));
    world.calls();
    world.pull().accepted();
    assert_eq!(world.exports(), 1);
    // Other settings, too: here by hand, as another version of the program would see it.
    let text = world.remembered("kv").replace("\"settings\":\"", "\"settings\":\"x");
    fs::write(world.path("host/glxc/recorded/kv.json"), text).unwrap();
    world.pull().accepted();
    assert_eq!(world.exports(), 1);
}

#[test]
fn a_state_moves_with_its_files() {
    let world = World::pushed();
    world.set_config(&world.state("kv", "store").replace("data/kv", "moved/kv"));
    world.commit("only the settings");
    world.push().declined("git mv data/kv moved/kv");
    fs::create_dir(world.path("user/moved")).unwrap();
    world.git(&["mv", "data/kv", "moved/kv"]).accepted();
    world.commit("the files too");
    world.push().accepted();
    world.write_live("kv", "a\t2\n");
    world.pull().accepted();
    assert_eq!(world.git(&["ls-files"]).accepted(), "glxc.toml\nmoved/kv/keys.tsv\n");
    assert_eq!(world.read("moved/kv/keys.tsv"), "a\t2\n");
    world.assert_nothing_left();
}

#[test]
fn another_name_is_another_state() {
    let world = World::pushed();
    let renamed = world.state("kv", "store").replace("state.kv", "state.other");
    world.set_config(&renamed);
    world.commit("renamed");
    world.push().declined("state `other` is new here and the container has data for it already");
    fs::remove_dir_all(world.path("user/data")).unwrap();
    world.commit("without its files");
    world.write_live("kv", "a\t3\n");
    world.push().accepted();
    world.pull().accepted();
    assert_eq!((world.live("kv"), world.read("data/kv/keys.tsv")), ("a\t3\n".into(), "a\t3\n".into()));
}

#[test]
fn another_handler_under_the_same_name_is_declined() {
    let world = World::pushed();
    world.set_config(&world.state("kv", "whole"));
    world.commit("another handler");
    world.push().declined("state `kv` had the handler `store`: give it another name");
    world.assert_nothing_left();
}

#[test]
fn settings_reach_the_handler_without_a_change_of_files() {
    let world = World::pushed();
    let root = world.path("docs");
    fs::create_dir(&root).unwrap();
    let state = format!("[state.docs]\nhandler = \"files\"\npath = \"data/docs\"\nroot = \"{}\"\n", root.display());
    let kv = world.read("glxc.toml");
    world.set_config(&format!("{kv}{state}"));
    world.commit("docs");
    world.push().accepted();
    world.pull().accepted();
    for (exclude, staged) in [("exclude = [\"*.bak\"]\n", true), ("# a comment\nexclude = [\"*.bak\"]\n", false)] {
        world.set_config(&format!("{kv}{state}{exclude}"));
        world.commit(exclude);
        world.calls();
        world.push().accepted();
        assert_eq!(world.calls().contains(&"docs stage".to_owned()), staged, "{exclude}");
    }
}

/// Each would undo what the other does, so what is live belongs to one state.
#[test]
fn what_is_live_belongs_to_one_state() {
    let world = World::pushed();
    let kv = world.read("glxc.toml");
    let folder = |name: &str, root: &str, more: &str| {
        let root = world.path(root).display().to_string();
        format!("[state.{name}]\nhandler = \"files\"\npath = \"{name}\"\nroot = \"{root}\"\n{more}")
    };
    let twice = kv.replace("[state.kv]", "[state.twin]").replace("data/kv", "data/twin");
    let push = "direction = \"push\"\n";
    for (states, first, second) in [
        (twice, "kv", "twin"),
        (folder("a", "srv", "") + &folder("b", "srv", push), "a", "b"),
        (folder("a", "srv", "") + &folder("b", "srv/x/y", ""), "a", "b"),
        (folder("a", "srv/x/y", "") + &folder("b", "srv", push), "a", "b"),
        (folder("a", "srv", "exclude = [\"/x/z\"]\n") + &folder("b", "srv/x/y", ""), "a", "b"),
    ] {
        world.set_config(&format!("{kv}{states}"));
        world.commit(&format!("{first} {second}"));
        let text = world.push().declined(&format!("state `{second}`"));
        assert!(text.contains(&format!("state `{first}`")) && text.contains("glxc.toml:"), "{text}");
        world.assert_nothing_left();
    }
    let beside = folder("a", "srv", "exclude = [\"/x/\"]\n") + &folder("b", "srv/x/y", "") + &folder("c", "srv2", "");
    world.set_config(&format!("{kv}{beside}"));
    world.commit("apart");
    world.push().accepted();
}

#[test]
fn two_transactional_states_change_together() {
    let world = World::two();
    world.calls();
    world.push().accepted();
    let both = || (world.live("kv"), world.live("two"));
    assert_eq!(both(), ("a\t2\n".into(), "a\t2\n".into()));
    let calls = world.calls();
    let at = |wanted: &str| calls.iter().position(|call| call == wanted).unwrap();
    assert!(at("two locked") < at("kv prepare") && at("two prepared") < at("kv commit"), "{calls:?}");
    // One of them alone needs no more than its own commit.
    world.write("data/kv/keys.tsv", "a\t3\n");
    world.commit("one");
    world.push().accepted();
    assert!(!world.calls().contains(&"kv prepare".to_owned()));
    world.write_live("two", "a\tapplication\n");
    for name in ["kv", "two"] {
        world.write(&format!("data/{name}/keys.tsv"), "a\t4\n");
    }
    world.commit("both, and the application has one of them");
    world.push().declined("changed meanwhile");
    assert_eq!(both(), ("a\t3\n".into(), "a\tapplication\n".into()));
    world.assert_nothing_left();
}

#[test]
fn two_transactional_states_change_together_whatever_dies() {
    let points = ["lock", "locked", "prepare", "prepared", "commit", "committed"];
    let (mut old, mut new) = (0, 0);
    for (name, point) in ["kv", "two"].into_iter().flat_map(|name| points.map(|point| (name, point))) {
        for action in ["kill", "fail"] {
            let world = World::two();
            let context = format!("{name} {point} {action}");
            world.set_faults(&[&context]);
            let said = world.push();
            assert_eq!(world.faults_left(), 0, "{context}");
            let prepared = point == "prepared" || point.starts_with("commit") || name == "two" && point == "prepare";
            if action == "kill" && prepared {
                // Nobody comes by: what was started beside the push settles it.
                world.wait_until_settled();
            } else {
                world.git(&["fetch", "demo"]).accepted();
            }
            let (kv, two) = (world.live("kv"), world.live("two"));
            assert_eq!(kv, two, "{context}: {}", said.text);
            let happened = kv == "a\t2\n";
            assert_eq!(happened, point.starts_with("commit"), "{context}: {}", said.text);
            world.git(&["fetch", "demo"]).accepted();
            let main = world.git(&["rev-parse", "main"]).accepted();
            assert_eq!(world.main_in_container() == main.trim(), happened, "{context}");
            world.assert_nothing_left();
            *if happened { &mut new } else { &mut old } += 1;
        }
    }
    assert_eq!((old, new), (16, 8));
}

#[test]
fn a_replaced_state_is_kept_unless_the_push_is_declined() {
    let world = World::pushed();
    world.write_live("kv", "a\tlive\n");
    world.write("data/kv/keys.tsv", "a\tpushed\n");
    world.commit("another a");
    world.push().declined("changed meanwhile");
    world.set_faults(&["kv lock fail"]);
    world.git(&["push", "-o", "replace=kv", "demo", "main"]).declined("a fault of the test");
    assert_eq!(world.container_git(&["branch", "--list", "replaced/*"]), "");
    assert_eq!(world.live("kv"), "a\tlive\n");
    world.set_faults(&["kv locked kill"]);
    world.git(&["push", "-o", "replace=kv", "demo", "main"]).declined("");
    world.git(&["fetch", "demo"]).accepted();
    assert_eq!(world.container_git(&["branch", "--list", "replaced/*"]), "");
    world.git(&["pull", "-q", "-s", "ours", "--no-rebase", "--no-edit", "demo", "main"]).accepted();
    world.write_live("kv", "a\tlive again\n");
    world.set_faults(&["kv committed kill"]);
    world.git(&["push", "-o", "replace=kv", "demo", "main"]).declined("");
    world.git(&["fetch", "demo"]).accepted();
    let branch = world.container_git(&["branch", "--list", "replaced/*"]);
    assert_eq!(world.container_git(&["show", &format!("{}:data/kv/keys.tsv", branch.trim())]), "a\tlive again");
    assert_eq!(world.live("kv"), "a\tpushed\n");
    world.config(&["kv", "late"]);
    world.commit("no files yet");
    world.git(&["push", "-o", "replace=late", "demo", "main"]).declined("-o replace=late: it has no files");
    world.assert_nothing_left();
}

#[test]
fn a_recovery_replaces_what_the_push_was_asked_to() {
    let world = World::pushed();
    let root = world.path("docs");
    fs::create_dir(&root).unwrap();
    fs::write(root.join("a.txt"), "old\n").unwrap();
    let state = format!("[state.docs]\nhandler = \"files\"\npath = \"data/docs\"\nroot = \"{}\"\n", root.display());
    world.set_config(&format!("{}{state}", world.read("glxc.toml")));
    world.commit("docs");
    world.push().accepted();
    world.pull().accepted();
    fs::write(root.join("a.txt"), "live\n").unwrap();
    world.write("data/docs/files/a.txt", "pushed\n");
    world.commit("another text");
    world.push().declined("changed meanwhile");
    world.set_faults(&["docs commit kill"]);
    world.git(&["push", "-o", "replace=docs", "demo", "main"]).declined("");
    world.git(&["fetch", "demo"]).accepted();
    assert_eq!(fs::read_to_string(root.join("a.txt")).unwrap(), "pushed\n");
    assert_eq!(world.main_in_container(), world.git(&["rev-parse", "main"]).accepted().trim());
    world.assert_nothing_left();
}

#[test]
fn the_configuration_of_a_system_stays() {
    let world = World::pushed();
    world.write("sysconf/motd", "one\n");
    world.commit("motd");
    world.push().accepted();
    fs::write(world.path("host/motd"), "live\n").unwrap();
    world.write("sysconf/motd", "two\n");
    world.commit("motd is two");
    world.push().declined("sysconf: changed meanwhile: motd");
    world.git(&["reset", "-q", "--hard", "HEAD~"]).accepted();
    world.pull().accepted();
    assert_eq!(world.read("sysconf/motd"), "live\n");
    world.git(&["rm", "-r", "-q", "sysconf"]).accepted();
    world.commit("without");
    world.push().declined("`sysconf/` was removed");
    assert_eq!(fs::read_to_string(world.path("host/motd")).unwrap(), "live\n");
    world.assert_nothing_left();
}

#[test]
fn a_push_with_merges_is_its_end() {
    let world = World::pushed();
    world.git(&["checkout", "-q", "-b", "dev"]).accepted();
    world.write("data/kv/keys.tsv", "a\t1\nb\t7\n");
    world.commit("b is 7");
    world.git(&["checkout", "-q", "main"]).accepted();
    world.write("README", "x\n");
    world.commit("readme");
    world.git(&["merge", "-q", "--no-edit", "dev"]).accepted();
    world.write_live("kv", "a\t1\nb\t1\nc\t1\n");
    world.push().accepted();
    assert_eq!(world.live("kv"), "a\t1\nb\t7\nc\t1\n");
    world.pull().accepted();
    assert_eq!(world.read("data/kv/keys.tsv"), world.live("kv"));
}

#[test]
fn a_pull_between_the_advertisement_and_the_push_is_not_lost() {
    let world = World::pushed();
    world.write("data/kv/keys.tsv", "a\t1\nb\t7\n");
    world.commit("b is 7");
    // git runs this hook after it has read what the container has.
    let live = world.path("kv");
    let script =
        format!("#!/bin/sh\nprintf 'application\\na\\t9\\nb\\t1\\n' > '{}'\ngit fetch -q demo\n", live.display());
    fs::create_dir_all(world.path("user/.git/hooks")).unwrap();
    fs::write(world.path("user/.git/hooks/pre-push"), script).unwrap();
    let executable = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    fs::set_permissions(world.path("user/.git/hooks/pre-push"), executable).unwrap();
    world.push().declined("fetch first: it moved meanwhile");
    assert_eq!(world.live("kv"), "a\t9\nb\t1\n");
    world.assert_nothing_left();
}

#[test]
fn a_clone_has_the_bound_branch_checked_out() {
    let world = World::pushed();
    let listed = world.git(&["ls-remote", "--symref", "demo", "HEAD"]).accepted();
    assert!(listed.contains("ref: refs/heads/main\tHEAD"), "{listed}");
}

#[test]
fn the_first_commits_are_known_after_a_kill() {
    let world = World::new();
    world.config(&["kv"]);
    world.write("data/kv/keys.tsv", "a\t1\n");
    world.commit("start");
    world.set_faults(&["kv committed kill"]);
    world.push().declined("");
    world.git(&["checkout", "-q", "--orphan", "other"]).accepted();
    world.commit("another history");
    world.git(&["push", "demo", "other"]).declined("shares no first commit");
    world.git(&["tag", "-a", "-m", "x", "v1"]).accepted();
    world.git(&["push", "demo", "v1"]).declined("shares no first commit");
    let blob = world.git(&["rev-parse", "HEAD:glxc.toml"]).accepted();
    world.git(&["push", "demo", &format!("{}:refs/tags/blob", blob.trim()), "main:refs/heads/copy"]).accepted();
    world.git(&["push", "demo", "main:refs/heads/copy2", "other"]).declined("shares no first commit");
    assert!(world.container_git(&["branch"]).contains("copy2"), "one does not decline the others");
}
