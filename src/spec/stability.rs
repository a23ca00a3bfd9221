//! Stability: the grid that asks a stage again and with other wordings of its prompt.
//!
//! The wordings are those of a file, or those that a model has written. The latter are facts of the lock
//! ([`Paraphrases`]). Without them, numbered marks take their place, so that a spec can be checked and planned.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path as FilePath;

use serde::{Deserialize, Serialize};

use super::grid::{GRID, MODEL};
use crate::document::{Document, Node, Path, Problems, Value};
use crate::stage::{Paraphrase, Wordings};

/// The part of the name of the table with the answers, after the stage's.
pub(crate) const ANSWERS: &str = "answers";
/// The line between two wordings of a file.
const BETWEEN: &str = "---";

/// The wordings that models have written, by the stages that measure them.
pub(crate) type Paraphrases = BTreeMap<String, Paraphrased>;

/// The wordings of a prompt that a model has written.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Paraphrased {
    /// The hash of the prompt, the settings of the model and the number of wordings.
    pub(crate) of: String,
    pub(crate) wordings: Vec<String>,
}

/// Wordings that a model must write before the spec can run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Unwritten {
    /// The stage that measures them.
    pub(crate) stage: String,
    pub(crate) model: String,
    pub(crate) prompt: String,
    pub(crate) n: usize,
    /// See [`Paraphrased::of`].
    pub(crate) of: String,
}

/// Reads the wordings in the lock of the spec at `path`. A lock that can't be read has none.
pub(crate) fn of_lock(path: &FilePath) -> Paraphrases {
    #[derive(Default, Deserialize)]
    struct Lock {
        #[serde(default)]
        paraphrases: Paraphrases,
    }
    let text = std::fs::read_to_string(lock_of(path)).unwrap_or_default();
    toml::from_str::<Lock>(&text).unwrap_or_default().paraphrases
}

/// The lock of the spec at `path`.
pub(crate) fn lock_of(path: &FilePath) -> std::path::PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".lock");
    name.into()
}

/// What the stages of `root` with other wordings ask, and the wordings that are not written yet.
#[derive(Default)]
pub(super) struct Worded {
    pub(super) unwritten: Vec<Unwritten>,
    /// The wordings that a model has written.
    pub(super) written: Paraphrases,
    /// The files with wordings.
    pub(super) files: BTreeSet<String>,
}

/// Makes the tables of stages with a grid.
pub(super) struct Wording<'a> {
    pub(super) document: &'a Document,
    /// Reads a file that the spec names.
    pub(super) read: &'a dyn Fn(&str) -> Result<String, String>,
    pub(super) paraphrases: &'a Paraphrases,
}

impl Wording<'_> {
    /// The table of a stage that is asked as `wordings` says: that of the other stage, with a grid. `at` is the place of
    /// the stage that measures the answers.
    pub(super) fn table(
        &self,
        wordings: &Wordings<'_>,
        at: &Path,
        worded: &mut Worded,
        problems: &mut Problems,
    ) -> Option<Node> {
        let before = problems.mark();
        let stages = self.document.root.get("stages")?;
        let Some(asked) = stages.get(wordings.stage) else {
            let names =
                stages.entries().iter().map(|entry| entry.key.as_str()).filter(|name| at.last_key() != Some(name));
            let message = format!("there is no stage `{}`", wordings.stage);
            problems.error("unknown-input", at.key("input"), message).choices(wordings.stage, "stages", names);
            return None;
        };
        let (message, help) = match (asked.get(GRID), asked.get("models")) {
            (Some(_), _) => (format!("`{}` has a grid", wordings.stage), "name a stage without one"),
            (_, None) => (format!("`{}` asks no model", wordings.stage), "name a stage that asks models"),
            _ if asked.get("output").is_none() && asked.get("json_keys").is_none() => {
                let message = format!("the answers of `{}` are plain texts, which can't be compared", wordings.stage);
                (message, "write `output` with an `enum`, or with a number")
            }
            _ => (String::new(), ""),
        };
        if !message.is_empty() {
            problems.error("bad-value", at.key("input"), message).help(help);
            return None;
        }
        let prompt = self.prompt(asked, (wordings, at), problems)?;
        let others = self.others(&prompt, (wordings, at), worded, problems);
        if problems.had_errors_since(before) {
            return None;
        }
        Some(table(asked, wordings, &prompt, &others))
    }

    /// The prompt of the stage. Reports a stage without one.
    fn prompt(&self, asked: &Node, (wordings, at): (&Wordings<'_>, &Path), problems: &mut Problems) -> Option<String> {
        let written = |key: &str| asked.get(key).and_then(Node::as_str);
        if let Some(prompt) = written("prompt") {
            return Some(prompt.to_owned());
        }
        let Some(file) = written("prompt_file") else {
            let message = format!("`{}` has no `prompt` to vary", wordings.stage);
            problems.error("bad-value", at.key("input"), message).help("write its question as `prompt`");
            return None;
        };
        // A file that can't be read is reported for the stage that names it.
        (self.read)(file).ok()
    }

    /// The other wordings: those of the file, then those of the model.
    fn others(
        &self,
        prompt: &str,
        (wordings, at): (&Wordings<'_>, &Path),
        worded: &mut Worded,
        problems: &mut Problems,
    ) -> Vec<String> {
        let mut others = Vec::new();
        if let Some(file) = wordings.file {
            let at = at.key("wordings_file");
            worded.files.insert(file.to_owned());
            match (self.read)(file) {
                Err(message) => drop(problems.error("unreadable-file", at, message)),
                Ok(text) => {
                    for wording in split(&text) {
                        if wording.trim() == prompt.trim() || others.contains(&wording) {
                            let start: String = wording.chars().take(40).collect();
                            let message = format!("`{file}` has a wording twice, or the stage's own prompt: {start:?}");
                            problems.error("bad-value", at.clone(), message).help("leave it out");
                        } else {
                            others.push(wording);
                        }
                    }
                    if others.is_empty() {
                        let message = format!("`{file}` has no other wording");
                        let help = "write each wording as in `prompt`, with a line `---` between two of them";
                        problems.error("bad-value", at, message).help(help);
                    }
                }
            }
        }
        if let Some(paraphrase) = wordings.paraphrase {
            others.extend(self.paraphrased(prompt, paraphrase, at, (worded, problems)));
        }
        others
    }

    fn paraphrased(
        &self,
        prompt: &str,
        paraphrase: &Paraphrase,
        at: &Path,
        (worded, problems): (&mut Worded, &mut Problems),
    ) -> Vec<String> {
        let (stage, n) = (at.last_key().unwrap_or_default().to_owned(), paraphrase.n.get() as usize);
        let models = self.document.root.get("models");
        let Some(model) = models.and_then(|models| models.get(&paraphrase.model)) else {
            let names = models.iter().flat_map(|models| models.entries()).map(|entry| entry.key.as_str());
            let message = format!("there is no model `{}`", paraphrase.model);
            let at = at.key("paraphrase").key("model");
            problems.error("unknown-model", at, message).choices(&paraphrase.model, "models", names);
            return Vec::new();
        };
        let of = serde_json::json!({ "prompt": prompt, "model": model.to_json(), "n": n });
        let of = blake3::hash(of.to_string().as_bytes()).to_hex()[..16].to_owned();
        match self.paraphrases.get(&stage).filter(|written| written.of == of) {
            Some(written) => {
                worded.written.insert(stage, written.clone());
                written.wordings.clone()
            }
            None => {
                let marks = (1..=n).map(|number| format!("{prompt}\n(wording {number})")).collect();
                let (model, prompt) = (paraphrase.model.clone(), prompt.to_owned());
                worded.unwritten.push(Unwritten { stage, model, prompt, n, of });
                marks
            }
        }
    }
}

/// The wordings of a file.
fn split(text: &str) -> Vec<String> {
    let mut wordings = vec![Vec::new()];
    for line in text.lines() {
        match line.trim() == BETWEEN {
            true => wordings.push(Vec::new()),
            false => wordings.last_mut().expect("it starts with one").push(line),
        }
    }
    let trimmed = wordings.into_iter().map(|lines| lines.join("\n").trim().to_owned());
    trimmed.filter(|wording| !wording.is_empty()).collect()
}

/// Fields of a stage that its grid sets, or that do not fit it.
const LEFT_OUT: [&str; 9] =
    ["prompt", "prompt_file", "fanout", "layout", "suffix", "replicates", "corrections", "audit", "input"];

fn table(asked: &Node, wordings: &Wordings<'_>, prompt: &str, others: &[String]) -> Node {
    let of = |value: Value| Node { value, span: asked.span.clone() };
    let list = |items: Vec<Value>| of(Value::List(items.into_iter().map(of).collect()));
    let mut axes: Vec<(String, Node)> = Vec::new();
    let mut table = asked.clone();
    table.retain(|key| !LEFT_OUT.contains(&key));
    let input = wordings.rows.or_else(|| asked.get("input")?.as_str()).unwrap_or_default();
    table.put(&["input".to_owned()], of(Value::String(input.to_owned())));
    let text = |text: &str| Value::String(text.to_owned());
    let prompts = [prompt].into_iter().chain(others.iter().map(String::as_str)).map(text);
    axes.push(("prompt".to_owned(), list(prompts.collect())));
    if let Some(models) = asked.get("models").filter(|models| models.items().len() > 1) {
        table.retain(|key| key != "models");
        let each = models.items().iter().map(|model| Value::List(vec![model.clone()]));
        axes.push(("models".to_owned(), list(each.collect())));
    }
    if !wordings.temperatures.is_empty() {
        let levels = wordings.temperatures.iter().map(|temperature| Value::Float(*temperature));
        axes.push((format!("{MODEL}.temperature"), list(levels.collect())));
    }
    let [own, other] = [wordings.replicates, wordings.others].map(|number| Value::Integer(number.into()));
    if others.is_empty() || own == other {
        table.put(&["replicates".to_owned()], of(own));
    } else {
        axes.push(("replicates".to_owned(), list(vec![own.clone(), other.clone()])));
        let excluded = [(prompt, &other)].into_iter().chain(others.iter().map(|text| (text.as_str(), &own)));
        let excluded = excluded.map(|(prompt, replicates)| {
            let mut pair = of(Value::Table(Vec::new()));
            pair.put(&["prompt".to_owned()], of(text(prompt)));
            pair.put(&["replicates".to_owned()], of(replicates.clone()));
            pair.value
        });
        axes.push(("exclude".to_owned(), list(excluded.collect())));
    }
    let mut grid = of(Value::Table(Vec::new()));
    for (key, levels) in axes {
        grid.put(&[key], levels);
    }
    table.put(&[GRID.to_owned()], grid);
    table
}
