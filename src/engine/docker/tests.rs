//! The connection, against an engine that is only a script.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::{Arc, Mutex as StdMutex};

use super::negotiate::Api;
use super::*;

/// A socket behind which every request gets the same answer, with the requests it has seen.
struct Script {
    engine: DockerEngine,
    seen: Arc<StdMutex<Vec<String>>>,
    _directory: tempfile::TempDir,
}

fn script(version: &'static str, answer: &'static str) -> Script {
    script_saying("", version, answer)
}

/// Makes a script whose every answer has a header.
fn script_saying(header: &'static str, version: &'static str, answer: &'static str) -> Script {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("engine.sock");
    let listener = UnixListener::bind(&path).expect("a socket");
    let seen = Arc::new(StdMutex::new(Vec::new()));
    let record = Arc::clone(&seen);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let record = Arc::clone(&record);
            std::thread::spawn(move || {
                serve(stream.expect("a connection"), (header, version, answer), &record);
            });
        }
    });
    let engine = DockerEngine::at(&Host::Socket(path)).expect("a client");
    Script {
        engine,
        seen,
        _directory: directory,
    }
}

fn serve(
    mut stream: UnixStream,
    (header, version, answer): (&str, &str, &str),
    seen: &StdMutex<Vec<String>>,
) {
    let mut reader = BufReader::new(stream.try_clone().expect("a stream"));
    loop {
        let mut request = String::new();
        if reader.read_line(&mut request).unwrap_or_default() == 0 {
            return;
        }
        let mut length = 0;
        loop {
            let mut header = String::new();
            reader.read_line(&mut header).expect("a header");
            if let Some(value) = header.to_ascii_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse().expect("a length");
            }
            if header == "\r\n" {
                break;
            }
        }
        reader.read_exact(&mut vec![0; length]).expect("a body");
        let request = request.trim_end().trim_end_matches(" HTTP/1.1").to_owned();
        let body = if request == "GET /version" {
            version
        } else {
            answer
        };
        seen.lock().expect("requests").push(request);
        let (status, body) = body.split_once(' ').expect("a status");
        let head = format!(
            "HTTP/1.1 {status} x\r\nContent-Type: application/json\r\nContent-Length: {}\r\n{header}\r\n",
            body.len()
        );
        stream
            .write_all(format!("{head}{body}").as_bytes())
            .expect("an answer");
    }
}

impl Script {
    async fn call(&self, call: &Call) -> Result<Answer, EngineError> {
        self.engine.call(call, &Progress::default()).await
    }

    fn seen(&self) -> Vec<String> {
        self.seen.lock().expect("requests").clone()
    }
}

const VERSION: &str =
    r#"200 {"Version":"29.1.0","ApiVersion":"1.52","MinAPIVersion":"1.44","Os":"linux","Arch":"amd64"}"#;

#[test]
fn the_version_spoken_is_the_one_that_was_tried_where_the_engine_can() {
    for (oldest, newest, chosen) in [
        (Api(1, 12), Api(1, 41), Some(Api(1, 41))),
        (Api(1, 24), Api(1, 45), Some(Api(1, 45))),
        (Api(1, 44), Api(1, 53), Some(Api(1, 45))),
        (Api(1, 50), Api(1, 60), Some(Api(1, 50))),
        (Api(1, 12), Api(1, 40), None),
    ] {
        assert_eq!(Api::choose(oldest, newest), chosen, "{oldest} to {newest}");
    }
    assert_eq!(Api::parse("1.41"), Some(Api(1, 41)));
    assert_eq!(Api::parse("1"), None);
}

#[tokio::test]
async fn the_first_calls_wait_for_one_negotiation() {
    let script = script(VERSION, "200 []");
    let (one, two, version) = tokio::join!(
        script.call(&Call::ListContainers),
        script.call(&Call::ListContainers),
        script.call(&Call::Version)
    );
    assert_eq!(
        (one, two),
        (Ok(Answer::Containers(vec![])), Ok(Answer::Containers(vec![])))
    );
    let Ok(Answer::Engine(info)) = version else {
        panic!("{version:?}")
    };
    assert_eq!(
        (info.version.as_str(), info.api_version.as_str()),
        ("29.1.0", "1.52")
    );
    let seen = script.seen();
    assert_eq!(seen.len(), 4, "{seen:?}");
    assert_eq!(seen[..2], ["GET /_ping", "GET /version"]);
    assert!(
        seen[2..]
            .iter()
            .all(|request| request.starts_with("GET /v1.45/containers/json?")),
        "{seen:?}"
    );
}

#[tokio::test]
async fn a_ping_is_enough_where_the_engine_was_tried() {
    for (header, asked) in [
        ("Api-Version: 1.41\r\n", "GET /v1.41/containers/json?"),
        ("Api-Version: 1.52\r\n", "GET /v1.45/containers/json?"),
    ] {
        let script = script_saying(header, VERSION, "200 []");
        let answer = script.call(&Call::ListContainers).await;
        assert_eq!(answer, Ok(Answer::Containers(vec![])));
        let seen = script.seen();
        assert_eq!(seen.len(), 2, "{seen:?}");
        assert!(seen[0] == "GET /_ping" && seen[1].starts_with(asked), "{seen:?}");
    }
    for header in [
        "Api-Version: 1.40\r\n",
        "Api-Version: 1.99\r\n",
        "Api-Version: x\r\n",
    ] {
        let script = script_saying(header, VERSION, "200 []");
        let answer = script.call(&Call::ListContainers).await;
        assert_eq!(answer, Ok(Answer::Containers(vec![])));
        assert_eq!(script.seen()[..2], ["GET /_ping", "GET /version"], "{header}");
    }
}

#[tokio::test]
async fn an_engine_that_is_too_old_is_refused() {
    let script = script(r#"200 {"Version":"19.03.1","ApiVersion":"1.40"}"#, "200 []");
    let error = script.call(&Call::ListImages).await.expect_err("it is too old");
    assert_eq!(
        error.to_string(),
        "the engine 19.03.1 speaks API 1.40; 1.41 (Docker 20.10) is the oldest that serves"
    );
    assert_eq!(script.seen(), ["GET /_ping", "GET /version"]);
}

#[tokio::test]
async fn what_is_no_engine_says_something_else() {
    for version in ["200 hello", "200 {}", r#"200 {"ApiVersion":"new"}"#] {
        let error = script(version, "200 []")
            .call(&Call::Version)
            .await
            .expect_err("it is no engine");
        assert!(matches!(error, EngineError::Unexpected { .. }), "{error:?}");
    }
    let error = script(VERSION, "200 {")
        .call(&Call::ListImages)
        .await
        .expect_err("it is no list");
    assert!(matches!(error, EngineError::Unexpected { .. }), "{error:?}");
    let error = script(VERSION, r#"500 {"message":"it broke"}"#)
        .call(&Call::ListImages)
        .await;
    assert_eq!(
        error,
        Err(EngineError::Failed {
            message: "it broke".to_owned()
        })
    );
}

/// Time is paused: it goes on at once when nothing else is to be done.
#[tokio::test(start_paused = true)]
async fn an_engine_that_says_nothing_is_not_waited_for() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("engine.sock");
    let _listener = UnixListener::bind(&path).expect("a socket");
    let engine = DockerEngine::at(&Host::Socket(path)).expect("a client");
    let error = engine
        .call(&Call::ListImages, &Progress::default())
        .await
        .expect_err("silence");
    let EngineError::Unreachable {
        message,
        denied: false,
        ..
    } = error
    else {
        panic!("{error:?}")
    };
    assert_eq!(message, "no answer within 60 s");
}

/// Returns an engine that pings, and gives one answer to everything else as soon as it has read the head of a request;
/// then it closes, whatever else it is told.
fn abrupt(answer: String) -> (DockerEngine, tempfile::TempDir) {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("engine.sock");
    let listener = UnixListener::bind(&path).expect("a socket");
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.expect("a connection");
            let mut reader = BufReader::new(stream.try_clone().expect("a stream"));
            loop {
                let mut head = String::new();
                while reader.read_line(&mut head).unwrap_or_default() > 2 {}
                if head.is_empty() {
                    break;
                }
                if head.starts_with("GET /_ping") {
                    let pong = "HTTP/1.1 200 OK\r\nApi-Version: 1.41\r\nContent-Length: 2\r\n\r\nOK";
                    stream.write_all(pong.as_bytes()).expect("an answer");
                    continue;
                }
                stream.write_all(answer.as_bytes()).expect("an answer");
                break;
            }
        }
    });
    let engine = DockerEngine::at(&Host::Socket(path)).expect("a client");
    (engine, directory)
}

/// Returns a build whose context has more bytes than a socket takes at once.
fn large_build(context: &Path) -> Call {
    #[expect(clippy::disallowed_methods, reason = "a test makes the files it sends")]
    std::fs::write(context.join("large"), vec![b'x'; 8 << 20]).expect("a file");
    Call::BuildImage(Box::new(crate::call::Build {
        tag: "x:1".to_owned(),
        labels: crate::label::Labels::new(),
        dockerfile: "FROM scratch\n".to_owned(),
        triggers: Vec::new(),
        path: None,
        context: context.to_path_buf(),
        files: ["large".into()].into(),
        digest: None,
        args: BTreeMap::new(),
        target: None,
        certificates: None,
        cache: true,
    }))
}

#[tokio::test]
async fn an_answer_to_a_build_may_come_in_any_pieces() {
    let context = tempfile::tempdir().expect("a directory");
    // The end of the last line comes alone.
    let pieces = [
        r#"{"stream":"Step 1/1 : FROM scratch\n"}"#,
        "\r\n",
        r#"{"aux":{"ID":"sha"#,
        "256:1\"}}",
        "\r",
        "\n",
        r#"{"stream":"done"}"#,
        "\r\n",
    ];
    let chunks: String = pieces
        .map(|piece| format!("{:x}\r\n{piece}\r\n", piece.len()))
        .concat();
    let answer = format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{chunks}0\r\n\r\n");
    let (engine, _directory) = abrupt(answer);
    let built = engine
        .call(&large_build(context.path()), &Progress::default())
        .await;
    assert_eq!(built, Ok(Answer::Id("sha256:1".to_owned())));
}

#[tokio::test]
async fn an_engine_that_answers_and_closes_before_it_read_the_context_is_heard() {
    let context = tempfile::tempdir().expect("a directory");
    let text = r#"{"message":"no such builder"}"#;
    let answer = format!(
        "HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{text}",
        text.len()
    );
    let (engine, _directory) = abrupt(answer);
    let build = large_build(context.path());
    // Whether the answer or the end is seen first is a matter of luck.
    for _ in 0..100 {
        let built = engine.call(&build, &Progress::default()).await;
        assert_eq!(
            built,
            Err(EngineError::Work {
                message: "no such builder".to_owned(),
                line: None,
                log: Vec::new()
            })
        );
    }
}

#[tokio::test]
async fn an_answer_that_breaks_off_is_no_answer() {
    let context = tempfile::tempdir().expect("a directory");
    for body in [
        "9\r\n{\"stream\"\r\n0\r\n\r\n",
        "9\r\n{\"stream\"\r\n",
        "40\r\n{\"stream\"",
        "",
    ] {
        let answer = format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{body}");
        let (engine, _directory) = abrupt(answer);
        let built = engine
            .call(&large_build(context.path()), &Progress::default())
            .await;
        assert!(
            matches!(built, Err(EngineError::Unreachable { .. })),
            "{body:?}: {built:?}"
        );
    }
}
