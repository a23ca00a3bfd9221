//! The command `fanfold ask`: writes the spec of one question about a data file, shows it and runs it.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use super::data::{DataFile, file_in, quoted, reading};
use super::init::write;
use super::run::Run;
use super::selection::SelectionArguments;
use super::terminal::typed;
use super::{Exit, Failure, Terminal};
use crate::name::Name;
use crate::provider::PROVIDERS;
use crate::provider::weights::Builtin;
use crate::spec::TableFormat;

/// Asks a model one question about every row of a data file. Writes the spec, shows it and runs it.
///
/// The spec is a file like any other: change it, and go on with `fanfold run`. The same question again continues. What
/// exists is never overwritten.
#[derive(Debug, clap::Args)]
pub(crate) struct Ask {
    /// The data file (CSV, Excel, Parquet, JSON Lines, SPSS, Stata).
    file: PathBuf,
    /// The column with the texts [default: the one with the longest texts].
    #[arg(long, value_name = "COLUMN")]
    column: Option<String>,
    /// The question about each row, such as "What is the tone?". The text of the row follows, unless the question reads a
    /// column itself: "Is {{ title }} a title?".
    #[arg(long, value_name = "TEXT", required_unless_present = "fill")]
    prompt: Option<String>,
    /// The only answers: a column `label` with one of them.
    #[arg(long, value_name = "A,B,C", value_delimiter = ',', conflicts_with = "fill")]
    labels: Vec<String>,
    /// Columns to fill from the text where they are empty. A column that is not in the file is new.
    #[arg(long, value_name = "COLUMN,COLUMN", value_delimiter = ',')]
    fill: Vec<String>,
    /// The model, such as `llama3.2`, `gpt-4o-mini` or `openai:gpt-4o-mini`; may be repeated, so that each answers every row
    /// [default: a very small model inside this process].
    #[arg(long, value_name = "MODEL")]
    model: Vec<String>,
    /// The name of the spec, without `.toml` [default: the name of the data file].
    #[arg(long, value_name = "NAME")]
    name: Option<Name>,
    #[command(flatten)]
    selected: SelectionArguments,
    /// Only write and show the spec.
    #[arg(short = 'n', long)]
    dry_run: bool,
    /// Do not ask before calls that cost more than `confirm_above` of the budget.
    #[arg(short, long)]
    yes: bool,
}

const DEFAULT_MODEL: &str = "embedded:smollm2:135m";

impl Ask {
    pub(crate) fn run(self, terminal: &Terminal) -> Result<Exit, Failure> {
        let data = DataFile::read(&self.file)?;
        let column = self.column.clone().unwrap_or_else(|| data.text.clone());
        data.has(&column)?;
        let (path, is_new) = self.place(&data, &column)?;
        let text = self.spec(&data, &column, &stem(&path));
        terminal.note(text.trim_end());
        terminal.note("");
        match is_new {
            true => write(&path, &text, terminal)?,
            false => terminal.note(&format!("{} has this question already", path.display())),
        }
        if self.model.is_empty() {
            terminal.note("the default model is very small and often wrong; choose a larger one with `--model`");
        }
        if self.dry_run {
            terminal.note(&format!("next: fanfold run {}", typed(&path)));
            return Ok(Exit::Ok);
        }
        Run::of(path, self.selected, self.yes).run(terminal)
    }

    /// The file of the spec, and whether it is new. A file with another content gets a number.
    fn place(&self, data: &DataFile, column: &str) -> Result<(PathBuf, bool), Failure> {
        let name = self.name.clone().unwrap_or_else(|| data.stem());
        let names = std::iter::once(name.to_string()).chain((2..1000).map(|number| format!("{name}-{number}")));
        for name in names {
            let path = file_in(&data.folder, &format!("{name}.toml"));
            match std::fs::read_to_string(&path) {
                Ok(text) if text == self.spec(data, column, &name) => return Ok((path, false)),
                Err(error) if error.kind() == std::io::ErrorKind::NotFound && !self.has_output(data, &name) => {
                    return Ok((path, true));
                }
                _ => {}
            }
        }
        Err(Failure::new(Exit::Spec, format!("every name from `{name}` on is taken")).help("choose one with `--name`"))
    }

    /// Whether the output of a new spec would replace a file.
    fn has_output(&self, data: &DataFile, name: &str) -> bool {
        data.folder.join(output(data, name)).exists()
    }

    fn spec(&self, data: &DataFile, column: &str, name: &str) -> String {
        let models: Vec<(String, String, &str)> = match self.model.as_slice() {
            [] => vec![model(DEFAULT_MODEL)],
            several => several.iter().map(|name| model(name)).collect(),
        };
        let mut text = format!("name = {}\nseed = 42\n", quoted(name));
        let mut names: Vec<String> = Vec::new();
        for (provider, id, short) in &models {
            let mut name = short.to_string();
            while names.contains(&name) {
                name.push('_');
            }
            let _ = write!(
                text,
                "\n[models.{name}]\nprovider = {}\nmodel = {}\ntemperature = 0.0\n",
                quoted(provider),
                quoted(id)
            );
            names.push(name);
        }
        let source = data.stem();
        let _ = write!(text, "\n[sources.{source}]\ntype = \"file\"\npath = {}\n", quoted(&data.name));
        if let Some(key) = &data.key {
            let _ = writeln!(text, "key = {}", quoted(key));
        }
        data.settings.iter().for_each(|setting| text.push_str(&format!("{setting}\n")));
        let list: Vec<String> = names.iter().map(|name| quoted(name)).collect();
        let kind = if self.fill.is_empty() { "analysis" } else { "fill-missing" };
        let _ = write!(
            text,
            "\n[stages.answer]\ntype = \"{kind}\"\ninput = \"{source}\"\nmodels = [{}]\n",
            list.join(", ")
        );
        if names.len() > 1 {
            text.push_str("fanout = true\n");
        }
        self.write_question(&mut text, data, column);
        let _ = write!(text, "\n[outputs.answer]\ninput = \"answer\"\npath = {}\n", quoted(&output(data, name)));
        text
    }

    fn write_question(&self, text: &mut String, data: &DataFile, column: &str) {
        if !self.fill.is_empty() {
            let _ = writeln!(text, "text_column = {}", quoted(column));
        }
        if let Some(prompt) = &self.prompt {
            let read = if self.fill.is_empty() { reading(column) } else { "{{ text }}".to_owned() };
            let follows = if prompt.contains("{{") { String::new() } else { format!("\n\n{read}") };
            let _ = writeln!(text, "prompt = {}", quoted(&format!("{prompt}{follows}")));
        }
        if !self.labels.is_empty() {
            let labels: Vec<String> = self.labels.iter().map(|label| quoted(label.trim())).collect();
            let _ = writeln!(text, "output.label = {{ type = \"string\", enum = [{}] }}", labels.join(", "));
        }
        for (number, field) in self.fill.iter().map(|field| field.trim()).enumerate() {
            let key = Name::new(field).map_or_else(|_| format!("field_{}", number + 1), String::from);
            let _ =
                write!(text, "\n[stages.answer.fields.{key}]\ntype = \"string\"\ndescription = {}\n", quoted(field));
            match data.columns.iter().any(|name| name == field) {
                // Several models can't fill one column, and a text doesn't fit into a column of numbers.
                true if self.model.len() < 2 && data.has_texts(field) => {
                    let _ = writeln!(text, "column = {}\ntarget = \"in_place\"", quoted(field));
                }
                true => drop(writeln!(text, "column = {}", quoted(field))),
                false => drop(writeln!(text, "target = {}", quoted(field))),
            }
        }
    }
}

fn stem(path: &Path) -> String {
    path.file_stem().unwrap_or_default().to_string_lossy().into_owned()
}

/// The path of the output: in the format of the data file, if tables are written in it.
fn output(data: &DataFile, name: &str) -> String {
    let extension = data.name.rsplit('.').next().unwrap_or_default().to_lowercase();
    let is_written = TableFormat::of(&format!("a.{extension}")).is_some_and(|format| format != TableFormat::Markdown);
    format!("out/{name}.{}", if is_written { &extension } else { "csv" })
}

/// The provider, the id and a short name of a model.
fn model(name: &str) -> (String, String, &'static str) {
    let provider =
        PROVIDERS.iter().map(|kind| kind.name).find(|kind| name.starts_with(&format!("{kind}:")) || name == *kind);
    if let Some(kind) = provider {
        let id = name[kind.len()..].trim_start_matches(':');
        return (kind.to_owned(), if id.is_empty() { "any" } else { id }.to_owned(), kind);
    }
    let starts = |words: &[&str]| words.iter().any(|word| name.starts_with(word));
    let kind = match name {
        _ if starts(&["gpt-", "chatgpt-", "o1", "o3", "o4"]) => "openai",
        _ if starts(&["claude"]) => "anthropic",
        _ if starts(&["gemini"]) => "gemini",
        _ if Builtin::find(name).is_some() || name.ends_with(".gguf") => "embedded",
        _ => "ollama",
    };
    (kind.to_owned(), name.to_owned(), kind)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_is_found_by_its_name() {
        for (name, provider, id) in [
            ("llama3.2", "ollama", "llama3.2"),
            ("llama3.2:1b", "ollama", "llama3.2:1b"),
            ("gpt-4o-mini", "openai", "gpt-4o-mini"),
            ("openai:local-model", "openai", "local-model"),
            ("claude-sonnet-4", "anthropic", "claude-sonnet-4"),
            ("gemini-2.0-flash", "gemini", "gemini-2.0-flash"),
            ("smollm2:135m", "embedded", "smollm2:135m"),
            ("models/a.gguf", "embedded", "models/a.gguf"),
            ("mock", "mock", "any"),
        ] {
            let found = model(name);
            assert_eq!((found.0.as_str(), found.1.as_str()), (provider, id), "{name}");
        }
    }
}
