//! `glxc dump` and `glxc load` as a user of a plain server runs them: stdout, stderr, status, and what they leave.
#![cfg(feature = "guest")]

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use insta::assert_snapshot;
use tempfile::TempDir;

/// A folder of uploads, and one to dump it to.
struct Server {
    _folder: TempDir,
    path: PathBuf,
}

impl Server {
    fn new() -> Self {
        let folder = TempDir::new().unwrap();
        let server = Server { path: folder.path().canonicalize().unwrap(), _folder: folder };
        server.write("uploads/cat.jpg", "meow");
        server.write("uploads/dog.jpg", "woof");
        server.write("dump/glxc.toml", &server.config("uploads"));
        server
    }

    fn config(&self, root: &str) -> String {
        let root = self.path.join(root);
        format!("[state.uploads]\nhandler = \"files\"\npath = \"data/uploads\"\nroot = \"{}\"\n", root.display())
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.path.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path.join(name)).unwrap()
    }

    /// What the user sees.
    #[must_use]
    fn glxc(&self, arguments: &[&str]) -> String {
        let mut command = Command::new(env!("CARGO_BIN_EXE_guest"));
        command.args(arguments).current_dir(&self.path).env_clear().stdin(Stdio::null());
        let output = command.output().unwrap();
        let text = |bytes: &[u8]| {
            let text = String::from_utf8_lossy(bytes).replace(self.path.to_str().unwrap(), "[SERVER]");
            let words = text.split_inclusive([' ', '/', '\n', '-']);
            // The number of an operation.
            let shown = words.map(|word| match word.trim_end() {
                number if number.len() == 16 && number.bytes().all(|b| b.is_ascii_hexdigit()) => {
                    word.replace(number, "[OP]")
                }
                _ => word.to_owned(),
            });
            shown.collect::<String>()
        };
        let mut shown = String::new();
        for (name, bytes) in [("stdout", &output.stdout), ("stderr", &output.stderr)] {
            if !bytes.is_empty() {
                shown += &format!("-- {name}\n{}", text(bytes));
            }
        }
        shown + &format!("-- status {}", output.status.code().unwrap())
    }
}

const CAT: &str = "dump/data/uploads/files/cat.jpg";

#[test]
fn a_folder_goes_there_and_back() {
    let server = Server::new();
    assert_snapshot!(server.glxc(&["dump", "dump"]), @r#"
-- stderr
uploads: 2 files added
-- status 0
"#);
    assert_snapshot!(server.glxc(&["load", "dump"]), @r#"
-- stderr
nothing changed
-- status 0
"#);
    server.write(CAT, "purr");
    server.write("uploads/dog.jpg", "growl");
    assert_snapshot!(server.glxc(&["load", "dump"]), @r#"
-- stderr
uploads: 1 file changed
-- status 0
"#);
    assert_eq!((server.read("uploads/cat.jpg"), server.read("uploads/dog.jpg")), ("purr".into(), "growl".into()));
    assert_snapshot!(server.glxc(&["dump", "dump"]), @r#"
-- stderr
uploads: 1 file changed
-- status 0
"#);
    assert_eq!(server.read("dump/data/uploads/files/dog.jpg"), "growl");
}

#[test]
fn nothing_is_overwritten_silently() {
    let server = Server::new();
    let _ = server.glxc(&["dump", "dump"]);
    server.write(CAT, "mine");
    server.write("uploads/cat.jpg", "theirs");
    assert_snapshot!(server.glxc(&["load", "dump"]), @r#"
-- stderr
error: state `uploads`: could not import
  because: changed meanwhile: cat.jpg
hint: the files are older than what is live: dump into another folder, bring your change there, load that
-- status 1
"#);
    assert_snapshot!(server.glxc(&["dump", "dump"]), @r#"
-- stderr
error: state `uploads`: files were changed and not loaded (1 in all): data/uploads/files/cat.jpg
hint: load them, or move them away, then dump again
-- status 1
"#);
    assert_eq!((server.read(CAT), server.read("uploads/cat.jpg")), ("mine".into(), "theirs".into()));
    // Other uploads, which this folder has never seen.
    server.write("others/bird.jpg", "chirp");
    server.write("others.toml", &server.config("others"));
    let load = ["load", "--config", "others.toml"];
    assert_snapshot!(server.glxc(&[&load[..], &["dump"]].concat()), @r#"
-- stderr
error: state `uploads`: what is live was neither dumped into this folder nor loaded from it
hint: dump into another folder and compare; or `--replace uploads`, which keeps what is live in .glxc/replaced
-- status 1
"#);
    assert_eq!(server.read("others/bird.jpg"), "chirp");
    assert_snapshot!(server.glxc(&[&load[..], &["--replace", "uploads", "dump"]].concat()), @r#"
-- stderr
uploads: what was live before is kept in .glxc/replaced/uploads-[OP]
uploads: loaded from 4 files
-- status 0
"#);
    assert_eq!(server.read("others/cat.jpg"), "mine");
    assert!(!server.path.join("others/bird.jpg").exists());
    let mut kept = fs::read_dir(server.path.join("dump/.glxc/replaced")).unwrap();
    let kept = kept.next().unwrap().unwrap().path();
    assert_eq!(fs::read_to_string(kept.join("files/bird.jpg")).unwrap(), "chirp");
}

#[test]
fn what_makes_no_sense_is_named() {
    let server = Server::new();
    assert_snapshot!(server.glxc(&["dump"]), @r#"
-- stderr
error: no folder is named
hint: glxc dump --help
-- status 2
"#);
    assert_snapshot!(server.glxc(&["dump", "--replace", "uploads", "dump"]), @r#"
-- stderr
error: unknown option --replace
hint: glxc dump --help
-- status 2
"#);
    assert_snapshot!(server.glxc(&["load", "--help"]), @r#"
-- stdout
usage: glxc dump [--config FILE] DIR
       glxc load [--config FILE] [--replace STATE]... DIR

dump writes the states that DIR/glxc.toml names into DIR. load applies what was changed in these files since.

  --config FILE     read the states from FILE instead of DIR/glxc.toml
  --replace STATE   let its files replace what is live, which is kept in DIR/.glxc/replaced
-- status 0
"#);
    assert_snapshot!(server.glxc(&["load", "nowhere"]), @r#"
-- stderr
error: read nowhere/glxc.toml
  because: No such file or directory (os error 2)
-- status 1
"#);
    assert_snapshot!(server.glxc(&["load", "--replace", "shop", "dump"]), @r#"
-- stderr
error: there is no state `shop`
-- status 1
"#);
    server.write("dump/glxc.toml", "[state.uploads]\nhandler = \"fiels\"\npath = \"data/uploads\"\n");
    assert_snapshot!(server.glxc(&["dump", "dump"]), @r#"
-- stderr
error: glxc.toml:1: state `uploads`: `handler`: unknown handler `fiels`; did you mean `files`?
-- status 1
"#);
    server.write("dump/glxc.toml", &(server.config("uploads") + "rooot = 1\n"));
    assert_snapshot!(server.glxc(&["dump", "dump"]), @r#"
-- stderr
error: glxc.toml:5: state `uploads`: `rooot`: unknown key; did you mean `root`?
-- status 1
"#);
    server.write("dump/glxc.toml", "");
    assert_snapshot!(server.glxc(&["dump", "dump"]), @r#"
-- stderr
error: dump/glxc.toml has no state
-- status 1
"#);
    assert!(!server.path.join("dump/data").exists());
}

#[test]
fn a_file_that_can_not_be_used_is_named_and_nothing_changes() {
    let server = Server::new();
    let _ = server.glxc(&["dump", "dump"]);
    let rows = server.read("dump/data/uploads/entries/rows.tsv");
    server.write("dump/data/uploads/entries/rows.tsv", &rows.replace("/cat.jpg\t0644", "/cat.jpg\t9999"));
    server.write(CAT, "purr");
    assert_snapshot!(server.glxc(&["load", "dump"]), @r#"
-- stderr
error: state `uploads`: could not check its files
  because: data/uploads/entries/rows.tsv:3: the mode is not four octal digits
-- status 1
"#);
    assert_eq!(server.read("uploads/cat.jpg"), "meow");
}
