//! The host dies, or a step fails, at every point of a push in turn: what the next contact finds is settled.

mod world;

use std::fs;

use world::World;

/// A container with a transactional state, a compensated one and a configuration, and a commit that changes all.
struct Ready {
    world: World,
    without: &'static str,
}

const OLD: &str = "a\t1\n";
const NEW: &str = "a\t2\n";

impl Ready {
    /// `without` names what the pushed commit leaves as it is.
    fn new(without: &'static str) -> Self {
        let world = World::new();
        world.write("glxc.toml", &(world.state("kv", "store") + &world.state("up", "whole")));
        for name in ["kv", "up"] {
            world.write(&format!("data/{name}/keys.tsv"), OLD);
        }
        world.write("sysconf/motd", "old\n");
        world.commit("start");
        world.push().accepted();
        for name in ["kv", "up"].into_iter().filter(|name| *name != without) {
            world.write(&format!("data/{name}/keys.tsv"), NEW);
        }
        world.write("sysconf/motd", "new\n");
        world.commit("all is new");
        world.git(&["tag", "v1"]).accepted();
        let _ = fs::remove_file(world.path("host/ready"));
        world.calls();
        Ready { world, without }
    }

    fn push(&self, faults: &[&str]) -> world::Said {
        self.world.set_faults(faults);
        self.world.git(&["push", "--atomic", "demo", "main", "v1"])
    }

    /// Fetches until no fault is left; every fault but those of the push itself stops one fetch.
    fn fetch(&self, context: &str) {
        while self.world.faults_left() > 0 {
            let left = self.world.faults_left();
            let said = self.world.git(&["fetch", "demo"]);
            assert!(!said.ok, "{context}: {said:?}");
            assert_eq!(self.world.faults_left(), left - 1, "{context}: {said:?}");
        }
        let before = self.world.main_in_container();
        self.world.git(&["fetch", "demo"]).accepted();
        assert!(before != self.head() || self.world.main_in_container() == before, "{context}: live is as was pushed");
    }

    fn head(&self) -> String {
        self.world.git(&["rev-parse", "main"]).accepted().trim().to_owned()
    }

    /// All of it happened, or nothing.
    #[track_caller]
    fn assert_settled(&self, happened: bool, context: &str) {
        let world = &self.world;
        let live = |name: &str| if happened && name != self.without { NEW } else { OLD };
        assert_eq!(world.live("kv"), live("kv"), "{context}: kv");
        assert_eq!(world.live("up"), live("up"), "{context}: up");
        let motd = fs::read_to_string(world.path("host/motd")).unwrap();
        assert_eq!(motd, if happened { "new\n" } else { "old\n" }, "{context}");
        assert_eq!(world.main_in_container() == self.head(), happened, "{context}: main");
        assert_eq!(world.container_git(&["tag"]), if happened { "v1" } else { "" }, "{context}: the tag");
        assert_eq!(world.path("host/ready").exists(), happened, "{context}: ready.rc");
        world.assert_nothing_left();
        self.push(&[]).accepted();
        assert_eq!(self.world.main_in_container(), self.head(), "{context}: the next push works");
    }
}

#[test]
fn a_kill_before_the_decision_is_undone() {
    for point in [
        "sysconf apply",
        "sysconf applied",
        "kv stage",
        "kv staged",
        "up stage",
        "up staged",
        "kv lock",
        "kv locked",
        "up lock",
        "up locked",
        "kv commit",
    ] {
        let ready = Ready::new("");
        assert!(!ready.push(&[&format!("{point} kill")]).ok);
        ready.fetch(point);
        ready.assert_settled(false, point);
    }
}

#[test]
fn a_kill_after_the_decision_is_finished() {
    for (without, point) in [
        ("", "kv committed"),
        ("", "up commit"),
        ("", "up committed"),
        ("", "sysconf ready"),
        ("kv", "up commit"),
        ("kv", "up committed"),
        ("up", "kv committed"),
    ] {
        let ready = Ready::new(without);
        assert!(!ready.push(&[&format!("{point} kill")]).ok);
        ready.fetch(point);
        ready.assert_settled(true, point);
    }
}

#[test]
fn a_recovery_that_is_killed_goes_on() {
    let undo = ["kv recover", "kv recovered", "sysconf undo", "sysconf undone", "up recover", "up recovered"];
    let finish = ["kv recover", "kv recovered", "up recover", "up recovered", "sysconf ready"];
    for (first, rest, happened) in [("kv commit", &undo[..], false), ("kv committed", &finish[..], true)] {
        let ready = Ready::new("");
        let faults: Vec<_> = [&[first], rest].concat().iter().map(|point| format!("{point} kill")).collect();
        assert!(!ready.push(&faults.iter().map(String::as_str).collect::<Vec<_>>()).ok);
        ready.fetch(first);
        ready.assert_settled(happened, first);
    }
}

#[test]
fn what_the_application_writes_before_a_recovery_stays() {
    for faults in [&["up commit kill"][..], &["kv committed kill", "up recover kill"]] {
        let ready = Ready::new("");
        assert!(!ready.push(faults).ok);
        if faults.len() > 1 {
            assert!(!ready.world.git(&["fetch", "demo"]).ok);
        }
        ready.world.write_live("kv", "a\t2\nb\tapplication\n");
        ready.world.git(&["fetch", "demo"]).accepted();
        assert_eq!(ready.world.live("kv"), "a\t2\nb\tapplication\n");
        assert_eq!(ready.world.live("up"), NEW);
        let (main, tag) = (ready.world.container_git(&["rev-parse", "main~"]), ready.world.container_git(&["tag"]));
        assert_eq!((main, tag), (ready.head(), "v1".into()));
        ready.world.assert_nothing_left();
    }
}

#[test]
fn a_step_that_fails_declines() {
    for point in ["sysconf applied", "kv staged", "up staged", "kv locked", "up locked", "kv commit"] {
        let ready = Ready::new("");
        ready.push(&[&format!("{point} fail")]).declined("a fault of the test");
        ready.world.assert_nothing_left();
        ready.fetch(point);
        ready.assert_settled(false, point);
    }
}

#[test]
fn a_step_that_fails_after_the_decision_does_not() {
    for (without, point) in [("", "kv committed"), ("", "up commit"), ("", "up committed"), ("kv", "up commit")] {
        let ready = Ready::new(without);
        ready.push(&[&format!("{point} fail")]).accepted();
        ready.fetch(point);
        ready.assert_settled(true, point);
    }
}

#[test]
fn an_engine_that_goes_away_after_the_decision_is_waited_for() {
    for (without, point, who, happened) in [
        ("", "kv commit", "kv", false),
        ("", "kv committed", "kv", true),
        ("", "up commit", "up", true),
        ("kv", "up commit", "up", true),
        ("kv", "up committed", "up", true),
    ] {
        let ready = Ready::new(without);
        let faults = [point, &format!("{who} recover"), &format!("{who} recover")].map(|point| format!("{point} fail"));
        let said = ready.push(&faults.each_ref().map(String::as_str)).declined("a fault of the test");
        assert!(said.contains("finished by the next push or pull"), "{said}");
        ready.fetch(point);
        ready.assert_settled(happened, point);
    }
}

#[test]
fn cancelling_ends_a_push_before_the_decision_and_not_after() {
    for (point, happened) in [("kv lock", false), ("up locked", false), ("kv commit", true), ("sysconf ready", true)] {
        let ready = Ready::new("");
        let said = ready.push(&[&format!("{point} cancel")]);
        if happened {
            said.accepted()
        } else {
            said.declined("cancelled")
        };
        ready.world.assert_nothing_left();
        ready.assert_settled(happened, point);
    }
}

#[test]
fn a_start_of_the_system_settles_and_leaves_the_scripts() {
    let ready = Ready::new("");
    assert!(!ready.push(&["kv committed kill"]).ok);
    ready.world.recover().accepted();
    assert_eq!((ready.world.live("up"), ready.world.main_in_container()), (NEW.into(), ready.head()));
    assert!(!ready.world.path("host/ready").exists());
    ready.world.recover().accepted();
    assert!(!ready.world.path("host/ready").exists());
    ready.fetch("a start");
    ready.assert_settled(true, "a start");
}

#[test]
fn databases_come_first() {
    let ready = Ready::new("");
    ready.push(&[]).accepted();
    let calls = ready.world.calls();
    let steps: Vec<_> = calls.iter().filter(|call| !call.starts_with("sysconf")).map(String::as_str).collect();
    let wanted = [
        "kv stage",
        "kv staged",
        "up stage",
        "up staged",
        "kv lock",
        "kv locked",
        "up lock",
        "up locked",
        "kv commit",
        "kv committed",
        "up commit",
        "up committed",
    ];
    assert_eq!(steps, wanted);
    // By name the other one would come first.
    ready.world.write("glxc.toml", &(ready.world.state("z", "store") + &ready.world.read("glxc.toml")));
    ready.world.commit("z");
    ready.world.push().accepted();
    ready.world.write_live("z", "");
    ready.world.calls();
    ready.world.git(&["fetch", "demo"]).accepted();
    assert_eq!(
        ready.world.calls(),
        ["kv", "z", "up"].map(|n| [format!("{n} export"), format!("{n} exported")]).concat()
    );
}

#[test]
fn a_failed_ready_is_reported_and_no_decline() {
    let ready = Ready::new("");
    let said = ready.push(&["sysconf ready fail"]).accepted();
    assert!(said.contains("the data is in place, but `ready.rc` failed: ready: a fault of the test"), "{said}");
    ready.world.assert_nothing_left();
}

#[test]
fn on_a_container_that_the_push_made_nothing_is_undone() {
    let world = World::new();
    world.config(&["kv"]);
    world.write("data/kv/keys.tsv", OLD);
    world.write("sysconf/motd", "first\n");
    world.commit("start");
    world.set_faults(&["kv lock fail"]);
    world.push().declined("a fault of the test");
    assert_eq!(fs::read_to_string(world.path("host/motd")).unwrap(), "first\n");
    assert!(!world.calls().contains(&"sysconf undo".to_owned()));
    world.assert_nothing_left();
    world.push().accepted();
    assert_eq!(world.live("kv"), OLD);
    assert!(world.path("host/ready").exists());
}

#[test]
fn an_export_that_is_killed_or_fails_leaves_nothing() {
    for action in ["kill", "fail"] {
        let ready = Ready::new("");
        let big = "x".repeat(100_000);
        ready.world.write_live("kv", &format!("a\t{big}\n"));
        ready.world.write_live("up", &format!("b\t{big}\n"));
        ready.world.set_faults(&[&format!("up exported {action}")]);
        let before = ready.world.main_in_container();
        assert!(!ready.world.git(&["fetch", "demo"]).ok);
        assert_eq!(ready.world.main_in_container(), before);
        ready.world.git(&["fetch", "demo"]).accepted();
        assert_ne!(ready.world.main_in_container(), before);
        ready.world.assert_nothing_left();
    }
}
