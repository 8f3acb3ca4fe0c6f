//! The examples are repositories that work as they stand.

use glxc_tests::World;

#[test]
fn a_crontab_is_kept_by_two_scripts() {
    let Some(world) = World::example("crontab", "t-glxc-crontab") else { return };
    let live = || world.exec("crontab -l").accepted();
    let kept = || world.read("data/cron/crontab");
    assert_eq!(live(), kept());
    world.exec("(crontab -l; echo '5 4 * * * true') | crontab -").accepted();
    world.pull().accepted();
    assert!(kept().ends_with("\n5 4 * * * true\n"), "{}", kept());
    world.replace("data/cron/crontab", "\n5 4", "\n6 4");
    world.commit("an hour later");
    world.push().accepted();
    assert_eq!(live(), kept());
    // What cron refuses declines the push in its own words, and what was live is put back.
    let before = live();
    world.write("data/cron/crontab", &(kept() + "no crontab\n"));
    world.commit("bad");
    world.push().declined("bad minute");
    assert_eq!(live(), before);
    world.git(&["reset", "-q", "--hard", "HEAD~"]).accepted();
    // What both changed declines it too: the unit is the whole.
    world.exec("(crontab -l; echo '7 7 * * * true') | crontab -").accepted();
    world.replace("data/cron/crontab", "\n6 4", "\n8 4");
    world.commit("both");
    world.push().declined("changed meanwhile: crontab");
    assert!(live().contains("\n6 4 ") && live().ends_with("\n7 7 * * * true\n"), "{}", live());
}

#[test]
fn recipes_are_documents() {
    let Some(world) = World::example_with("recipes", "t-glxc-recipes", World::add_ferretdb) else { return };
    let rows = "data/recipes/data/recipes/rows.tsv";
    let head = world.head();
    world.pull().accepted();
    assert_eq!(world.head(), head, "the files are those of an export");
    // The page shows and changes them; what it posts is a form with the token of its session.
    let url = world.glxc(&["url", &world.name]).accepted();
    let page = |fields: &[&str]| {
        let mut curl = world.command("curl");
        curl.args(["-fsS", "-b", ".git/jar", "-c", ".git/jar"]);
        let output =
            curl.args(fields.iter().flat_map(|field| ["--data-urlencode", field])).arg(url.trim()).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    let shown = page(&[]);
    for text in ["<h2>Flat bread</h2>", "flour: 250 g\nmilk: 500 ml\neggs: 3</textarea>"] {
        assert!(shown.contains(text), "{shown}");
    }
    let token = shown.split_once("name=\"token\" value=\"").unwrap().1.split_once('"').unwrap().0;
    let token = format!("token={token}");
    let post = |fields: &[&str]| page(&[&[token.as_str()], fields].concat());
    let soup = "id=660000000000000000000002";
    let ingredients = "ingredients=red lentils: 200 g\ncarrots: 2\ncumin";
    let text = "text=Fry the cumin, add the rest and a litre of water, and cook for 20 minutes.";
    post(&[soup, "name=Lentil soup", "serves=2", ingredients, text]);
    world.pull().accepted();
    assert_eq!(world.git(&["diff", "--numstat", "HEAD~"]).accepted(), format!("1\t1\t{rows}\n"));
    assert!(world.read(rows).contains(r#"{"what":"red lentils","amount":"200 g"},"#), "{}", world.read(rows));
    post(&["id=660000000000000000000001", "remove=yes"]);
    world.replace(rows, "300 ml", "320 ml");
    world.commit("a wetter dough");
    world.push().accepted();
    let shown = page(&[]);
    assert!(shown.contains("water: 320 ml") && !shown.contains("Pancakes"), "{shown}");
    // How often the page was looked at is in the container, and in no file.
    assert!(world.git(&["grep", "-q", "visits", "--", "data"]).stdout.is_empty());
    let visits = "echo (new MongoDB\\Driver\\Manager)->executeQuery('recipes.visits', \
                  new MongoDB\\Driver\\Query([]))->toArray()[0]->count;";
    assert_eq!(world.glxc(&["exec", &world.name, "--", "php", "-r", visits]).accepted(), "2");
}
