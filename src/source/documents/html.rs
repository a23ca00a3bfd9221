//! HTML: the text that a browser shows, from the tokens of the page. Blocks are paragraphs, cells are separated by tabs.
//!
//! Tokens suffice, so there is no tree whose depth or size a page could blow up. Not read: scripts, styles, and texts
//! that scripts would write.

use std::cell::RefCell;

use encoding_rs::Encoding;
use html5ever::tendril::StrTendril;
use html5ever::tokenizer::states::RawKind;
use html5ever::tokenizer::{BufferQueue, TagKind, Token, TokenSink, TokenSinkResult, Tokenizer, TokenizerOpts};

use super::content::{Content, Prose, named};
use super::plain::decoded;

/// Where a page declares its encoding, in bytes from its start.
const DECLARATION: usize = 1024;
const PIECE: usize = 64 << 10;
const HIDDEN: [&str; 7] = ["script", "style", "template", "noscript", "svg", "iframe", "head"];
const LINES: [&str; 7] = ["br", "tr", "li", "dt", "dd", "option", "caption"];
const BLOCKS: [&str; 32] = [
    "address",
    "article",
    "aside",
    "blockquote",
    "body",
    "center",
    "details",
    "dialog",
    "div",
    "dl",
    "fieldset",
    "figcaption",
    "figure",
    "footer",
    "form",
    "h1",
    "h2",
    "h3",
    "h4",
    "h5",
    "h6",
    "header",
    "hr",
    "main",
    "nav",
    "ol",
    "p",
    "pre",
    "section",
    "summary",
    "table",
    "ul",
];

pub(super) fn read(bytes: &[u8], label: Option<&str>) -> Result<Content, String> {
    let declared = declared(&bytes[..bytes.len().min(DECLARATION)]);
    let text = decoded(bytes, declared.map(Encoding::name).or(label))?;
    page(&text)
}

pub(super) fn page(text: &str) -> Result<Content, String> {
    let tokenizer = Tokenizer::new(Sink::default(), TokenizerOpts::default());
    let input = BufferQueue::default();
    // Pieces, so that the input is not copied as a whole.
    let mut rest = text;
    while !rest.is_empty() {
        let (piece, after) = rest.split_at(rest.ceil_char_boundary(PIECE));
        input.push_back(StrTendril::from(piece));
        rest = after;
        // It waits only for sinks that run scripts.
        let _ = tokenizer.feed(&input);
    }
    tokenizer.end();
    let state = tokenizer.sink.0.into_inner();
    state.failed.map_or(Ok(()), Err)?;
    Ok(Content { title: named(&state.title), text: state.prose.end().0, pages: None, modified: None })
}

#[derive(Default)]
struct Sink(RefCell<State>);

#[derive(Default)]
struct State {
    prose: Prose,
    title: String,
    in_title: bool,
    in_pre: bool,
    /// The hidden element that is open, and how many of its kind.
    hidden: Option<(String, usize)>,
    failed: Option<String>,
}

impl TokenSink for Sink {
    type Handle = ();

    fn process_token(&self, token: Token, _: u64) -> TokenSinkResult<()> {
        let mut state = self.0.borrow_mut();
        match token {
            Token::CharacterTokens(text) => state.text(&text),
            Token::TagToken(tag) => {
                let starts = tag.kind == TagKind::StartTag;
                state.tag(&tag.name, starts, tag.self_closing);
                if starts && !tag.self_closing {
                    match &*tag.name {
                        "script" => return TokenSinkResult::RawData(RawKind::ScriptData),
                        "style" | "iframe" | "noscript" => return TokenSinkResult::RawData(RawKind::Rawtext),
                        "title" | "textarea" => return TokenSinkResult::RawData(RawKind::Rcdata),
                        _ => {}
                    }
                }
            }
            _ => {}
        }
        TokenSinkResult::Continue
    }
}

impl State {
    fn text(&mut self, text: &str) {
        let done = match self {
            State { failed: Some(_), .. } => return,
            State { in_title: true, .. } => {
                self.title.push_str(text);
                return;
            }
            State { hidden: Some(_), .. } => return,
            State { in_pre: true, .. } => self.prose.push(text),
            _ => self.prose.push_words(text),
        };
        self.failed = done.err();
    }

    fn tag(&mut self, name: &str, starts: bool, closes_itself: bool) {
        if name == "title" && !matches!(&self.hidden, Some((hidden, _)) if hidden != "head") {
            self.in_title = starts && !closes_itself && self.title.is_empty();
            return;
        }
        if let Some((hidden, open)) = &mut self.hidden {
            match starts {
                // A body begins even if its head does not end.
                true if hidden == "head" && name == "body" => self.hidden = None,
                true if hidden == name && !closes_itself => *open += 1,
                false if hidden == name && *open == 1 => self.hidden = None,
                false if hidden == name => *open -= 1,
                _ => {}
            }
            return;
        }
        match name {
            _ if HIDDEN.contains(&name) && starts && !closes_itself => self.hidden = Some((name.to_owned(), 1)),
            _ if HIDDEN.contains(&name) => {}
            "br" => self.prose.line_break(),
            "td" | "th" if starts => self.prose.open_cell(),
            "td" | "th" => self.prose.cell(),
            _ if LINES.contains(&name) => self.prose.line(),
            _ if BLOCKS.contains(&name) => {
                self.prose.paragraph();
                if name == "pre" {
                    self.in_pre = starts;
                }
            }
            _ => {}
        }
    }
}

/// The encoding that `<meta charset>` or an XML declaration names.
fn declared(start: &[u8]) -> Option<&'static Encoding> {
    let start = String::from_utf8_lossy(start).to_ascii_lowercase();
    let after = ["charset=", "encoding="].iter().find_map(|key| start.split_once(key))?.1;
    let label = after.trim_start_matches(['"', '\'', ' ']).split(['"', '\'', ' ', ';', '>', '/', '?']).next()?;
    Encoding::for_label(label.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_paragraphs_and_scripts_are_not_text() {
        let page = "<!doctype html><html><head><meta charset=iso-8859-1><title>A &amp; B</title>\
            <style>p { color: red }</style></head><body><script>if (a < b) alert('<p>no</p>')</script>\
            <h1>Head</h1><p>One\n  <b>two</b>&nbsp;&eacute;<br>three<ul><li>x<li>y</ul>\
            <table><tr><td>1<td>2</td></tr><tr><td>3</td><td>4</td></tr></table><pre>a\n  b</pre><!-- no --></body>";
        let bytes: Vec<u8> = page.chars().map(|c| c as u8).chain([b' ', 0xe9]).collect();
        let found = read(&bytes, None).unwrap();
        assert_eq!(found.title.as_deref(), Some("A & B"));
        assert_eq!(found.text, "Head\n\nOne two\u{a0}é\nthree\n\nx\ny\n\n1\t2\n3\t4\n\na\n  b\n\né");
    }

    #[test]
    fn a_hostile_page_ends_soon() {
        let deep = format!("{}x{}", "<div>".repeat(100_000), "</div>".repeat(100_000));
        assert_eq!(page(&deep).unwrap().text, "x");
        assert_eq!(page("<title>a<b</title>c").unwrap().text, "c");
        assert_eq!(page(&"<".repeat(100_000)).unwrap().pages, None);
        assert!(page(&"x".repeat(17 << 20)).unwrap_err().contains("larger than"));
    }
}
