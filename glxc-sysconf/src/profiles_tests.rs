use super::*;
use proptest::prelude::*;

/// Files from lines of `path` and `path = content`; a content that begins with `->` is a link.
fn files(lines: &[&str]) -> Files {
    let file = |line: &&str| {
        let (path, content) = line.split_once(" = ").unwrap_or((line, ""));
        let file = match content.strip_prefix("->") {
            Some(target) => File::new(Kind::Link, target),
            None => File::new(Kind::File, content),
        };
        (PathBuf::from(path), file)
    };
    lines.iter().map(file).collect()
}

fn order(profiles: &Profiles) -> Vec<&str> {
    profiles.order().iter().map(|profile| profile.name.as_str()).collect()
}

/// The winner of `etc/x`, or the error.
fn winner(lines: &[&str]) -> String {
    match Profiles::read(&files(lines)) {
        Ok(profiles) => profiles.winners()[Path::new("etc/x")].profile.clone(),
        Err(error) => error.to_string(),
    }
}

#[test]
fn dependencies_come_first_each_once() {
    let profiles = Profiles::read(&files(&[
        "actual/deps = web db\n# a comment\nmail # another",
        "web/deps = base",
        "db/deps = base",
        "mail/setup.rc",
        "base/setup.rc",
        "unused/deps = nothing-there",
    ]));
    assert_eq!(order(&profiles.unwrap()), ["base", "web", "db", "mail", "actual"]);
}

#[test]
fn the_root_may_be_a_link() {
    let profiles = Profiles::read(&files(&["actual = ->shop/", "shop/deps = web", "web/setup.rc"])).unwrap();
    assert_eq!(order(&profiles), ["web", "shop"]);
    for bad in ["->/etc", "->../x", "->shop/tree", "->actual", "no link"] {
        let lines = [&format!("actual = {bad}"), "shop/setup.rc"];
        assert!(Profiles::read(&files(&lines)).is_err(), "{bad}");
    }
}

#[test]
fn broken_chains_are_named() {
    let text = |lines: &[&str]| Profiles::read(&files(lines)).unwrap_err().to_string();
    assert_eq!(
        text(&["actual/deps = web", "web/deps = base", "base/deps = web"]),
        "profiles depend on each other: actual -> web -> base -> web"
    );
    assert_eq!(text(&["actual/deps = actual"]), "profiles depend on each other: actual -> actual");
    assert_eq!(text(&["actual/deps = web", "web/deps = gone"]), "no such profile: actual -> web -> gone");
    assert_eq!(text(&["web/deps = base"]), "no such profile: actual");
    assert_eq!(text(&["actual/deps = ../x"]), "actual/deps: not a name of a profile: ../x");
}

#[test]
fn overloading() {
    let above = ["actual/deps = web", "web/tree/etc/x = web"];
    assert_eq!(winner(&above), "web");
    // Directly.
    assert_eq!(winner(&[&above[..], &["actual/tree/etc/x = own"]].concat()), "actual");
    // Not directly: `mid` has no such file.
    let deep = ["actual/deps = mid", "mid/deps = web", "actual/tree/etc/x = own", "web/tree/etc/x = web"];
    assert_eq!(winner(&deep), "actual");
    // The order of names in `deps` does not matter to those that depend on each other.
    let both = ["base/tree/etc/x = base", "web/tree/etc/x = web", "web/deps = base"];
    assert_eq!(winner(&[&both[..], &["actual/deps = web base"]].concat()), "web");
    assert_eq!(winner(&[&both[..], &["actual/deps = base web"]].concat()), "web");
    // Unrelated ones clash,
    let unrelated = ["actual/deps = web mid", "mid/deps = db", "web/tree/etc/x = web", "db/tree/etc/x = db"];
    assert_eq!(
        winner(&unrelated),
        "etc/x is in both actual -> web and actual -> mid -> db, and neither profile depends on the other"
    );
    // but not if they agree,
    let agree = ["actual/deps = web db", "web/tree/etc/x = same", "db/tree/etc/x = same"];
    assert_eq!(winner(&agree), "db");
    // nor if a common dependent has the file too,
    assert_eq!(winner(&[&unrelated[..], &["actual/tree/etc/x = own"]].concat()), "actual");
    // while one that depends on only one of them does not help.
    assert!(winner(&[&unrelated[..], &["mid/tree/etc/x = mid"]].concat()).contains("neither profile"));
    // A file and a link of one content differ.
    let kinds = ["actual/deps = web db", "web/tree/etc/x = y", "db/tree/etc/x = ->y"];
    assert!(winner(&kinds).contains("neither profile"));
}

#[test]
fn a_file_here_and_a_folder_there_clash() {
    let lines = ["actual/deps = web", "actual/tree/etc/x = a", "web/tree/etc/x/y = b"];
    assert_eq!(Profiles::read(&files(&lines)).unwrap_err().to_string(), "etc/x: a file, but etc/x/y lies in it");
}

#[test]
fn copies_and_links_are_not_linked() {
    let profiles = Profiles::read(&files(&[
        "actual/copy = /etc/systemd\n# comment\netc/one\n",
        "actual/tree/etc/systemd/system/a.service",
        "actual/tree/etc/one",
        "actual/tree/etc/one.more",
        "actual/tree/etc/link = ->one",
    ]))
    .unwrap();
    let how = |path: &str| profiles.winners()[Path::new(path)].how;
    assert_eq!(how("etc/systemd/system/a.service"), How::Copy);
    assert_eq!(how("etc/one"), How::Copy);
    assert_eq!(how("etc/one.more"), How::Link);
    assert_eq!(how("etc/link"), How::Copy);
}

#[test]
fn a_missing_base_is_built_in() {
    let profiles = Profiles::read(&files(&["actual/deps = sysconf.base"])).unwrap();
    assert_eq!(order(&profiles), ["sysconf.base", "actual"]);
    assert_eq!(profiles.winners()[Path::new("usr/lib/sysconf.base/common.sh")].how, How::Builtin);
    let own = ["actual/deps = sysconf.base", "sysconf.base/tree/usr/lib/sysconf.base/common.sh"];
    let profiles = Profiles::read(&files(&own)).unwrap();
    assert_eq!(profiles.winners().len(), 1);
    assert_eq!(profiles.winners()[Path::new("usr/lib/sysconf.base/common.sh")].how, How::Link);
}

#[test]
fn scripts_and_lists_are_plain_files() {
    for name in ["deps", "setup.rc", "install.sh", "environment.rc", "ready.rc", "copy"] {
        let link = files(&["actual/setup.rc", &format!("actual/{name} = ->/etc/passwd")]);
        assert!(Profiles::read(&link).unwrap_err().to_string().contains("not a link"), "{name}");
        let folder = files(&[&format!("actual/{name}/x")]);
        assert!(Profiles::read(&folder).unwrap_err().to_string().contains("not a folder"), "{name}");
    }
    let old = Profiles::read(&files(&["actual/install.sh"])).unwrap();
    assert_eq!(old.order()[0].setup, Some("install.sh"));
    let both = Profiles::read(&files(&["actual/install.sh", "actual/setup.rc"])).unwrap();
    assert_eq!(both.order()[0].setup, Some("setup.rc"));
}

#[test]
fn target_and_type_are_agreed_upon() {
    let read = |lines: &[&str]| Profiles::read(&files(&[&["actual/deps = web", "web/setup.rc"], lines].concat()));
    assert_eq!(read(&[]).unwrap().target(), Path::new("/"));
    assert_eq!(read(&["target = /srv\n", "web/target = /srv"]).unwrap().target(), Path::new("/srv"));
    assert!(read(&["target = /srv", "actual/target = /"]).unwrap_err().to_string().contains("differs from target"));
    assert!(read(&["target = srv"]).is_err());
    assert!(read(&["target = /srv/../etc"]).is_err());
    let debian = read(&["web/type = debian\n"]).unwrap();
    debian.check_distribution("debian").unwrap();
    let error = debian.check_distribution("alpine").unwrap_err().to_string();
    assert_eq!(error, "web/type: made for debian, but the container is alpine");
}

#[test]
fn huge_dependencies_end_in_time() {
    let chain = |n: usize| -> Files {
        (0..n)
            .map(|i| {
                let name = if i == 0 { "actual".into() } else { format!("p{i}") };
                let deps = if i + 1 < n { format!("p{}", i + 1) } else { String::new() };
                (PathBuf::from(name).join("deps"), File::new(Kind::File, deps))
            })
            .collect()
    };
    assert_eq!(Profiles::read(&chain(MAX_PROFILES)).unwrap().order().len(), MAX_PROFILES);
    let error = Profiles::read(&chain(MAX_PROFILES + 1)).unwrap_err();
    assert!(error.to_string().contains("more than 1000 profiles"), "{error}");
    let long = "x\n".repeat(MAX_LIST);
    assert!(Profiles::read(&files(&[&format!("actual/deps = {long}")])).unwrap_err().to_string().contains("longer"));
}

/// A graph without circles: a profile depends only on those with a higher number.
fn graphs() -> impl Strategy<Value = Vec<Vec<usize>>> {
    (1usize..9).prop_flat_map(|n| {
        let row = |i: usize| proptest::collection::vec(i + 1..n.max(i + 2), 0..4);
        (0..n).map(row).collect::<Vec<_>>().prop_map(move |mut rows| {
            rows.iter_mut().for_each(|row| row.retain(|to| *to < n));
            rows
        })
    })
}

fn name(index: usize) -> String {
    if index == 0 { ROOT.into() } else { format!("p{index}") }
}

/// Whether one depends on the other, directly or not, told from the graph alone.
fn depends(graph: &[Vec<usize>], upper: usize, lower: usize) -> bool {
    graph[upper].iter().any(|next| *next == lower || depends(graph, *next, lower))
}

proptest! {
    #[test]
    fn any_graph_is_in_order(graph in graphs(), owners in proptest::collection::vec(any::<bool>(), 9)) {
        let mut all = Files::new();
        for (index, row) in graph.iter().enumerate() {
            let deps = row.iter().map(|to| name(*to)).collect::<Vec<_>>().join("\n");
            all.insert(PathBuf::from(name(index)).join("deps"), File::new(Kind::File, deps));
            if owners[index] {
                all.insert(PathBuf::from(name(index)).join("tree/etc/x"), File::new(Kind::File, index.to_string()));
            }
        }
        let taking_part: Vec<usize> = (0..graph.len()).filter(|i| *i == 0 || depends(&graph, 0, *i)).collect();
        let owning: Vec<usize> = taking_part.iter().copied().filter(|i| owners[*i]).collect();
        let best: Vec<usize> = owning.iter().copied().filter(|i| !owning.iter().any(|o| depends(&graph, *o, *i))).collect();
        match Profiles::read(&all) {
            Err(Error::Clash { .. }) => prop_assert!(best.len() > 1),
            Err(other) => prop_assert!(false, "{}", other),
            Ok(profiles) => {
                let order = order(&profiles);
                prop_assert_eq!(order.len(), taking_part.len());
                let place = |i: usize| order.iter().position(|n| *n == name(i)).unwrap();
                for (upper, row) in graph.iter().enumerate().filter(|(i, _)| taking_part.contains(i)) {
                    for lower in row {
                        prop_assert!(place(*lower) < place(upper));
                    }
                }
                prop_assert!(best.len() <= 1);
                let winner = profiles.winners().get(Path::new("etc/x")).map(|winner| winner.profile.clone());
                prop_assert_eq!(winner, best.first().map(|i| name(*i)));
            }
        }
    }

    #[test]
    fn any_files_are_refused_or_read(paths in proptest::collection::vec("(actual|web|compiled|\\.\\.|sysconf.base)/(tree|deps|copy|target|type|setup.rc)(/[a-z.\n]{1,3}){0,2}", 1..6), content in "(web|actual|sysconf.base|/|\\.\\.|\n){0,3}") {
        let all: Files = paths.iter().map(|path| (path.into(), File::new(Kind::File, &content))).collect();
        let _ = Profiles::read(&all);
    }
}
