#![allow(clippy::print_stderr)]
//! Brings the running system to the profiles in a folder: `apply FOLDER`, or `apply FOLDER ready` to run their `ready.rc`
//! afterwards. `apply FOLDER export` writes the live profiles, with what was edited in the system, to the folder.

use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::Duration;

use glxc_sysconf::{Kind, Scripts, Sysconf, read_files};

const STATE: &str = "/var/lib/glxc-apply";

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [folder, rest @ ..] = arguments.as_slice() else { return Err("usage: apply FOLDER [ready|export]".into()) };
    let mut scripts = Scripts {
        output: &mut |profile, line| eprintln!("{profile}: {}", line.escape_debug()),
        cancelled: &|| false,
        timeout: Duration::from_secs(1800),
    };
    let sysconf = Sysconf::new("/sysconf", STATE);
    if rest == ["export"] {
        return export(&sysconf, Path::new(folder));
    }
    sysconf.wait(&mut scripts)?;
    let next = read_files(Path::new(folder))?;
    let plan = sysconf.plan(None, &next)?;
    for path in plan.changes() {
        eprintln!("{}", path.display().to_string().escape_debug());
    }
    // Undoing is of one operation: nothing of an earlier one may be there.
    let operation = Path::new(STATE).join("operation");
    if operation.exists() {
        std::fs::remove_dir_all(&operation)?;
    }
    match sysconf.apply(&plan, &operation, &mut scripts) {
        Ok(applied) => applied.notes.iter().for_each(|note| eprintln!("{note}")),
        Err(error) => {
            let undone = sysconf.undo(&operation, Some(&mut scripts))?;
            eprintln!("put back; these packages stay: {}", undone.packages.join(" "));
            return Err(error.into());
        }
    }
    if rest == ["ready"] {
        sysconf.ready(&mut scripts)?;
    }
    Ok(())
}

fn export(sysconf: &Sysconf, folder: &Path) -> Result<(), Box<dyn std::error::Error>> {
    let exported = sysconf.export()?;
    exported.notes.iter().for_each(|note| eprintln!("{note}"));
    for (path, file) in &exported.files {
        let path = folder.join(path);
        std::fs::create_dir_all(path.parent().unwrap_or(folder))?;
        match file.kind {
            Kind::Link => std::os::unix::fs::symlink(std::ffi::OsStr::from_bytes(&file.content), path)?,
            _ => std::fs::write(path, &file.content)?,
        }
    }
    Ok(())
}
