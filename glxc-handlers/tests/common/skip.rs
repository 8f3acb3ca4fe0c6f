/// Says why tests are skipped, or fails where skipping is not allowed: then there is nothing that they could not have.
pub fn skip(reason: &str) {
    let required = ["CI", "GLXC_TEST_REQUIRE"].iter().any(|name| std::env::var_os(name).is_some());
    assert!(!required, "{reason}");
    eprintln!("skipped: {reason}");
}
