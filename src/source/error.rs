//! Source errors: why a source cannot be read, and which of its fields is at fault.

/// Why a source can't be read, in words for its owner: names the file, and row, line and byte where there are some.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct SourceError {
    /// The whole sentence.
    pub message: String,
    /// What to do about it, where that is known.
    pub help: Option<String>,
    /// The keys under the source's table that it is about, such as `["types", "age"]`; empty: the whole source.
    pub field: Vec<String>,
}

impl SourceError {
    /// An error about the whole source.
    pub fn new(message: impl Into<String>) -> Self {
        SourceError { message: message.into(), help: None, field: Vec::new() }
    }

    /// The same error, with what to do about it.
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// The same error, with "did you mean" if there is a suggestion.
    pub fn meant(self, suggestion: Option<&str>) -> Self {
        match suggestion {
            Some(word) => self.help(format!("did you mean `{word}`?")),
            None => self,
        }
    }

    /// The same error, about one field of the source's table.
    pub fn at<'a>(mut self, keys: impl IntoIterator<Item = &'a str>) -> Self {
        self.field = keys.into_iter().map(str::to_owned).collect();
        self
    }
}
