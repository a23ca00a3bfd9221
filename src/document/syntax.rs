//! Syntax errors, in the same words for both formats.

use std::ops::Range;

use super::diagnostic::{Diagnostic, Path, SourcePosition};

/// The most syntax errors that are reported. Later ones usually follow from the first.
pub(super) const MOST_SYNTAX_ERRORS: usize = 20;

pub(super) fn syntax(span: Range<usize>, message: impl Into<String>) -> Diagnostic {
    Diagnostic { place: SourcePosition::Span(span), ..Diagnostic::error("syntax", Path::root(), message) }
}

pub(super) fn too_large(span: Range<usize>) -> Diagnostic {
    syntax(span, "this number is too large").help(format!("whole numbers go from {} to {}", i64::MIN, i64::MAX))
}
