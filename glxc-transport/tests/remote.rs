//! The sync cycle with real git: what a user sees, and what is live afterwards.

mod world;

use std::fs;

use world::World;

#[test]
fn a_first_push_loads_and_a_pull_brings_what_changed() {
    let world = World::pushed();
    assert_eq!(world.live("kv"), "a\t1\nb\t1\n");
    assert!(world.git(&["log", "-1", "--format=%s", "demo/main"]).accepted().contains("start"));
    world.write_live("kv", "a\t1\nb\t2\n");
    world.pull().accepted();
    assert_eq!(world.read("data/kv/keys.tsv"), "a\t1\nb\t2\n");
    let log = world.git(&["log", "-1", "--format=%an|%s|%b"]).accepted();
    assert_eq!(log.trim(), "demo|demo: kv: 1 keys changed|kv: 1 keys changed\n  b");
    let before = world.main_in_container();
    world.pull().accepted();
    assert_eq!(world.main_in_container(), before, "a pull with nothing changed makes no commit");
    world.assert_nothing_left();
}

#[test]
fn a_push_keeps_what_the_application_wrote_meanwhile() {
    let world = World::pushed();
    world.write_live("kv", "a\t1\nb\t2\nc\t9\n");
    world.write("data/kv/keys.tsv", "a\t5\nb\t1\n");
    world.commit("a is 5");
    world.push().accepted();
    assert_eq!(world.live("kv"), "a\t5\nb\t2\nc\t9\n");
    world.pull().accepted();
    assert_eq!(world.read("data/kv/keys.tsv"), "a\t5\nb\t2\nc\t9\n");
    world.assert_nothing_left();
}

#[test]
fn what_both_sides_changed_declines_the_push() {
    let world = World::pushed();
    world.write_live("kv", "a\t2\nb\t1\n");
    world.write("data/kv/keys.tsv", "a\t5\nb\t1\n");
    world.commit("a is 5");
    let before = world.main_in_container();
    world.push().declined("! [remote rejected] main -> main (kv: import: changed meanwhile: a)");
    assert_eq!((world.live("kv"), world.main_in_container()), ("a\t2\nb\t1\n".into(), before));
    world.assert_nothing_left();
}

#[test]
fn bad_files_are_declined_with_file_and_line() {
    let world = World::pushed();
    let before = world.main_in_container();
    world.write("data/kv/keys.tsv", "a\t1\nb without a tab\n");
    world.commit("bad");
    world.push().declined("data/kv/keys.tsv:2: has no tab");
    world.write("data/kv/keys.tsv", "a\t1\nb\t1\n");
    world.write("glxc.toml", &(world.read("glxc.toml") + "colour = 1\n"));
    world.commit("an unknown key");
    world.push().declined("`colour`: unknown key");
    world.write("glxc.toml", &world.read("glxc.toml").replace("colour = 1\n", "").replace("store", "stroe"));
    world.commit("an unknown handler");
    world.push().declined("unknown handler `stroe`; did you mean `store`?");
    assert_eq!((world.live("kv"), world.main_in_container()), ("a\t1\nb\t1\n".into(), before));
    world.assert_nothing_left();
}

#[test]
fn links_and_submodules_under_a_state_are_declined() {
    let world = World::pushed();
    std::os::unix::fs::symlink("/etc/passwd", world.path("user").join("data/kv/link")).unwrap();
    world.commit("a link");
    world.push().declined("data/kv/link: only plain files can be part of state `kv`");
    world.git(&["reset", "-q", "--hard", "HEAD~"]).accepted();
    let head = world.git(&["rev-parse", "HEAD"]).accepted();
    let info = format!("160000,{},data/kv/sub", head.trim());
    world.git(&["update-index", "--add", "--cacheinfo", &info]).accepted();
    world.git(&["commit", "-q", "-m", "a submodule"]).accepted();
    world.push().declined("data/kv/sub: is a submodule, which no state can hold");
    world.assert_nothing_left();
}

#[test]
fn what_is_outside_the_states_is_only_stored() {
    let world = World::pushed();
    world.write("bin/run.sh", "#!/bin/sh\n");
    let executable = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    fs::set_permissions(world.path("user/bin/run.sh"), executable).unwrap();
    world.write(".gitattributes", "*.tsv filter=lfs diff=lfs merge=lfs -text\n");
    std::os::unix::fs::symlink("/etc/passwd", world.path("user").join("link")).unwrap();
    world.git(&["add", "-A"]).accepted();
    let head = world.git(&["rev-parse", "HEAD"]).accepted();
    world.git(&["update-index", "--add", "--cacheinfo", &format!("160000,{},sub", head.trim())]).accepted();
    world.git(&["commit", "-q", "-m", "other things"]).accepted();
    world.push().accepted();
    world.write_live("kv", "a\t3\n");
    world.git(&["fetch", "demo"]).accepted();
    let names = world.git(&["diff", "--name-only", "HEAD", "demo/main"]).accepted();
    assert_eq!(names.trim(), "data/kv/keys.tsv");
}

#[test]
fn other_branches_and_tags_are_stored_and_not_applied() {
    let world = World::pushed();
    world.git(&["checkout", "-q", "-b", "dev"]).accepted();
    world.write("data/kv/keys.tsv", "a\t7\nb\t1\n");
    world.commit("dev");
    world.git(&["tag", "-a", "v1", "-m", "one"]).accepted();
    let text = world.git(&["push", "demo", "dev", "v1"]).accepted();
    assert!(text.contains("remote: dev is stored, not applied: this container is bound to main"), "{text}");
    assert_eq!(world.live("kv"), "a\t1\nb\t1\n");
    world.git(&["push", "demo", ":dev", ":v1"]).accepted();
    world.git(&["push", "demo", "dev:main"]).accepted();
    assert_eq!(world.live("kv"), "a\t7\nb\t1\n");
}

#[test]
fn the_bound_branch_is_neither_deleted_nor_rewritten() {
    let world = World::pushed();
    world.git(&["push", "demo", ":main"]).declined("the bound branch can not be deleted");
    world.git(&["commit", "-q", "--amend", "-m", "another start"]).accepted();
    world.push().declined("non-fast-forward");
    world.git(&["push", "--force", "demo", "main"]).declined("shares no first commit");
    world.git(&["reset", "-q", "--hard", "demo/main"]).accepted();
    world.write("data/kv/keys.tsv", "a\t2\nb\t1\n");
    world.commit("second");
    world.push().accepted();
    world.git(&["reset", "-q", "--hard", "HEAD~"]).accepted();
    world.git(&["push", "--force", "demo", "main"]).declined("not a fast-forward: pull, merge, push again");
    assert_eq!(world.live("kv"), "a\t2\nb\t1\n");
    world.assert_nothing_left();
}

#[test]
fn an_atomic_push_is_all_or_nothing() {
    let world = World::pushed();
    world.git(&["tag", "v1"]).accepted();
    world.write_live("kv", "a\t2\nb\t1\n");
    world.write("data/kv/keys.tsv", "a\t5\nb\t1\n");
    world.commit("a is 5");
    let text = world.git(&["push", "--atomic", "demo", "main", "v1"]).declined("changed meanwhile: a");
    assert!(text.contains("v1 (atomic push: another ref was declined)"), "{text}");
    assert_eq!(world.container_git(&["tag"]), "");
    world.push().declined("changed meanwhile");
    world.git(&["push", "demo", "main", "v1"]).declined("changed meanwhile: a");
    assert_eq!(world.container_git(&["tag"]), "v1", "without --atomic the other refs go on");
    world.assert_nothing_left();
}

#[test]
fn an_atomic_push_with_a_bad_ref_is_not_begun() {
    let world = World::pushed();
    world.write("data/kv/keys.tsv", "a\t5\nb\t1\n");
    world.commit("a is 5");
    world.git(&["checkout", "-q", "--orphan", "other"]).accepted();
    world.commit("another history");
    world.calls();
    let text = world.git(&["push", "--atomic", "demo", "main", "other"]).declined("shares no first commit");
    assert!(text.contains("main (atomic push: another ref was declined)"), "{text}");
    assert_eq!((world.live("kv").as_str(), world.calls().len()), ("a\t1\nb\t1\n", 0));
}

#[test]
fn refs_that_stand_in_each_others_way_change_nothing() {
    let world = World::pushed();
    world.git(&["branch", "x"]).accepted();
    world.git(&["push", "demo", "x"]).accepted();
    world.git(&["branch", "-m", "x", "y"]).accepted();
    world.git(&["branch", "x/y"]).accepted();
    world.write("data/kv/keys.tsv", "a\t5\nb\t1\n");
    world.commit("a is 5");
    world.calls();
    world.git(&["push", "demo", "main", "x/y"]).declined("refs/heads/x");
    assert_eq!(world.calls().len(), 0, "nothing was begun");
    // What is kept of a replaced state is a branch of its own, made on the way.
    world.git(&["branch", "replaced"]).accepted();
    world.git(&["push", "-o", "replace=kv", "demo", "main", "replaced"]).declined("refs/heads/replaced");
    assert_eq!(world.live("kv"), "a\t1\nb\t1\n");
    world.assert_nothing_left();
}

#[test]
fn a_dry_run_and_an_up_to_date_push_do_nothing() {
    let world = World::pushed();
    let before = world.main_in_container();
    assert!(world.push().accepted().contains("Everything up-to-date"));
    world.write("data/kv/keys.tsv", "a\t5\nb\t1\n");
    world.commit("a is 5");
    world.git(&["push", "--dry-run", "demo", "main"]).accepted();
    assert_eq!((world.live("kv"), world.main_in_container()), ("a\t1\nb\t1\n".into(), before));
}

#[test]
fn nothing_pushed_yet_is_an_error_of_a_pull() {
    let world = World::new();
    world.pull().declined("`main` is not there yet: push first");
}

#[test]
fn another_repository_is_refused() {
    let world = World::pushed();
    fs::create_dir(world.path("other")).unwrap();
    world.git_in("other", &["init", "-q", "-b", "main"]).accepted();
    world.configure("other");
    world.git_in("other", &["commit", "-q", "--allow-empty", "-m", "other"]).accepted();
    world.git_in("other", &["push", "demo", "HEAD:refs/heads/topic"]).declined("shares no first commit");
    world.git_in("other", &["push", "--force", "demo", "main"]).declined("shares no first commit");
}

#[test]
fn a_repository_without_states_can_be_pushed() {
    let world = World::new();
    world.write("README", "nothing else\n");
    world.commit("start");
    world.push().accepted();
    world.pull().accepted();
}

#[test]
fn data_that_no_commit_knows_is_kept_before_it_is_replaced() {
    let world = World::pushed();
    world.write_live("late", "x\tlive\n");
    world.config(&["kv", "late"]);
    world.write("data/late/keys.tsv", "x\tpushed\n");
    world.commit("late comes with data");
    world.push().declined("push glxc.toml alone, pull, merge; or `git push -o replace=late`");
    assert_eq!(world.live("late"), "x\tlive\n");
    let text = world.git(&["push", "-o", "replace=late", "demo", "main"]).accepted();
    assert_eq!(world.live("late"), "x\tpushed\n");
    let branch = text.split("kept in the branch ").nth(1).unwrap().split_whitespace().next().unwrap();
    assert_eq!(world.container_git(&["show", &format!("{branch}:data/late/keys.tsv")]), "x\tlive");
    world.git(&["push", "-o", "replcae=late", "demo", "main:other"]).declined("unknown push option");
}

#[test]
fn a_new_state_without_files_is_exported_first() {
    let world = World::pushed();
    world.write_live("late", "x\tlive\n");
    world.config(&["kv", "late", "absent"]);
    world.commit("manage late");
    world.push().accepted();
    let text = world.pull().accepted();
    assert!(text.contains("absent: not there yet"), "{text}");
    assert_eq!(world.read("data/late/keys.tsv"), "x\tlive\n");
    fs::remove_dir_all(world.path("user").join("data/late")).unwrap();
    world.commit("remove its folder");
    world.push().declined("take the state out of glxc.toml instead");
    world.git(&["reset", "-q", "--hard", "HEAD~"]).accepted();
    world.config(&["kv"]);
    world.commit("late is no longer managed");
    world.push().accepted();
    assert_eq!(world.live("late"), "x\tlive\n", "what is no longer managed is left alone");
    world.pull().accepted();
    assert!(!world.path("user").join("data/late").exists(), "and its files go with the next export");
}

#[test]
fn a_state_that_is_gone_is_an_error_of_a_pull() {
    let world = World::pushed();
    fs::remove_file(world.path("kv")).unwrap();
    let before = world.main_in_container();
    world.pull().declined("kv: export: ");
    assert_eq!(world.main_in_container(), before);
    world.assert_nothing_left();
}

#[test]
fn a_strict_policy_declines_over_live_changes() {
    let world = World::pushed();
    world.write("glxc.toml", &format!("[push]\npolicy = \"strict\"\n{}", world.read("glxc.toml")));
    let (far, near) = ("1\n2\n3\n4\n".replace('\n', "\t\n"), "a\t1\n");
    world.write("data/kv/keys.tsv", &format!("{far}{near}"));
    world.commit("strict");
    world.push().accepted();
    world.write_live("kv", &format!("{far}a\t2\n"));
    world.write("data/kv/keys.tsv", &format!("1\t5\n{}{near}", &far[3..]));
    world.commit("a is 5");
    world.push().declined("live changes that were not pulled (demo: kv: 1 keys changed)");
    world.pull().accepted();
    world.push().accepted();
    assert_eq!(world.live("kv"), format!("1\t5\n{}a\t2\n", &far[3..]));
    world.assert_nothing_left();
}

#[test]
fn ten_thousand_files_outside_the_states() {
    let world = World::pushed();
    for number in 0..10_000 {
        world.write(&format!("many/{}/{number}.txt", number % 100), &format!("{number}\n"));
    }
    world.commit("many");
    world.push().accepted();
    world.write_live("kv", "a\t2\n");
    world.pull().accepted();
    let packs = fs::read_dir(world.path("host/glxc/repo.git/objects/pack")).unwrap().count();
    assert!(packs >= 2, "objects are kept as packs");
    let loose = world.container_git(&["count-objects"]);
    assert!(loose.starts_with("0 objects") || loose.starts_with("1 objects"), "{loose}");
}

#[test]
fn a_shallow_clone_can_not_push_what_the_container_lacks() {
    let world = World::pushed();
    world.write("README", "x\n");
    world.commit("more");
    let from = format!("file://{}", world.path("user").display());
    let shallow = world.path("shallow");
    world.git(&["clone", "-q", "--depth=1", &from, shallow.to_str().unwrap()]).accepted();
    world.configure("shallow");
    world.git_in("shallow", &["push", "demo", "HEAD:refs/heads/topic"]).declined("shallow update not allowed");
}

#[test]
fn what_a_newer_program_wrote_is_refused() {
    let world = World::pushed();
    fs::write(world.path("host/glxc/format"), "2\n").unwrap();
    world.pull().declined("has format 2, this program knows 1: upgrade glxc");
}
