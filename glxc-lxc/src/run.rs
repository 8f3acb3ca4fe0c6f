//! Programs of the host, by absolute path and with an environment of ours.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::time::Duration;

use crate::{Error, Result};

/// Is told how far a long call has come, and may stop it.
pub trait Watch {
    /// A task begins, as `installing debian bookworm`.
    fn note(&mut self, text: &str);

    /// Asked several times a second while a program runs; `false` stops it.
    fn goes_on(&mut self) -> bool;
}

/// Tells nobody and never stops.
#[derive(Clone, Copy, Debug, Default)]
pub struct Unwatched;

impl Watch for Unwatched {
    fn note(&mut self, _: &str) {}

    fn goes_on(&mut self) -> bool {
        true
    }
}

/// Where programs of the host are looked for, whatever `PATH` says.
const FOLDERS: [&str; 4] = ["/usr/sbin", "/usr/bin", "/sbin", "/bin"];

/// The absolute path of a program, if it is installed.
pub(crate) fn find(program: &str) -> Option<PathBuf> {
    FOLDERS.iter().map(|folder| Path::new(folder).join(program)).find(|path| path.is_file())
}

/// A program that the Debian package `package` has, with nothing but a fixed environment.
pub(crate) fn program(program: &str, package: &'static str) -> Result<Command> {
    let path = find(program).ok_or_else(|| Error::Missing { what: program.into(), package })?;
    let mut command = Command::new(path);
    command.env_clear().env("PATH", FOLDERS.join(":")).env("LC_ALL", "C.UTF-8").env("HOME", "/");
    command.current_dir("/").stdin(Stdio::null());
    Ok(command)
}

/// Like [`program`], for one that is killed where this process dies: nobody else may still work on a container
/// when its lock is free.
pub(crate) fn bound(name: &str, package: &'static str) -> Result<Command> {
    let path = find(name).ok_or_else(|| Error::Missing { what: name.into(), package })?;
    let mut command = program("setpriv", "util-linux")?;
    command.args(["--pdeathsig", "KILL"]).arg(path);
    Ok(command)
}

/// Runs a short command and gives its stdout.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    let output = command.output().map_err(Error::io("run", command.get_program()))?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    if output.status.success() { Ok(text) } else { Err(failed(command, output.status, &output.stderr)) }
}

/// Runs a long command. What it says is kept in memory, since the disk may be what is full.
pub(crate) fn watched(command: &mut Command, watch: &mut dyn Watch) -> Result<()> {
    let memory = rustix::fs::memfd_create("glxc", rustix::fs::MemfdFlags::CLOEXEC);
    let mut said = File::from(memory.map_err(Error::io("create", "a file in memory"))?);
    let both = || said.try_clone().map(Stdio::from).map_err(Error::io("open", "a file in memory"));
    command.stdout(both()?).stderr(both()?);
    let mut child = command.spawn().map_err(Error::io("run", command.get_program()))?;
    let status = loop {
        if let Some(status) = child.try_wait().map_err(Error::io("wait for", command.get_program()))? {
            break status;
        }
        if !watch.goes_on() {
            let _ =
                rustix::process::kill_process(rustix::process::Pid::from_child(&child), rustix::process::Signal::TERM);
            let _ = child.wait();
            return Err(Error::Cancelled);
        }
        std::thread::sleep(Duration::from_millis(20));
    };
    if status.success() {
        return Ok(());
    }
    Err(failed(command, status, &tail(&mut said).map_err(Error::io("read", "a file in memory"))?))
}

/// The last 16 KiB of a file.
pub(crate) fn tail(file: &mut File) -> std::io::Result<Vec<u8>> {
    let length = file.seek(SeekFrom::End(0))?;
    file.seek(SeekFrom::Start(length.saturating_sub(16 << 10)))?;
    let mut bytes = Vec::new();
    file.take(16 << 10).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// The last lines of a text, at most `count`, without empty ones.
pub(crate) fn last_lines(text: &[u8], count: usize) -> Vec<String> {
    let text = String::from_utf8_lossy(text);
    let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    lines[lines.len().saturating_sub(count)..].iter().map(|line| line.to_string()).collect()
}

fn failed(command: &Command, status: ExitStatus, said: &[u8]) -> Error {
    // Behind `setpriv` or `sh` stands the program that matters, by its path.
    let is_program = |path: &Path| path.parent().is_some_and(|folder| FOLDERS.iter().any(|f| folder == Path::new(f)));
    let behind = command.get_args().map(Path::new).find(|path| is_program(path));
    let path = behind.unwrap_or(Path::new(command.get_program()));
    let output = last_lines(said, 6);
    if output.iter().any(|line| line.contains("No space left on device")) {
        let folder = command.get_args().filter(|argument| argument.as_encoded_bytes().starts_with(b"/")).last();
        return Error::DiskFull(folder.unwrap_or_default().into());
    }
    Error::Program { program: path.file_name().unwrap_or_default().to_string_lossy().into_owned(), status, output }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reason_of_a_failure_is_kept() {
        let mut shell = program("sh", "dash").unwrap();
        let error = output(shell.args(["-c", "echo; echo no such thing >&2; exit 3"])).unwrap_err();
        assert_eq!(error.to_string(), "sh failed (exit status: 3): no such thing");
        assert!(matches!(program("no-such-program", "x"), Err(Error::Missing { package: "x", .. })));
    }

    #[test]
    fn a_bound_program_goes_by_its_own_name() {
        let error = watched(bound("cat", "coreutils").unwrap().arg("/no/such/file"), &mut Unwatched).unwrap_err();
        assert!(error.to_string().starts_with("cat failed (exit status: 1): "), "{error}");
    }

    #[test]
    fn a_watcher_can_stop_a_program() {
        struct Never;
        impl Watch for Never {
            fn note(&mut self, _: &str) {}
            fn goes_on(&mut self) -> bool {
                false
            }
        }
        let mut sleep = program("sleep", "coreutils").unwrap();
        assert!(matches!(watched(sleep.arg("60"), &mut Never), Err(Error::Cancelled)));
    }

    #[test]
    fn a_full_disk_is_told_apart() {
        let mut shell = program("sh", "dash").unwrap();
        shell.args(["-c", "cat /etc/passwd > /dev/full", "/dev/full"]);
        let error = watched(&mut shell, &mut Unwatched).unwrap_err();
        assert!(matches!(error, Error::DiskFull(path) if path == Path::new("/dev/full")));
    }
}
