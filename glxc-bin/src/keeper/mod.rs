//! The keeper: root's half of glxc on the machine where the containers are.
//!
//! It speaks [`crate::protocol`] over stdin and stdout and does what front asks for, for whoever started it: real root may
//! all, and who came by `sudo` (`SUDO_UID`) may what is their own. It takes no path of the host and no options, reads
//! nothing of a repository, trusts neither front nor the containers, and has one thread, since liblxc forks.
//!
//! A rule for sudo names it without arguments: `ann ALL = (root) NOPASSWD: /usr/libexec/glxc/keeper ""`. Root runs
//! `keeper autostart` when the machine starts.
//!
//! # Files
//! - `/etc/glxc/host.toml`: the host's settings, see [`settings`](crate::keeper::Settings::read).
//! - `/var/lib/glxc-keeper`: containers, the cache of roots, locks, scratch (see [`glxc_lxc::Settings`]), and `owners`, with
//!   one file for each container that is not root's own.

mod connection;
mod failure;
mod owners;
mod relay;
mod serve;
mod settings;
mod start;

use std::io::Write;
use std::process::ExitCode;

use glxc_lxc::Host;

pub use owners::Caller;
pub use serve::serve;
pub use settings::Settings;

use crate::protocol::{self, Failure};

/// The whole program: closes itself off from whoever started it, and serves one conversation.
///
/// It must be the first thing in `main`, as it starts the program anew from a sealed copy in memory: a container
/// that gets hold of the running program can not change the file on the host then.
pub fn main() -> ExitCode {
    let result = start::harden().and_then(|caller| run(&caller));
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            let causes: String = failure.causes.iter().map(|cause| format!(": {cause}")).collect();
            let _ = writeln!(std::io::stderr(), "glxc keeper: {}{causes}", failure.message);
            ExitCode::FAILURE
        }
    }
}

fn run(caller: &Caller) -> Result<(), Failure> {
    let settings = Settings::read(std::path::Path::new(settings::FILE))?;
    let host = Host::new(settings.into_host()).map_err(failure::of)?;
    let arguments: Vec<_> = std::env::args_os().skip(1).collect();
    match arguments.as_slice() {
        [] => match serve(&host, *caller, std::io::stdin(), std::io::stdout()) {
            // Front went away in the middle, as at a ctrl-C: nobody is left to be told.
            Err(protocol::Error::Closed) => Ok(()),
            ended => ended.map_err(failure::of_conversation),
        },
        [word] if word == "autostart" && *caller == Caller::Root => autostart(&host),
        _ => Err(failure::invalid("it takes no arguments")),
    }
}

fn autostart(host: &Host) -> Result<(), Failure> {
    match host.autostart().map_err(failure::of)?.pop() {
        Some((_, error)) => Err(failure::of(error)),
        None => Ok(()),
    }
}
