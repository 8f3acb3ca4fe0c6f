//! The program `glxc`: see [`glxc::front`].

use std::process::ExitCode;

fn main() -> ExitCode {
    glxc::front::main()
}
