//! Which profiles take part, in which order, and whose file wins. Pure rules.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use crate::builtin;
use crate::error::{Error, Result};
use crate::files::{self, File, Files, Kind};

/// The name of the root profile.
pub const ROOT: &str = "actual";
const MAX_PROFILES: usize = 1000;
const MAX_LIST: usize = 64 << 10;

/// A profile that takes part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Profile {
    /// Its name, which is that of its folder.
    pub name: String,
    /// The profiles that it extends, in the order in which it names them.
    pub dependencies: Vec<String>,
    /// Whether it has a script to be sourced before any set-up.
    pub environment: bool,
    /// The name of its set-up script.
    pub setup: Option<&'static str>,
    /// Whether it has a script that runs when the data is there.
    pub ready: bool,
    pub(crate) builtin: bool,
}

/// How a file is put into the target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    /// As a link to the file in its profile.
    Link,
    /// As a file, or link, of its own.
    Copy,
    /// As a file of its own that comes from this crate and is never read back.
    Builtin,
}

/// The file that is installed at one place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Winner {
    /// Where it stands beneath the folder of the profiles.
    pub source: PathBuf,
    /// The profile that it comes from.
    pub profile: String,
    /// How it is installed.
    pub how: How,
    /// The file.
    pub file: File,
}

/// The profiles that take part and what they install.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Profiles {
    order: Vec<Profile>,
    winners: BTreeMap<PathBuf, Winner>,
    target: PathBuf,
    distribution: Option<(PathBuf, String)>,
}

impl Profiles {
    /// Reads and checks the files of all profiles, which is everything beneath the profiles' folder but `compiled/`.
    /// No files at all are no profiles.
    ///
    /// ```
    /// use glxc_sysconf::{File, Files, Kind, Profiles};
    ///
    /// let files = Files::from([
    ///     ("actual/deps".into(), File::new(Kind::File, "web\n")),
    ///     ("actual/tree/etc/motd".into(), File::new(Kind::File, "shop\n")),
    ///     ("web/tree/etc/motd".into(), File::new(Kind::File, "some web server\n")),
    /// ]);
    /// let profiles = Profiles::read(&files)?;
    /// let names: Vec<&str> = profiles.order().iter().map(|profile| profile.name.as_str()).collect();
    /// assert_eq!(names, ["web", "actual"]);
    /// assert_eq!(profiles.winners().values().next().unwrap().profile, "actual");
    /// # Ok::<(), glxc_sysconf::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Cycle`], [`Error::Missing`] and [`Error::Clash`] with the chain of profiles; [`Error::Invalid`] for what
    /// can not be a file of a profile.
    pub fn read(files: &Files) -> Result<Self> {
        files::check(files)?;
        if files.is_empty() {
            let nothing = (Vec::new(), BTreeMap::new());
            return Ok(Profiles { order: nothing.0, winners: nothing.1, target: "/".into(), distribution: None });
        }
        let walk = walk(files)?;
        let builtin = walk.order.iter().any(|profile| profile.builtin);
        let mut owned = files.clone();
        if builtin {
            owned.extend(builtin::files());
        }
        let winners = winners(&owned, &walk)?;
        let (target, distribution) = settings(files, &walk.order)?;
        Ok(Profiles { order: walk.order, winners, target, distribution })
    }

    /// The profiles that take part, dependencies first.
    pub fn order(&self) -> &[Profile] {
        &self.order
    }

    /// The files to install, by their paths beneath the target.
    pub fn winners(&self) -> &BTreeMap<PathBuf, Winner> {
        &self.winners
    }

    /// The folder into which they are installed.
    pub fn target(&self) -> &Path {
        &self.target
    }

    /// Checks that the profiles are made for a distribution, where they say which.
    ///
    /// # Errors
    /// [`Error::Invalid`] with the file that says otherwise.
    pub fn check_distribution(&self, name: &str) -> Result<()> {
        match &self.distribution {
            Some((path, own)) if !own.eq_ignore_ascii_case(name) => {
                Err(Error::invalid(path, format!("made for {}, but the container is {name}", own.escape_debug())))
            }
            _ => Ok(()),
        }
    }
}

/// The profiles in order and from whom each was reached first.
struct Walk {
    order: Vec<Profile>,
    via: HashMap<String, Option<String>>,
}

impl Walk {
    /// The names from the root profile to one.
    fn chain(&self, name: &str) -> Vec<String> {
        chain(&self.via, name)
    }
}

fn chain(via: &HashMap<String, Option<String>>, name: &str) -> Vec<String> {
    let mut chain = vec![name.to_owned()];
    while let Some(Some(parent)) = via.get(&chain[chain.len() - 1]) {
        chain.push(parent.clone());
    }
    chain.reverse();
    chain
}

/// Walks depth first with a stack of its own: the depth is a stranger's.
fn walk(files: &Files) -> Result<Walk> {
    let root = root_folder(files)?;
    let mut walk = Walk { order: Vec::new(), via: HashMap::from([(root.clone(), None)]) };
    let mut open = vec![(profile(files, &root)?.ok_or(Error::Missing { chain: vec![root.clone()] })?, 0)];
    let mut names = HashSet::from([root]);
    while let Some((top, at)) = open.last_mut() {
        let Some(name) = top.dependencies.get(*at).cloned() else {
            names.remove(&top.name);
            walk.order.extend(open.pop().map(|(done, _)| done));
            continue;
        };
        *at += 1;
        let parent = top.name.clone();
        if names.contains(&name) {
            let chain = open.into_iter().map(|(profile, _)| profile.name).chain([name]).collect();
            return Err(Error::Cycle { chain });
        }
        if walk.via.contains_key(&name) {
            continue;
        }
        if walk.via.len() == MAX_PROFILES {
            return Err(Error::invalid(ROOT, format!("more than {MAX_PROFILES} profiles")));
        }
        walk.via.insert(name.clone(), Some(parent));
        let Some(next) = profile(files, &name)? else {
            return Err(Error::Missing { chain: walk.chain(&name) });
        };
        names.insert(name);
        open.push((next, 0));
    }
    Ok(walk)
}

/// The folder of the root profile: `actual`, or the one that the link `actual` names.
fn root_folder(files: &Files) -> Result<String> {
    let Some(link) = files.get(Path::new(ROOT)) else { return Ok(ROOT.into()) };
    let name = std::str::from_utf8(&link.content).unwrap_or_default().trim_end_matches('/');
    let name = name.strip_prefix("./").unwrap_or(name);
    if link.kind != Kind::Link || !is_name(name) || name == ROOT {
        return Err(Error::invalid(ROOT, "must be a folder, or a link to the folder of a profile beside it"));
    }
    Ok(name.into())
}

fn is_name(name: &str) -> bool {
    let good = |b: u8| b.is_ascii_alphanumeric() || b"._-+".contains(&b);
    name.len() <= 100 && name.bytes().all(good) && name.starts_with(|c: char| c.is_ascii_alphanumeric())
}

/// Reads one profile; `None` where it has no file at all.
fn profile(files: &Files, name: &str) -> Result<Option<Profile>> {
    let own = |entry: &str| plain(files, &Path::new(name).join(entry));
    if !within(files, Path::new(name)).any(|(path, _)| path != Path::new(name)) {
        return Ok((name == builtin::NAME).then(builtin::profile));
    }
    if files.contains_key(&Path::new(name).join("tree")) {
        return Err(Error::invalid(Path::new(name).join("tree"), "must be a folder"));
    }
    let dependencies = match own("deps")? {
        Some(file) => list(&Path::new(name).join("deps"), file)?,
        None => Vec::new(),
    };
    if let Some(bad) = dependencies.iter().find(|name| !is_name(name)) {
        return Err(Error::invalid(
            Path::new(name).join("deps"),
            format!("not a name of a profile: {}", bad.escape_debug()),
        ));
    }
    let mut setup = None;
    for script in ["install.sh", "setup.rc"] {
        setup = own(script)?.map(|_| script).or(setup);
    }
    let (environment, ready) = (own("environment.rc")?.is_some(), own("ready.rc")?.is_some());
    Ok(Some(Profile { name: name.into(), dependencies, environment, setup, ready, builtin: false }))
}

/// The files beneath a folder, with their whole paths.
fn within<'a>(files: &'a Files, folder: &'a Path) -> impl Iterator<Item = (&'a PathBuf, &'a File)> {
    files.range(folder.to_path_buf()..).take_while(move |(path, _)| path.starts_with(folder))
}

/// A file that must be a plain one.
fn plain<'a>(files: &'a Files, path: &Path) -> Result<Option<&'a File>> {
    match files.get(path) {
        Some(file) if file.kind == Kind::Link => Err(Error::invalid(path, "must be a plain file, not a link")),
        None if within(files, path).any(|_| true) => Err(Error::invalid(path, "must be a plain file, not a folder")),
        other => Ok(other),
    }
}

/// The words of a file: one or more a line, `#` begins a comment.
fn list(path: &Path, file: &File) -> Result<Vec<String>> {
    if file.content.len() > MAX_LIST {
        return Err(Error::invalid(path, format!("longer than {MAX_LIST} bytes")));
    }
    let text = std::str::from_utf8(&file.content).map_err(|_| Error::invalid(path, "not UTF-8"))?;
    let lines = text.lines().map(|line| line.split('#').next().unwrap_or_default());
    Ok(lines.flat_map(str::split_whitespace).map(str::to_owned).collect())
}

/// The paths of a `copy` file, one a line, beneath the target.
fn copies(files: &Files, order: &[Profile]) -> Result<Vec<PathBuf>> {
    let mut all = Vec::new();
    for profile in order {
        let path = Path::new(&profile.name).join("copy");
        let Some(file) = plain(files, &path)? else { continue };
        for line in file.content.split(|b| *b == b'\n') {
            let line = line.trim_ascii();
            if !line.is_empty() && !line.starts_with(b"#") {
                let entry = Path::new(OsStr::from_bytes(line));
                all.push(entry.strip_prefix("/").unwrap_or(entry).to_path_buf());
            }
        }
    }
    Ok(all)
}

/// For each profile in order, which of the earlier ones it depends on, directly or not.
fn reachable(order: &[Profile]) -> Vec<Vec<bool>> {
    let index: HashMap<&str, usize> = order.iter().enumerate().map(|(i, profile)| (profile.name.as_str(), i)).collect();
    let mut all: Vec<Vec<bool>> = Vec::new();
    for profile in order {
        let mut own = vec![false; order.len()];
        for &dependency in profile.dependencies.iter().filter_map(|name| index.get(name.as_str())) {
            own[dependency] = true;
            own.iter_mut().zip(&all[dependency]).for_each(|(own, theirs)| *own |= theirs);
        }
        all.push(own);
    }
    all
}

fn winners(files: &Files, walk: &Walk) -> Result<BTreeMap<PathBuf, Winner>> {
    let mut owners: BTreeMap<PathBuf, Vec<usize>> = BTreeMap::new();
    for (index, profile) in walk.order.iter().enumerate() {
        let tree = Path::new(&profile.name).join("tree");
        for (path, _) in within(files, &tree) {
            let place = path.strip_prefix(&tree).unwrap_or(path).to_path_buf();
            owners.entry(place).or_default().push(index);
        }
    }
    let (reachable, copies) = (reachable(&walk.order), copies(files, &walk.order)?);
    let mut winners = BTreeMap::new();
    for (place, owners) in owners {
        let profile = &walk.order[winner(files, walk, &reachable, &place, &owners)?];
        let source = source(profile, &place);
        let file = files[&source].clone();
        let copied = file.kind == Kind::Link || copies.iter().any(|path| place.starts_with(path));
        let how = match (profile.builtin, copied) {
            (true, _) => How::Builtin,
            (_, true) => How::Copy,
            _ => How::Link,
        };
        winners.insert(place, Winner { source, profile: profile.name.clone(), how, file });
    }
    files::nested(winners.keys())?;
    Ok(winners)
}

fn source(profile: &Profile, place: &Path) -> PathBuf {
    Path::new(&profile.name).join("tree").join(place)
}

/// Of several profiles that have a file, the one on which no other of them builds. Where there are more, all
/// must agree.
fn winner(files: &Files, walk: &Walk, reachable: &[Vec<bool>], place: &Path, owners: &[usize]) -> Result<usize> {
    let over = |lower: &usize| !owners.iter().any(|upper| reachable[*upper][*lower]);
    let top: Vec<usize> = owners.iter().copied().filter(over).collect();
    let file = |index: usize| &files[&source(&walk.order[index], place)];
    match top.iter().find(|index| file(**index) != file(top[0])) {
        None => Ok(top[top.len() - 1]),
        Some(other) => Err(Error::Clash {
            path: place.to_path_buf(),
            first: walk.chain(&walk.order[top[0]].name),
            second: walk.chain(&walk.order[*other].name),
        }),
    }
}

/// The target and the distribution: one word in a file beside the profiles or in one of them, and all agree.
fn settings(files: &Files, order: &[Profile]) -> Result<(PathBuf, Option<(PathBuf, String)>)> {
    let folders = || std::iter::once(PathBuf::new()).chain(order.iter().map(|profile| PathBuf::from(&profile.name)));
    let setting = |name: &str| -> Result<Option<(PathBuf, String)>> {
        let mut found: Option<(PathBuf, String)> = None;
        for path in folders().map(|folder| folder.join(name)) {
            // A profile may be called `type` or `target`.
            let Some(file) = files.get(&path) else { continue };
            let words = list(&path, file)?;
            let [word] = words.as_slice() else { return Err(Error::invalid(path, "must be one word")) };
            match &found {
                Some((other, first)) if first != word => {
                    return Err(Error::invalid(path, format!("differs from {}", crate::error::shown(other))));
                }
                _ => found = Some((path, word.clone())),
            }
        }
        Ok(found)
    };
    let target = match setting("target")? {
        None => PathBuf::from("/"),
        Some((path, target)) => {
            let target = PathBuf::from(target);
            let up = target.components().any(|c| c == Component::ParentDir);
            if !target.is_absolute() || up {
                return Err(Error::invalid(path, "must be an absolute path"));
            }
            target
        }
    };
    Ok((target, setting("type")?))
}

#[cfg(test)]
#[path = "profiles_tests.rs"]
mod tests;
