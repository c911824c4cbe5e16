use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::*;

pub fn host(directory: &Path) -> Host {
    Host {
        home: PathBuf::from("/home/me"),
        uid: 1000,
        gid: 1000,
        user: "me".into(),
        directory: directory.to_path_buf(),
        environment: BTreeMap::from([
            ("HOME".into(), "/home/me".into()),
            ("FIXTURES".into(), "/fixtures".into()),
        ]),
        machine: "0123456789ab".into(),
        accounts: Vec::new(),
    }
}

#[test]
fn the_smallest_manifest_is_read() {
    let text = "apiVersion: aishell/v1\nharnesses: { claude: 2.0.22 }\nfoundation: { image: debian }\ncontainers: { claude: { harness: claude } }\n";
    let loaded = parse(text, Path::new("-"), &host(Path::new("/p"))).unwrap();
    assert_eq!(loaded.manifest.containers.len(), 1);
    assert_eq!(
        loaded
            .source
            .place("containers.claude.harness")
            .unwrap()
            .to_string(),
        "-:4:34"
    );
}
