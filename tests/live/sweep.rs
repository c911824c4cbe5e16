//! Whatever is done can be cut at any request: the program killed, or a connection lost. The next apply converges in
//! one run, nothing is left lying about, and data is as it was. Where the engine is only away for a while, the very run
//! that meets it converges.
//!
//! Every write is cut in one of the ways, and a few reads. `AISHELL_CUTS=all` cuts every request in every way,
//! `AISHELL_CUTS=away` takes the engine away at every request.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::apply::version;
use crate::project::{Project, Victim, project, text};
use crate::proxy::{Proxy, Request, Verdict};
use crate::raw::{self, Events};

mod prune;

/// How many worlds are swept at once.
const AT_ONCE: usize = 3;
/// How long an engine is away.
const AWAY: Duration = Duration::from_millis(1500);
/// One of so many reads is cut, unless all are.
const SOME: usize = 12;

/// What happens at a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cut {
    /// The program is killed before the engine hears of the request.
    KillBefore,
    /// The program is killed when the engine has the request.
    KillDuring,
    /// The connection is lost before the engine hears of the request.
    LoseBefore,
    /// The connection is lost when the engine has done what was asked, and its answer with it.
    LoseAnswer,
    /// The same as the last but one, and whatever is asked in the next while.
    AwayBefore,
    /// The same as the last but one, and whatever is asked in the next while.
    AwayAfter,
}

const CUTS: [Cut; 6] = [
    Cut::KillBefore,
    Cut::LoseAnswer,
    Cut::AwayBefore,
    Cut::KillDuring,
    Cut::LoseBefore,
    Cut::AwayAfter,
];

impl Cut {
    fn kills(self) -> bool {
        matches!(self, Self::KillBefore | Self::KillDuring)
    }

    fn verdict(self) -> Verdict {
        match self {
            Self::KillBefore | Self::LoseBefore | Self::AwayBefore => Verdict::Cut,
            Self::KillDuring => Verdict::CutAfter,
            Self::LoseAnswer | Self::AwayAfter => Verdict::Unheard,
        }
    }

    fn is_outage(self) -> bool {
        matches!(self, Self::AwayBefore | Self::AwayAfter)
    }
}

/// A request of a run, counted among those of its nature.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    Write(usize),
    Read(usize),
}

/// Writes a manifest for a round.
type Text = fn(&World, usize) -> String;

/// Something that takes several requests.
struct Protocol {
    /// What the manifest says before, and after; nothing before is a world in which nothing was made yet.
    before: Option<Text>,
    wanted: Text,
    /// What it says in the end, if that is not what was wanted.
    instead: Option<Text>,
    /// What is done behind its back before.
    deed: fn(&World),
    /// What is cut.
    command: &'static [&'static str],
    /// What there is in the end: containers, volumes and networks.
    left: (&'static [&'static str], usize, usize),
    /// The container whose data is looked at before every round, and where that is.
    keeper: Option<(&'static str, &'static str)>,
    /// A container that is there all the while, as it was or as it is to be.
    stays: Option<&'static str>,
    /// Whether that is the same one in the end.
    same: bool,
}

/// A change of one container.
const CHANGE: Protocol = Protocol {
    before: None,
    wanted: |_, _| String::new(),
    instead: None,
    deed: |_| {},
    command: &["apply"],
    left: (&["a"], 2, 1),
    keeper: Some(("a", "/data ~")),
    stays: Some("a"),
    same: false,
};

/// A project that is swept, and what is known of it.
struct World {
    project: Project,
    /// A version of its own, and an image that declares a volume.
    version: String,
    image: String,
    /// The data, as it was at first.
    data: Option<String>,
    /// The id of who stays when the round began.
    id: String,
    /// Whether the engine was at work when somebody was killed: an image may come about after the next one has looked.
    late: bool,
    /// Volumes that were declared by an image and came with a container of the project.
    declared: Arc<Mutex<BTreeSet<String>>>,
    _events: Events,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl World {
    fn new() -> Self {
        let project = project();
        let image = format!("aishelltest-{}:declared", project.name);
        let declared = Arc::<Mutex<BTreeSet<String>>>::default();
        let events = Events::each("container", {
            let (declared, manifest) = (Arc::clone(&declared), project.name.clone());
            move |event| {
                let attributes = &event["Actor"]["Attributes"];
                if event["Action"] == "create" && attributes["aishell.manifest"] == json!(manifest) {
                    let container = raw::container(text(&event["Actor"]["ID"])).unwrap_or_default();
                    let mounts = container["Mounts"].as_array().into_iter().flatten();
                    let names = mounts.map(|mount| text(&mount["Name"]).to_owned());
                    lock(&declared).extend(names.filter(|name| name.len() == 64));
                }
            }
        });
        raw::derive(
            &image,
            &format!(
                "LABEL aishelltest={}\nRUN mkdir -m 777 /declared\nVOLUME /declared\n",
                project.name
            ),
        );
        Self {
            project,
            version: version(),
            image,
            data: None,
            id: String::new(),
            late: false,
            declared,
            _events: events,
        }
    }

    /// Brings about what a round begins with, and insists that data is as it ever was.
    fn begin(&mut self, protocol: &Protocol, round: usize, told: &str) {
        let Some(before) = protocol.before else {
            if round > 1 {
                *self = Self::new();
            }
            return;
        };
        self.project.manifest(&before(self, round));
        let run = self.project.apply();
        assert_eq!(run.code, Some(0), "before {told}: {run:#?}");
        if let Some(name) = protocol.stays {
            self.id = self.project.id(name);
        }
        let Some((keeper, places)) = protocol.keeper else {
            return;
        };
        let id = self.project.id(keeper);
        if self.data.is_none() {
            let write = format!(
                "for d in {places}; do cd $d; echo kept >note; printf '\\001\\377' >bytes; mkdir sub; \
                 cat /usr/bin/cat >sub/large; chmod 600 bytes; ln -s note link; done"
            );
            raw::said(&id, &["sh", "-c", &write]);
            self.data = Some(data(&id, places));
        }
        assert_eq!(self.data, Some(data(&id, places)), "before {told}");
    }

    /// Runs the command of a protocol and cuts it. Returns whether it came that far.
    fn cut(&mut self, protocol: &Protocol, cut: Cut, at: At) -> bool {
        let victim = Victim::default();
        let reached = Arc::new(AtomicBool::new(false));
        let before = self.objects();
        self.late |= cut == Cut::KillDuring;
        let proxy = Proxy::ruled({
            let (victim, reached) = (victim.clone(), Arc::clone(&reached));
            let (mut reads, mut turn) = (0, false);
            let mut since: Option<Instant> = None;
            move |request: &Request| {
                if cut.is_outage() && since.is_some_and(|since| since.elapsed() < AWAY) {
                    return Verdict::Cut;
                }
                if reached.load(Ordering::SeqCst) {
                    return if cut.kills() { Verdict::Cut } else { Verdict::Pass };
                }
                reads += usize::from(!request.is_write());
                let here = match at {
                    At::Write(number) => request.is_write() && request.writes == number,
                    At::Read(number) => !request.is_write() && reads == number,
                };
                // An engine that goes away before it is anybody's turn is not waited for.
                let here = here && (turn || !cut.is_outage());
                let claimed = request.names_claim() && request.path.ends_with("/rename");
                turn |= claimed || request.path == "/volumes/create";
                if !here {
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
        self.project.through(&proxy);
        let run = self.project.killable(&victim, protocol.command);
        self.project.at(None);
        let reached = reached.load(Ordering::SeqCst);
        match run.code {
            None => assert!(reached && cut.kills(), "{cut:?} {at:?}: {run:#?}"),
            // What an engine is asked once it has begun is asked until it answers.
            Some(0 | 5) if reached && !cut.kills() => {
                let expected = if protocol.instead.is_some() { 5 } else { 0 };
                assert_eq!(run.code, Some(expected), "{cut:?} {at:?}: {run:#?}");
                if protocol.instead.is_none() && protocol.command[0] != "delete" {
                    self.project.settled();
                }
            }
            // It may have ended before it could be killed: what was lost was not waited for.
            Some(0 | 5 | 6) => {}
            Some(4) => assert_eq!(self.objects(), before, "{cut:?} {at:?}: {run:#?}"),
            Some(_) => panic!("{cut:?} {at:?}: {run:#?}"),
        }
        reached
    }

    /// Returns what there is of the project that nobody else may use: sandboxes, data volumes and networks.
    fn objects(&self) -> BTreeSet<String> {
        let label = self.project.label();
        let all = [
            raw::containers(&label),
            raw::volumes(&label),
            raw::networks(&label),
        ]
        .concat();
        let owned = ["container", "volume", "hold", "network"].map(Value::from);
        all.iter()
            .filter(|one| owned.contains(&one["Labels"]["aishell.kind"]))
            .map(|one| format!("{} {}", text(&one["Name"]), text(&one["Id"])))
            .collect()
    }

    /// Waits until nothing keeps others out: that ends with whoever was killed, a little later. What the engine made when
    /// the next apply had already looked goes with the one after that.
    fn unclaimed(&self, command: &[&str]) {
        let label = self.project.label();
        let is_claim = |one: &&Value| one["Labels"]["aishell.kind"] == "claim";
        raw::until("nothing is claimed", || {
            let found = [raw::containers(&label), raw::volumes(&label)].concat();
            let left: Vec<&Value> = found.iter().filter(is_claim).collect();
            if left.iter().any(|one| one["State"] == "created") {
                assert_eq!(self.project.run(command).code, Some(0));
            }
            left.is_empty().then_some(())
        });
    }

    /// Insists that one apply makes everything good, and that nothing else is left.
    fn heals(&self, protocol: &Protocol, round: usize, told: &str) {
        if let Some(name) = protocol.stays {
            let named = |one: &Value| one["Labels"]["aishell.name"] == name;
            let found = raw::containers(&self.project.label());
            assert!(
                found.iter().any(named),
                "{told}: neither old nor new is there: {found:#?}"
            );
        }
        if let (Some(name), Some(_), true) = (protocol.stays, protocol.instead, round.is_multiple_of(2)) {
            // Whoever insists gets the old one back all the same.
            let run = self.project.apply();
            assert_eq!(run.code, Some(5), "{told}: {run:#?}");
            let now = self.project.container(name);
            assert_eq!(
                (text(&now["Id"]), &now["State"]["Status"]),
                (self.id.as_str(), &json!("running")),
                "{told}: {run:#?}"
            );
        }
        let healed = protocol.instead.unwrap_or(protocol.wanted);
        self.project.manifest(&healed(self, round));
        let deletes = protocol.command[0] == "delete";
        // Only whoever looks as deep again sees what was not repaired.
        let again = deletes || protocol.command.contains(&"--deep");
        let command = if again { protocol.command } else { &["apply"] };
        let run = self.project.run(command);
        assert_eq!(
            (run.code, &run.json["converged"]),
            (Some(0), &Value::Bool(true)),
            "{told}: {run:#?}"
        );
        if !deletes {
            self.project.settled();
        }
        if let Some(name) = protocol.stays.filter(|_| protocol.same) {
            assert_eq!(self.project.id(name), self.id, "{told}");
        }
        let (containers, volumes, networks) = protocol.left;
        self.unclaimed(command);
        self.project.only(containers);
        let label = self.project.label();
        let found = raw::volumes(&label);
        assert_eq!(found.len(), volumes, "{told}: {found:#?}");
        let kind = |object: &Value, kind: &str| object["Labels"]["aishell.kind"] == kind;
        let harnesses = found.iter().filter(|volume| kind(volume, "harness")).count();
        let receipts = raw::containers(&label)
            .iter()
            .filter(|one| kind(one, "receipt"))
            .count();
        assert_eq!(receipts, harnesses, "{told}");
        let found = raw::networks(&label);
        assert_eq!(found.len(), networks, "{told}: {found:#?}");
        for image in raw::images(&label) {
            let half = !self.late && image["RepoTags"].to_string().contains(":making-");
            assert!(image["RepoTags"] != Value::Null && !half, "{told}: {image:#}");
        }
        let mounted: BTreeSet<String> = raw::containers(&label)
            .iter()
            .flat_map(|container| container["Mounts"].as_array().cloned().unwrap_or_default())
            .map(|mount| text(&mount["Name"]).to_owned())
            .collect();
        for volume in lock(&self.declared).iter() {
            let (status, _) = raw::ask("GET", &format!("/volumes/{volume}"), &Value::Null);
            assert!(
                status == 404 || mounted.contains(volume),
                "{told}: volume {volume} is nobody's"
            );
        }
    }
}

/// Returns names, modes, owners, times and contents of every file in some places of a container.
fn data(id: &str, places: &str) -> String {
    let look = format!(
        "find {places} -printf '%p %y %m %U:%G %s %T@ %l\\n' | sort; \
         find {places} -type f | sort | while read -r f; do sha256sum \"$f\"; done"
    );
    raw::said(id, &["sh", "-c", &look])
}

/// Returns every cut that is tried of a run with so many reads and writes.
fn points(reads: usize, writes: usize) -> Vec<(Cut, At)> {
    let wish = std::env::var("AISHELL_CUTS").unwrap_or_default();
    if wish == "away" {
        let outages = |at| [(Cut::AwayBefore, at), (Cut::AwayAfter, at)];
        let writes = (1..=writes).map(At::Write);
        return writes
            .chain((1..=reads).map(At::Read))
            .flat_map(outages)
            .collect();
    }
    let all = wish == "all";
    let mut points = Vec::new();
    for write in 1..=writes {
        let cuts = CUTS.iter().enumerate();
        let chosen = cuts.filter(|(index, _)| all || write % CUTS.len() == *index);
        points.extend(chosen.map(|(_, cut)| (*cut, At::Write(write))));
    }
    for read in 1..=reads {
        // To be killed at a read is to be killed before what comes next; that the engine has it changes nothing.
        if all {
            points.push((Cut::KillBefore, At::Read(read)));
        }
        if all || read % SOME == SOME / 2 {
            points.push((Cut::LoseAnswer, At::Read(read)));
        }
    }
    points
}

/// Cuts a protocol everywhere, several worlds at once.
fn sweep(what: &str, protocol: &Protocol) {
    let begun = Instant::now();
    let proxy = Proxy::new();
    let mut world = World::new();
    world.begin(protocol, 0, "anything is cut");
    (protocol.deed)(&world);
    world.project.manifest(&(protocol.wanted)(&world, 0));
    world.project.through(&proxy);
    let run = world.project.plain(protocol.command);
    world.project.at(None);
    assert!(matches!(run.code, Some(0 | 5)), "{run:#?}");
    let writes = proxy.writes().len();
    let points = points(proxy.requests() - writes, writes);
    let (next, worlds) = (Mutex::new(points.iter()), Mutex::new(vec![world]));
    thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                let mut world = lock(&worlds).pop().unwrap_or_else(World::new);
                let mut told = "anything is cut".to_owned();
                let mut round = 1;
                loop {
                    let point = lock(&next).next();
                    world.begin(protocol, round, &format!("the next, after {told}"));
                    let Some((cut, at)) = point else { return };
                    told = format!("{what}: {cut:?} {at:?}");
                    (protocol.deed)(&world);
                    world.project.manifest(&(protocol.wanted)(&world, round));
                    world.cut(protocol, *cut, *at);
                    world.heals(protocol, round, &told);
                    round += 1;
                }
            });
        }
    });
    eprintln!(
        "{what}: {} cuts of {writes} writes and {} reads in {:.0?}",
        points.len(),
        proxy.requests() - writes,
        begun.elapsed()
    );
}

/// Returns one of two words, in turns.
fn turn(round: usize, words: [&str; 2]) -> &str {
    words[round % 2]
}

const QUICK: &str = "stop: { timeout: 1s }";
const DATA: &str = "mounts: [{ volume: data, target: /data }]";

#[test]
fn a_first_apply() {
    let wanted: Text = |world, _| {
        format!(
            "harnesses:\n  tool: {{ npm: tool, version: {}, bin: [tool] }}\ncontainers:\n  \
             a: {{ harness: tool, {DATA}, {QUICK} }}\n  \
             d: {{ image: \"{}\", command: [sleep, '1000'], home: tmpfs, {QUICK} }}\n",
            world.version, world.image
        )
    };
    let protocol = Protocol {
        wanted,
        left: (&["a", "d"], 3, 1),
        keeper: None,
        stays: None,
        ..CHANGE
    };
    sweep("first apply", &protocol);
}

/// Puts a container into a network of somebody else, and takes it out of its own.
fn move_elsewhere(world: &World) {
    let project = &world.project;
    let elsewhere = format!("aishelltest-{}", project.name);
    let label = json!({ "aishelltest": project.name });
    if raw::networks(&format!("aishelltest={}", project.name)).is_empty() {
        raw::post("/networks/create", &json!({ "Name": elsewhere, "Labels": label }));
    }
    let who = json!({ "Container": project.id("a") });
    raw::post(
        &format!("/networks/{}/disconnect", project.object(&project.name)),
        &who,
    );
    raw::post(&format!("/networks/{elsewhere}/connect"), &who);
}

fn limited(_: &World, round: usize) -> String {
    let resources = [
        "memory: 64MiB, cpus: 0.5, pids: 100",
        "memory: 96MiB, cpus: 1, pids: 200",
    ];
    let restart = turn(round, ["unless-stopped", "always"]);
    format!(
        "containers:\n  a: {{ resources: {{ {} }}, restart: {restart}, {DATA}, {QUICK} }}\n",
        turn(round, resources)
    )
}

#[test]
fn a_change_in_place() {
    let protocol = Protocol {
        before: Some(limited),
        wanted: |world, round| limited(world, round + 1),
        deed: move_elsewhere,
        same: true,
        ..CHANGE
    };
    sweep("change in place", &protocol);
}

fn with_a_home(_: &World, round: usize) -> String {
    let mode = turn(round, ["fast", "safe"]);
    format!("containers:\n  a: {{ env: {{ MODE: {mode} }}, {DATA}, {QUICK} }}\n")
}

#[test]
fn a_replacement_that_stops_the_old_one_first() {
    let protocol = Protocol {
        before: Some(with_a_home),
        wanted: |world, round| with_a_home(world, round + 1),
        left: (&["a"], 2, 1),
        ..CHANGE
    };
    sweep("replacement, old one first", &protocol);
}

fn without_a_home(_: &World, round: usize) -> String {
    let mode = turn(round, ["fast", "safe"]);
    format!("containers:\n  a: {{ env: {{ MODE: {mode} }}, home: tmpfs, {QUICK} }}\n")
}

#[test]
fn a_replacement_that_starts_the_new_one_first() {
    let protocol = Protocol {
        before: Some(without_a_home),
        wanted: |world, round| without_a_home(world, round + 1),
        left: (&["a"], 0, 1),
        keeper: None,
        ..CHANGE
    };
    sweep("replacement, new one first", &protocol);
}

fn on_an_image_with_a_volume(world: &World, round: usize) -> String {
    let mode = turn(round, ["fast", "safe"]);
    format!(
        "containers:\n  a: {{ image: \"{}\", command: [sleep, '1000'], env: {{ MODE: {mode} }}, home: tmpfs, {QUICK} }}\n",
        world.image
    )
}

#[test]
fn a_replacement_that_takes_a_declared_volume_along() {
    let protocol = Protocol {
        before: Some(on_an_image_with_a_volume),
        wanted: |world, round| on_an_image_with_a_volume(world, round + 1),
        left: (&["a"], 0, 1),
        keeper: Some(("a", "/declared")),
        ..CHANGE
    };
    sweep("replacement, declared volume", &protocol);
}

#[test]
fn a_replacement_that_stops_the_old_one_first_and_fails() {
    let protocol = Protocol {
        before: Some(|_, _| format!("containers:\n  a: {{ {DATA}, {QUICK} }}\n")),
        wanted: |_, _| format!("containers:\n  a: {{ command: [sh, -c, exit 3], {DATA}, {QUICK} }}\n"),
        instead: Some(|_, _| format!("containers:\n  a: {{ {DATA}, {QUICK} }}\n")),
        same: true,
        ..CHANGE
    };
    sweep("replacement taken back, old one first", &protocol);
}

#[test]
fn a_replacement_that_starts_the_new_one_first_and_fails() {
    let protocol = Protocol {
        before: Some(|_, _| format!("containers:\n  a: {{ home: tmpfs, {QUICK} }}\n")),
        wanted: |_, _| format!("containers:\n  a: {{ home: tmpfs, command: [sh, -c, exit 3], {QUICK} }}\n"),
        instead: Some(|_, _| format!("containers:\n  a: {{ home: tmpfs, {QUICK} }}\n")),
        left: (&["a"], 0, 1),
        keeper: None,
        same: true,
        ..CHANGE
    };
    sweep("replacement taken back, new one first", &protocol);
}

/// A container that stays, in no network.
const OTHER: &str = "  c: { network: none, home: tmpfs, stop: { timeout: 1s } }\n";

#[test]
fn a_removal_of_a_container_and_its_network() {
    let protocol = Protocol {
        before: Some(|_, _| format!("containers:\n  a: {{ {DATA}, {QUICK} }}\n{OTHER}")),
        wanted: |_, _| format!("containers:\n{OTHER}"),
        left: (&["c"], 2, 0),
        stays: Some("c"),
        same: true,
        ..CHANGE
    };
    sweep("removal", &protocol);
}

#[test]
fn a_deletion() {
    let both: Text = |_, _| format!("containers:\n  a: {{ {DATA}, {QUICK} }}\n{OTHER}");
    let protocol = Protocol {
        before: Some(both),
        wanted: both,
        command: &["delete", "--yes"],
        left: (&[], 2, 0),
        stays: None,
        ..CHANGE
    };
    sweep("deletion", &protocol);
}

fn with_a_harness(world: &World, _: usize) -> String {
    format!(
        "harnesses:\n  tool: {{ npm: tool, version: {}, bin: [tool], runtime: image }}\ncontainers:\n  \
         a: {{ harness: tool, {DATA}, {QUICK} }}\n",
        world.version
    )
}

/// Takes a program out of the harness volume, and with it the word of who vouches for that.
fn break_the_harness(world: &World) {
    let project = &world.project;
    for container in raw::containers(&project.label()) {
        if container["Labels"]["aishell.kind"] == "receipt" {
            raw::delete(&format!("/containers/{}", text(&container["Id"])));
        }
    }
    let volumes = raw::volumes(&project.label());
    let harness = volumes
        .iter()
        .find(|volume| volume["Labels"]["aishell.kind"] == "harness");
    let name = text(&harness.expect("a harness volume")["Name"]);
    raw::beside(
        name,
        &project.name,
        &["sh", "-c", "rm -rf /v/bin/tool /v/m/*/bin"],
    );
}

#[test]
fn a_repair_of_a_harness_set() {
    let protocol = Protocol {
        before: Some(|world, round| {
            if !world.id.is_empty() {
                let said = raw::exec(&world.id, &["tool"]);
                assert_eq!((said.code, said.text.as_str()), (0, world.version.as_str()));
            }
            with_a_harness(world, round)
        }),
        wanted: with_a_harness,
        deed: break_the_harness,
        left: (&["a"], 3, 1),
        same: true,
        ..CHANGE
    };
    sweep("repair of a harness set", &protocol);
}

/// Insists that members run, and that one that was never broken is the one that was installed first.
fn whole_set(world: &World) {
    for program in ["tool", "talker", "other", "more"] {
        let said = raw::exec(&world.id, &[program, "--version"]);
        assert_eq!(said.code, 0, "{program}: {}", said.text);
    }
    let deep = world.project.run(&["diff", "--deep"]);
    assert_eq!(deep.code, Some(0), "{deep:#?}");
    let look = "now=$(stat -L -c %.9Y /tools/bin/talker); [ -e /tmp/first ] || echo $now >/tmp/first; [ $now = $(cat /tmp/first) ]";
    let same = raw::exec(&world.id, &["sh", "-c", look]);
    assert_eq!(same.code, 0, "{}", same.text);
}

/// Breaks one member of the set in three ways, of which nobody who vouches for it knows.
fn break_a_member(world: &World) {
    let a = world.project.container("a");
    let mut mounts = a["Mounts"].as_array().into_iter().flatten();
    let tools = mounts.find(|mount| mount["Destination"] == "/tools");
    let volume = text(&tools.expect("a harness set")["Name"]).to_owned();
    let script = "for one in /v/m/tool-*; do echo '# more' >>$one/bin/tool; chmod 700 $one/bin; rm $one/.installed; done";
    raw::beside(&volume, &world.project.name, &["sh", "-c", script]);
}

#[test]
fn a_repair_of_one_broken_member() {
    let members: Text = |world, _| with_members(world, 0);
    let protocol = Protocol {
        before: Some(|world, _| {
            if !world.id.is_empty() {
                whole_set(world);
            }
            with_members(world, 0)
        }),
        wanted: members,
        deed: break_a_member,
        command: &["apply", "--deep"],
        left: (&["a"], 3, 1),
        same: true,
        ..CHANGE
    };
    sweep("repair of one broken member", &protocol);
}

fn with_members(world: &World, round: usize) -> String {
    let version = &world.version;
    let first = turn(round, ["0.1.0", "0.2.0"]);
    format!(
        "harnesses:\n  tool: {{ npm: tool, version: \"{first}\", bin: [tool], runtime: image }}\n  \
         talker: {{ npm: talker, version: {version}, bin: [talker], runtime: image }}\n  \
         other: {{ npm: other, version: \"{first}\", bin: [other], runtime: image }}\n  \
         more: {{ npm: more, version: {version}, bin: [more], runtime: image }}\ncontainers:\n  \
         a: {{ harness: tool, {DATA}, {QUICK} }}\n"
    )
}

/// Returns what a round begins with: both sets were there once, and whatever container there is has a whole one.
fn one_of_two_sets(world: &World, round: usize) -> String {
    if world.id.is_empty() {
        world.project.manifest(&with_members(world, round + 1));
        world.project.converge();
    } else {
        let id = world.project.id("a");
        for program in ["tool", "talker", "other", "more"] {
            let said = raw::exec(&id, &[program, "--version"]);
            assert_eq!(said.code, 0, "{program}: {}", said.text);
        }
    }
    with_members(world, round)
}

/// Takes away the harness set that no container has, with who vouches for it, and returns what it was called.
fn take_the_unused_set_away(world: &World) -> Option<String> {
    let project = &world.project;
    let label = project.label();
    let a = project.container("a");
    let used = a["Mounts"].to_string();
    let volumes = raw::volumes(&label);
    let mut unused = volumes
        .iter()
        .filter(|volume| volume["Labels"]["aishell.kind"] == "harness")
        .map(|volume| text(&volume["Name"]).to_owned())
        .filter(|name| !used.contains(name));
    let name = unused.next()?;
    let receipt = name.replace("aishell-harness-", "aishell-receipt-");
    raw::delete(&format!("/containers/{receipt}"));
    // A job that the engine made for whoever was killed, and after the next one had looked, has it until somebody looks.
    raw::until("nobody has the unused set", || {
        let (status, _) = raw::ask("DELETE", &format!("/volumes/{name}"), &Value::Null);
        if status >= 300 {
            assert_eq!(project.apply().code, Some(0));
        }
        (status < 300).then_some(())
    });
    Some(name)
}

#[test]
fn a_set_of_which_some_members_are_copied() {
    let protocol = Protocol {
        before: Some(one_of_two_sets),
        wanted: |world, round| with_members(world, round + 1),
        deed: |world| {
            take_the_unused_set_away(world);
        },
        left: (&["a"], 4, 1),
        ..CHANGE
    };
    sweep("set with copied members", &protocol);
}

#[test]
fn a_set_that_something_empty_makes_way_for() {
    let protocol = Protocol {
        before: Some(one_of_two_sets),
        wanted: |world, round| with_members(world, round + 1),
        deed: |world| {
            if let Some(name) = take_the_unused_set_away(world) {
                let label = json!({ "aishelltest": world.project.name });
                raw::post("/volumes/create", &json!({ "Name": name, "Labels": label }));
            }
        },
        left: (&["a"], 4, 1),
        ..CHANGE
    };
    sweep("set that something makes way for", &protocol);
}

/// Two images that are built on each other, of which each round makes another one.
fn with_a_chain(world: &World, round: usize) -> String {
    let (project, word) = (&world.project, &world.project.name);
    project.write(
        "Dockerfile.base",
        &format!("FROM aishell:foundation\nRUN echo {word}{round} >/base\n"),
    );
    let extension = "FROM aishell:base\nCOPY Dockerfile.base /copied\nRUN cat /base /copied >/extension\n";
    project.write("Dockerfile.extension", extension);
    format!(
        "base: {{ dockerfile: Dockerfile.base }}\nextension: {{ dockerfile: Dockerfile.extension }}\n\
         containers:\n  a: {{ home: tmpfs, network: none, {QUICK} }}\n"
    )
}

#[test]
fn a_build_of_a_chain() {
    let protocol = Protocol {
        before: Some(with_a_chain),
        wanted: |world, round| with_a_chain(world, round + 1),
        left: (&["a"], 0, 0),
        keeper: None,
        ..CHANGE
    };
    sweep("build of a chain", &protocol);
}

fn in_phases(_: &World, round: usize) -> String {
    // What others make of the same is shared, and these are at work at the same time.
    format!(
        "extension:\n  phases:\n    users: [{{ name: dev }}]\n    workdir: {{ path: /w, owner: dev }}\n    \
         setup: {{ user: [\"echo {round} >/w/round\", \"cat /w/round\"] }}\n    \
         verify: {{ files: [{{ path: /w/round, owner: dev }}] }}\n    test: [\"cat /w/round\"]\ncontainers:\n  \
         a: {{ image: foundation, {DATA}, {QUICK} }}\n"
    )
}

#[test]
fn phases_of_an_image() {
    let protocol = Protocol {
        before: Some(in_phases),
        wanted: |world, round| in_phases(world, round + 1),
        same: true,
        ..CHANGE
    };
    sweep("phases of an image", &protocol);
}

#[test]
fn phases_that_are_done_anew() {
    let protocol = Protocol {
        before: Some(|world, _| in_phases(world, 0)),
        wanted: |world, _| in_phases(world, 0),
        command: &["apply", "--rebuild=extension/setup"],
        same: true,
        ..CHANGE
    };
    sweep("phases that are done anew", &protocol);
}
