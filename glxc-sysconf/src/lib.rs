//! Profiles of files and scripts, installed into a running system and read back.
//!
//! A profile is a folder with a `tree/` of files to install by their absolute paths, a list of profiles that it extends
//! (`deps`), and scripts. The root profile is `actual`. Installing puts links to the profiles' files into the system, so
//! that an edit of `/etc/x` lands in its profile and comes back with the next [`Sysconf::export`].
//!
//! ```
//! use glxc_sysconf::{File, Files, Kind, Scripts, Sysconf};
//! use std::time::Duration;
//!
//! let system = tempfile::tempdir()?; // stands for `/`
//! let folder = |name: &str| system.path().join(name);
//! let next = Files::from([
//!     ("actual/tree/etc/motd".into(), File::new(Kind::File, "hello\n")),
//!     ("actual/setup.rc".into(), File::new(Kind::File, "nef_log set up\n")),
//!     ("target".into(), File::new(Kind::File, system.path().to_str().unwrap())),
//! ]);
//!
//! let sysconf = Sysconf::new(folder("sysconf"), folder("state"));
//! let plan = sysconf.plan(None, &next)?;
//! let mut lines = Vec::new();
//! let mut scripts = Scripts {
//!     output: &mut |profile, line| lines.push(format!("{profile}: {line}")),
//!     cancelled: &|| false,
//!     timeout: Duration::from_secs(60),
//! };
//! std::fs::create_dir(folder("operation"))?;
//! sysconf.apply(&plan, &folder("operation"), &mut scripts)?;
//! assert_eq!(lines, ["actual: set up"]);
//!
//! std::fs::write(folder("etc/motd"), "edited\n")?;
//! let live = sysconf.export()?.files;
//! assert_eq!(&*live[std::path::Path::new("actual/tree/etc/motd")].content, b"edited\n");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! The crate knows neither git nor containers. It looks up no names of users or hosts, so that it can be linked
//! statically. It needs Linux 5.6 (`openat2`), and `/bin/bash` where a profile has scripts.
//!
//! # Limits
//!
//! Profiles are held in memory: a file may have 64 MiB, all together 256 MiB. Scripts run in a process group of their
//! own, which ends with the calling process, however that ends. What a script moved to another group, as a daemon does, lives on.

mod builtin;
mod error;
mod files;
mod folder;
mod plan;
mod profiles;
mod scripts;
mod state;
mod sysconf;

pub use error::{Error, Result};
pub use files::{File, Files, Kind};
pub use plan::Plan;
pub use profiles::{How, Profile, Profiles, ROOT, Winner};
pub use scripts::Scripts;
pub use sysconf::{Applied, Exported, Sysconf, read_files};
