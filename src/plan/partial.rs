//! Partial runs: the outputs of a run of some rows or stages get other names, so that they never replace the tables of
//! a full run.

use std::collections::BTreeSet;
use std::path::Path;

use super::rows::RowChoice;
use crate::object::copy_path;
use crate::source::files_at_risk;
use crate::spec::Spec;
use crate::spec::load::other_file;

/// The longest list of stages or settings in a file name, in bytes. A longer list becomes a hash.
const LONGEST: usize = 80;
/// Extensions of compressed files, which follow the extension of the format.
const COMPRESSED: [&str; 4] = ["gz", "zst", "bz2", "xz"];

/// Renames the outputs by `mark`. The error is a path that the spec reads or writes itself.
pub(super) fn rename_outputs(spec: &mut Spec, mark: &str) -> Result<(), String> {
    let real = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let files = spec.sources().flat_map(|(_, source)| files_at_risk(source.source.as_ref(), &spec.folder));
    let outputs = spec.outputs.values().map(|output| output.file.clone());
    let taken: BTreeSet<_> = files.chain(outputs).map(|file| real(&file)).collect();
    for output in spec.outputs.values_mut() {
        output.path = marked(&output.path, mark);
        if let Some(sheet) = &mut output.sheet {
            sheet.reading.path.clone_from(&output.path);
        }
        let name = output.file.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        output.file = match output.address() {
            Some(address) => copy_path(&spec.folder, &address),
            None => output.file.with_file_name(marked(name, mark)),
        };
        if taken.contains(&real(&output.file)) {
            return Err(output.path.clone());
        }
    }
    Ok(())
}

/// The mark of a partial run in the names of its files, such as `select-tone.limit-5`. `None` for a full run.
pub(super) fn mark(stages: &[String], rows: RowChoice, set: &[String]) -> Option<String> {
    let stages: BTreeSet<&str> = stages.iter().map(String::as_str).collect();
    let select = named("select", stages.into_iter().collect::<Vec<_>>().join("+"));
    let (files, set): (Vec<&String>, Vec<&String>) = set.iter().partition(|setting| other_file(setting).is_some());
    let files = files.into_iter().filter_map(|file| other_file(file)).map(|(source, file)| format!("{source}-{file}"));
    let files = named("source", files.collect::<Vec<_>>().join("+"));
    let set = named("set", set.iter().map(|setting| setting.replace('=', "-")).collect::<Vec<_>>().join("+"));
    let marks: Vec<String> = [select, rows.mark(), files, set].into_iter().flatten().collect();
    (!marks.is_empty()).then(|| marks.join("."))
}

/// A mark with `names`, or with their hash if they are long or unfit for a file name.
fn named(kind: &str, names: String) -> Option<String> {
    let is_fit = names.len() <= LONGEST && names.chars().all(|c| c.is_ascii_alphanumeric() || "._-+".contains(c));
    let names = if is_fit { names } else { blake3::hash(names.as_bytes()).to_hex()[..12].to_owned() };
    (!names.is_empty()).then(|| format!("{kind}-{names}"))
}

/// Puts `mark` before the extension of the file: `out/tone.csv` becomes `out/tone.limit-5.csv`.
fn marked(path: &str, mark: &str) -> String {
    let name = path.rfind(['/', '\\']).map_or(0, |slash| slash + 1);
    // A point at the beginning of a name begins no extension.
    let dot = |end: usize| path[name..end].rfind('.').filter(|dot| *dot > 0).map(|dot| name + dot);
    let Some(last) = dot(path.len()) else { return format!("{path}.{mark}") };
    let at = if COMPRESSED.contains(&&path[last + 1..]) { dot(last).unwrap_or(last) } else { last };
    format!("{}.{mark}{}", &path[..at], &path[at..])
}

#[cfg(test)]
mod tests {
    use super::super::rows::RowChoice;
    use super::{mark, marked};

    #[test]
    fn a_mark_names_the_stages_in_order_and_is_short() {
        let owned = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
        let mark = |stages: &[&str], rows, set: &[&str]| mark(&owned(stages), rows, &owned(set));
        let (all, five) = (RowChoice::All, RowChoice::First(5));
        assert_eq!(mark(&[], all, &[]), None);
        assert_eq!(mark(&[], five, &[]).as_deref(), Some("limit-5"));
        assert_eq!(mark(&["why", "tone", "why"], five, &[]).as_deref(), Some("select-tone+why.limit-5"));
        let set = ["models.a.temperature=0.7", "seed=3"];
        assert_eq!(mark(&[], all, &set).as_deref(), Some("set-models.a.temperature-0.7+seed-3"));
        let files = ["sources.a=new.csv", "seed=3"];
        assert_eq!(mark(&[], all, &files).as_deref(), Some("source-a-new.csv.set-seed-3"));
        assert_eq!(mark(&[], all, &["sources.a=d/new.csv"]).map(|mark| mark.len()), Some(19));
        for unfit in ["stages.a.prompt=../{{ x }}", &"models.a.model=m".repeat(9)] {
            assert_eq!(mark(&[], all, &[unfit]).map(|mark| mark.len()), Some(16), "{unfit}");
        }
        let long: Vec<String> = (0..50).map(|number| format!("stage-{number}")).collect();
        let long: Vec<&str> = long.iter().map(String::as_str).collect();
        assert_eq!(mark(&long, all, &[]).map(|mark| mark.len()), Some(19));
    }

    #[test]
    fn the_mark_precedes_the_extension() {
        let cases = [
            ("tone.csv", "tone.limit-5.csv"),
            ("out/tone.parquet", "out/tone.limit-5.parquet"),
            ("out.d/tone", "out.d/tone.limit-5"),
            ("a.b/v1.2.jsonl", "a.b/v1.2.limit-5.jsonl"),
            ("out/tone.csv.gz", "out/tone.limit-5.csv.gz"),
            ("tone.gz", "tone.limit-5.gz"),
            (".hidden", ".hidden.limit-5"),
            ("é/ü.csv", "é/ü.limit-5.csv"),
        ];
        for (path, expected) in cases {
            assert_eq!(marked(path, "limit-5"), expected);
        }
    }
}
