//! LXC containers for content that may be hostile.
//!
//! ```no_run
//! use std::io::Read;
//! use std::time::Duration;
//! use glxc_lxc::{Command, ContainerName, Host, Limits, Settings, Spec, Unwatched};
//!
//! # fn main() -> glxc_lxc::Result<()> {
//! let host = Host::new(Settings::default())?;
//! let name = ContainerName::new("demo")?;
//! let spec = Spec { name: name.clone(), release: "bookworm".into(), arch: None, limits: Limits::default() };
//! host.create(&spec, &mut Unwatched)?;
//! host.start(&name)?;
//! host.wait_ready(&name, Duration::from_secs(60), &mut Unwatched)?;
//! let mut hostname = host.attach(&name, &Command::new(["hostname"]))?;
//! let mut said = String::new();
//! hostname.stdout.take().map(|mut stdout| stdout.read_to_string(&mut said));
//! assert_eq!(hostname.wait()?, 0);
//! host.destroy(&name, &mut Unwatched)?;
//! # Ok(())
//! # }
//! ```
//!
//! # What it makes
//! A [`Host`] keeps all in one folder of root's: containers, the tarballs of their roots (the `cache`), locks, scratch.
//! A container has
//! - ids of its own: 65,536 from 1,000,000 or above that are nobody's else, recorded in `/etc/subuid` and
//!   `/etc/subgid` as root's. Its root is mounted with these ids, so the files on disk are uid 0; its folder is 0700,
//!   since a setuid file in it would be root's on the host;
//! - no device nodes in its root, and the usual device list;
//! - an address and a MAC that it can not change in the eyes of host and neighbours (see [`Network`]): a bridge
//!   of this crate's own with NAT, no DHCP, no IPv6, no traffic between containers. Its name servers are the host's;
//! - limits on memory, processes and its console's log, for control groups 1 and 2;
//! - a config that is rendered anew at each start from numbers and enums: no foreign text reaches it.
//!
//! # Limits
//! Root only. Linux with idmapped mounts (5.12). Debian roots only. A container
//! that reboots itself stays stopped until it is started again: liblxc 5.0 forgets the idmapped mount then. Call it
//! from a process with one thread where you can: liblxc forks and goes on in the child. A second thread does no harm to
//! the container's safety, but may hold a lock of libc's at the fork.
//!
//! # Why lxc-sys
//! The safe crate `lxc` (0.8) passes dangling strings to liblxc in `Container::new` with a path, `attach_run_wait`,
//! `create`, `get_ips` and `Log::init`, writes a byte beyond a buffer in `get_config_item`, and takes null for a
//! container in `clone`. So this crate calls `lxc-sys`, in one private module, the only unsafe code of GLXC.

mod attach;
mod config;
mod container;
mod debian;
mod error;
mod ffi;
mod host;
mod ids;
mod name;
mod network;
mod record;
mod run;

pub use attach::{Attached, Command};
pub use container::{Info, Limits, Spec, State};
pub use error::{Error, Result};
pub use ffi::close_on_exec;
pub use host::{Host, Network, Settings};
pub use name::ContainerName;
pub use run::{Unwatched, Watch};
