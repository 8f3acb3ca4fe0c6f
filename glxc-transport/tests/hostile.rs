//! Trees, names and settings that somebody chose to do harm, or that git itself reads otherwise than one thinks.

mod world;

use std::fs;
use std::io::Write;
use std::process::Stdio;

use world::World;

/// Runs git in the user's repository with some input.
fn fed(world: &World, arguments: &[&str], input: &[u8]) -> String {
    let mut command = world.command("user");
    let mut child = command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(input).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// Commits a tree whose folder `data/kv` is the given one.
fn commit_folder(world: &World, tree: &str) {
    world.git(&["rm", "-r", "-q", "--cached", "data/kv"]).accepted();
    world.git(&["read-tree", "--prefix=data/kv", tree]).accepted();
    world.git(&["commit", "-q", "-m", "a folder"]).accepted();
}

#[test]
fn a_folder_of_more_files_than_a_disk_holds_is_declined() {
    let world = World::pushed();
    let blob = fed(&world, &["hash-object", "-w", "--stdin"], b"");
    let files: String = (0..100).map(|n| format!("100644 blob {blob}\tf{n}\n")).collect();
    let mut tree = fed(&world, &["mktree"], files.as_bytes());
    for _ in 0..8 {
        let folders: String = (0..32).map(|n| format!("040000 tree {tree}\td{n}\n")).collect();
        tree = fed(&world, &["mktree"], folders.as_bytes());
    }
    let top = fed(&world, &["mktree"], format!("040000 tree {tree}\tkv\n").as_bytes());
    let config = fed(&world, &["rev-parse", "HEAD:glxc.toml"], b"");
    let entries = format!("040000 tree {top}\tdata\n100644 blob {config}\tglxc.toml\n");
    let root = fed(&world, &["mktree"], entries.as_bytes());
    let commit = fed(&world, &["commit-tree", &root, "-p", "HEAD", "-m", "bomb"], b"");
    world.git(&["push", "demo", &format!("{commit}:main")]).declined("data/kv: holds too many files");
    world.assert_nothing_left();
}

#[test]
fn ten_thousand_levels_of_folders_are_declined_or_stored() {
    let world = World::pushed();
    let path = "d/".repeat(10_000);
    let main = fed(&world, &["rev-parse", "HEAD"], b"");
    for (folder, accepted) in [("data/kv", false), ("elsewhere", true)] {
        let stream = format!(
            "commit refs/heads/deep\ncommitter U <u@e> 1 +0000\ndata 1\nx\nfrom {main}\nM 100644 inline {folder}/{path}f\ndata 1\nx\ndone\n"
        );
        fed(&world, &["fast-import", "--quiet", "--force", "--done"], stream.as_bytes());
        let said = world.git(&["push", "demo", "deep:main"]);
        if accepted {
            said.accepted()
        } else {
            said.declined("is not expected here")
        };
    }
    world.write_live("kv", "a\t2\n");
    world.git(&["fetch", "demo"]).accepted();
    assert_eq!(world.git(&["show", "demo/main:data/kv/keys.tsv"]).accepted(), "a\t2\n");
}

/// A tree as bytes: what `git mktree` would not make.
fn raw_tree(world: &World, mode: &str, name: &str, id: &str) -> String {
    let id: Vec<u8> = (0..40).step_by(2).map(|at| u8::from_str_radix(&id[at..at + 2], 16).unwrap()).collect();
    let bytes = [format!("{mode} {name}\0").as_bytes(), &id].concat();
    fed(world, &["hash-object", "-t", "tree", "-w", "--stdin", "--literally"], &bytes)
}

#[test]
fn trees_that_git_would_not_make_are_declined() {
    let world = World::pushed();
    let blob = fed(&world, &["rev-parse", "HEAD:data/kv/keys.tsv"], b"");
    let config = fed(&world, &["rev-parse", "HEAD:glxc.toml"], b"");
    let plain = fed(&world, &["mktree"], format!("100644 blob {blob}\tkeys.tsv\n").as_bytes());
    let head = fed(&world, &["rev-parse", "HEAD"], b"");
    for (mode, name, id, words) in [
        // What git itself refuses it names by its object and its fault.
        ("100644", "..", &blob, "contains '..'"),
        ("40000", "..", &plain, "contains '..'"),
        ("40000", ".", &plain, "contains '.'"),
        ("100644", ".git", &blob, "contains '.git'"),
        ("40000", ".GIT", &plain, "contains '.git'"),
        ("100644", "/etc/passwd", &blob, "contains full pathnames"),
        ("100644", "a/../../b", &blob, "contains full pathnames"),
        ("100644", "", &blob, "empty filename"),
        ("120000", "keys.tsv", &blob, "data/kv/keys.tsv: only plain files can be part of state `kv`"),
        ("104755", "keys.tsv", &blob, "data/kv/keys.tsv: only plain files can be part of state `kv`"),
        ("20000", "keys.tsv", &blob, "data/kv/keys.tsv"),
        ("160000", "sub", &head, "data/kv/sub: is a submodule, which no state can hold"),
    ] {
        let kv = raw_tree(&world, mode, name, id);
        let data = raw_tree(&world, "40000", "kv", &kv);
        let entries = format!("040000 tree {data}\tdata\n100644 blob {config}\tglxc.toml\n");
        let root = fed(&world, &["mktree"], entries.as_bytes());
        let commit = fed(&world, &["commit-tree", &root, "-p", "HEAD", "-m", "raw"], b"");
        world.git(&["push", "demo", &format!("{commit}:main")]).declined(words);
    }
    assert_eq!((world.live("kv").as_str(), world.main_in_container()), ("a\t1\nb\t1\n", head));
    world.assert_nothing_left();
}

#[test]
fn settings_are_a_plain_file_of_a_sane_size() {
    let world = World::pushed();
    let config = world.read("glxc.toml");
    world.write("glxc.toml", &format!("{config}#{}\n", "x".repeat(2 << 20)));
    world.commit("huge");
    world.push().declined("glxc.toml: is longer than 1 MiB");
    world.git(&["reset", "-q", "--hard", "demo/main"]).accepted();
    fs::write(world.path("user/glxc.toml"), [config.as_bytes(), b"#\xff\n"].concat()).unwrap();
    world.commit("not a text");
    world.push().declined("glxc.toml: is not UTF-8");
    world.git(&["reset", "-q", "--hard", "demo/main"]).accepted();
    fs::remove_file(world.path("user/glxc.toml")).unwrap();
    std::os::unix::fs::symlink("/etc/passwd", world.path("user/glxc.toml")).unwrap();
    world.commit("a link");
    world.push().declined("glxc.toml: must be a plain file");
    world.git(&["reset", "-q", "--hard", "demo/main"]).accepted();
    fs::remove_file(world.path("user/glxc.toml")).unwrap();
    world.write("glxc.toml/x", "x\n");
    world.commit("a folder");
    world.push().declined("glxc.toml: must be a plain file");
    world.git(&["reset", "-q", "--hard", "demo/main"]).accepted();
    let head = world.git(&["rev-parse", "HEAD"]).accepted();
    let info = format!("160000,{},glxc.toml", head.trim());
    world.git(&["update-index", "--add", "--cacheinfo", &info]).accepted();
    world.git(&["commit", "-q", "-m", "a submodule"]).accepted();
    world.push().declined("glxc.toml: must be a plain file");
    world.assert_nothing_left();
}

#[test]
fn a_state_whose_folder_is_a_file_is_declined() {
    let world = World::pushed();
    fs::remove_dir_all(world.path("user/data/kv")).unwrap();
    world.write("data/kv", "a file\n");
    world.commit("a file");
    world.push().declined("data/kv: is not a folder");
    world.git(&["reset", "-q", "--hard", "demo/main"]).accepted();
    let id = fed(&world, &["rev-parse", "HEAD:data/kv/keys.tsv"], b"");
    let tree = fed(&world, &["mktree"], format!("100644 blob {id}\tKEYS.TSV\n100644 blob {id}\tkeys.tsv\n").as_bytes());
    commit_folder(&world, &tree);
    world.push().declined("KEYS.TSV: is not expected here");
    assert_eq!(world.live("kv"), "a\t1\nb\t1\n");
    world.assert_nothing_left();
}

#[test]
fn names_that_git_would_read_otherwise_are_themselves() {
    let world = World::new();
    world.config(&["kv"]);
    world.write("data/kv/keys.tsv", "a\t1\n");
    world.commit("start");
    // `rev-parse refs/heads/main` finds these while `main` is unborn.
    let traps = ["refs/heads/refs/heads/main", "refs/tags/refs/heads/main", "refs/refs/heads/main"];
    for trap in traps {
        world.git(&["push", "demo", &format!("HEAD:{trap}")]).accepted();
    }
    world.git(&["fetch", "demo"]).declined("`main` is not there yet: push first");
    for trap in traps {
        world.git(&["push", "demo", &format!(":{trap}")]).accepted();
    }
    world.push().accepted();
    assert_eq!(world.live("kv"), "a\t1\n");
    // What `git describe` prints means a commit, where no ref has that name.
    let short = world.git(&["rev-parse", "--short", "HEAD"]).accepted();
    for name in [format!("v1-1-g{}", short.trim()), "é".into(), "a=b;$(x)".into(), "-x".into(), "HEAD".into()] {
        let refspec = format!("HEAD:refs/heads/{name}");
        world.git(&["push", "demo", &refspec]).accepted();
        world.git(&["push", "demo", &format!(":refs/heads/{name}")]).accepted();
    }
    world.assert_nothing_left();
}

#[test]
fn what_is_ours_is_hidden() {
    let world = World::pushed();
    let commit = world.main_in_container();
    world.container_git(&["update-ref", "refs/glxc/0/kept", &commit]);
    let listed = world.git(&["ls-remote", "demo"]).accepted();
    assert!(listed.contains("refs/heads/main") && !listed.contains("refs/glxc"), "{listed}");
    world.git(&["push", "demo", "HEAD:refs/glxc/0/mine"]).declined("hidden ref");
}

#[test]
fn push_options_are_no_options_of_ours() {
    let world = World::pushed();
    world.write("data/kv/keys.tsv", "a\t2\nb\t1\n");
    world.commit("a is 2");
    for (option, words) in [
        ("replace=", "-o replace=: there is no such state"),
        ("replace=../../x", "there is no such state in glxc.toml"),
        ("replace=\u{1b}[2J", "\\u{1b}[2J"),
        ("", "unknown push option ``"),
    ] {
        let said = world.git(&["push", "-o", option, "demo", "main"]).declined(words);
        assert!(!said.contains('\u{1b}'), "{said:?}");
    }
    assert_eq!(world.live("kv"), "a\t1\nb\t1\n");
    world.assert_nothing_left();
}

#[test]
fn what_a_killed_git_left_is_removed() {
    let world = World::pushed();
    let git = world.path("host/glxc/repo.git");
    fs::create_dir_all(git.join("refs/heads/x")).unwrap();
    let locks = ["packed-refs.lock", "config.lock", "HEAD.lock", "refs/heads/main.lock", "refs/heads/x/y.lock"];
    let others = ["fast_import_crash_1", "objects/pack/tmp_pack_abc"];
    for name in locks.iter().chain(&others) {
        fs::write(git.join(name), "").unwrap();
    }
    let quarantine = |name: &str| git.join("objects").join(name);
    for name in ["tmp_objdir-incoming-old", "tmp_objdir-incoming-new"] {
        fs::create_dir_all(quarantine(name).join("pack")).unwrap();
    }
    let old = std::time::SystemTime::now() - std::time::Duration::from_secs(25 * 60 * 60);
    fs::File::open(quarantine("tmp_objdir-incoming-old")).unwrap().set_modified(old).unwrap();
    world.write_live("kv", "a\t2\n");
    world.git(&["fetch", "demo"]).accepted();
    for name in locks.iter().chain(&others) {
        assert!(!git.join(name).exists(), "{name}");
    }
    assert!(!quarantine("tmp_objdir-incoming-old").exists());
    assert!(quarantine("tmp_objdir-incoming-new").exists(), "another client may be sending it");
}

#[test]
fn a_branch_is_made_of_commits() {
    let world = World::pushed();
    world.write("data/kv/keys.tsv", "a\t2\nb\t1\n");
    world.commit("a is 2");
    world.git(&["tag", "-a", "v1", "-m", "one"]).accepted();
    let tag = world.git(&["rev-parse", "v1"]).accepted();
    world
        .git(&["push", "demo", &format!("{}:refs/heads/main", tag.trim())])
        .declined("a branch can not point to a tag");
    world.git(&["push", "demo", "HEAD:refs/heads/main", "HEAD^{tree}:refs/heads/tree"]).declined("");
    assert_eq!(world.container_git(&["for-each-ref", "--format=%(objecttype) %(refname)"]), "commit refs/heads/main");
    world.assert_nothing_left();
}
