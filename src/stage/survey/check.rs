//! The checks of a questionnaire: each question alone, and all of them together. Every problem is reported at its path.

use std::collections::HashSet;

use super::interview::order_column;
use super::order::{Design, Order};
use super::questions::{Draft, Per, QuestionTable, QuestionType, Survey};
use super::wording::{Choice, Form, Labels, Question};
use crate::document::{Diagnostic, Path, Problems};
use crate::name::nearest;
use crate::prompt::{BoundCondition, ConditionError, Distribution, Mode, normalise_option};
use crate::stage::ask::BindContext;
use crate::stage::placeholder::{literal, written_variable};
use crate::table::Column;

pub(crate) fn questions(survey: &Survey, context: &BindContext<'_>, problems: &mut Problems) -> Option<Vec<Question>> {
    let at = context.path.key("questions");
    let mut check = Check { survey, context, problems };
    let drafts = match &survey.questions {
        None => {
            check
                .problems
                .error("missing-field", context.path.clone(), "`questions` is missing")
                .help("write each question as a table `[[stages.NAME.questions]]`");
            return None;
        }
        Some(questions) => questions.drafts(&at),
    };
    if drafts.is_empty() {
        check.wrong(at, "`questions` is empty; a survey asks at least one question");
        return None;
    }
    check.settings();
    let input = context.input.fields().iter().map(|field| field.name().clone());
    let order = (survey.question_order != Order::AsGiven).then(|| order_column(context.name));
    let asked = drafts.iter().map(|draft| (draft.table.id.as_str(), draft.table.text.as_str()));
    let columns = survey.column_names.of(asked, input.chain(order));
    let mut questions: Vec<Question> = Vec::new();
    for (draft, column) in drafts.iter().zip(columns) {
        let form = check.form(draft);
        let id = draft.table.id.as_str();
        let when = draft.table.when.as_deref().and_then(|source| check.when(draft, source, &drafts, &questions));
        let text = draft.table.text.trim().to_owned();
        if text.is_empty() {
            check.wrong(draft.at.key("text"), "a question needs a text");
        }
        // An invalid question is kept, so that other questions can refer to it.
        let form = form.unwrap_or(Form::Text);
        let distribution = check.distribution(draft, &form);
        let (id, pinned) = (id.to_owned(), draft.table.pinned);
        questions.push(Question { id, column, text, form, when, pinned, distribution });
    }
    check.names(&drafts, &questions);
    check.unused_settings(&questions);
    Some(questions)
}

struct Check<'a, 'b> {
    survey: &'a Survey,
    context: &'a BindContext<'a>,
    problems: &'b mut Problems,
}

impl Check<'_, '_> {
    fn wrong(&mut self, at: Path, message: impl Into<String>) {
        self.problems.error("bad-value", at, message);
    }

    fn wrong_key(&mut self, at: &Path, key: &str, message: impl Into<String>) {
        self.problems.error_at_key("bad-value", at.key(key), message);
    }

    fn settings(&mut self) {
        let Survey { per, memory, question_order, .. } = *self.survey;
        let at = self.context.path;
        if per == Per::Respondent && memory {
            let message = "`memory` is for `per = \"question\"`; in one call every question is seen with the others";
            self.wrong_key(at, "memory", message);
        }
        if per == Per::Respondent && !self.survey.distribution.is_empty() {
            self.one_call(at);
        }
        if per == Per::Question && !memory && question_order != Order::AsGiven {
            let message = "`question_order` changes no answer here: each question is asked alone";
            self.problems
                .warning("no-effect", at.key("question_order"), message)
                .help("write `memory = true` or `per = \"respondent\"`");
        }
    }

    /// Reports settings of distributions that no question uses.
    fn unused_settings(&mut self, questions: &[Question]) {
        let has = |mode| questions.iter().filter_map(Question::distributed).any(|(of, _)| of.has(mode));
        let settings = [
            ("samples", self.survey.samples.is_some(), Mode::Sample),
            ("min_option_mass", self.survey.min_option_mass.is_some(), Mode::Logprobs),
        ];
        for (key, is_set, mode) in settings {
            let at = self.context.path.key(key);
            if is_set && !has(mode) && !self.problems.is_distrusted(&at) && self.survey.per == Per::Question {
                self.problems
                    .error_at_key("bad-value", at, format!("no question has `{}` in its `distribution`", mode.name()))
                    .help("leave it out");
            }
        }
    }

    fn one_call(&mut self, at: &Path) {
        let message = "a distribution needs a call for each question: in one call an answer depends on those before it";
        self.problems
            .error_at_key("bad-value", at.key("distribution"), message)
            .help("write `per = \"question\"`, or leave it out");
    }

    /// The distribution of a question with one answer.
    fn distribution(&mut self, draft: &Draft, form: &Form) -> Option<Distribution> {
        if !matches!(form, Form::Choice(choice) if !choice.several) {
            return None;
        }
        let table = &draft.table;
        let own = table.distribution.as_ref();
        if own.is_some_and(|modes| !modes.is_empty()) && self.survey.per == Per::Respondent {
            self.one_call(&draft.at);
            return None;
        }
        let modes = own.unwrap_or(&self.survey.distribution);
        let samples = table.samples.or(self.survey.samples.filter(|_| modes.contains(&Mode::Sample)));
        let mass = table.min_option_mass.or(self.survey.min_option_mass.filter(|_| modes.contains(&Mode::Logprobs)));
        match Distribution::new(modes, samples, mass) {
            Ok(distribution) => distribution.filter(|_| self.survey.per == Per::Question),
            Err((key, message)) => {
                let is_own = match key {
                    "samples" => table.samples.is_some(),
                    "min_option_mass" => table.min_option_mass.is_some(),
                    _ => own.is_some(),
                };
                let at = if is_own { &draft.at } else { self.context.path };
                // The stage's own fields are reported once, not for each question.
                if is_own || !self.problems.is_distrusted(&at.key(key)) {
                    self.wrong_key(at, key, message);
                    self.problems.distrust(at.key(key));
                }
                None
            }
        }
    }

    fn form(&mut self, draft: &Draft) -> Option<Form> {
        let QuestionTable { kind, options, min, max, min_label, max_label, .. } = &draft.table;
        if let Some(word) = &draft.stray {
            let message = format!("`{word}` is not a type of answer: write a list of options, or \"text\"");
            self.wrong(draft.options_at.clone(), message);
            return None;
        }
        if let Some(variable) = written_variable(&draft.table.text) {
            let at = if draft.at == draft.options_at { draft.at.clone() } else { draft.at.key("text") };
            let help = "a question is the same for all respondents: move this part into `persona`";
            self.problems.warning("literal-placeholder", at, literal(variable)).help(help);
        }
        let kind = kind.unwrap_or(if options.is_some() { QuestionType::Single } else { QuestionType::Text });
        let chosen = matches!(kind, QuestionType::Single | QuestionType::Multiple);
        let bounded = matches!(kind, QuestionType::Scale | QuestionType::Number);
        let scale = kind == QuestionType::Scale;
        let fields = [
            ("options", options.is_some(), chosen, "`single` and `multiple`"),
            ("pinned_options", !draft.table.pinned_options.is_empty(), chosen, "`single` and `multiple`"),
            ("option_order", draft.table.option_order.is_some(), chosen, "`single` and `multiple`"),
            ("distribution", draft.table.distribution.is_some(), kind == QuestionType::Single, "`single`"),
            ("samples", draft.table.samples.is_some(), kind == QuestionType::Single, "`single`"),
            ("min_option_mass", draft.table.min_option_mass.is_some(), kind == QuestionType::Single, "`single`"),
            ("min", min.is_some(), bounded, "`scale` and `number`"),
            ("max", max.is_some(), bounded, "`scale` and `number`"),
            ("min_label", min_label.is_some(), scale, "`scale`"),
            ("max_label", max_label.is_some(), scale, "`scale`"),
        ];
        for (key, there, fits, kinds) in fields {
            if there && !fits {
                let kind = format!("{kind:?}").to_lowercase();
                self.wrong_key(&draft.at, key, format!("`{key}` is for {kinds}, not for `{kind}`"));
            }
        }
        match kind {
            QuestionType::Text => Some(Form::Text),
            QuestionType::Number => {
                self.ascending(draft);
                Some(Form::Number(*min, *max))
            }
            QuestionType::Scale => self.scale(draft),
            QuestionType::Single => self.choice(draft, false).map(Form::Choice),
            QuestionType::Multiple => self.choice(draft, true).map(Form::Choice),
        }
    }

    fn ascending(&mut self, draft: &Draft) {
        if let (Some(min), Some(max)) = (draft.table.min, draft.table.max)
            && min >= max
        {
            self.wrong(draft.at.key("min"), format!("`min` ({min}) must be below `max` ({max})"));
        }
    }

    fn scale(&mut self, draft: &Draft) -> Option<Form> {
        let QuestionTable { min, max, min_label, max_label, .. } = &draft.table;
        self.ascending(draft);
        let mut ends = Vec::new();
        for (key, end) in [("min", min), ("max", max)] {
            match end {
                None => {
                    self.problems
                        .error("missing-field", draft.at.clone(), format!("`{key}` is missing"))
                        .help("a scale has two ends, such as `min = 1` and `max = 7`");
                }
                Some(end) if end.fract() != 0.0 => {
                    self.wrong(draft.at.key(key), format!("`{key}` of a scale must be a whole number, not {end}"));
                }
                Some(end) => ends.push(*end),
            }
        }
        let [min, max] = ends[..] else { return None };
        Some(Form::Scale { min, max, labels: [min_label.clone(), max_label.clone()] })
    }

    fn choice(&mut self, draft: &Draft, several: bool) -> Option<Choice> {
        let table = &draft.table;
        let before = self.problems.mark();
        let least = if several { 1 } else { 2 };
        match &table.options {
            None => {
                let kind = if several { "multiple" } else { "single" };
                let message = format!("`options` is missing: a question of type `{kind}` is answered with them");
                self.problems.error("missing-field", draft.at.clone(), message);
                return None;
            }
            Some(options) if options.len() < least => {
                let there =
                    if options.is_empty() { "no options" } else { "one option, which leaves nothing to choose" };
                self.wrong(draft.options_at.clone(), format!("question `{}` has {there}", table.id));
            }
            Some(options) => self.options(draft, options),
        }
        let options = table.options.clone().unwrap_or_default();
        for (i, pinned) in table.pinned_options.iter().enumerate() {
            if !options.contains(pinned) {
                let message = format!("question `{}` has no option `{pinned}`", table.id);
                let problem = self.problems.error("unknown-option", draft.at.key("pinned_options").index(i), message);
                problem.choices(pinned, "options", options.iter().map(String::as_str));
            }
        }
        let pinned: Vec<bool> = options.iter().map(|option| table.pinned_options.contains(option)).collect();
        let order = table.option_order.unwrap_or(self.survey.option_order);
        let design =
            Design::new(order, self.context.seed.unwrap_or_default(), &["options", table.id.as_str()], &pinned);
        self.problems.clean_since(before).then_some(Choice { options, several, design })
    }

    fn options(&mut self, draft: &Draft, options: &[String]) {
        let labels: HashSet<String> = (0..options.len())
            .filter_map(|place| self.survey.option_labels.of(place))
            .map(|l| normalise_option(&l))
            .collect();
        if self.survey.option_labels == Labels::Letters && options.len() > 26 {
            let message =
                format!("question `{}` has {} options, more than there are letters", draft.table.id, options.len());
            self.problems
                .error("bad-value", draft.options_at.clone(), message)
                .help("write `option_labels = \"numbers\"`");
        }
        for (i, option) in options.iter().enumerate() {
            let at = draft.options_at.index(i);
            if normalise_option(option).is_empty() {
                self.wrong(at, "an option needs a text");
            } else if let Some(twin) = options[..i].iter().find(|o| normalise_option(o) == normalise_option(option)) {
                let message = format!("the options `{twin}` and `{option}` are equal but for case and punctuation");
                self.problems.error("duplicate-option", at, message);
            } else if labels.contains(&normalise_option(option)) {
                let message =
                    format!("the option `{option}` reads like a label, so that an answer could mean two options");
                self.problems
                    .error("bad-value", at, message)
                    .help("write another `option_labels`, or the option in other words");
            }
        }
    }

    fn when(&mut self, draft: &Draft, source: &str, all: &[Draft], before: &[Question]) -> Option<BoundCondition> {
        let at = draft.at.key("when");
        if self.survey.per == Per::Respondent {
            self.problems
                .error_at_key("bad-value", at, "a question can't be skipped where all questions are asked in one call")
                .help("write `per = \"question\"`");
            return None;
        }
        let ids: Vec<&str> = before.iter().map(|q| q.id.as_str()).collect();
        let answers: Vec<_> = before.iter().map(|question| Column::new(&question.id, question.kind())).collect();
        match BoundCondition::new(source, self.context.input, &answers) {
            Ok(bound) => Some(bound),
            Err(error) => {
                if let ConditionError::Unknown(unknown) = &error {
                    unknown.names().for_each(|name| self.unknown(&at, name, all, &ids));
                }
                self.problems.extend(error.problems(&at));
                None
            }
        }
    }

    /// Reports a name in a condition that is neither a column nor one of the earlier questions `ids`.
    fn unknown(&mut self, at: &Path, name: &str, all: &[Draft], ids: &[&str]) {
        let problem = if all.iter().any(|draft| draft.table.id.as_str() == name) {
            let message = format!("the condition uses `{name}`, which is not answered before this question");
            Diagnostic::error("unknown-variable", at.clone(), message)
                .help("a condition can use the ids of the questions before it")
        } else {
            let columns = self.context.input.fields().iter().map(|f| f.name().as_str());
            let message = format!("the condition uses `{name}`, which is neither an earlier question nor a column");
            Diagnostic::error("unknown-variable", at.clone(), message)
                .meant(nearest(name, ids.iter().copied().chain(columns)))
        };
        self.problems.push(problem);
    }

    fn names(&mut self, drafts: &[Draft], questions: &[Question]) {
        let order = (self.survey.question_order != Order::AsGiven).then(|| order_column(self.context.name));
        let mut taken: HashSet<String> = order.clone().into_iter().collect();
        for (i, (draft, question)) in drafts.iter().zip(questions).enumerate() {
            let id = &question.id;
            if questions[..i].iter().any(|other| other.id == *id && other.column != question.column) {
                let message = format!("two questions have the id `{id}`");
                self.problems
                    .error("duplicate-column", draft.at.key("id"), message)
                    .help("give the question another id");
            }
            let measured =
                question.distributed().map(|(distribution, options)| distribution.columns(&question.column, options));
            let measured: Vec<String> = measured.into_iter().flatten().map(|(column, _)| column.name).collect();
            for name in question.columns().into_iter().map(|column| column.name).chain(measured.iter().cloned()) {
                let what = match name == question.column {
                    true => String::new(),
                    false if measured.contains(&name) => format!(" (the distribution of `{id}`)"),
                    false => format!(" (the order of `{id}`)"),
                };
                let message = if self.context.input.index_of(&name).is_ok() {
                    format!("the column `{name}`{what} is in the input already")
                } else if !taken.insert(name.clone()) {
                    format!("the column `{name}`{what} is written twice")
                } else {
                    continue;
                };
                self.problems
                    .error("duplicate-column", draft.at.key("id"), message)
                    .help("give the question another id");
            }
        }
        if let Some(name) = order.filter(|name| self.context.input.index_of(name).is_ok()) {
            let (at, message) =
                (self.context.path.key("question_order"), format!("the column `{name}` is in the input already"));
            self.problems.error_at_key("duplicate-column", at, message);
        }
    }
}
