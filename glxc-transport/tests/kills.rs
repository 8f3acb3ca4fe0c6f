//! `git push` and everything it started is killed at random moments: the next contact settles it, the data is old or
//! new, and the refs agree with it.

mod world;

use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use world::World;

/// The first line of the entries of a `files` state.
const HEADER: &str = "#glxc-rows 1\tkey=1b\tpath\tmode\towner\tgroup\ttarget\n/\t0755\troot\troot\t\\N\n";

fn scaled(count: u32) -> u32 {
    let scale = std::env::var("GLXC_TEST_SCALE").ok().and_then(|scale| scale.parse::<f64>().ok()).unwrap_or(1.0);
    ((f64::from(count) * scale) as u32).max(1)
}

/// The next of a sequence of pseudo-random fractions.
fn fraction(random: &mut u64) -> f64 {
    *random = random.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
    (*random >> 33) as f64 / f64::from(1u32 << 31)
}

#[test]
fn a_killed_push_happened_or_not() {
    let seed = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_nanos() as u64;
    let mut random = seed;
    let world = World::pushed();
    let uploads = world.path("uploads");
    let state = "[state.uploads]\nhandler = \"files\"\npath = \"data/uploads\"\n";
    world.write("glxc.toml", &format!("{}{state}root = \"{}\"\n", world.read("glxc.toml"), uploads.display()));
    world.write("data/kv/keys.tsv", "a\t-1\n");
    for number in 0..20 {
        world.write(&format!("data/uploads/files/{number}.txt"), "a\t-1\n");
    }
    world.write("data/uploads/entries/rows.tsv", HEADER);
    world.commit("to measure");
    let start = Instant::now();
    world.push().accepted();
    let longest = start.elapsed();
    // The rows of the entries, which were left to the export.
    world.pull().accepted();
    let (mut old, mut new) = (0, 0);
    for number in 0..scaled(30) {
        let before = world.live("kv");
        let wanted = format!("a\t{number}\n");
        world.write("data/kv/keys.tsv", &wanted);
        for number in 0..20 {
            world.write(&format!("data/uploads/files/{number}.txt"), &wanted);
        }
        world.commit("a push that is killed");
        world.git(&["tag", &format!("t{number}")]).accepted();
        let tag = format!("t{number}");
        let moment = longest.mul_f64(fraction(&mut random) * 1.1);
        kill_after(world.command("user").args(["push", "--atomic", "demo", "main", &tag]), moment);
        // What a killed git leaves in the user's own repository is between the two, whatever the remote is.
        let _ = std::fs::remove_file(world.path("user/.git/refs/remotes/demo/main.lock"));
        world.git(&["fetch", "demo"]).accepted();
        let (live, refs) = (world.live("kv"), world.main_in_container());
        let context = format!("seed {seed}, kill {number} at {moment:?}");
        assert!(live == before || live == wanted, "{context}: {live}");
        for number in 0..20 {
            let file = std::fs::read_to_string(uploads.join(format!("{number}.txt"))).unwrap();
            assert_eq!(file, live, "{context}: all states or none, here {number}.txt");
        }
        assert_eq!(std::fs::read_dir(&uploads).unwrap().count(), 20, "{context}: no file of ours is left");
        let happened = refs == world.git(&["rev-parse", "HEAD"]).accepted().trim();
        assert_eq!(happened, live == wanted, "{context}: the branch agrees with the data");
        let tags = world.container_git(&["tag", "--list", &tag]);
        assert_eq!(happened, !tags.is_empty(), "{context}: all refs or none");
        world.assert_nothing_left();
        *(if happened { &mut new } else { &mut old }) += 1;
        world.git(&["push", "--atomic", "demo", "main", &tag]).accepted();
        assert_eq!(world.live("kv"), wanted, "{context}: the next push works");
    }
    assert!(old > 0 && new > 0, "seed {seed}: {old} old and {new} new; both must have been seen");
}

/// Kills the whole process group, so hooks too.
fn kill_after(command: &mut Command, moment: Duration) {
    let mut child = command.process_group(0).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    std::thread::sleep(moment);
    let group = rustix::process::Pid::from_child(&child);
    let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
    let _ = child.wait();
}
