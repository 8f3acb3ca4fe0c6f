//! The life of a container.

use std::fs;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use rustix::fs::Mode;
use serde::{Deserialize, Serialize};

use crate::config::{self, Cgroup};
use crate::debian::Root;
use crate::ffi::{Handle, Liblxc};
use crate::record::{Record, write_file};
use crate::run::{self, Watch};
use crate::{Command, ContainerName, Error, Host, Result, Unwatched, host, ids, network};

/// What a container may use.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// Memory in bytes; half of the host's where missing.
    pub memory: Option<u64>,
    /// How many processes and threads; 8192 where missing.
    pub processes: Option<u32>,
    /// How many processors' time, in thousandths (1500 is one and a half); all where missing.
    pub millicpus: Option<u32>,
    /// Whether [`Host::autostart`] starts it.
    pub autostart: bool,
}

impl Limits {
    /// The least memory that a container can live in.
    const LEAST_MEMORY: u64 = 64 << 20;
    /// The least number of processes that a system can live with.
    const LEAST_PROCESSES: u32 = 16;
    const PROCESSES: u32 = 8192;

    fn check(&self) -> Result<()> {
        let small = |field, value: String, reason| Err(Error::Value { field, value, reason });
        match *self {
            Limits { memory: Some(memory), .. } if memory < Self::LEAST_MEMORY => {
                small("memory", memory.to_string(), "it is less than 64 MiB")
            }
            Limits { processes: Some(processes), .. } if processes < Self::LEAST_PROCESSES => {
                small("processes", processes.to_string(), "it is less than 16")
            }
            Limits { millicpus: Some(millicpus), .. } if millicpus < 10 => {
                small("cpus", millicpus.to_string(), "it is less than a hundredth of a processor")
            }
            _ => Ok(()),
        }
    }

    pub(crate) fn processes_or_default(&self) -> u32 {
        self.processes.unwrap_or(Self::PROCESSES)
    }

    fn memory_or_default(&self) -> u64 {
        let of_host = || {
            let text = fs::read_to_string("/proc/meminfo").unwrap_or_default();
            let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:")).unwrap_or_default();
            let kib: u64 = line.trim().trim_end_matches(" kB").parse().unwrap_or(2 << 20);
            (kib << 10) / 2
        };
        self.memory.unwrap_or_else(of_host).max(Self::LEAST_MEMORY)
    }
}

/// A container to be created.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spec {
    /// Its name.
    pub name: ContainerName,
    /// Debian's suite, as `bookworm`: `[a-z0-9][a-z0-9._-]*`.
    pub release: String,
    /// Debian's word for the architecture, as `amd64`; this machine's where missing.
    pub arch: Option<String>,
    /// What it may use.
    pub limits: Limits,
}

/// Whether a container runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum State {
    /// No process of it lives.
    Stopped,
    /// On the way up.
    Starting,
    /// Its init runs.
    Running,
    /// On the way down.
    Stopping,
    /// Its processes are frozen.
    Frozen,
    /// Its creation was cut short.
    HalfMade,
}

/// A container as it is now. Nothing here is the container's own word.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Info {
    /// Its name.
    pub name: ContainerName,
    /// Whether it runs.
    pub state: State,
    /// Its address, which is fixed.
    pub address: Ipv4Addr,
    /// Debian's suite.
    pub release: String,
    /// Debian's word for the architecture.
    pub arch: String,
    /// What it may use.
    pub limits: Limits,
    /// The host's id of its root; 65,536 ids from it on are its own.
    pub first_id: u32,
    /// Since when it runs.
    pub running_since: Option<SystemTime>,
}

impl Host {
    /// Creates a container, stopped. What an earlier call left half-made under this name is removed first.
    ///
    /// The first one of a release installs packages from the mirror; later ones unpack its tarball and need no network.
    ///
    /// # Errors
    /// [`Error::Value`], [`Error::Exists`], [`Error::Missing`], [`Error::UnknownRelease`], [`Error::Program`],
    /// [`Error::DiskFull`], [`Error::NoIds`], [`Error::NoAddress`], [`Error::Cancelled`]. Nothing is left then.
    pub fn create(&self, spec: &Spec, watch: &mut dyn Watch) -> Result<()> {
        spec.limits.check()?;
        let root = Root::new(&spec.release, spec.arch.as_deref())?;
        let _lock = self.lock_container(&spec.name)?;
        let folder = self.folder(&spec.name);
        match self.record(&spec.name) {
            Ok(_) => return Err(Error::Exists(spec.name.to_string())),
            Err(Error::NotFound(_)) => {}
            Err(Error::HalfMade(_)) => self.remove(&spec.name, watch)?,
            Err(error) => return Err(error),
        }
        needed()?;
        let tarball = self.tarball(&root, watch)?;
        let record = self.allocate(&folder, spec, root)?;
        watch.note("unpacking the root");
        let made = self.fill(&folder, &tarball, spec, watch).and_then(|()| record.write(&folder));
        if made.is_err() {
            // The first error is the one to report.
            let _ = self.remove(&spec.name, &mut Unwatched);
        }
        made
    }

    /// The tarball of a root, made by one process at a time.
    fn tarball(&self, root: &Root, watch: &mut dyn Watch) -> Result<PathBuf> {
        let _lock = self.lock("cache", "the cache of roots", Duration::from_secs(1800), watch)?;
        root.tarball(&self.cache(), &self.scratch(), watch)
    }

    /// Gives a new container its folder, ids and address, and marks it as half-made. The record of the whole
    /// one is returned.
    fn allocate(&self, folder: &Path, spec: &Spec, root: Root) -> Result<Record> {
        let _lock = self.lock_host()?;
        let address = network::choose(&self.settings.network, &self.addresses()?)?;
        let first_id = ids::choose(&ids::taken(&[&self.lxc_path(), Path::new("/var/lib/lxc")]))?;
        let limits = spec.limits.clone();
        let record = Record { complete: true, release: root.release, arch: root.arch, limits, first_id, address };
        host::folder(folder, 0o700)?;
        Record { complete: false, ..record.clone() }.write(folder)?;
        ids::grant(first_id)?;
        Ok(record)
    }

    /// Unpacks the root, which nobody has run yet, and puts in what differs between containers.
    fn fill(&self, folder: &Path, tarball: &Path, spec: &Spec, watch: &mut dyn Watch) -> Result<()> {
        let root = folder.join("rootfs");
        host::folder(&root, 0o755)?;
        let mut tar = run::bound("tar", "tar")?;
        tar.args([
            "--extract",
            "--numeric-owner",
            "--preserve-permissions",
            "--xattrs",
            "--xattrs-include=*",
            "--file",
        ]);
        run::watched(tar.arg(tarball).arg("--directory").arg(&root), watch)?;
        let etc = root.join("etc");
        let name = &spec.name;
        write_file(&etc, "hostname", format!("{name}\n").as_bytes(), 0o644)?;
        write_file(&etc, "hosts", format!("127.0.0.1 localhost\n127.0.1.1 {name}\n::1 localhost\n").as_bytes(), 0o644)?;
        let servers = network::resolv_conf();
        write_file(&etc, "resolv.conf", servers.as_bytes(), 0o644)?;
        write_file(folder, SERVERS, servers.as_bytes(), 0o600)?;
        for unit in USELESS_UNITS {
            let mask = etc.join("systemd/system").join(unit);
            std::os::unix::fs::symlink("/dev/null", &mask).map_err(Error::io("create", &mask))?;
        }
        let file = fs::File::open(&root).map_err(Error::io("open", &root))?;
        rustix::fs::syncfs(file).map_err(Error::io("write", &root))
    }

    /// Starts a container where it is stopped. Its services may come up later: see [`Host::wait_ready`].
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::HalfMade`], [`Error::Bridge`], [`Error::Subnet`], [`Error::Lxc`].
    pub fn start(&self, name: &ContainerName) -> Result<()> {
        let _lock = self.lock_container(name)?;
        let record = self.record(name)?;
        {
            let _lock = self.lock_host()?;
            network::ensure(&self.settings.network)?;
        }
        if self.launch(name, &record)? { self.update_servers(name) } else { Ok(()) }
    }

    /// Starts it with a new config; false where it runs already.
    fn launch(&self, name: &ContainerName, record: &Record) -> Result<bool> {
        self.clear_log(name);
        let liblxc = Liblxc::enter();
        let open = || Handle::open(&liblxc, name.as_str(), &self.lxc_path());
        // The config is written only where no process uses it.
        if open().is_some_and(|handle| state(&handle) != State::Stopped) {
            return Ok(false);
        }
        self.write_config(name, record)?;
        let handle = open().ok_or_else(|| self.lxc_error("open", name))?;
        // The container's init inherits it.
        let own = rustix::process::umask(Mode::from_raw_mode(0o022));
        let started = handle.start();
        rustix::process::umask(own);
        if started { Ok(true) } else { Err(self.lxc_error("start", name)) }
    }

    /// Gives the container the name servers that the host has now, unless it has set others itself.
    fn update_servers(&self, name: &ContainerName) -> Result<()> {
        let folder = self.folder(name);
        let (old, new) = (fs::read_to_string(folder.join(SERVERS)).unwrap_or_default(), network::resolv_conf());
        if new.is_empty() || new == old {
            return Ok(());
        }
        let script = r#"f=/etc/resolv.conf; [ "$(cat $f)" = "$1" ] && printf '%s\n' "$2" > $f.new && mv -f $f.new $f"#;
        let command = Command::new(["sh", "-c", script, "sh", old.trim_end(), new.trim_end()]);
        self.attach(name, &command)?.collect(Instant::now() + Duration::from_secs(10))?;
        write_file(&folder, SERVERS, new.as_bytes(), 0o600)
    }

    fn write_config(&self, name: &ContainerName, record: &Record) -> Result<()> {
        let (folder, network) = (self.folder(name), &self.settings.network);
        let memory = record.limits.memory_or_default();
        let config = config::render(name.as_str(), &folder, record, network, Cgroup::of_host(), memory);
        write_file(&folder, "net-up", network::up_script(network, record.address)?.as_bytes(), 0o700)?;
        write_file(&folder, "config", config.as_bytes(), 0o600)
    }

    /// Starts all containers that are to start with the machine, and reports those that could not.
    ///
    /// # Errors
    /// Those of [`Host::names`].
    pub fn autostart(&self) -> Result<Vec<(ContainerName, Error)>> {
        let wanted = |name: &ContainerName| self.record(name).is_ok_and(|record| record.limits.autostart);
        let start = |name: ContainerName| self.start(&name).err().map(|error| (name, error));
        Ok(self.names()?.into_iter().filter(wanted).filter_map(start).collect())
    }

    /// Stops a container: asks its init first, and kills what is left after `patience`.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::HalfMade`], [`Error::Lxc`].
    pub fn stop(&self, name: &ContainerName, patience: Duration) -> Result<()> {
        let _lock = self.lock_container(name)?;
        self.record(name)?;
        self.stop_locked(name, patience)
    }

    fn stop_locked(&self, name: &ContainerName, patience: Duration) -> Result<()> {
        self.clear_log(name);
        let liblxc = Liblxc::enter();
        let Some(handle) = Handle::open(&liblxc, name.as_str(), &self.lxc_path()) else {
            return Err(self.lxc_error("open", name));
        };
        if state(&handle) == State::Stopped {
            return Ok(());
        }
        let seconds = patience.as_secs().min(3600) as i32;
        let clean = seconds > 0 && handle.shutdown(seconds);
        if clean || handle.stop() || state(&handle) == State::Stopped {
            return Ok(());
        }
        Err(self.lxc_error("stop", name))
    }

    /// Kills a container's processes and removes it, also a half-made one.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Lxc`], [`Error::Program`], [`Error::Io`], [`Error::Cancelled`]. What is left then is a half-made container.
    pub fn destroy(&self, name: &ContainerName, watch: &mut dyn Watch) -> Result<()> {
        let _lock = self.lock_container(name)?;
        match self.record(name) {
            Ok(record) => {
                self.stop_locked(name, Duration::ZERO)?;
                Record { complete: false, ..record }.write(&self.folder(name))?;
            }
            Err(Error::HalfMade(_)) => {}
            Err(error) => return Err(error),
        }
        self.remove(name, watch)
    }

    /// Removes the folder of a container that does not run, then what else it had.
    fn remove(&self, name: &ContainerName, watch: &mut dyn Watch) -> Result<()> {
        let folder = self.folder(name);
        let record = Record::read(&folder)?;
        // The record goes last: until then a further attempt knows the ids.
        let root = folder.join("rootfs");
        let mut rm = run::bound("rm", "coreutils")?;
        run::watched(rm.args(["--recursive", "--force", "--one-file-system", "--"]).arg(root), watch)?;
        if let Some(record) = record {
            let _lock = self.lock_host()?;
            network::forget(&self.settings.network, record.address);
            ids::revoke(record.first_id)?;
        }
        fs::remove_dir_all(&folder).map_err(Error::io("remove", &folder))
    }

    /// Sets other limits, now where the container runs, and for later starts.
    ///
    /// # Errors
    /// [`Error::Value`], [`Error::NotFound`], [`Error::HalfMade`]; [`Error::Lxc`] where they are kept for later starts but
    /// could not be set now, as where the container uses more memory.
    pub fn set_limits(&self, name: &ContainerName, limits: &Limits) -> Result<()> {
        limits.check()?;
        let _lock = self.lock_container(name)?;
        let record = Record { limits: limits.clone(), ..self.record(name)? };
        record.write(&self.folder(name))?;
        self.clear_log(name);
        let liblxc = Liblxc::enter();
        let Some(handle) = Handle::open(&liblxc, name.as_str(), &self.lxc_path()) else { return Ok(()) };
        if handle.init_pid().is_none() {
            return Ok(());
        }
        let values = Cgroup::of_host().limits(limits, limits.memory_or_default());
        if values.iter().all(|(key, value)| handle.set_cgroup(key, value)) {
            return Ok(());
        }
        Err(self.lxc_error("limit", name))
    }

    /// A container as it is now.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Lxc`].
    pub fn info(&self, name: &ContainerName) -> Result<Info> {
        let found = Record::read(&self.folder(name))?;
        let record = found.ok_or_else(|| Error::NotFound(name.to_string()))?;
        let (state, init) = match record.complete {
            false => (State::HalfMade, None),
            true => {
                self.clear_log(name);
                let liblxc = Liblxc::enter();
                let handle = Handle::open(&liblxc, name.as_str(), &self.lxc_path());
                let handle = handle.ok_or_else(|| self.lxc_error("open", name))?;
                (state(&handle), handle.init_pid())
            }
        };
        Ok(Info {
            name: name.clone(),
            state,
            address: record.address,
            release: record.release,
            arch: record.arch,
            limits: record.limits,
            first_id: record.first_id,
            running_since: init.and_then(|pid| fs::metadata(format!("/proc/{pid}")).ok()?.modified().ok()),
        })
    }

    /// Waits until the container's init system has brought it up: systemd says `running`, or `degraded` as
    /// where a unit failed, or has reached its basic target but still works on something after half of the time. With
    /// another init system it waits for nothing.
    ///
    /// # Errors
    /// [`Error::NotReady`] with the end of the console's log, [`Error::NotRunning`], [`Error::Lxc`], [`Error::Cancelled`].
    pub fn wait_ready(&self, name: &ContainerName, patience: Duration, watch: &mut dyn Watch) -> Result<()> {
        let (begin, mut said) = (Instant::now(), String::from("nothing"));
        let ask = |arguments: &[&str]| {
            let command = Command::new(["systemctl"].iter().chain(arguments).copied());
            let answer = self.attach(name, &command)?.collect(begin + patience)?;
            Ok(answer.map(|(code, said)| (code, String::from_utf8_lossy(&said).trim().to_string())))
        };
        while begin.elapsed() < patience {
            if !watch.goes_on() {
                return Err(Error::Cancelled);
            }
            match ask(&["is-system-running"])? {
                Some((126 | 127, _)) => return Ok(()),
                Some((_, state)) if state == "running" || state == "degraded" => return Ok(()),
                Some((_, state)) => said = state,
                None => break,
            }
            let late = begin.elapsed() > patience / 2;
            if late && ask(&["is-active", "basic.target"])?.is_some_and(|(code, _)| code == 0) {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        let log = fs::File::open(self.folder(name).join("console.log")).and_then(|mut file| run::tail(&mut file));
        let console = run::last_lines(&log.unwrap_or_default(), 10);
        Err(Error::NotReady { name: name.to_string(), state: said, after: patience, console })
    }

    /// The record of a container that is whole.
    pub(crate) fn record(&self, name: &ContainerName) -> Result<Record> {
        let folder = self.folder(name);
        match Record::read(&folder)? {
            Some(record) if record.complete => Ok(record),
            Some(_) => Err(Error::HalfMade(name.to_string())),
            // Cut short between the folder and the record.
            None if folder.exists() => Err(Error::HalfMade(name.to_string())),
            None => Err(Error::NotFound(name.to_string())),
        }
    }

    /// Has liblxc's log, which the container's config names, start anew, so that what is in it belongs to this call.
    pub(crate) fn clear_log(&self, name: &ContainerName) {
        let _ = fs::remove_file(self.folder(name).join(config::LOG));
    }

    /// An error with the reason from the log.
    pub(crate) fn lxc_error(&self, operation: &'static str, name: &ContainerName) -> Error {
        let log = fs::read(self.folder(name).join(config::LOG)).unwrap_or_default();
        let text = String::from_utf8_lossy(&log);
        // `lxc NAME DATE ERROR    FILE - FILE:FUNCTION:LINE - REASON`, where only the end is for people.
        let errors = text.lines().filter(|line| line.contains(" ERROR "));
        let reasons: Vec<&str> = errors.map(|line| line.rsplit(" - ").next().unwrap_or(line)).collect();
        Error::Lxc { operation, name: name.to_string(), reason: run::last_lines(reasons.join("\n").as_bytes(), 4) }
    }
}

/// The name servers that a container was given last, in its folder.
const SERVERS: &str = "resolv.conf";

/// What fails in every container with ids of its own, and so would mark its system as degraded.
const USELESS_UNITS: [&str; 2] = ["sys-kernel-debug.mount", "systemd-modules-load.service"];

/// Fails where something that every container needs is not installed.
fn needed() -> Result<()> {
    let missing = [config::COMMON, config::USERNS].into_iter().find(|file| !Path::new(file).exists());
    match missing {
        Some(file) => Err(Error::Missing { what: file.into(), package: "lxc" }),
        None => Ok(()),
    }
}

fn state(handle: &Handle<'_>) -> State {
    match handle.state().map(|state| state.to_bytes()) {
        Some(b"STARTING") => State::Starting,
        Some(b"RUNNING") => State::Running,
        Some(b"STOPPING" | b"ABORTING") => State::Stopping,
        Some(b"FREEZING" | b"FROZEN" | b"THAWED") => State::Frozen,
        _ => State::Stopped,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_that_can_not_work_are_refused() {
        let refused = |limits: Limits| limits.check().is_err();
        assert!(refused(Limits { memory: Some(1 << 20), ..Limits::default() }));
        assert!(refused(Limits { processes: Some(15), ..Limits::default() }));
        assert!(refused(Limits { millicpus: Some(0), ..Limits::default() }));
        assert!(!refused(Limits { memory: Some(1 << 30), processes: Some(16), millicpus: Some(500), autostart: true }));
        assert!(Limits::default().memory_or_default() >= Limits::LEAST_MEMORY);
    }
}
