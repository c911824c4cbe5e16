//! What live tests share: an engine that answers, names of their own, and removal of what they made.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io::Write as _;
use std::sync::Once;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use aishell::call::{Answer, Call, Create};
use aishell::engine::docker::{DockerEngine, Target};
use aishell::engine::{Engine as _, EngineError};
use aishell::key::{Key, KeyKind};
use aishell::label::{self, Kind, Labels, Mark, OwnedId};
use aishell::progress::Progress;
use aishell::spec::ContainerSpec;

/// The image that `scripts/engine base-image` makes available.
pub const BASE: &str = "debian:bookworm-slim";
/// How many characters of a failure are told at once.
const WORDS: usize = 1500;

/// A part of the engine for one test: names begin with a word of their own, and whatever was noted is removed at
/// the end, also when the test fails.
pub struct World {
    pub engine: DockerEngine,
    word: String,
    made: RefCell<Vec<Call>>,
}

/// Has every failure told when it happens, with its first words, and not only at the end of all tests: of a run that
/// is cut off, or of which only a part is kept, that is what is left.
pub fn tell_failures_at_once() {
    static TOLD: Once = Once::new();
    TOLD.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            let name = std::thread::current().name().unwrap_or("a thread").to_owned();
            let text: String = panic.to_string().chars().take(WORDS).collect();
            // Written past what the tests' own program keeps back.
            let _ = std::io::stderr().write_all(format!("\n{name}: {text}\n").as_bytes());
            before(panic);
        }));
    });
}

/// Connects as the environment says. Without an engine that has the base image a live test fails.
pub async fn world() -> World {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    tell_failures_at_once();
    let mut random = [0; 4];
    getrandom::fill(&mut random).expect("random numbers");
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let word = format!("aishelltest{:08x}n{number}", u32::from_ne_bytes(random));
    let world = World {
        engine: connect(),
        word,
        made: RefCell::default(),
    };
    match world
        .try_call(Call::InspectImage {
            image: BASE.to_owned(),
        })
        .await
    {
        Ok(_) => world,
        Err(EngineError::NotFound { .. }) => {
            panic!(
                "the engine at {} has no {BASE}; run: scripts/engine base-image",
                world.engine.host()
            )
        }
        Err(error) => panic!("{error}\nlive tests need an engine; run: scripts/engine up"),
    }
}

/// Makes a connection as the environment says.
pub fn connect() -> DockerEngine {
    let environment: BTreeMap<String, String> = std::env::vars().collect();
    let home = environment.get("HOME").map(std::path::PathBuf::from);
    DockerEngine::connect(&Target::Default, &environment, home.as_deref())
        .unwrap_or_else(|error| panic!("{error}\nlive tests need an engine; run: scripts/engine up"))
}

impl World {
    /// Returns a name that nobody else has.
    pub fn name(&self, name: &str) -> String {
        format!("{}-{name}", self.word)
    }

    /// Returns labels of an object of ours, with the word of this test as its manifest.
    pub fn labels(&self, kind: Kind) -> Labels {
        label::shared(&self.word, kind, "x", &Key::of(KeyKind::Container, &self.word))
    }

    pub async fn try_call(&self, call: Call) -> Result<Answer, EngineError> {
        self.engine.call(&call, &Progress::default()).await
    }

    pub async fn call(&self, call: Call) -> Answer {
        let answer = self.engine.call(&call, &Progress::default()).await;
        answer.unwrap_or_else(|error| panic!("{call:?}: {error:?}"))
    }

    /// Notes what will have to be removed.
    pub fn remove_later(&self, call: Call) {
        self.made.borrow_mut().push(call);
    }

    /// Creates a container that is removed at the end, and returns its id.
    pub async fn create(&self, name: &str, spec: ContainerSpec) -> String {
        let name = self.name(name);
        let create = Create {
            name,
            labels: self.labels(Kind::Container),
            spec,
        };
        let id = id(self.call(Call::CreateContainer(Box::new(create))).await);
        self.remove_later(Call::RemoveContainer {
            container: owned(&id),
            volumes: true,
        });
        id
    }

    /// Creates a network that is removed at the end, and returns its name.
    pub async fn network(&self, name: &str) -> String {
        let name = self.name(name);
        self.remove_later(Call::RemoveNetwork {
            network: owned(&name),
        });
        self.call(Call::CreateNetwork {
            name: name.clone(),
            labels: self.labels(Kind::Network),
        })
        .await;
        name
    }

    /// Creates a volume that is removed at the end, and returns its name.
    pub async fn volume(&self, name: &str) -> String {
        let name = self.name(name);
        self.remove_later(Call::RemoveVolume { volume: owned(&name) });
        self.call(Call::CreateVolume {
            name: name.clone(),
            labels: self.labels(Kind::Volume),
        })
        .await;
        name
    }

    /// Returns a tag whose image is removed at the end.
    pub fn tag(&self, tag: &str) -> String {
        let tag = format!("{}:{tag}", self.word);
        self.remove_later(Call::RemoveImage { image: tag.clone() });
        tag
    }
}

impl Drop for World {
    /// Removes everything, newest first: containers go before what they use. It has a runtime of its own, since
    /// this may run while the test's is being torn down.
    fn drop(&mut self) {
        let made = self.made.take();
        let removal = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .expect("a runtime");
            runtime.block_on(async {
                let engine = connect();
                for call in made.iter().rev() {
                    let progress = Progress::default();
                    let removal = engine.call(call, &progress);
                    match tokio::time::timeout(Duration::from_secs(30), removal).await {
                        Ok(Ok(_) | Err(EngineError::NotFound { .. })) => {}
                        Ok(Err(error)) => eprintln!("left behind: {call:?}: {error}"),
                        Err(_) => eprintln!("left behind: {call:?}: no answer"),
                    }
                }
            });
        });
        let _ = removal.join();
    }
}

/// Returns proof for an object of a test, which knows what it made.
pub fn owned(id: &str) -> OwnedId {
    let mark = Mark {
        manifest: "test".to_owned(),
        kind: Kind::Container,
        name: "x".to_owned(),
        key: Key::of(KeyKind::Container, &id),
        uid: "test".to_owned(),
        project: None,
        file: None,
        host: None,
    };
    OwnedId::new(id, &mark)
}

/// Returns the id of what was created.
pub fn id(answer: Answer) -> String {
    match answer {
        Answer::Id(id) => id,
        other => panic!("no id: {other:?}"),
    }
}
