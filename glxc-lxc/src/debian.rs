//! Roots of Debian, made once for each release from signed packages and kept as tarballs.
//!
//! Mirror and keyring are the ones that the host itself uses for Debian, where it does; else `deb.debian.org` and
//! the keyring of the package `debian-archive-keyring`. A package without a good signature is never taken.

use std::fs;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use crate::run::{self, Watch};
use crate::{Error, Result};

/// What a root has besides the essential packages. No DHCP client: the keeper gives addresses.
const PACKAGES: &str = "systemd-sysv,dbus,iproute2,git,ca-certificates";

/// Counts the changes to how a root is made, so that older tarballs are not taken for newer ones.
const RECIPE: u32 = 1;

const DEFAULT_ARCHIVE: &str = "http://deb.debian.org/debian";
const DEFAULT_SECURITY: &str = "http://deb.debian.org/debian-security";
const DEFAULT_KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// Settings of apt that hold for the host's mirror and so for its containers too.
const APT_SETTINGS: [&str; 3] = ["Acquire::Check-Valid-Until", "Acquire::http::Proxy", "Acquire::https::Proxy"];

/// A root to be made.
#[derive(Clone, Debug)]
pub(crate) struct Root {
    /// The suite, as `bookworm`.
    pub(crate) release: String,
    /// Debian's word for the architecture, as `amd64`.
    pub(crate) arch: String,
}

impl Root {
    /// Checks the words, which become parts of file names and arguments.
    pub(crate) fn new(release: &str, arch: Option<&str>) -> Result<Self> {
        let arch = arch.unwrap_or(host_arch());
        for (field, value) in [("release", release), ("arch", arch)] {
            let letter = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
            let good = value.bytes().next().is_some_and(letter)
                && value.len() <= 40
                && value.bytes().all(|b| letter(b) || matches!(b, b'.' | b'_' | b'-'));
            if !good {
                let reason = "use lower case letters, digits, `.`, `_` and `-`";
                return Err(Error::Value { field, value: value.into(), reason });
            }
        }
        Ok(Root { release: release.into(), arch: arch.into() })
    }

    /// The tarball in `cache`, which is made where it is not there. Needs no network where it is. Only one process at a
    /// time may be here.
    pub(crate) fn tarball(&self, cache: &Path, scratch: &Path, watch: &mut dyn Watch) -> Result<PathBuf> {
        let tarball = cache.join(self.file_name());
        if tarball.exists() {
            return Ok(tarball);
        }
        watch.note(&format!("making a root of Debian {} ({})", self.release, self.arch));
        remove_leftovers(scratch)?;
        let work = tempfile::Builder::new().prefix(WORK).tempdir_in(scratch);
        let work = work.map_err(Error::io("create a folder in", scratch))?;
        let made = work.path().join("root.tar");
        self.make(&Mirror::of_host(), &made, work.path(), watch)?;
        let file = fs::File::open(&made).map_err(Error::io("open", &made))?;
        file.sync_all().map_err(Error::io("write", &made))?;
        fs::rename(&made, &tarball).map_err(Error::io("rename to", &tarball))?;
        Ok(tarball)
    }

    fn file_name(&self) -> String {
        let recipe = format!("{RECIPE}\n{}\n{}\n{PACKAGES}\n", self.release, self.arch);
        let hash: String = Sha256::digest(recipe).iter().take(8).map(|byte| format!("{byte:02x}")).collect();
        format!("debian-{}-{}-{hash}.tar", self.release, self.arch)
    }

    fn make(&self, mirror: &Mirror, tarball: &Path, work: &Path, watch: &mut dyn Watch) -> Result<()> {
        if !mirror.keyring.exists() {
            let what = mirror.keyring.display().to_string();
            return Err(Error::Missing { what, package: "debian-archive-keyring" });
        }
        let made = match run::find("mmdebstrap") {
            Some(_) => self.mmdebstrap(mirror, tarball, work, watch),
            None => self.debootstrap(mirror, tarball, work, watch),
        };
        made.map_err(|error| match error {
            Error::Program { ref output, .. } if output.iter().any(|line| names_no_release(line)) => {
                let (release, mirror) = (self.release.clone(), mirror.archive.clone());
                Error::UnknownRelease { release, mirror, source: Box::new(error) }
            }
            error => error,
        })
    }

    fn mmdebstrap(&self, mirror: &Mirror, tarball: &Path, work: &Path, watch: &mut dyn Watch) -> Result<()> {
        let mut command = bootstrap("mmdebstrap")?;
        command.args(["--mode=root", "--variant=minbase", "--format=tar"]);
        command.arg(format!("--include={PACKAGES}")).arg(format!("--architectures={}", self.arch));
        command.arg(format!("--keyring={}", mirror.keyring.display()));
        for setting in &mirror.apt_settings {
            command.arg(format!("--aptopt={setting}"));
        }
        // It makes the root where TMPDIR says.
        command.env("TMPDIR", work).arg(&self.release).arg(tarball).args(mirror.lines(&self.release));
        run::watched(&mut command, watch)
    }

    fn debootstrap(&self, mirror: &Mirror, tarball: &Path, work: &Path, watch: &mut dyn Watch) -> Result<()> {
        let root = work.join("root");
        let mut command = bootstrap("debootstrap")?;
        command.args(["--variant=minbase", "--force-check-gpg"]);
        command.arg(format!("--include={PACKAGES}")).arg(format!("--arch={}", self.arch));
        command.arg(format!("--keyring={}", mirror.keyring.display()));
        run::watched(command.arg(&self.release).arg(&root).arg(&mirror.archive), watch)?;
        let write = |name: &str, text: String| fs::write(root.join(name), text).map_err(Error::io("write", name));
        write("etc/apt/sources.list", mirror.lines(&self.release).map(|line| line + "\n").collect())?;
        write("etc/apt/apt.conf.d/99glxc", mirror.apt_settings.iter().map(|line| format!("{line};\n")).collect())?;
        let mut tar = run::program("tar", "tar")?;
        tar.args(["--create", "--numeric-owner", "--one-file-system", "--xattrs", "--xattrs-include=*"]);
        tar.args(["--exclude=./var/cache/apt/archives/*.deb", "--exclude=./var/lib/apt/lists/*_*", "--file"]);
        run::watched(tar.arg(tarball).arg("--directory").arg(&root).arg("."), watch)
    }
}

/// How the folders begin in which roots are made.
const WORK: &str = "root-";

/// Removes what a killed attempt left, but nothing that is mounted there.
fn remove_leftovers(scratch: &Path) -> Result<()> {
    let all = fs::read_dir(scratch).map_err(Error::io("list", scratch))?.flatten();
    let left: Vec<PathBuf> =
        all.filter(|file| file.file_name().to_string_lossy().starts_with(WORK)).map(|f| f.path()).collect();
    if left.is_empty() {
        return Ok(());
    }
    let mut rm = run::program("rm", "coreutils")?;
    run::output(rm.args(["--recursive", "--force", "--one-file-system"]).args(left)).map(drop)
}

/// A program that makes a root: it ends with this process, and the files of packages do not get this process's umask.
fn bootstrap(program: &str) -> Result<std::process::Command> {
    let path = run::find(program).ok_or_else(|| Error::Missing { what: program.into(), package: "mmdebstrap" })?;
    run::program("setpriv", "util-linux")?;
    let mut command = run::program("sh", "dash")?;
    command.args(["-c", "umask 022; exec setpriv --pdeathsig TERM \"$@\"", "sh"]).arg(path);
    Ok(command)
}

/// Whether a line of apt's, mmdebstrap's or debootstrap's says that there is no such suite.
fn names_no_release(line: &str) -> bool {
    ["does not have a Release file", "Failed getting release file", "No such script"]
        .iter()
        .any(|hint| line.contains(hint))
}

/// Debian's word for the architecture that this program is built for.
fn host_arch() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "x86" => "i386",
        "arm" => "armhf",
        "powerpc64" => "ppc64el",
        other => other,
    }
}

/// Where packages come from, and whose signature they bear.
#[derive(Debug, PartialEq, Eq)]
struct Mirror {
    archive: String,
    security: String,
    keyring: PathBuf,
    /// As `Acquire::Check-Valid-Until "false"`.
    apt_settings: Vec<String>,
}

impl Mirror {
    fn of_host() -> Self {
        let text = |path: &Path| fs::read_to_string(path).unwrap_or_default();
        let mut entries = one_line(&text(Path::new("/etc/apt/sources.list")));
        let folder = fs::read_dir("/etc/apt/sources.list.d").into_iter().flatten().flatten();
        let mut files: Vec<PathBuf> = folder.map(|file| file.path()).collect();
        files.sort();
        for file in files {
            match file.extension().and_then(|extension| extension.to_str()) {
                Some("list") => entries.extend(one_line(&text(&file))),
                Some("sources") => entries.extend(deb822(&text(&file))),
                _ => {}
            }
        }
        let mut mirror = Mirror::from_entries(&entries, &codename(&text(Path::new("/etc/os-release"))));
        mirror.apt_settings = APT_SETTINGS.iter().filter_map(|name| apt_setting(name)).collect();
        mirror
    }

    /// The first entries that are Debian's own, by suite, path and keyring.
    fn from_entries(entries: &[Entry], codename: &str) -> Self {
        let find = |suite: &str, path: &str| {
            entries.iter().find(|entry| entry.suites.iter().any(|s| s == suite) && entry.is_debian(path))
        };
        let archive = find(codename, "/debian");
        let security = find(&format!("{codename}-security"), "/debian-security");
        let uri = |entry: Option<&Entry>, default: &str| entry.map_or(default.into(), |entry| entry.uri.clone());
        let keyring = archive.and_then(|entry| entry.signed_by.clone()).unwrap_or(DEFAULT_KEYRING.into());
        Mirror {
            archive: uri(archive, DEFAULT_ARCHIVE),
            security: uri(security, DEFAULT_SECURITY),
            keyring,
            apt_settings: Vec::new(),
        }
    }

    /// The sources of a release: with its updates, where it has such.
    fn lines(&self, release: &str) -> impl Iterator<Item = String> {
        let rolling = matches!(release, "sid" | "unstable" | "experimental" | "rc-buggy");
        let archive = format!("deb {} {release} main", self.archive);
        let updates = format!("deb {} {release}-updates main", self.archive);
        let security = format!("deb {} {release}-security main", self.security);
        [archive, updates, security].into_iter().take(if rolling { 1 } else { 3 })
    }
}

/// The host's own value of a setting of apt, as apt's configuration has it. A proxy on the host's loopback is
/// none for a container.
fn apt_setting(name: &str) -> Option<String> {
    let mut command = run::program("apt-config", "apt").ok()?;
    let dump = run::output(command.args(["dump", "--no-empty", "--format", "%F \"%v\"%n", name])).ok()?;
    let line = dump.lines().find(|line| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(" \"")))?;
    let local = ["127.", "localhost", "[::1]"].iter().any(|host| line.contains(host));
    (!local).then(|| line.to_string())
}

/// `VERSION_CODENAME` of a Debian; empty elsewhere.
fn codename(os_release: &str) -> String {
    let value = |key: &str| {
        let line = os_release.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
        line.unwrap_or_default().trim_matches('"').to_string()
    };
    if value("ID") == "debian" { value("VERSION_CODENAME") } else { String::new() }
}

/// One source of packages of the host.
#[derive(Debug, Default, PartialEq, Eq)]
struct Entry {
    uri: String,
    suites: Vec<String>,
    components: Vec<String>,
    signed_by: Option<PathBuf>,
}

impl Entry {
    /// Whether it is Debian's own and can be a container's: other projects use the same suites, and a URI with
    /// a password is not for strangers.
    fn is_debian(&self, path: &str) -> bool {
        let web = self.uri.starts_with("http://") || self.uri.starts_with("https://");
        let keyring = self.signed_by.as_ref().is_none_or(|file| file.to_string_lossy().contains("debian-archive"));
        let plain = self.uri.bytes().all(|b| b.is_ascii_graphic() && !matches!(b, b'@' | b'"' | b'\''));
        web && plain && keyring && self.uri.contains(path) && self.components.iter().any(|c| c == "main")
    }
}

/// Entries of the form `deb [options] uri suite component...`.
fn one_line(text: &str) -> Vec<Entry> {
    let entry = |line: &str| {
        let rest = line.trim().strip_prefix("deb")?.strip_prefix([' ', '\t'])?.trim_start();
        let (options, rest) = match rest.strip_prefix('[') {
            Some(rest) => rest.split_once(']')?,
            None => ("", rest),
        };
        let signed_by = options.split_whitespace().find_map(|option| option.strip_prefix("signed-by="));
        let mut words = rest.split('#').next()?.split_whitespace().map(str::to_string);
        let (uri, suite) = (words.next()?, words.next()?);
        Some(Entry { uri, suites: vec![suite], components: words.collect(), signed_by: signed_by.and_then(file) })
    };
    text.lines().filter_map(entry).collect()
}

/// Entries in the form of stanzas with `URIs:`, `Suites:` and so on.
fn deb822(text: &str) -> Vec<Entry> {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let stanzas = lines.collect::<Vec<_>>();
    stanzas.split(|line| line.trim().is_empty()).flat_map(stanza).collect()
}

fn stanza(lines: &[&str]) -> Vec<Entry> {
    let words = |key: &str| -> Vec<String> {
        let is_key = |line: &&&str| line.split(':').next().is_some_and(|k| k.eq_ignore_ascii_case(key));
        let Some(at) = lines.iter().position(|line| is_key(&line)) else { return Vec::new() };
        let first = lines[at].split_once(':').map_or("", |(_, value)| value);
        let more = lines[at + 1..].iter().take_while(|line| line.starts_with([' ', '\t']));
        std::iter::once(first).chain(more.copied()).flat_map(str::split_whitespace).map(str::to_string).collect()
    };
    let disabled = words("Enabled").first().is_some_and(|value| value == "no");
    if disabled || !words("Types").iter().any(|kind| kind == "deb") {
        return Vec::new();
    }
    let entry = |uri| Entry {
        uri,
        suites: words("Suites"),
        components: words("Components"),
        signed_by: words("Signed-By").first().and_then(|value| file(value)),
    };
    words("URIs").into_iter().map(entry).collect()
}

/// A keyring's file; a fingerprint or an inline key is none.
fn file(value: &str) -> Option<PathBuf> {
    value.starts_with('/').then(|| value.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    const STANZAS: &str = "Types: deb deb-src\n# a comment\nURIs: http://mirror.example/debian\nSuites: bookworm bookworm-updates\n\
        Components: main\n contrib\nSigned-By: /usr/share/keyrings/debian-archive-keyring.gpg\n\n\
        Types: deb\nURIs: https://mirror.example/debian-security\nSuites: bookworm-security\nComponents: main\n\n\
        Types: deb\nEnabled: no\nURIs: http://off.example/debian\nSuites: bookworm\nComponents: main\n";

    #[test]
    fn the_hosts_own_mirror_is_taken() {
        let mut entries = one_line(
            "deb [arch=amd64 signed-by=/etc/apt/keyrings/php.gpg] https://packages.example/debian bookworm main\n\
             deb https://user:secret@mirror.example/debian bookworm main\n\
             deb https://packages.example/php bookworm main\ndeb cdrom:[x]/ bookworm main\n",
        );
        entries.extend(deb822(STANZAS));
        let mirror = Mirror::from_entries(&entries, "bookworm");
        assert_eq!(mirror.archive, "http://mirror.example/debian");
        assert_eq!(mirror.security, "https://mirror.example/debian-security");
        assert_eq!(mirror.keyring, Path::new(DEFAULT_KEYRING));
    }

    #[test]
    fn both_forms_mean_the_same() {
        let line = "deb [signed-by=/k.gpg] http://m.example/debian bookworm main contrib # x\n";
        let text = "types: deb\nuris: http://m.example/debian\nsuites: bookworm\ncomponents: main contrib\nsigned-by: /k.gpg\n";
        assert_eq!(one_line(line), deb822(text));
        assert_eq!(one_line(line)[0].components, ["main", "contrib"]);
        assert!(one_line("deb-src http://m.example/debian bookworm main\n#deb http://x y z\n").is_empty());
    }

    #[test]
    fn another_distribution_uses_the_default() {
        let ubuntu = codename("ID=ubuntu\nVERSION_CODENAME=noble\n");
        let entries = one_line("deb http://archive.ubuntu.com/ubuntu noble main\n");
        assert_eq!(Mirror::from_entries(&entries, &ubuntu).archive, DEFAULT_ARCHIVE);
        assert_eq!(codename("ID=debian\nVERSION_CODENAME=bookworm\n"), "bookworm");
    }

    #[test]
    fn rolling_releases_have_no_updates() {
        let mirror = Mirror::from_entries(&[], "");
        assert_eq!(mirror.lines("sid").count(), 1);
        let lines: Vec<String> = mirror.lines("trixie").collect();
        assert_eq!(lines[2], "deb http://deb.debian.org/debian-security trixie-security main");
    }

    #[test]
    fn only_leftovers_of_ours_are_removed() {
        let scratch = tempfile::tempdir().unwrap();
        fs::create_dir_all(scratch.path().join("root-x/etc")).unwrap();
        fs::write(scratch.path().join("other"), "").unwrap();
        remove_leftovers(scratch.path()).unwrap();
        assert!(!scratch.path().join("root-x").exists() && scratch.path().join("other").exists());
    }

    #[test]
    fn words_of_a_root_are_checked_and_name_its_file() {
        for bad in ["", "../x", "Bookworm", "a b", "a\nb", "-x", "/tmp/evil"] {
            assert!(matches!(Root::new(bad, None), Err(Error::Value { field: "release", .. })), "{bad:?}");
            assert!(matches!(Root::new("sid", Some(bad)), Err(Error::Value { field: "arch", .. })), "{bad:?}");
        }
        let name = |release| Root::new(release, Some("amd64")).unwrap().file_name();
        assert!(name("bookworm").starts_with("debian-bookworm-amd64-") && name("bookworm") != name("sid"));
    }
}
