//! Real containers, in a folder and on a bridge of their own. Needs root, LXC and, the first time, a mirror.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::PathBuf;
use std::process::Command as HostCommand;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use glxc_lxc::{Command, ContainerName, Error, Host, Limits, Network, Settings, Spec, State, Unwatched, Watch};

/// Kept between runs, so that the root of a release is made once.
const ROOT: &str = "/var/lib/glxc-test-lxc";
const READY: Duration = Duration::from_secs(60);

static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// A container that is destroyed at the end, whatever happens.
struct Fixture {
    host: Host,
    name: ContainerName,
    _guard: MutexGuard<'static, ()>,
}

impl Fixture {
    fn new(name: &str) -> Option<Self> {
        let guard = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
        let able = rustix::process::geteuid().is_root() && PathBuf::from("/usr/share/lxc/config/common.conf").exists();
        if !able {
            let required = ["CI", "GLXC_TEST_REQUIRE"].iter().any(|name| std::env::var_os(name).is_some());
            assert!(!required, "needs root and LXC");
            say("skipped: needs root and LXC");
            return None;
        }
        let host = host();
        let name = ContainerName::new(format!("t-lxc-{name}")).unwrap();
        let _ = host.destroy(&name, &mut Unwatched);
        Some(Fixture { host, name, _guard: guard })
    }

    fn running(name: &str) -> Option<Self> {
        let fixture = Fixture::new(name)?;
        fixture.create().unwrap();
        fixture.up();
        Some(fixture)
    }

    fn spec(&self) -> Spec {
        Spec { name: self.name.clone(), release: "bookworm".into(), arch: None, limits: Limits::default() }
    }

    fn create(&self) -> glxc_lxc::Result<()> {
        self.host.create(&self.spec(), &mut Unwatched)
    }

    fn up(&self) {
        self.host.start(&self.name).unwrap();
        self.host.wait_ready(&self.name, READY, &mut Unwatched).unwrap();
    }

    /// Runs a shell script in the container: its exit code and what it wrote to both streams.
    fn sh(&self, script: &str) -> (u8, String) {
        let mut attached = self.host.attach(&self.name, &Command::new(["sh", "-c", script])).unwrap();
        drop(attached.stdin.take());
        let mut said = String::new();
        attached.stdout.take().unwrap().read_to_string(&mut said).unwrap();
        attached.stderr.take().unwrap().read_to_string(&mut said).unwrap();
        (attached.wait().unwrap(), said.trim_end().to_string())
    }

    fn folder(&self) -> PathBuf {
        PathBuf::from(ROOT).join("containers").join(self.name.as_str())
    }
}

impl Drop for Fixture {
    fn drop(&mut self) {
        let gone = self.host.destroy(&self.name, &mut Unwatched);
        if !std::thread::panicking() {
            assert!(matches!(gone, Ok(()) | Err(Error::NotFound(_))), "{gone:?}");
        }
    }
}

const CHILD: &str = "GLXC_TEST_CHILD";

fn in_child() -> bool {
    std::env::var_os(CHILD).is_some()
}

/// Runs one test of this program in a process of its own, in which [`in_child`] holds.
fn again(test: &str, by: &mut HostCommand) -> std::process::Output {
    by.arg(std::env::current_exe().unwrap()).args(["--exact", test]).env(CHILD, "1").output().unwrap()
}

fn create_in_child(name: &str, watch: &mut dyn Watch) {
    let name = ContainerName::new(name).unwrap();
    let spec = Spec { name, release: "bookworm".into(), arch: None, limits: Limits::default() };
    host().create(&spec, watch).unwrap();
}

fn host() -> Host {
    let network = Network { bridge: "glxct-lxc".into(), subnet: [10, 77, 250, 0].into() };
    Host::new(Settings { root: ROOT.into(), network }).unwrap()
}

/// For the person who reads the test's output.
#[allow(clippy::print_stderr)]
fn say(text: &str) {
    eprintln!("{text}");
}

fn on_host(program: &str, arguments: &[&str]) -> String {
    let output = HostCommand::new(program).args(arguments).output().unwrap();
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

#[test]
fn a_whole_life() {
    let Some(fixture) = Fixture::new("life") else { return };
    assert!(matches!(fixture.host.info(&fixture.name), Err(Error::NotFound(_))));
    fixture.create().unwrap();
    assert!(matches!(fixture.create(), Err(Error::Exists(_))));
    let made = fixture.host.info(&fixture.name).unwrap();
    assert_eq!((made.state, made.running_since), (State::Stopped, None));
    assert!(matches!(fixture.host.attach(&fixture.name, &Command::new(["true"])), Err(Error::NotRunning(_))));
    fixture.up();
    fixture.host.start(&fixture.name).unwrap();
    let up = fixture.host.info(&fixture.name).unwrap();
    assert_eq!(up.state, State::Running);
    assert!(up.running_since.unwrap().elapsed().unwrap() < READY);
    assert_eq!(fixture.sh("systemctl is-system-running; hostname"), (0, "running\nt-lxc-life".into()));
    assert!(fixture.host.names().unwrap().contains(&fixture.name));
    let begin = Instant::now();
    fixture.host.stop(&fixture.name, Duration::from_secs(30)).unwrap();
    assert!(begin.elapsed() < Duration::from_secs(25), "systemd was asked");
    fixture.host.stop(&fixture.name, Duration::from_secs(30)).unwrap();
    assert_eq!(fixture.host.info(&fixture.name).unwrap().state, State::Stopped);
    fixture.up();
    let again = fixture.host.info(&fixture.name).unwrap();
    assert_eq!(again.address, made.address);
    let seen = fixture.sh("ip -4 -o address show dev eth0; cat /sys/class/net/eth0/address").1;
    assert!(seen.contains(&format!("{}/24", made.address)), "{seen}");
    fixture.host.destroy(&fixture.name, &mut Unwatched).unwrap();
    assert!(!fixture.folder().exists());
    assert!(!fs::read_to_string("/etc/subuid").unwrap().contains(&format!("root:{}:", made.first_id)));
    assert!(matches!(fixture.host.destroy(&fixture.name, &mut Unwatched), Err(Error::NotFound(_))));
}

#[test]
fn attached_programs() {
    let Some(fixture) = Fixture::running("attach") else { return };
    assert_eq!(fixture.sh("exit 0").0, 0);
    assert_eq!(fixture.sh("exit 42").0, 42);
    assert_eq!(fixture.sh("kill -9 $$").0, 137);
    let code = |argv: &[&str]| {
        fixture.host.attach(&fixture.name, &Command::new(argv.iter().copied())).unwrap().wait().unwrap()
    };
    assert_eq!(code(&["no-such-program"]), 127);
    assert_eq!(code(&["/no/such/program"]), 127);
    assert_eq!(code(&["/etc/passwd"]), 126);
    environment_is_ours(&fixture);
    nothing_leaks(&fixture);
    a_stream_is_exact(&fixture);
    a_dropped_program_dies(&fixture);
}

fn environment_is_ours(fixture: &Fixture) {
    let command = Command::new(["env"]).env("GLXC_X", "a b\nc");
    let mut env = fixture.host.attach(&fixture.name, &command).unwrap();
    let mut said = String::new();
    env.stdout.take().unwrap().read_to_string(&mut said).unwrap();
    let expected =
        "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\nHOME=/root\nLANG=C.UTF-8\nGLXC_X=a b\nc\n";
    assert_eq!(said, expected);
}

fn nothing_leaks(fixture: &Fixture) {
    let secret = fs::File::open("/etc/shadow").unwrap();
    rustix::io::fcntl_setfd(&secret, rustix::io::FdFlags::empty()).unwrap();
    // The third is the folder that ls reads.
    assert_eq!(
        fixture.sh("ls /proc/self/fd; pwd; grep -E 'Sig(Blk|Ign)' /proc/self/status").1.replace('\t', " "),
        "0\n1\n2\n3\n/\nSigBlk: 0000000000000000\nSigIgn: 0000000000000000"
    );
    assert_eq!(fixture.sh("cat /proc/self/uid_map").1.split_whitespace().next(), Some("0"));
    assert_eq!(fixture.sh("ps -o tty= -p $$ 2>/dev/null || cut -d' ' -f7 /proc/self/stat").1.trim(), "0");
}

fn a_stream_is_exact(fixture: &Fixture) {
    let mut cat = fixture.host.attach(&fixture.name, &Command::new(["cat"])).unwrap();
    let mut bytes = vec![0; 64 << 20];
    fs::File::open("/dev/urandom").unwrap().read_exact(&mut bytes).unwrap();
    let (mut stdin, mut stdout) = (cat.stdin.take().unwrap(), cat.stdout.take().unwrap());
    let mut back = Vec::new();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            stdin.write_all(&bytes).unwrap();
            drop(stdin);
        });
        stdout.read_to_end(&mut back).unwrap();
    });
    assert!(back == bytes, "{} bytes", back.len());
    assert_eq!(cat.wait().unwrap(), 0);
}

fn a_dropped_program_dies(fixture: &Fixture) {
    let sleep = fixture.host.attach(&fixture.name, &Command::new(["sleep", "9999"])).unwrap();
    let process = PathBuf::from(format!("/proc/{}", sleep.pid()));
    assert!(process.exists());
    drop(sleep);
    assert!(!process.exists());
}

#[test]
fn the_host_is_safe_from_the_container() {
    let Some(fixture) = Fixture::running("safe") else { return };
    let first = fixture.host.info(&fixture.name).unwrap().first_id;
    assert!(first >= 1_000_000);
    let map = fixture.sh("cat /proc/self/uid_map /proc/self/gid_map").1;
    let map: Vec<&str> = map.split_whitespace().collect();
    let first_text = first.to_string();
    assert_eq!(map, ["0", &first_text, "65536", "0", &first_text, "65536"]);
    assert!(fs::read_to_string("/etc/subgid").unwrap().contains(&format!("root:{first}:65536")));
    a_setuid_file_is_out_of_reach(&fixture);
    a_device_node_is_dead(&fixture);
    the_port_is_closed(&fixture);
    memory_and_processes_are_limited(&fixture);
}

fn a_setuid_file_is_out_of_reach(fixture: &Fixture) {
    assert_eq!(fixture.sh("cp /usr/bin/id /evil; chmod 4755 /evil; stat -c %u:%a /evil").1, "0:4755");
    let evil = fixture.folder().join("rootfs/evil");
    let found = fs::metadata(&evil).unwrap();
    assert_eq!((found.uid(), found.mode() & 0o7777), (0, 0o4755), "it is root's on the disk");
    let script = format!("{} -u", evil.display());
    let nobody = ["--reuid=65534", "--regid=65534", "--clear-groups", "sh", "-c", &script];
    assert!(on_host("setpriv", &nobody).contains("Permission denied"));
    assert_eq!(fs::metadata(fixture.folder()).unwrap().permissions().mode() & 0o777, 0o700);
}

fn a_device_node_is_dead(fixture: &Fixture) {
    // The tunnel device: there is one on every host, and it is not in the usual list.
    let node = fixture.folder().join("rootfs/tunnel");
    on_host("mknod", &["-m", "666", node.to_str().unwrap(), "c", "10", "200"]);
    let on_the_host = fs::File::open(&node);
    assert!(on_the_host.is_ok(), "{on_the_host:?}");
    let (code, said) = fixture.sh("exec 3< /tunnel");
    assert!(code != 0 && (said.contains("Permission denied") || said.contains("not permitted")), "{said}");
    assert!(
        fixture.sh("grep ' / / ' /proc/self/mountinfo || grep '/rootfs / ' /proc/self/mountinfo").1.contains("nodev")
    );
    assert_eq!(fixture.sh("echo x > /dev/null; head -c3 /dev/zero | wc -c"), (0, "3".into()));
}

fn the_port_is_closed(fixture: &Fixture) {
    let begin = std::time::SystemTime::now();
    let link = on_host("ip", &["-o", "link", "show", "master", "glxct-lxc"]);
    let link = link.lines().map(|line| line.split([' ', '@']).nth(1).unwrap().to_string()).next().unwrap();
    let port =
        |file: &str| fs::read_to_string(format!("/sys/class/net/{link}/brport/{file}")).unwrap().trim().to_string();
    assert_eq!((port("isolated"), port("learning")), ("1".into(), "0".into()));
    let address = fixture.host.info(&fixture.name).unwrap().address.to_string();
    assert!(on_host("ip", &["neighbour", "show", &address, "dev", "glxct-lxc"]).contains("PERMANENT"));
    assert!(on_host("bridge", &["fdb", "show", "br", "glxct-lxc", "dev", &link]).contains("static"));
    // Also after the container rebooted itself, or tried to.
    fixture.sh("systemctl reboot");
    let stopped = || fixture.host.info(&fixture.name).unwrap().running_since.is_none_or(|since| since > begin);
    let patience = Instant::now() + READY;
    while !stopped() && Instant::now() < patience {
        std::thread::sleep(Duration::from_millis(100));
    }
    std::thread::sleep(Duration::from_secs(1));
    fixture.up();
    assert_eq!((port("isolated"), port("learning")), ("1".into(), "0".into()));
}

fn memory_and_processes_are_limited(fixture: &Fixture) {
    let limits = Limits { memory: Some(256 << 20), processes: Some(150), millicpus: Some(500), autostart: false };
    fixture.host.set_limits(&fixture.name, &limits).unwrap();
    let (code, said) = fixture.sh("head -c 400M /dev/zero | tail -c 300M > /dev/null; exit 0");
    let refused = fixture.sh("tail -c 400M /dev/zero < /dev/null; head -c 600M /dev/zero | tail -c 500M | wc -c");
    assert_eq!(code, 0, "{said}");
    let many = "for n in $(seq 200); do sleep 5 & done 2>&1; jobs -p | wc -l";
    let (_, said) = fixture.sh(many);
    assert!(said.contains("Cannot fork"), "200 processes were had: {said}");
    assert_ne!(refused.1.lines().last(), Some("524288000"), "the memory of the host was had");
    fixture.host.stop(&fixture.name, Duration::from_secs(30)).unwrap();
    fixture.up();
    assert_eq!(fixture.host.info(&fixture.name).unwrap().limits, limits);
    let config = fs::read_to_string(fixture.folder().join("config")).unwrap();
    assert!(config.contains("268435456") && config.contains("pids.max = 150"));
}

#[test]
fn packages_can_be_had_and_neighbours_can_not() {
    let Some(fixture) = Fixture::running("net") else { return };
    let (code, said) = fixture.sh("apt-get update 2>&1 | tail -3; git --version");
    assert!(code == 0 && said.contains("git version") && said.contains("Reading package lists"), "{said}");
    assert!(!said.contains("Failed to fetch"), "{said}");
    assert_eq!(fixture.sh("command -v dhclient dhcpcd udhcpc").1, "");
    let other = Fixture { host: host(), name: ContainerName::new("t-lxc-net2").unwrap(), _guard: second_guard() };
    let _ = other.host.destroy(&other.name, &mut Unwatched);
    other.create().unwrap();
    other.up();
    let address = fixture.host.info(&fixture.name).unwrap().address;
    let connect = |port: u16| format!("timeout 3 bash -c 'exec 3<>/dev/tcp/{address}/{port}'");
    let mut server = fixture.host.attach(&fixture.name, &Command::new(["perl", "-MSocket", "-e",
        "socket(S,PF_INET,SOCK_STREAM,0);bind(S,sockaddr_in(7777,INADDR_ANY));listen(S,5);print qq(up\\n);$|=1;close STDOUT;sleep 60"])).unwrap();
    server.stdout.take().unwrap().read_to_string(&mut String::new()).unwrap();
    let from_host = std::net::TcpStream::connect_timeout(&(address, 7777).into(), Duration::from_secs(3));
    assert!(from_host.is_ok(), "the host reaches it: {from_host:?}");
    assert_ne!(other.sh(&connect(7777)).0, 0, "another container reached it");
    assert_eq!(other.sh(&format!("ip route add {address}/32 via 10.77.250.1")), (0, String::new()));
    assert_ne!(other.sh(&connect(7777)).0, 0, "another container reached it by way of the host");
    // It takes its neighbour's address: the host goes on speaking with the right one.
    other.sh(&format!("ip address add {address}/24 dev eth0; ip neighbour flush all; ping -c1 10.77.250.1"));
    let from_host = std::net::TcpStream::connect_timeout(&(address, 7777).into(), Duration::from_secs(3));
    assert!(from_host.is_ok(), "the host still reaches it: {from_host:?}");
    assert_eq!(other.host.info(&other.name).unwrap().address.octets()[..3], [10, 77, 250]);
    assert_ne!(other.host.info(&other.name).unwrap().address, address);
}

/// A second container of one test stands under the first one's guard.
fn second_guard() -> MutexGuard<'static, ()> {
    static SECOND: Mutex<()> = Mutex::new(());
    SECOND.lock().unwrap_or_else(PoisonError::into_inner)
}

#[test]
fn a_half_made_container_is_made_anew() {
    /// Dies when the root is being unpacked.
    struct Kill;
    impl Watch for Kill {
        fn note(&mut self, text: &str) {
            if text == "unpacking the root" {
                std::process::abort();
            }
        }
        fn goes_on(&mut self) -> bool {
            true
        }
    }
    if in_child() {
        return create_in_child("t-lxc-half", &mut Kill);
    }
    let Some(fixture) = Fixture::new("half") else { return };
    let killed = again("a_half_made_container_is_made_anew", &mut HostCommand::new("env"));
    assert!(!killed.status.success());
    let half = fixture.host.info(&fixture.name).unwrap();
    assert_eq!(half.state, State::HalfMade);
    assert!(matches!(fixture.host.start(&fixture.name), Err(Error::HalfMade(_))));
    fixture.create().unwrap();
    fixture.up();
    assert_eq!(fixture.sh("true").0, 0);
    let grants = fs::read_to_string("/etc/subuid").unwrap();
    let first = fixture.host.info(&fixture.name).unwrap().first_id;
    assert_eq!(grants.matches(&format!("root:{first}:65536")).count(), 1, "{grants}");
}

#[test]
fn a_second_container_needs_no_network() {
    if in_child() {
        return create_in_child("t-lxc-warm", &mut Unwatched);
    }
    let Some(fixture) = Fixture::new("warm") else { return };
    fixture.create().unwrap();
    fixture.host.destroy(&fixture.name, &mut Unwatched).unwrap();
    // In a network namespace of its own there is no mirror.
    let begin = Instant::now();
    let output = again("a_second_container_needs_no_network", HostCommand::new("unshare").arg("--net"));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let created = begin.elapsed();
    fixture.up();
    say(&format!("warm: created after {created:?}, ready after {:?}", begin.elapsed()));
}

/// A small file system, gone at the end.
struct SmallDisk(&'static str);

impl SmallDisk {
    fn new(folder: &'static str, size: &str) -> Self {
        fs::create_dir_all(folder).unwrap();
        on_host("mount", &["-t", "tmpfs", "-o", &format!("size={size},mode=711"), "tmpfs", folder]);
        SmallDisk(folder)
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        on_host("umount", &[self.0]);
        let _ = fs::remove_dir(self.0);
    }
}

#[test]
fn a_full_disk_is_named_and_leaves_nothing() {
    let Some(fixture) = Fixture::new("full") else { return };
    fixture.create().unwrap();
    fixture.host.destroy(&fixture.name, &mut Unwatched).unwrap();
    let disk = SmallDisk::new("/var/lib/glxc-test-full", "300M");
    let small = Host::new(Settings { root: disk.0.into(), ..fixture.host.settings().clone() }).unwrap();
    for tarball in fs::read_dir(PathBuf::from(ROOT).join("cache")).unwrap().flatten() {
        if tarball.file_name().to_string_lossy().contains("bookworm") {
            fs::copy(tarball.path(), PathBuf::from(disk.0).join("cache").join(tarball.file_name())).unwrap();
        }
    }
    let grants = || fs::read_to_string("/etc/subuid").unwrap();
    let before = grants();
    let error = small.create(&fixture.spec(), &mut Unwatched).unwrap_err();
    assert!(matches!(error, Error::DiskFull(_)), "{error:?}");
    assert!(matches!(small.info(&fixture.name), Err(Error::NotFound(_))));
    assert_eq!(grants(), before);
}

#[test]
fn new_name_servers_reach_a_container() {
    let Some(fixture) = Fixture::running("dns") else { return };
    let given = fixture.sh("cat /etc/resolv.conf").1;
    assert!(given.starts_with("nameserver "), "{given}");
    fixture.host.stop(&fixture.name, Duration::from_secs(30)).unwrap();
    // As where the host had another one when the container was last started.
    let (kept, inside) = (fixture.folder().join("resolv.conf"), fixture.folder().join("rootfs/etc/resolv.conf"));
    for file in [&kept, &inside] {
        fs::write(file, "nameserver 192.0.2.99\n").unwrap();
    }
    fixture.up();
    assert_eq!(fixture.sh("cat /etc/resolv.conf").1, given);
    fixture.host.stop(&fixture.name, Duration::from_secs(30)).unwrap();
    fs::write(&kept, "nameserver 192.0.2.99\n").unwrap();
    fs::write(&inside, "nameserver 192.0.2.50\n").unwrap();
    fixture.up();
    assert_eq!(fixture.sh("cat /etc/resolv.conf").1, "nameserver 192.0.2.50", "its own choice stays");
}

#[test]
fn mistakes_are_named_and_leave_nothing() {
    let Some(fixture) = Fixture::new("wrong") else { return };
    let create =
        |release: &str| fixture.host.create(&Spec { release: release.into(), ..fixture.spec() }, &mut Unwatched);
    let error = create("no-such-suite").unwrap_err();
    assert!(matches!(error, Error::UnknownRelease { .. }), "{error:?}");
    assert!(error.to_string().contains("has no release \"no-such-suite\""), "{error}");
    assert!(matches!(create("../evil"), Err(Error::Value { field: "release", .. })));
    let small = Limits { memory: Some(1), ..Limits::default() };
    let error = fixture.host.create(&Spec { limits: small, ..fixture.spec() }, &mut Unwatched);
    assert!(matches!(error, Err(Error::Value { field: "memory", .. })));
    assert!(!fixture.folder().exists());
    let scratch = fs::read_dir(fixture.host.scratch()).unwrap().count();
    assert_eq!(scratch, 0, "scratch is empty");
    // liblxc's own words reach the error.
    fixture.create().unwrap();
    fs::remove_dir_all(fixture.folder().join("rootfs")).unwrap();
    let error = fixture.host.start(&fixture.name).unwrap_err();
    let Error::Lxc { operation: "start", reason, .. } = &error else { panic!("{error:?}") };
    assert!(!reason.is_empty(), "{error}");
    say(&error.to_string());
}
