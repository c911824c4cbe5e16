//! Which programs a machine runs: its own, those of its smaller relatives, and those that are emulated there.

use std::collections::BTreeSet;

/// Which programs of other machines a kernel runs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Emulation {
    /// Whether anything is known.
    known: bool,
    /// The processors, as images name them, whose programs it runs all the same.
    processors: BTreeSet<String>,
}

/// What an engine runs programs on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Machine {
    /// The platform that the engine says it is: `linux/amd64`.
    pub platform: String,
    /// What else it runs.
    pub emulation: Emulation,
}

/// What emulators are registered as, with what images call the processor they stand for.
const EMULATORS: [(&str, &str); 11] = [
    ("aarch64", "arm64"),
    ("arm", "arm"),
    ("x86_64", "amd64"),
    ("rosetta", "amd64"),
    ("fex", "amd64"),
    ("i386", "386"),
    ("riscv64", "riscv64"),
    ("ppc64le", "ppc64le"),
    ("s390x", "s390x"),
    ("mips64el", "mips64le"),
    ("loongarch64", "loong64"),
];

/// Processors that run the programs of another one as their own.
const RELATIVES: [(&str, &str); 2] = [("amd64", "386"), ("arm64", "arm")];

impl Emulation {
    /// Returns what the names say under which emulators are registered and enabled.
    pub fn registered<'n>(names: impl IntoIterator<Item = &'n str>) -> Self {
        let processor = |name: &str| {
            let name = name.to_ascii_lowercase();
            let words: BTreeSet<&str> = name.split(['-', '.']).collect();
            let found = EMULATORS.iter().find(|(word, _)| words.contains(word));
            found.map(|(_, processor)| (*processor).to_owned())
        };
        Self {
            known: true,
            processors: names.into_iter().filter_map(processor).collect(),
        }
    }

    /// Returns the machine of an engine with this address and platform. What the kernel of this host runs is known only
    /// of engines behind a socket of this host, and not of one that has a machine of its own behind that.
    pub fn of_engine(&self, address: &str, platform: &str) -> Machine {
        let here = address.starts_with("unix://") && !address.contains("/.docker/desktop/");
        Machine {
            platform: platform.to_owned(),
            emulation: if here { self.clone() } else { Self::default() },
        }
    }
}

impl Machine {
    /// Says whether the programs of an image are known not to run. What an image does not say of itself is no reason.
    pub fn refuses(&self, image: &str) -> bool {
        let (Some((_, wanted)), Some((_, own))) = (image.split_once('/'), self.platform.split_once('/'))
        else {
            return false;
        };
        let differs = !wanted.is_empty() && !own.is_empty() && wanted != own;
        let runs = RELATIVES.contains(&(own, wanted)) || self.emulation.processors.contains(wanted);
        self.emulation.known && differs && !runs
    }
}

/// Says that an image is made for another platform than the engine's.
pub fn made_for(image: &str, engine: &str) -> String {
    format!("the image is made for {image}, and the engine runs {engine}: nothing of it would run there")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_known_not_to_run_is_refused() {
        let refuses = |emulation: &Emulation, image: &str, engine: &str| {
            emulation
                .of_engine("unix:///run/docker.sock", engine)
                .refuses(image)
        };
        let none = Emulation::registered(["register", "status", "python3.11", "cli"]);
        assert!(refuses(&none, "linux/arm64", "linux/amd64"));
        for (image, engine) in [
            ("linux/amd64", "linux/amd64"),
            ("linux/386", "linux/amd64"),
            ("linux/arm", "linux/arm64"),
            ("linux/", "linux/amd64"),
            ("", "linux/amd64"),
            ("linux/arm64", ""),
        ] {
            assert!(!refuses(&none, image, engine), "{image} on {engine}");
        }
        let some = Emulation::registered(["qemu-aarch64", "qemu-riscv64"]);
        assert!(!refuses(&some, "linux/arm64", "linux/amd64"));
        assert!(!refuses(&some, "linux/riscv64", "linux/amd64"));
        assert!(refuses(&some, "linux/arm", "linux/amd64"));
        assert!(!refuses(&Emulation::default(), "linux/arm64", "linux/amd64"));
        for elsewhere in ["ssh://me@box", "unix:///home/me/.docker/desktop/docker.sock"] {
            assert!(
                !none.of_engine(elsewhere, "linux/amd64").refuses("linux/arm64"),
                "{elsewhere}"
            );
        }
    }
}
