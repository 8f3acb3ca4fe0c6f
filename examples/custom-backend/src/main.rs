//! A guest that knows Redis too. `glxc init NAME --guest PATH` names it.

fn main() -> std::process::ExitCode {
    glxc::guest::main(glxc::guest::registry().with("redis", redis_state::make))
}
