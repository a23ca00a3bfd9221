//! A page of the book as Markdown: its headings, links and code blocks. Knows no program.

use std::collections::BTreeMap;
use std::ops::Range;

use pulldown_cmark::{CodeBlockKind, Event, Options, Parser, Tag, TagEnd};

/// What a page holds, in its order.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Piece {
    /// A comment of HTML, without its marks. Readers of the built book do not see it.
    Comment(String),
    /// A code block with the first word after its fence, and the place of its text on the page.
    Code { language: String, text: String, range: Range<usize> },
}

#[derive(Debug, Default)]
pub(crate) struct Page {
    pub(crate) pieces: Vec<Piece>,
    /// The ids of the headings, as mdBook and code hosts make them.
    pub(crate) anchors: Vec<String>,
    pub(crate) links: Vec<String>,
    /// Code inside of sentences.
    pub(crate) inline: Vec<String>,
    pub(crate) title: String,
}

impl Page {
    pub(crate) fn of(text: &str) -> Page {
        let mut page = Page::default();
        let mut seen = BTreeMap::new();
        let (mut heading, mut code) = (None::<String>, None::<(String, String, Range<usize>)>);
        for (event, range) in Parser::new_ext(text, Options::ENABLE_TABLES).into_offset_iter() {
            match event {
                Event::Start(Tag::Heading { .. }) => heading = Some(String::new()),
                Event::End(TagEnd::Heading(_)) => {
                    let text = heading.take().unwrap_or_default();
                    page.anchors.push(anchor(&text, &mut seen));
                    if page.title.is_empty() {
                        page.title = text;
                    }
                }
                Event::Start(Tag::Link { dest_url, .. } | Tag::Image { dest_url, .. }) => {
                    page.links.push(dest_url.into_string());
                }
                Event::Start(Tag::CodeBlock(kind)) => {
                    let language = match kind {
                        CodeBlockKind::Fenced(info) => info.split([',', ' ']).next().unwrap_or_default().to_owned(),
                        CodeBlockKind::Indented => String::new(),
                    };
                    code = Some((language, String::new(), 0..0));
                }
                Event::End(TagEnd::CodeBlock) => {
                    let (language, text, range) = code.take().unwrap_or_default();
                    page.pieces.push(Piece::Code { language, text, range });
                }
                Event::Html(html) | Event::InlineHtml(html) => page.html(&html),
                Event::Text(ref text) | Event::Code(ref text) => {
                    if matches!(event, Event::Code(_)) {
                        page.inline.push(text.to_string());
                    }
                    if let Some((_, code, place)) = &mut code {
                        *place = if code.is_empty() { range } else { place.start..range.end };
                        code.push_str(text);
                    } else if let Some(heading) = &mut heading {
                        heading.push_str(text);
                    }
                }
                _ => {}
            }
        }
        page
    }

    /// The parser reports each line of a comment.
    fn html(&mut self, line: &str) {
        match self.pieces.last_mut() {
            Some(Piece::Comment(text)) if !text.ends_with("-->") => text.push_str(line),
            _ => self.pieces.push(Piece::Comment(line.trim_start().to_owned())),
        }
        if let Some(Piece::Comment(text)) = self.pieces.last_mut()
            && text.trim_end().ends_with("-->")
        {
            *text = text.trim_end().to_owned();
        }
    }

    /// The comments and the code blocks, with the marks of comments removed.
    pub(crate) fn into_pieces(self) -> Vec<Piece> {
        let plain = |piece| match piece {
            Piece::Comment(text) => {
                let inner = text.trim_start_matches("<!--").trim_end_matches("-->");
                Piece::Comment(inner.trim_start().trim_end_matches(' ').to_owned())
            }
            code => code,
        };
        self.pieces.into_iter().map(plain).collect()
    }
}

/// The id of a heading; a number tells equal ones apart.
fn anchor(heading: &str, seen: &mut BTreeMap<String, usize>) -> String {
    let kept = heading.trim().to_lowercase();
    let id: String = kept
        .chars()
        .filter(|c| c.is_alphanumeric() || matches!(c, '_' | '-' | ' '))
        .map(|c| if c == ' ' { '-' } else { c })
        .collect();
    let count = seen.entry(id.clone()).or_insert(0);
    *count += 1;
    if *count == 1 { id } else { format!("{id}-{}", *count - 1) }
}

#[test]
fn a_page_has_headings_links_and_code() {
    let page = Page::of(
        "# A *b* `c`\n\n<!-- file a.csv\nid\n1\n-->\n\n```sh,x\nls\n```\n\n## A\n## A\n[to](b.md#c) ![p](d.png)\n<!-- x -->\n",
    );
    assert_eq!((page.title.as_str(), page.links.len()), ("A b c", 2));
    assert_eq!(page.anchors, ["a-b-c", "a", "a-1"]);
    let code = Piece::Code { language: "sh".to_owned(), text: "ls\n".to_owned(), range: 47..50 };
    let comments = [Piece::Comment("file a.csv\nid\n1\n".to_owned()), Piece::Comment("x".to_owned())];
    assert_eq!(page.into_pieces(), [comments[0].clone(), code, comments[1].clone()]);
}
