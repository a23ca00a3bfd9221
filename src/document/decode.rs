//! Decoding: turns a node into a typed value and reports **all** problems.
//!
//! serde stops at its first error. So decoding runs in rounds: an invalid value is replaced by a stub and the node is
//! decoded again, until there is no new fault. Faults that only the stubs can have caused are not reported.

use std::marker::PhantomData;

use serde::de::DeserializeOwned;

use super::diagnostic::Path;
use super::fault::{Fault, FaultKind, Spot};
use super::problems::Problems;
use super::reader::{Marks, Reader};
use super::tree::{Node, Value};

/// The most faults found in one node. Each fault costs a round.
const MOST_ROUNDS: usize = 64;

/// Decodes the node at `path` and reports every problem. Returns `None` if there is a problem.
pub(crate) fn decode<T: DeserializeOwned>(node: &Node, path: &Path, problems: &mut Problems) -> Option<T> {
    let decoded = rounds(node, path);
    let is_clean = decoded.found.is_empty() && decoded.made_up.is_empty();
    problems.extend(decoded.found);
    decoded.value.filter(|_| is_clean)
}

/// Like [`decode`], but invalid values become placeholders. Later problems with a placeholder are not reported.
pub(crate) fn decode_partly<T: DeserializeOwned>(node: &Node, path: &Path, problems: &mut Problems) -> Option<T> {
    let decoded = rounds(node, path);
    problems.extend(decoded.found);
    decoded.made_up.into_iter().for_each(|path| problems.distrust(path));
    decoded.value
}

struct Decoded<T> {
    value: Option<T>,
    found: Problems,
    /// The paths of the placeholders in `value`.
    made_up: Vec<Path>,
}

fn rounds<T: DeserializeOwned>(node: &Node, path: &Path) -> Decoded<T> {
    let mut marks = Marks::new(path);
    let mut found = Problems::default();
    let mut value = None;
    for _ in 0..MOST_ROUNDS {
        let reader = Reader { node: Some(node), path: path.clone(), marks: &marks };
        match reader.read(PhantomData::<T>) {
            Ok(decoded) => {
                value = Some(decoded);
                break;
            }
            Err(fault) => {
                if !answer(fault, &mut marks, &mut found) {
                    break;
                }
            }
        }
    }
    found.extend(marks.noted.into_inner());
    Decoded { value, found, made_up: marks.stubbed.into_iter().chain(marks.skipped).collect() }
}

/// Reports a fault and marks its path for the next round. Returns whether another round can find more.
fn answer(fault: Fault, marks: &mut Marks<'_>, found: &mut Problems) -> bool {
    let (path, spot) = fault.place.clone().unwrap_or_else(|| (marks.root.clone(), Spot::Value));
    if spot == Spot::Key {
        found.push(fault.diagnostic(&path, spot));
        return marks.skipped.insert(path);
    }
    if marks.stubbed.contains(&path) {
        // The stub was rejected, so its parent can't be decoded either.
        return match path.parent() {
            Some(parent) if path != *marks.root => marks.stubbed.insert(parent),
            _ => false,
        };
    }
    let next = match &fault.kind {
        FaultKind::MissingField(field) if !marks.stubbed.contains(&path.key(field)) => path.key(field),
        _ => path.clone(),
    };
    // A check over several fields is meaningless if one of them is a stub.
    let made_up = marks.stubbed.iter().chain(&marks.skipped).any(|stub| stub.is_within(&path));
    let checks_whole = !matches!(fault.kind, FaultKind::MissingField(_));
    // A misspelt field has been reported already.
    let misspelt = matches!(fault.kind, FaultKind::MissingField(_)) && marks.meant.borrow().contains(&next);
    if !(misspelt || made_up && checks_whole) {
        found.push(fault.diagnostic(&path, spot));
    }
    marks.stubbed.insert(next)
}

/// Returns the field names of a struct, as its `Deserialize` declares them. Returns none for other types.
pub(crate) fn fields_of<T: DeserializeOwned>() -> &'static [&'static str] {
    let (root, node) = (Path::root(), Node { value: Value::Table(Vec::new()), span: 0..0 });
    let marks = Marks::new(&root);
    // The reader notes the fields of the first struct, even if an empty table is not a value of it.
    let _ = Reader { node: Some(&node), path: root.clone(), marks: &marks }.read(PhantomData::<T>);
    marks.fields.into_inner().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde::Deserialize;

    use super::super::{Diagnostic, Document, SpecFormat};
    use super::*;
    use crate::name::Name;

    #[derive(Debug, Deserialize, PartialEq)]
    #[serde(rename_all = "kebab-case")]
    enum Layout {
        Wide,
        Long,
    }

    #[derive(Debug, Deserialize, PartialEq)]
    #[serde(try_from = "f64")]
    struct Share(f64);

    impl TryFrom<f64> for Share {
        type Error = String;

        fn try_from(share: f64) -> Result<Self, String> {
            if (0.0..=0.5).contains(&share) { Ok(Share(share)) } else { Err(format!("{share} is not a share")) }
        }
    }

    #[derive(Debug, Deserialize, PartialEq)]
    struct Inner {
        least: u32,
        most: u32,
    }

    #[derive(Debug, Deserialize, PartialEq)]
    #[serde(try_from = "Inner")]
    struct Bounds(u32, u32);

    impl TryFrom<Inner> for Bounds {
        type Error = String;

        fn try_from(b: Inner) -> Result<Self, String> {
            if b.least > b.most { Err("`least` is more than `most`".into()) } else { Ok(Bounds(b.least, b.most)) }
        }
    }

    #[derive(Debug, Deserialize, PartialEq)]
    #[serde(deny_unknown_fields)]
    struct Spec {
        name: Name,
        models: Vec<Name>,
        prompt: String,
        temperature: Option<f64>,
        #[serde(default)]
        workers: Option<std::num::NonZeroU32>,
        seed: Option<u64>,
        layout: Option<Layout>,
        share: Option<Share>,
        bounds: Option<Bounds>,
        #[serde(default)]
        output: BTreeMap<Name, Inner>,
        extra: Option<serde_json::Value>,
        pair: Option<(i8, bool)>,
    }

    const GOOD: &str = "name = 'tone'\nmodels = ['a']\nprompt = 'p'\n";

    fn try_decode(text: &str) -> (Document, Option<Spec>, Vec<Diagnostic>) {
        let document = Document::parse("s.toml", text.to_owned(), SpecFormat::Toml).unwrap();
        let mut problems = Problems::default();
        let spec = decode(&document.root, &Path::root(), &mut problems);
        let mut problems: Vec<Diagnostic> = problems.into_iter().collect();
        problems.sort_by_key(|problem| document.span(&problem.place).start);
        assert_eq!(spec.is_none(), !problems.is_empty());
        (document, spec, problems)
    }

    fn messages(text: &str) -> Vec<String> {
        let (_, _, problems) = try_decode(text);
        let shown = |p: Diagnostic| match p.help {
            Some(help) => format!("{}: {} ({help})", p.rule, p.message),
            None => format!("{}: {}", p.rule, p.message),
        };
        problems.into_iter().map(shown).collect()
    }

    #[test]
    fn a_good_table_decodes() {
        let (_, spec, problems) = try_decode(&format!(
            "{GOOD}temperature = 1\nworkers = 4\nseed = 7\nlayout = 'long'\nshare = 0.5\nextra = {{ b = [1], a = 2.5 }}\n\
             bounds = {{ least = 1, most = 2 }}\npair = [-1, true]\n[output.x]\nleast = 0\nmost = 0\n"
        ));
        assert!(problems.is_empty(), "{problems:?}");
        let spec = spec.unwrap();
        assert_eq!(spec.temperature, Some(1.0));
        assert_eq!(spec.layout, Some(Layout::Long));
        assert_eq!(spec.extra.unwrap().to_string(), r#"{"b":[1],"a":2.5}"#);
        assert_eq!(spec.pair, Some((-1, true)));
        assert_eq!(spec.output["x"], Inner { least: 0, most: 0 });
    }

    #[test]
    fn all_problems_are_found_at_once() {
        let text = "name = 'no name'\nprompt = 3\ntemprature = 0.5\nmodels = ['a', 7, 'b', false]\nworkers = 2.0\n\
                    seed = -1\nlayout = 'wid'\nshare = 0.9\nzzz = 1\n[output.x]\nleast = 'one'\nmost = 4294967296\n\
                    [output.'bad key']\nleast = 1\n[output.y]\nmosst = 1\n";
        assert_eq!(
            messages(text),
            [
                "bad-value: `no name` is not a name: a name is a letter or `_`, then letters, digits, `_` or `-`, \
                 at most 64 in all",
                "wrong-type: `prompt` must be text, not a whole number (write it in quotation marks: \"3\")",
                "unknown-field: there is no field `temprature` here (did you mean `temperature`?)",
                "wrong-type: `models[1]` must be text, not a whole number (write it in quotation marks: \"7\")",
                "wrong-type: `models[3]` must be text, not true or false (write it in quotation marks: \"false\")",
                "wrong-type: `workers` must be a whole number, not 2.0",
                "bad-value: `seed` must be 0 or more",
                "unknown-value: \"wid\" is not one of `wide`, `long` (did you mean `wide`?)",
                "bad-value: 0.9 is not a share",
                "unknown-field: there is no field `zzz` here (the fields are `name`, `models`, `prompt`, `temperature`, \
                 `workers`, `seed`, `layout`, `share`, `bounds`, `output`, `extra` and `pair`)",
                "wrong-type: `least` must be a whole number, not text",
                "bad-value: `most` must be at most 4294967295",
                "bad-value: `bad key` is not a name: a name is a letter or `_`, then letters, digits, `_` or `-`, \
                 at most 64 in all",
                "missing-field: `least` is missing",
                "unknown-field: there is no field `mosst` here (did you mean `most`?)",
            ]
            .map(|m| m.to_owned())
            .into_iter()
            .collect::<Vec<_>>()
        );
    }

    #[test]
    fn missing_fields_stand_at_their_table() {
        let (document, _, problems) = try_decode("prompt = 'p'\n[bounds]\nleast = 1\n");
        let found: Vec<(&str, &str)> =
            problems.iter().map(|p| (p.message.as_str(), &document.text[document.span(&p.place)])).collect();
        let wanted = [("`name` is missing", ""), ("`models` is missing", ""), ("`most` is missing", "[bounds]")];
        assert_eq!(found, wanted);
    }

    #[test]
    fn checks_over_fields_speak_only_of_what_was_written() {
        assert_eq!(
            messages(&format!("{GOOD}bounds = {{ least = 3, most = 2 }}")),
            ["bad-value: `least` is more than `most`"]
        );
        let found = messages(&format!("{GOOD}bounds = {{ least = 3, most = 'x' }}\nlayout = 1"));
        assert_eq!(
            found,
            [
                "wrong-type: `most` must be a whole number, not text",
                "wrong-type: `layout` must be text, not a whole number (write it in quotation marks: \"1\")"
            ]
        );
        // A stand-in would not be a share: its neighbours are still looked at.
        assert_eq!(messages(&format!("{GOOD}share = true\nseed = 'x'")).len(), 2);
    }

    #[test]
    fn numbers_in_words() {
        assert_eq!(messages(&format!("{GOOD}workers = 0")), ["bad-value: `workers` must be 1 or more"]);
        assert_eq!(messages(&format!("{GOOD}temperature = nan")), ["bad-value: `temperature` must be a finite number"]);
        assert_eq!(messages(&format!("{GOOD}extra = [inf]")), ["bad-value: `extra[0]` must be a finite number"]);
        assert_eq!(messages(&format!("{GOOD}pair = [1]")), ["bad-value: `pair` must be a list of 2, not of 1"]);
        assert_eq!(
            messages(&format!("{GOOD}pair = [1, 1]")),
            ["wrong-type: `pair[1]` must be true or false, not a whole number"]
        );
        assert_eq!(messages(&format!("{GOOD}output = []")), ["wrong-type: `output` must be a table, not a list"]);
        assert_eq!(
            messages(&format!("{GOOD}bounds = 1")),
            ["wrong-type: `bounds` must be a table, not a whole number"]
        );
    }

    #[test]
    fn a_null_field_is_left_out() {
        let text = "name: tone\nmodels: [a]\nprompt: p\ntemperature:\noutput: ~\n".to_owned();
        let document = Document::parse("s.yaml", text, SpecFormat::Yaml).unwrap();
        let mut problems = Problems::default();
        let spec: Option<Spec> = decode(&document.root, &Path::root(), &mut problems);
        assert_eq!((spec.unwrap().temperature, problems.len()), (None, 0));

        let document = Document::parse("s.yaml", "- 1\n".to_owned(), SpecFormat::Yaml).unwrap();
        assert!(decode::<Spec>(&document.root, &Path::root(), &mut problems).is_none());
        assert_eq!(problems[0].message, "the document must be a table, not a list");
    }

    #[test]
    fn fields_are_what_the_struct_declares() {
        assert_eq!(fields_of::<Inner>(), ["least", "most"]);
        assert_eq!(fields_of::<Bounds>(), ["least", "most"]);
        assert_eq!(fields_of::<Option<Inner>>(), ["least", "most"]);
        assert!(fields_of::<Vec<Inner>>().is_empty());
    }
}
