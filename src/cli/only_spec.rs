//! The spec of a command line without one: the only spec of the current folder.

use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};

use clap::builder::{OsStringValueParser, TypedValueParser};

use super::{Exit, Failure};
use crate::document::SpecFormat;
use crate::name::listed;
use crate::source::FileFormat;

/// Why a command without a spec has none.
#[derive(Debug, thiserror::Error)]
pub(super) enum NoSpec {
    #[error("no spec is given, and there is none in this folder")]
    None,
    #[error("no spec is given, and this folder has several: {}", listed(.0.iter().map(String::as_str)))]
    Several(Vec<String>),
}

/// Reads the argument SPEC. The empty default value is the only spec of the current folder.
pub(super) fn parser() -> impl TypedValueParser<Value = PathBuf> {
    OsStringValueParser::new().try_map(|name| if name.is_empty() { only_spec() } else { Ok(PathBuf::from(name)) })
}

pub(super) fn only_spec() -> Result<PathBuf, NoSpec> {
    let mut specs = specs_in(Path::new("."));
    match specs.len() {
        0 => Err(NoSpec::None),
        1 => Ok(PathBuf::from(specs.remove(0))),
        _ => Err(NoSpec::Several(specs)),
    }
}

/// The names of the specs in `folder`, in order. Hidden files are not specs.
pub(super) fn specs_in(folder: &Path) -> Vec<String> {
    let files = fs::read_dir(folder).into_iter().flatten().flatten();
    let names = files.filter_map(|file| file.file_name().into_string().ok());
    let mut specs: Vec<String> = names
        .filter(|name| !name.starts_with('.') && SpecFormat::of(name).is_some())
        .filter(|name| fs::read_to_string(folder.join(name)).is_ok_and(|text| is_spec(&text)))
        .collect();
    specs.sort();
    specs
}

/// Whether `text` has the sections of a spec. A spec with a syntax error has them too.
fn is_spec(text: &str) -> bool {
    let section = |line: &str| {
        let name = line.trim_start_matches(['[', ' ', '\u{feff}']);
        let end = name.find(|c: char| !c.is_ascii_alphabetic())?;
        let is_section = line.starts_with('[') || name[end..].trim_start().starts_with(['.', ':', '=']);
        is_section.then(|| name[..end].to_owned())
    };
    let sections: Vec<String> = text.lines().filter(|line| !line.starts_with(' ')).filter_map(section).collect();
    let has = |name: &str| sections.iter().any(|section| section == name);
    has("sources") && (has("stages") || has("outputs"))
}

/// Whether an argument names a file that a command reads: a spec, a table, or anything that exists.
pub(super) fn names_file(argument: &Path) -> bool {
    SpecFormat::of(argument).is_some() || FileFormat::of(argument).is_some() || argument.exists()
}

/// The failure of a command line without a spec.
pub(super) fn failure(error: &clap::Error) -> Option<Failure> {
    error.source()?.downcast_ref::<NoSpec>().map(Failure::from)
}

impl From<&NoSpec> for Failure {
    fn from(error: &NoSpec) -> Self {
        let help = match error {
            NoSpec::None => "name one, or write a first one with `fanfold init`".to_owned(),
            NoSpec::Several(names) => format!("name the one you mean, such as `{}`", names[0]),
        };
        Failure::new(Exit::Spec, error.to_string()).help(help)
    }
}

#[cfg(test)]
mod tests {
    use super::is_spec;

    #[test]
    fn a_spec_is_known_by_its_sections() {
        for text in [
            "[sources.a]\npath = 1\n[stages.b]\n",
            "\u{feff}sources.a = { type = \"file\" }\nstages.b = {}\n",
            "sources:\n  a:\n    type: file\nstages:\n  b:\n",
            "[ sources.a ]\n[stages.tone\ntype = \"analysis\"\n",
            "[sources.people]\ntype = \"population\"\n[outputs.people]\n",
        ] {
            assert!(is_spec(text), "{text}");
        }
        for text in [
            "stages:\n  - build\n  - test\n",
            "stages:\n  prepare:\n    cmd: sources:\n",
            "[tool.uv.sources]\na = 1\n[stages]\n",
            "# sources and stages\nsources of the stages\n",
            "services:\n  sources:\n  stages:\n",
            "",
        ] {
            assert!(!is_spec(text), "{text}");
        }
    }
}
