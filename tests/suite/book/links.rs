//! The links of the README and the book: files, headings, and the table of contents. Nothing outside of the project is
//! asked.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Component, Path, PathBuf};

use super::markdown::Page;
use super::{page, pages};

/// The path without `.` and `..`.
fn plain(path: &Path) -> PathBuf {
    path.components().fold(PathBuf::new(), |mut plain, part| {
        match part {
            Component::ParentDir => drop(plain.pop()),
            Component::CurDir => {}
            part => plain.push(part),
        }
        plain
    })
}

/// What is wrong with the links of `path`.
fn broken(path: &str, pages: &BTreeMap<String, Page>) -> Vec<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let in_book = path.starts_with("docs/src/");
    let mut broken = Vec::new();
    for link in &pages[path].links {
        let outside = ["https://", "http://", "mailto:"].iter().any(|scheme| link.starts_with(scheme));
        let (file, anchor) = link.split_once('#').unwrap_or((link, ""));
        let target = match file {
            "" => path.to_owned(),
            file => plain(&Path::new(path).parent().expect("a folder").join(file)).display().to_string(),
        };
        // A link from the built book to a file outside of `docs/src` leads nowhere.
        let reached = root.join(&target).exists() && (!in_book || target.starts_with("docs/src/"));
        let headed =
            anchor.is_empty() || pages.get(&target).is_some_and(|page| page.anchors.iter().any(|a| a == anchor));
        if !(outside || reached && headed) {
            broken.push(format!("{path}: {link}"));
        }
    }
    broken
}

#[test]
fn every_link_leads_to_a_file_and_a_heading() {
    let pages: BTreeMap<String, Page> =
        pages().into_iter().map(|path| (path.clone(), Page::of(&page(&path)))).collect();
    let found: Vec<String> = pages.keys().flat_map(|path| broken(path, &pages)).collect();
    assert!(found.is_empty(), "{found:#?}");
    assert!(pages.values().map(|page| page.links.len()).sum::<usize>() > 60, "the links are read");
    let mut wrong =
        BTreeMap::from([("docs/src/cite.md".to_owned(), Page::of("# A\n[a](#b) [b](no.md) [c](../../README.md)"))]);
    wrong.insert("docs/src/b.md".to_owned(), Page::of("# B"));
    assert_eq!(broken("docs/src/cite.md", &wrong).len(), 3);
}

#[test]
fn the_readme_is_short() {
    let lines = page("README.md").lines().count();
    assert!(lines <= 200, "{lines} lines: put the rest into the book");
}

#[test]
fn the_contents_list_every_page_once_with_its_title() {
    let contents = page("docs/src/SUMMARY.md");
    let entries =
        contents.lines().filter_map(|line| line.trim().strip_prefix("- [")?.strip_suffix(')')?.split_once("]("));
    let entries: Vec<(&str, &str)> = entries.collect();
    for (title, path) in &entries {
        assert_eq!(*title, Page::of(&page(&format!("docs/src/{path}"))).title, "{path}");
    }
    let listed: BTreeSet<String> = entries.iter().map(|(_, path)| format!("docs/src/{path}")).collect();
    let there = pages().into_iter().filter(|path| !["README.md", "docs/src/SUMMARY.md"].contains(&path.as_str()));
    assert_eq!((listed.len(), listed), (entries.len(), there.collect()));
}
