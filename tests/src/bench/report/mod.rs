//! What was measured, for people: tables on the terminal, and a page with plots.
//!
//! | file | holds |
//! |---|---|
//! | `bars.rs` | bar charts |
//! | `lines.rs` | line charts |
//! | `page.rs` | the HTML page |

pub mod bars;
pub mod lines;
pub mod page;

/// A table. All rows have as many cells as the head.
#[derive(Clone, Debug, Default)]
pub struct Table {
    /// Names of the columns.
    pub head: Vec<String>,
    /// The cells.
    pub rows: Vec<Vec<String>>,
}

impl Table {
    /// An empty one with these columns.
    pub fn new<const N: usize>(head: [&str; N]) -> Self {
        Self {
            head: head.map(str::to_owned).to_vec(),
            rows: Vec::new(),
        }
    }

    /// Adds a row.
    pub fn add<const N: usize>(&mut self, cells: [String; N]) {
        self.rows.push(Vec::from(cells));
    }

    /// For the terminal: the first column to the left, the others to the right.
    pub fn text(&self) -> String {
        let all = || std::iter::once(&self.head).chain(&self.rows);
        let width = |column: usize| {
            let cells = all().filter_map(|row| row.get(column));
            cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..self.head.len()).map(width).collect();
        let mut text = String::new();
        for row in all() {
            for (column, (cell, width)) in row.iter().zip(&widths).enumerate() {
                if column == 0 {
                    text += &format!("{cell:width$}");
                } else {
                    text += &format!("  {cell:>width$}");
                }
            }
            text.truncate(text.trim_end().len());
            text.push('\n');
        }
        text
    }
}

/// A plot, and what its file is called.
#[derive(Clone, Debug)]
pub struct Plot {
    /// Without directory and extension.
    pub name: &'static str,
    /// The picture.
    pub svg: String,
}

/// One measurement.
#[derive(Clone, Debug)]
pub struct Section {
    /// Its title.
    pub title: &'static str,
    /// How it was measured, and on what: mode, MTU, offloads.
    pub conditions: String,
    /// Pictures.
    pub plots: Vec<Plot>,
    /// Figures.
    pub tables: Vec<Table>,
    /// What else there is to know, such as what could not be measured and why.
    pub notes: Vec<String>,
}

impl Section {
    /// For the terminal.
    pub fn text(&self) -> String {
        let mut text = format!("\n{}\n{}\n", self.title, "-".repeat(self.title.len()));
        text += &format!("{}\n", self.conditions);
        for table in &self.tables {
            text.push('\n');
            text += &table.text();
        }
        for note in &self.notes {
            text += &format!("* {note}\n");
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let mut table = Table::new(["what", "ns"]);
        table.add(["a longer name".to_owned(), "7".to_owned()]);
        table.add(["b".to_owned(), "1234".to_owned()]);
        let text = "what             ns\na longer name     7\nb              1234\n";
        assert_eq!(table.text(), text);
    }
}
