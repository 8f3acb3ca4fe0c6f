//! The bridge that containers stand on, and their addresses.
//!
//! The bridge is this crate's own, with no DHCP and no name server on it: each container gets a fixed
//! address and MAC in its config, and its packets leave the host by NAT. Containers do not reach each other, and
//! can not take each other's address or MAC: a port is isolated, learns nothing, and has one static entry; the
//! host's neighbour entry is permanent. IPv6 is off on the bridge, so no router advertisement is taken.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};

use crate::{Error, Network, Result, run};

/// The address of the host on the bridge.
pub(crate) fn gateway(network: &Network) -> Ipv4Addr {
    nth(network, 1)
}

fn nth(network: &Network, host: u8) -> Ipv4Addr {
    let [a, b, c, _] = network.subnet.octets();
    Ipv4Addr::new(a, b, c, host)
}

/// The MAC of an address: Xen's prefix, as LXC uses it, and the address's last three bytes.
pub(crate) fn mac(address: Ipv4Addr) -> String {
    let [_, b, c, d] = address.octets();
    format!("00:16:3e:{b:02x}:{c:02x}:{d:02x}")
}

/// The name of the host's end of a container's link.
pub(crate) fn link(network: &Network, address: Ipv4Addr) -> String {
    let [_, b, c, d] = address.octets();
    format!("{}{b:02x}{c:02x}{d:02x}", &network.bridge[..network.bridge.len().min(9)])
}

/// The first free address.
///
/// # Errors
/// [`Error::NoAddress`].
pub(crate) fn choose(network: &Network, taken: &BTreeSet<Ipv4Addr>) -> Result<Ipv4Addr> {
    let free = (2..=254).map(|host| nth(network, host)).find(|address| !taken.contains(address));
    free.ok_or(Error::NoAddress { subnet: network.subnet })
}

/// Checks the settings of a network.
///
/// # Errors
/// [`Error::Value`].
pub(crate) fn check(network: &Network) -> Result<()> {
    let bridge = &network.bridge;
    let good = |b: u8| b.is_ascii_alphanumeric() || b == b'-';
    if bridge.is_empty() || bridge.len() > 15 || bridge.starts_with('-') || !bridge.bytes().all(good) {
        let reason = "use 1 to 15 letters, digits and `-`";
        return Err(Error::Value { field: "bridge", value: bridge.clone(), reason });
    }
    if network.subnet.octets()[3] != 0 || !network.subnet.is_private() {
        let reason = "use a private network of 256 addresses, as 10.77.0.0";
        return Err(Error::Value { field: "subnet", value: network.subnet.to_string(), reason });
    }
    Ok(())
}

/// Makes the bridge and its rules, or what of them is missing.
///
/// # Errors
/// [`Error::Bridge`] with the reason, [`Error::Subnet`].
pub(crate) fn ensure(network: &Network) -> Result<()> {
    let routes = fs::read_to_string("/proc/net/route").unwrap_or_default();
    if let Some(interface) = overlapping(&routes, network) {
        return Err(Error::Subnet { subnet: network.subnet, interface });
    }
    let source = |source| Error::Bridge { bridge: network.bridge.clone(), source: Box::new(source) };
    ensure_bridge(network).and_then(|()| ensure_rules(network)).map_err(source)
}

fn ensure_bridge(network: &Network) -> Result<()> {
    let bridge = &network.bridge;
    let device = Path::new("/sys/class/net").join(bridge);
    let ip = |arguments: &[&str]| run::output(run::program("ip", "iproute2")?.args(arguments));
    if !device.exists() {
        ip(&[
            "link",
            "add",
            "name",
            bridge,
            "address",
            &mac(gateway(network)),
            "type",
            "bridge",
            "forward_delay",
            "0",
        ])?;
    }
    // With rp_filter no container sends under an address of another network.
    for (family, file, value) in [("ipv6", "disable_ipv6", "1"), ("ipv6", "accept_ra", "0"), ("ipv4", "rp_filter", "1")]
    {
        let path = PathBuf::from(format!("/proc/sys/net/{family}/conf/{bridge}/{file}"));
        if path.exists() {
            fs::write(&path, value).map_err(Error::io("write", &path))?;
        }
    }
    ip(&["address", "replace", &format!("{}/24", gateway(network)), "dev", bridge])?;
    ip(&["link", "set", "dev", bridge, "up"])?;
    let forward = Path::new("/proc/sys/net/ipv4/ip_forward");
    fs::write(forward, "1").map_err(Error::io("write", forward))
}

/// NAT for what leaves; and forwarding, which other programs of the host may have closed, but not between
/// containers by way of the host.
fn ensure_rules(network: &Network) -> Result<()> {
    let (bridge, subnet) = (network.bridge.as_str(), format!("{}/24", network.subnet));
    let rules: [&[&str]; 4] = [
        &["nat", "POSTROUTING", "-s", &subnet, "!", "-d", &subnet, "-j", "MASQUERADE"],
        &["filter", "FORWARD", "-i", bridge, "!", "-o", bridge, "-j", "ACCEPT"],
        &["filter", "FORWARD", "-o", bridge, "-m", "conntrack", "--ctstate", "RELATED,ESTABLISHED", "-j", "ACCEPT"],
        &["filter", "FORWARD", "-i", bridge, "-o", bridge, "-j", "DROP"],
    ];
    for rule in rules {
        let iptables = |verb: &str| -> Result<String> {
            let mut command = run::program("iptables", "iptables")?;
            run::output(command.args(["-w", "-t", rule[0], verb, rule[1]]).args(&rule[2..]))
        };
        match iptables("-C") {
            Err(Error::Program { .. }) => iptables("-I")?,
            checked => checked?,
        };
    }
    Ok(())
}

/// The interface, other than the bridge, that has a route into the network (`/proc/net/route`, whose addresses
/// are hexadecimal in the machine's byte order). Routes to everywhere do not count.
fn overlapping(routes: &str, network: &Network) -> Option<String> {
    let number = |text: &str| u32::from_str_radix(text, 16).ok().map(|n| u32::from_be_bytes(n.to_ne_bytes()));
    routes.lines().skip(1).find_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let (interface, target, mask) = (*fields.first()?, number(fields.get(1)?)?, number(fields.get(7)?)?);
        let mask = mask & 0xffff_ff00;
        let into = mask != 0 && interface != network.bridge && (u32::from(network.subnet) ^ target) & mask == 0;
        into.then(|| interface.to_string())
    })
}

/// The shell script that liblxc runs on the host each time a container's link was made, also when the container
/// reboots itself: only then can nothing be sent before the port is closed.
pub(crate) fn up_script(network: &Network, address: Ipv4Addr) -> Result<String> {
    let path =
        |name| run::program(name, "iproute2").map(|command| command.get_program().to_string_lossy().into_owned());
    let (ip, bridge_program) = (path("ip")?, path("bridge")?);
    let (bridge, link, mac) = (&network.bridge, link(network, address), mac(address));
    let mut script = String::from("#!/bin/sh -e\n");
    let _ = writeln!(script, "{bridge_program} link set dev {link} isolated on learning off");
    let _ = writeln!(script, "{bridge_program} fdb replace {mac} dev {link} master static");
    let _ = writeln!(script, "{ip} neighbour replace {address} lladdr {mac} dev {bridge} nud permanent");
    Ok(script)
}

/// Removes what a container's address left on the host.
pub(crate) fn forget(network: &Network, address: Ipv4Addr) {
    let forget = || -> Result<String> {
        let mut ip = run::program("ip", "iproute2")?;
        run::output(ip.args(["neighbour", "del", &address.to_string(), "dev", &network.bridge]))
    };
    // Nothing there is no error: the entry goes with the bridge or a restart of the host.
    let _ = forget();
}

/// The text of a container's `/etc/resolv.conf`: the host's name servers, or, where those are the host's own
/// loopback, the ones behind them that systemd-resolved or NetworkManager name. Nothing where none are known.
pub(crate) fn resolv_conf() -> String {
    let files = ["/etc/resolv.conf", "/run/systemd/resolve/resolv.conf", "/run/NetworkManager/no-stub-resolv.conf"];
    let texts = files.iter().map(|file| fs::read_to_string(file).unwrap_or_default());
    texts.map(|text| reachable(&text)).find(|servers| !servers.is_empty()).unwrap_or_default()
}

fn reachable(resolv_conf: &str) -> String {
    let server = |line: &str| line.trim().strip_prefix("nameserver")?.trim().parse::<IpAddr>().ok();
    let servers = resolv_conf.lines().filter_map(server);
    // The containers have no IPv6.
    let usable = servers.filter(|address| address.is_ipv4() && !address.is_loopback() && !address.is_unspecified());
    usable.map(|address| format!("nameserver {address}\n")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network() -> Network {
        Network { bridge: "glxcbr0".into(), subnet: Ipv4Addr::new(10, 77, 3, 0) }
    }

    #[test]
    fn addresses_are_chosen_in_order_until_none_is_left() {
        let mut taken = BTreeSet::new();
        for expected in 2..=254 {
            let address = choose(&network(), &taken).unwrap();
            assert_eq!(address, Ipv4Addr::new(10, 77, 3, expected));
            taken.insert(address);
        }
        assert!(matches!(choose(&network(), &taken), Err(Error::NoAddress { .. })));
    }

    #[test]
    fn names_of_links_fit_the_kernel() {
        let network = Network { bridge: "a-long-bridge-1".into(), ..network() };
        assert_eq!(link(&network, Ipv4Addr::new(10, 77, 3, 2)), "a-long-br4d0302");
        assert_eq!(mac(Ipv4Addr::new(10, 77, 3, 2)), "00:16:3e:4d:03:02");
    }

    #[test]
    fn odd_networks_are_refused() {
        assert!(check(&network()).is_ok());
        for (bridge, subnet) in [("x y", [10, 0, 0, 0]), ("", [10, 0, 0, 0]), ("b", [10, 0, 0, 1]), ("b", [8, 8, 8, 0])]
        {
            assert!(check(&Network { bridge: bridge.into(), subnet: subnet.into() }).is_err(), "{bridge} {subnet:?}");
        }
    }

    #[test]
    fn overlapping_routes_are_seen() {
        let table = |interface: &str, target: [u8; 4], mask: [u8; 4]| {
            let hex = |bytes: [u8; 4]| format!("{:08X}", u32::from_ne_bytes(bytes));
            format!("Iface\tDestination ...\n{interface}\t{}\t0\t1\t0\t0\t0\t{}\t0\t0\t0\n", hex(target), hex(mask))
        };
        let of = |text: String| overlapping(&text, &network());
        assert_eq!(of(table("vpn", [10, 0, 0, 0], [255, 0, 0, 0])), Some("vpn".into()));
        assert_eq!(of(table("eth1", [10, 77, 3, 128], [255, 255, 255, 128])), Some("eth1".into()));
        assert_eq!(of(table("glxcbr0", [10, 77, 3, 0], [255, 255, 255, 0])), None);
        assert_eq!(of(table("eth0", [0, 0, 0, 0], [0, 0, 0, 0])), None);
        assert_eq!(of(table("eth0", [10, 77, 4, 0], [255, 255, 255, 0])), None);
    }

    #[test]
    fn only_name_servers_that_a_container_reaches_are_passed_on() {
        let host = "# x\nnameserver 127.0.0.53\nnameserver 192.0.2.1\nnameserver fe80::1\nsearch example.org\n";
        assert_eq!(reachable(host), "nameserver 192.0.2.1\n");
        assert_eq!(reachable("nameserver 127.0.0.1\nnameserver 1.1.1.1 bad\n"), "");
    }
}
