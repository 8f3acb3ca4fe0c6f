//! The keeper: the program that runs as root where the containers are.

fn main() -> std::process::ExitCode {
    glxc::keeper::main()
}
