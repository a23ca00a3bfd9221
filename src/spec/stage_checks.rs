//! Checks of a stage that asks models: its models, its numbers, and whether its columns fit its input.

use super::columns::{Answers, Form, Relation};
use super::language::{NUMBERS, ROWS_PER_PROMPT, StageTable};
use super::pipeline::Spec;
use super::read::Raw;
use super::resolve::Resolver;
use super::stages::StageModels;
use crate::document::Path;
use crate::name::listed;
use crate::provider::{PROVIDERS, default_endpoint};
use crate::stage::Stage;
use crate::table::Column;

impl Resolver<'_> {
    pub(super) fn stage_models(&mut self, spec: &Spec, raw: &Raw, at: &Path, table: &StageTable) -> StageModels {
        let mut models = StageModels { known: Vec::new(), names: Vec::new(), fallback: Some(false) };
        if table.models.is_empty() {
            self.error("bad-value", at.key("models"), "`models` is empty; a stage asks at least one model");
        }
        for (i, name) in table.models.iter().enumerate() {
            let path = at.key("models").index(i);
            if models.names.contains(name) {
                self.error("duplicate-model", path, format!("`{name}` is listed in `models` twice"));
                continue;
            }
            models.names.push(name.clone());
            match spec.models.get_index_of(name.as_str()) {
                Some(model) => models.known.push(model),
                None => self.known_model(raw, path, name),
            }
            models.fallback = match raw.models.get(name.as_str()) {
                Some(Some(_)) => models.fallback.map(|fallback| fallback || raw.has_fallback(name)),
                _ => None,
            };
        }
        models
    }

    pub(super) fn probabilities(&mut self, spec: &Spec, at: &Path, table: &StageTable) {
        for (i, name) in table.models.iter().enumerate() {
            let Some(model) = spec.models.get(name.as_str()) else { continue };
            let endpoint = &spec.endpoints[&model.endpoint].endpoint;
            if endpoint.gives_probabilities() {
                continue;
            }
            let kinds = PROVIDERS.iter().map(|kind| kind.name);
            let able = kinds.filter(|kind| default_endpoint(kind).is_some_and(|e| e.gives_probabilities()));
            let help = format!("providers that do: {}; or leave `prob` out", listed(able));
            let message = format!(
                "`prob` needs the probabilities of labels, which the provider of `{name}` ({}) does not report",
                endpoint.kind()
            );
            self.error("no-probabilities", at.key("models").index(i), message).help(help);
        }
    }

    pub(super) fn packed(&mut self, at: &Path, table: &StageTable, stage: &Stage) {
        let place = at.key("rows_per_prompt");
        if ROWS_PER_PROMPT.of(table) == 1 {
            if table.audit.is_some() && !self.problems.is_distrusted(&place) {
                let message = "`audit` compares rows that are asked together with the same rows asked one by one";
                self.error("bad-value", at.key("audit"), message).help("write `rows_per_prompt`, or leave `audit` out");
            }
            return;
        }
        if stage.info.at_once {
            let message = "a group's rows are together in one prompt already";
            self.error("bad-value", place.clone(), message)
                .help("leave `rows_per_prompt` out; `max_input_tokens` limits the rows in a prompt");
        }
        if stage.info.probabilities {
            let message = "`prob` is not possible with `rows_per_prompt`: in a reply about several rows the probability \
                           of a label depends on the answers before it";
            self.error("bad-value", place, message).help("leave `rows_per_prompt` or `prob` out");
        }
    }

    pub(super) fn bounded(&mut self, at: &Path, table: &StageTable) {
        for number in NUMBERS.iter().filter(|number| number.of(table) > number.most) {
            let message = format!("`{}` must be {} or less", number.field, number.most);
            self.error("bad-value", at.key(number.field), message);
        }
    }

    pub(super) fn in_place(&mut self, at: &Path, answers: &Answers, stage: &Stage) {
        if answers.form == Form::Wide && !stage.info.fills.is_empty() {
            let message = "every model answers every row, so that a column can't be filled in place";
            self.error("bad-value", at.key("fanout"), message)
                .help("leave `target = \"in_place\"` out, or write `layout = \"long\"`");
        }
    }

    pub(super) fn collisions(&mut self, at: &Path, input: &Relation, stage: &Stage, columns: &[Column]) {
        for (i, column) in columns.iter().enumerate() {
            let name = &column.name;
            let message = if input.schema.index_of(name).is_ok() {
                format!("this stage writes the column `{name}`, which its input has already")
            } else if columns[..i].iter().any(|c| c.name == *name) {
                format!("this stage writes the column `{name}` twice")
            } else {
                continue;
            };
            // The field of the stage's table that defines the column. The column's name may have a model suffix.
            let comes = |w: &Column| name.strip_prefix(&w.name).is_some_and(|r| r.is_empty() || r.starts_with('_'));
            let writes = &stage.info.writes;
            let write = writes.iter().position(|w| w.name == *name);
            let write = write.or_else(|| writes.iter().position(comes));
            let origin = write.iter().flat_map(|write| &stage.info.origins[*write]);
            let place = origin.fold(at.clone(), |path, key| path.key(key));
            self.problems
                .error_at_key("duplicate-column", place, message)
                .help("give the key, the stage or the model another name");
        }
    }
}
