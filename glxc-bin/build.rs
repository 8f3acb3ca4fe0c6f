//! Embeds the keeper and the guest into front, where `GLXC_KEEPER` and `GLXC_GUEST` name their files.

use std::path::{Path, PathBuf};
use std::{env, fs};

fn main() {
    let parts = ["KEEPER", "GUEST"].map(embed).concat();
    let folder = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets it"));
    fs::write(folder.join("embedded.rs"), parts).expect("the folder is cargo's own");
}

/// The Rust text of a part: its bytes, or nothing.
fn embed(part: &str) -> String {
    let variable = format!("GLXC_{part}");
    println!("cargo::rerun-if-env-changed={variable}");
    let value = match env::var_os(&variable).filter(|path| !path.is_empty()) {
        None => "None".to_owned(),
        Some(path) => {
            let path = Path::new(&path);
            let path = path.canonicalize().unwrap_or_else(|error| panic!("{variable}={}: {error}", path.display()));
            println!("cargo::rerun-if-changed={}", path.display());
            format!("Some(include_bytes!({path:?}))")
        }
    };
    format!("static {part}: Option<&[u8]> = {value};\n")
}
