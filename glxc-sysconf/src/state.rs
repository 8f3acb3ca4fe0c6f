//! What this crate remembers: the places it works in, what it installed, and the steps of an operation.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::files::{File, Kind};
use crate::folder::{Folder, Object};
use crate::profiles::How;

/// Which folder a path is beneath.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Place {
    /// The folder of the profiles.
    Sysconf,
    /// Where files are installed.
    Target,
    /// This crate's own.
    State,
}

/// One change of one path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Step {
    pub(crate) place: Place,
    pub(crate) path: PathBuf,
    pub(crate) old: Object,
    pub(crate) new: Object,
}

/// The open folders.
#[derive(Debug)]
pub(crate) struct Places {
    pub(crate) sysconf: Folder,
    pub(crate) target: Folder,
    pub(crate) state: Folder,
}

impl Places {
    pub(crate) fn get(&self, place: Place) -> &Folder {
        match place {
            Place::Sysconf => &self.sysconf,
            Place::Target => &self.target,
            Place::State => &self.state,
        }
    }
}

/// The file of the manifest, beneath the state's folder.
pub(crate) const MANIFEST: &str = "installed";
const MANIFEST_HEADER: &str = "glxc-sysconf 1";
const STEPS_HEADER: &str = "glxc-sysconf-steps 2";

/// What stood at a path of the target before a profile's file took its place.
pub(crate) fn kept(path: &Path) -> PathBuf {
    Path::new("kept").join(path)
}

/// What was put at a path of the target as a copy.
pub(crate) fn copied(path: &Path) -> PathBuf {
    Path::new("copies").join(path)
}

/// A file that was installed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Installed {
    pub(crate) how: How,
    pub(crate) source: PathBuf,
}

/// All files that were installed, by their paths in the target.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Manifest {
    pub(crate) target: Option<PathBuf>,
    pub(crate) entries: BTreeMap<PathBuf, Installed>,
    /// Folders that were made for them.
    pub(crate) folders: BTreeSet<PathBuf>,
}

impl Manifest {
    pub(crate) fn read(state: &Folder) -> Result<Self> {
        let path = Path::new(MANIFEST);
        match state.read(path)? {
            Object::Absent => Ok(Manifest::default()),
            Object::File { content, .. } => {
                Manifest::decode(&content).map_err(|message| Error::State { path: state.full(path), message })
            }
            _ => Err(Error::State { path: state.full(path), message: "not a file" }),
        }
    }

    pub(crate) fn object(&self, before: &Object) -> Object {
        Object::from_file(&File::new(Kind::File, self.encode()), before)
    }

    fn encode(&self) -> String {
        let mut text = format!("{MANIFEST_HEADER}\n");
        let mut line = |kind: &str, paths: &[&Path]| {
            text.push_str(kind);
            paths.iter().for_each(|path| text.extend([" ", &escape(path)]));
            text.push('\n');
        };
        self.target.iter().for_each(|target| line("target", &[target]));
        self.folders.iter().for_each(|folder| line("folder", &[folder]));
        for (path, entry) in &self.entries {
            let how = match entry.how {
                How::Link => "link",
                How::Copy => "copy",
                How::Builtin => "builtin",
            };
            line(how, &[path, &entry.source]);
        }
        text
    }

    fn decode(bytes: &[u8]) -> Result<Self, &'static str> {
        let text = std::str::from_utf8(bytes).map_err(|_| "not UTF-8")?;
        let mut lines = text.lines();
        if lines.next() != Some(MANIFEST_HEADER) {
            return Err("not a format that this version knows");
        }
        let mut manifest = Manifest::default();
        for line in lines {
            let words: Vec<&str> = line.split(' ').collect();
            let how = match words[..] {
                ["target", path] => {
                    manifest.target = Some(unescape(path)?);
                    continue;
                }
                ["folder", path] => {
                    manifest.folders.insert(unescape(path)?);
                    continue;
                }
                ["link", ..] => How::Link,
                ["copy", ..] => How::Copy,
                ["builtin", ..] => How::Builtin,
                _ => return Err("a line of an unknown kind"),
            };
            let [_, path, source] = words[..] else { return Err("a line without a source") };
            manifest.entries.insert(unescape(path)?, Installed { how, source: unescape(source)? });
        }
        Ok(manifest)
    }
}

/// A path as one word of printable ASCII.
fn escape(path: &Path) -> String {
    let mut text = String::new();
    for byte in path.as_os_str().as_bytes() {
        match byte {
            b'%' | 0..=b' ' | 0x7f.. => text.push_str(&format!("%{byte:02x}")),
            byte => text.push(char::from(*byte)),
        }
    }
    text
}

fn unescape(text: &str) -> Result<PathBuf, &'static str> {
    let mut bytes = Vec::new();
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let mut digit = || rest.next().and_then(|b| char::from(b).to_digit(16));
        let (Some(high), Some(low)) = (digit(), digit()) else { return Err("a broken escape in a path") };
        bytes.push((high * 16 + low) as u8);
    }
    Ok(OsStr::from_bytes(&bytes).into())
}

/// The steps of an operation, so that they can be undone: what stood where, and what was put there.
pub(crate) fn encode_steps(target: &Path, steps: &[Step]) -> Vec<u8> {
    let mut bytes = format!("{STEPS_HEADER}\n{}\n", escape(target)).into_bytes();
    for step in steps {
        let place = match step.place {
            Place::Sysconf => "sysconf",
            Place::Target => "target",
            Place::State => "state",
        };
        bytes.extend(format!("{place} {}\n", escape(&step.path)).as_bytes());
        encode_object(&step.old, &mut bytes);
        encode_object(&step.new, &mut bytes);
    }
    bytes.extend(b"end\n");
    bytes
}

fn encode_object(object: &Object, bytes: &mut Vec<u8>) {
    let (kind, content, mode, (user, group)): (_, &[u8], _, _) = match object {
        Object::Absent | Object::Other => ("absent", &[], 0, (0, 0)),
        Object::Folder => ("folder", &[], 0, (0, 0)),
        Object::Link(target) => ("link", target, 0, (0, 0)),
        Object::File { content, mode, owner } => ("file", content, *mode, *owner),
    };
    bytes.extend(format!("{kind} {} {mode:o} {user} {group}\n", content.len()).as_bytes());
    bytes.extend(content);
    bytes.push(b'\n');
}

/// The target and the steps, in their order.
pub(crate) fn decode_steps(mut bytes: &[u8]) -> Result<(PathBuf, Vec<Step>), &'static str> {
    if line(&mut bytes)? != STEPS_HEADER {
        return Err("not a format that this version knows");
    }
    let target = unescape(line(&mut bytes)?)?;
    let mut steps = Vec::new();
    loop {
        let words: Vec<&str> = line(&mut bytes)?.split(' ').collect();
        let [place, path] = words[..] else {
            return if words == ["end"] { Ok((target, steps)) } else { Err("a broken line") };
        };
        let place = match place {
            "sysconf" => Place::Sysconf,
            "target" => Place::Target,
            "state" => Place::State,
            _ => return Err("an unknown place"),
        };
        let (path, old) = (unescape(path)?, decode_object(&mut bytes)?);
        steps.push(Step { place, path, old, new: decode_object(&mut bytes)? });
    }
}

fn decode_object(bytes: &mut &[u8]) -> Result<Object, &'static str> {
    let words: Vec<&str> = line(bytes)?.split(' ').collect();
    let [kind, length, mode, user, group] = words[..] else { return Err("a broken line") };
    let number = |text: &str| text.parse().map_err(|_| "a broken number");
    let content = take(bytes, number(length)? as usize)?;
    match kind {
        "absent" => Ok(Object::Absent),
        "folder" => Ok(Object::Folder),
        "link" => Ok(Object::Link(content.into())),
        "file" => {
            let mode = u32::from_str_radix(mode, 8).map_err(|_| "a broken mode")?;
            Ok(Object::File { content: content.into(), mode, owner: (number(user)?, number(group)?) })
        }
        _ => Err("an unknown kind"),
    }
}

fn line<'a>(bytes: &mut &'a [u8]) -> Result<&'a str, &'static str> {
    let end = bytes.iter().position(|b| *b == b'\n').ok_or("it ends too early")?;
    let text = std::str::from_utf8(&bytes[..end]).map_err(|_| "not UTF-8")?;
    *bytes = &bytes[end + 1..];
    Ok(text)
}

/// Takes so many bytes and the newline after them.
fn take<'a>(bytes: &mut &'a [u8], length: usize) -> Result<&'a [u8], &'static str> {
    match bytes.split_at_checked(length) {
        Some((content, [b'\n', rest @ ..])) => {
            *bytes = rest;
            Ok(content)
        }
        _ => Err("it ends too early"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn paths() -> impl Strategy<Value = PathBuf> {
        proptest::collection::vec(1u8.., 1..20).prop_map(|bytes| PathBuf::from(OsStr::from_bytes(&bytes)))
    }

    fn objects() -> impl Strategy<Value = Object> {
        let bytes = || proptest::collection::vec(any::<u8>(), 0..40);
        prop_oneof![
            Just(Object::Absent),
            Just(Object::Folder),
            bytes().prop_map(|target| Object::Link(target.into())),
            (bytes(), 0u32..0o10000, any::<(u32, u32)>()).prop_map(|(content, mode, owner)| Object::File {
                content: content.into(),
                mode,
                owner
            }),
        ]
    }

    proptest! {
        #[test]
        fn steps_are_read_as_written(target in paths(), all in proptest::collection::vec((paths(), objects(), objects()), 0..5), cut in any::<prop::sample::Index>()) {
            let step = |(path, old, new)| Step { place: Place::Target, path, old, new };
            let steps: Vec<Step> = all.into_iter().map(step).collect();
            let bytes = encode_steps(&target, &steps);
            prop_assert_eq!(decode_steps(&bytes).unwrap(), (target, steps));
            prop_assert!(decode_steps(&bytes[..cut.index(bytes.len())]).is_err(), "a cut file must not pass");
        }

        #[test]
        fn manifests_are_read_as_written(target in paths(), all in proptest::collection::vec((paths(), paths()), 0..5)) {
            let mut manifest = Manifest { target: Some(target), ..Manifest::default() };
            for (path, source) in all {
                manifest.folders.insert(source.clone());
                manifest.entries.insert(path, Installed { how: How::Copy, source });
            }
            prop_assert_eq!(Manifest::decode(manifest.encode().as_bytes()).unwrap(), manifest);
        }
    }
}
