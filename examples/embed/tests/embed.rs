//! The tool, on real servers and a real container.
#![allow(missing_docs, clippy::print_stderr, dead_code)]

#[path = "../../../glxc-handlers/tests/common/postgres.rs"]
mod server;
#[path = "../../../glxc-handlers/tests/common/skip.rs"]
mod skip;

use std::path::Path;
use std::process::Command;

use server::{Cluster, shared};
use skip::skip;

fn embed(words: &[&str]) -> Result<(String, String), String> {
    let output = Command::new(env!("CARGO_BIN_EXE_embed")).args(words).output().unwrap();
    let [said, told] = [output.stdout, output.stderr].map(|text| String::from_utf8(text).unwrap());
    if output.status.success() { Ok((said, told)) } else { Err(told) }
}

#[test]
fn a_database_goes_to_another_server() {
    let Some(from) = shared() else { return };
    let to = Cluster::start();
    from.create("shop");
    from.psql(
        "shop",
        "CREATE TABLE orders (id int PRIMARY KEY, state text); INSERT INTO orders VALUES (1, E'a\\tb'), (2, NULL)",
    );
    let folder = tempfile::tempdir().unwrap();
    let [source, target] = [from, &to].map(|cluster| cluster.socket().to_str().unwrap().to_owned());
    let move_to = |name: &str| {
        let folder = folder.path().join(name);
        embed(&["move", &source, &target, "shop", folder.to_str().unwrap()])
    };
    let (said, told) = move_to("a").unwrap();
    assert!(said.contains("; 2 rows added in public.orders") && said.contains("shop: loaded from "), "{said}");
    assert!(told.contains("> exporting shop\n") && told.contains("> changing shop\n"), "{told}");
    assert_eq!(to.dump("shop", &[]), from.dump("shop", &[]));
    assert!(folder.path().join("a/database/data/public.orders/rows.tsv").exists());
    // What the other server has by then stays.
    to.psql("shop", "DELETE FROM orders");
    let before = to.dump("shop", &[]);
    let error = move_to("b").unwrap_err();
    assert!(error.contains("neither dumped into this folder nor loaded from it"), "{error}");
    assert_eq!(to.dump("shop", &[]), before);
    let nowhere = folder.path().join("c");
    let error = embed(&["move", "/nonexistent", &target, "shop", nowhere.to_str().unwrap()]).unwrap_err();
    assert!(error.contains("embed: state `shop`: "), "{error}");
}

/// Kept between runs, so that the root of the release is made once.
const ROOT: &str = "/var/lib/glxc-test-lxc";
const NAME: &str = "t-embed";

/// Destroys the container, also one of a test that died.
fn destroy() {
    use glxc_lxc::{ContainerName, Host, Network, Settings, Unwatched};
    let network = Network { bridge: "embed0".into(), subnet: [10, 77, 251, 0].into() };
    let host = Host::new(Settings { root: ROOT.into(), network }).unwrap();
    let _ = host.destroy(&ContainerName::new(NAME).unwrap(), &mut Unwatched);
}

#[test]
fn a_container_is_made_once() {
    if !rustix::process::geteuid().is_root() || !Path::new("/usr/share/lxc/config/common.conf").exists() {
        let required = ["CI", "GLXC_TEST_REQUIRE"].iter().any(|name| std::env::var_os(name).is_some());
        assert!(!required, "needs root and LXC");
        eprintln!("skipped: needs root and LXC");
        return;
    }
    struct Gone;
    impl Drop for Gone {
        fn drop(&mut self) {
            destroy();
        }
    }
    destroy();
    let _gone = Gone;
    let (address, _) = embed(&["ensure", ROOT, NAME]).unwrap();
    assert!(address.starts_with("10.77.251."), "{address}");
    assert_eq!(embed(&["ensure", ROOT, NAME]).unwrap().0, address);
    assert!(embed(&["ensure", ROOT, "../x"]).unwrap_err().starts_with("embed: "));
}
