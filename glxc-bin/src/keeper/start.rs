//! How the keeper closes itself off from whoever started it.

use std::ffi::OsStr;
use std::fs::File;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::Command;

use rustix::fs::{MemfdFlags, Mode, SealFlags, fcntl_add_seals, fcntl_get_seals, memfd_create};

use crate::keeper::owners::Caller;
use crate::keeper::{Failure, failure};

/// How the program is called once it runs from its sealed copy.
const SEALED_NAME: &str = "glxc-keeper (sealed)";

/// The one variable that is kept: who called sudo.
const SUDO_UID: &str = "SUDO_UID";

/// Goes on only with an environment of nothing but the caller's id, no descriptor but stdin, stdout and stderr, `/`
/// as the folder, umask 077, and the program itself in a copy in memory that nobody can write to. Tells who called.
pub(crate) fn harden() -> Result<Caller, Failure> {
    if !rustix::process::geteuid().is_root() {
        return Err(failure::invalid("it must run as root"));
    }
    if std::env::args_os().next().as_deref() != Some(OsStr::new(SEALED_NAME)) {
        return Err(start_sealed());
    }
    if !is_sealed() || std::env::vars_os().any(|(name, _)| name != SUDO_UID) {
        return Err(failure::invalid("it can not be started under this name"));
    }
    rustix::process::umask(Mode::from_raw_mode(0o077));
    std::env::set_current_dir("/").map_err(failure::io("enter /"))?;
    Caller::new(std::env::var_os(SUDO_UID).as_deref())
}

/// Starts the program anew; returns only where that failed.
fn start_sealed() -> Failure {
    let program = match sealed_copy() {
        Ok(program) => program,
        Err(failure) => return failure,
    };
    if let Err(error) = glxc_lxc::close_on_exec() {
        return failure::io("close descriptors")(error);
    }
    let mut command = Command::new(format!("/proc/self/fd/{}", program.as_raw_fd()));
    command.arg0(SEALED_NAME).args(std::env::args_os().skip(1)).env_clear();
    command.envs(std::env::var_os(SUDO_UID).map(|uid| (SUDO_UID, uid)));
    failure::io("start the sealed copy")(command.exec())
}

fn sealed_copy() -> Result<OwnedFd, Failure> {
    let flags = MemfdFlags::ALLOW_SEALING | MemfdFlags::CLOEXEC;
    // Kernels before 6.3 do not know EXEC, and need it not.
    let memory = memfd_create(SEALED_NAME, flags | MemfdFlags::EXEC).or_else(|_| memfd_create(SEALED_NAME, flags));
    let mut memory = File::from(memory.map_err(failure::io("create a file in memory"))?);
    let mut program = File::open("/proc/self/exe").map_err(failure::io("open the program"))?;
    std::io::copy(&mut program, &mut memory).map_err(failure::io("copy the program"))?;
    let seals = SealFlags::SEAL | SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE;
    fcntl_add_seals(&memory, seals).map_err(failure::io("seal the copy"))?;
    Ok(memory.into())
}

fn is_sealed() -> bool {
    let seals = File::open("/proc/self/exe").ok().and_then(|program| fcntl_get_seals(program).ok());
    seals.is_some_and(|seals| seals.contains(SealFlags::WRITE | SealFlags::SEAL))
}
