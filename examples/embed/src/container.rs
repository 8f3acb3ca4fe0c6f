//! A container, by a process of its own.

use std::path::Path;
use std::process::{Command, ExitCode};
use std::time::Duration;

use glxc_lxc::{ContainerName, Error, Host, Limits, Network, Settings, Spec, State, Unwatched};

use crate::Result;

/// The word by which this program is its own helper.
pub const HELPER: &str = "container-helper";

/// How long a container may take until its init is ready.
const READY: Duration = Duration::from_secs(60);

/// Asks the helper, and returns the container's address. Blocks.
pub fn ensure(root: &Path, name: &str) -> Result<String> {
    let output = Command::new(std::env::current_exe()?).arg(HELPER).arg(root).arg(name).output()?;
    let [said, error] = [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).trim().to_owned());
    if output.status.success() { Ok(said) } else { Err(error.into()) }
}

/// The helper's whole `main`.
#[allow(clippy::print_stdout)]
pub fn helper(root: &Path, name: &str) -> ExitCode {
    match running(root, name) {
        Ok(address) => {
            println!("{address}");
            ExitCode::SUCCESS
        }
        Err(error) => crate::failed(&*error),
    }
}

fn running(root: &Path, name: &str) -> Result<String> {
    let network = Network { bridge: "embed0".into(), subnet: [10, 77, 251, 0].into() };
    let host = Host::new(Settings { root: root.into(), network })?;
    let name = ContainerName::new(name)?;
    let spec = Spec { name: name.clone(), release: "bookworm".into(), arch: None, limits: Limits::default() };
    let info = match host.info(&name) {
        Ok(info) if info.state != State::HalfMade => info,
        // A creation that died is begun again; `create` removes what it left.
        Ok(_) | Err(Error::NotFound(_)) => {
            host.create(&spec, &mut Unwatched)?;
            host.info(&name)?
        }
        Err(error) => return Err(error.into()),
    };
    if info.state != State::Running {
        host.start(&name)?;
    }
    host.wait_ready(&name, READY, &mut Unwatched)?;
    Ok(info.address.to_string())
}
