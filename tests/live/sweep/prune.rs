//! `prune` with everything allowed, cut anywhere: the next one completes, and what is used is as it was.

use std::collections::BTreeSet;

use super::*;
use crate::project::{Run, word};

/// Garbage of every kind beside a manifest that is there, and another one that is gone.
struct Heap {
    world: World,
    gone: Project,
    data: String,
}

impl Heap {
    fn new() -> Self {
        Self {
            world: World::new(),
            gone: project(),
            data: String::new(),
        }
    }

    fn project(&self) -> &Project {
        &self.world.project
    }

    /// Makes what is garbage: a stage, a sandbox image and a harness set that nobody uses any more, what was left by
    /// whoever was killed, and everything of a manifest that is gone.
    fn begin(&mut self) {
        if self.data.is_empty() {
            self.next_version();
            let id = self.project().id("a");
            raw::said(
                &id,
                &[
                    "sh",
                    "-c",
                    "cd /data; echo kept >note; printf '\\001\\377' >bytes; mkdir sub; chmod 600 bytes",
                ],
            );
            self.data = data(&id, "/data ~");
        }
        self.next_version();
        self.leave();
        self.gone = project();
        // What it is made of is nobody else's: others may use an image just now, and a moment later not any more.
        let from = format!("FROM {}\nENV V={}\n", self.gone.image, version());
        self.gone.write("Dockerfile", &from);
        self.gone.manifest_on(
            "{ dockerfile: Dockerfile }",
            "containers:\n  g: { stop: { timeout: 1s }, mounts: [{ volume: data, target: /data }] }\n  h: { home: tmpfs, stop: { timeout: 1s } }\n",
        );
        self.gone.converge();
        let run = self.gone.plain(&["stop", "h"]);
        assert_eq!(run.code, Some(0), "{run:#?}");
        std::fs::remove_file(self.gone.path().join("aishell.yaml")).expect("a manifest");
    }

    /// Applies another version of everything.
    fn next_version(&self) {
        let (project, version) = (self.project(), version());
        project.write(
            "Dockerfile",
            &format!("FROM {}\nENV V={version}\n", project.image),
        );
        project.manifest_on(
            "{ dockerfile: Dockerfile }",
            &format!(
                "harnesses:\n  tool: {{ npm: tool, version: {version}, bin: [tool], runtime: image }}\ncontainers:\n  \
                 a: {{ harness: tool, {DATA}, {QUICK} }}\n"
            ),
        );
        project.converge();
    }

    /// Leaves what those leave who are killed: a job that failed, an image without its names, a claim that never ran.
    fn leave(&self) {
        let project = self.project();
        let labels = &raw::container(&project.object("a")).expect("a container")["Config"]["Labels"];
        let with = |kind: &str| {
            let mut labels = labels.clone();
            labels["aishell.kind"] = json!(kind);
            labels["aishell.uid"] = json!(word());
            labels
        };
        let create = |name: &str, kind: &str| {
            let options = json!({ "Image": raw::tiny(), "Cmd": ["true"], "Labels": with(kind) });
            raw::post(&format!("/containers/create?name={name}"), &options);
        };
        create(&format!("aishell-failed-{}-populate", project.name), "job");
        create(
            &format!("aishell-claim-{}-{}", &word()[..8], &word()[..8]),
            "claim",
        );
        let labels = with("foundation");
        let labels = labels.as_object().expect("labels").iter();
        let labels = labels
            .filter(|(label, _)| label.starts_with("aishell.") && *label != "aishell.applied")
            .map(|(label, value)| format!("LABEL {label}={value}\n"));
        let instructions: String = labels.collect();
        let key = text(&with("foundation")["aishell.key"])[..12].to_owned();
        let tag = format!("aishell-{}:making-01234567-{key}", project.name);
        raw::derive(&tag, &instructions);
    }

    fn words(&self) -> Vec<String> {
        let words = ["prune", "--keep", "0", "--allow", "data-loss,interrupt"];
        let names = [&self.project().name, &self.gone.name];
        words
            .iter()
            .map(ToString::to_string)
            .chain(names.into_iter().cloned())
            .collect()
    }

    fn prune(&self, yes: bool) -> Run {
        let mut words = self.words();
        words.extend(yes.then(|| "--yes".to_owned()));
        self.project()
            .run(&words.iter().map(String::as_str).collect::<Vec<_>>())
    }

    /// Insists that one more completes it, and that what is used is as it was.
    fn heals(&self, told: &str) {
        let mut times = 0;
        raw::until("nothing is left that nobody uses", || {
            times += 1;
            let run = self.prune(true);
            assert_eq!(run.code, Some(0), "{told}: {run:#?}");
            // Others who are at work may be about to use a harness set; and an engine goes on with what it was asked by
            // whoever was killed, so one look may fall into that.
            let left = self.prune(false);
            // What a container uses that is just being removed is in use, and is not listed either.
            let images = raw::images(&self.project().label()).len();
            (left.json["items"] == json!([]) && images <= 2).then_some(())
        });
        if times > 1 {
            eprintln!("{told}: pruned {times} times");
        }
        let label = self.gone.label();
        let left = [
            raw::containers(&label),
            raw::volumes(&label),
            raw::networks(&label),
            raw::images(&label),
        ];
        assert_eq!(left.concat(), Vec::<Value>::new(), "{told}");

        let project = self.project();
        let run = project.apply();
        assert_eq!(
            (run.code, &run.json["converged"]),
            (Some(0), &json!(true)),
            "{told}: {run:#?}"
        );
        project.settled();
        project.unclaimed();
        project.only(&["a"]);
        let label = project.label();
        assert_eq!(raw::volumes(&label).len(), 3, "{told}: home, data, harnesses");
        assert_eq!(raw::networks(&label).len(), 1, "{told}");
        let images = raw::images(&label);
        assert_eq!(
            images.len(),
            2,
            "{told}: a stage and a sandbox image: {images:#?}"
        );
        assert_eq!(data(&project.id("a"), "/data ~"), self.data, "{told}");
    }

    /// Prunes, and cuts that. Returns whether it came that far.
    fn cut(&self, cut: Cut, at: At) -> bool {
        let victim = Victim::default();
        let reached = Arc::new(AtomicBool::new(false));
        let proxy = Proxy::ruled({
            let (victim, reached) = (victim.clone(), Arc::clone(&reached));
            let (mut reads, mut writes) = (0, 0);
            let mut since: Option<Instant> = None;
            move |request: &Request| {
                if cut.is_outage() && since.is_some_and(|since| since.elapsed() < AWAY) {
                    return Verdict::Cut;
                }
                if reached.load(Ordering::SeqCst) {
                    return if cut.kills() { Verdict::Cut } else { Verdict::Pass };
                }
                if request.is_write() {
                    writes += 1;
                } else {
                    reads += 1;
                }
                let here = match at {
                    At::Write(number) => request.is_write() && writes == number,
                    At::Read(number) => !request.is_write() && reads == number,
                };
                // An engine that goes away while it is only looked at is not waited for.
                if !here || writes == 0 && cut.is_outage() {
                    return Verdict::Pass;
                }
                reached.store(true, Ordering::SeqCst);
                since = Some(Instant::now());
                if cut.kills() {
                    victim.kill();
                }
                cut.verdict()
            }
        });
        let words = self.words();
        let words: Vec<&str> = words.iter().map(String::as_str).chain(["--yes"]).collect();
        let url = proxy.host();
        let words = [&["--host", &url][..], &words].concat();
        let run = self.project().killable(&victim, &words);
        match run.code {
            None => assert!(cut.kills(), "{cut:?} {at:?}: {run:#?}"),
            // What an engine is asked once it has begun is asked until it answers; before that it is told at once.
            Some(0 | 4) => {}
            Some(_) => panic!("{cut:?} {at:?}: {run:#?}"),
        }
        reached.load(Ordering::SeqCst)
    }
}

#[test]
fn what_nobody_uses() {
    let begun = Instant::now();
    let mut heap = Heap::new();
    heap.begin();
    let proxy = Proxy::new();
    let words = heap.words();
    let url = proxy.host();
    let words: Vec<&str> = ["--host", &url]
        .into_iter()
        .chain(words.iter().map(String::as_str))
        .chain(["--yes"])
        .collect();
    let run = heap.project().plain(&words);
    assert_eq!(run.code, Some(0), "{run:#?}");
    let kinds: BTreeSet<String> = proxy
        .writes()
        .iter()
        .map(|write| write.split('/').take(2).collect())
        .collect();
    assert_eq!(
        kinds.len(),
        5,
        "containers are stopped and removed, networks, volumes, images: {kinds:?}"
    );
    let writes = proxy.writes().len();
    let mut points = points(proxy.requests() - writes, writes);
    if std::env::var_os("AISHELL_CUTS").is_none() {
        // A heap takes its time to make.
        points = points.into_iter().step_by(3).collect();
    }
    heap.heals("nothing was cut");
    let (next, heaps) = (Mutex::new(points.iter()), Mutex::new(vec![heap]));
    thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                let mut heap = lock(&heaps).pop().unwrap_or_else(Heap::new);
                loop {
                    let point = lock(&next).next();
                    let Some((cut, at)) = point else { return };
                    heap.begin();
                    heap.cut(*cut, *at);
                    heap.heals(&format!("prune: {cut:?} {at:?}"));
                }
            });
        }
    });
    eprintln!(
        "prune: {} cuts of {writes} writes and {} reads in {:.0?}",
        points.len(),
        proxy.requests() - writes,
        begun.elapsed()
    );
}
