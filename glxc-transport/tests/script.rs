//! States that scripts export and import, with real git.

mod world;

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;

use world::World;

/// Each state is one file, `NAME.txt` beside the host.
const EXPORT: &str = r#"
echo "exported by $GLXC_GIT_BRANCH"
[ ! -e "$GLXC_X_FILE" ] || cp "$GLXC_X_FILE" "$GLXC_DATA_PATH/text"
"#;

/// Empties the file first, so that a failure shows.
const IMPORT: &str = r#"
: >"$GLXC_X_FILE"
if grep -q broken "$GLXC_X_HOST/motd"; then echo "the script is broken" >&2; exit 1; fi
if grep -q refused "$GLXC_DATA_PATH/text"; then echo "refused" >&2; exit 1; fi
cat "$GLXC_DATA_PATH/text" >"$GLXC_X_FILE"
"#;

impl World {
    fn script(&self, way: &str, script: &str) {
        let folder = self.path("host/scripts").join(way);
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("text"), format!("#!/bin/sh\nset -e\n{script}")).unwrap();
        fs::set_permissions(folder.join("text"), Permissions::from_mode(0o755)).unwrap();
    }

    /// A container with the states `a` and `b`.
    fn scripted() -> Self {
        let world = World::new();
        world.script("export", EXPORT);
        world.script("import", IMPORT);
        let host = world.path("host").display().to_string();
        let state = |name: &str| {
            let file = world.path(name).with_extension("txt").display().to_string();
            format!(
                "[state.{name}]\nhandler = \"script\"\nname = \"text\"\npath = \"data/{name}\"\n\
                 options = {{ file = \"{file}\", host = \"{host}\" }}\n"
            )
        };
        world.write("glxc.toml", &(state("a") + &state("b")));
        world.write("sysconf/motd", "hello\n");
        world.texts("1", "1");
        world.commit("start");
        world
    }

    fn texts(&self, a: &str, b: &str) {
        self.write("data/a/text", a);
        self.write("data/b/text", b);
    }

    fn live_texts(&self) -> (String, String) {
        let read = |name: &str| fs::read_to_string(self.path(name)).unwrap();
        (read("a.txt"), read("b.txt"))
    }

    fn both(text: &str) -> (String, String) {
        (text.into(), text.into())
    }
}

#[test]
fn live_changes_come_back_and_pushed_ones_are_imported() {
    let world = World::scripted();
    world.push().accepted();
    assert_eq!(world.live_texts(), World::both("1"));
    // Both change in one push, though no pull has written the attributes yet.
    world.texts("2", "2");
    world.commit("two");
    let said = world.push().accepted();
    assert_eq!(world.live_texts(), World::both("2"));
    let told = said.lines().filter(|line| line.trim_end() == "remote: a: exported by main");
    assert_eq!(told.count(), 1, "the name of the state stands once in front: {said}");
    fs::write(world.path("a.txt"), "live").unwrap();
    world.texts("2", "3");
    world.commit("the other one");
    world.push().accepted();
    world.pull().accepted();
    assert_eq!((world.read("data/a/text"), world.read("data/b/text")), ("live".into(), "3".into()));
    assert!(world.read("data/a/.gitattributes").contains("-text"));
    fs::write(world.path("a.txt"), "live again").unwrap();
    world.texts("mine", "3");
    world.commit("both changed it");
    world.push().declined("changed meanwhile: text");
    world.assert_nothing_left();
}

#[test]
fn what_fails_leaves_all_as_it_was() {
    let world = World::scripted();
    world.push().accepted();
    world.pull().accepted();
    world.texts("2", "refused");
    world.commit("one is refused");
    let said = world.push().declined("refused");
    assert!(said.contains("import/text ended with status 1: it said: "), "{said}");
    assert_eq!(world.live_texts(), World::both("1"));
    world.assert_nothing_left();
    for (point, action) in
        [("lock", "kill"), ("lock", "fail"), ("locked", "kill"), ("locked", "fail"), ("commit", "kill")]
    {
        let fault = format!("b {point} {action}");
        world.texts("2", "2");
        world.git(&["commit", "-qam", &fault, "--allow-empty"]).accepted();
        world.set_faults(&[&fault]);
        let said = world.push();
        assert!(!said.ok && world.faults_left() == 0, "{fault}: {}", said.text);
        world.git(&["fetch", "demo"]).accepted();
        assert_eq!(world.live_texts(), World::both(if point == "commit" { "2" } else { "1" }), "{fault}");
        world.assert_nothing_left();
    }
}

#[test]
fn the_programs_before_the_push_put_back() {
    let world = World::scripted();
    world.push().accepted();
    world.texts("2", "2");
    world.write("sysconf/motd", "broken\n");
    world.commit("a configuration that breaks the script");
    world.push().declined("the script is broken");
    assert_eq!(world.live_texts(), World::both("1"), "and so the next contact need not wait for a person");
    assert_eq!(fs::read_to_string(world.path("host/motd")).unwrap(), "hello\n");
    world.assert_nothing_left();
    world.write("sysconf/motd", "better\n");
    world.commit("repaired");
    world.push().accepted();
    assert_eq!(world.live_texts(), World::both("2"));
}

#[test]
fn a_first_push_that_fails_is_repaired_by_the_next() {
    let world = World::scripted();
    world.write("sysconf/motd", "broken\n");
    world.commit("broken from the start");
    world.push().declined("the script is broken");
    world.write("sysconf/motd", "better\n");
    world.commit("repaired");
    world.push().accepted();
    assert_eq!(world.live_texts(), World::both("1"));
    world.assert_nothing_left();
}

#[test]
fn a_push_says_what_one_way_means() {
    let world = World::scripted();
    let import = world.path("host/scripts/import/text");
    fs::rename(&import, world.path("host/import")).unwrap();
    fs::write(world.path("a.txt"), "live").unwrap();
    let exported = "a: is only exported: its pushed files change nothing live, and the next pull replaces them";
    assert!(world.push().accepted().contains(exported));
    world.pull().accepted();
    assert_eq!(world.read("data/a/text"), "live");
    world.texts("2", "2");
    world.commit("two");
    let plan = world.git(&["push", "-o", "plan", "demo", "main"]).declined("plan only");
    assert!(plan.contains(exported), "{plan}");
    fs::rename(world.path("host/import"), &import).unwrap();
    fs::remove_file(world.path("host/scripts/export/text")).unwrap();
    let imported = "a: is only imported: what changes live is neither recorded by a pull nor compared by a push";
    assert!(world.push().accepted().contains(imported));
    assert_eq!(world.live_texts(), World::both("2"));
    fs::write(world.path("a.txt"), "seen by nobody").unwrap();
    let said = world.pull().accepted();
    assert!(said.contains(imported), "{said}");
    assert_eq!(world.read("data/a/text"), "2");
    fs::remove_file(import).unwrap();
    world.pull().declined("export/text: it is not there; a package or sysconf must install it");
}
