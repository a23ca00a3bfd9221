//! A problem in a spec and its place. The place is a path, which is looked up in the text only for display.

use std::fmt;
use std::ops::Range;

use serde::Serialize;

/// The most syntax errors that are reported. Later ones usually follow from the first.
pub(super) const MOST_SYNTAX_ERRORS: usize = 20;

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Segment {
    Key(String),
    Index(usize),
}

/// A place in a document, from its root; shown as `stages.tone.models[0]`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Path(Vec<Segment>);

impl Path {
    pub(crate) fn root() -> Self {
        Path::default()
    }

    pub(crate) fn of<'a>(keys: impl IntoIterator<Item = &'a str>) -> Self {
        Path(keys.into_iter().map(|k| Segment::Key(k.to_owned())).collect())
    }

    pub(crate) fn key(&self, key: &str) -> Self {
        self.with(Segment::Key(key.to_owned()))
    }

    pub(crate) fn index(&self, index: usize) -> Self {
        self.with(Segment::Index(index))
    }

    fn with(&self, segment: Segment) -> Self {
        let mut path = self.clone();
        path.0.push(segment);
        path
    }

    pub(crate) fn segments(&self) -> &[Segment] {
        &self.0
    }

    pub(crate) fn parent(&self) -> Option<Self> {
        self.0.split_last().map(|(_, rest)| Path(rest.to_vec()))
    }

    /// Whether this path is `other` or below it.
    pub(crate) fn is_within(&self, other: &Path) -> bool {
        self.0.starts_with(&other.0)
    }

    /// Returns the path with the beginning `to` instead of `from`. `None` if it does not begin with `from`.
    pub(crate) fn moved(&self, from: &Path, to: &Path) -> Option<Self> {
        let rest = self.0.strip_prefix(from.0.as_slice())?;
        Some(Path([to.0.as_slice(), rest].concat()))
    }

    /// Returns the end of the path: the last key with the indices after it, such as `models[0]`.
    pub(crate) fn tail(&self) -> Self {
        let last_key = self.0.iter().rposition(|s| matches!(s, Segment::Key(_))).unwrap_or(0);
        Path(self.0.get(last_key..).unwrap_or_default().to_vec())
    }

    pub(crate) fn last_key(&self) -> Option<&str> {
        self.0.iter().rev().find_map(|s| match s {
            Segment::Key(k) => Some(k.as_str()),
            Segment::Index(_) => None,
        })
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, segment) in self.0.iter().enumerate() {
            match segment {
                Segment::Key(k) if i == 0 => write!(f, "{k}")?,
                Segment::Key(k) => write!(f, ".{k}")?,
                Segment::Index(n) => write!(f, "[{n}]")?,
            }
        }
        Ok(())
    }
}

/// The severity of a problem: an error stops, a warning does not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Severity {
    Error,
    /// The spec can be planned, but this is probably a mistake.
    Warning,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum SourcePosition {
    /// At the value of a path, or at its nearest ancestor that exists.
    Value(Path),
    Key(Path),
    /// At bytes of the text, for a syntax error, which has no path yet.
    Span(Range<usize>),
}

impl SourcePosition {
    /// Returns the field of the table at `path` that contains this place.
    pub(crate) fn field_of(&self, path: &Path) -> Option<String> {
        match self {
            SourcePosition::Value(place) | SourcePosition::Key(place) if place.is_within(path) => {
                match place.0.get(path.0.len())? {
                    Segment::Key(key) => Some(key.clone()),
                    Segment::Index(_) => None,
                }
            }
            _ => None,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Diagnostic {
    /// The rule's stable name, such as `unknown-field`. CI can filter by this name.
    pub(crate) rule: &'static str,
    pub(crate) severity: Severity,
    pub(crate) place: SourcePosition,
    /// The problem, as one sentence without a full stop.
    pub(crate) message: String,
    pub(crate) help: Option<String>,
}

impl Diagnostic {
    pub(crate) fn error(rule: &'static str, path: Path, message: impl Into<String>) -> Self {
        Diagnostic {
            rule,
            severity: Severity::Error,
            place: SourcePosition::Value(path),
            message: message.into(),
            help: None,
        }
    }

    pub(crate) fn error_at_key(rule: &'static str, path: Path, message: impl Into<String>) -> Self {
        Diagnostic { place: SourcePosition::Key(path), ..Diagnostic::error(rule, Path::root(), message) }
    }

    pub(crate) fn warning(rule: &'static str, path: Path, message: impl Into<String>) -> Self {
        Diagnostic { severity: Severity::Warning, ..Diagnostic::error(rule, path, message) }
    }

    /// A syntax error, in the same words for both formats.
    pub(super) fn syntax(span: Range<usize>, message: impl Into<String>) -> Self {
        Diagnostic { place: SourcePosition::Span(span), ..Diagnostic::error("syntax", Path::root(), message) }
    }

    pub(super) fn too_large(span: Range<usize>) -> Self {
        let help = format!("whole numbers go from {} to {}", i64::MIN, i64::MAX);
        Diagnostic::syntax(span, "this number is too large").help(help)
    }

    pub(crate) fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    pub(crate) fn meant(self, suggestion: Option<&str>) -> Self {
        match suggestion {
            Some(word) => self.help(format!("did you mean `{word}`?")),
            None => self,
        }
    }

    pub(crate) fn is_error(&self) -> bool {
        self.severity == Severity::Error
    }
}
