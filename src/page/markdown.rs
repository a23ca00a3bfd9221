//! Markdown: a short form of a page for pull requests, without charts.
//!
//! Texts are escaped: they make no link, no image, no HTML and no mention.

use super::content::{Block, CheckMark, Grid, Page};
use super::format::{long_text, shown};
use crate::output::{escaped, fence};
use crate::report::text::{cut, number, printable};

/// The first line of a page.
pub(super) const START: &str = "<!-- fanfold report -->";
/// The most rows of a table.
const ROWS: usize = 20;
/// The most characters of a cell.
const CELL: usize = 200;

/// With `is_short`, folded blocks and the numbers of curves are left out.
pub(super) fn markdown(page: &Page, is_short: bool) -> String {
    let mut out = vec![START.to_owned(), format!("# {}", plain(&page.title)), plain(&page.lead)];
    out.extend(page.notices.iter().map(|notice| format!("> **Note.** {}", plain(notice))));
    let mut writer = Writer { out, is_short };
    for section in &page.sections {
        writer.out.push(format!("## {}", plain(&section.title)));
        let empty = writer.out.len();
        writer.blocks(&section.blocks, 3);
        if writer.out.len() == empty {
            writer.out.pop();
        }
    }
    writer.out.join("\n\n") + "\n"
}

struct Writer {
    /// Blocks of Markdown, with an empty line between them.
    out: Vec<String>,
    is_short: bool,
}

impl Writer {
    fn blocks(&mut self, blocks: &[Block], level: usize) {
        blocks.iter().for_each(|block| self.block(block, level));
    }

    fn block(&mut self, block: &Block, level: usize) {
        match block {
            Block::Text { text } => self.out.push(plain(text)),
            // Only a chart shows these.
            Block::Figure(figure) if self.is_short && figure.chart.is_curve() => {}
            Block::Figure(figure) => {
                self.table(&figure.title, &figure.numbers);
                self.out.extend(figure.note.iter().map(|note| plain(note)));
            }
            Block::Table { title, table } => self.table(title, table),
            Block::Group { title, blocks } => {
                self.out.push(format!("{} {}", "#".repeat(level.min(6)), plain(title)));
                self.blocks(blocks, level + 1);
            }
            Block::Fold { .. } if self.is_short => {}
            Block::Data(_) => self.out.push("The rows are in the HTML form of this report.".to_owned()),
            Block::Fold { title, blocks } => {
                self.out.push(format!("**{}**", plain(title)));
                self.blocks(blocks, level);
            }
            Block::Code { title, text } => {
                let text = long_text(text);
                let fence = fence(&text);
                self.out.push(format!("{}:", plain(title)));
                self.out.push(format!("{fence}text\n{text}\n{fence}"));
            }
            Block::Marked { parts } => {
                let part = |(text, is_marked): &(String, bool)| {
                    let inner = plain(text);
                    let space = |has: bool| if has { " " } else { "" };
                    let (before, after) = (text.starts_with(char::is_whitespace), text.ends_with(char::is_whitespace));
                    let inner = if *is_marked { format!("**{inner}**") } else { inner };
                    format!("{}{inner}{}", space(before), space(after))
                };
                self.out.push(parts.iter().map(part).collect::<String>().trim().to_owned());
            }
            Block::Checks { items } => {
                let line = |item: &super::content::Check| {
                    let mark = match item.mark {
                        CheckMark::Ok => "✓",
                        CheckMark::Failed => "✗",
                        CheckMark::Open => "○",
                    };
                    format!("- {mark} **{}** {}", plain(&item.label), plain(&item.text))
                };
                self.out.push(items.iter().map(line).collect::<Vec<_>>().join("\n"));
            }
        }
    }

    fn table(&mut self, title: &str, grid: &Grid) {
        let grid = &grid.without_empty_columns();
        let line = |cells: Vec<String>| format!("| {} |", cells.join(" | "));
        let rule = (0..grid.columns.len()).map(|column| if grid.is_numeric(column) { "---:" } else { "---" });
        let mut lines =
            vec![line(grid.columns.iter().map(|name| cell(name)).collect()), line(rule.map(str::to_owned).collect())];
        lines
            .extend(grid.rows.iter().take(ROWS).map(|row| line(row.iter().map(|value| cell(&shown(value))).collect())));
        self.out.push(format!("**{}**", plain(title)));
        self.out.push(lines.join("\n"));
        if grid.rows.len() > ROWS {
            let (most, all) = (number(ROWS as u64), number(grid.rows.len() as u64));
            self.out.push(format!("The first {most} of {all} rows."));
        }
    }
}

fn cell(text: &str) -> String {
    plain(&cut(text, CELL))
}

/// A text on one line in which nothing is Markdown or HTML. A text that a web site would turn into a link or a mention is
/// code.
fn plain(text: &str) -> String {
    let text = printable(text);
    if !is_linked(&text) {
        return escaped(&text);
    }
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let longest = line.split(|c| c != '`').map(str::len).max().unwrap_or(0);
    let ticks = "`".repeat(longest + 1);
    // A table ends a cell at a bar even in code.
    format!("{ticks} {} {ticks}", line.replace('|', "\\|"))
}

/// Whether a web site such as GitHub turns a part of the text into a link.
fn is_linked(text: &str) -> bool {
    let lower = text.to_lowercase();
    let is_issue = |at: usize| lower[at + 1..].starts_with(|c: char| c.is_ascii_digit());
    ["@", "://", "www.", "mailto:", "xmpp:", "gh-"].iter().any(|mark| lower.contains(mark))
        || lower.match_indices('#').any(|(at, _)| is_issue(at))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn hostile_text_makes_no_markup() {
        let cases = [
            ("<img src=x onerror=alert(1)>", "\\<img src=x onerror=alert(1)\\>"),
            ("[a](b) ![c](d)", "\\[a\\](b) \\!\\[c\\](d)"),
            ("a | b\n# c", "a \\| b \\# c"),
            ("see https://evil.example", "` see https://evil.example `"),
            ("WWW.evil.example | x", "` WWW.evil.example \\| x `"),
            ("`@team`", "`` `@team` ``"),
            ("fixes #12", "` fixes #12 `"),
        ];
        for (text, expected) in cases {
            assert_eq!(plain(text), expected);
        }
    }

    #[test]
    fn tables_are_cut_and_say_so() {
        let rows = (0..30).map(|n| vec![json!("a|b"), json!(f64::from(n) / 3.0)]).collect();
        let table = Block::Table { title: "T".to_owned(), table: Grid::new(&["name", "n"], rows) };
        let mut writer = Writer { out: Vec::new(), is_short: true };
        writer.block(&table, 3);
        let lines: Vec<&str> = writer.out[1].lines().collect();
        assert_eq!(lines[..4], ["| name | n |", "| --- | ---: |", "| a\\|b | 0 |", "| a\\|b | 0.333 |"]);
        assert_eq!((lines.len(), writer.out[2].as_str()), (22, "The first 20 of 30 rows."));
    }
}
