//! Checks of a stage that asks models: its models, its numbers, and whether its columns fit its input.

use super::columns::{Answers, Form, Relation};
use super::language::{Layout, NUMBERS, ROWS_PER_PROMPT, StageTable};
use super::pipeline::Spec;
use super::read::{Raw, RawAsking};
use super::resolve::Resolver;
use super::stages::{Asking, StageModels};
use super::tokens;
use crate::document::Path;
use crate::stage::Stage;
use crate::table::Column;

impl Resolver<'_> {
    pub(super) fn stage_models(&mut self, spec: &Spec, raw: &Raw, stage: &Asking<'_>) -> StageModels {
        let Asking { at, stage: RawAsking { table, own, .. }, .. } = stage;
        let roles = own.value.as_ref().and_then(|config| config.roles());
        let mut models = StageModels { known: Vec::new(), names: Vec::new(), answering: 0, fallback: Some(false) };
        if table.models.is_empty() {
            self.error("bad-value", at.key("models"), "`models` is empty; a stage asks at least one model");
        }
        for (i, name) in table.models.iter().enumerate() {
            let path = at.key("models").index(i);
            if models.names.contains(name) && roles.is_none() {
                self.error("duplicate-model", path, format!("`{name}` is listed in `models` twice"))
                    .help("leave one out; to ask a model several times about each row, write `replicates = 2`");
                continue;
            }
            models.names.push(name.clone());
            let asked = stage.model(name);
            match spec.models.get_index_of(asked) {
                Some(model) => models.known.push(model),
                // A variant is made of each known model.
                None => self.known_model(raw, path, if raw.models.contains_key(asked) { asked } else { name }),
            }
            let answers = roles.is_none() || i == 0;
            models.answering += usize::from(answers);
            models.fallback = match raw.models.get(asked) {
                _ if !answers => models.fallback,
                Some(Some(_)) => models.fallback.map(|fallback| fallback || raw.has_fallback(asked)),
                _ => None,
            };
        }
        match roles {
            Some([root, _]) => self.one_root(at, table, root),
            None => self.fanout(at, table, &models.names),
        }
        models
    }

    /// A stage that names its models in fields has one model for each row.
    pub(super) fn one_root(&mut self, at: &Path, table: &StageTable, root: &str) {
        let fields = [("fanout", table.fanout == Some(true)), ("layout", table.layout != Layout::default())];
        for (field, _) in fields.into_iter().filter(|(_, is_given)| *is_given) {
            let message = format!("`{field}` is for several models, and `{root}` is one");
            self.error("bad-value", at.key(field), message)
                .help(format!("leave it out; for another `{root}`, write another stage or a `grid`"));
        }
    }

    /// Several models must not mix in one column unless the spec says so.
    pub(super) fn fanout(&mut self, at: &Path, table: &StageTable, models: &[String]) {
        let fanout = at.key("fanout");
        if models.len() < 2 || table.fanout.is_some() || self.problems.is_distrusted(&fanout) {
            return;
        }
        let message = format!("this stage asks {} models and does not say how they read the rows", models.len());
        self.error("missing-fanout", at.key("models"), message).help(
            "write `fanout = true` (every model reads every row) or `fanout = false` (the models share the rows, so \
             each row has the answer of one model)",
        );
        self.problems.distrust(fanout);
    }

    /// Warns about models whose replies are cut off before they hold an answer of the stage.
    pub(super) fn few_tokens(&mut self, spec: &Spec, asking: &Asking<'_>, stage: &Stage) {
        let Some(least) = stage.info.schema.as_ref().map(tokens::least) else { return };
        for name in asking.stage.table.models.iter().map(|name| asking.model(name)) {
            let Some(tokens) = spec.models.get(name).and_then(|model| model.model.sampling.max_tokens) else {
                continue;
            };
            if tokens > 0 && u64::from(tokens) < least {
                let message = format!("an answer needs about {least} tokens or more, so {tokens} cut every reply off");
                let at = Path::of(["models", name, "max_tokens"]);
                self.problems.warning("few-tokens", at, message).help("write a larger `max_tokens`, or leave it out");
            }
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
        if stage.info.embeds {
            let message = "a vector is about one row: `rows_per_prompt` is for answers of chat models";
            self.error("bad-value", place.clone(), message).help("leave it out; a request has `batch_size` texts");
        }
        if stage.info.most_sub_prompts > 0 {
            let message = "each row needs its own rounds, so several rows can't share a prompt";
            self.error("bad-value", place.clone(), message).help("leave `rows_per_prompt` out");
        } else if stage.info.at_once {
            let message = "a group's rows are together in one prompt already";
            self.error("bad-value", place.clone(), message)
                .help("leave `rows_per_prompt` out; `max_input_tokens` limits the rows in a prompt");
        }
        if !stage.info.distributions.is_empty() {
            let message = "`distribution` is not possible with `rows_per_prompt`: in a reply about several rows an answer \
                           depends on those before it";
            self.error("bad-value", place, message).help("leave `rows_per_prompt` or `distribution` out");
        } else if stage.info.probabilities {
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
