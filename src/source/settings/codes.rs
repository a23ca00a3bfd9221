//! Codes: the columns of a sheet that people fill, and their labels.

use crate::prompt::normalise_option;
use crate::table::Cell;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct CodingSheet {
    /// The columns that the output writes.
    pub(crate) columns: Vec<String>,
    pub(crate) fill: Vec<FillColumn>,
}

/// A column that people fill.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FillColumn {
    pub(crate) name: String,
    /// The codes that are allowed; any text if empty.
    pub(crate) labels: Vec<String>,
}

impl FillColumn {
    /// The label that `code` means, in any case and with other quotes or spaces.
    pub(crate) fn label(&self, code: &str) -> Option<&String> {
        let exact = self.labels.iter().find(|label| *label == code);
        exact.or_else(|| self.labels.iter().find(|label| normalise_option(label) == normalise_option(code)))
    }

    pub(crate) fn allows(&self, code: &Cell) -> bool {
        matches!(code, Cell::Null) || self.labels.is_empty() || self.label(&code.text()).is_some()
    }
}
