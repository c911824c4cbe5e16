//! A context of many files: how long it takes to know what it is, and how much memory that and sending it take.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

use crate::measure::Job;

/// Directories, and files in each.
const DIRECTORIES: usize = 1000;
const FILES: usize = 100;
/// Bytes of each file: 100,000 of them are 1 GiB.
const BYTES: usize = 10_738;
/// How long a file must have been left alone to be remembered, and a little more.
const SETTLED: Duration = Duration::from_secs(4);

/// Makes the context, and lets it settle.
pub fn make(directory: &Path) {
    let mut bytes = vec![0_u8; 1 << 20];
    let mut state = 1_u64;
    for byte in &mut bytes {
        // xorshift: nothing that could be packed.
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        *byte = state.to_le_bytes()[3];
    }
    for number in 0..DIRECTORIES {
        let below = directory.join(format!("package{:02}/module{number:04}", number / 25));
        fs::create_dir_all(&below).expect("the directory can be written to");
        for file in 0..FILES {
            let start = (number * FILES + file) * 7919 % (bytes.len() - BYTES);
            let path = below.join(format!("file{file:03}.txt"));
            fs::write(path, &bytes[start..start + BYTES]).expect("there is room for 1 GiB");
        }
    }
    sleep(SETTLED);
}

/// Looks at every file of a directory, as whoever wants to know what changed must.
pub fn walk(directory: &Path) -> u64 {
    let mut length = 0;
    for entry in fs::read_dir(directory).expect("a directory") {
        let entry = entry.expect("an entry");
        let metadata = fs::symlink_metadata(entry.path()).expect("metadata");
        length += metadata.len();
        if metadata.is_dir() {
            length += walk(&entry.path());
        }
    }
    length
}

/// Runs a job to its end and returns the most memory that it had, in MB.
pub fn most_memory(job: &Job) -> f64 {
    let mut child = Command::new(&job.program)
        .args(&job.arguments)
        .current_dir(&job.directory)
        .envs(job.environment.iter().map(|(name, value)| (name, value)))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("the program starts");
    let status = format!("/proc/{}/status", child.id());
    let mut most = 0.0_f64;
    loop {
        if let Some(ended) = child.try_wait().expect("a child") {
            assert!(
                job.codes.contains(&ended.code().unwrap_or(-1)),
                "it ended with {ended}"
            );
            return most;
        }
        let text = fs::read_to_string(&status).unwrap_or_default();
        let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kilobytes = line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<f64>().ok());
        most = most.max(kilobytes.unwrap_or_default() / 1024.0);
        sleep(Duration::from_millis(2));
    }
}
