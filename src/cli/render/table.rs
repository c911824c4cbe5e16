//! Tables: aligned columns with a header, for people and for `awk`.

use unicode_width::UnicodeWidthStr as _;

use super::super::output::{Tone, clean};

/// A cell with the tone it is shown in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cell {
    text: String,
    tone: Tone,
}

impl Cell {
    /// Makes a cell of text that anybody may have written.
    pub fn new(text: impl AsRef<str>, tone: Tone) -> Self {
        Self {
            text: clean(text.as_ref()),
            tone,
        }
    }

    /// Makes a cell without a tone; nothing is shown as `-`, so that columns can be counted.
    pub fn plain(text: impl AsRef<str>) -> Self {
        let text = if text.as_ref().is_empty() {
            "-"
        } else {
            text.as_ref()
        };
        Self::new(text, Tone::Plain)
    }
}

/// Returns rows under a header, columns aligned, nothing cut off.
pub fn table(header: &[&str], rows: &[Vec<Cell>]) -> String {
    let mut widths: Vec<usize> = header.iter().map(|title| title.width()).collect();
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.text.width());
        }
    }
    let header: Vec<Cell> = header.iter().map(|title| Cell::new(title, Tone::Faint)).collect();
    let mut text = String::new();
    for row in std::iter::once(&header).chain(rows) {
        let mut line = String::new();
        for (index, (cell, width)) in row.iter().zip(&widths).enumerate() {
            line.push_str(&cell.tone.paint(&cell.text));
            // Nothing follows the last cell that it would have to be aligned with.
            if index + 1 < row.len() {
                line.push_str(&" ".repeat(width.saturating_sub(cell.text.width()) + 3));
            }
        }
        text.push_str(&line);
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_what_they_hold() {
        let rows = [
            vec![
                Cell::plain("api"),
                Cell::new("running", Tone::Good),
                Cell::plain(""),
            ],
            vec![
                Cell::plain("a-longer-name"),
                Cell::plain("exited (1)"),
                Cell::plain("claude"),
            ],
        ];
        let text = table(&["NAME", "STATE", "HARNESS"], &rows);
        insta::assert_snapshot!(anstream::adapter::strip_str(&text), @r"
        NAME            STATE        HARNESS
        api             running      -
        a-longer-name   exited (1)   claude
        ");
    }
}
