//! Outputs: which file holds which table, and in which format.

use std::path::Path as FilePath;

use super::paths;
use super::read::OutputTable;
use super::resolve::Resolver;
use super::{OutputSpec, SourceSpec, Spec};
use crate::document::Path;
use crate::name::{Name, listed, nearest};

/// The formats of an output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Parquet, zstd-compressed.
    Parquet,
    /// Comma-separated values with a header.
    Csv,
    /// A JSON object per line.
    Jsonl,
}

/// The extensions of the formats.
pub const EXTENSIONS: [&str; 3] = ["parquet", "csv", "jsonl"];

impl Format {
    /// The format of a path, by its extension.
    pub fn of(path: &str) -> Option<Format> {
        match FilePath::new(path).extension()?.to_str()? {
            "parquet" => Some(Format::Parquet),
            "csv" => Some(Format::Csv),
            "jsonl" => Some(Format::Jsonl),
            _ => None,
        }
    }
}

impl Resolver<'_> {
    pub(super) fn output(
        &mut self,
        spec: &Spec,
        unknown: &[String],
        name: &Name,
        table: &OutputTable,
    ) -> Option<OutputSpec> {
        let at = Path::of(["outputs", name.as_str()]);
        let input = spec.find(&table.input);
        if input.is_none() && !unknown.contains(&table.input) {
            let names: Vec<&str> =
                spec.tables().map(|(_, table)| table.name()).filter(|name| !name.contains('.')).collect();
            let help = match nearest(&table.input, names.iter().copied()) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("the sources and stages are {}", listed(names)),
            };
            let message = format!("there is no source or stage `{}`", table.input);
            self.error("unknown-input", at.key("input"), message).help(help);
        }
        let format = Format::of(&table.path);
        if format.is_none() {
            let message = format!("`{}` does not say the format", table.path);
            let extensions: Vec<String> = EXTENSIONS.iter().map(|e| format!(".{e}")).collect();
            self.error("bad-value", at.key("path"), message)
                .help(format!("end it in {}", listed(extensions.iter().map(String::as_str))));
        }
        let inside = self.inside(at.key("path"), &table.path);
        let file = paths::plain(&self.folder.join(&table.path));
        if let Some(source) = self.source_over(spec, &file) {
            let message = format!("this output would overwrite the file that source `{source}` reads");
            self.error("output-over-input", at.key("path"), message);
            return None;
        }
        if let Some((other, _)) = spec.outputs.iter().find(|(_, o)| o.file == file) {
            let message = format!("the output `{other}` is written to the same file");
            self.error("duplicate-output", at.key("path"), message);
            return None;
        }
        let (input, format) = (input?, format.filter(|_| inside)?);
        Some(OutputSpec { input, path: table.path.clone(), file, format })
    }

    /// The source that reads `file`.
    fn source_over(&self, spec: &Spec, file: &FilePath) -> Option<String> {
        let real = |path: &FilePath| path.canonicalize().unwrap_or_else(|_| path.to_owned());
        let reads =
            |s: &SourceSpec| s.source.files(self.folder).is_ok_and(|files| files.iter().any(|f| real(f) == real(file)));
        spec.sources().find(|(_, s)| reads(s)).map(|(_, s)| s.name.to_string())
    }
}
