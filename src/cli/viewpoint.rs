//! [`Viewpoint`]: places as the person at the terminal would name them.

use std::path::Path;

use crate::manifest::load::STANDARD_INPUT;
use crate::manifest::place::Place;

/// Where places are seen from.
#[derive(Clone, Copy, Debug)]
pub struct Viewpoint<'a> {
    /// The working directory.
    pub directory: &'a Path,
    /// The directory that relative files are relative to: that of the manifest.
    pub base: &'a Path,
}

impl<'a> Viewpoint<'a> {
    /// Makes a viewpoint for places whose files are absolute.
    pub fn of(directory: &'a Path) -> Self {
        Self {
            directory,
            base: directory,
        }
    }

    /// Returns a place as seen from the working directory when it lies below it.
    pub fn see(self, place: &Place) -> Place {
        if place.file == Path::new(STANDARD_INPUT) {
            return place.clone();
        }
        let absolute = Place {
            file: self.base.join(&place.file),
            ..place.clone()
        };
        absolute.seen_from(self.directory)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_named_as_the_person_would() {
        let viewpoint = Viewpoint {
            directory: Path::new("/srv/demo"),
            base: Path::new("/srv/demo/.aishell"),
        };
        for (file, expected) in [
            ("manifest.yaml", ".aishell/manifest.yaml"),
            ("/srv/demo/base.yaml", "base.yaml"),
            ("/etc/base.yaml", "/etc/base.yaml"),
            ("-", "-"),
        ] {
            let place = Place {
                file: file.into(),
                line: 1,
                column: 1,
            };
            assert_eq!(viewpoint.see(&place).file, Path::new(expected));
        }
    }
}
