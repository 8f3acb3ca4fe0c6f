//! `glxc init`: makes a container a remote of the repository.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use glxc_transport::CONFIG_FILE;

use super::error::{Error, Exit, Result, say};
use super::keeper::is_whole;
use super::repository::{Repository, branch_key, ext_url, guest_key, is_ours, locate};
use crate::protocol::Name;

const CONFIG: &str = include_str!("glxc.toml");

/// Sets everything up, or repairs it, and says what it did.
pub(super) fn init(name: &Name, branch: Option<&str>, guest: Option<&Path>) -> Result<()> {
    let top = locate("--show-toplevel")?
        .map_err(|error| error.hint("run it inside the work tree of a git repository; `git init` makes one"))?;
    let Some(repository) = Repository::discover()? else {
        return Err(Error::new(Exit::NotFound, "no git repository is here"));
    };
    repository.check_kind()?;
    let common = locate("--git-common-dir")??;
    let common = common.canonicalize().map_err(Error::io("open", &common))?;
    let init = Init { name, repository: &repository };
    let branch = init.branch(branch)?;
    init.check_remote()?;
    let guest = guest.map(check_guest).transpose()?;
    let mut done = Vec::new();
    let program = common.join("glxc");
    if install(&program)? {
        done.push(format!("installed {}", program.display()));
    }
    done.extend(init.configure(&program, &branch)?);
    if let Some(guest) = guest
        && init.ensure(&guest_key(name), guest.as_os_str())?
    {
        done.push(format!("named {} as the guest", guest.display()));
    }
    if write_config(&top)? {
        done.push(format!("wrote {CONFIG_FILE}"));
    }
    done.iter().for_each(|line| say(line));
    match done.is_empty() {
        true => say(&format!("`{name}` is set up already, bound to branch `{branch}`")),
        false => say(&format!(
            "next: edit {CONFIG_FILE}, then `git add {CONFIG_FILE}`, `git commit` and `git push {name} {branch}`"
        )),
    }
    Ok(())
}

struct Init<'a> {
    name: &'a Name,
    repository: &'a Repository,
}

impl Init<'_> {
    /// The branch to bind: the one asked for, else the one bound already, else the current one.
    fn branch(&self, asked: Option<&str>) -> Result<String> {
        let git = &self.repository.git;
        let branch = match (asked, self.repository.bound(self.name)?) {
            (Some(branch), _) => branch.to_owned(),
            (None, Some(bound)) => bound,
            (None, None) => match git.optional(&["symbolic-ref", "--quiet", "--short", "HEAD"])? {
                Some(branch) => String::from_utf8_lossy(branch.trim_ascii_end()).into_owned(),
                None => {
                    let error = Error::new(Exit::Usage, "no branch is checked out, so none can be bound");
                    return Err(error.hint(format!("name one: `glxc init {} --branch BRANCH`", self.name)));
                }
            },
        };
        let valid = |name: &str| git.optional(&["check-ref-format", name]);
        if branch.starts_with('-') || valid(&format!("refs/heads/{branch}"))?.is_none() {
            return Err(Error::new(Exit::Usage, format!("\"{}\" is no name for a branch", branch.escape_debug())));
        }
        if valid(&format!("refs/remotes/{}/{branch}", self.name))?.is_none() {
            return Err(Error::new(Exit::Usage, format!("git does not take `{}` as the name of a remote", self.name)));
        }
        Ok(branch)
    }

    /// Refuses to take over a remote that somebody else made.
    fn check_remote(&self) -> Result<()> {
        let Some(url) = self.setting(&self.remote("url"))? else { return Ok(()) };
        if is_ours(&url, self.name) {
            return Ok(());
        }
        let name = self.name;
        let message = format!("this repository has a remote `{name}` already: {}", url.to_string_lossy());
        let hint = format!("choose another name, or remove it first: `git remote remove {name}`");
        Err(Error::new(Exit::Conflict, message).hint(hint))
    }

    fn configure(&self, program: &Path, branch: &str) -> Result<Vec<String>> {
        let name = self.name;
        let mut done = Vec::new();
        let url = ext_url(program, name);
        let fetch = format!("+refs/heads/*:refs/remotes/{name}/*");
        let remote = [("url", url.as_os_str()), ("fetch", OsStr::new(&fetch)), ("tagOpt", OsStr::new("--no-tags"))];
        let mut changed = false;
        for (key, value) in remote {
            changed |= self.ensure(&self.remote(key), value)?;
        }
        if changed {
            done.push(format!("registered the remote `{name}`"));
        }
        if self.ensure(&branch_key(name), OsStr::new(branch))? {
            done.push(format!("bound branch `{branch}` to `{name}`"));
        }
        if self.ensure("protocol.ext.allow", OsStr::new("user"))? {
            done.push("allowed git to run programs as remotes, in this repository alone".into());
        }
        if self.ensure("fetch.fsckObjects", OsStr::new("true"))? {
            done.push("set git to check what is fetched".into());
        }
        Ok(done)
    }

    fn remote(&self, key: &str) -> String {
        format!("remote.{}.{key}", self.name)
    }

    /// The value of a setting, as it is.
    fn setting(&self, key: &str) -> Result<Option<OsString>> {
        let value = self.repository.git.optional(&["config", "--local", "--null", "--get", key])?;
        Ok(value.map(|mut value| {
            value.pop_if(|last| *last == 0);
            OsString::from_vec(value)
        }))
    }

    /// Gives a setting a value; whether it had another.
    fn ensure(&self, key: &str, value: &OsStr) -> Result<bool> {
        if self.setting(key)?.as_deref() == Some(value) {
            return Ok(false);
        }
        let arguments = [OsStr::new("config"), "--local".as_ref(), "--replace-all".as_ref(), key.as_ref(), value];
        self.repository.git.output(&arguments)?;
        Ok(true)
    }
}

/// The absolute path of a program that can be sent into a container.
fn check_guest(path: &Path) -> Result<PathBuf> {
    let absolute = path.canonicalize().map_err(Error::io("open", path))?;
    let mut first = [0; 4];
    File::open(&absolute).and_then(|mut file| file.read_exact(&mut first)).map_err(Error::io("read", path))?;
    match &first == b"\x7fELF" && absolute.to_str().is_some() {
        true => Ok(absolute),
        false => {
            let error = Error::new(Exit::Usage, format!("{} is no program for Linux", path.display()));
            Err(error.hint("a guest is a program that calls `glxc::guest::main`, linked statically"))
        }
    }
}

/// Puts this program at a path, unless it is there already: as a copy, or as a link where it needs the parts that lie
/// beside it.
fn install(target: &Path) -> Result<bool> {
    let program =
        std::env::current_exe().and_then(|path| path.canonicalize()).map_err(Error::io("find", "this program"))?;
    if target.canonicalize().is_ok_and(|there| there == program) {
        return Ok(false);
    }
    let failed = || Error::io("write", target);
    let bytes = fs::read(&program).map_err(Error::io("read", &program))?;
    let there = fs::symlink_metadata(target).ok();
    if is_whole() && there.is_some_and(|there| there.is_file()) && fs::read(target).is_ok_and(|there| there == bytes) {
        return Ok(false);
    }
    let folder = target.parent().unwrap_or(Path::new("/"));
    let scratch = tempfile::Builder::new().prefix(".glxc").tempdir_in(folder).map_err(failed())?;
    let fresh = scratch.path().join("glxc");
    let written = match is_whole() {
        true => fs::write(&fresh, bytes).and_then(|()| fs::set_permissions(&fresh, Permissions::from_mode(0o755))),
        false => symlink(&program, &fresh),
    };
    written.and_then(|()| fs::rename(&fresh, target)).map_err(failed())?;
    Ok(true)
}

/// Writes a first `glxc.toml`, unless something of that name is there. A link is not followed.
fn write_config(top: &Path) -> Result<bool> {
    let path = top.join(CONFIG_FILE);
    match OpenOptions::new().write(true).create_new(true).open(&path) {
        Ok(mut file) => file.write_all(CONFIG.as_bytes()).map(|()| true).map_err(Error::io("write", &path)),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(Error::io("write", &path)(error)),
    }
}

#[cfg(test)]
mod tests {
    use glxc_transport::Config;

    /// The lines that are comments hold settings too, which must be right when somebody uncomments them.
    #[test]
    fn the_first_config_is_valid_with_and_without_its_comments() {
        let config = Config::parse(super::CONFIG).unwrap();
        assert_eq!(config.container.release.as_deref(), Some("bookworm"));
        let uncommented: String =
            super::CONFIG.lines().map(|line| line.strip_prefix("#| ").unwrap_or(line).to_owned() + "\n").collect();
        let config = Config::parse(&uncommented).unwrap();
        assert_eq!(config.states.iter().map(|state| state.name()).collect::<Vec<_>>(), ["shop", "uploads"]);
        assert!(config.url.is_some());
    }
}
