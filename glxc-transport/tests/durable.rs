//! Each step of the journal is durable before the next thing happens, as the system sees it.
#![allow(missing_docs, clippy::print_stderr)]

mod world;

use std::process::Command;

use world::World;

/// What would be a next thing: a write, a file that takes another name or goes, a program that starts.
const CALLS: &str = "trace=write,fdatasync,fsync,rename,renameat,renameat2,unlink,unlinkat,clone,clone3,vfork";

#[test]
fn each_step_is_durable_before_the_next() {
    if Command::new("strace").arg("-V").output().is_err() {
        let required = std::env::var_os("CI").is_some() || std::env::var_os("GLXC_TEST_REQUIRE").is_some();
        assert!(!required, "strace is not installed");
        eprintln!("skipped: strace is not installed");
        return;
    }
    let world = World::pushed();
    world.write("data/kv/keys.tsv", "a\t2\nb\t1\n");
    world.commit("another a");
    let log = world.path("trace");
    let mut push = Command::new("strace");
    push.args(["-f", "-y", "-qq", "-e", CALLS, "-o"]).arg(&log).args(["git", "push", "demo", "main"]);
    push.current_dir(world.path("user")).env_clear();
    let environment = world.command("user");
    push.envs(environment.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let pushed = push.output().unwrap();
    assert!(pushed.status.success(), "{}", String::from_utf8_lossy(&pushed.stderr));
    assert_eq!(world.live("kv"), "a\t2\nb\t1\n");
    let log = std::fs::read_to_string(log).unwrap();
    let is_journal = |line: &str| line.contains("/glxc/journal>");
    let writer = log.lines().find(|line| is_journal(line)).and_then(|line| line.split_whitespace().next()).unwrap();
    let calls: Vec<&str> = log
        .lines()
        .filter_map(|line| line.strip_prefix(writer)?.strip_prefix(' '))
        .map(str::trim_start)
        .filter(|call| !call.starts_with("<..."))
        .collect();
    let mut steps = 0;
    for (at, call) in calls.iter().enumerate().filter(|(_, call)| is_journal(call) && call.starts_with("write(")) {
        let next = calls[at + 1];
        assert!(next.starts_with("fdatasync(") && is_journal(next), "after {call}\ncomes {next}");
        steps += 1;
    }
    // BEGIN, PLAN, STAGED, INTENT, DONE, REF.
    assert_eq!(steps, 6, "{calls:#?}");
}
