//! Dockerfiles of real shape become the same images as without aishell: the same files in as many layers, and the same
//! configuration. The other side is the engine's own builder, told the same Dockerfile with its context and no more.
//!
//! One of three is tried; `AISHELL_SHAPES=all` tries every one.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read as _;
use std::path::Path;
use std::sync::Mutex;

use aishell::call::{Build, Call};
use aishell::context::{Context, Digests};
use aishell::key::digest;
use aishell::label::Kind;
use serde_json::{Value, json};

use crate::raw;
use crate::support::world;

/// How many are built at once.
const AT_ONCE: usize = 3;

/// Dockerfiles; `@` is the tiny image. The argument `GIVEN` is `7`.
const SHAPES: &[&str] = &[
    "FROM @\nCOPY . /all\n",
    "FROM @\nCOPY ./ /all/\n",
    "FROM @\nCOPY app app/../file /x/\n",
    "FROM @\nWORKDIR /w\nCOPY . .\nRUN ls\n",
    "FROM @\nCOPY app/ /x\nCOPY file /x/renamed\n",
    "FROM @\nCOPY [\"with space\", \"file\", \"/x/\"]\n",
    "FROM @\nCOPY app/*.txt /x/\n",
    "FROM @\nCOPY * /x/\n",
    "FROM @\nCOPY --chown=7:8 app /x\nCOPY --chmod=600 file /y\n",
    "FROM @\nADD app /x\nADD file /y\n",
    "FROM @\nADD packed.tar /unpacked\n",
    "FROM @\nADD . /all\n",
    "FROM @\nARG GIVEN\nARG D=2\nENV A=$GIVEN B=${D}\nRUN echo $A $B $GIVEN >/x\n",
    "ARG V=latest\nFROM @\nARG V\nRUN echo \"v=$V\" >/x\n",
    "FROM @\nENV A=1 B=\"two words\" C=three\\ words\nENV OLD form of it\n",
    "FROM @ AS one\nRUN echo 1 >/one\nFROM @\nCOPY --from=one /one /two\n",
    "FROM @ AS one\nCOPY . /all\nFROM one AS two\nRUN echo 2 >/two\nFROM two\nCOPY --from=0 /all/app /three\n",
    "FROM @ AS skipped\nRUN false\nFROM @\nRUN echo 1 >/x\n",
    "FROM scratch\nCOPY . /\n",
    "FROM scratch\nCOPY --from=@ /bin/sh /sh\nCOPY file /file\nCMD [\"/sh\"]\n",
    "FROM @\nRUN --mount=type=bind,target=/s cat /s/file >/x\n",
    "FROM @\nRUN --mount=type=bind,source=app,target=/s ls /s >/x\n",
    "FROM @\nRUN --mount=type=bind,from=@,target=/s ls /s >/x\n",
    "FROM @\nRUN --mount=type=cache,target=/c echo 1 >/c/x && cat /c/x >/x\n",
    "FROM @\nRUN --mount=type=tmpfs,target=/t echo 1 >/t/x && echo 2 >/x\n",
    "FROM @\nRUN echo one && \\\n  # a comment\n  echo two >/x\n\nRUN echo three \\\n\n >/y\n",
    "# escape=`\nFROM @\nRUN echo one && `\n  echo two >/x\n",
    "FROM @\nRUN [\"sh\", \"-c\", \"echo $HOME >/x\"]\n",
    "FROM @\nSHELL [\"/bin/sh\", \"-ec\"]\nRUN echo 1 >/x\nSHELL [\"sh\", \"-c\"]\nRUN echo 2 >/y\n",
    "FROM @\nRUN mkdir -m 777 /d\nUSER 1000:1001\nRUN echo 1 >/d/x\n",
    "FROM @\nWORKDIR /a\nWORKDIR b\nRUN echo 1 >x\n",
    "FROM @\nENTRYPOINT [\"sh\"]\nCMD [\"-c\", \"true\"]\n",
    "FROM @\nENTRYPOINT exec sh\nCMD echo 1\n",
    "FROM @\nHEALTHCHECK --interval=5s --timeout=2s --retries=3 CMD true\n",
    "FROM @\nHEALTHCHECK NONE\nSTOPSIGNAL SIGINT\n",
    "FROM @\nEXPOSE 80 443/tcp 53/udp\nVOLUME /data /more\nLABEL a=1 \"b c\"=\"d e\"\n",
    "FROM @\nONBUILD COPY file /x\nONBUILD RUN echo 1\nMAINTAINER somebody\n",
    "from @ as one\nrun echo 1 >/x\nfrom one\ncopy --from=one /x /y\n",
    "FROM @\r\nRUN echo 1 >/x\r\nCOPY file /y\r\n",
    "FROM @\nCOPY app /app\nRUN ln -s app /link && chmod 700 /app/one.txt && rm /app/two.txt\nRUN mv /app /moved\n",
];

/// Writes a context.
fn write(root: &Path) {
    for (file, text) in [
        ("file", "1"),
        ("with space", "2"),
        ("app/one.txt", "3"),
        ("app/two.txt", "4"),
        ("app/deep/er/three", "5"),
        (".hidden", "6"),
    ] {
        let path = root.join(file);
        std::fs::create_dir_all(path.parent().expect("a parent")).expect("a directory");
        std::fs::write(path, text).expect("a file");
    }
    std::os::unix::fs::symlink("one.txt", root.join("app/link")).expect("a link");
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o750);
    std::fs::set_permissions(root.join("app/deep"), mode).expect("a mode");
    let mut packed = tar::Builder::new(std::fs::File::create(root.join("packed.tar")).expect("a file"));
    packed
        .append_path_with_name(root.join("file"), "inside")
        .expect("an archive");
    packed.finish().expect("an archive");
}

/// Returns what an image is made of: its files, the number of its layers, and its configuration.
fn made(image: &str) -> (BTreeMap<String, String>, usize, Value) {
    let inspected = raw::get(&format!("/images/{image}/json"));
    let mut configuration = inspected["Config"].clone();
    // Some builders leave a name of their own here.
    for field in ["Image", "Hostname"] {
        configuration[field] = Value::Null;
    }
    if let Some(labels) = configuration["Labels"].as_object_mut() {
        labels.retain(|name, _| !name.starts_with("aishell."));
        if labels.is_empty() {
            configuration["Labels"] = Value::Null;
        }
    }
    let layers = inspected["RootFS"]["Layers"].as_array().map_or(0, Vec::len);
    let mut files = BTreeMap::new();
    let archive = raw::export(image);
    for entry in tar::Archive::new(archive.as_slice()).entries().expect("entries") {
        let mut entry = entry.expect("an entry");
        let path = entry.path().expect("a path").display().to_string();
        let mut content = Vec::new();
        entry.read_to_end(&mut content).expect("content");
        let header = entry.header();
        let about = format!(
            "{:?} {:o} {}:{} {:?} {}",
            header.entry_type(),
            header.mode().expect("a mode"),
            header.uid().expect("a user"),
            header.gid().expect("a group"),
            entry.link_name().expect("a link"),
            digest(&content),
        );
        files.insert(path, about);
    }
    (files, layers, configuration)
}

/// Builds one on both sides, and insists that they are the same.
fn same(shape: &str) {
    let text = shape.replace('@', &raw::tiny());
    let context = tempfile::tempdir().expect("a directory");
    let root = context.path();
    write(root);
    std::fs::write(root.join("Dockerfile"), &text).expect("a file");
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        let world = world().await;
        let read = Context::read(
            root,
            &root.join("Dockerfile"),
            &BTreeSet::new(),
            &Digests::default(),
        )
        .expect("a context");
        let ours = world.tag("ours");
        let build = Build {
            tag: ours.clone(),
            labels: world.labels(Kind::Foundation),
            dockerfile: text.clone(),
            triggers: Vec::new(),
            path: None,
            context: root.to_path_buf(),
            files: read.files,
            digest: Some(read.digest),
            args: [("GIVEN".to_owned(), "7".to_owned())].into(),
            target: None,
            certificates: None,
            cache: true,
        };
        world.call(Call::BuildImage(Box::new(build))).await;
        let theirs = world.tag("theirs");
        raw::build_directory(&theirs, root, &json!({ "GIVEN": "7" }));
        let (one, other) = (made(&ours), made(&theirs));
        assert_eq!(one.0, other.0, "files of\n{text}");
        assert_eq!(one.1, other.1, "layers of\n{text}");
        assert_eq!(one.2, other.2, "configuration of\n{text}");
    });
}

#[test]
fn forty_dockerfiles_become_what_they_become_without_us() {
    assert_eq!(SHAPES.len(), 40);
    let all = std::env::var("AISHELL_SHAPES").is_ok_and(|wish| wish == "all");
    let chosen = SHAPES.iter().step_by(if all { 1 } else { 3 });
    let next = Mutex::new(chosen);
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                loop {
                    let shape = next.lock().expect("the next").next();
                    let Some(shape) = shape else { return };
                    same(shape);
                }
            });
        }
    });
}
