//! What front may ask for.

use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant, UNIX_EPOCH};

use glxc_lxc::{Command as Attach, ContainerName, Error as LxcError, Host, Info, Limits, Spec};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use crate::keeper::connection::Connection;
use crate::keeper::owners::{Caller, Owners, denied};
use crate::keeper::relay::{Ended, Outlet, relay};
use crate::keeper::{Failure, failure};
use crate::protocol::{self, Base, Code, Command, Container, Exit, Kind, Name, Reply, Request, Result, State};

/// How long a container's init may take to come up.
const READY: Duration = Duration::from_secs(90);

/// How long it may take to go down before its processes are killed.
const DOWN: Duration = Duration::from_secs(30);

/// How long a guest program may be on its way into a container, and how large it may be.
const INSTALL: (Duration, u64) = (Duration::from_secs(600), 256 << 20);

/// Takes a guest program from stdin into place; `$1` is its SHA-256. Each step leaves the older guest usable.
const INSTALL_SCRIPT: &str = r#"set -eu
mkdir -p /usr/lib/glxc
rm -f /usr/lib/glxc/.new.*
new=$(mktemp /usr/lib/glxc/.new.XXXXXX)
trap 'rm -f "$new"' EXIT
cat > "$new"
[ "$(sha256sum < "$new")" = "$1  -" ] || { echo "the guest was damaged on its way" >&2; exit 1; }
chmod 755 "$new"
mv -f "$new" "/usr/lib/glxc/guest-$1"
ln -sfn "../lib/glxc/guest-$1" /usr/bin/.glxc.new
mv -fT /usr/bin/.glxc.new /usr/bin/glxc
"#;

/// Serves one conversation. The process should have no other thread.
///
/// # Errors
/// [`protocol::Error`] where the conversation broke; what front asked for and could not be done is told to front.
pub fn serve(host: &Host, caller: Caller, input: impl AsFd, output: impl AsFd) -> Result<()> {
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [SIGHUP, SIGINT, SIGTERM] {
        signal_hook::flag::register(signal, stop.clone())?;
    }
    let mut connection = Connection::open(input.as_fd(), output.as_fd(), stop)?;
    let keeper = Keeper { host, caller };
    while let Some(request) = connection.request()? {
        let answer = keeper.answer(request, &mut connection)?;
        match answer {
            Ok(Some(reply)) => connection.send_json(Kind::Reply, &reply)?,
            Ok(None) => {}
            Err(failure) => connection.send_json(Kind::Failure, &failure)?,
        }
    }
    Ok(())
}

struct Keeper<'a> {
    host: &'a Host,
    caller: Caller,
}

/// The outer error ends the conversation, the inner one is told to front. No reply where it was sent already.
type Answer = Result<Result<Option<Reply>, Failure>>;

impl Keeper<'_> {
    fn answer(&self, request: Request, connection: &mut Connection<'_>) -> Answer {
        match request {
            Request::Attach { name, command, environment } => self.attach(&name, command, environment, connection),
            Request::InstallGuest { name, sha256, size } => self.install_guest(&name, &sha256, size, connection),
            other => Ok(self.simple(other, connection).map(Some)),
        }
    }

    /// The requests without a stream.
    fn simple(&self, request: Request, connection: &mut Connection<'_>) -> Result<Reply, Failure> {
        match request {
            Request::List => self.list(),
            Request::Info { name } => self.info(&self.own(&name)?),
            Request::Create { name, base, limits } => self.create(&name, base, limits, connection),
            Request::Start { name } => self.start(&self.own(&name)?, connection),
            Request::Stop { name } => {
                let name = self.own(&name)?;
                self.host.stop(&name, DOWN).map_err(failure::of)?;
                self.info(&name)
            }
            Request::SetLimits { name, limits } => {
                let name = self.own(&name)?;
                self.host.set_limits(&name, &limits_of(limits)).map_err(failure::of)?;
                self.info(&name)
            }
            Request::Destroy { name } => {
                let name = self.own(&name)?;
                self.host.destroy(&name, connection).map_err(failure::of)?;
                self.owners()?.release(&name);
                Ok(Reply::Done)
            }
            Request::Attach { .. } | Request::InstallGuest { .. } => Err(failure::invalid("this needs a stream")),
        }
    }

    fn owners(&self) -> Result<Owners, Failure> {
        Owners::new(self.host)
    }

    /// The name of a container that the caller may work with. One that is not there is nobody's, and not found.
    fn own(&self, name: &Name) -> Result<ContainerName, Failure> {
        let name = container_name(name)?;
        let owners = self.owners()?;
        if owners.allows(self.caller, &name)? {
            return Ok(name);
        }
        match self.host.info(&name) {
            Err(LxcError::NotFound(_)) if owners.owner(&name)?.is_none() => {
                Err(failure::of(LxcError::NotFound(name.to_string())))
            }
            _ => Err(denied(&name)),
        }
    }

    fn list(&self) -> Result<Reply, Failure> {
        let owners = self.owners()?;
        let mut containers = Vec::new();
        for name in self.host.names().map_err(failure::of)? {
            if !owners.allows(self.caller, &name)? {
                continue;
            }
            match self.container(&name) {
                // Somebody destroyed it since its name was read.
                Err(gone) if gone.code == Code::NotFound => {}
                container => containers.push(container?),
            }
        }
        Ok(Reply::Containers(containers))
    }

    fn info(&self, name: &ContainerName) -> Result<Reply, Failure> {
        self.container(name).map(Reply::Container)
    }

    fn container(&self, name: &ContainerName) -> Result<Container, Failure> {
        let info = self.host.info(name).map_err(failure::of)?;
        container_of(info, self.owners()?.owner(name)?)
    }

    fn create(
        &self, name: &Name, base: Base, limits: protocol::Limits, connection: &mut Connection<'_>,
    ) -> Result<Reply, Failure> {
        let name = container_name(name)?;
        if base.template != "debian" {
            let message =
                format!("the template \"{}\" is not known here; use \"debian\"", base.template.escape_default());
            return Err(failure::new(Code::NotAllowed, message));
        }
        let owners = self.owners()?;
        if self.host.info(&name).is_ok() && !owners.allows(self.caller, &name)? {
            return Err(denied(&name));
        }
        owners.claim(self.caller, &name)?;
        let spec = Spec { name: name.clone(), release: base.release, arch: base.arch, limits: limits_of(limits) };
        if let Err(error) = self.host.create(&spec, connection) {
            if matches!(self.host.info(&name), Err(LxcError::NotFound(_))) {
                owners.release(&name);
            }
            return Err(failure::of(error));
        }
        // Another attempt of the same caller, which failed meanwhile, may have given the name back.
        owners.claim(self.caller, &name)?;
        self.start(&name, connection)
    }

    fn start(&self, name: &ContainerName, connection: &mut Connection<'_>) -> Result<Reply, Failure> {
        glxc_lxc::Watch::note(connection, &format!("starting {name}"));
        self.host.start(name).map_err(failure::of)?;
        self.host.wait_ready(name, READY, connection).map_err(failure::of)?;
        self.info(name)
    }

    fn attach(
        &self, name: &Name, command: Command, environment: Vec<(String, String)>, connection: &mut Connection<'_>,
    ) -> Answer {
        let attached = self.own(name).and_then(|name| {
            let command = command_of(command, environment)?;
            self.host.attach(&name, &command).map_err(failure::of)
        });
        let attached = match attached {
            Ok(attached) => attached,
            Err(failure) => return Ok(Err(failure)),
        };
        connection.send_json(Kind::Reply, &Reply::Attached)?;
        let ended = relay(connection, attached, &mut Outlet::Front, None)?;
        match ended {
            Ok(ended) => connection.send_json(Kind::Exit, &Exit { code: ended.code })?,
            Err(failure) => return Ok(Err(failure)),
        }
        Ok(Ok(None))
    }

    fn install_guest(&self, name: &Name, sha256: &str, size: u64, connection: &mut Connection<'_>) -> Answer {
        // Whatever the answer, a stream follows.
        connection.streaming = true;
        let attached = self.own(name).and_then(|name| {
            let hex = sha256.len() == 64 && sha256.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
            if !hex || size > INSTALL.1 {
                return Err(failure::invalid("the guest's hash or size is out of bounds"));
            }
            let command = Attach::new(["sh", "-c", INSTALL_SCRIPT, "sh", sha256]);
            self.host.attach(&name, &command).map_err(failure::of)
        });
        let attached = match attached {
            Ok(attached) => attached,
            Err(failure) => return Ok(Err(failure)),
        };
        let mut outlet = Outlet::Keep(Vec::new());
        let ended = relay(connection, attached, &mut outlet, Some(Instant::now() + INSTALL.0))?;
        Ok(ended.and_then(|ended| installed(&ended, size, outlet)).map(Some))
    }
}

fn installed(ended: &Ended, size: u64, outlet: Outlet) -> Result<Reply, Failure> {
    let said = if let Outlet::Keep(said) = outlet { said } else { Vec::new() };
    if ended.code == 0 && ended.received == size {
        return Ok(Reply::Done);
    }
    let message =
        format!("the guest could not be installed (status {}, {} of {size} bytes)", ended.code, ended.received);
    let causes = String::from_utf8_lossy(&said).lines().map(str::to_string).collect();
    Err(Failure { causes, ..failure::new(Code::Other, message) })
}

fn container_name(name: &Name) -> Result<ContainerName, Failure> {
    ContainerName::new(name.as_str()).map_err(failure::of)
}

fn limits_of(limits: protocol::Limits) -> Limits {
    Limits {
        memory: limits.memory,
        processes: limits.processes,
        millicpus: limits.millicpus,
        autostart: limits.autostart,
    }
}

fn command_of(command: Command, environment: Vec<(String, String)>) -> Result<Attach, Failure> {
    let command = match command {
        Command::Exec { argv } => Attach::new(argv),
        Command::Guest { arguments } => Attach::new(std::iter::once("/usr/bin/glxc".to_string()).chain(arguments)),
    };
    let own = |name: &str| {
        let rest = name.strip_prefix("GLXC_").unwrap_or_default();
        !rest.is_empty() && rest.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_')
    };
    if environment.len() > 64 || !environment.iter().all(|(name, _)| own(name)) {
        return Err(failure::invalid("the environment has a name that is not GLXC_[A-Z0-9_]+, or too many"));
    }
    Ok(environment.into_iter().fold(command, |command, (name, value)| command.env(name, value)))
}

fn container_of(info: Info, owner: Option<u32>) -> Result<Container, Failure> {
    let state = match info.state {
        glxc_lxc::State::Stopped => State::Stopped,
        glxc_lxc::State::Starting => State::Starting,
        glxc_lxc::State::Running => State::Running,
        glxc_lxc::State::Stopping => State::Stopping,
        glxc_lxc::State::Frozen => State::Frozen,
        glxc_lxc::State::HalfMade => State::HalfMade,
        other => return Err(failure::new(Code::Other, format!("the container is {other:?}"))),
    };
    Ok(Container {
        name: Name::new(info.name.as_str()).map_err(|error| failure::caused("a name", &error))?,
        state,
        address: info.address,
        base: Base { template: "debian".into(), release: info.release, arch: Some(info.arch) },
        limits: protocol::Limits {
            memory: info.limits.memory,
            processes: info.limits.processes,
            millicpus: info.limits.millicpus,
            autostart: info.limits.autostart,
        },
        owner,
        running_since: info.running_since.and_then(|since| since.duration_since(UNIX_EPOCH).ok()).map(|d| d.as_secs()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_variables_of_ours_are_passed_on() {
        let of =
            |name: &str| command_of(Command::Guest { arguments: vec![] }, vec![(name.into(), "x".into())]).map(drop);
        assert!(of("GLXC_PUSH_1").is_ok());
        for bad in ["LD_PRELOAD", "GLXC_", "GLXC_a", "PATH", "", "GLXC_A=B"] {
            assert_eq!(of(bad).unwrap_err().code, Code::Invalid, "{bad}");
        }
        let many = vec![("GLXC_A".to_string(), String::new()); 65];
        assert!(command_of(Command::Exec { argv: vec!["true".into()] }, many).is_err());
    }
}
