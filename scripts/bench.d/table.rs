//! Results, for people and as JSON.

use std::fmt::Write as _;

use serde::Serialize;

/// One figure beside what it is compared with.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Row {
    pub case: String,
    pub what: String,
    /// What was measured, in `unit`.
    pub value: f64,
    pub unit: &'static str,
    /// The least that it could be, in the same unit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub floor: Option<f64>,
    /// The median of the ratios to the floor, round by round.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ratio: Option<f64>,
    /// The same by Compose, in the same unit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub compose: Option<f64>,
    pub goal: String,
    pub reached: bool,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

/// Lays results out as a table in Markdown, which reads well enough without being rendered.
pub fn markdown(rows: &[Row]) -> String {
    let mut lines = vec![["", "what", "aishell", "floor", "ratio", "Compose", "goal", ""].map(str::to_owned)];
    for row in rows {
        let number = |value: f64| match row.unit {
            "s" | "MB" => format!("{value:.2} {}", row.unit),
            "ms" => format!("{value:.1} ms"),
            unit => format!("{value} {unit}").trim_end().to_owned(),
        };
        lines.push([
            row.case.clone(),
            row.what.clone(),
            number(row.value),
            row.floor.map_or("–".to_owned(), number),
            row.ratio.map_or("–".to_owned(), |ratio| format!("{ratio:.2}")),
            row.compose.map_or("–".to_owned(), number),
            row.goal.clone(),
            if row.reached { "reached" } else { "NOT REACHED" }.to_owned(),
        ]);
    }
    let width = |column: usize| {
        let widths = lines.iter().map(|line| line[column].chars().count());
        widths.max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..8).map(width).collect();
    let mut table = String::new();
    for (index, line) in lines.iter().enumerate() {
        for (cell, width) in line.iter().zip(&widths) {
            // Writing to a String cannot fail.
            let _ = write!(table, "| {cell:width$} ");
        }
        table.push_str("|\n");
        if index == 0 {
            for width in &widths {
                let _ = write!(table, "|{:-<1$}", "", width + 2);
            }
            table.push_str("|\n");
        }
    }
    table
}
