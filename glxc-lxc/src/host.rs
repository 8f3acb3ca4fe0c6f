//! Where containers live on this machine.

use std::collections::BTreeSet;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::net::Ipv4Addr;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, flock};

use crate::record::Record;
use crate::{ContainerName, Error, Result, Unwatched, Watch, network};

/// The network that containers stand on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Network {
    /// The name of the bridge; it is made where it is not there.
    pub bridge: String,
    /// The first address of a private network of 256, which must be in use nowhere else on the host.
    pub subnet: Ipv4Addr,
}

impl Default for Network {
    /// `glxcbr0`, 10.77.3.0/24.
    fn default() -> Self {
        Network { bridge: "glxcbr0".into(), subnet: Ipv4Addr::new(10, 77, 3, 0) }
    }
}

/// The settings of a [`Host`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The folder of everything: `containers`, `cache` (the tarballs of roots), `locks` and `scratch`.
    pub root: PathBuf,
    /// The network.
    pub network: Network,
}

impl Default for Settings {
    /// `/var/lib/glxc-keeper`; so the roots are in `/var/lib/glxc-keeper/cache`.
    fn default() -> Self {
        Settings { root: "/var/lib/glxc-keeper".into(), network: Network::default() }
    }
}

/// The machine that containers live on. See the crate page for what it does with them.
#[derive(Debug)]
pub struct Host {
    pub(crate) settings: Settings,
    /// How long to wait for somebody else who works on the same container.
    pub(crate) patience: Duration,
}

impl Host {
    /// Takes the settings and makes the folders where they are missing.
    ///
    /// Containers run under other ids, so the folders on the way to theirs can be passed by all (0711); a
    /// container's own folder, the cache, locks and scratch are root's (0700).
    ///
    /// # Errors
    /// [`Error::Value`] where a setting is not allowed, [`Error::Io`].
    pub fn new(settings: Settings) -> Result<Self> {
        network::check(&settings.network)?;
        let path = settings.root.as_os_str().to_str().filter(|path| path.starts_with('/'));
        let plain = |b: u8| b.is_ascii_alphanumeric() || b"/._-".contains(&b);
        if !path.is_some_and(|path| path.bytes().all(plain)) {
            let reason = "use an absolute path of letters, digits, `.`, `_` and `-`";
            let value = settings.root.display().to_string();
            return Err(Error::Value { field: "root", value, reason });
        }
        let host = Host { settings, patience: Duration::from_secs(30) };
        folder(&host.settings.root, 0o711)?;
        folder(&host.lxc_path(), 0o711)?;
        for private in ["cache", "locks", "scratch"] {
            folder(&host.settings.root.join(private), 0o700)?;
        }
        Ok(host)
    }

    /// The settings.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// A folder of root's (0700) for temporary files of whoever uses this host.
    pub fn scratch(&self) -> PathBuf {
        self.settings.root.join("scratch")
    }

    pub(crate) fn lxc_path(&self) -> PathBuf {
        self.settings.root.join("containers")
    }

    pub(crate) fn cache(&self) -> PathBuf {
        self.settings.root.join("cache")
    }

    pub(crate) fn folder(&self, name: &ContainerName) -> PathBuf {
        self.lxc_path().join(name.as_str())
    }

    /// The names of all containers, also of half-made ones, in order.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn names(&self) -> Result<Vec<ContainerName>> {
        let path = self.lxc_path();
        let folders = fs::read_dir(&path).map_err(Error::io("list", &path))?;
        let names =
            folders.flatten().filter_map(|folder| ContainerName::new(folder.file_name().into_string().ok()?).ok());
        let mut names: Vec<ContainerName> = names.collect();
        names.sort();
        Ok(names)
    }

    /// The addresses of all containers.
    pub(crate) fn addresses(&self) -> Result<BTreeSet<Ipv4Addr>> {
        let records = self.names()?.into_iter().filter_map(|name| Record::read(&self.folder(&name)).transpose());
        records.map(|record| record.map(|record| record.address)).collect()
    }

    /// Locks a container against every other process that works on it. Calls that change one do so themselves; a
    /// caller who combines several holds none.
    pub(crate) fn lock_container(&self, name: &ContainerName) -> Result<Lock> {
        self.lock(&format!("container-{name}"), &format!("the container {name}"), self.patience, &mut Unwatched)
    }

    /// Locks what containers share: ids, addresses, the bridge.
    pub(crate) fn lock_host(&self) -> Result<Lock> {
        self.lock("host", "the host's containers", self.patience, &mut Unwatched)
    }

    pub(crate) fn lock(&self, file: &str, what: &str, patience: Duration, watch: &mut dyn Watch) -> Result<Lock> {
        let path = self.settings.root.join("locks").join(file);
        let open = OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(&path);
        let file = open.map_err(Error::io("open", &path))?;
        let until = Instant::now() + patience;
        loop {
            match flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => return Ok(Lock { _file: file }),
                Err(rustix::io::Errno::WOULDBLOCK) if Instant::now() < until => {
                    if !watch.goes_on() {
                        return Err(Error::Cancelled);
                    }
                    std::thread::sleep(Duration::from_millis(20));
                }
                Err(rustix::io::Errno::WOULDBLOCK) => return Err(Error::Busy { what: what.into(), after: patience }),
                Err(error) => return Err(Error::io("lock", &path)(error)),
            }
        }
    }
}

/// Held while something is worked on; ends with the process at the latest.
#[derive(Debug)]
#[must_use]
pub(crate) struct Lock {
    _file: File,
}

/// Makes a folder with a mode where it is not there; one that is there must be root's own.
pub(crate) fn folder(path: &Path, mode: u32) -> Result<()> {
    DirBuilder::new().recursive(true).mode(mode).create(path).map_err(Error::io("create", path))?;
    let found = fs::symlink_metadata(path).map_err(Error::io("look at", path))?;
    let own = std::os::unix::fs::MetadataExt::uid(&found) == rustix::process::geteuid().as_raw();
    if !found.is_dir() || !own {
        let reason = "it must be a folder of this user's own";
        return Err(Error::Value { field: "root", value: path.display().to_string(), reason });
    }
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).map_err(Error::io("set the mode of", path))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(root: &Path) -> Host {
        Host::new(Settings { root: root.to_path_buf(), network: Network::default() }).unwrap()
    }

    #[test]
    fn folders_are_closed() {
        let root = tempfile::tempdir().unwrap();
        let host = host(root.path());
        let mode = |path: PathBuf| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(host.lxc_path()), 0o711);
        assert_eq!((mode(host.cache()), mode(host.scratch())), (0o700, 0o700));
    }

    #[test]
    fn odd_roots_are_refused() {
        for bad in ["relative", "/a b", "/a\nlxc.hook.pre-start = /x"] {
            let settings = Settings { root: bad.into(), network: Network::default() };
            assert!(matches!(Host::new(settings), Err(Error::Value { field: "root", .. })), "{bad:?}");
        }
        let root = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink("/tmp", root.path().join("cache")).unwrap();
        let settings = Settings { root: root.path().into(), network: Network::default() };
        assert!(matches!(Host::new(settings), Err(Error::Value { .. })));
    }

    #[test]
    fn a_lock_is_waited_for_and_ends_with_its_holder() {
        let root = tempfile::tempdir().unwrap();
        let host = host(root.path());
        let lock = host.lock("x", "the thing", Duration::ZERO, &mut Unwatched).unwrap();
        let error = host.lock("x", "the thing", Duration::from_millis(50), &mut Unwatched).unwrap_err();
        assert!(error.to_string().starts_with("somebody else is working on the thing"));
        drop(lock);
        drop(host.lock("x", "the thing", Duration::ZERO, &mut Unwatched).unwrap());
    }
}
