//! Why a step failed, as people read it.

use super::Style;
use crate::cli::output::{Tone, clean};
use crate::report::Failure;

/// Lines of output that are shown of what failed.
const LAST_LINES: usize = 40;

impl Style<'_> {
    /// Returns why a step failed, with the end of its output.
    pub(super) fn failure(self, error: &Failure) -> String {
        let mut lines: Vec<String> = error
            .message
            .lines()
            .enumerate()
            .map(|(index, line)| {
                let label = if index == 0 {
                    Tone::Bad.paint("error:")
                } else {
                    "      ".to_owned()
                };
                format!("      {label} {}\n", clean(line))
            })
            .collect();
        lines.extend(error.at.as_ref().map(|place| {
            let place = self.viewpoint.see(place);
            let place = clean(&format!("{}:{}", place.file.display(), place.line));
            format!("      {} {place}\n", Tone::Faint.paint("-->"))
        }));
        let bar = Tone::Faint.paint(self.signs().bar);
        let earlier = error.log.len().saturating_sub(LAST_LINES);
        if earlier > 0 {
            lines.push(format!(
                "      {bar} ({earlier} lines before these: -o json has them)\n"
            ));
        }
        lines.extend(
            error
                .log
                .iter()
                .skip(earlier)
                .map(|line| format!("      {bar} {}\n", clean(line))),
        );
        let hint = error.hint.as_ref();
        lines.extend(hint.map(|hint| format!("      {} {}\n", Tone::Change.paint("hint:"), clean(hint))));
        lines.concat()
    }
}
