//! One operation at a time on a state repository.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::{Duration, Instant};

use glxc_handlers::{Cancel, Progress};
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use crate::{Error, Result};

/// Holds the lock until it is dropped or its process ends, however it ends.
#[derive(Debug)]
pub(crate) struct Lock {
    _file: File,
}

impl Lock {
    /// Waits for the lock, telling for whom, until `deadline`.
    pub(crate) fn acquire(
        path: &Path, purpose: &str, deadline: Instant, cancel: &Cancel, progress: &dyn Progress,
    ) -> Result<Self> {
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(path)
            .map_err(Error::io("open", path))?;
        let mut told = false;
        while let Err(errno) = flock(&file, FlockOperation::NonBlockingLockExclusive) {
            if errno != Errno::WOULDBLOCK {
                return Err(Error::io("lock", path)(errno.into()));
            }
            let holder = holder(&mut file);
            if cancel.is_cancelled() {
                return Err(Error::Cancelled);
            }
            if Instant::now() >= deadline {
                return Err(Error::Locked { holder });
            }
            if !told {
                progress.note(&format!("waiting for {holder}"));
                told = true;
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        file.set_len(0)
            .and_then(|()| file.seek(SeekFrom::Start(0)))
            .and_then(|_| write!(file, "{purpose} (process {})", std::process::id()))
            .map_err(Error::io("write", path))?;
        Ok(Lock { _file: file })
    }
}

fn holder(file: &mut File) -> String {
    let mut text = String::new();
    let _ = file.seek(SeekFrom::Start(0)).and_then(|_| file.take(200).read_to_string(&mut text));
    if text.is_empty() { "another operation".into() } else { glxc_handlers::text::escaped(&text) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use glxc_handlers::Silent;

    #[test]
    fn who_waits_is_told_for_whom() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lock");
        let acquire = |purpose| Lock::acquire(&path, purpose, Instant::now(), &Cancel::new(), &Silent);
        let held = acquire("a pull").unwrap();
        let refused = acquire("a push").unwrap_err().to_string();
        assert!(refused.contains("a pull (process "), "{refused}");
        drop(held);
        acquire("a push").unwrap();
    }
}
