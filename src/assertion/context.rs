//! The context of a test: its table and the columns of the table.

use arrow_schema::Schema;

use crate::document::{Path, Problems};
use crate::table::{self, Type};

pub(crate) struct TestContext<'a> {
    pub(crate) path: &'a Path,
    pub(crate) table: &'a str,
    pub(crate) schema: &'a Schema,
    pub(crate) stages: &'a [StageErrors],
}

#[derive(Clone, Debug)]
pub(crate) struct StageErrors {
    pub(crate) name: String,
    pub(crate) errors: Vec<usize>,
}

impl TestContext<'_> {
    pub(super) fn column(&self, field: &str, name: &str, problems: &mut Problems) -> Option<usize> {
        self.column_at(self.path.key(field), name, problems)
    }

    /// Returns the columns named in the fields `column` and `columns`. One of the fields is required.
    pub(super) fn columns(
        &self,
        one: Option<&str>,
        many: Option<&[String]>,
        problems: &mut Problems,
    ) -> Option<Vec<usize>> {
        match (one, many) {
            (Some(name), None) => self.column("column", name, problems).map(|column| vec![column]),
            (None, Some(names)) => {
                let at = self.path.key("columns");
                if names.is_empty() {
                    problems.error("bad-value", at, "`columns` is empty");
                    return None;
                }
                let found = names.iter().enumerate().map(|(i, name)| self.column_at(at.index(i), name, problems));
                found.collect::<Vec<_>>().into_iter().collect()
            }
            (Some(_), Some(_)) => {
                let message = "a test has `column` or `columns`, not both";
                problems.error("bad-value", self.path.key("columns"), message);
                None
            }
            (None, None) => {
                problems
                    .error("missing-field", self.path.clone(), "`column` is missing")
                    .help("name a column in `column`, or several in `columns`");
                None
            }
        }
    }

    fn column_at(&self, at: Path, name: &str, problems: &mut Problems) -> Option<usize> {
        table::column(self.schema, name, &format!("the table `{}`", self.table), at, problems)
    }

    pub(super) fn name(&self, column: usize) -> &str {
        self.schema.field(column).name()
    }

    pub(super) fn kind(&self, column: usize) -> Type {
        Type::of_cells(self.schema.field(column).data_type())
    }

    pub(super) fn unfit(&self, column: usize, needs: &str, problems: &mut Problems) {
        let (name, holds) = (self.name(column), self.kind(column).words());
        let message = format!("`{name}` holds {holds}, and this test is for {needs}");
        problems.error("wrong-type", self.path.key("column"), message);
    }
}
