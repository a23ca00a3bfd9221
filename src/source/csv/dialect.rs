//! Dialects: the characters that divide the text of a CSV or TSV file into records and fields.

use crate::source::batches::SourceError;
use crate::source::settings::File;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Dialect {
    pub(crate) delimiter: u8,
    /// `None`: a quotation mark is a character like any other.
    pub(crate) quote: Option<u8>,
    pub(crate) escape: Option<u8>,
    pub(crate) comment: Option<u8>,
    /// The lines before the first record.
    pub(crate) skip_rows: u64,
}

impl Dialect {
    pub(crate) const CSV: Dialect =
        Dialect { delimiter: b',', quote: Some(b'"'), escape: None, comment: None, skip_rows: 0 };
    pub(crate) const TSV: Dialect = Dialect { delimiter: b'\t', quote: None, ..Dialect::CSV };

    /// The dialect with the settings of `file`; two of them may not be the same character.
    pub(crate) fn with(self, file: &File) -> Result<Dialect, SourceError> {
        let given = |field, text: &Option<String>| text.as_deref().map(|text| mark(field, text)).transpose();
        let quote = match file.quote.as_deref() {
            None => self.quote,
            Some("none") => None,
            Some(text) => Some(mark("quote", text)?),
        };
        let dialect = Dialect {
            delimiter: given("delimiter", &file.delimiter)?.unwrap_or(self.delimiter),
            quote,
            // A quote that escapes itself is a doubled quote.
            escape: given("escape", &file.escape)?.filter(|escape| Some(*escape) != quote),
            comment: given("comment", &file.comment)?,
            skip_rows: file.skip_rows.unwrap_or(0),
        };
        let marks = [
            ("delimiter", Some(dialect.delimiter)),
            ("quote", dialect.quote),
            ("escape", dialect.escape),
            ("comment", dialect.comment),
        ];
        for (i, (field, mark)) in marks.iter().enumerate() {
            if let Some((other, _)) = marks[..i].iter().find(|(_, other)| mark.is_some() && other == mark) {
                let both = shown(mark.unwrap_or_default());
                let message = format!("`{other}` and `{field}` are both {both}");
                return Err(SourceError::new(message).help("each needs its own character").at([*field]));
            }
        }
        Ok(dialect)
    }
}

/// The byte of a setting that is one character, such as `delimiter = ";"`.
fn mark(field: &str, text: &str) -> Result<u8, SourceError> {
    match text.as_bytes() {
        _ if field == "delimiter" && matches!(text, "tab" | "\\t") => Ok(b'\t'),
        [byte] if byte.is_ascii() && !byte.is_ascii_alphanumeric() && !matches!(byte, b'\r' | b'\n' | 0) => Ok(*byte),
        _ => {
            let help = match field {
                "delimiter" => r#"write for example ";", "|" or "\t""#,
                "quote" => r#"write "\"", "'" or "none""#,
                "escape" => r#"write "\\""#,
                _ => "write for example \"#\"",
            };
            let message = format!("`{field}` is {text:?}, but must be one ASCII character, not a letter or digit");
            Err(SourceError::new(message).help(help).at([field]))
        }
    }
}

/// A delimiter or quote for a sentence.
pub(crate) fn shown(mark: u8) -> String {
    match mark {
        b'\t' => "a tab".to_owned(),
        b' ' => "a space".to_owned(),
        mark => format!("`{}`", mark as char),
    }
}

/// A character as a setting of a spec, such as `";"`.
pub(crate) fn written(mark: u8) -> String {
    format!("{:?}", (mark as char).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(json: &str) -> File {
        serde_json::from_str(&format!(r#"{{"path": "a.csv", {json}}}"#)).unwrap()
    }

    #[test]
    fn settings_replace_the_defaults_of_the_format() {
        let read = |json: &str| Dialect::CSV.with(&file(json)).unwrap();
        assert_eq!(read(r#""skip_rows": 0"#), Dialect::CSV);
        assert_eq!(
            read(r#""delimiter": ";", "quote": "none""#),
            Dialect { delimiter: b';', quote: None, ..Dialect::CSV }
        );
        assert_eq!(read(r#""delimiter": "tab""#).delimiter, b'\t');
        assert_eq!(read(r#""escape": "\\""#).escape, Some(b'\\'));
        assert_eq!(read(r#""escape": "\"""#).escape, None);
        assert_eq!(Dialect::TSV.with(&file(r#""quote": "'""#)).unwrap().quote, Some(b'\''));
    }

    #[test]
    fn characters_that_can_not_be_are_refused() {
        let message = |json: &str| {
            let error = Dialect::CSV.with(&file(json)).map(drop).and(file(json).notation().map(drop)).unwrap_err();
            assert!(error.help.is_some());
            (error.message, error.field.concat())
        };
        let wanted = [
            (
                r#""delimiter": ";;""#,
                "delimiter",
                "`delimiter` is \";;\", but must be one ASCII character, not a letter or digit",
            ),
            (
                r#""delimiter": "§""#,
                "delimiter",
                "`delimiter` is \"§\", but must be one ASCII character, not a letter or digit",
            ),
            (r#""delimiter": "\"""#, "quote", "`delimiter` and `quote` are both `\"`"),
            (r#""comment": ",""#, "comment", "`delimiter` and `comment` are both `,`"),
            (r#""quote": """#, "quote", "`quote` is \"\", but must be one ASCII character, not a letter or digit"),
            (r#""decimal": ";""#, "decimal", "`decimal` is \";\""),
            (r#""thousands": "1""#, "thousands", "`thousands` is \"1\", but must be one character"),
            (r#""thousands": ".""#, "thousands", "`thousands` and the decimal mark are both `.`"),
        ];
        for (json, field, text) in wanted {
            assert_eq!(message(json), (text.to_owned(), field.to_owned()));
        }
    }
}
