//! The page: everything in one file, and each plot in one of its own beside it.

use std::{fmt::Write as _, fs, path::Path};

use anyhow::Context as _;

use super::{Section, Table};

const STYLE: &str = "body{font:15px/1.5 sans-serif;max-width:960px;margin:2em auto;padding:0 1em;color:#222b36}\
h1{font-size:1.6em}h2{margin-top:2em;border-bottom:1px solid #d5dbe1}\
table{border-collapse:collapse;margin:1em 0}td,th{padding:.15em .8em;border-bottom:1px solid #e6eaee;text-align:right}\
td:first-child,th:first-child{text-align:left}.conditions{color:#5b6775;font-size:.92em}svg{max-width:100%;height:auto}";

/// Writes the page `index.html` and the plots into a directory.
///
/// # Errors
///
/// Something can't be written.
pub fn write(directory: &Path, facts: &Table, sections: &[Section]) -> anyhow::Result<()> {
    fs::create_dir_all(directory)
        .with_context(|| format!("cannot make {}", directory.display()))?;
    let store = |name: &str, text: &str| {
        let path = directory.join(name);
        fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))
    };
    for plot in sections.iter().flat_map(|section| &section.plots) {
        store(&format!("{}.svg", plot.name), &plot.svg)?;
    }
    store("index.html", &html(facts, sections))
}

fn html(facts: &Table, sections: &[Section]) -> String {
    let mut page = format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>redirector: measured</title>\
         <style>{STYLE}</style>\n<h1>redirector: measured against everything else</h1>\n"
    );
    page += &table(facts);
    for section in sections {
        // Writing to a string can't fail.
        let _ = write!(
            page,
            "<h2>{}</h2>\n<p class=\"conditions\">{}</p>\n",
            escaped(section.title),
            escaped(&section.conditions)
        );
        for plot in &section.plots {
            page += &plot.svg;
            page.push('\n');
        }
        for one in &section.tables {
            page += &table(one);
        }
        if !section.notes.is_empty() {
            page += "<ul>";
            for note in &section.notes {
                let _ = write!(page, "<li>{}</li>", escaped(note));
            }
            page += "</ul>\n";
        }
    }
    page += "</html>\n";
    page
}

fn table(table: &Table) -> String {
    let row = |cells: &[String], tag: &str| {
        let cells = cells.iter();
        let cells = cells.map(|cell| format!("<{tag}>{}</{tag}>", escaped(cell)));
        format!("<tr>{}</tr>\n", cells.collect::<String>())
    };
    let mut html = String::from("<table>\n");
    if table.head.iter().any(|name| !name.is_empty()) {
        html += &row(&table.head, "th");
    }
    for cells in &table.rows {
        html += &row(cells, "td");
    }
    html + "</table>\n"
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_machine_says_of_itself_is_no_markup() {
        let mut facts = Table::new(["", ""]);
        facts.add(["cpu".to_owned(), "<b>&</b>".to_owned()]);
        let page = html(&facts, &[]);
        assert!(page.contains("<td>&lt;b&gt;&amp;&lt;/b&gt;</td>"), "{page}");
    }
}
