//! Edits: replaces a value of a document by the text `path = value`, as `--set` of the command line writes it.

use super::text::Document;
use super::toml;
use super::tree::{Node, Value};
use crate::name::suggestion;

/// Why a setting can't be changed, and what to write.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct EditError {
    pub(crate) message: String,
    pub(crate) help: Option<String>,
}

impl Document {
    /// Replaces or adds the value at a path, such as `models.small.temperature=0.7`. The value is TOML, or else a text.
    pub(crate) fn set(&mut self, setting: &str) -> Result<(), EditError> {
        let wrong =
            |message: String| EditError { message, help: Some("write it as `models.NAME.temperature=0.7`".to_owned()) };
        let Some((path, value)) = setting.split_once('=') else {
            return Err(wrong(format!("`{setting}` has no `=` and no value")));
        };
        let Some(path) = keys(path) else { return Err(wrong(format!("`{path}` is not a setting"))) };
        let value = toml::parse(&format!("value = {value}"))
            .ok()
            .and_then(|mut node| Some(node.get_mut("value")?.value.clone()));
        let value =
            value.unwrap_or_else(|| Value::String(setting.split_once('=').map_or("", |(_, text)| text).to_owned()));
        let (last, tables) = path.split_last().expect("a path has a key");
        let mut node = &mut self.root;
        for (depth, key) in tables.iter().enumerate() {
            if depth == 0 && node.get(key).is_none() {
                node.insert(key, Value::Table(Vec::new()));
            }
            let names: Vec<String> = node.entries().iter().map(|entry| entry.key.clone()).collect();
            let at = tables[..=depth].join(".");
            node = node.get_mut(key).ok_or_else(|| EditError {
                message: format!("the spec has no `{at}`, so `{setting}` changes nothing"),
                help: suggestion(key, "there are", names.iter().map(String::as_str)),
            })?;
        }
        if !matches!(node.value, Value::Table(_)) {
            return Err(wrong(format!("`{}` is {}, not a table", tables.join("."), node.kind_name())));
        }
        match node.get_mut(last) {
            Some(old) => old.value = value,
            None => node.insert(last, value),
        }
        Ok(())
    }
}

impl Document {
    /// The path of a setting that a table further in has, for one that is written without its table.
    pub(crate) fn path_to(&self, setting: &str) -> Option<String> {
        let name = setting.split('=').next()?.trim();
        let tables = self.root.entries().iter().flat_map(|outer| {
            outer.node.entries().iter().map(move |inner| (format!("{}.{}", outer.key, inner.key), &inner.node))
        });
        let found =
            tables.filter(|(_, node)| node.get(name).is_some()).map(|(table, _)| format!("{table}.{name}")).next();
        found.filter(|_| !name.contains('.'))
    }
}

/// The keys of a TOML path, such as `a."b c".d`.
fn keys(path: &str) -> Option<Vec<String>> {
    let root = toml::parse(&format!("{} = 0", path.trim())).ok()?;
    let (mut node, mut keys): (&Node, _) = (&root, Vec::new());
    while let [entry] = node.entries() {
        keys.push(entry.key.clone());
        node = &entry.node;
    }
    (!keys.is_empty() && node.value == Value::Integer(0)).then_some(keys)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::document::SpecFormat;

    fn edited(setting: &str) -> Result<serde_json::Value, EditError> {
        let text = "[models.small]\ntemperature = 0\n[stages.tone]\noutput = { label = { type = \"string\" } }\n";
        let mut document = Document::parse("spec.toml", text.to_owned(), SpecFormat::Toml).unwrap();
        document.set(setting).map(|()| document.root.to_json())
    }

    #[test]
    fn values_are_replaced_and_added() {
        for (setting, pointer, expected) in [
            ("models.small.temperature=0.7", "/models/small/temperature", "0.7"),
            ("models.small.seed = 3", "/models/small/seed", "3"),
            ("models.small.model=llama3.2", "/models/small/model", "\"llama3.2\""),
            ("models.small.model=a=b c", "/models/small/model", "\"a=b c\""),
            ("models.small.stop=[\"x\"]", "/models/small/stop", "[\"x\"]"),
            ("stages.tone.output.label={ type = \"integer\" }", "/stages/tone/output/label", "{\"type\":\"integer\"}"),
            ("budget.usd=1", "/budget/usd", "1"),
            ("seed=7", "/seed", "7"),
            ("stages.\"tone\".fanout=true", "/stages/tone/fanout", "true"),
        ] {
            let found = edited(setting).unwrap_or_else(|error| panic!("{setting}: {error:?}"));
            assert_eq!(found.pointer(pointer).unwrap().to_string(), expected, "{setting}");
        }
    }

    #[test]
    fn a_setting_without_its_table_is_found() {
        let text = "name = 'a'\n[models.small]\ntemperature = 0\n[stages.tone]\nprompt = 'x'\n";
        let document = Document::parse("spec.toml", text.to_owned(), SpecFormat::Toml).unwrap();
        assert_eq!(document.path_to("temperature=1").as_deref(), Some("models.small.temperature"));
        assert_eq!(document.path_to("prompt = y").as_deref(), Some("stages.tone.prompt"));
        assert_eq!((document.path_to("size=1"), document.path_to("models.small=1")), (None, None));
    }

    #[test]
    fn a_setting_of_a_table_that_is_not_there_is_refused() {
        let error = edited("models.smal.temperature=1").unwrap_err();
        assert!(error.message.contains("`models.smal`"), "{error:?}");
        assert_eq!(error.help.as_deref(), Some("did you mean `small`?"));
        for wrong in ["temperature", "=1", "models.small.temperature.x=1", "a b=1"] {
            assert!(edited(wrong).is_err(), "{wrong}");
        }
    }
}
