//! A state repository on this machine, without a container: what a program needs to give a state of its own to git.
//!
//! ```text
//! host FOLDER init BRANCH      makes the repository and its hooks
//! host FOLDER serve SERVICE    what git calls: git clone 'ext::host FOLDER serve %S'
//! host FOLDER hook NAME        what git's hooks call
//! host FOLDER attend           what a push runs beside itself, in case it dies
//! host FOLDER recover          what the system calls when it starts
//! ```
//!
//! Its kinds of state are `store`, a file of `KEY TAB VALUE` lines (see `store.rs`), `whole`, the same handled by two
//! methods, `files`, and `script`, whose scripts are in the folder `scripts` of the host's. Its system's configuration is the file `sysconf/motd`. `faults.rs` is for tests only.

mod faults;
mod motd;
mod store;

use std::io::{Write, stdin, stdout};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::sync::Arc;

use glxc_handlers::{Cancel, Progress, Registry};
use glxc_transport::{Parts, StateRepository, Waits};

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let outcome = match words.as_slice() {
        [folder, "init", branch] => init(Path::new(folder), branch),
        [folder, "serve", service] => serve(Path::new(folder), service),
        [folder, "hook", name] => hook(Path::new(folder), name),
        [folder, "attend"] => attend(Path::new(folder)),
        [folder, "recover"] => open(Path::new(folder)).and_then(|repository| Ok(repository.recover()?)),
        _ => Err("usage: host FOLDER init BRANCH | serve SERVICE | hook NAME | attend | recover".into()),
    };
    let Err(error) = outcome else { return ExitCode::SUCCESS };
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(&format!(": {error}"));
        cause = error.source();
    }
    let _ = writeln!(std::io::stderr(), "error: {text}");
    ExitCode::FAILURE
}

fn open(folder: &Path) -> Result<StateRepository> {
    let cancel = Cancel::new();
    let faults = faults::Faults::new(folder, &cancel);
    let scripts = folder.join("scripts");
    let parts = Parts {
        folder: folder.join("glxc"),
        hooks: folder.join("hooks"),
        container: "demo".into(),
        registry: Registry::new()
            .with("store", faults::watched(&faults, store::make))
            .with("whole", faults::watched(&faults, store::make_whole))
            .with("files", faults::watched(&faults, glxc_handlers::files::make))
            .with("script", faults::watched(&faults, move |settings| glxc_handlers::script::at(&scripts, settings))),
        setup: Some(Box::new(motd::Motd::new(folder, faults))),
        progress: Arc::new(Lines),
        cancel,
        waits: Waits::default(),
        attendant: Some(vec![std::env::current_exe()?.into(), folder.into(), "attend".into()]),
    };
    Ok(StateRepository::open(parts)?)
}

fn init(folder: &Path, branch: &str) -> Result<()> {
    let hooks = folder.join("hooks");
    std::fs::create_dir_all(&hooks)?;
    let program = std::env::current_exe()?;
    for name in ["pre-receive", "proc-receive"] {
        let script = format!("#!/bin/sh\nexec '{}' '{}' hook {name}\n", program.display(), folder.display());
        std::fs::write(hooks.join(name), script)?;
        let executable = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(hooks.join(name), executable)?;
    }
    Ok(open(folder)?.bind(branch)?)
}

fn serve(folder: &Path, service: &str) -> Result<()> {
    let repository = open(folder)?;
    match service {
        "git-upload-pack" => drop(repository.export()?),
        "git-receive-pack" => repository.contact()?,
        other => return Err(format!("unknown service {other}").into()),
    }
    let status = Command::new(service).arg(repository.git().dir()).status()?;
    if status.success() { Ok(()) } else { Err(format!("{service}: {status}").into()) }
}

fn attend(folder: &Path) -> Result<()> {
    std::io::copy(&mut stdin(), &mut std::io::sink())?;
    Ok(open(folder)?.recover()?)
}

fn hook(folder: &Path, name: &str) -> Result<()> {
    let quarantine = std::env::vars_os().filter(|(key, _)| {
        matches!(
            key.to_str(),
            Some("GIT_QUARANTINE_PATH" | "GIT_OBJECT_DIRECTORY" | "GIT_ALTERNATE_OBJECT_DIRECTORIES")
        )
    });
    let folder = PathBuf::from(folder);
    match name {
        "pre-receive" => {
            let repository = open(&folder)?.with_git_environment(quarantine);
            Ok(glxc_transport::pre_receive(&repository, &mut stdin().lock())?)
        }
        "proc-receive" => Ok(glxc_transport::proc_receive(&open(&folder)?, &mut stdin().lock(), &mut stdout().lock())?),
        other => Err(format!("unknown hook {other}").into()),
    }
}

/// Notes as lines on standard error, which git shows as `remote: ...`.
struct Lines;

impl Progress for Lines {
    fn begin(&self, _: &str, _: Option<u64>) {}
    fn advance(&self, _: u64) {}
    fn end(&self) {}
    fn note(&self, text: &str) {
        let _ = writeln!(std::io::stderr(), "{}", glxc_handlers::text::escaped(text));
    }
}
