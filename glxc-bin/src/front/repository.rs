//! The user's repository, which is seen through git only.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::{env, str};

use glxc_transport::{CONFIG_FILE, Config, Git, ObjectId};

use super::error::{Error, Exit, Result};
use crate::protocol::Name;

/// The largest `glxc.toml` that is read, in bytes.
const LARGEST_CONFIG: usize = 1 << 20;

/// What git may know of the user's environment where it looks for the repository: where it is, and whom to trust.
const KEPT: [&str; 5] = ["HOME", "XDG_CONFIG_HOME", "SUDO_UID", "GIT_DIR", "GIT_WORK_TREE"];

#[derive(Debug)]
pub(super) struct Repository {
    pub(super) git: Git,
}

impl Repository {
    /// The repository for which git runs this program, if there is one.
    pub(super) fn of_git() -> Result<Option<Self>> {
        let Some(dir) = env::var_os("GIT_DIR") else { return Ok(None) };
        let dir = Path::new(&dir).canonicalize().map_err(Error::io("open", &dir))?;
        Ok(Some(Repository::at(dir)))
    }

    /// The repository of the working folder, if there is one.
    pub(super) fn discover() -> Result<Option<Self>> {
        Ok(locate("--absolute-git-dir")?.ok().map(Repository::at))
    }

    fn at(dir: PathBuf) -> Self {
        let plain = [(OsString::from("GIT_NO_REPLACE_OBJECTS"), OsString::from("1"))];
        Repository { git: Git::new(dir).with_environment(plain) }
    }

    /// Refuses what the container's side does not know yet.
    pub(super) fn check_kind(&self) -> Result<()> {
        let said = self.git.output(&["rev-parse", "--show-object-format", "--is-shallow-repository"])?;
        let said = String::from_utf8_lossy(&said);
        let (format, shallow) = said.trim_end().split_once('\n').unwrap_or((&said, ""));
        if format != "sha1" {
            let error = Error::new(Exit::Failed, "repositories with SHA-256 objects are not supported yet");
            return Err(error.hint("use a repository with SHA-1 objects, which is git's default"));
        }
        if shallow == "true" {
            let error = Error::new(Exit::Failed, "shallow repositories are not supported yet");
            return Err(error.hint("`git fetch --unshallow` completes it"));
        }
        Ok(())
    }

    /// The branch that is bound to a container.
    pub(super) fn bound(&self, name: &Name) -> Result<Option<String>> {
        Ok(self.git.setting(&branch_key(name))?)
    }

    /// The guest that is to serve a container, where it is not ours.
    pub(super) fn guest(&self, name: &Name) -> Result<Option<PathBuf>> {
        Ok(self.git.setting(&guest_key(name))?.map(PathBuf::from))
    }

    /// The `glxc.toml` of a commit.
    pub(super) fn config_of(&self, commit: &ObjectId) -> Result<Config> {
        let entry = self.git.output(&["ls-tree", "-z", "-l", "--full-tree", commit.as_str(), "--", CONFIG_FILE])?;
        let entry = String::from_utf8_lossy(&entry).into_owned();
        let words: Vec<&str> = entry.split(['\t', ' ']).filter(|word| !word.is_empty()).collect();
        let blob = match words[..] {
            ["100644" | "100755", "blob", id, size, _]
                if size.parse().is_ok_and(|size: usize| size <= LARGEST_CONFIG) =>
            {
                id
            }
            [] => {
                let message = format!("commit {} has no {CONFIG_FILE}", commit.short());
                return Err(
                    Error::new(Exit::Failed, message).hint("`glxc init` writes one; commit it, then push again")
                );
            }
            _ => {
                let message = format!("{CONFIG_FILE} of commit {} is no plain file of at most 1 MiB", commit.short());
                return Err(Error::new(Exit::Failed, message));
            }
        };
        parse_config(&self.git.output(&["cat-file", "blob", blob])?)
            .map_err(|error| error.hint(format!("correct it, commit, then push again (commit {})", commit.short())))
    }

    /// Whether a commit or a tag is here and reachable from a ref, so that it is not lost.
    pub(super) fn keeps(&self, object: &ObjectId) -> Result<bool> {
        let object = object.as_str();
        let Ok(kind) = self.git.output(&["cat-file", "-t", object]) else { return Ok(false) };
        // That a commit is reachable says nothing of the tag that names it.
        let how = if kind.trim_ascii() == b"commit" { "--contains" } else { "--points-at" };
        let refs = self.git.output(&["for-each-ref", "--count=1", how, object])?;
        Ok(!refs.is_empty())
    }
}

/// The setting that binds a branch to a container.
pub(super) fn branch_key(name: &Name) -> String {
    format!("glxc.{name}.branch")
}

/// The setting that names a guest for a container.
pub(super) fn guest_key(name: &Name) -> String {
    format!("glxc.{name}.guest")
}

/// Reads a `glxc.toml`.
pub(super) fn parse_config(bytes: &[u8]) -> Result<Config> {
    let text = str::from_utf8(bytes)
        .map_err(|error| Error::new(Exit::Failed, format!("{CONFIG_FILE} is not UTF-8 text")).because(&error))?;
    Config::parse(text).map_err(|error| Error::new(Exit::Failed, error.to_string()))
}

/// Asks git about the repository of the working folder. Inside is git's answer that there is none.
pub(super) fn locate(question: &str) -> Result<Result<PathBuf>> {
    let output = Command::new("git")
        .env_clear()
        .env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
        .env("LC_ALL", "C")
        .envs(KEPT.into_iter().filter_map(|name| Some((name, env::var_os(name)?))))
        .args(["rev-parse", question])
        .stdin(Stdio::null())
        .output()
        .map_err(Error::io("run", "git"))?;
    if output.status.success() {
        let path = output.stdout.strip_suffix(b"\n").unwrap_or(&output.stdout).to_vec();
        return Ok(Ok(PathBuf::from(OsString::from_vec(path))));
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let said = said.lines().next().unwrap_or_default().trim_start_matches("fatal: ");
    Ok(Err(Error::new(Exit::NotFound, said)))
}

/// The address with which git runs `program git-remote SERVICE NAME`: ext:: splits at spaces and expands `%`.
pub(super) fn ext_url(program: &Path, name: &Name) -> OsString {
    let mut url = b"ext::".to_vec();
    for byte in program.as_os_str().as_bytes() {
        match byte {
            b'%' | b' ' => url.extend([b'%', *byte]),
            byte => url.push(*byte),
        }
    }
    url.extend(format!(" git-remote %S {name}").bytes());
    OsString::from_vec(url)
}

/// Whether an address is one of ours for this container, wherever the program was.
pub(super) fn is_ours(url: &OsStr, name: &Name) -> bool {
    let url = url.as_bytes();
    url.starts_with(b"ext::/") && url.ends_with(format!("/glxc git-remote %S {name}").as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_encode_what_ext_expands() {
        let name = Name::new("demo").unwrap();
        let url = ext_url(Path::new("/w $(touch X) %x/.git/glxc"), &name);
        assert_eq!(url, "ext::/w% $(touch% X)% %%x/.git/glxc git-remote %S demo");
        assert!(is_ours(&url, &name));
        for foreign in
            ["https://example.org/demo", "ext::ssh box git-remote %S demo", "ext::/x/glxc git-remote %S other"]
        {
            assert!(!is_ours(OsStr::new(foreign), &name), "{foreign}");
        }
    }
}
