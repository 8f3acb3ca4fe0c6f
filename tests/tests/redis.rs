//! A kind of state of somebody's own, from a guest of their own.

use std::path::Path;
use std::process::Command;

use glxc_tests::World;

/// The variable that names the built guest of `examples/custom-backend`.
const GUEST: &str = "GLXC_TEST_REDIS_GUEST";

const ROWS: &str = "data/cache/keys/rows.tsv";

#[test]
fn the_keys_of_redis_go_there_and_back() {
    let Some(world) = World::new("t-glxc-redis") else { return };
    let guest =
        std::env::var(GUEST).unwrap_or_else(|_| panic!("{GUEST} must name the built guest (make test sets it)"));
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/custom-backend/repository/.");
    assert!(Command::new("cp").args(["-r", "--"]).arg(source).arg(world.folder()).status().unwrap().success());
    world.commit("redis");
    let init = |more: &[&str]| world.glxc(&[&["init", "t-glxc-redis"], more].concat()).accepted();
    init(&["--guest", &guest]);
    world.push().accepted();
    let redis = |command: &str| {
        let said = world.exec(&format!("redis-cli -s /run/redis/redis-server.sock {command}"));
        said.accepted().trim_end().to_owned()
    };
    assert_eq!(redis("HGET cart:17 apple"), "3");
    assert_eq!(redis("LRANGE queue 0 -1"), "mail ada\nmail grace");
    // What is live comes back, one line for one field.
    redis("INCR visits");
    redis("HSET cart:17 plum 2");
    world.pull().accepted();
    let text = world.read(ROWS);
    assert!(text.contains("\nvisits\tstring\t\t42\n") && text.contains("\ncart:17\thash\tplum\t2\n"), "{text}");
    let subject = world.git(&["log", "-1", "--format=%s"]).accepted();
    assert_eq!(subject.trim(), "t-glxc-redis: cache: 2 keys changed");
    // A change of a key goes there beside a change of another.
    redis("INCR visits");
    world.replace(ROWS, "apple\t3", "apple\t4");
    world.commit("an apple more");
    world.push().accepted();
    assert_eq!((redis("HGET cart:17 apple"), redis("GET visits")), ("4".into(), "43".into()));
    // Of the same key it is declined, and nothing changes.
    world.replace(ROWS, "visits\tstring\t\t42", "visits\tstring\t\t0");
    world.commit("from the start");
    world.push().declined("changed meanwhile: key visits");
    assert_eq!(redis("GET visits"), "43");
    world.git(&["reset", "-q", "--hard", "HEAD~"]).accepted();
    // The container remembers which guest it needs, also for its recovery at start.
    world.git(&["config", "--unset", "glxc.t-glxc-redis.guest"]).accepted();
    world.pull().declined("states of the kind `redis`, which this guest does not know");
    init(&["--guest", &guest]);
    world.pull().accepted();
    assert!(world.read(ROWS).contains("\nvisits\tstring\t\t43\n"));
    assert_eq!(
        world.exec("glxc recover && glxc version").accepted().trim(),
        concat!("glxc ", env!("CARGO_PKG_VERSION"))
    );
    // A container that is gone is built again from the repository.
    let before = redis("--no-raw HGETALL cart:17");
    world.glxc(&["destroy", "--discard", "t-glxc-redis"]).accepted();
    world.push().accepted();
    assert_eq!(redis("--no-raw HGETALL cart:17"), before);
}
