//! The other end of the user's git: `git-remote`, which ext:: runs, and the remote helper `git-remote-glxc`.

use std::fs::File;
use std::io::{Read, Write};

use glxc_transport::{Config, ObjectId, PLAN, PLAN_ONLY};

use super::commands::{Commands, advertise};
use super::error::{Error, Exit, Result, say};
use super::filter::{Filter, Service};
use super::keeper::{Keeper, Program, ProgramInput, Said};
use super::relay::{relay, stdin, stdout};
use super::repository::Repository;
use crate::protocol::{self, Base, Code, Container, Limits, Name, Request};

/// Where `glxc.toml` names no release.
const RELEASE: &str = "bookworm";

/// The remote helper (gitremote-helpers): git runs it for `glxc::NAME` and `glxc://NAME`.
pub(super) fn helper(address: &str) -> Result<u8> {
    let name = address.strip_prefix("glxc://").unwrap_or(address).trim_end_matches('/');
    let name = Name::new(name)?;
    let (mut input, mut output) = (stdin()?, stdout()?);
    loop {
        let line = command(&mut input)?;
        let answer = |output: &mut File, text: &[u8]| output.write_all(text).map_err(Error::stdout);
        match line.split_once(' ') {
            None if line == "capabilities" => answer(&mut output, b"connect\n\n")?,
            None if line.is_empty() => return Ok(0),
            Some(("connect", service)) => {
                let service = service_of(service)?;
                answer(&mut output, b"\n")?;
                return serve(service, &name);
            }
            _ => {
                let message =
                    format!("git asked for \"{}\", which a remote of glxc does not have", line.escape_debug());
                return Err(Error::new(Exit::Usage, message));
            }
        }
    }
}

/// A line from git, and not a byte more.
fn command(input: &mut File) -> Result<String> {
    let mut line = Vec::new();
    let mut byte = [0];
    while input.read(&mut byte).map_err(Error::io("read", "standard input"))? == 1 && byte != *b"\n" {
        line.push(byte[0]);
    }
    Ok(String::from_utf8_lossy(&line).into_owned())
}

/// The service of a word of git's.
pub(super) fn service_of(word: &str) -> Result<Service> {
    match word {
        "git-upload-pack" => Ok(Service::UploadPack),
        "git-receive-pack" => Ok(Service::ReceivePack),
        _ => Err(Error::new(Exit::Usage, format!("a container does not serve \"{}\"", word.escape_debug()))),
    }
}

/// Serves git on stdin and stdout.
pub(super) fn serve(service: Service, name: &Name) -> Result<u8> {
    let repository = Repository::of_git()?;
    let mut branch = None;
    if let Some(repository) = &repository {
        repository.check_kind()?;
        branch = repository.bound(name)?;
    }
    let keeper = || -> Result<Keeper> { Ok(Keeper::start()?.with_environment(name, branch.as_deref())) };
    match (service, &repository, &branch) {
        (Service::UploadPack, _, _) => fetch(&mut keeper()?, name, branch.as_deref()),
        (Service::ReceivePack, Some(repository), Some(branch)) => {
            Push { name, branch, repository, output: stdout()? }.serve(&mut keeper()?)
        }
        (Service::ReceivePack, _, _) => {
            let error = Error::new(Exit::NotFound, format!("no branch of this repository is bound to `{name}`"));
            Err(error.hint(format!("`glxc init {name}` binds one")))
        }
    }
}

fn fetch(keeper: &mut Keeper, name: &Name, branch: Option<&str>) -> Result<u8> {
    let Some(container) = keeper.info(name)? else {
        let error = missing(name);
        return Err(error.hint(format!("`git push {name} {}` creates it", branch.unwrap_or("BRANCH"))));
    };
    keeper.running(container)?;
    let mut filter = Filter::new(Service::UploadPack, false);
    // Where the user wants none, git asks for none.
    filter.pass_progress();
    let mut output = stdout()?;
    keeper.run_guest(name, &["git-remote-command", "upload-pack"], |input, mut program| {
        let code = relay(input, &mut program, &mut |bytes| pass(&mut output, &filter.feed(bytes)?))?;
        end(&mut filter, &mut output, code)
    })
}

pub(super) fn missing(name: &Name) -> Error {
    Error::new(Exit::NotFound, format!("container `{name}` does not exist"))
}

fn pass(output: &mut File, bytes: &[u8]) -> Result<()> {
    output.write_all(bytes).map_err(Error::stdout)
}

/// Passes on what the filter still has. A program that failed may break off anywhere, and has said why.
fn end(filter: &mut Filter, output: &mut File, code: u8) -> Result<u8> {
    match filter.finish() {
        Ok(rest) => pass(output, &rest).map(|()| code),
        Err(_) if code != 0 => Ok(code),
        Err(error) => Err(error.into()),
    }
}

struct Push<'a> {
    name: &'a Name,
    branch: &'a str,
    repository: &'a Repository,
    output: File,
}

/// How the conversation with a receive-pack ended.
struct Outcome {
    code: u8,
    /// The commit that the bound branch was moved to.
    accepted: Option<ObjectId>,
}

impl Push<'_> {
    fn bound(&self) -> Vec<u8> {
        format!("refs/heads/{}", self.branch).into_bytes()
    }

    fn serve(mut self, keeper: &mut Keeper) -> Result<u8> {
        let (container, outcome) = match keeper.info(self.name)? {
            Some(container) => {
                let container = keeper.running(container)?;
                let outcome = self.receive(keeper, &container, &mut None)?;
                (container, outcome)
            }
            None => match self.create(keeper)? {
                Some(created) => created,
                None => return Ok(0),
            },
        };
        if let (0, Some(commit)) = (outcome.code, &outcome.accepted) {
            self.conclude(keeper, &container, &self.repository.config_of(commit)?);
        }
        Ok(outcome.code)
    }

    /// Talks to git until it says what it wants, creates the container for it, and lets the two talk. Nothing where
    /// git wants nothing.
    fn create(&mut self, keeper: &mut Keeper) -> Result<Option<(Container, Outcome)>> {
        advertise(&mut self.output)?;
        let mut commands = Commands::read(&mut stdin()?)?;
        if commands.updates.is_empty() {
            return Ok(None);
        }
        let options = commands.read_options(&mut stdin()?)?;
        if options.iter().any(|option| option == PLAN) {
            self.preview(&commands)?;
            commands.decline(PLAN_ONLY, &mut stdin()?, &mut self.output).map_err(Error::stdout)?;
            return Ok(None);
        }
        // Taken where it was sent to the receive-pack, which answers to git from then on.
        let mut waiting = Some(commands);
        let created = match self.create_container(keeper, waiting.as_ref()) {
            Ok(container) => {
                let outcome = self.receive(keeper, &container, &mut waiting);
                if !matches!(&outcome, Ok(Outcome { code: 0, accepted: Some(_) })) {
                    let name = self.name;
                    say(&format!(
                        "hint: container `{name}` stays; look into it with `glxc shell {name}`, correct, commit, push again"
                    ));
                }
                outcome.map(|outcome| (container, outcome))
            }
            Err(error) => Err(error),
        };
        if let (Err(error), Some(commands)) = (&created, waiting) {
            commands.decline(&error.message, &mut stdin()?, &mut self.output).map_err(Error::stdout)?;
        }
        created.map(Some)
    }

    /// Tells what a push that makes the container would do.
    fn preview(&self, commands: &Commands) -> Result<()> {
        let Some(commit) = commands.target(&self.bound()) else {
            say(&format!("nothing would be done: only a push of `{}` creates container `{}`", self.branch, self.name));
            return Ok(());
        };
        let config = self.repository.config_of(commit)?;
        let base = base_of(&config);
        say(&format!("container `{}` ({} {}) would be created and set up", self.name, base.template, base.release));
        for state in &config.states {
            say(&format!("{}: the files in {} would be loaded", state.name(), state.path));
        }
        Ok(())
    }

    fn create_container(&self, keeper: &mut Keeper, commands: Option<&Commands>) -> Result<Container> {
        let Some(commit) = commands.and_then(|commands| commands.target(&self.bound())) else {
            let (name, branch) = (self.name, self.branch);
            let error = Error::new(Exit::NotFound, format!("container `{name}` does not exist yet"));
            return Err(error.hint(format!("only a push of the bound branch creates it: `git push {name} {branch}`")));
        };
        let config = self.repository.config_of(commit)?;
        let (base, limits) = (base_of(&config), limits_of(&config));
        say(&format!("creating container `{}` ({} {})", self.name, base.template, base.release));
        keeper.container(&Request::Create { name: self.name.clone(), base, limits }).map_err(|error| match error {
            protocol::Error::Failed(failure) if failure.code == Code::Exists => {
                let message = format!("container `{}` was created meanwhile, by another push", self.name);
                Error::new(Exit::Conflict, message).hint("push again to push to that one")
            }
            error => error.into(),
        })
    }

    /// Lets git and the receive-pack in the container talk. `early` are the commands that git has sent already, which
    /// then does not see the advertisement; taken once they are passed on.
    fn receive(&mut self, keeper: &mut Keeper, container: &Container, early: &mut Option<Commands>) -> Result<Outcome> {
        let bound = self.bound();
        let mut filter = Filter::new(Service::ReceivePack, early.is_some());
        keeper.run_guest(self.name, &["git-remote-command", "receive-pack"], |mut input, mut program| {
            if let Some(code) = self.advertisement(&mut program, &mut filter)? {
                let error = Error::new(Exit::Failed, "the container could not get ready for the push");
                return if early.is_some() { Err(error) } else { Ok(Outcome { code, accepted: None }) };
            }
            let commands = match early.take() {
                Some(commands) => commands,
                None => self.checked(container, Commands::read(&mut stdin()?)?)?,
            };
            if !commands.are_quiet() {
                filter.pass_progress();
            }
            send(&mut input, &commands)?;
            let code = relay(input, &mut program, &mut |bytes| pass(&mut self.output, &filter.feed(bytes)?))?;
            let code = end(&mut filter, &mut self.output, code)?;
            let accepted = commands.target(&bound).filter(|_| filter.accepted(&bound)).cloned();
            Ok(Outcome { code, accepted })
        })
    }

    /// Declines what would need another container.
    fn checked(&mut self, container: &Container, commands: Commands) -> Result<Commands> {
        let Some(commit) = commands.target(&self.bound()) else { return Ok(commands) };
        match self.repository.config_of(commit).and_then(|config| same_base(container, &config)) {
            Ok(()) => Ok(commands),
            Err(error) => {
                commands.decline(&error.message, &mut stdin()?, &mut self.output).map_err(Error::stdout)?;
                Err(error)
            }
        }
    }

    /// Passes the advertisement on. Gives the exit code where the program ended instead.
    fn advertisement(&mut self, program: &mut Program<'_>, filter: &mut Filter) -> Result<Option<u8>> {
        while !filter.advertised() {
            match program.next()? {
                Said::Data(bytes) => pass(&mut self.output, &filter.feed(&bytes)?)?,
                Said::Exit(code) => return end(filter, &mut self.output, code).map(Some),
            }
        }
        Ok(None)
    }

    /// What follows a push that was accepted. Nothing of it can decline the push any more, so a failure is told only.
    fn conclude(&self, keeper: &mut Keeper, container: &Container, config: &Config) {
        let limits = limits_of(config);
        if limits != container.limits
            && let Err(error) = keeper.container(&Request::SetLimits { name: self.name.clone(), limits })
        {
            let why = Error::from(error).on_a_line();
            say(&format!("warning: the push is done, but the limits of `{}` could not be set: {why}", self.name));
        }
        if let Some(url) = url_of(container, config) {
            say(&url);
        }
    }
}

fn send(input: &mut ProgramInput<'_>, commands: &Commands) -> Result<()> {
    input.write_all(&commands.bytes).map_err(Error::io("write to", "the container"))?;
    if commands.bytes.is_empty() {
        input.end()?;
    }
    Ok(())
}

fn base_of(config: &Config) -> Base {
    let container = &config.container;
    Base {
        template: container.template.clone(),
        release: container.release.clone().unwrap_or_else(|| RELEASE.into()),
        arch: container.arch.clone(),
    }
}

/// What a container is made of can not change under it.
fn same_base(container: &Container, config: &Config) -> Result<()> {
    let (is, wanted) = (&container.base, base_of(config));
    let same_arch = wanted.arch.is_none() || wanted.arch == is.arch;
    if is.template == wanted.template && is.release == wanted.release && same_arch {
        return Ok(());
    }
    let name = |base: &Base| {
        [Some(&*base.template), Some(&*base.release), base.arch.as_deref()].map(Option::unwrap_or_default).join(" ")
    };
    let message = format!(
        "container `{}` is {}, glxc.toml wants {}",
        container.name,
        name(is).trim_end(),
        name(&wanted).trim_end()
    );
    Err(Error::new(Exit::Conflict, message).hint(format!("`glxc destroy {}`, then push again", container.name)))
}

fn limits_of(config: &Config) -> Limits {
    let container = &config.container;
    Limits {
        memory: container.memory,
        processes: container.processes.and_then(|processes| processes.try_into().ok()),
        millicpus: container.cpus.and_then(|cpus| cpus.try_into().ok()),
        autostart: container.autostart,
    }
}

/// Where the program in a container is found: the keeper's address, the repository's port and path.
pub(super) fn url_of(container: &Container, config: &Config) -> Option<String> {
    let url = config.url.as_ref()?;
    let port = if url.port == 80 { String::new() } else { format!(":{}", url.port) };
    Some(format!("http://{}{port}{}", container.address, url.path))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::State;
    use glxc_transport::Config;

    fn container() -> Container {
        Container {
            name: Name::new("demo").unwrap(),
            state: State::Running,
            address: "10.0.3.7".parse().unwrap(),
            base: base_of(&Config::parse("").unwrap()),
            limits: Limits::default(),
            owner: None,
            running_since: None,
        }
    }

    #[test]
    fn urls_are_printed_only_where_one_is_asked_for() {
        let url = |text: &str| url_of(&container(), &Config::parse(text).unwrap());
        assert_eq!(url(""), None);
        assert_eq!(url("[url]\n").unwrap(), "http://10.0.3.7/");
        assert_eq!(url("[url]\nport = 8080\npath = \"/shop\"\n").unwrap(), "http://10.0.3.7:8080/shop");
    }

    #[test]
    fn what_a_container_is_made_of_can_not_change() {
        let check = |text: &str| same_base(&container(), &Config::parse(text).unwrap()).map_err(|error| error.message);
        assert_eq!(check("[container]\nmemory = \"1G\"\n"), Ok(()));
        let wanted = "container `demo` is debian bookworm, glxc.toml wants debian trixie";
        assert_eq!(check("[container]\nrelease = \"trixie\"\n"), Err(wanted.into()));
        assert!(check("[container]\narch = \"arm64\"\n").is_err());
        assert!(check("[container]\ntemplate = \"busybox\"\n").is_err());
    }

    #[test]
    fn settings_become_what_the_keeper_is_asked_for() {
        let config =
            Config::parse("[container]\nrelease = \"trixie\"\nmemory = \"1G\"\ncpus = 2\nprocesses = 99\n").unwrap();
        assert_eq!(base_of(&config), Base { template: "debian".into(), release: "trixie".into(), arch: None });
        let limits = Limits { memory: Some(1 << 30), processes: Some(99), millicpus: Some(2000), autostart: false };
        assert_eq!(limits_of(&config), limits);
        assert_eq!(base_of(&Config::parse("").unwrap()).release, "bookworm");
    }
}
