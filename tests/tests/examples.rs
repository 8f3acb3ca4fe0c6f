//! The examples are repositories that work as they stand.

use glxc_tests::World;

#[test]
fn a_crontab_is_kept_by_two_scripts() {
    let Some(world) = World::example("crontab", "t-glxc-crontab") else { return };
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
