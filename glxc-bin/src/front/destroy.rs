//! `glxc destroy`: nothing live is lost, unless the user says so.

use std::ffi::{OsStr, OsString};
use std::io::Write;
use std::path::Path;

use glxc_transport::{Git, ObjectId};
use tempfile::{NamedTempFile, TempDir};

use super::error::{Error, Exit, Result, say};
use super::keeper::Keeper;
use super::remote::missing;
use super::repository::Repository;
use super::status::main_of;
use crate::protocol::{Name, Request, State};

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

/// Exports the state into a bundle. The bundle goes where the repository has it all already.
fn save(keeper: &mut Keeper, name: &Name, repository: Option<&Repository>) -> Result<()> {
    let here = || Error::io("write", "a bundle in this folder");
    let mut bundle = NamedTempFile::new_in(".").map_err(here())?;
    keeper.stream_guest(name, "bundle", &mut |bytes| bundle.write_all(bytes).map_err(here()))?;
    let Some(main) = main_of(keeper, name)? else {
        return Err(Error::new(
            Exit::Failed,
            format!("nothing was ever pushed to `{name}`, so there is nothing to save"),
        ));
    };
    if repository.map(|repository| repository.keeps(&main)).transpose()? == Some(true) {
        say(&format!("this repository has all of it already, at commit {}", main.short()));
        return Ok(());
    }
    verify(bundle.path(), &main)?;
    let path = format!("{name}-{}.bundle", main.short());
    bundle.as_file().sync_all().map_err(here())?;
    bundle.persist(&path).map_err(|error| Error::io("write", &path)(error.error))?;
    say(&format!("saved its state as {path}; `git fetch {path}` reads it"));
    Ok(())
}

/// Whether a bundle has a commit with all that it needs: reads it into an empty repository.
fn verify(bundle: &Path, main: &ObjectId) -> Result<()> {
    let failed = |error: glxc_transport::Error| {
        Error::new(Exit::Failed, "the bundle that the container wrote is not complete").because(&error)
    };
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
    let walk = ["rev-list", "--objects", "--quiet", main.as_str(), "--"].map(OsStr::new);
    git.output(&walk).map_err(failed).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn a_bundle_counts_only_if_it_is_complete() {
        let folder = TempDir::new().unwrap();
        let git = Git::new(folder.path().canonicalize().unwrap());
        git.output(&["init", "--quiet", "--bare"]).unwrap();
        let tree = git.feed(&["mktree"], b"").unwrap();
        let tree = String::from_utf8(tree.trim_ascii().to_vec()).unwrap();
        let identity = ["-c", "user.name=a", "-c", "user.email=a@b", "commit-tree", "-m", "x", &tree];
        let commit = ObjectId::new(git.output(&identity).unwrap().trim_ascii()).unwrap();
        git.output(&["update-ref", "refs/heads/main", commit.as_str()]).unwrap();
        let path = folder.path().join("demo.bundle");
        git.output(&["bundle", "create", "--quiet", "demo.bundle", "main"]).unwrap();
        verify(&path, &commit).unwrap();
        let other = ObjectId::new("1234567890123456789012345678901234567890").unwrap();
        assert!(verify(&path, &other).is_err(), "a commit that is not in it");
        let bytes = fs::read(&path).unwrap();
        fs::write(&path, &bytes[..bytes.len() - 5]).unwrap();
        assert!(verify(&path, &commit).is_err(), "a bundle that is cut off");
        fs::write(&path, b"").unwrap();
        assert!(verify(&path, &commit).is_err(), "an empty bundle");
    }
}
