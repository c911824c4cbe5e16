//! What is measured, and the goals.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;
use std::{env, fs};

use serde_json::{Value, json};

use crate::claiming::Claiming;
use crate::engine::Connection;
use crate::floor;
use crate::measure::{Job, in_turns, median, ratio};
use crate::peer::Peer;
use crate::phasing::Phasing;
use crate::proxy::{Proxy, Request};
use crate::reading;
use crate::replacing::Replacing;
use crate::table::{Row, markdown};
use crate::watching::{COUNT, Watching};

const CASES: [&str; 11] = [
    "P1", "P2", "P3", "P4", "P5", "P6", "P7", "P8", "P12", "P13", "P14",
];
/// Cases that have to be asked for.
const MORE: [&str; 4] = ["watch", "replace", "claims", "context"];

/// Harnesses for P13, one small and one large.
const HARNESSES: [(&str, &str, &str); 2] = [
    ("claude", "@anthropic-ai/claude-code", "2.1.111"),
    ("codex", "@openai/codex", "0.166.0"),
];

/// Harnesses for P8, of which the last one changes, from the second version to the first.
const SET: [(&str, &str); 4] = [
    ("claude", "2.1.111"),
    ("codex", "0.166.0"),
    ("gemini", "0.61.0"),
    ("opencode", "1.18.33"),
];
const CHANGING: (&str, [&str; 2]) = ("openspec", ["1.13.2", "1.13.1"]);

/// What is asked for on the command line, and what is there to measure with.
pub struct Bench {
    cases: Vec<String>,
    quick: bool,
    full: bool,
    dist: bool,
    socket: PathBuf,
    aishell: PathBuf,
    image: String,
    npm: Option<String>,
    compose: Option<PathBuf>,
    scratch: tempfile::TempDir,
    rows: Vec<Row>,
}

/// A manifest of so many containers in a directory of its own.
struct Project {
    directory: PathBuf,
    name: String,
}

impl Bench {
    pub fn parse(words: &[&str], socket: PathBuf) -> Option<Self> {
        let (options, cases): (Vec<&str>, Vec<&str>) = words.iter().partition(|word| word.starts_with('-'));
        let known = ["--quick", "--full", "--dist"];
        if !options.iter().all(|option| known.contains(option))
            || !cases
                .iter()
                .all(|case| CASES.contains(case) || MORE.contains(case))
        {
            return None;
        }
        let cases = if cases.is_empty() { CASES.to_vec() } else { cases };
        let path = |name: &str| {
            env::var_os(name)
                .filter(|value| !value.is_empty())
                .map(PathBuf::from)
        };
        Some(Self {
            cases: cases.into_iter().map(str::to_owned).collect(),
            quick: options.contains(&"--quick"),
            full: options.contains(&"--full"),
            dist: options.contains(&"--dist"),
            socket,
            aishell: path("BENCH_AISHELL")?,
            image: env::var("BENCH_IMAGE").ok()?,
            npm: env::var("BENCH_NPM").ok().filter(|image| !image.is_empty()),
            compose: path("BENCH_COMPOSE"),
            // Below the target directory: engines in a virtual machine share the home directory, not /tmp.
            scratch: tempfile::Builder::new()
                .prefix("bench")
                .tempdir_in(target())
                .ok()?,
            rows: Vec::new(),
        })
    }

    pub fn run(mut self) {
        let began = load();
        if self.wants("P3") {
            self.start_up();
        }
        if self.wants("P12") {
            self.size();
        }
        if self.wants("P4") {
            self.planning();
        }
        if self.wants("P1") || self.wants("P2") {
            let counts: &[usize] = match (self.quick, self.full) {
                (true, _) => &[10],
                (false, false) => &[10, 100],
                (false, true) => &[10, 100, 1000],
            };
            for &count in counts {
                self.nothing_to_do(count);
            }
        }
        if self.wants("P5") {
            self.first_apply(if self.quick { 10 } else { 100 });
        }
        if self.wants("P6") || self.wants("P7") {
            self.phases();
        }
        if self.wants("P8") {
            self.repopulate();
        }
        if self.wants("P13") {
            self.populate();
        }
        if self.wants("P14") {
            self.readiness();
        }
        if self.wants("watch") {
            self.watch();
        }
        if self.wants("replace") {
            self.replace();
        }
        if self.wants("claims") {
            self.claims();
        }
        if self.wants("context") {
            self.context();
        }
        let table = markdown(&self.rows);
        print!("\n{table}");
        for row in self.rows.iter().filter(|row| !row.notes.is_empty()) {
            println!("{} {}: {}", row.case, row.what, row.notes.join("; "));
        }
        let file = target().join("bench.json");
        let results = json!({
            "rows": self.rows,
            "machine": {
                "cores": std::thread::available_parallelism().map_or(0, std::num::NonZero::get),
                "kernel": fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default().trim(),
                "loadBefore": began,
                "loadAfter": load(),
            },
            "engine": self.engine_version(),
            "commit": env::var("BENCH_COMMIT").unwrap_or_default(),
        });
        fs::write(
            &file,
            serde_json::to_string_pretty(&results).expect("results are JSON"),
        )
        .expect("target can be written to");
        println!("\nload at the start {began}, written to {}", file.display());
    }

    fn wants(&self, case: &str) -> bool {
        self.cases.iter().any(|wanted| wanted == case)
    }

    fn rounds(&self, many: usize) -> usize {
        if self.quick { 3 } else { many }
    }

    fn engine_version(&self) -> Value {
        let mut connection = Connection::open(&self.socket).expect("the engine listens");
        let version: Value =
            serde_json::from_slice(&connection.ask("GET", "/version", None)).unwrap_or_default();
        json!({ "version": version["Version"], "apiVersion": version["ApiVersion"] })
    }

    /// A manifest with so many containers of the tiny image.
    fn project(&self, count: usize) -> Project {
        let directory = tempfile::Builder::new()
            .prefix("p")
            .rand_bytes(8)
            .tempdir_in(self.scratch.path())
            .expect("the directory can be written to")
            .keep();
        let word = directory
            .file_name()
            .expect("a name")
            .to_string_lossy()
            .to_lowercase();
        let name = format!("bench-{word}");
        let mut text = format!(
            "apiVersion: aishell/v1\nname: {name}\nfoundation: {{ image: \"{}\" }}\ndefaults:\n  user: image\n  \
             command: [/sleeper]\n  workspace: none\n  restart: unless-stopped\n  env: {{ MODE: bench }}\n  \
             resources: {{ memory: 256MiB }}\ncontainers:\n",
            self.image
        );
        for index in 0..count {
            let _ = writeln!(text, "  c{index}: {{}}");
        }
        fs::write(directory.join("aishell.yaml"), text).expect("the directory can be written to");
        Project { directory, name }
    }

    fn aishell(&self, project: &Project, words: &[&str]) -> Job {
        Job::new(&self.aishell, words, &project.directory)
    }

    fn floor(&self, words: &[&str], directory: &Path) -> Job {
        Job::new(env::current_exe().expect("a name"), words, directory)
            .with("DOCKER_HOST", &format!("unix://{}", self.socket.display()))
    }

    fn delete(&self, project: &Project) {
        let mut delete = self.aishell(project, &["delete", "--yes", "--allow", "data-loss"]);
        // Engine 20.10 at times loses count of a network's endpoints, and then keeps the network until it restarts.
        delete.codes = vec![0, 5];
        if delete.run().status.code() == Some(5) {
            eprintln!("the engine did not remove everything of {}", project.name);
        }
    }

    /// P1 and P2: a diff that finds nothing, its time and its requests.
    fn nothing_to_do(&mut self, count: usize) {
        eprintln!("{count} containers: creating them");
        let project = self.project(count);
        self.aishell(&project, &["apply"]).run();
        let diff = self.aishell(&project, &["diff"]);
        if self.wants("P2") {
            let proxy = Proxy::start(&project.directory.join("s"), &self.socket).expect("a proxy");
            diff.clone().with("DOCKER_HOST", &proxy.address()).run();
            let row = requests(count, &proxy.take());
            self.rows.push(row);
        }
        if self.wants("P1") {
            eprintln!("{count} containers: nothing to do");
            let floor = self.floor(&["floor-look", &project.name], &project.directory);
            let rounds = self.rounds(if count > 100 { 7 } else { 21 });
            let times = in_turns(rounds, &[&diff, &floor]);
            let mut row = row_of(
                "P1",
                format!("diff, nothing to do, {count} containers"),
                "ms",
                &times,
            );
            "≤ 1.3 × floor, below Compose".clone_into(&mut row.goal);
            self.delete(&project);
            row.compose = self.peer(&project, count, |peer| {
                peer.up().run();
                let times = in_turns(rounds.min(7), &[&peer.up()]);
                1000.0 * median(&times[0])
            });
            row.reached = row.ratio.is_some_and(|ratio| ratio <= 1.3)
                && row.compose.is_none_or(|compose| row.value < compose);
            self.rows.push(row);
        } else {
            self.delete(&project);
        }
    }

    /// Runs Compose, where it is to be had.
    fn peer(&self, project: &Project, count: usize, measure: impl FnOnce(&Peer) -> f64) -> Option<f64> {
        let program = self.compose.as_ref()?;
        eprintln!("{count} containers: Compose");
        let peer = Peer::new(program, &project.directory, &self.image, count);
        let value = measure(&peer);
        peer.down().run();
        Some(value)
    }

    /// P3: how long it takes to start.
    fn start_up(&mut self) {
        let project = self.project(100);
        let rounds = self.rounds(51);
        let nothing = Job::new("/bin/true", &[], &project.directory);
        for (words, what, limit) in [
            (["--version"], "--version", 5.0),
            (["validate"], "validate, 100 containers", 25.0),
        ] {
            let job = self.aishell(&project, &words);
            let times = in_turns(rounds, &[&job, &nothing]);
            let mut row = row_of("P3", what.to_owned(), "ms", &times);
            // A process that does nothing is the floor of starting one, and no measure for the ratio.
            row.ratio = None;
            row.goal = format!("≤ {limit} ms");
            row.reached = row.value <= limit;
            self.rows.push(row);
        }
    }

    /// P4: planning alone, as measured by `cargo bench --bench plan`, which `scripts/bench` ran before.
    fn planning(&mut self) {
        let Some(estimates) = env::var_os("BENCH_CRITERION") else {
            return;
        };
        let mut found = BTreeMap::new();
        gather(Path::new(&estimates), &mut Vec::new(), &mut found);
        for (what, seconds) in found {
            // Goals are for planning alone; what else is measured there is shown beside it.
            let limit = match what.as_str() {
                what if !what.starts_with("plan 10,000") => None,
                what if what.contains("nothing") => Some(50.0),
                _ => Some(200.0),
            };
            self.rows.push(Row {
                case: "P4".to_owned(),
                what,
                value: 1000.0 * seconds,
                unit: "ms",
                goal: limit.map_or("–".to_owned(), |limit| format!("≤ {limit} ms")),
                reached: limit.is_none_or(|limit| 1000.0 * seconds <= limit),
                ..Row::default()
            });
        }
    }

    /// P5: the first apply, beside creating and starting the same containers.
    fn first_apply(&mut self, count: usize) {
        eprintln!("first apply of {count}: noting the requests");
        let project = self.project(count);
        let apply = self.aishell(&project, &["apply"]);
        let proxy = Proxy::start(&project.directory.join("s"), &self.socket).expect("a proxy");
        apply.clone().with("DOCKER_HOST", &proxy.address()).run();
        let seen = proxy.take();
        let creates: Vec<&Request> = seen
            .iter()
            .filter(|request| request.method == "POST" && request.path.contains("/containers/create"))
            .collect();
        assert_eq!(creates.len(), count, "one creation for each container");
        let recorded: String = creates.iter().fold(String::new(), |mut text, request| {
            let _ = writeln!(text, "{}", String::from_utf8_lossy(&request.body));
            text
        });
        let file = project.directory.join("creates");
        fs::write(&file, recorded).expect("the directory can be written to");
        let writes = seen.iter().filter(|request| request.method != "GET").count();
        let (network, id) = self.network(&project);
        self.delete(&project);

        let floor = self.floor(
            &["floor-create", &file.to_string_lossy(), &network, &id],
            &project.directory,
        );
        let compose = self
            .compose
            .as_ref()
            .map(|program| Peer::new(program, &project.directory, &self.image, count));
        let rounds = self.rounds(5);
        let mut times = [Vec::new(), Vec::new(), Vec::new()];
        for round in 0..rounds {
            eprintln!("first apply of {count}: round {} of {rounds}", round + 1);
            let mut order = [0, 1, 2];
            if round % 2 == 1 {
                order.reverse();
            }
            for side in order {
                match side {
                    0 => {
                        times[0].push(apply.time().as_secs_f64());
                        self.delete(&project);
                    }
                    1 => {
                        times[1].push(floor.time().as_secs_f64());
                        floor::remove(&self.socket);
                    }
                    _ => {
                        if let Some(compose) = &compose {
                            times[2].push(compose.up().time().as_secs_f64());
                            compose.down().run();
                        }
                    }
                }
            }
        }
        let ratio = ratio(&times[0], &times[1]);
        let compose = compose.map(|_| median(&times[2]));
        let value = median(&times[0]);
        self.rows.push(Row {
            case: "P5".to_owned(),
            what: format!("first apply, {count} containers"),
            value,
            unit: "s",
            floor: Some(median(&times[1])),
            ratio: Some(ratio),
            compose,
            goal: "≤ 1.1 × floor, below Compose".to_owned(),
            reached: ratio <= 1.1 && compose.is_none_or(|compose| value < compose),
            notes: vec![format!("{} requests, {writes} of them writes", seen.len())],
        });
    }

    /// P6 and P7: phases, all of them, some and none of them done.
    fn phases(&mut self) {
        let project = self.project(0);
        let phasing = Phasing::new(&self.socket, &self.aishell, &project.directory, &project.name);
        let rows = phasing.rows(self.rounds(5), 3);
        drop(phasing);
        let wanted: Vec<Row> = rows.into_iter().filter(|row| self.wants(&row.case)).collect();
        self.rows.extend(wanted);
    }

    /// P9 and P10: `aishell watch`, idle and at work.
    fn watch(&mut self) {
        let project = self.project(COUNT);
        eprintln!("watch: creating {COUNT} containers");
        self.aishell(&project, &["apply"]).run();
        let proxy = Proxy::start(&project.directory.join("s"), &self.socket).expect("a proxy");
        let watching = Watching::begin(&self.aishell, &project.directory, proxy);
        let seconds = env::var("BENCH_IDLE").ok().and_then(|text| text.parse().ok());
        let idle = Duration::from_secs(seconds.unwrap_or(if self.quick { 60 } else { 180 }));
        eprintln!("watch: idle for {} s", idle.as_secs());
        self.rows.extend(watching.idle(idle));
        let rounds = if self.quick { 5 } else { COUNT };
        eprintln!("watch: edits");
        self.rows.push(watching.saves(&project.directory, rounds));
        let names = self.containers(&project);
        eprintln!("watch: killing");
        let killed = watching.heals(&self.socket, &names[..rounds], "POST", "killed to running");
        eprintln!("watch: removing");
        let removed = watching.heals(&self.socket, &names[..rounds], "DELETE", "removed to running");
        self.rows.extend([killed, removed]);
        drop(watching);
        self.delete(&project);
    }

    /// P11 and R4: replacements that work, and some that do not.
    fn replace(&mut self) {
        let project = self.project(0);
        let proxy = Proxy::start(&project.directory.join("s"), &self.socket).expect("a proxy");
        let replacing = Replacing {
            aishell: &self.aishell,
            socket: &self.socket,
            directory: &project.directory,
            name: &project.name,
            image: &self.image,
            proxy,
        };
        self.rows.push(replacing.gap(self.rounds(11)));
        self.rows.push(replacing.probed(self.rounds(11)));
        self.rows.extend(replacing.failing(self.rounds(5)));
        self.delete(&project);
    }

    /// R5: whoever holds a claim is killed.
    fn claims(&mut self) {
        let project = self.project(0);
        let proxy = |name: &str| Proxy::start(&project.directory.join(name), &self.socket).expect("a proxy");
        let claiming = Claiming {
            aishell: &self.aishell,
            socket: &self.socket,
            directory: &project.directory,
            name: &project.name,
            proxies: [proxy("s"), proxy("t")],
        };
        self.rows.extend(claiming.takeover(self.rounds(11)));
        self.delete(&project);
    }

    /// A context of 100,000 files and 1 GiB: known anew, known again, sent.
    fn context(&mut self) {
        eprintln!("context: making it");
        let project = self.project(1);
        let root = project.directory.join("context");
        reading::make(&root);
        // All of it counts and is sent, and nothing of it is in the image.
        let dockerfile = format!("FROM scratch AS all\nCOPY . /\nFROM {}\n", self.image);
        fs::write(root.join("Dockerfile"), dockerfile).expect("the directory can be written to");
        let file = project.directory.join("aishell.yaml");
        let text = fs::read_to_string(&file).expect("a manifest");
        let written = format!("{{ image: \"{}\" }}", self.image);
        let text = text.replace(&written, "{ dockerfile: context/Dockerfile }");
        fs::write(file, text).expect("the directory can be written to");
        let cache = project.directory.join("cache");
        let with = |words: &[&str]| {
            self.aishell(&project, words)
                .with("XDG_CACHE_HOME", &cache.to_string_lossy())
        };
        let [validate, apply, diff] = [["validate"], ["apply"], ["diff"]].map(|words| with(&words));
        let floor = self.floor(
            &["floor-context", &project.name, &root.to_string_lossy()],
            &project.directory,
        );
        let figure = |what: &str, value: f64, unit: &'static str, limit: f64| Row {
            case: "context".to_owned(),
            what: what.to_owned(),
            value,
            unit,
            goal: format!("≤ {limit} {unit}"),
            reached: value <= limit,
            ..Row::default()
        };
        eprintln!("context: reading it");
        let mut anew = Vec::new();
        for _ in 0..self.rounds(5) {
            let _ = fs::remove_dir_all(&cache);
            anew.push(validate.time().as_secs_f64());
        }
        let mut rows = vec![figure("every file read", median(&anew), "s", 2.0)];
        let again: Vec<f64> = (0..self.rounds(11))
            .map(|_| validate.time().as_secs_f64())
            .collect();
        rows.push(figure("no file read, all as before", median(&again), "s", 2.0));
        let _ = fs::remove_dir_all(&cache);
        let memory = reading::most_memory(&validate);
        rows.push(figure("memory while every file is read", memory, "MB", 100.0));
        eprintln!("context: building of it");
        let memory = reading::most_memory(&apply);
        rows.push(figure("memory of an apply that sends it", memory, "MB", 100.0));
        eprintln!("context: nothing to do");
        let times = in_turns(self.rounds(11), &[&diff, &floor]);
        let mut row = row_of("context", "diff, nothing to do".to_owned(), "ms", &times);
        "≤ 1.3 × floor".clone_into(&mut row.goal);
        row.reached = row.ratio.is_some_and(|ratio| ratio <= 1.3);
        rows.push(row);
        self.rows.extend(rows);
        self.delete(&project);
        self.aishell(&project, &["prune", &project.name, "--yes", "--keep", "0"])
            .try_run();
        let _ = fs::remove_dir_all(&root);
    }

    /// The engine's names of the containers of a project, in the order of their numbers.
    fn containers(&self, project: &Project) -> Vec<String> {
        let mut connection = Connection::open(&self.socket).expect("the engine listens");
        let listing: Vec<Value> =
            serde_json::from_slice(&connection.ask("GET", "/containers/json", None)).expect("a listing");
        let named = |name: &str| {
            let found = listing.iter().find(|one| {
                one["Labels"]["aishell.manifest"] == project.name.as_str()
                    && one["Labels"]["aishell.name"] == name
            });
            let id = found.and_then(|one| one["Names"][0].as_str());
            id.expect("a container").trim_start_matches('/').to_owned()
        };
        (0..COUNT).map(|index| named(&format!("c{index}"))).collect()
    }

    /// Name and id of the network of a project.
    fn network(&self, project: &Project) -> (String, String) {
        let mut connection = Connection::open(&self.socket).expect("the engine listens");
        let listing = connection.ask("GET", "/networks", None);
        let listing: Vec<Value> = serde_json::from_slice(&listing).expect("a listing");
        let found = listing
            .iter()
            .find(|network| network["Labels"]["aishell.manifest"] == project.name.as_str())
            .expect("a network");
        let text = |field: &str| found[field].as_str().expect("a text").to_owned();
        (text("Name"), text("Id"))
    }

    /// P12: the size of the binary.
    fn size(&mut self) {
        let mut sizes = vec![("release binary, stripped", self.aishell.clone())];
        if self.dist {
            sizes.push(("dist binary", target().join("dist/aishell")));
        }
        for (what, path) in sizes {
            #[expect(clippy::cast_precision_loss, reason = "a size in megabytes with two digits")]
            let value = fs::metadata(&path).expect("the binary is there").len() as f64 / f64::from(1 << 20);
            self.rows.push(Row {
                case: "P12".to_owned(),
                what: what.to_owned(),
                value,
                unit: "MB",
                goal: "≤ 16 MB".to_owned(),
                reached: value <= 16.0,
                ..Row::default()
            });
        }
    }

    /// P13: filling a harness volume, beside the bare installer in the same image.
    fn populate(&mut self) {
        let Some(image) = self.npm.clone() else {
            eprintln!("P13 is left out: there is no image with npm");
            return;
        };
        let runtimes = ["image", "node"];
        let sets = HARNESSES
            .iter()
            .flat_map(|harness| runtimes.map(|runtime| (harness, runtime)));
        for ((name, package, version), runtime) in sets {
            eprintln!("populate: {name} {version}, runtime {runtime}");
            let project = self.project(1);
            let text = format!(
                "apiVersion: aishell/v1\nname: {}\ncertificates: host\nproxy: inherit\nfoundation: {{ image: \
                 \"{image}\" }}\nharnesses: {{ {name}: {{ version: {version}, runtime: {runtime} }} }}\ncontainers: {{ one: {{ harness: {name} }} \
                 }}\n",
                project.name
            );
            fs::write(project.directory.join("aishell.yaml"), text).expect("the directory can be written to");
            let plan = self.plan(&project);
            let step = plan["steps"]
                .as_array()
                .into_iter()
                .flatten()
                .find(|step| step["action"] == "populate");
            let Some((volume, detail)) =
                step.and_then(|step| Some((step["name"].as_str()?, step["detail"].as_str()?)))
            else {
                eprintln!("P13 for {name} is left out: somebody has that harness volume already");
                continue;
            };
            let volume = volume.to_owned();
            // The bare installer installs the same: the runtime too, if the set has one.
            let mut packages = vec![format!("{package}@{version}")];
            packages.extend(
                detail
                    .split([',', ';'])
                    .filter_map(|member| member.trim().strip_prefix("node "))
                    .map(|version| format!("node@{version}")),
            );
            // Only populating is measured: the rest is made before, by a round that does not count.
            let rounds = self.rounds(5);
            let mut times = [Vec::new(), Vec::new()];
            for round in 0..=rounds {
                let report = self.aishell(&project, &["-o", "json", "apply"]).run();
                let report: Value = serde_json::from_slice(&report.stdout).expect("a report");
                let ours = seconds(&report, "populate");
                self.delete(&project);
                self.forget(&volume);
                let bare = self.install(&image, &packages);
                if round > 0 {
                    times[0].push(ours);
                    times[1].push(bare);
                }
            }
            let ratio = ratio(&times[0], &times[1]);
            self.rows.push(Row {
                case: "P13".to_owned(),
                what: format!("populate, {name} {version}, runtime {runtime}"),
                value: median(&times[0]),
                unit: "s",
                floor: Some(median(&times[1])),
                ratio: Some(ratio),
                goal: "≤ 1.15 × bare installer".to_owned(),
                reached: ratio <= 1.15,
                ..Row::default()
            });
        }
    }

    /// P8: filling a harness volume of five members of which one changed, beside filling it from nothing.
    fn repopulate(&mut self) {
        let Some(image) = self.npm.clone() else {
            eprintln!("P8 is left out: there is no image with npm");
            return;
        };
        let project = self.project(1);
        let (name, versions) = CHANGING;
        let kept = SET.map(|(name, version)| format!("{name}: {version}, ")).concat();
        let mut times = [Vec::new(), Vec::new()];
        for round in 1..=self.rounds(5) {
            eprintln!("a set of five, and one of them changed: {round}");
            let mut volumes = Vec::new();
            for (version, times) in versions.iter().zip(&mut times) {
                let text = format!(
                    "apiVersion: aishell/v1\nname: {}\ncertificates: host\nproxy: inherit\nfoundation: {{ image: \
                     \"{image}\" }}\nharnesses: {{ {kept}{name}: {version} }}\ncontainers: {{ one: {{ harness: {name}, \
                     stop: {{ timeout: 0 }} }} }}\n",
                    project.name
                );
                fs::write(project.directory.join("aishell.yaml"), text)
                    .expect("the directory can be written to");
                let plan = self.plan(&project);
                let steps = plan["steps"].as_array().into_iter().flatten();
                let volume = steps
                    .filter(|step| step["action"] == "populate")
                    .find_map(|step| step["name"].as_str());
                let Some(volume) = volume else {
                    eprintln!("P8 is left out: somebody has one of its harness volumes already");
                    return;
                };
                volumes.push(volume.to_owned());
                let report = self.aishell(&project, &["-o", "json", "apply"]).run();
                let report: Value = serde_json::from_slice(&report.stdout).expect("a report");
                times.push(seconds(&report, "populate"));
            }
            self.delete(&project);
            for volume in volumes {
                self.forget(&volume);
            }
        }
        let ratio = ratio(&times[1], &times[0]);
        self.rows.push(Row {
            case: "P8".to_owned(),
            what: "populate, one member of five changed".to_owned(),
            value: median(&times[1]),
            unit: "s",
            floor: Some(median(&times[0])),
            ratio: Some(ratio),
            goal: "≤ 0.4 × a full cold populate".to_owned(),
            reached: ratio <= 0.4,
            ..Row::default()
        });
    }

    /// P14: what a harness set adds to a diff that finds nothing, and how fast it is read where that is asked for.
    fn readiness(&mut self) {
        let Some(image) = self.npm.clone() else {
            eprintln!("P14 is left out: there is no image with npm");
            return;
        };
        let project = self.project(1);
        let (name, versions) = CHANGING;
        let text = format!(
            "apiVersion: aishell/v1\nname: {}\ncertificates: host\nproxy: inherit\nfoundation: {{ image: \"{image}\" }}\n\
             harnesses: {{ {name}: {} }}\ncontainers: {{ one: {{ harness: {name}, stop: {{ timeout: 0 }} }} }}\n",
            project.name, versions[0]
        );
        fs::write(project.directory.join("aishell.yaml"), text).expect("the directory can be written to");
        eprintln!("a set of one: installing it");
        self.aishell(&project, &["apply"]).run();
        let plan = self.plan(&project);
        let volume = plan["unchanged"].as_array().into_iter().flatten();
        let volume = volume
            .filter_map(|one| one["name"].as_str())
            .find(|name| name.starts_with("aishell-harness-"))
            .expect("a harness volume")
            .to_owned();
        let diff = self.aishell(&project, &["diff"]);
        let deep = self.aishell(&project, &["-o", "json", "diff", "--deep"]);
        let floor = self.floor(&["floor-look", &project.name], &project.directory);
        eprintln!("a set of one: nothing to do");
        let times = in_turns(self.rounds(21), &[&diff, &floor]);
        let [ours, least] = [&times[0], &times[1]].map(|times| 1000.0 * median(times));
        self.rows.push(Row {
            case: "P14".to_owned(),
            what: "diff, nothing to do, a harness set".to_owned(),
            value: ours,
            unit: "ms",
            floor: Some(least),
            ratio: Some(ours / least),
            goal: "≤ 15 ms over the floor".to_owned(),
            reached: ours - least <= 15.0,
            ..Row::default()
        });
        let plan: Value = serde_json::from_slice(&deep.clone().run().stdout).expect("a plan");
        let note = plan["notes"].to_string();
        let size = note
            .split_once(" MiB")
            .and_then(|(before, _)| before.rsplit(' ').next());
        let size: f64 = size.and_then(|size| size.parse().ok()).expect("a size");
        let receipt = volume.replace("aishell-harness-", "aishell-receipt-");
        let mut times = [Vec::new(), Vec::new()];
        for _ in 0..self.rounds(7) {
            times[0].push(median(&in_turns(1, &[&deep])[0]));
            let mut connection = Connection::open(&self.socket).expect("the engine listens");
            let began = std::time::Instant::now();
            connection.ask(
                "GET",
                &format!("/v1.41/containers/{receipt}/archive?path=/tools"),
                None,
            );
            times[1].push(began.elapsed().as_secs_f64());
        }
        let [ours, least] = [&times[0], &times[1]].map(|times| median(times));
        let rate = size / 1024.0 / ours;
        self.rows.push(Row {
            case: "P14".to_owned(),
            what: format!("diff --deep, a set of {size} MiB"),
            value: ours,
            unit: "s",
            floor: Some(least),
            ratio: Some(ours / least),
            goal: "≥ 1 GB/s, where the engine gives it".to_owned(),
            reached: rate >= 1.0 || ours <= 1.15 * least,
            notes: vec![format!("{rate:.2} GiB a second")],
            ..Row::default()
        });
        self.delete(&project);
        self.forget(&volume);
    }

    fn plan(&self, project: &Project) -> Value {
        let mut diff = self.aishell(project, &["-o", "json", "diff"]);
        diff.codes = vec![0, 1];
        serde_json::from_slice(&diff.run().stdout).expect("a plan")
    }

    /// Removes a harness volume that this run made, so that the next apply fills it again.
    fn forget(&self, volume: &str) {
        let mut connection = Connection::open(&self.socket).expect("the engine listens");
        let receipt = volume.replace("aishell-harness-", "aishell-receipt-");
        connection.ask("DELETE", &format!("/v1.41/containers/{receipt}?force=true"), None);
        connection.ask("DELETE", &format!("/v1.41/volumes/{volume}"), None);
    }

    /// Installs packages into a fresh volume with nothing but npm, and returns the seconds that took: from the
    /// creation of the container to its removal.
    fn install(&self, image: &str, packages: &[String]) -> f64 {
        let mut connection = Connection::open(&self.socket).expect("the engine listens");
        let bundle = ["SSL_CERT_FILE", "NODE_EXTRA_CA_CERTS"]
            .iter()
            .filter_map(|name| env::var(name).ok())
            .chain(["/etc/ssl/certs/ca-certificates.crt".to_owned()])
            .find(|file| Path::new(file).is_file());
        let mut mounts = vec![json!({ "Type": "volume", "Source": VOLUME, "Target": "/tools" })];
        let mut environment = vec!["npm_config_audit=false".to_owned()];
        if let Some(bundle) = bundle {
            mounts
                .push(json!({ "Type": "bind", "Source": bundle, "Target": "/run/ca.crt", "ReadOnly": true }));
            environment.push("NODE_EXTRA_CA_CERTS=/run/ca.crt".to_owned());
            environment.push("SSL_CERT_FILE=/run/ca.crt".to_owned());
        }
        let install = ["npm", "install", "--global", "--prefix", "/tools"].map(str::to_owned);
        let body = json!({
            "Image": image,
            "Entrypoint": ([&install[..], packages].concat()),
            "Env": environment,
            "HostConfig": { "Mounts": mounts, "Init": true },
        });
        let began = std::time::Instant::now();
        let made = connection.ask(
            "POST",
            "/v1.41/containers/create",
            Some(body.to_string().as_bytes()),
        );
        let made: Value = serde_json::from_slice(&made).expect("an id");
        let id = made["Id"].as_str().expect("an id");
        connection.ask("POST", &format!("/v1.41/containers/{id}/start"), None);
        let ended = connection.ask("POST", &format!("/v1.41/containers/{id}/wait"), None);
        connection.ask("DELETE", &format!("/v1.41/containers/{id}"), None);
        let took = began.elapsed().as_secs_f64();
        let ended: Value = serde_json::from_slice(&ended).expect("a code");
        assert_eq!(ended["StatusCode"], 0, "npm install {packages:?}");
        connection.ask("DELETE", &format!("/v1.41/volumes/{VOLUME}"), None);
        took
    }
}

/// The volume that the bare installer fills.
const VOLUME: &str = "aibenchfloor-tools";

impl Drop for Bench {
    /// Leaves nothing behind, also when a case failed.
    fn drop(&mut self) {
        eprintln!("cleaning up");
        let left: Vec<PathBuf> = fs::read_dir(self.scratch.path())
            .into_iter()
            .flatten()
            .flatten()
            .map(|entry| entry.path())
            .collect();
        for directory in left {
            let words = ["delete", "--yes", "--allow", "data-loss"];
            Job::new(&self.aishell, &words, &directory).try_run();
            if directory.join("compose.yaml").exists()
                && let Some(program) = &self.compose
            {
                let mut down = Peer::new(program, &directory, &self.image, 0).down();
                down.arguments.push("--remove-orphans".to_owned());
                down.try_run();
            }
        }
        floor::remove(&self.socket);
        floor::remove_left_by_bench(&self.socket);
    }
}

/// P2: what a diff asked for.
fn requests(count: usize, seen: &[Request]) -> Row {
    let writes = seen
        .iter()
        .filter(|request| request.method != "GET" && request.method != "HEAD")
        .count();
    let mut kinds: BTreeMap<String, usize> = BTreeMap::new();
    for request in seen {
        *kinds.entry(kind(request)).or_default() += 1;
    }
    let images: std::collections::BTreeSet<&str> = seen
        .iter()
        .filter(|request| kind(request).ends_with("images/…/json"))
        .map(|request| request.path.as_str())
        .collect();
    // The one image of the bench, whatever names it is asked for by.
    let limit = 4 + count + 1;
    #[expect(clippy::cast_precision_loss, reason = "a number of requests")]
    let number = |count: usize| count as f64;
    Row {
        case: "P2".to_owned(),
        what: format!("requests of that diff, {count} containers"),
        value: number(seen.len()),
        unit: "",
        floor: Some(number(limit)),
        goal: format!("≤ {limit}, no write"),
        reached: seen.len() <= limit && writes == 0,
        notes: vec![
            kinds
                .iter()
                .map(|(kind, count)| format!("{count} × {kind}"))
                .collect::<Vec<_>>()
                .join(", "),
            format!("{} names of images", images.len()),
        ],
        ..Row::default()
    }
}

/// A request without what differs from one object to the next.
fn kind(request: &Request) -> String {
    let path = request.path.split('?').next().unwrap_or_default();
    let words: Vec<&str> = path.split('/').filter(|word| !word.is_empty()).collect();
    let words: Vec<&str> = words
        .iter()
        .enumerate()
        .filter(|(index, word)| *index > 0 || !word.starts_with('v') || word.len() > 6 || **word == "version")
        .map(|(_, word)| *word)
        .collect();
    match words[..] {
        [first, .., last] if words.len() > 2 => format!("{} {first}/…/{last}", request.method),
        _ => format!("{} {}", request.method, words.join("/")),
    }
}

/// A row of times that took turns: ours, the floor.
fn row_of(case: &str, what: String, unit: &'static str, times: &[Vec<f64>]) -> Row {
    let factor = if unit == "ms" { 1000.0 } else { 1.0 };
    Row {
        case: case.to_owned(),
        what,
        value: factor * median(&times[0]),
        unit,
        floor: Some(factor * median(&times[1])),
        ratio: Some(ratio(&times[0], &times[1])),
        ..Row::default()
    }
}

/// Returns the seconds that the steps with an action took.
fn seconds(report: &Value, action: &str) -> f64 {
    let steps = report["steps"].as_array().expect("steps");
    steps
        .iter()
        .filter(|step| step["action"] == action)
        .filter_map(|step| step["seconds"].as_f64())
        .sum()
}

/// Collects what criterion found: the names of nested directories, and the median in seconds.
fn gather(directory: &Path, names: &mut Vec<String>, found: &mut BTreeMap<String, f64>) {
    if let Ok(text) = fs::read_to_string(directory.join("new/estimates.json")) {
        let estimates: Value = serde_json::from_str(&text).unwrap_or_default();
        if let Some(nanoseconds) = estimates["median"]["point_estimate"].as_f64() {
            found.insert(names.join(" "), nanoseconds / 1e9);
        }
        return;
    }
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        if entry.path().is_dir() {
            names.push(entry.file_name().to_string_lossy().into_owned());
            gather(&entry.path(), names, found);
            names.pop();
        }
    }
}

fn target() -> PathBuf {
    env::var_os("CARGO_TARGET_DIR").map_or_else(|| PathBuf::from("target"), PathBuf::from)
}

/// The load of the machine over the last minute: others at work make every figure worse.
fn load() -> f64 {
    fs::read_to_string("/proc/loadavg")
        .ok()
        .and_then(|text| text.split(' ').next()?.parse().ok())
        .unwrap_or_default()
}
