//! Ranges of user and group ids, one for each container.

use std::fs;
use std::io::{ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::record::write_file;
use crate::{Error, Result};

/// How many ids a container has.
pub(crate) const COUNT: u32 = 65_536;

/// Where the search begins: below it lie the ranges of most systems' users.
pub(crate) const FIRST: u32 = 1_000_000;

/// A range of ids: the first, and how many.
type Range = (u32, u32);

/// The ranges that `/etc/subuid` or `/etc/subgid` (the text of it) give to anybody. Lines that can not be read
/// are passed over, as `newuidmap` does.
fn granted(text: &str) -> Vec<Range> {
    let range = |line: &str| {
        let mut fields = line.split(':').skip(1).map(|field| field.trim().parse::<u32>().ok());
        Some((fields.next()??, fields.next()??))
    };
    text.lines().filter_map(range).collect()
}

/// The host ids in the `lxc.idmap` lines of a container's config.
fn mapped(config: &str) -> Vec<Range> {
    let range = |line: &str| {
        let value = line.trim().strip_prefix("lxc.idmap")?.trim_start().strip_prefix('=')?;
        let mut fields = value.split_whitespace().skip(2).map(|field| field.parse::<u32>().ok());
        Some((fields.next()??, fields.next()??))
    };
    config.lines().filter_map(range).collect()
}

/// All ranges of this host that are somebody's: users' and those of containers beneath `lxc_paths`.
pub(crate) fn taken(lxc_paths: &[&Path]) -> Vec<Range> {
    let text = |path: &Path| fs::read_to_string(path).unwrap_or_default();
    let mut all = granted(&text(Path::new("/etc/subuid")));
    all.extend(granted(&text(Path::new("/etc/subgid"))));
    for folder in lxc_paths.iter().filter_map(|path| fs::read_dir(path).ok()).flatten().flatten() {
        all.extend(mapped(&text(&folder.path().join("config"))));
    }
    all
}

/// The first range of [`COUNT`] ids from [`FIRST`] on that overlaps none.
///
/// # Errors
/// [`Error::NoIds`].
pub(crate) fn choose(taken: &[Range]) -> Result<u32> {
    let mut taken: Vec<(u64, u64)> = taken.iter().map(|(at, count)| (*at as u64, *at as u64 + *count as u64)).collect();
    taken.sort_unstable();
    let mut first = FIRST as u64;
    for (start, end) in taken {
        if start < first + COUNT as u64 {
            first = first.max(end);
        }
    }
    // The last id of all is no id but "unchanged".
    let fits = first + (COUNT as u64) < u32::MAX as u64;
    if fits { Ok(first as u32) } else { Err(Error::NoIds { first: FIRST }) }
}

/// Records a range as root's in `/etc/subuid` and `/etc/subgid`: `newuidmap` demands it where it is installed,
/// and `useradd` will give it to nobody else.
pub(crate) fn grant(first: u32) -> Result<()> {
    FILES.into_iter().try_for_each(|name| edit(Path::new("/etc"), name, |text| with(text, first)))
}

/// Takes back what [`grant`] recorded.
pub(crate) fn revoke(first: u32) -> Result<()> {
    FILES.into_iter().try_for_each(|name| edit(Path::new("/etc"), name, |text| without(text, first)))
}

const FILES: [&str; 2] = ["subuid", "subgid"];

fn without(text: &str, first: u32) -> String {
    let line = format!("root:{first}:{COUNT}");
    text.lines().filter(|found| *found != line).map(|line| format!("{line}\n")).collect()
}

fn with(text: &str, first: u32) -> String {
    without(text, first) + &format!("root:{first}:{COUNT}\n")
}

/// Changes a file under the lock that `useradd` and `usermod` take: a file beside it with the holder's process id.
/// (`usermod` itself refuses to take a range from a user who has processes.)
fn edit(folder: &Path, name: &str, change: impl Fn(&str) -> String) -> Result<()> {
    let path = folder.join(name);
    let _lock = EtcLock::take(folder.join(format!("{name}.lock")))?;
    let text = match fs::read_to_string(&path) {
        Err(error) if error.kind() == ErrorKind::NotFound => String::new(),
        read => read.map_err(Error::io("read", &path))?,
    };
    let changed = change(&text);
    if changed == text { Ok(()) } else { write_file(folder, name, changed.as_bytes(), 0o644) }
}

struct EtcLock(PathBuf);

impl EtcLock {
    const PATIENCE: Duration = Duration::from_secs(15);

    fn take(path: PathBuf) -> Result<Self> {
        let until = Instant::now() + Self::PATIENCE;
        loop {
            match fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path) {
                Ok(mut file) => {
                    let lock = EtcLock(path);
                    let written = file.write_all(std::process::id().to_string().as_bytes());
                    return written.map_err(Error::io("write", &lock.0)).map(|()| lock);
                }
                Err(error) if error.kind() != ErrorKind::AlreadyExists => {
                    return Err(Error::io("create", &path)(error));
                }
                Err(_) if Instant::now() >= until => {
                    return Err(Error::Busy { what: path.display().to_string(), after: Self::PATIENCE });
                }
                Err(_) => remove_stale(&path),
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for EtcLock {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

/// Removes a lock whose holder is dead, as the programs of shadow do.
fn remove_stale(lock: &Path) {
    let holder = fs::read_to_string(lock).ok().and_then(|text| text.trim_matches(['\0', '\n']).parse::<u32>().ok());
    if holder.is_some_and(|holder| !Path::new("/proc").join(holder.to_string()).exists()) {
        let _ = fs::remove_file(lock);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn files_of_the_system_are_read() {
        assert_eq!(
            granted("root:1000000:65536\nann:100000:65536\n\nbroken\nx:y:z\n"),
            [(1_000_000, 65_536), (100_000, 65_536)]
        );
        let config =
            "lxc.include = /x\nlxc.idmap = u 0 2000000 65536\n lxc.idmap=g 0 3000000 10\n#lxc.idmap = u 0 1 1\n";
        assert_eq!(mapped(config), [(2_000_000, 65_536), (3_000_000, 10)]);
    }

    #[test]
    fn the_end_of_all_ids_is_an_error() {
        assert!(matches!(choose(&[(FIRST, u32::MAX - FIRST)]), Err(Error::NoIds { .. })));
        assert_eq!(choose(&[]).unwrap(), FIRST);
    }

    #[test]
    fn a_range_is_recorded_once_and_taken_back() {
        let folder = tempfile::tempdir().unwrap();
        let text = || fs::read_to_string(folder.path().join("subuid")).unwrap();
        fs::write(folder.path().join("subuid"), "ann:100000:65536").unwrap();
        // A lock that a dead process left.
        fs::write(folder.path().join("subuid.lock"), "4194305").unwrap();
        for _ in 0..2 {
            edit(folder.path(), "subuid", |text| with(text, FIRST)).unwrap();
        }
        assert_eq!(text(), "ann:100000:65536\nroot:1000000:65536\n");
        edit(folder.path(), "subuid", |text| without(text, FIRST)).unwrap();
        assert_eq!(text(), "ann:100000:65536\n");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "no lock is left");
    }

    proptest! {
        #[test]
        fn a_chosen_range_overlaps_none(taken in prop::collection::vec((900_000u32..3_000_000, 0u32..200_000), 0..20)) {
            let first = choose(&taken).unwrap();
            prop_assert!(first >= FIRST);
            for (start, count) in taken.into_iter().filter(|(_, count)| *count > 0) {
                prop_assert!(start + count <= first || start >= first + COUNT, "{start}+{count} and {first}");
            }
        }
    }
}
