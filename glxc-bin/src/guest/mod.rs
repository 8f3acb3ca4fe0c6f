//! The guest: the program in the container that serves git there.
//!
//! It runs as root of the container, from a pipe that the keeper attached. It is linked statically so that it runs in
//! any distribution, and so it never looks up the name of a user or a host through the C library.
//!
//! A guest with a kind of state of its own is a `main` of one line:
//!
//! ```no_run
//! fn main() -> std::process::ExitCode {
//!     glxc::guest::main(glxc::guest::registry())
//! }
//! ```

mod flavour;
mod folder;
mod messages;
mod setup;
mod shell;

use std::ffi::OsString;
use std::fs::File;
use std::io::{Write, stdin, stdout};
use std::os::unix::fs::symlink;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, ExitStatus};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use glxc_handlers::{Cancel, Registry};
use glxc_transport::{Parts, StateRepository, Waits};
use rustix::process::Signal;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use messages::Messages;
use setup::Profiles;

/// Where the guest keeps everything of its own.
const FOLDER: &str = "/var/lib/glxc";

/// How long packing objects may take after a client was served.
const GC_LIMIT: Duration = Duration::from_secs(20);

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

/// The kinds of state that come with GLXC.
pub fn registry() -> Registry {
    Registry::new()
        .with("files", glxc_handlers::files::make)
        .with("mongodb", glxc_handlers::mongodb::make)
        .with("mysql", glxc_handlers::mysql::make)
        .with("postgresql", glxc_handlers::postgresql::make)
        .with("script", glxc_handlers::script::make)
}

/// The guest's whole `main`: reads the command line and serves what it asks for with these kinds of state.
///
/// `GLXC_CONTAINER` and `GLXC_BRANCH` in the environment name the container and the branch that is to be bound. With
/// `GLXC_TRACE` it tells on standard error how long each step took, and how much memory; with `GLXC_PROGRESS` what is under
/// way, as git does, in lines that end with a carriage return.
pub fn main(registry: Registry) -> ExitCode {
    #[cfg(feature = "failpoints")]
    glxc_handlers::failpoint::arm(&Path::new(FOLDER).join("failpoints"));
    let mut arguments = std::env::args_os();
    let program = arguments.next().unwrap_or_default();
    let arguments: Vec<OsString> = arguments.collect();
    if std::env::var_os("GLXC_TRACE").is_some() {
        trace();
    }
    let result = run(Path::new(&program), &arguments, registry);
    tracing::debug!(kib = peak_memory(), "the most memory that was used");
    match result {
        Ok(code) => code,
        Err(error) => {
            messages::error(&*error);
            ExitCode::FAILURE
        }
    }
}

/// The most memory that this process had, in KiB: `VmHWM` in proc_pid_status(5).
fn peak_memory() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB")?.parse().ok())
}

fn run(program: &Path, arguments: &[OsString], registry: Registry) -> Result<ExitCode> {
    let words: Vec<&str> = arguments.iter().filter_map(|a| a.to_str()).collect();
    let hook = program.file_name().and_then(|name| name.to_str()).filter(|name| name.ends_with("-receive"));
    match (hook, words.as_slice()) {
        (Some("pre-receive"), _) => pre_receive(registry),
        (Some("proc-receive"), _) => proc_receive(registry),
        (_, ["git-remote-command", service @ ("upload-pack" | "receive-pack")]) => serve(service, registry),
        (_, ["recover"]) => done(open(registry)?.recover()?),
        (_, ["attend"]) => attend(registry),
        (_, ["main"]) => main_commit(&open(registry)?),
        (_, ["config"]) => show(&open(registry)?, &["show", "HEAD:glxc.toml"]),
        (_, ["export"]) => export(&open(registry)?),
        (_, ["bundle"]) => bundle(&open(registry)?),
        (_, ["bound", ..]) => bound(&arguments[1..]),
        (_, ["shell", terminal]) => shell::shell(terminal),
        (_, ["attend-load", ..]) => folder::attend(&arguments[1..], &registry),
        (_, [command @ ("dump" | "load"), ..]) => folder::run(command, &arguments[1..], &registry),
        (_, ["version"]) => done(writeln!(stdout(), "glxc {}", env!("CARGO_PKG_VERSION"))?),
        _ => Err(
            "usage: glxc dump, load, git-remote-command upload-pack|receive-pack, recover, main, config, export, bundle, version"
                .into(),
        ),
    }
}

/// Tells how long each step took, once it ended.
fn trace() {
    tracing_subscriber::fmt()
        .with_max_level(tracing_subscriber::filter::LevelFilter::DEBUG)
        .with_span_events(tracing_subscriber::fmt::format::FmtSpan::CLOSE)
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .init();
}

fn done(_: ()) -> Result<ExitCode> {
    Ok(ExitCode::SUCCESS)
}

/// Opens the state repository of this container. A signal that asks to end stops what has not been decided.
fn open(registry: Registry) -> Result<StateRepository> {
    let cancel = Cancel::new();
    for signal in [SIGTERM, SIGINT, SIGHUP] {
        signal_hook::flag::register(signal, cancel.flag())?;
    }
    flavour::check(&registry)?;
    let container = std::env::var("GLXC_CONTAINER").ok().filter(|name| glxc_transport::is_name(name));
    let progress = Arc::new(Messages::new(std::env::var_os("GLXC_PROGRESS").is_some()));
    Ok(StateRepository::open(Parts {
        folder: FOLDER.into(),
        hooks: hooks()?,
        container: container.unwrap_or_else(|| "container".into()),
        registry,
        setup: Some(Box::new(Profiles::new("/sysconf", format!("{FOLDER}/sysconf")))),
        progress,
        cancel,
        waits: Waits::default(),
        attendant: Some(vec![std::env::current_exe()?.into(), "attend".into()]),
    })?)
}

/// A folder of links with the hooks' names to this very program.
fn hooks() -> Result<PathBuf> {
    let program = std::env::current_exe()?;
    let name = program.file_name().ok_or("the program has no name")?;
    let folder = Path::new(FOLDER).join("hooks").join(name);
    std::fs::create_dir_all(&folder)?;
    for hook in ["pre-receive", "proc-receive"] {
        let link = folder.join(hook);
        if std::fs::read_link(&link).ok().as_deref() != Some(&program) {
            let new = folder.join(format!("{hook}.{}", std::process::id()));
            symlink(&program, &new)?;
            std::fs::rename(&new, &link)?;
        }
    }
    Ok(folder)
}

/// Serves one client: settles what was interrupted, exports before the first byte of a fetch, then lets git speak.
fn serve(service: &str, registry: Registry) -> Result<ExitCode> {
    let flavour = flavour::of(&registry);
    let repository = open(registry)?;
    flavour::record(&flavour)?;
    if let Ok(branch) = std::env::var("GLXC_BRANCH") {
        repository.bind(&branch)?;
    }
    install_unit()?;
    match service {
        "upload-pack" => drop(repository.export()?),
        _ => repository.contact()?,
    }
    // From here on a signal ends this process, and with it git and what works for git.
    for signal in [SIGTERM, SIGINT, SIGHUP] {
        signal_hook::flag::register_conditional_default(signal, Arc::new(AtomicBool::new(true)))?;
    }
    let mut git = Command::new(std::env::current_exe()?);
    git.args(["bound", "git", service]).arg(repository.git().dir());
    let code = exit_code(git_environment(&mut git).status()?);
    // The client has its answer, whatever comes of this.
    let _ = repository.collect_garbage(GC_LIMIT);
    Ok(code)
}

/// Only what git needs; in particular nothing that a caller's repository has set.
fn git_environment(command: &mut Command) -> &mut Command {
    let names = ["PATH", "HOME", "LANG", "GLXC_CONTAINER", "GLXC_PROGRESS", "GLXC_TRACE"];
    let kept = names.into_iter().filter_map(|name| Some((name, std::env::var_os(name)?)));
    command.env_clear().envs(kept).env("GIT_CONFIG_NOSYSTEM", "1").env("GIT_CONFIG_GLOBAL", "/dev/null")
}

fn exit_code(status: ExitStatus) -> ExitCode {
    status
        .code()
        .or(status.signal().map(|signal| 128 + signal))
        .and_then(|code| u8::try_from(code).ok())
        .map_or(ExitCode::FAILURE, ExitCode::from)
}

/// Becomes another program that ends when its parent does.
fn bound(arguments: &[OsString]) -> Result<ExitCode> {
    let (program, rest) = arguments.split_first().ok_or("bound: no program")?;
    rustix::process::set_parent_process_death_signal(Some(Signal::TERM))?;
    Err(Command::new(program).args(rest).exec().into())
}

fn pre_receive(registry: Registry) -> Result<ExitCode> {
    let quarantine = ["GIT_QUARANTINE_PATH", "GIT_OBJECT_DIRECTORY", "GIT_ALTERNATE_OBJECT_DIRECTORIES"];
    let environment = quarantine.into_iter().filter_map(|name| Some((name.into(), std::env::var_os(name)?)));
    let repository = open(registry)?.with_git_environment(environment.collect::<Vec<_>>());
    done(glxc_transport::pre_receive(&repository, &mut stdin().lock())?)
}

/// Until its push is decided it ends with the process that receives; then it finishes.
fn proc_receive(registry: Registry) -> Result<ExitCode> {
    rustix::process::set_parent_process_death_signal(Some(Signal::TERM))?;
    done(glxc_transport::proc_receive(&open(registry)?, &mut stdin().lock(), &mut stdout().lock())?)
}

/// Recovers once the process that holds the other end of standard input is gone.
fn attend(registry: Registry) -> Result<ExitCode> {
    std::io::copy(&mut stdin(), &mut std::io::sink())?;
    done(open(registry)?.recover()?)
}

/// Prints the commit that was agreed on last; nothing where nothing was pushed yet.
fn main_commit(repository: &StateRepository) -> Result<ExitCode> {
    let commit = repository.git().resolve("HEAD")?;
    done(commit.map_or(Ok(()), |commit| writeln!(stdout(), "{commit}"))?)
}

fn show(repository: &StateRepository, arguments: &[&str]) -> Result<ExitCode> {
    done(stdout().write_all(&repository.git().output(arguments)?)?)
}

/// Exports what is live, and prints every branch and tag with its object, as `git show-ref` does. Nothing where nothing
/// was pushed yet.
fn export(repository: &StateRepository) -> Result<ExitCode> {
    if repository.branch()?.is_none() {
        return Ok(ExitCode::SUCCESS);
    }
    match repository.export() {
        Ok(_) => {}
        Err(glxc_transport::Error::Unborn { .. }) => return Ok(ExitCode::SUCCESS),
        Err(error) => return Err(error.into()),
    }
    show(repository, &["for-each-ref", "--format=%(objectname) %(refname)", "refs/heads", "refs/tags"])
}

/// Every branch and tag as a git bundle, for whoever destroys the container: a push that replaced live data left what
/// it replaced in a branch.
fn bundle(repository: &StateRepository) -> Result<ExitCode> {
    let mut git = repository.git().command();
    Ok(exit_code(git.args(["bundle", "create", "--quiet", "-", "--branches", "--tags", "HEAD"]).status()?))
}

const UNIT: &str = "[Unit]
Description=GLXC: settle what an interrupted push left
After=postgresql.service mariadb.service mysql.service mongod.service ferretdb.service

[Service]
Type=oneshot
ExecStart=/usr/bin/glxc recover

[Install]
WantedBy=multi-user.target
";

/// A unit that settles an interrupted push when the container starts, where systemd is the init.
fn install_unit() -> Result<()> {
    let units = Path::new("/etc/systemd/system");
    let unit = units.join("glxc-recover.service");
    if !units.is_dir() || unit.exists() {
        return Ok(());
    }
    let fresh = units.join("glxc-recover.service.new");
    std::fs::write(&fresh, UNIT)?;
    File::open(&fresh)?.sync_all()?;
    let wants = units.join("multi-user.target.wants");
    std::fs::create_dir_all(&wants)?;
    let link = wants.join("glxc-recover.service");
    if std::fs::symlink_metadata(&link).is_err() {
        symlink(&unit, link)?;
    }
    Ok(std::fs::rename(fresh, unit)?)
}
