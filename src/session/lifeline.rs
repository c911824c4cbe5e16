//! [`Lifeline`]: a command beside a session that ends what the session has begun when nobody holds it any more.
//!
//! The engine lets a command go on whose client is gone, with a terminal or without. So a second one waits for words on
//! its standard input, which the kernel closes with this process, however that ends. It finds the processes of the
//! session by a variable of theirs, and those they have begun without it; children in sessions of their own are among
//! them. What runs below a terminal multiplexer was left running on purpose, and is left alone.

use std::time::Duration;

use futures_util::StreamExt as _;
use tokio::io::AsyncWriteExt as _;

use super::signals::Signal;
use super::{VARIABLE, refusal};
use crate::engine::EngineError;
use crate::engine::sessions::{Command, Place, Sessions, Wire};
use crate::protocol::MARKER;

/// How long the end of a connection may take to be seen that ended together with another.
const AT_ONCE: Duration = Duration::from_millis(5);
/// The word that ends it, and nothing else.
const DONE: &str = "done";

/// What it runs, in any POSIX shell and with nothing but what is built into that; without a `sleep` it does not wait
/// between the signals.
const SCRIPT: &str = r#"exec 2>/dev/null
has() {
  while IFS= read -r e || [ -n "$e" ]; do
    case $e in *"AISHELL_SESSION=$2"*) return 0 ;; esac
    e=
  done <"/proc/$1/environ"
  return 1
}
stat() {
  IFS= read -r s <"/proc/$1/stat" || return 1
  name=${s#*\(} name=${name%\)*}
  s=${s##*\) } state=${s%% *} s=${s#* } parent=${s%% *}
}
note() {
  case $parent:$name in
    [01]:"tmux: server" | [01]:screen | [01]:SCREEN | [01]:zellij | [01]:dtach | [01]:abduco) kept="$kept $1" ;;
    *) found="$found $1" ;;
  esac
}
find() {
  before=$found found= kept= more=1
  for d in /proc/[0-9]*; do
    p=${d#/proc/}
    stat "$p" && [ "$state" != Z ] || continue
    case " $before " in *" $p "*) found="$found $p"; continue ;; esac
    ! has "$p" "$1" || note "$p"
  done
  while [ "$more" ]; do
    more=
    for d in /proc/[0-9]*; do
      p=${d#/proc/}
      stat "$p" && [ "$state" != Z ] || continue
      case " $kept " in
        *" $p "*) continue ;;
        *" $parent "*) kept="$kept $p" more=1; continue ;;
      esac
      case " $found " in
        *" $p "*) continue ;;
        *" $parent "*) note "$p"; more=1 ;;
      esac
    done
  done
  all=$found found=
  for p in $all; do
    case " $kept " in *" $p "*) ;; *) found="$found $p" ;; esac
  done
}
found=
while read -r word; do
  [ "$word" = done ] && exit 0
  find "$1"
  [ -z "$found" ] || kill -s "$word" $found
done
n=0
while [ $n -lt 60 ]; do
  find "$1"
  if [ -z "$found" ]; then
    [ $n -lt 5 ] || exit 0
  else
    case $n in
      0) kill -s HUP $found; kill -s CONT $found ;;
      10) kill -s TERM $found; kill -s CONT $found ;;
      [2-5]?) kill -s KILL $found ;;
    esac
  fi
  sleep 0.2 || sleep 1
  n=$((n + 1))
done
"#;

/// A lifeline. Dropped without a word, it ends the session.
pub(super) struct Lifeline {
    wire: Wire,
}

impl Lifeline {
    /// Lets one down beside a session.
    pub(super) async fn cast(
        engine: &impl Sessions,
        container: &str,
        user: Option<&str>,
        id: &str,
    ) -> Result<Self, EngineError> {
        debug_assert!(
            SCRIPT.contains(VARIABLE) && SCRIPT.contains(DONE),
            "one word for each"
        );
        let command = Command {
            words: ["sh", "-c", "eval \"$LIFELINE\"", MARKER, id]
                .map(str::to_owned)
                .into(),
            // Lists of processes stay readable by this.
            env: vec![("LIFELINE".to_owned(), SCRIPT.to_owned())],
            user: user.map(str::to_owned),
            input: true,
            ..Command::default()
        };
        let exec = engine.prepare(container, &command).await?;
        let wire = engine.open(&exec, Place::Streams).await?;
        Ok(Self { wire })
    }

    /// Sends a signal to every process of the session.
    pub(super) async fn pass(&mut self, signal: Signal) {
        self.say(signal.name()).await;
    }

    /// Ends the session as the kernel would end a program that nobody reads.
    pub(super) async fn unread(&mut self) {
        self.say("PIPE").await;
    }

    /// Ends the lifeline: the session has ended by itself.
    pub(super) async fn release(mut self) {
        self.say(DONE).await;
        let _ = self.wire.input.shutdown().await;
    }

    /// Says whether it was cut: it ends by itself only where there is no shell, and then the engine says so.
    pub(super) async fn is_cut(&mut self) -> bool {
        let mut refused = false;
        loop {
            match tokio::time::timeout(AT_ONCE, self.wire.output.next()).await {
                Ok(Some(Ok(piece))) => refused |= refusal::is_one(&piece),
                Ok(Some(Err(_)) | None) => return !refused,
                Err(_) => return false,
            }
        }
    }

    async fn say(&mut self, word: &str) {
        // Where it is gone, so is the container or the engine, or there is no shell.
        let _ = self.wire.input.write_all(format!("{word}\n").as_bytes()).await;
    }
}
