//! The guest with the kinds of state that come with GLXC.

fn main() -> std::process::ExitCode {
    glxc::guest::main(glxc::guest::registry())
}
