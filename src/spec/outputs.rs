//! Outputs: the files of the tables and their formats.

use std::path::Path as FilePath;

use super::language::OutputTable;
use super::paths;
use super::pipeline::{OutputSpec, Spec, TableFormat};
use super::read::Raw;
use super::resolve::Resolver;
use super::table::SourceSpec;
use crate::document::Path;
use crate::name::Name;

impl Resolver<'_> {
    pub(super) fn output(&mut self, spec: &Spec, raw: &Raw, name: &Name, table: &OutputTable) -> Option<OutputSpec> {
        let at = Path::of(["outputs", name.as_str()]);
        let input = self.find(spec, &at.key("input"), &table.input);
        self.known_input(raw, at.key("input"), &table.input, None);
        let format = TableFormat::of(&table.path);
        if format.is_none() {
            let message = format!("`{}` does not say the format", table.path);
            let help = "end it in `.parquet`, `.csv` or `.jsonl`";
            self.error("bad-value", at.key("path"), message).help(help);
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

    fn source_over(&self, spec: &Spec, file: &FilePath) -> Option<String> {
        let real = |path: &FilePath| path.canonicalize().unwrap_or_else(|_| path.to_owned());
        let reads =
            |s: &SourceSpec| s.source.files(self.folder).is_ok_and(|files| files.iter().any(|f| real(f) == real(file)));
        spec.sources().find(|(_, s)| reads(s)).map(|(_, s)| s.name.to_string())
    }
}
