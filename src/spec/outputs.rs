//! Outputs: the files of the tables, their formats, and the columns that they have.

use std::path::{Path as FilePath, PathBuf};
use std::sync::Arc;

use arrow_schema::{Field, Schema, SchemaRef};
use serde_json::{Map, Value};

use super::format::TableFormat;
use super::language::OutputTable;
use super::paths;
use super::pipeline::{OutputSpec, Spec};
use super::read::Raw;
use super::resolve::Resolver;
use super::table::SourceSpec;
use crate::document::{Path, Problems};
use crate::name::Name;
use crate::object::{Address, Bucket, copy_path};
use crate::source::{files_at_risk, matches_glob};
use crate::table::{Labels, column};

impl Resolver<'_> {
    /// The output of `table` and its codebook.
    pub(super) fn output(
        &mut self,
        spec: &Spec,
        raw: &Raw,
        name: &Name,
        table: &OutputTable,
    ) -> Vec<(Name, OutputSpec)> {
        let at = Path::of(["outputs", name.as_str()]);
        let input = self.find(spec, &at.key("input"), &table.input);
        self.known_input(raw, at.key("input"), &table.input, None);
        let format = TableFormat::of(&table.path);
        if format.is_none() {
            let message = format!("`{}` does not say the format", table.path);
            self.error("bad-value", at.key("path"), message).help(TableFormat::help(&table.path));
        }
        let file = self.output_file(spec, at.key("path"), &table.path);
        let codebook = table.codebook.as_ref().map(|path| (path, self.codebook_file(spec, &at, table, path)));
        let (Some(input), Some(format)) = (input, format) else { return Vec::new() };
        let columns = columns(&spec.relation(input).schema, table, format, &at, self.problems);
        let (Some((columns, schema)), Some(file)) = (columns, file) else { return Vec::new() };
        let Ok((schema, sheet)) = self.sheet(spec, &at, table, (input, &columns, schema)) else { return Vec::new() };
        let own = OutputSpec {
            input,
            path: table.path.clone(),
            file,
            format,
            codebook: format == TableFormat::Markdown,
            holds: format,
            columns,
            schema,
            missing_codes: table.missing_codes,
            bom: table.bom,
            sheet,
            settings: settings(table),
        };
        let mut outputs = vec![(name.clone(), own)];
        if let Some((path, Some((file, format)))) = codebook {
            let own = &outputs[0].1;
            let described =
                OutputSpec { path: path.clone(), file, format, codebook: true, bom: false, sheet: None, ..own.clone() };
            outputs.push((name.part("codebook"), described));
        }
        outputs
    }

    fn codebook_file(
        &mut self,
        spec: &Spec,
        at: &Path,
        table: &OutputTable,
        path: &str,
    ) -> Option<(PathBuf, TableFormat)> {
        let format = TableFormat::of(path).filter(|f| matches!(f, TableFormat::Markdown | TableFormat::Csv));
        if format.is_none() {
            let message = format!("`{path}` does not say the format of the codebook");
            self.error("bad-value", at.key("codebook"), message).help("end it in `.md` or `.csv`");
        }
        if path == table.path {
            self.error("duplicate-output", at.key("codebook"), "the output itself is written to this file");
            return None;
        }
        Some((self.output_file(spec, at.key("codebook"), path)?, format?))
    }

    /// The file at `path`, unless it is outside the folder or in use.
    fn output_file(&mut self, spec: &Spec, at: Path, path: &str) -> Option<PathBuf> {
        let inside = self.inside(at.clone(), path);
        let file = match Address::parse(path) {
            None => paths::plain(&self.folder.join(path)),
            Some(address) => match address.and_then(|address| Bucket::open(&address).map(|_| address)) {
                Ok(address) => copy_path(self.folder, &address),
                Err(error) => {
                    self.error("bad-path", at, error.message).help_if(error.help);
                    return None;
                }
            },
        };
        if let Some((message, help)) = not_a_file(path, &file) {
            self.error("bad-path", at, message).help(help);
            return None;
        }
        if let Some(source) = self.source_over(spec, &file) {
            let message = format!("this output would overwrite the file that source `{source}` reads");
            let help = "write another file; if people fill this one, add `keep = true` and `fill`";
            self.error("output-over-input", at, message).help(help);
            return None;
        }
        if let Some((source, glob)) = self.source_of_glob(spec, path, &file) {
            let message = format!("the source `{source}` reads `{glob}`, so the next run would read this output too");
            self.error("output-over-input", at, message).help("write the output into another folder");
            return None;
        }
        if let Some(read) = self.read_over(spec, &file) {
            let message = format!("this output would overwrite `{read}`, which the spec reads");
            self.error("output-over-input", at, message).help("write another file");
            return None;
        }
        if let Some((other, _)) = spec.outputs.iter().find(|(_, o)| o.file == file) {
            self.error("duplicate-output", at, format!("the output `{other}` is written to the same file"));
            return None;
        }
        Some(file).filter(|_| inside)
    }

    /// The prompt, the examples, the corrections or another file of the spec that `file` is.
    fn read_over(&self, spec: &Spec, file: &FilePath) -> Option<String> {
        let read = self.reads.borrow().iter().find(|read| is_same(&self.folder.join(read), file)).cloned();
        let replay = || spec.replay.as_ref().filter(|replay| is_same(replay, file));
        read.or_else(|| Some(replay()?.display().to_string()))
    }

    /// The source whose glob matches an output that is not there yet, and the glob.
    fn source_of_glob(&self, spec: &Spec, path: &str, file: &FilePath) -> Option<(String, String)> {
        let below = || file.strip_prefix(paths::plain(self.folder)).ok();
        let file = Address::parse(path).map_or_else(below, |_| Some(FilePath::new(path)))?;
        let mut sources = spec.sources().filter(|(_, source)| source.source.sheet().is_none());
        sources.find_map(|(_, source)| {
            let mut paths = source.source.paths().into_iter().map(|(_, path)| path);
            let glob = paths.find(|path| matches_glob(self.folder, path, file))?;
            Some((source.name.to_string(), glob))
        })
    }

    fn source_over(&self, spec: &Spec, file: &FilePath) -> Option<String> {
        let reads = |s: &SourceSpec| files_at_risk(s.source.as_ref(), self.folder).iter().any(|f| is_same(f, file));
        spec.sources().find(|(_, s)| s.source.sheet().is_none() && reads(s)).map(|(_, s)| s.name.to_string())
    }
}

/// Why no file can be written at `path`, and what helps.
fn not_a_file(path: &str, file: &FilePath) -> Option<(String, &'static str)> {
    if file.is_dir() {
        return Some((format!("`{path}` is a folder"), "name a file in it, or give the output another name"));
    }
    let above = file.ancestors().skip(1).find(|above| above.is_file())?;
    let name = above.file_name().unwrap_or_default().to_string_lossy();
    Some((format!("`{path}` would be in `{name}`, which is a file"), "write the output into a folder"))
}

fn is_same(one: &FilePath, other: &FilePath) -> bool {
    let real = |path: &FilePath| path.canonicalize().unwrap_or_else(|_| path.to_owned());
    real(one) == real(other)
}

impl OutputSpec {
    /// The address of the object that the output is. `file` is the copy of it.
    pub(crate) fn address(&self) -> Option<Address> {
        Address::parse(&self.path)?.ok()
    }

    /// Whether the file has other columns, or other names for them, than the table of `input`.
    pub(crate) fn is_shaped(&self) -> bool {
        ["columns", "drop", "rename"].iter().any(|key| self.settings.contains_key(*key))
    }
}

/// The fields of an output that change its content, as written.
fn settings(table: &OutputTable) -> Map<String, Value> {
    let Ok(Value::Object(mut fields)) = serde_json::to_value(table) else { return Map::new() };
    ["input", "path"].iter().for_each(|key| drop(fields.remove(*key)));
    fields
}

/// The columns of an output, as indices into its input, and its schema.
fn columns(
    input: &SchemaRef,
    table: &OutputTable,
    format: TableFormat,
    at: &Path,
    problems: &mut Problems,
) -> Option<(Vec<usize>, SchemaRef)> {
    let before = problems.mark();
    let fitting = [
        ("bom", table.bom, format == TableFormat::Csv, "CSV"),
        ("missing_codes", table.missing_codes, format.has_missing_codes(), "Stata (.dta) and SPSS (.sav)"),
    ];
    for (key, _, _, holder) in fitting.iter().filter(|(_, set, fits, _)| *set && !fits) {
        problems.error_at_key("unused-field", at.key(key), format!("`{key}` is for {holder}")).help("remove it");
    }
    if !table.labels.is_empty() && !format.has_labels() && table.codebook.is_none() {
        let message = "a text file has no place for `labels`";
        let help = "add `codebook = \"codebook.md\"`, or write .xlsx, .dta, .sav, .parquet or .arrow";
        problems.error_at_key("unused-field", at.key("labels"), message).help(help);
    }
    let chosen = chosen(input, table, at, problems);
    let mut find = |key: &str, name: &str| {
        let place = at.key(key).key(name);
        let index = column(input, name, "the input", place.clone(), problems)?;
        if !chosen.contains(&index) {
            problems.error_at_key("unknown-column", place, format!("the output does not have `{name}`"));
        }
        Some(index)
    };
    let renamed: Vec<(usize, &String)> =
        table.rename.iter().filter_map(|(old, new)| Some((find("rename", old)?, new))).collect();
    let labelled: Vec<(usize, &String)> =
        table.labels.iter().filter_map(|(name, label)| Some((find("labels", name)?, label))).collect();
    let mut fields: Vec<Field> = Vec::new();
    for index in &chosen {
        let mut field = input.field(*index).clone();
        if let Some((_, label)) = labelled.iter().find(|(other, _)| other == index) {
            field = Labels { variable: Some((*label).clone()), ..Labels::of(&field) }.on(field);
        }
        if let Some((_, new)) = renamed.iter().find(|(other, _)| other == index) {
            field = field.with_name((*new).clone());
        }
        let name = field.name();
        let place = at.key("rename").key(input.field(*index).name());
        if name.trim().is_empty() {
            problems.error("bad-value", place, "the new name is empty");
        } else if fields.iter().any(|other| other.name() == name) {
            problems.error("duplicate-column", place, format!("two columns of the output are called `{name}`"));
        }
        fields.push(field);
    }
    if let Some(most) = format.most_columns().filter(|most| *most < fields.len()) {
        let message = format!("the table has {} columns; the format holds {most}", fields.len());
        problems.error("bad-value", at.key("path"), message).help("choose some in `columns`, or write .parquet");
    }
    let schema = if settings(table).is_empty() { input.clone() } else { Arc::new(Schema::new(fields)) };
    problems.clean_since(before).then_some((chosen, schema))
}

/// The columns that `columns` and `drop` choose.
fn chosen(input: &Schema, table: &OutputTable, at: &Path, problems: &mut Problems) -> Vec<usize> {
    let mut listed = |key: &str, names: &[String]| {
        let mut found = Vec::new();
        for (i, name) in names.iter().enumerate() {
            let place = at.key(key).index(i);
            match column(input, name, "the input", place.clone(), problems) {
                Some(index) if found.contains(&index) => {
                    problems.error("bad-value", place, format!("`{name}` is listed twice in `{key}`"));
                }
                index => found.extend(index),
            }
        }
        found
    };
    let all = 0..input.fields().len();
    let chosen = match (&table.columns, &table.drop) {
        (Some(columns), _) => listed("columns", columns),
        (None, drop) => {
            let dropped = listed("drop", drop.as_deref().unwrap_or_default());
            all.filter(|index| !dropped.contains(index)).collect()
        }
    };
    if table.columns.is_some() && table.drop.is_some() {
        let message = "an output has `columns` or `drop`, not both";
        problems.error_at_key("bad-value", at.key("drop"), message).help("remove one of them");
    }
    if chosen.is_empty() && (table.columns.is_some() || table.drop.is_some()) {
        let key = if table.columns.is_some() { "columns" } else { "drop" };
        problems.error("bad-value", at.key(key), "the output has no columns");
    }
    chosen
}

impl Spec {
    /// The outputs that hold rows. Codebooks describe them.
    pub(crate) fn table_outputs(&self) -> impl Iterator<Item = (&Name, &OutputSpec)> {
        self.outputs.iter().filter(|(_, output)| !output.codebook)
    }
}
