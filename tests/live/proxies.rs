//! Builds that reach the world through a proxy, and what they tell meanwhile.

use crate::packages::Index;
use crate::phases::within_image;
use crate::project::project;
use crate::raw;

#[test]
fn a_build_goes_through_the_proxy_and_its_image_says_nothing_of_it() {
    let project = project();
    let (proxy, other) = (Index::start(), Index::start());
    let name = &project.name;
    let source = format!("deb [trusted=yes] http://{name}.test/debian x main");
    std::fs::create_dir(project.path().join("image")).expect("a directory");
    project.write(
        "image/Dockerfile",
        &format!(
            "FROM debian:bookworm-slim\nRUN rm -r /etc/apt/sources.list.d; echo '{source}' >/etc/apt/sources.list; \
             apt-get update -o Acquire::Retries=0; echo $HTTP_PROXY $https_proxy $NO_PROXY >/seen\n"
        ),
    );
    let through = |proxy: &Index| {
        let address = proxy.address("").replace("://", "://somebody:password@");
        let address = address.trim_end_matches('/').to_owned();
        let proxies =
            format!("proxy: {{ http: \"{address}\", https: \"{address}/s\", no: \"localhost,.{name}\" }}\n");
        project.manifest_on(
            "{ dockerfile: image/Dockerfile }",
            &format!("{proxies}containers: {{}}\n"),
        );
        address
    };
    let address = through(&proxy);
    let run = project.plain(&["apply", "--progress", "plain"]);
    assert_eq!(run.code, Some(0), "{run:#?}");
    for step in 1..=2 {
        assert!(run.stderr.contains(&format!(": step {step} of 2\n")), "{run:#?}");
    }
    let asked = proxy.asked();
    let wanted = format!("http://{name}.test/debian/dists/x/");
    assert!(asked.iter().any(|path| path.starts_with(&wanted)), "{asked:?}");
    let image = format!("aishell-{name}:foundation");
    let seen = within_image(&project, &image, &["cat", "/seen"]);
    assert_eq!(seen, format!("{address} {address}/s localhost,.{name}"));
    // Neither the variables nor what is in them: not in the configuration, not in the history, in no label.
    let inspected = raw::get(&format!("/images/{image}/json")).to_string();
    let history = raw::get(&format!("/images/{image}/history")).to_string();
    for told in [inspected, history] {
        assert!(
            !told.contains("password") && !told.contains(proxy.host().as_str()),
            "{told}"
        );
    }
    // Which proxy it is changes nothing that is built.
    through(&other);
    project.settled();
    assert!(other.asked().is_empty());
}
