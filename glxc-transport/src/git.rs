//! git as a child process. Every call goes through [`Git`], which fixes environment, configuration and locale.
//!
//! git itself is used for objects too, rather than a library: `cat-file` and `fast-import` stream contents of any
//! size, see the quarantine of a push by git's own rules, and there is one reader of the repository instead of two.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};

use crate::objects::Idle;
use crate::{Error, Result};

/// The first git that has all that is used here (`cat-file` and `fast-import` as they are, `proc-receive` from 2.29).
pub const MINIMUM_VERSION: (u32, u32) = (2, 29);

/// A repository and the environment in which git sees it.
#[derive(Clone, Debug)]
pub struct Git {
    dir: PathBuf,
    environment: Vec<(OsString, OsString)>,
    pub(crate) idle: Idle,
    settings: Arc<Mutex<Option<Settings>>>,
}

/// The settings of a repository.
type Settings = BTreeMap<String, String>;

/// The id of a git object, 40 lower case hex digits.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ObjectId(String);

impl ObjectId {
    /// Takes an id as git prints it.
    ///
    /// # Errors
    /// [`Error::Protocol`] where it is not 40 hex digits.
    pub fn new(hex: impl AsRef<[u8]>) -> Result<Self> {
        let hex = hex.as_ref();
        let digit = |b: &u8| b.is_ascii_digit() || (b'a'..=b'f').contains(b);
        match hex.len() == 40 && hex.iter().all(digit) {
            true => Ok(ObjectId(String::from_utf8_lossy(hex).into_owned())),
            false => Err(Error::Protocol(format!("not an object id: {}", hex.escape_ascii()))),
        }
    }

    /// The id that git writes where there is no object.
    pub fn zero() -> Self {
        ObjectId("0".repeat(40))
    }

    /// Whether it is [`ObjectId::zero`].
    pub fn is_zero(&self) -> bool {
        self.0.bytes().all(|b| b == b'0')
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The first twelve digits, for people.
    pub fn short(&self) -> &str {
        &self.0[..12]
    }
}

impl fmt::Display for ObjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for ObjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for ObjectId {
    type Error = Error;

    fn try_from(hex: String) -> Result<Self> {
        ObjectId::new(hex)
    }
}

impl From<ObjectId> for String {
    fn from(id: ObjectId) -> String {
        id.0
    }
}

impl Git {
    /// The repository whose git directory is `dir`.
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Git { dir: dir.into(), environment: Vec::new(), idle: Idle::default(), settings: Arc::default() }
    }

    /// The same repository seen with further environment variables (the quarantine of a push).
    #[must_use]
    pub fn with_environment(mut self, environment: impl IntoIterator<Item = (OsString, OsString)>) -> Self {
        self.environment.extend(environment);
        self.idle = Idle::default();
        self
    }

    /// The git directory.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// A command, ready for its arguments: no terminal, no user's or system's configuration, C locale.
    pub fn command(&self) -> Command {
        let mut command = Command::new("git");
        command
            .env_clear()
            .env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
            .env("LC_ALL", "C")
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .env("GIT_DIR", &self.dir)
            .envs(self.environment.iter().map(|(key, value)| (key, value)))
            .current_dir(&self.dir)
            .stdin(Stdio::null());
        command
    }

    /// Runs a subcommand and returns what it prints.
    ///
    /// # Errors
    /// [`Error::Git`] with git's own words where it fails, [`Error::Io`] where it can not be run.
    pub fn output<A: AsRef<OsStr>>(&self, arguments: &[A]) -> Result<Vec<u8>> {
        match self.outcome(arguments)? {
            (Some(0), output, _) => Ok(output),
            (_, _, message) => Err(Error::git(&first(arguments), message)),
        }
    }

    /// Runs a subcommand that answers 1 for "no" or "not there".
    ///
    /// # Errors
    /// As for [`Git::output`], for other failures.
    pub fn optional<A: AsRef<OsStr>>(&self, arguments: &[A]) -> Result<Option<Vec<u8>>> {
        match self.outcome(arguments)? {
            (Some(0), output, _) => Ok(Some(output)),
            (Some(1), _, _) => Ok(None),
            (_, _, message) => Err(Error::git(&first(arguments), message)),
        }
    }

    fn outcome<A: AsRef<OsStr>>(&self, arguments: &[A]) -> Result<(Option<i32>, Vec<u8>, String)> {
        let _span = tracing::debug_span!("git", command = first(arguments)).entered();
        let output = self.command().args(arguments).output().map_err(Error::io("run", "git"))?;
        let message = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        Ok((output.status.code(), output.stdout, message))
    }

    /// Runs a subcommand that reads `input`, which must be small enough for it to read before it prints much.
    ///
    /// # Errors
    /// As for [`Git::output`].
    pub fn feed<A: AsRef<OsStr>>(&self, arguments: &[A], input: &[u8]) -> Result<Vec<u8>> {
        let _span = tracing::debug_span!("git", command = first(arguments)).entered();
        let mut command = self.command();
        command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().map_err(Error::io("run", "git"))?;
        // A child that fails early does not read on; what it says is in its output.
        let _ = child.stdin.take().map(|mut stdin| stdin.write_all(input));
        let output = child.wait_with_output().map_err(Error::io("run", "git"))?;
        let message = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        if output.status.success() { Ok(output.stdout) } else { Err(Error::git(&first(arguments), message)) }
    }

    /// What a ref of this full name points to.
    ///
    /// # Errors
    /// As for [`Git::output`].
    pub fn reference(&self, name: &str) -> Result<Option<ObjectId>> {
        Ok(self.list_references(&[name])?.remove(name))
    }

    /// All refs, by their full names.
    ///
    /// # Errors
    /// As for [`Git::output`].
    pub fn references(&self) -> Result<BTreeMap<String, ObjectId>> {
        self.list_references(&[])
    }

    fn list_references(&self, patterns: &[&str]) -> Result<BTreeMap<String, ObjectId>> {
        let listing = self.output(&[&["for-each-ref", "--format=%(objectname) %(refname)"], patterns].concat())?;
        let lines = String::from_utf8_lossy(&listing);
        lines
            .lines()
            .filter_map(|line| line.split_once(' '))
            .map(|(id, name)| Ok((name.into(), ObjectId::new(id)?)))
            .collect()
    }

    /// The object that a revision means, in git's own words: a name that is no full one may mean several things.
    ///
    /// # Errors
    /// As for [`Git::output`].
    pub fn resolve(&self, revision: &str) -> Result<Option<ObjectId>> {
        let found = self.optional(&["rev-parse", "--verify", "--quiet", "--end-of-options", revision])?;
        found.map(|line| ObjectId::new(line.trim_ascii())).transpose()
    }

    /// Whether `ancestor` is an ancestor of `commit`, or the same.
    ///
    /// # Errors
    /// As for [`Git::output`].
    pub fn is_ancestor(&self, ancestor: &ObjectId, commit: &ObjectId) -> Result<bool> {
        Ok(self.optional(&["merge-base", "--is-ancestor", ancestor.as_str(), commit.as_str()])?.is_some())
    }

    /// The value of a setting of this repository; the last one where it has several.
    ///
    /// # Errors
    /// As for [`Git::output`].
    pub fn setting(&self, key: &str) -> Result<Option<String>> {
        let mut settings = self.settings.lock().unwrap_or_else(PoisonError::into_inner);
        let settings = match &mut *settings {
            Some(known) => known,
            none => none.insert(self.list_settings()?),
        };
        Ok(settings.get(&listed_key(key)).cloned())
    }

    /// All settings are read at once.
    fn list_settings(&self) -> Result<Settings> {
        let listing = self.output(&["config", "--local", "--list", "-z"])?;
        let records = listing.split(|b| *b == 0).map(String::from_utf8_lossy);
        let pairs = records.filter_map(|record| record.split_once('\n').map(|(key, value)| (key.into(), value.into())));
        Ok(pairs.collect())
    }

    /// What was read of the settings may be old: another process changes them under the lock.
    pub(crate) fn forget_settings(&self) {
        *self.settings.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Sets a setting of this repository.
    ///
    /// # Errors
    /// As for [`Git::output`].
    pub fn set(&self, key: &str, value: &str) -> Result<()> {
        self.output(&["config", "--local", "--replace-all", key, value])?;
        self.forget_settings();
        Ok(())
    }

    /// Starts a subcommand that is written to and read from.
    pub(crate) fn spawn<A: AsRef<OsStr>>(&self, arguments: &[A]) -> Result<Child> {
        let mut command = self.command();
        command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::inherit());
        command.spawn().map_err(Error::io("run", "git"))
    }
}

/// A key as git lists it: the section and the name in small letters, and what is between them as it is.
fn listed_key(key: &str) -> String {
    let (section, rest) = key.split_once('.').unwrap_or((key, ""));
    match rest.rsplit_once('.') {
        Some((middle, name)) => format!("{}.{middle}.{}", section.to_ascii_lowercase(), name.to_ascii_lowercase()),
        None => key.to_ascii_lowercase(),
    }
}

fn first<A: AsRef<OsStr>>(arguments: &[A]) -> String {
    arguments.first().map_or(String::new(), |a| a.as_ref().to_string_lossy().into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_read_once_and_again_after_a_change() {
        let folder = tempfile::tempdir().unwrap();
        let git = Git::new(folder.path());
        git.output(&["init", "-q", "--bare"]).unwrap();
        for (key, value) in [("core.hooksPath", "/a\nb "), ("glxc.Big.Name.branch", "dev"), ("glxc.branch", "main")] {
            assert_eq!(git.setting(key).unwrap(), None);
            git.set(key, value).unwrap();
            assert_eq!(git.setting(key).unwrap().as_deref(), Some(value));
        }
        assert_eq!(git.setting("glxc.big.name.branch").unwrap(), None, "the middle is as it was written");
        git.output(&["config", "--add", "glxc.branch", "last"]).unwrap();
        assert_eq!(git.setting("glxc.branch").unwrap().unwrap(), "main", "this repository knows it already");
        git.forget_settings();
        assert_eq!(git.setting("glxc.branch").unwrap().unwrap(), "last");
    }
}
