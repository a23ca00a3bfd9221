//! Text and Markdown: the text exactly as written, decoded by its byte order mark, else by the declared encoding.

use encoding_rs::{Encoding, UTF_8};

use super::content::{Content, MOST_TEXT, named};
use crate::table::PAGE_END;

pub(super) fn text(bytes: &[u8], label: Option<&str>) -> Result<Content, String> {
    let text = decoded(bytes, label)?;
    if text.len() > MOST_TEXT {
        return Err(format!("its text is larger than {} MiB", MOST_TEXT >> 20));
    }
    if text.contains('\0') {
        return Err("it contains NUL bytes, so it is not text".to_owned());
    }
    let ends = text.matches(PAGE_END).count() as u64;
    Ok(Content { pages: (ends > 0).then_some(ends + 1), text, ..Content::default() })
}

/// Markdown as written; its title is its first heading.
pub(super) fn markdown(bytes: &[u8], label: Option<&str>) -> Result<Content, String> {
    let content = text(bytes, label)?;
    let mut fence = None;
    let title = content.text.lines().find_map(|line| {
        // In a block of code it begins a comment.
        let mark = ["```", "~~~"].into_iter().find(|mark| line.trim_start().starts_with(mark));
        if mark.is_some() && (fence.is_none() || fence == mark) {
            fence = if fence.is_none() { mark } else { None };
        }
        named(line.strip_prefix("# ").filter(|_| fence.is_none())?)
    });
    Ok(Content { title, ..content })
}

/// The text of `bytes`: the encoding is that of the byte order mark, else `label`, else strict UTF-8.
pub(super) fn decoded(bytes: &[u8], label: Option<&str>) -> Result<String, String> {
    let declared = label.and_then(|label| Encoding::for_label(label.as_bytes())).unwrap_or(UTF_8);
    let (encoding, mark) = Encoding::for_bom(bytes).unwrap_or((declared, 0));
    let text = encoding.decode_without_bom_handling_and_without_replacement(&bytes[mark..]);
    text.map(|text| text.into_owned()).ok_or_else(|| match encoding == UTF_8 {
        true => "it is not valid UTF-8; if it is from an older Windows program, set encoding = \"windows-1252\"".into(),
        false => format!("it is not valid {}", encoding.name()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_byte_order_mark_goes_before_the_declared_encoding() {
        let cases: [(&[u8], Option<&str>, &str); 5] = [
            (b"\xef\xbb\xbfa\xc3\xa9", Some("windows-1252"), "aé"),
            (b"\xff\xfea\0\xe9\0", None, "aé"),
            (b"\xfe\xff\0a\0\xe9", None, "aé"),
            (b"a\xe9", Some("windows-1252"), "aé"),
            (b"a\xc3\xa9\r\n", None, "aé\r\n"),
        ];
        for (bytes, label, expected) in cases {
            assert_eq!(text(bytes, label).unwrap().text, expected);
        }
        assert!(text(b"a\xe9", None).unwrap_err().contains("windows-1252"));
        assert!(text(b"a\0b", None).unwrap_err().contains("NUL"));
        let code = markdown(b"```sh\n# a comment\n~~~\n```\n# The title\n", None).unwrap();
        assert_eq!(code.title.as_deref(), Some("The title"));
        let found = markdown(b"intro\n#  The title \n\x0cnext", None).unwrap();
        assert_eq!((found.title.as_deref(), found.pages), (Some("The title"), Some(2)));
    }
}
