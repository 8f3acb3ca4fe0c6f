//! The config that liblxc reads, rendered from numbers, enums and paths of ours: no foreign text reaches it, since a
//! newline in a value would be a hook on the host.

use std::fmt::Write;
use std::path::Path;

use crate::record::Record;
use crate::{Limits, Network, ids, network};

/// Where LXC's own parts of a config are.
pub(crate) const COMMON: &str = "/usr/share/lxc/config/common.conf";
/// What it adds for containers with their own ids.
pub(crate) const USERNS: &str = "/usr/share/lxc/config/userns.conf";

/// Where liblxc writes why something failed, in the container's folder.
pub(crate) const LOG: &str = "lxc.log";

/// How large a container's console log may grow, in bytes; liblxc keeps one older file beside it.
const CONSOLE_LOG: u32 = 1 << 20;

/// The devices that `common.conf` allows. `userns.conf` empties its list, which means all; then a device node in a
/// root, as a tarball may bring it, is the host's device [observed].
const DEVICES: [&str; 11] = [
    "c *:* m",
    "b *:* m",
    "c 1:3 rwm",
    "c 1:5 rwm",
    "c 1:7 rwm",
    "c 5:0 rwm",
    "c 5:1 rwm",
    "c 5:2 rwm",
    "c 1:8 rwm",
    "c 1:9 rwm",
    "c 136:* rwm",
];

/// Which control groups the host has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cgroup {
    /// Controllers in version 1 hierarchies, with or without a version 2 one beside them.
    V1,
    /// Version 2 alone.
    V2,
}

impl Cgroup {
    /// What this host has.
    pub(crate) fn of_host() -> Self {
        if Path::new("/sys/fs/cgroup/cgroup.controllers").exists() { Cgroup::V2 } else { Cgroup::V1 }
    }

    fn prefix(self) -> &'static str {
        match self {
            Cgroup::V1 => "lxc.cgroup",
            Cgroup::V2 => "lxc.cgroup2",
        }
    }

    /// The values that limits mean, in the order in which they must be set.
    pub(crate) fn limits(self, limits: &Limits, memory: u64) -> Vec<(&'static str, String)> {
        // A period of 100 ms, of which a thousandth of a processor is 100 us.
        let quota = limits.millicpus.map(|millicpus| u64::from(millicpus) * 100);
        match self {
            Cgroup::V1 => vec![
                ("pids.max", limits.processes_or_default().to_string()),
                ("memory.limit_in_bytes", memory.to_string()),
                ("cpu.cfs_quota_us", quota.map_or("-1".into(), |quota| quota.to_string())),
            ],
            Cgroup::V2 => vec![
                ("pids.max", limits.processes_or_default().to_string()),
                ("memory.max", memory.to_string()),
                ("cpu.max", format!("{} 100000", quota.map_or("max".into(), |quota| quota.to_string()))),
            ],
        }
    }
}

/// The config of a container whose folder is `folder`. AppArmor is as in Debian's default; with the profile that liblxc
/// takes by itself, systemd's units can not have a `/tmp` of their own.
pub(crate) fn render(
    name: &str, folder: &Path, record: &Record, network: &Network, cgroup: Cgroup, memory: u64,
) -> String {
    let folder = folder.display();
    let (first, count, address) = (record.first_id, ids::COUNT, record.address);
    let (gateway, mac, link) = (network::gateway(network), network::mac(address), network::link(network, address));
    let prefix = cgroup.prefix();
    let mut config = format!(
        "# made by glxc at each start; changes are lost\n\
         lxc.include = {COMMON}\nlxc.include = {USERNS}\n\
         lxc.uts.name = {name}\n\
         lxc.rootfs.path = dir:{folder}/rootfs\nlxc.rootfs.options = idmap=container,nodev\n\
         lxc.apparmor.profile = generated\nlxc.apparmor.allow_nesting = 1\n\
         lxc.idmap = u 0 {first} {count}\nlxc.idmap = g 0 {first} {count}\n\
         lxc.console.logfile = {folder}/console.log\nlxc.console.size = {CONSOLE_LOG}\n\
         lxc.log.file = {folder}/{LOG}\nlxc.log.level = WARN\n\
         lxc.net.0.type = veth\nlxc.net.0.link = {}\nlxc.net.0.flags = up\nlxc.net.0.name = eth0\n\
         lxc.net.0.veth.pair = {link}\nlxc.net.0.hwaddr = {mac}\n\
         lxc.net.0.ipv4.address = {address}/24\nlxc.net.0.ipv4.gateway = {gateway}\n\
         lxc.net.0.script.up = {folder}/net-up\n\
         {prefix}.devices.deny = a\n",
        network.bridge
    );
    for device in DEVICES {
        let _ = writeln!(config, "{prefix}.devices.allow = {device}");
    }
    for (key, value) in cgroup.limits(&record.limits, memory) {
        let _ = writeln!(config, "{prefix}.{key} = {value}");
    }
    config
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rendered(cgroup: Cgroup, limits: Limits) -> String {
        let record = Record {
            complete: true,
            release: "bookworm".into(),
            arch: "amd64".into(),
            limits,
            first_id: 1_000_000,
            address: [10, 77, 3, 5].into(),
        };
        let network = Network { bridge: "glxcbr0".into(), subnet: [10, 77, 3, 0].into() };
        render("demo", Path::new("/lxc/demo"), &record, &network, cgroup, 2 << 30)
    }

    #[test]
    fn what_guards_the_host_is_there() {
        let config = rendered(Cgroup::V1, Limits::default());
        for line in [
            "lxc.rootfs.options = idmap=container,nodev",
            "lxc.idmap = u 0 1000000 65536",
            "lxc.idmap = g 0 1000000 65536",
            "lxc.cgroup.devices.deny = a",
            "lxc.cgroup.pids.max = 8192",
            "lxc.cgroup.memory.limit_in_bytes = 2147483648",
            "lxc.console.size = 1048576",
            "lxc.net.0.ipv4.address = 10.77.3.5/24",
            "lxc.net.0.ipv4.gateway = 10.77.3.1",
        ] {
            assert_eq!(config.lines().filter(|found| *found == line).count(), 1, "{line}\n{config}");
        }
        let (includes, devices) = (config.rfind("lxc.include").unwrap(), config.find("devices.deny").unwrap());
        assert!(includes < devices, "userns.conf would empty the list again");
    }

    #[test]
    fn limits_are_translated_for_both_versions() {
        let limits = Limits { processes: Some(300), millicpus: Some(1500), ..Limits::default() };
        assert!(rendered(Cgroup::V1, limits.clone()).contains("lxc.cgroup.cpu.cfs_quota_us = 150000\n"));
        let config = rendered(Cgroup::V2, limits);
        assert!(config.contains("lxc.cgroup2.cpu.max = 150000 100000\n"));
        assert!(config.contains("lxc.cgroup2.pids.max = 300\n"));
        assert!(
            config.contains("lxc.cgroup2.memory.max = 2147483648\n")
                && config.contains("lxc.cgroup2.devices.deny = a\n")
        );
        assert!(!config.contains("lxc.cgroup."));
        assert!(rendered(Cgroup::V2, Limits::default()).contains("lxc.cgroup2.cpu.max = max 100000\n"));
    }
}
