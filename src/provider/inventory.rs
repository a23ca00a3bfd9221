//! Inventories: the models that a server has, made safe to show.

use serde::Serialize;
use serde_json::Value;

use super::failure::safe;

const MOST: usize = 2000;

#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub(crate) struct Inventory {
    pub(crate) software: Option<String>,
    pub(crate) local: bool,
    pub(crate) slots: Option<u64>,
    pub(crate) models: Vec<Listed>,
    pub(crate) more: bool,
    #[serde(skip)]
    pub(crate) asked: Vec<Option<Listed>>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub(crate) struct Listed {
    pub(crate) id: String,
    pub(crate) bytes: Option<u64>,
    pub(crate) parameters: Option<String>,
    pub(crate) quantization: Option<String>,
    pub(crate) context: Option<u64>,
    pub(crate) loaded: Option<bool>,
    /// The context of one call, in tokens.
    pub(crate) loaded_context: Option<u64>,
    /// The share of the model that is on the GPU, from 0 to 1.
    pub(crate) on_gpu: Option<f64>,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Page {
    pub(crate) path: String,
    /// Whether the path replaces the last part of the base address (`/v1`).
    pub(crate) beside: bool,
    pub(crate) query: Option<&'static str>,
    pub(crate) body: Option<Value>,
}

impl Page {
    pub(crate) fn get(path: &str) -> Page {
        Page { path: path.to_owned(), ..Page::default() }
    }
}

impl Inventory {
    pub(super) fn asked(mut self, ids: &[&str], same: impl Fn(&str, &str) -> bool) -> Inventory {
        // A llama.cpp server with one model answers to any name.
        let only = self.models.first().filter(|_| self.slots.is_some() && self.models.len() == 1);
        let found = |id: &&str| self.models.iter().find(|model| same(id, &model.id)).or(only).cloned();
        self.asked = ids.iter().map(found).collect();
        self
    }

    pub(super) fn cleaned(mut self) -> Inventory {
        self.more |= self.models.len() > MOST;
        self.models.truncate(MOST);
        self.software = self.software.map(|text| safe(&text, None));
        for model in self.models.iter_mut().chain(self.asked.iter_mut().flatten()) {
            model.id = safe(&model.id, None);
            for text in [&mut model.parameters, &mut model.quantization].into_iter().flatten() {
                *text = safe(text, None);
            }
        }
        self
    }
}

pub(crate) fn memory() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_models_that_were_asked_for() {
        let models = ["a", "b"].map(|id| Listed { id: id.to_owned(), ..Listed::default() }).to_vec();
        let several = Inventory { models: models.clone(), slots: Some(1), ..Inventory::default() };
        let same = |id: &str, listed: &str| id == listed;
        assert_eq!(several.asked(&["b", "x"], same).asked, [Some(models[1].clone()), None]);
        let llama = Inventory { models: models[..1].to_vec(), slots: Some(1), ..Inventory::default() };
        assert_eq!(llama.asked(&["x"], same).asked, [Some(models[0].clone())]);
    }

    #[test]
    fn words_of_servers_are_cleaned_and_lists_have_an_end() {
        let listed = Listed { id: "x\n\u{1b}[31mlacks nothing".to_owned(), ..Listed::default() };
        let inventory = Inventory { models: vec![listed; MOST + 1], ..Inventory::default() }.cleaned();
        assert_eq!(inventory.models[0].id, "x [31mlacks nothing");
        assert!(inventory.more && inventory.models.len() == MOST);
    }
}
