//! `glxc destroy`: nothing live is lost, unless the user says so.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use glxc_transport::{Git, ObjectId};
use tempfile::{NamedTempFile, TempDir};

use super::error::{Error, Exit, Result, say};
use super::keeper::Keeper;
use super::remote::missing;
use super::repository::Repository;
use crate::protocol::{Name, Request, State};

/// How many bundles are written where the state changes while one is: then something writes all the time.
const BUNDLES: usize = 3;

/// Branches and tags by their full names.
type Refs = BTreeMap<String, ObjectId>;

/// Removes a container, after its state is in this repository or in a bundle; or with `discard` at once.
pub(super) fn destroy(name: &Name, discard: bool) -> Result<()> {
    let repository = Repository::discover()?;
    let branch = repository.as_ref().map(|repository| repository.bound(name)).transpose()?.flatten();
    let mut keeper = Keeper::start()?.with_environment(name, branch.as_deref());
    if !discard {
        let Some(container) = keeper.info(name)? else {
            return Err(missing(name).hint("`glxc list` shows what is there; --discard removes what is half-made"));
        };
        if container.state != State::Running {
            say(&format!("starting `{name}` to save its state"));
        }
        keeper.running(container)?;
        save(&mut keeper, name, repository.as_ref()).map_err(|error| {
            error.hint(format!("nothing was removed; `glxc destroy {name} --discard` does not save"))
        })?;
    }
    keeper.call(&Request::Destroy { name: name.clone() })?;
    say(&format!("container `{name}` is removed"));
    Ok(())
}

/// Exports the state until nothing comes that is not in this repository or in a bundle. Who calls it destroys the
/// container at once: what is written from here on is lost.
fn save(keeper: &mut Keeper, name: &Name, repository: Option<&Repository>) -> Result<()> {
    let mut saved: Option<(PathBuf, Refs)> = None;
    for bundles in 0..=BUNDLES {
        let refs = parse_refs(&keeper.ask_guest(name, "export")?)?;
        if refs.is_empty() {
            let message = format!("nothing was ever pushed to `{name}`, so there is nothing to save");
            return Err(Error::new(Exit::Failed, message));
        }
        if all_kept(&refs, repository, saved.as_ref().map(|(_, refs)| refs)) {
            match &saved {
                None => say("this repository has all of it already"),
                Some((path, _)) => {
                    let path = path.display();
                    let how = format!("git fetch {path} 'refs/heads/*:refs/remotes/{name}/*'");
                    say(&format!("saved its state as {path}; `{how}` reads its branches"));
                }
            }
            return Ok(());
        }
        if bundles < BUNDLES {
            let (path, refs) = write_bundle(keeper, name, &refs)?;
            if let Some((older, _)) = saved.replace((path, refs)) {
                fs::remove_file(&older).map_err(Error::io("remove", &older))?;
            }
        }
    }
    let message = format!(
        "the state of `{name}` changed during each of {BUNDLES} attempts to save it; stop what writes there, then try again"
    );
    Err(Error::new(Exit::Conflict, message))
}

/// Reads lines of an object and a ref.
fn parse_refs(listing: &[u8]) -> Result<Refs> {
    let odd = || Error::new(Exit::Failed, "the container does not list its branches as it should");
    let line = |line: &[u8]| {
        let (id, name) = line.split_at_checked(40).ok_or_else(odd)?;
        let name = name.strip_prefix(b" ").ok_or_else(odd)?;
        Ok((String::from_utf8_lossy(name).into_owned(), ObjectId::new(id)?))
    };
    listing.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).map(line).collect()
}

/// Whether each of these is in the repository or in the bundle.
fn all_kept(refs: &Refs, repository: Option<&Repository>, bundle: Option<&Refs>) -> bool {
    refs.iter().all(|(name, id)| {
        let in_bundle = bundle.is_some_and(|bundle| bundle.get(name) == Some(id));
        // One of which git can not tell is not kept.
        in_bundle || repository.is_some_and(|repository| repository.keeps(id).unwrap_or(false))
    })
}

/// Writes a bundle that holds these refs to the working folder, and what of them it holds. It is durable then.
fn write_bundle(keeper: &mut Keeper, name: &Name, refs: &Refs) -> Result<(PathBuf, Refs)> {
    let here = || Error::io("write", "a bundle in this folder");
    let mut bundle = NamedTempFile::new_in(".").map_err(here())?;
    keeper.stream_guest(name, "bundle", &mut |bytes| bundle.write_all(bytes).map_err(here()))?;
    let held = verify(bundle.path(), refs)?;
    bundle.as_file().sync_all().map_err(here())?;
    let path = place(bundle, name, held.get("HEAD").or_else(|| refs.values().next()))?;
    File::open(".").and_then(|folder| folder.sync_all()).map_err(here())?;
    Ok((path, held))
}

/// Gives the bundle a name that nothing has yet: an older one may hold what this one does not.
fn place(mut bundle: NamedTempFile, name: &Name, commit: Option<&ObjectId>) -> Result<PathBuf> {
    let commit = commit.map_or("state", ObjectId::short);
    for number in 1.. {
        let more = if number == 1 { String::new() } else { format!("-{number}") };
        let path = PathBuf::from(format!("{name}-{commit}{more}.bundle"));
        match bundle.persist_noclobber(&path) {
            Ok(_) => return Ok(path),
            Err(error) if error.error.kind() == ErrorKind::AlreadyExists => bundle = error.file,
            Err(error) => return Err(Error::io("write", &path)(error.error)),
        }
    }
    unreachable!("some number is free")
}

/// The refs of a bundle, where it holds those of these names with all that they need: reads it into an empty repository.
fn verify(bundle: &Path, refs: &Refs) -> Result<Refs> {
    let incomplete = || Error::new(Exit::Failed, "the bundle that the container wrote is not complete");
    let failed = |error: glxc_transport::Error| incomplete().because(&error);
    let bundle = bundle.canonicalize().map_err(Error::io("open", bundle))?;
    let folder = TempDir::new_in(".").map_err(Error::io("write", "a folder in this folder"))?;
    let dir = folder.path().canonicalize().map_err(Error::io("open", folder.path()))?;
    let git = Git::new(dir);
    let with = |words: &[&str], file: &Path| -> Vec<OsString> {
        words.iter().map(OsString::from).chain([file.as_os_str().to_owned()]).collect()
    };
    git.output(&["init", "--quiet", "--bare", "--template="]).map_err(failed)?;
    git.output(&with(&["bundle", "verify", "--quiet"], &bundle)).map_err(failed)?;
    git.output(&with(&["bundle", "unbundle"], &bundle)).map_err(failed)?;
    let held = parse_refs(&git.output(&with(&["bundle", "list-heads"], &bundle)).map_err(failed)?)?;
    if let Some(name) = refs.keys().find(|name| !held.contains_key(*name)) {
        return Err(Error::new(Exit::Failed, format!("the bundle that the container wrote lacks {name}")));
    }
    let walk: String = held.values().map(|id| format!("{id}\n")).collect();
    git.feed(&["rev-list", "--objects", "--quiet", "--stdin"], walk.as_bytes()).map_err(failed).map(|_| held)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A repository with a commit on `main`, and another on `replaced/x`, which a tag names too.
    fn repository(folder: &Path) -> (Git, Refs) {
        let git = Git::new(folder.canonicalize().unwrap());
        git.output(&["init", "--quiet", "--bare"]).unwrap();
        let said = |bytes: Vec<u8>| String::from_utf8(bytes.trim_ascii().to_vec()).unwrap();
        let tree = said(git.feed(&["mktree"], b"").unwrap());
        let identity = ["-c", "user.name=a", "-c", "user.email=a@b"];
        for (name, text) in [("main", "x"), ("replaced/x", "y")] {
            let commit = said(git.output(&[&identity[..], &["commit-tree", "-m", text, &tree]].concat()).unwrap());
            git.output(&["update-ref", &format!("refs/heads/{name}"), &commit]).unwrap();
        }
        git.output(&["symbolic-ref", "HEAD", "refs/heads/main"]).unwrap();
        git.output(&[&identity[..], &["tag", "-a", "-m", "t", "v1", "replaced/x"]].concat()).unwrap();
        let refs = git.references().unwrap();
        assert_eq!(refs.len(), 3);
        (git, refs)
    }

    #[test]
    fn a_bundle_counts_only_if_it_is_complete() {
        let folder = TempDir::new().unwrap();
        let (git, refs) = repository(folder.path());
        let path = folder.path().join("demo.bundle");
        git.output(&["bundle", "create", "--quiet", "demo.bundle", "--branches", "--tags", "HEAD"]).unwrap();
        let held = verify(&path, &refs).unwrap();
        assert!(refs.iter().all(|(name, id)| held.get(name) == Some(id)), "{held:?}");
        assert!(all_kept(&refs, None, Some(&held)) && !all_kept(&refs, None, None));
        let bytes = fs::read(&path).unwrap();
        fs::write(&path, &bytes[..bytes.len() - 5]).unwrap();
        assert!(verify(&path, &refs).is_err(), "a bundle that is cut off");
        fs::write(&path, b"").unwrap();
        assert!(verify(&path, &refs).is_err(), "an empty bundle");
        git.output(&["bundle", "create", "--quiet", "main.bundle", "HEAD", "main"]).unwrap();
        let error = verify(&folder.path().join("main.bundle"), &refs).unwrap_err();
        assert!(error.message.ends_with("lacks refs/heads/replaced/x"), "{}", error.message);
    }

    #[test]
    fn a_branch_that_moved_meanwhile_is_not_saved() {
        let folder = TempDir::new().unwrap();
        let (git, refs) = repository(folder.path());
        git.output(&["bundle", "create", "--quiet", "demo.bundle", "--branches", "--tags", "HEAD"]).unwrap();
        let held = verify(&folder.path().join("demo.bundle"), &refs).unwrap();
        let mut moved = refs.clone();
        moved.insert("refs/heads/main".into(), refs["refs/heads/replaced/x"].clone());
        assert!(!all_kept(&moved, None, Some(&held)));
    }

    #[test]
    fn a_repository_must_keep_every_branch_and_tag() {
        let folder = TempDir::new().unwrap();
        let (git, refs) = repository(folder.path());
        let here = Repository { git };
        assert!(all_kept(&refs, Some(&here), None));
        here.git.output(&["update-ref", "-d", "refs/tags/v1"]).unwrap();
        assert!(!all_kept(&refs, Some(&here), None), "the commit has a branch, the tag has nothing");
        here.git.output(&["update-ref", "-d", "refs/heads/replaced/x"]).unwrap();
        assert!(!here.keeps(&refs["refs/heads/replaced/x"]).unwrap() && here.keeps(&refs["refs/heads/main"]).unwrap());
    }

    #[test]
    fn a_bundle_takes_the_place_of_none() {
        let folder = TempDir::new().unwrap();
        let name = Name::new(folder.path().file_name().unwrap().to_str().unwrap().trim_start_matches('.')).unwrap();
        let file = || NamedTempFile::new_in(folder.path()).unwrap();
        let commit = ObjectId::zero();
        let paths = [(); 2].map(|()| place(file(), &name, Some(&commit)).unwrap());
        let shown = paths.clone().map(|path| path.display().to_string());
        paths.iter().for_each(|path| fs::remove_file(path).unwrap());
        assert_eq!(shown, [format!("{name}-000000000000.bundle"), format!("{name}-000000000000-2.bundle")]);
    }

    #[test]
    fn odd_listings_are_refused() {
        let id = "0".repeat(40);
        assert_eq!(parse_refs(format!("{id} refs/heads/a b\n").as_bytes()).unwrap().len(), 1);
        for odd in ["x", &id, &format!("{id}refs"), "refs/heads/main 1"] {
            assert!(parse_refs(odd.as_bytes()).is_err(), "{odd}");
        }
    }
}
