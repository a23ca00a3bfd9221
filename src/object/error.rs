//! The error of an object store. It names the object.

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub(crate) struct ObjectError {
    pub(crate) message: String,
    /// What to do.
    pub(crate) help: Option<String>,
}

impl ObjectError {
    pub(crate) fn new(message: impl Into<String>, help: impl Into<String>) -> Self {
        ObjectError { message: message.into(), help: Some(help.into()) }
    }
}

impl From<ObjectError> for std::io::Error {
    fn from(error: ObjectError) -> Self {
        std::io::Error::other(match &error.help {
            Some(help) => format!("{}: {help}", error.message),
            None => error.message,
        })
    }
}
