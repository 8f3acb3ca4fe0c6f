//! The examples are repositories that work as they stand.

use std::path::Path;
use std::process::Command;

use glxc_tests::World;

/// Puts an example into the user's repository, as its README says.
fn begin(example: &str, name: &str) -> Option<World> {
    let world = World::new(name)?;
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples").join(example);
    let copied = Command::new("cp").args(["-r", "--"]).arg(source.join(".")).arg(world.folder()).status().unwrap();
    assert!(copied.success());
    world.commit(example);
    world.glxc(&["init", name]).accepted();
    world.push().accepted();
    Some(world)
}

#[test]
fn a_crontab_is_kept_by_two_scripts() {
    let Some(world) = begin("crontab", "t-glxc-crontab") else { return };
    let live = || world.exec("crontab -l").accepted();
    let kept = || world.read("data/cron/crontab");
    assert_eq!(live(), kept());
    world.exec("(crontab -l; echo '5 4 * * * true') | crontab -").accepted();
    world.pull().accepted();
    assert!(kept().ends_with("\n5 4 * * * true\n"), "{}", kept());
    world.replace("data/cron/crontab", "\n5 4", "\n6 4");
    world.commit("an hour later");
    world.push().accepted();
    assert_eq!(live(), kept());
    // What cron refuses declines the push in its own words, and what was live is put back.
    let before = live();
    world.write("data/cron/crontab", &(kept() + "no crontab\n"));
    world.commit("bad");
    world.push().declined("bad minute");
    assert_eq!(live(), before);
    world.git(&["reset", "-q", "--hard", "HEAD~"]).accepted();
    // What both changed declines it too: the unit is the whole.
    world.exec("(crontab -l; echo '7 7 * * * true') | crontab -").accepted();
    world.replace("data/cron/crontab", "\n6 4", "\n8 4");
    world.commit("both");
    world.push().declined("changed meanwhile: crontab");
    assert!(live().contains("\n6 4 ") && live().ends_with("\n7 7 * * * true\n"), "{}", live());
}
