//! Errors as the failures that go over the wire.

use std::error::Error as StdError;

use glxc_lxc::Error;

use crate::protocol::{self, Code, Failure};

/// A failure without a cause.
pub(crate) fn new(code: Code, message: impl Into<String>) -> Failure {
    Failure { code, message: message.into(), causes: Vec::new(), hint: None }
}

/// A request that makes no sense.
pub(crate) fn invalid(message: impl Into<String>) -> Failure {
    new(Code::Invalid, message)
}

/// A failure with the causes of an error, the error itself included.
pub(crate) fn caused(message: impl Into<String>, cause: &(dyn StdError + 'static)) -> Failure {
    let causes = std::iter::successors(Some(cause), |&error| error.source()).map(|error| error.to_string());
    Failure { causes: causes.collect(), ..new(Code::Other, message) }
}

/// A failed operation of the system, as a function for `map_err`.
pub(crate) fn io<E: Into<std::io::Error>>(operation: impl Into<String>) -> impl FnOnce(E) -> Failure {
    let operation = operation.into();
    move |error| caused(operation, &error.into())
}

/// The failure that an error of a container is.
pub(crate) fn of(error: Error) -> Failure {
    let causes =
        std::iter::successors(error.source(), |&error| error.source()).map(|error| error.to_string()).collect();
    let (code, hint) = code_and_hint(&error);
    Failure { code, message: error.to_string(), causes, hint }
}

/// The failure that a broken conversation is.
pub(crate) fn of_conversation(error: protocol::Error) -> Failure {
    caused("the conversation with front broke", &error)
}

fn code_and_hint(error: &Error) -> (Code, Option<String>) {
    let hint = |text: &str| Some(text.to_string());
    match error {
        Error::Name(_) | Error::Value { .. } => (Code::Invalid, None),
        Error::Exists(_) => (Code::Exists, None),
        Error::NotFound(_) => (Code::NotFound, None),
        Error::HalfMade(_) => (Code::Other, hint("push again to make it anew")),
        Error::NotRunning(_) => (Code::NotRunning, hint("start it")),
        Error::Missing { package, .. } => {
            (Code::Missing, Some(format!("install the package {package} on the machine of the containers")))
        }
        // What is missing to make the bridge is the next step.
        Error::Bridge { source, .. } => (Code::Network, code_and_hint(source).1),
        Error::Subnet { .. } => (Code::Network, hint("set another `subnet` under [network] in /etc/glxc/host.toml")),
        Error::NoIds { .. } => (Code::Exhausted, hint("see /etc/subuid and /etc/subgid")),
        Error::NoAddress { .. } => (Code::Exhausted, hint("destroy a container that is not needed")),
        Error::DiskFull(_) => (Code::DiskFull, hint("free some space on the machine of the containers")),
        Error::UnknownRelease { .. } => (Code::UnknownRelease, hint("see `release` in glxc.toml")),
        Error::NotReady { .. } | Error::Busy { .. } => (Code::Timeout, None),
        _ => (Code::Other, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn causes_are_listed_outermost_first() {
        let inner = Error::Missing { what: "ip".into(), package: "iproute2" };
        let failure = of(Error::Bridge { bridge: "br0".into(), source: Box::new(inner) });
        assert_eq!((failure.code, failure.message.as_str()), (Code::Network, "the bridge br0 can not be used"));
        assert_eq!(failure.causes, ["ip is not installed"]);
        assert_eq!(failure.hint.as_deref(), Some("install the package iproute2 on the machine of the containers"));
        let taken = glxc_lxc::Error::Value { field: "x", value: "y".into(), reason: "z" };
        assert_eq!(of(Error::Bridge { bridge: "br0".into(), source: Box::new(taken) }).hint, None);
    }

    #[test]
    fn a_missing_program_names_its_package() {
        let failure = of(Error::Missing { what: "ip".into(), package: "iproute2" });
        assert_eq!(failure.hint.as_deref(), Some("install the package iproute2 on the machine of the containers"));
    }
}
