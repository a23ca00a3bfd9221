//! The arguments of `run` and `plan` that choose rows, stages and settings.

use std::path::{Path, PathBuf};
use std::str::FromStr;

use crate::cluster::quoted;
use crate::name::{Name, listed};
use crate::plan::{RowChoice, Selection};
use crate::report::runs::{rows_in_words, settings_in_words};
use crate::table::files::folder_of;

/// Rows, stages and settings. The outputs of such a run have other names than those of a full run.
#[derive(Clone, Debug, Default, clap::Args)]
pub(crate) struct SelectionArguments {
    /// Only the first N rows of each source. The outputs are written as `NAME.limit-N.csv` and replace no others.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..), group = "some_rows")]
    limit: Option<u64>,
    /// Only N rows of each source, drawn by the seed of the spec. The outputs are written as `NAME.sample-N.csv`.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..), group = "some_rows")]
    sample: Option<u64>,
    /// Only these rows of each source, by number: `100:200`, `100:` or `:200`. The outputs are written as
    /// `NAME.rows-100-200.csv`.
    #[arg(long, value_name = "FROM:TO", group = "some_rows")]
    rows: Option<RowRange>,
    /// Only this stage and the stages it reads; may be repeated. The outputs are written as `NAME.select-STAGE.csv`.
    #[arg(long, value_name = "STAGE")]
    select: Vec<String>,
    /// Change a setting of the spec for this time, such as `models.small.temperature=0.7`; may be repeated. The outputs are
    /// written as `NAME.set-models.small.temperature-0.7.csv`.
    #[arg(long, value_name = "SETTING=VALUE")]
    set: Vec<String>,
    #[command(flatten)]
    sources: SourceArguments,
}

/// Other files for the sources of a spec.
#[derive(Clone, Debug, Default, clap::Args)]
pub(crate) struct SourceArguments {
    /// Read the rows of a source from another file for this time, such as `speeches=new.parquet`; may be repeated. The
    /// outputs are written as `NAME.source-speeches-new.parquet.csv`.
    #[arg(long, value_name = "NAME=FILE")]
    source: Vec<SourceFile>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct SourceFile {
    name: Name,
    file: PathBuf,
}

impl FromStr for SourceFile {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, file) = text.split_once('=').ok_or("write the source and its file, such as speeches=new.csv")?;
        if file.is_empty() {
            return Err(format!("the file of `{name}` is missing"));
        }
        Ok(SourceFile { name: Name::new(name)?, file: PathBuf::from(file) })
    }
}

impl SourceArguments {
    /// The settings that read these files. Paths are relative to the folder of `spec`, if the file is in it.
    pub(crate) fn settings(&self, spec: &Path) -> Vec<String> {
        let real = |path: &Path| {
            // On Windows, canonical paths begin with `\\?\`, which is not for people, and looks like a glob.
            let real = if cfg!(windows) { Err(()) } else { path.canonicalize().map_err(drop) };
            real.or_else(|()| std::path::absolute(path)).unwrap_or_default()
        };
        let folder = real(folder_of(spec));
        let setting = |SourceFile { name, file }: &SourceFile| {
            let (is_there, file) = (file.exists(), real(file));
            let file = file.strip_prefix(&folder).unwrap_or(&file).display().to_string();
            let file = if cfg!(windows) { file.replace('\\', "/") } else { file };
            // A file whose name looks like a glob.
            format!("sources.{name}={}", if is_there { glob::Pattern::escape(&file) } else { file })
        };
        self.source.iter().map(setting).collect()
    }
}

/// The numbers of the first and the last row, from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct RowRange(u64, u64);

impl FromStr for RowRange {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || "write the numbers of the first and the last row, such as 100:200".to_owned();
        let (first, last) = text.split_once(':').unwrap_or((text, text));
        let number = |text: &str, missing: u64| match text.trim() {
            "" if !text.is_empty() || first != last => Ok(missing),
            digits => digits.parse::<u64>().map_err(|_| wrong()),
        };
        let range = RowRange(number(first, 1)?, number(last, u64::MAX)?);
        if range.0 == 0 {
            return Err("rows are counted from 1".to_owned());
        }
        if range.0 > range.1 { Err(format!("row {} is after row {}", range.0, range.1)) } else { Ok(range) }
    }
}

impl SelectionArguments {
    fn choice(&self) -> RowChoice {
        match (self.limit, self.sample, self.rows) {
            (Some(rows), ..) => RowChoice::First(rows),
            (_, Some(rows), _) => RowChoice::Sample(rows),
            (.., Some(RowRange(first, last))) => RowChoice::Range(first, last),
            _ => RowChoice::All,
        }
    }

    pub(crate) fn selection(&self, spec: &Path) -> Selection {
        Selection { stages: self.select.clone(), rows: self.choice(), set: self.changes(spec) }
    }

    /// The settings of `spec` that are changed for this time.
    pub(crate) fn changes(&self, spec: &Path) -> Vec<String> {
        [self.sources.settings(spec), self.set.clone()].concat()
    }

    /// What a partial run of `spec` ran.
    pub(crate) fn words(&self, spec: &Path) -> String {
        let stages = (!self.select.is_empty())
            .then(|| format!("{} with the stages before", listed(self.select.iter().map(String::as_str))));
        let parts: Vec<String> = rows_in_words(self.choice()).into_iter().chain(stages).collect();
        let ran = if parts.is_empty() { String::new() } else { format!("ran only {}", parts.join(", and only ")) };
        let settings = settings_in_words(&self.changes(spec)).map(|set| format!("ran {set}"));
        [ran].into_iter().filter(|ran| !ran.is_empty()).chain(settings).collect::<Vec<_>>().join("; ")
    }

    /// The arguments as they are typed, each after a space.
    pub(crate) fn typed(&self) -> String {
        let stages = self.select.iter().map(|stage| format!(" --select {stage}"));
        let rows = match self.choice() {
            RowChoice::All => None,
            RowChoice::First(rows) => Some(format!(" --limit {rows}")),
            RowChoice::Sample(rows) => Some(format!(" --sample {rows}")),
            RowChoice::Range(first, u64::MAX) => Some(format!(" --rows {first}:")),
            RowChoice::Range(first, last) => Some(format!(" --rows {first}:{last}")),
        };
        let files = self.sources.source.iter().map(|SourceFile { name, file }| format!("{name}={}", file.display()));
        let files = files.map(|file| format!(" --source {}", quoted(&file)));
        let set = self.set.iter().map(|setting| format!(" --set {}", quoted(setting)));
        stages.chain(rows).chain(files).chain(set).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_of_rows_are_read_in_all_forms() {
        let range = |text: &str| text.parse::<RowRange>().map(|range| (range.0, range.1));
        assert_eq!(range("100:200"), Ok((100, 200)));
        assert_eq!(range("100:"), Ok((100, u64::MAX)));
        assert_eq!(range(":200"), Ok((1, 200)));
        assert_eq!(range("7"), Ok((7, 7)));
        for wrong in ["", ":", "a:b", "0:5", "9:5", "1:2:3", "-1:4"] {
            assert!(range(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_file_of_a_source_is_relative_to_the_spec_if_it_is_beside_it() {
        let folder = tempfile::tempdir().unwrap();
        let real = if cfg!(windows) { folder.path().to_owned() } else { folder.path().canonicalize().unwrap() };
        std::fs::create_dir(real.join("data")).unwrap();
        std::fs::write(real.join("data/new.csv"), "a\n").unwrap();
        let settings = |file: &Path, spec: &str| {
            let source = vec![format!("speeches={}", file.display()).parse().unwrap()];
            SourceArguments { source }.settings(&real.join(spec))
        };
        let file = real.join("data").join("..").join("data").join("new.csv");
        assert_eq!(settings(&file, "spec.toml"), ["sources.speeches=data/new.csv"]);
        let beside = format!("sources.speeches={}", real.join("data/new.csv").display()).replace('\\', "/");
        assert_eq!(settings(&file, "other/spec.toml"), [beside]);
        std::fs::write(real.join("a[1].csv"), "a\n").unwrap();
        assert_eq!(settings(&real.join("a[1].csv"), "spec.toml"), ["sources.speeches=a[[]1[]].csv"]);
        assert_eq!(settings(&real.join("a*.csv"), "spec.toml"), ["sources.speeches=a*.csv"]);
        for wrong in ["speeches", "speeches=", "=new.csv", "a b=new.csv"] {
            assert!(wrong.parse::<SourceFile>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_arguments_are_typed_again_for_a_shell() {
        let set = vec!["models.a.temperature=0.7".to_owned(), "stages.b.prompt=It's {{ x }}".to_owned()];
        let arguments = SelectionArguments { sample: Some(9), set, ..SelectionArguments::default() };
        let expected = r" --sample 9 --set models.a.temperature=0.7 --set 'stages.b.prompt=It'\''s {{ x }}'";
        assert_eq!(arguments.typed(), expected);
    }
}
