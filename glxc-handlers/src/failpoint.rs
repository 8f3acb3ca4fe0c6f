//! Points in the life of a push or a pull at which a test lets something die.
//!
//! Without the feature `failpoints` a point is nothing. With it, a program names a folder once (`arm`); while that folder
//! exists, each point that is passed is a line of its file `hits`, durable before what follows. The file `armed` has
//! lines `NUMBER ACTION`: whoever makes the hit of the first line's number takes that line out and acts:
//!
//! - `kill`: this process dies at once;
//! - `fail`: what follows the point fails as on a full disk;
//! - `cut`: the parent process, which speaks with the other side, is killed;
//! - `wait`: nothing happens until the file `armed` is gone;
//! - `run SCRIPT`: a shell runs the script, to its end.

/// All points, by name.
pub const POINTS: &[&str] = &[
    "check",
    "checked",
    "begin",
    "journal",
    "journaled",
    "sysconf",
    "sysconf applied",
    "sysconf undo",
    "sysconf undone",
    "stage",
    "staged",
    "lock",
    "locked",
    "prepare",
    "prepared",
    "decide",
    "commit",
    "committed",
    "refs",
    "refs moved",
    "ready",
    "clear",
    "cleared",
    "journal cleared",
    "recover",
    "recovered",
    "export",
    "exported",
    "export commit",
    "export agreed",
    "remembered",
    "postgresql staged",
    "postgresql locked",
    "postgresql written",
    "postgresql created",
    "postgresql loaded",
    "postgresql renamed",
    "mysql staged",
    "mysql locked",
    "mysql written",
    "mysql committed",
    "mysql created",
    "mysql loaded",
    "mysql marked",
    "mysql dropped",
    "mysql moved",
    "mysql made",
    "mongodb tried",
    "mongodb staged",
    "mongodb compared",
    "mongodb moved",
    "mongodb written",
    "mongodb indexed",
    "mongodb away",
    "mongodb dropped",
    "mongodb applied",
    "files prepare",
    "files swap",
    "files swapped",
];

#[cfg(feature = "failpoints")]
mod armed {
    use std::fs::{self, File, OpenOptions};
    use std::io::{Error, Result, Write};
    use std::path::{Path, PathBuf};
    use std::process::Command;
    use std::sync::OnceLock;
    use std::time::Duration;

    use rustix::process::{Signal, getpid, getppid, kill_process};

    static FOLDER: OnceLock<PathBuf> = OnceLock::new();

    /// Names the folder, once.
    pub fn arm(folder: &Path) {
        let _ = FOLDER.set(folder.to_owned());
    }

    /// Comes by a point.
    ///
    /// # Errors
    /// What was armed for this hit.
    ///
    /// # Panics
    /// Where the point is not one of [`super::POINTS`].
    pub fn at(point: &'static str) -> Result<()> {
        assert!(super::POINTS.contains(&point), "{point} is no failpoint");
        let Some(folder) = FOLDER.get().filter(|folder| folder.is_dir()) else { return Ok(()) };
        // On a full disk there is nothing to count.
        let Ok(number) = count(&folder.join("hits"), point) else { return Ok(()) };
        let path = folder.join("armed");
        let Ok(text) = fs::read_to_string(&path) else { return Ok(()) };
        let (line, rest) = text.split_once('\n').unwrap_or((&text, ""));
        let Some(action) = line.strip_prefix(&format!("{number} ")) else { return Ok(()) };
        if action != "wait" {
            let written = File::create(&path).and_then(|mut file| {
                file.write_all(rest.as_bytes())?;
                file.sync_all()
            });
            written?;
        }
        act(action, &path)
    }

    fn count(hits: &Path, point: &str) -> Result<usize> {
        let mut file = OpenOptions::new().append(true).create(true).open(hits)?;
        file.write_all(format!("{point}\n").as_bytes())?;
        file.sync_data()?;
        Ok(fs::read_to_string(hits)?.lines().count())
    }

    fn act(action: &str, armed: &Path) -> Result<()> {
        match action.split_once(' ') {
            Some(("run", script)) => {
                Command::new("/bin/sh").args(["-c", script]).status()?;
            }
            _ if action == "kill" => kill_process(getpid(), Signal::KILL)?,
            _ if action == "cut" => getppid().map_or(Ok(()), |parent| kill_process(parent, Signal::KILL))?,
            _ if action == "wait" => {
                while armed.exists() {
                    std::thread::sleep(Duration::from_millis(10));
                }
            }
            _ => return Err(Error::from(rustix::io::Errno::NOSPC)),
        }
        Ok(())
    }
}

#[cfg(feature = "failpoints")]
pub use armed::{arm, at};

/// Comes by a point.
///
/// # Errors
/// What a test armed; without the feature `failpoints` none.
#[cfg(not(feature = "failpoints"))]
#[inline(always)]
pub fn at(_point: &'static str) -> std::io::Result<()> {
    Ok(())
}

/// Comes by a point of a handler.
#[cfg(any(feature = "files", feature = "mongodb", feature = "mysql", feature = "postgresql"))]
pub(crate) fn point(name: &'static str) -> crate::Result<()> {
    at(name).map_err(crate::Error::io("pass", name))
}
