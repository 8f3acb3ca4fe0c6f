//! The examples with pages, as people use them: in a browser. What they change there comes back as commits, and after the container
//! was lost the page shows it again.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use fantoccini::error::CmdError;
use fantoccini::{Client, ClientBuilder, Locator};
use glxc_tests::World;
use hyper_util::client::legacy::connect::HttpConnector;
use tokio::runtime::Runtime;

/// A browser without a window, and the program that drives it.
struct Browser {
    runtime: Runtime,
    client: Client,
    driver: Child,
}

impl Browser {
    fn start() -> Browser {
        let mut driver =
            Command::new("chromedriver").arg("--port=0").stdout(Stdio::piped()).spawn().expect("chromium-driver");
        let mut said = BufReader::new(driver.stdout.take().unwrap()).lines();
        let port = said.find_map(|line| {
            let port = line
                .unwrap()
                .split_once("started successfully on port ")?
                .1
                .trim_end_matches('.')
                .parse::<u16>()
                .ok()?;
            Some(port)
        });
        // What it says later must not fill a pipe.
        std::thread::spawn(move || said.for_each(drop));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let options =
            serde_json::json!({"args": ["--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu"]});
        let mut capabilities = serde_json::Map::new();
        capabilities.insert("goog:chromeOptions".into(), options);
        let mut builder = ClientBuilder::new(HttpConnector::new());
        let address = format!("http://127.0.0.1:{}", port.expect("a port"));
        let connected = builder.capabilities(capabilities).connect(&address);
        let client = runtime.block_on(connected).expect("chromium starts");
        Browser { runtime, client, driver }
    }

    #[track_caller]
    fn run<T>(&self, what: &str, task: impl Future<Output = Result<T, CmdError>>) -> T {
        self.runtime.block_on(task).unwrap_or_else(|error| {
            let page = self.runtime.block_on(self.client.source()).unwrap_or_default();
            panic!("{what}: {error}\n{page}")
        })
    }

    #[track_caller]
    fn open(&self, url: &str) {
        self.run(url, self.client.goto(url));
    }

    /// Tries until it works: what was found may be replaced by the page before it is used.
    #[track_caller]
    fn retry<T>(&self, what: &str, task: impl AsyncFn() -> Result<Option<T>, CmdError>) -> T {
        let until = Instant::now() + Duration::from_secs(60);
        self.run(what, async {
            loop {
                match task().await {
                    Ok(Some(done)) => return Ok(done),
                    Err(error) if Instant::now() > until => return Err(error),
                    _ => assert!(Instant::now() < until, "{what} does not come"),
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        })
    }

    /// Waits until something is there.
    #[track_caller]
    fn await_shown(&self, selector: &str) {
        self.retry(selector, async || {
            Ok(self.client.find(Locator::Css(selector)).await?.is_displayed().await?.then_some(()))
        });
    }

    #[track_caller]
    fn click(&self, selector: &str) {
        self.retry(selector, async || self.client.find(Locator::Css(selector)).await?.click().await.map(Some));
    }

    /// Clicks the button of a form, and waits until its page is gone.
    #[track_caller]
    fn submit(&self, selector: &str) {
        let button = self.run(selector, self.client.find(Locator::Css(selector)));
        self.run(selector, button.click());
        self.retry(selector, async || Ok(button.is_displayed().await.is_err().then_some(())));
    }

    #[track_caller]
    fn write(&self, selector: &str, text: &str) {
        self.run(selector, async { self.client.find(Locator::Css(selector)).await?.send_keys(text).await });
    }

    #[track_caller]
    fn choose(&self, selector: &str, value: &str) {
        self.run(selector, async { self.client.find(Locator::Css(selector)).await?.select_by_label(value).await });
    }

    #[track_caller]
    fn shown(&self, selector: &str) -> String {
        self.run(selector, async { self.client.find(Locator::Css(selector)).await?.text().await })
    }

    /// Whether the first picture that a selector finds was loaded and has pixels.
    fn has_pixels(&self, selector: &str) -> bool {
        let script =
            "const picture = document.querySelector(arguments[0]); return picture.complete && picture.naturalWidth > 0";
        self.run(selector, self.client.execute(script, vec![selector.into()])) == serde_json::Value::Bool(true)
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = self.runtime.block_on(self.client.clone().close());
        let _ = self.driver.kill();
        let _ = self.driver.wait();
    }
}

/// A picture of 300 by 200 pixels.
const PICTURE: &[u8] = include_bytes!("../data/picture.png");
const PICTURE_FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/data/picture.png");

fn url(world: &World) -> String {
    world.glxc(&["url", &world.name]).accepted().trim().to_owned()
}

/// Loses the container and pushes it again. Nothing comes back with the next pull.
fn lose(world: &World) {
    world.glxc(&["destroy", "--discard", &world.name]).accepted();
    world.push().accepted();
    let head = world.head();
    world.pull().accepted();
    assert_eq!(world.head(), head);
}

/// What the last commit changed in a file, a line each, without the header of the diff.
fn changed(world: &World, file: &str) -> Vec<String> {
    let diff = world.git(&["diff", "--unified=0", "HEAD~", "--", file]).accepted();
    diff.lines()
        .skip_while(|line| !line.starts_with("@@"))
        .filter(|line| !line.starts_with("@@"))
        .map(str::to_owned)
        .collect()
}

#[test]
fn an_order_and_a_photo_of_the_shop() {
    let Some(world) = World::example("shop", "t-glxc-browser-shop") else { return };
    let browser = Browser::start();
    browser.open(&url(&world));
    browser.choose("#order-3 select", "packed");
    browser.write("#order-3 textarea", "Rings <twice> & waits.");
    browser.submit("#order-3 button");
    browser.write("form[enctype] input[type=file]", PICTURE_FILE);
    browser.submit("form[enctype] button");
    browser.await_shown("form[enctype] img");
    world.pull().accepted();
    let [orders, products] =
        ["orders", "products"].map(|table| changed(&world, &format!("data/shop/data/public.{table}/rows.tsv")));
    assert_eq!(orders, ["-3\t3\tnew\t2026-10-06", "+3\t3\tpacked\t2026-10-06"]);
    let [before, after] = products.as_slice() else { panic!("{products:?}") };
    let photo = after.rsplit('\t').next().unwrap();
    assert!(before.ends_with("\t\\N") && photo.ends_with(".png"), "{products:?}");
    assert_eq!(std::fs::read(world.folder().join("data/uploads/files").join(photo)).unwrap(), PICTURE);
    lose(&world);
    browser.open(&url(&world));
    assert_eq!(browser.shown("#order-3 option:checked"), "packed");
    assert_eq!(browser.shown("#order-3 textarea"), "Rings <twice> & waits.");
    assert!(browser.has_pixels("form[enctype] img"));
}

#[test]
fn a_post_and_a_picture_of_the_blog() {
    let Some(world) = World::example("wordpress", "t-glxc-browser-blog") else { return };
    let password = world.exec("cat /root/wordpress.password").accepted();
    let browser = Browser::start();
    let log_in = || {
        browser.open(&format!("{}wp-login.php", url(&world)));
        browser.write("#user_login", "admin");
        browser.write("#user_pass", password.trim());
        browser.click("#wp-submit");
        browser.await_shown("#wpadminbar");
    };
    log_in();
    browser.open(&format!("{}wp-admin/media-new.php?browser-uploader", url(&world)));
    browser.write("input[name=async-upload]", PICTURE_FILE);
    browser.click("#html-upload");
    browser.await_shown("table.media, .attachments-browser");
    let uploads = world.exec("cd /var/lib/wordpress/wp-content/uploads && find -name picture.png").accepted();
    let uploaded = uploads.trim().trim_start_matches("./");
    browser.open(&format!("{}wp-admin/post-new.php", url(&world)));
    browser.click(".components-modal__header button");
    browser.write(".editor-post-title__input", "Snow & ice");
    let insert = "const picture = wp.blocks.createBlock('core/image', {url: arguments[0]}); \
                  wp.data.dispatch('core/block-editor').insertBlocks(picture)";
    let source = format!("/wp-content/uploads/{uploaded}");
    browser.run("a picture", browser.client.execute(insert, vec![source.clone().into()]));
    browser.click(".editor-post-publish-panel__toggle");
    browser.click(".editor-post-publish-button");
    browser.await_shown(".post-publish-panel__postpublish");
    world.pull().accepted();
    let posts = changed(&world, "data/site/data/wp_posts/rows.tsv");
    let published: Vec<_> =
        posts.iter().filter(|row| row.contains("\tSnow & ice\t") && row.contains("\tpublish\t")).collect();
    assert!(matches!(published.as_slice(), [row] if row.starts_with('+') && row.contains(&source)), "{posts:?}");
    assert_eq!(std::fs::read(world.folder().join("data/uploads/files").join(uploaded)).unwrap(), PICTURE);
    lose(&world);
    browser.open(&url(&world));
    let post = browser.client.find(Locator::LinkText("Snow & ice"));
    browser.run("the post", async { post.await?.click().await });
    browser.await_shown(".wp-block-image img");
    assert!(browser.has_pixels(".wp-block-image img"));
    assert_eq!(browser.shown("h1"), "Snow & ice");
    // Its password is the data's, too, and no other one was made.
    world.exec("test ! -e /root/wordpress.password").accepted();
    log_in();
}
