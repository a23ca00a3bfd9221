//! The command `fanfold init`: a first spec of a kind, with example data or for a data file.

use std::path::{Path, PathBuf};

use clap::ValueEnum;

use super::data::{DataFile, file_in, quoted, reading};
use super::only_spec::specs_in;
use super::terminal::typed;
use super::{Exit, Failure, Terminal};
use crate::report::text::listed_briefly;
use crate::spec::schema::schema;

const MODEL: &str = include_str!("init/model.toml");
const SCHEMA: &str = "pipeline.schema.json";
const IGNORED: &str = "# What fanfold keeps, and the tables that it writes.\n.fanfold/\nout/\n";
const UNCHANGED: &str =
    "# Git changes no ends of lines: prompts and data are the same bytes on every system.\n* -text\n";
/// The most columns of a data file that the spec names.
const COLUMNS: usize = 20;

/// Writes a commented starter spec, a few rows for it, its schema for editors, a `.gitignore` and a `.gitattributes`.
///
/// `--from data.csv` writes a spec for a data file of yours: it names its columns and guesses the key and the text.
/// What exists is never overwritten. `fanfold ask` writes and runs a spec for one question.
#[derive(Debug, clap::Args)]
pub(crate) struct Init {
    /// The folder; created if it does not exist [default: the current folder, or that of the data file].
    folder: Option<PathBuf>,
    /// What the spec does.
    #[arg(long, value_enum, default_value = "label", value_name = "TEMPLATE")]
    template: Template,
    /// A data file in the folder (CSV, Excel, Parquet, JSON Lines, SPSS, Stata).
    #[arg(long, value_name = "FILE")]
    from: Option<PathBuf>,
    /// The name of the pipeline. The spec is NAME.toml.
    #[arg(long, value_name = "NAME", default_value = "pipeline")]
    name: crate::name::Name,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Template {
    /// Sorts texts into labels.
    Label,
    /// Extracts facts from texts, each with the words that support it.
    Extract,
    /// Asks made-up respondents a questionnaire.
    Survey,
    /// Splits long texts, and brings the answers about their pieces together.
    Long,
}

/// The data of a template.
struct Data<'a> {
    path: &'a str,
    key: Option<&'a str>,
    text: &'a str,
    source: String,
    settings: &'a [String],
}

impl Template {
    fn spec(self) -> &'static str {
        match self {
            Template::Label => include_str!("init/label.toml"),
            Template::Extract => include_str!("init/extract.toml"),
            Template::Survey => include_str!("init/survey.toml"),
            Template::Long => include_str!("init/long.toml"),
        }
    }

    /// The name of the data file of the template, its text, and the column to read.
    fn rows(self) -> Option<(&'static str, &'static str, &'static str)> {
        match self {
            Template::Label => Some(("remarks.csv", include_str!("init/remarks.csv"), "remark")),
            Template::Extract => Some(("letters.csv", include_str!("init/letters.csv"), "letter")),
            Template::Long => Some(("texts.csv", include_str!("init/texts.csv"), "text")),
            Template::Survey => None,
        }
    }

    fn over(self, data: &Data<'_>) -> String {
        let key = match data.key {
            Some(key) => {
                format!("key = {:<27}# the column that identifies a row; default: the row's number", quoted(key))
            }
            None => "# key = \"id\"                     # a column that identifies a row; default: the row's number"
                .to_owned(),
        };
        let key: Vec<&str> = [key.as_str()].into_iter().chain(data.settings.iter().map(String::as_str)).collect();
        self.spec()
            .replace("@source@", &data.source)
            .replace("@path@", &quoted(data.path))
            .replace("@key@", &key.join("\n"))
            .replace("@group@", &data.key.map(quoted).unwrap_or_default())
            .replace("@column@", &quoted(data.text))
            .replace("@text@", &reading(data.text))
    }
}

impl Init {
    pub(crate) fn run(self, terminal: &Terminal) -> Result<Exit, Failure> {
        let data = self.from.as_deref().map(|file| self.data(file)).transpose()?;
        let near = data.as_ref().map_or(Path::new("."), |data| &data.folder);
        let folder = self.folder.clone().unwrap_or_else(|| near.to_owned());
        let spec = file_in(&folder, &format!("{}.toml", self.name));
        self.check(&folder, &spec)?;
        let (body, columns, rows) = self.body(data.as_ref());
        let name = spec.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let text = format!(
            "{}\n{columns}name = {}\nseed = 42                        # sent to models that accept one, \
                            and draws samples\n\n{MODEL}\n{body}",
            head(&name),
            quoted(self.name.as_str())
        );
        write(&spec, &text, terminal)?;
        if let Some((file, rows)) = rows {
            write_new(&file_in(&folder, file), rows, terminal)?;
        }
        write_new(
            &file_in(&folder, SCHEMA),
            &(serde_json::to_string_pretty(&schema()).unwrap_or_default() + "\n"),
            terminal,
        )?;
        write_new(&file_in(&folder, ".gitignore"), IGNORED, terminal)?;
        write_new(&file_in(&folder, ".gitattributes"), UNCHANGED, terminal)?;
        if let Some(data) = &data {
            let key =
                data.key.as_ref().map_or("no column looks like a key".to_owned(), |key| format!("its key is `{key}`"));
            terminal
                .note(&format!("{}: the prompt reads `{}`, and {key}; check both in the spec", data.name, data.text));
        }
        terminal.note(&format!("next: fanfold plan {0}, then fanfold run {0}", spec.display()));
        Ok(Exit::Ok)
    }

    fn data(&self, file: &Path) -> Result<DataFile, Failure> {
        if self.template == Template::Survey {
            let help = "use another template; a survey of the rows of a file has `input` = their source";
            return Err(Failure::new(Exit::Spec, "the template `survey` makes up its respondents").help(help));
        }
        let data = DataFile::read(file)?;
        let real = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_owned());
        match &self.folder {
            Some(folder) if real(folder) != real(&data.folder) => {
                let message = format!("`{}` is not in the folder `{}`", file.display(), folder.display());
                Err(Failure::new(Exit::Spec, message).help("a spec reads files of its folder: copy it there"))
            }
            _ => Ok(data),
        }
    }

    /// Refuses to write over files, and says how to go on.
    fn check(&self, folder: &Path, spec: &Path) -> Result<(), Failure> {
        if !spec.exists() {
            return Ok(());
        }
        let specs = specs_in(folder);
        let message = format!("{} already exists", spec.display());
        let run = specs.first().map_or(spec.to_owned(), |first| file_in(folder, first));
        let help = format!(
            "to use it: fanfold run {}\nfor another spec in this folder: fanfold init --name NAME\nfor another folder: \
             fanfold init FOLDER",
            typed(&run)
        );
        Err(Failure::new(Exit::Spec, message).help(help))
    }

    /// The part of the spec about the data, a comment about its columns, and the data file to write.
    fn body(&self, data: Option<&DataFile>) -> (String, String, Option<(&'static str, &'static str)>) {
        if let Some(data) = data {
            let columns = listed_briefly(&data.columns, COLUMNS);
            let of = Data {
                path: &data.name,
                key: data.key.as_deref(),
                text: &data.text,
                source: data.stem().to_string(),
                settings: &data.settings,
            };
            // The headers of workbooks may have several lines, which a comment can't have.
            let comment = format!("# The columns of {}: {columns}", data.name).replace(char::is_control, " ");
            return (self.template.over(&of), comment + "\n\n", None);
        }
        match self.template.rows() {
            Some((file, rows, text)) => {
                let source = file.trim_end_matches(".csv").to_owned();
                let of = Data { path: file, key: Some("id"), text, source, settings: &[] };
                (self.template.over(&of), String::new(), Some((file, rows)))
            }
            None => (self.template.spec().to_owned(), String::new(), None),
        }
    }
}

fn head(spec: &str) -> String {
    format!(
        "#:schema ./{SCHEMA}\n\n# A fanfold pipeline: the input rows, the prompt for each row, the models, and the output file.\n\
         #   fanfold validate {spec:<18} shows every problem; sends nothing\n\
         #   fanfold plan {spec:<22} shows what a run would do and cost; sends nothing\n\
         #   fanfold run {spec:<23} runs it; another run sends only the missing calls\n"
    )
}

fn write_new(path: &Path, text: &str, terminal: &Terminal) -> Result<(), Failure> {
    if path.exists() {
        terminal.note(&format!("kept {}", path.display()));
        return Ok(());
    }
    write(path, text, terminal)
}

pub(super) fn write(path: &Path, text: &str, terminal: &Terminal) -> Result<(), Failure> {
    let folder = path.parent().unwrap_or(Path::new("."));
    let written = std::fs::create_dir_all(folder).and_then(|()| std::fs::write(path, text));
    let shown = path.display();
    written.map_err(|error| Failure::new(Exit::Environment, format!("{shown} can't be written: {error}")))?;
    terminal.note(&format!("wrote {shown}"));
    Ok(())
}
