//! The report page: what a run did and what it found, for people to look at.
//!
//! ```text
//!  Subject (plan, folder and manifest of a run)
//!     |  sections: one file each, and the views of every stage
//!  Page (titles, text, figures, tables: data only)
//!     |------------------|------------------|
//!   html               markdown           JSON
//! ```
//!
//! [`content`] has the types of a page. A figure is a [`chart::Chart`] with its numbers; `chart` draws it as SVG. `views`
//! computes what a stage shows from its table, `calls` reads the calls table once, and `data` finds rows of outputs.

mod calls;
mod chart;
mod content;
mod data;
mod format;
mod html;
mod markdown;
mod sections;
mod subject;
mod views;

pub(crate) use content::Page;
pub(crate) use data::{Search, rows};
pub(crate) use html::Served;
pub(crate) use subject::Subject;

use content::Section;
use serde_json::{Value, json};

/// The first bytes of a file that show that it is a page.
const HEAD_BYTES: usize = 1000;
const GENERATOR: &str = "fanfold report";

/// The page about a run. A section that can't be made becomes a notice. The error is a sentence.
pub(crate) fn page(subject: &Subject<'_>) -> Result<Page, String> {
    let (mut sections, mut notices) = (Vec::new(), sections::notices(subject));
    let mut add = |made: Result<Vec<Section>, String>| match made {
        Ok(made) => sections.extend(made),
        Err(why) => notices.push(format!("A section is left out: {}.", why.trim_end_matches('.'))),
    };
    let made = |make: &sections::Make| make(subject).map(|section| section.into_iter().collect());
    sections::FIRST.iter().for_each(|make| add(made(make)));
    add(if subject.is_current { views::sections(subject) } else { Ok(Vec::new()) });
    sections::SECTIONS.iter().for_each(|make| add(made(make)));
    Ok(Page { title: subject.manifest.pipeline.clone(), lead: sections::lead(subject), notices, sections })
}

/// Whether a file is a page in one of its formats, so that a new page may replace it.
pub(crate) fn is_page(file: &[u8]) -> bool {
    let head = String::from_utf8_lossy(&file[..file.len().min(HEAD_BYTES)]);
    let html = format!("<meta name=\"generator\" content=\"{GENERATOR}");
    let json = format!("\"generator\": \"{GENERATOR}\"");
    head.starts_with(markdown::START)
        || head.starts_with("<!doctype html>") && head.contains(&html)
        || head.starts_with('{') && head.contains(&json)
}

impl Page {
    /// A page that only says this.
    pub(crate) fn message(title: &str, text: &str) -> Page {
        Page { title: title.to_owned(), lead: text.to_owned(), notices: Vec::new(), sections: Vec::new() }
    }

    /// One HTML file that needs no other file and no network.
    pub(crate) fn html(&self) -> Result<String, String> {
        html::html(self, None)
    }

    /// The page with what a server adds to it.
    pub(crate) fn served(&self, served: &Served) -> Result<String, String> {
        html::html(self, Some(served))
    }

    /// Markdown without charts. The short form has no folded blocks.
    pub(crate) fn markdown(&self, is_short: bool) -> String {
        markdown::markdown(self, is_short)
    }

    pub(crate) fn json(&self) -> String {
        let mut page = json!({ "schema_version": 1, "generator": GENERATOR });
        if let (Value::Object(page), Ok(Value::Object(content))) = (&mut page, serde_json::to_value(self)) {
            page.extend(content);
        }
        serde_json::to_string_pretty(&page).unwrap_or_default() + "\n"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_known_by_its_head() {
        let page = Page { title: "t".into(), lead: String::new(), notices: Vec::new(), sections: Vec::new() };
        let html = page.html().expect("HTML");
        for file in [html.as_str(), &page.markdown(true), &page.json()] {
            assert!(is_page(file.as_bytes()), "{file}");
        }
        for other in
            ["", "# fanfold report\n", "{ \"generator\": \"x\" }", "a,b\nfanfold report,1\n", "<!doctype html>"]
        {
            assert!(!is_page(other.as_bytes()), "{other}");
        }
    }
}
