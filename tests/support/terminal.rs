//! A real terminal for one program: what it shows is gathered, keys are pressed, and afterwards it can be compared.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;

use rustix::fs::{Mode, OFlags, open};
use rustix::process::{Pid, Signal, kill_process};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Termios, Winsize, tcgetattr, tcsetwinsize};

use crate::raw;

/// A terminal with a program in it.
pub struct Terminal {
    keys: File,
    /// The side of the program, held so that it can be compared after the program has ended.
    inside: OwnedFd,
    before: Termios,
    shown: Arc<Mutex<Vec<u8>>>,
    /// How much of what is shown was looked at.
    seen: usize,
    child: Child,
}

/// Returns what tells one way to set a terminal from another.
fn modes(terminal: &Termios) -> String {
    format!("{terminal:?}")
}

impl Terminal {
    /// Starts a command in a terminal of 24 lines of 80 characters, as a shell starts one.
    pub fn open(command: &Command) -> Self {
        let keys = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).expect("a terminal");
        grantpt(&keys).expect("a terminal");
        unlockpt(&keys).expect("a terminal");
        let name = ptsname(&keys, Vec::new()).expect("a name");
        let inside = open(name.as_c_str(), OFlags::RDWR | OFlags::NOCTTY, Mode::empty()).expect("a terminal");
        let keys = File::from(keys);
        resize(&keys, 24, 80);
        let before = tcgetattr(&inside).expect("modes");
        // It makes the terminal that of the program, in the very process that becomes the program.
        let mut whole = Command::new("setsid");
        whole
            .arg("--ctty")
            .arg(command.get_program())
            .args(command.get_args());
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => whole.env(name, value),
                None => whole.env_remove(name),
            };
        }
        if !command.get_envs().any(|(name, _)| name == "TERM") {
            whole.env("TERM", "xterm-256color");
        }
        let stream = || Stdio::from(inside.try_clone().expect("a second handle"));
        let child = whole
            .current_dir(command.get_current_dir().expect("a directory"))
            .stdin(stream())
            .stdout(stream())
            .stderr(stream())
            .spawn()
            .expect("setsid of util-linux");
        let shown = Arc::new(Mutex::new(Vec::new()));
        let (mut screen, sink) = (keys.try_clone().expect("a second handle"), Arc::clone(&shown));
        thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(length @ 1..) = screen.read(&mut bytes) {
                sink.lock().expect("what is shown").extend(&bytes[..length]);
            }
        });
        Self {
            keys,
            inside,
            before,
            shown,
            seen: 0,
            child,
        }
    }

    /// Presses keys.
    pub fn press(&mut self, keys: &str) {
        self.keys.write_all(keys.as_bytes()).expect("a terminal");
    }

    /// Waits until a text is shown after what was looked at last, and returns what came before it.
    pub fn shows(&mut self, text: &str) -> String {
        let (shown, from) = (Arc::clone(&self.shown), self.seen);
        let what = format!("`{text}` is shown");
        let found = std::panic::catch_unwind(|| {
            raw::until(&what, || {
                let shown = shown.lock().expect("what is shown");
                let rest = &shown[from..];
                rest.windows(text.len())
                    .position(|window| window == text.as_bytes())
            })
        });
        let Ok(found) = found else {
            panic!("`{text}` is not shown, but {:?}", self.rest());
        };
        self.seen += found + text.len();
        let all = self.shown.lock().expect("what is shown");
        String::from_utf8_lossy(&all[from..from + found]).into_owned()
    }

    /// Returns what is shown after what was looked at last.
    pub fn rest(&self) -> String {
        let all = self.shown.lock().expect("what is shown");
        String::from_utf8_lossy(&all[self.seen..]).into_owned()
    }

    /// Makes it another size.
    pub fn resize(&self, rows: u16, columns: u16) {
        resize(&self.keys, rows, columns);
    }

    /// Sends the program a signal.
    pub fn send(&self, signal: Signal) {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        kill_process(pid.expect("a number"), signal).expect("a program");
    }

    /// Waits until the program has ended, and returns its code, or 128 and the signal that ended it.
    pub fn ends(&mut self) -> i32 {
        let child = &mut self.child;
        let status = raw::until("the program has ended", || child.try_wait().expect("a program"));
        status
            .code()
            .unwrap_or_else(|| 128 + status.signal().unwrap_or_default())
    }

    /// Says whether it is set as it was in the beginning.
    pub fn is_as_before(&self) -> bool {
        modes(&tcgetattr(&self.inside).expect("modes")) == modes(&self.before)
    }

    /// Waits until it is set as it was in the beginning.
    pub fn is_given_back(&self) {
        raw::until("the terminal is as before", || self.is_as_before().then_some(()));
    }

    /// Waits until keys go to the program as they are.
    pub fn is_taken(&self) {
        raw::until("the terminal is taken", || (!self.is_as_before()).then_some(()));
    }
}

fn resize(terminal: &File, rows: u16, columns: u16) {
    let size = Winsize {
        ws_row: rows,
        ws_col: columns,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    tcsetwinsize(terminal, size).expect("a size");
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
