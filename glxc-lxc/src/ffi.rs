//! Every call into liblxc, and what runs between fork and exec. The only unsafe code of GLXC.
//!
//! `unsafe` is needed as liblxc is a C library whose objects are structs full of function pointers. Facts about
//! it are from `lxc/lxccontainer.h` and `lxc/attach_options.h` of 5.0, unless a comment says "observed". The
//! layout that bindgen gave these structs is compared with the installed header by a test below.
#![allow(unsafe_code)]

use std::ffi::{CStr, CString, c_char, c_int, c_long, c_uint, c_void};
use std::os::fd::{AsRawFd, BorrowedFd};
use std::path::Path;
use std::ptr::{self, NonNull};
use std::sync::{Mutex, MutexGuard, PoisonError};

use lxc_sys::{lxc_attach_options_t, lxc_container};
use std::os::unix::ffi::OsStrExt;

/// Not all of liblxc's functions are safe to call from two threads.
static LIBLXC: Mutex<()> = Mutex::new(());

/// Exclusive use of liblxc in this process.
///
/// Its log is set in each container's config: `lxc_log_init` would write to stderr besides a file, whatever
/// its `quiet` says (read in `lxc/log.c`).
pub(crate) struct Liblxc {
    _guard: MutexGuard<'static, ()>,
}

impl Liblxc {
    /// Waits for other users in this process.
    pub(crate) fn enter() -> Self {
        Liblxc { _guard: LIBLXC.lock().unwrap_or_else(PoisonError::into_inner) }
    }
}

/// Marks every descriptor from 3 on to be closed by the next execve of this process (Linux 5.11).
///
/// # Errors
/// The system's error.
pub fn close_on_exec() -> std::io::Result<()> {
    // SAFETY: the call takes no pointer and closes nothing by itself, so no owner of a descriptor loses it.
    let result =
        unsafe { libc::syscall(libc::SYS_close_range, 3 as c_uint, c_uint::MAX, libc::CLOSE_RANGE_CLOEXEC as c_uint) };
    if result == 0 { Ok(()) } else { Err(std::io::Error::last_os_error()) }
}

/// A container object of liblxc.
pub(crate) struct Handle<'l> {
    raw: NonNull<lxc_container>,
    _liblxc: &'l Liblxc,
}

/// Calls a member of the struct that takes the container first: nothing where this liblxc lacks it.
macro_rules! member {
    ($handle:expr, $member:ident $(, $argument:expr)*) => {{
        let raw = $handle.raw.as_ptr();
        // SAFETY: `raw` came from lxc_container_new, is released only in Drop, and its fields are as bindgen read
        // them from the header. The function pointer is checked; pointers among the arguments are argued at the use.
        unsafe { (*raw).$member.map(|function| function(raw $(, $argument)*)) }
    }};
}

impl<'l> Handle<'l> {
    /// The container of that name beneath `lxc_path`, whose `config` is read where it is there.
    pub(crate) fn open(liblxc: &'l Liblxc, name: &str, lxc_path: &Path) -> Option<Self> {
        let name = CString::new(name).ok()?;
        let path = CString::new(lxc_path.as_os_str().as_bytes()).ok()?;
        // SAFETY: both strings outlive the call, which copies them. Null (an error) is turned into `None`.
        let raw = unsafe { lxc_sys::lxc_container_new(name.as_ptr(), path.as_ptr()) };
        Some(Handle { raw: NonNull::new(raw)?, _liblxc: liblxc })
    }

    /// The state, as `RUNNING`.
    pub(crate) fn state(&self) -> Option<&'static CStr> {
        let state: *const c_char = member!(self, state)?;
        // SAFETY: the header: a static string that must not be freed. It is null where the state is not known.
        NonNull::new(state.cast_mut()).map(|state| unsafe { CStr::from_ptr(state.as_ptr()) })
    }

    /// The process id of the container's init, on the host.
    pub(crate) fn init_pid(&self) -> Option<i32> {
        member!(self, init_pid).filter(|pid| *pid > 0)
    }

    /// Starts the container's own init, detached from this process.
    pub(crate) fn start(&self) -> bool {
        // A null argv means the init that the config names.
        member!(self, start, 0, ptr::null()).unwrap_or(false)
    }

    /// Kills all processes of the container.
    pub(crate) fn stop(&self) -> bool {
        member!(self, stop).unwrap_or(false)
    }

    /// Asks the container's init to stop and waits so long.
    pub(crate) fn shutdown(&self, seconds: i32) -> bool {
        member!(self, shutdown, seconds).unwrap_or(false)
    }

    /// Sets a value of the running container's control group.
    pub(crate) fn set_cgroup(&self, key: &str, value: &str) -> bool {
        let (Ok(key), Ok(value)) = (CString::new(key), CString::new(value)) else { return false };
        // Both strings outlive the call, which keeps neither.
        member!(self, set_cgroup_item, key.as_ptr(), value.as_ptr()).unwrap_or(false)
    }

    /// Runs a program in the container with these three descriptors. The process is a child of this one.
    ///
    /// liblxc forks: the memory of this process is there once more until the program is executed, so the
    /// program's text and environment are made before.
    pub(crate) fn attach(&self, program: &Program, stdio: [BorrowedFd<'_>; 3]) -> Option<i32> {
        let mut pid: libc::pid_t = -1;
        let mut options = lxc_attach_options_t {
            attach_flags: lxc_sys::LXC_ATTACH_DEFAULT as c_int,
            namespaces: -1,
            personality: !0 as c_long,
            initial_cwd: c"/".as_ptr().cast_mut(),
            uid: libc::uid_t::MAX,
            gid: libc::gid_t::MAX,
            env_policy: lxc_sys::lxc_attach_env_policy_t_LXC_ATTACH_CLEAR_ENV,
            extra_env_vars: ptr::null_mut(),
            extra_keep_env: ptr::null_mut(),
            stdin_fd: stdio[0].as_raw_fd(),
            stdout_fd: stdio[1].as_raw_fd(),
            stderr_fd: stdio[2].as_raw_fd(),
            log_fd: -libc::EBADF,
            lsm_label: ptr::null_mut(),
            groups: lxc_sys::lxc_groups_t { size: 0, list: ptr::null_mut() },
        };
        let payload: *const Program = program;
        // `program`, `options` and `pid` outlive the call; the forked child has its own copy of them and never returns
        // from `execute`. liblxc writes to none of the strings that are passed as mutable.
        let result = member!(self, attach, Some(execute), payload.cast_mut().cast::<c_void>(), &mut options, &mut pid)?;
        (result == 0 && pid > 0).then_some(pid)
    }
}

impl Drop for Handle<'_> {
    fn drop(&mut self) {
        // SAFETY: the one reference that lxc_container_new gave is released once.
        unsafe { lxc_sys::lxc_container_put(self.raw.as_ptr()) };
    }
}

/// A program to execute, in the form that execve wants, so that nothing is allocated after fork.
pub(crate) struct Program {
    paths: Vec<CString>,
    /// Into `owned`, with a null at the end.
    argv: Vec<*const c_char>,
    /// Into `owned`, with a null at the end.
    envp: Vec<*const c_char>,
    /// What the pointers point to: the heap of a CString does not move with it.
    _owned: Vec<CString>,
}

impl Program {
    /// A program that is looked for at `paths` in this order. Nothing where a text holds NUL.
    pub(crate) fn new(paths: &[String], argv: &[String], environment: &[String]) -> Option<Self> {
        let owned = |texts: &[String]| texts.iter().map(|text| CString::new(text.as_str()).ok()).collect();
        let (paths, mut argv, environment): (Option<Vec<_>>, Option<Vec<CString>>, Option<Vec<CString>>) =
            (owned(paths), owned(argv), owned(environment));
        let pointers = |texts: &[CString]| -> Vec<*const c_char> {
            texts.iter().map(|text| text.as_ptr()).chain([ptr::null()]).collect()
        };
        let (argv_pointers, envp) = (pointers(argv.as_deref()?), pointers(environment.as_deref()?));
        let mut texts = argv.take()?;
        texts.extend(environment?);
        Some(Program { paths: paths?, argv: argv_pointers, envp, _owned: texts })
    }
}

/// Runs in the forked child, in the container: executes the program, or exits with 126 or 127.
///
/// It calls only what is safe after fork in a process that may have had threads, and allocates nothing.
extern "C" fn execute(payload: *mut c_void) -> c_int {
    // SAFETY: `payload` is the `Program` that `attach` passed, which its caller keeps alive; see there. The system calls
    // get no pointer but to locals and to the null-ended arrays of the program, whose strings it owns.
    unsafe {
        let program = &*payload.cast::<Program>();
        // liblxc closes nothing, so a descriptor of this process would be the container's [observed].
        libc::syscall(libc::SYS_close_range, 3 as c_uint, c_uint::MAX, 0 as c_uint);
        let mut set: libc::sigset_t = std::mem::zeroed();
        // The system call itself, as libc lets nobody touch its own two signals. All zero is the default action;
        // the kernel's struct has at most these 32 bytes, and its mask has 8.
        let default = [0u64; 4];
        for signal in 1..=64 {
            libc::syscall(libc::SYS_rt_sigaction, signal as c_int, default.as_ptr(), ptr::null_mut::<c_void>(), 8usize);
        }
        libc::sigemptyset(&mut set);
        libc::sigprocmask(libc::SIG_SETMASK, &set, ptr::null_mut());
        libc::umask(0o022);
        libc::setsid();
        libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
        let mut status = 127;
        for path in &program.paths {
            libc::execve(path.as_ptr(), program.argv.as_ptr(), program.envp.as_ptr());
            if !matches!(*libc::__errno_location(), libc::ENOENT | libc::ENOTDIR) {
                status = 126;
            }
        }
        libc::_exit(status)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fmt::Write;
    use std::mem::{offset_of, size_of};
    use std::process::Command;

    /// `size` and the offset of each named member, once by Rust and once as a C program's text.
    macro_rules! layout {
        ($rust:ident, $c:ident, $type:ty, $c_type:literal: $($member:ident)*) => {
            writeln!($rust, "{} {}", $c_type, size_of::<$type>()).unwrap();
            writeln!($c, "printf(\"%s %zu\\n\", \"{0}\", sizeof({0}));", $c_type).unwrap();
            $(
                writeln!($rust, "{} {}", stringify!($member), offset_of!($type, $member)).unwrap();
                writeln!($c, "printf(\"%s %zu\\n\", \"{0}\", offsetof({1}, {0}));", stringify!($member), $c_type).unwrap();
            )*
        };
    }

    #[test]
    fn structs_are_as_the_installed_header_says() {
        let mut rust = String::new();
        let mut c =
            String::from("#include <stddef.h>\n#include <stdio.h>\n#include <lxc/lxccontainer.h>\nint main() {\n");
        layout!(rust, c, lxc_container, "struct lxc_container":
            name configfile numthreads error_string error_num daemonize config_path is_defined state is_running
            init_pid load_config start stop wait set_config_item shutdown set_cgroup_item attach attach_run_wait
            snapshot migrate console_log reboot2 mount init_pidfd devpts_fd);
        layout!(rust, c, lxc_attach_options_t, "lxc_attach_options_t":
            attach_flags namespaces personality initial_cwd uid gid env_policy extra_env_vars extra_keep_env
            stdin_fd stdout_fd stderr_fd log_fd lsm_label groups);
        c.push('}');
        let folder = tempfile::tempdir().unwrap();
        let (source, program) = (folder.path().join("layout.c"), folder.path().join("layout"));
        std::fs::write(&source, c).unwrap();
        let built = Command::new("cc").arg(&source).arg("-o").arg(&program).status().unwrap();
        assert!(built.success());
        let by_c = String::from_utf8(Command::new(&program).output().unwrap().stdout).unwrap();
        assert!(by_c.lines().count() > 40);
        assert_eq!(rust, by_c);
    }

    #[test]
    fn a_nul_in_a_text_is_refused() {
        let texts = |text: &str| vec![text.to_string()];
        assert!(Program::new(&texts("/bin/sh"), &texts("a\0b"), &[]).is_none());
        assert!(Program::new(&texts("/bin/sh"), &texts("sh"), &texts("A=1")).is_some());
    }
}
