//! The settings of the machine.

use std::fs;
use std::io::ErrorKind;
use std::net::Ipv4Addr;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::keeper::{Failure, failure};

/// Where the settings are.
pub(crate) const FILE: &str = "/etc/glxc/host.toml";

/// The settings of the machine, from `/etc/glxc/host.toml`. Each key may be missing, and so may the file:
///
/// ```toml
/// [paths]
/// root = "/var/lib/glxc-keeper"   # containers, cache, locks, scratch, owners
///
/// [network]
/// bridge = "glxcbr0"
/// subnet = "10.77.3.0"            # 256 private addresses that are in use nowhere else
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    paths: Paths,
    network: Network,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Paths {
    root: Option<PathBuf>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Network {
    bridge: Option<String>,
    subnet: Option<Ipv4Addr>,
}

impl Settings {
    /// Reads the file, if there is one.
    ///
    /// # Errors
    /// [`Failure`] where it can not be read, or somebody besides root can write it.
    pub fn read(file: &Path) -> Result<Self, Failure> {
        let name = file.display().to_string();
        match fs::metadata(file) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Settings::default()),
            Ok(found) if found.uid() != 0 || found.mode() & 0o022 != 0 => {
                return Err(failure::invalid(format!("{name} must be root's, and nobody else may write it")));
            }
            found => found.map_err(failure::io(format!("look at {name}")))?,
        };
        let text = fs::read_to_string(file).map_err(failure::io(format!("read {name}")))?;
        toml::from_str(&text).map_err(|error| failure::caused(format!("{name} can not be used"), &error))
    }

    /// The settings in the words of glxc-lxc.
    pub(crate) fn into_host(self) -> glxc_lxc::Settings {
        let default = glxc_lxc::Settings::default();
        glxc_lxc::Settings {
            root: self.paths.root.unwrap_or(default.root),
            network: glxc_lxc::Network {
                bridge: self.network.bridge.unwrap_or(default.network.bridge),
                subnet: self.network.subnet.unwrap_or(default.network.subnet),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn read(text: &str, mode: u32) -> Result<Settings, Failure> {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("host.toml");
        fs::write(&file, text).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
        Settings::read(&file)
    }

    #[test]
    fn what_is_missing_has_its_default() {
        assert_eq!(Settings::read(Path::new("/no/such/file")).unwrap().into_host(), glxc_lxc::Settings::default());
        let host = read("[paths]\nroot = \"/srv/x\"\n[network]\nsubnet = \"10.1.2.0\"\n", 0o644).unwrap().into_host();
        assert_eq!((host.root, host.network.bridge.as_str()), (PathBuf::from("/srv/x"), "glxcbr0"));
        assert_eq!(host.network.subnet, Ipv4Addr::new(10, 1, 2, 0));
    }

    #[test]
    fn unknown_keys_and_strangers_files_are_refused() {
        let failure = read("[paths]\nroots = \"/x\"\n", 0o644).unwrap_err();
        assert!(failure.causes[0].contains("roots"), "{failure:?}");
        let failure = read("", 0o666).unwrap_err();
        assert!(failure.message.contains("nobody else may write it"), "{failure:?}");
    }
}
