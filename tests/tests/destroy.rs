//! `glxc destroy` on a real container: nothing that was live is lost.

use std::path::PathBuf;

use glxc_tests::World;

const CONFIG: &str = r#"
[container]
release = "bookworm"

[state.uploads]
handler = "files"
path = "data/uploads"
root = "/srv/uploads"
"#;

/// A running container with a folder of files, pulled once.
fn application(name: &str) -> Option<World> {
    let world = World::new(name)?;
    world.glxc(&["init", name]).accepted();
    world.write("glxc.toml", CONFIG);
    world.write("sysconf/actual/deps", "sysconf.base\n");
    world.write("sysconf/actual/setup.rc", "mkdir -p /srv/uploads\n");
    world.commit("an empty machine");
    world.push().accepted();
    world.exec("printf 'one\\n' > /srv/uploads/one.txt").accepted();
    world.pull().accepted();
    Some(world)
}

fn bundles(world: &World) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(world.folder()).unwrap().map(|entry| entry.unwrap().path());
    entries.filter(|path| path.extension().is_some_and(|extension| extension == "bundle")).collect()
}

fn is_there(world: &World) -> bool {
    world.glxc(&["list"]).accepted().lines().any(|line| line.split(' ').next() == Some(&*world.name))
}

#[test]
fn nothing_live_is_lost() {
    let Some(world) = application("t-glxc-destroy") else { return };
    what_never_settles_stays(&world);
    what_was_replaced_is_saved(&world);
    what_is_here_needs_no_bundle(&world);
}

/// While something writes all the time, nothing is removed.
fn what_never_settles_stays(world: &World) {
    // It only grows: a file that is written anew is empty for a moment, and two such moments look alike.
    let writer = "until [ -e /root/stop ]; do echo tick >> /srv/uploads/clock.txt; sleep 0.02; done";
    let begun = "until [ -s /srv/uploads/clock.txt ]; do sleep 0.02; done";
    world.exec(&format!("setsid sh -c '{writer}' > /dev/null 2>&1 & {begun}")).accepted();
    let said = world.glxc(&["destroy", &world.name]);
    assert!(said.stderr.contains("nothing was removed"), "{}", said.stderr);
    said.declined("stop what writes there");
    assert!(is_there(world));
    world.exec("touch /root/stop; sleep 1; rm /srv/uploads/clock.txt").accepted();
    for bundle in bundles(world) {
        std::fs::remove_file(bundle).unwrap();
    }
    world.pull().accepted();
}

/// A push that replaced live data left it in a branch of the container alone.
fn what_was_replaced_is_saved(world: &World) {
    world.exec("printf 'written live\\n' > /srv/uploads/one.txt").accepted();
    world.write("data/uploads/files/one.txt", "pushed\n");
    world.commit("replace it");
    world.push().declined("changed meanwhile");
    world.git(&["push", "-o", "replace=uploads", &world.name, "main"]).accepted();
    assert_eq!(world.exec("cat /srv/uploads/one.txt").accepted(), "pushed\n");
    world.pull().accepted();
    let said = world.glxc(&["destroy", &world.name]);
    assert!(said.stderr.contains("saved its state as"), "{}", said.stderr);
    said.accepted();
    assert!(!is_there(world));
    let bundles = bundles(world);
    assert_eq!(bundles.len(), 1, "{bundles:?}");
    let bundle = bundles[0].to_str().unwrap();
    world.git(&["clone", "-q", bundle, ".git/clone"]).accepted();
    assert_eq!(world.read(".git/clone/data/uploads/files/one.txt"), "pushed\n");
    let refspec = "refs/heads/*:refs/remotes/saved/*";
    world.git(&["fetch", "-q", bundle, refspec]).accepted();
    let replaced = world.git(&["for-each-ref", "--format=%(refname)", "refs/remotes/saved/replaced"]).accepted();
    let replaced = replaced.lines().next().expect("a branch of what was replaced").to_owned();
    let file = format!("{replaced}:data/uploads/files/one.txt");
    assert_eq!(world.git(&["show", &file]).accepted(), "written live\n");
    std::fs::remove_file(bundle).unwrap();
}

/// Where everything was pulled there is no bundle; what was not pulled comes into one.
fn what_is_here_needs_no_bundle(world: &World) {
    world.push().accepted();
    world.pull().accepted();
    world.glxc(&["destroy", &world.name]).accepted();
    assert!(bundles(world).is_empty() && !is_there(world));
    world.push().accepted();
    world.exec("printf 'never pulled\\n' > /srv/uploads/two.txt").accepted();
    world.glxc(&["destroy", &world.name]).accepted();
    let bundles = bundles(world);
    world.git(&["fetch", "-q", bundles[0].to_str().unwrap(), "main"]).accepted();
    assert_eq!(world.git(&["show", "FETCH_HEAD:data/uploads/files/two.txt"]).accepted(), "never pulled\n");
    assert!(!is_there(world));
}
