//! Row prompts: what is sent about a row. A template, the text column alone, and a block of columns with their names.

use super::ask::BindContext;
use super::placeholder;
use super::question::{self, TextColumn, Written};
use crate::document::{Diagnostic, Problems};
use crate::name::listed;
use crate::prompt::{Bound, Failure, FailureKind, Message};
use crate::table::{self, Cell, Row};

/// The fields of a spec that say what is sent about a row.
#[derive(Clone, Copy)]
pub(super) struct RowFields<'a> {
    pub(super) written: Written<'a>,
    pub(super) text: TextColumn<'a>,
    pub(super) columns: Option<&'a [String]>,
    pub(super) system: Option<&'a str>,
}

/// At least one of both parts is there.
#[derive(Debug)]
pub(super) struct RowPrompt {
    template: Option<Bound>,
    block: Vec<(usize, String)>,
}

impl RowFields<'_> {
    pub(super) fn bind(&self, context: &BindContext<'_>, problems: &mut Problems) -> Option<RowPrompt> {
        let block = self.block(context, problems);
        let template = match (self.written.is_given(), self.text.name, &block) {
            (true, ..) => Some(self.written.bind(context, self.text, &[], problems)?),
            (false, Some(_), _) => {
                Some(question::bind(context, ("{{ text }}", "text_column"), self.text, &[], problems)?)
            }
            (false, None, Some(_)) => None,
            (false, None, None) => {
                problems.error("missing-field", context.path.clone(), "`prompt` is missing").help(
                    "write the question as `prompt = \"...\"`, or name a file in `prompt_file`; without one, the text of \
                     `text_column` or the `columns` are the prompt",
                );
                return None;
            }
        };
        Some(RowPrompt { template, block: block.unwrap_or_default() })
    }

    fn block(&self, context: &BindContext<'_>, problems: &mut Problems) -> Option<Vec<(usize, String)>> {
        let (names, at) = (self.columns?, context.path.key("columns"));
        if names.is_empty() {
            let problem = problems.error("bad-value", at.clone(), "`columns` is empty");
            problem.help("name the columns that the prompt shows, or leave it out");
        }
        let mut block: Vec<(usize, String)> = Vec::new();
        for (i, name) in names.iter().enumerate() {
            let at = at.index(i);
            let Some(column) = table::column(context.input, name, "the input", at.clone(), problems) else { continue };
            if block.iter().any(|(other, _)| *other == column) {
                problems.error("bad-value", at, format!("`{name}` is listed twice in `columns`"));
            } else {
                block.push((column, name.clone()));
            }
        }
        Some(block)
    }

    /// Reports doubts about the prompt. Returns the problem of a prompt that is the same for all rows.
    pub(super) fn check(
        &self,
        context: &BindContext<'_>,
        prompt: &RowPrompt,
        problems: &mut Problems,
    ) -> Option<Diagnostic> {
        let said = (prompt.template.as_ref()?, self.written.key());
        let reads = prompt.reads();
        problems.extend(placeholder::doubts(context, said, &reads, (self.text, self.system)));
        reads.is_empty().then(|| placeholder::constant(context, said, self.text, self.system))
    }
}

impl RowPrompt {
    pub(super) fn reads(&self) -> Vec<usize> {
        let block = self.block.iter().map(|(column, _)| *column);
        self.template.iter().flat_map(Bound::reads).chain(block).collect()
    }

    pub(super) fn uses(&self) -> Vec<usize> {
        let block = self.block.iter().map(|(column, _)| *column);
        self.template.iter().flat_map(Bound::uses).chain(block).collect()
    }

    pub(super) fn source(&self) -> Option<&str> {
        self.template.as_ref().map(Bound::source)
    }

    pub(super) fn block(&self) -> Option<Vec<&str>> {
        let names: Vec<&str> = self.block.iter().map(|(_, name)| name.as_str()).collect();
        (!names.is_empty()).then_some(names)
    }

    /// Fails if all columns of the block are empty and the template reads nothing of the row.
    pub(super) fn message(&self, row: Row<'_>) -> Result<Message, Failure> {
        let failed = |message: String| FailureKind::Template.because(message);
        let message = match &self.template {
            Some(template) => template.message(row).map_err(failed)?,
            None => Message::user(""),
        };
        if self.block.is_empty() {
            return Ok(message);
        }
        let lines: Vec<String> =
            self.block.iter().filter_map(|(column, name)| line(name, &row.cell(*column))).collect();
        if lines.is_empty() && self.template.as_ref().is_none_or(|template| template.reads().is_empty()) {
            let names = listed(self.block.iter().map(|(_, name)| name.as_str()));
            return Err(FailureKind::Value.because(format!("the row is empty: it has no value of {names}")));
        }
        let (start, text) = (message.shared.start, message.content.trim_end());
        let start = text.get(..start).unwrap_or(text).to_owned();
        let parts = [text.to_owned(), lines.join("\n")];
        let text = parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("\n\n");
        Ok(Message::user(text).around(&start, ""))
    }
}

/// A column with its name; `None` if it is empty. Text of several lines begins on a new line.
fn line(name: &str, cell: &Cell) -> Option<String> {
    let text = cell.text();
    let text = text.trim();
    let gap = if text.contains('\n') { "\n" } else { " " };
    (!text.is_empty()).then(|| format!("{name}:{gap}{text}"))
}
