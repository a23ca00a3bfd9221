//! Source errors: why a source cannot be read, and which of its fields is at fault.

/// Why a source cannot be read: the message names the file, and the row, line and byte where they are known.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub(crate) struct SourceError {
    pub(crate) message: String,
    pub(crate) help: Option<String>,
    /// The path of the field at fault in the source's table, such as `["types", "age"]`; empty for the whole source.
    pub(crate) field: Vec<String>,
}

impl SourceError {
    pub(crate) fn new(message: impl Into<String>) -> Self {
        SourceError { message: message.into(), help: None, field: Vec::new() }
    }

    /// An error of a file, which messages call `shown`.
    pub(crate) fn of_file(shown: &str, message: impl std::fmt::Display) -> Self {
        SourceError::new(format!("{shown}: {message}")).at(["path"])
    }

    pub(crate) fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    pub(crate) fn at<'a>(mut self, keys: impl IntoIterator<Item = &'a str>) -> Self {
        self.field = keys.into_iter().map(str::to_owned).collect();
        self
    }
}
