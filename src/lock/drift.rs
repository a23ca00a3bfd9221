//! Drift: lists the facets of a lock, and compares those of two locks.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use serde_json::Value;

use super::file::Lock;

const SERVICE: &str = ".build.service";

/// The tables of a lock, causes before results.
const ORDER: [&str; 8] = ["tool", "spec", "sources", "models", "paraphrases", "reshapes", "stages", "outputs"];

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Drift {
    pub(crate) facet: String,
    /// The value in the first lock; `None` if the facet is missing there.
    pub(crate) old: Option<String>,
    /// The value in the second lock; `None` if the facet is missing there.
    pub(crate) new: Option<String>,
}

impl Drift {
    /// The drift of a facet of a model's build: its name, its old and its new value.
    pub(crate) fn of_build(model: &str, (name, old, new): (&str, &str, &str)) -> Drift {
        let facet = format!("models.{model}.build.{name}");
        Drift { facet, old: Some(old.to_owned()), new: Some(new.to_owned()) }
    }
}

pub(crate) struct Comparison {
    pub(crate) drift: Vec<Drift>,
    pub(crate) same: usize,
}

/// The facets of a lock in its order, causes before results. The value `None` means not known yet.
#[derive(Clone, Debug)]
pub(crate) struct Facets(Vec<(String, Option<String>)>);

impl Facets {
    pub(crate) fn known(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().filter_map(|(facet, value)| Some((facet.as_str(), value.as_deref()?)))
    }

    /// Copies the values that are not known here from `other`; returns the names of those facets.
    pub(crate) fn assume(&mut self, other: &Facets) -> Vec<String> {
        let mut assumed = Vec::new();
        for (facet, value) in std::mem::take(&mut self.0) {
            if value.is_some() {
                self.0.push((facet, value));
                continue;
            }
            let inner = format!("{facet}.");
            for (name, value) in other.known().filter(|(name, _)| *name == facet || name.starts_with(&inner)) {
                assumed.push(name.to_owned());
                self.0.push((name.to_owned(), Some(value.to_owned())));
            }
        }
        assumed
    }

    pub(crate) fn compare(&self, new: &Facets) -> Comparison {
        let (old, new): (BTreeMap<_, _>, BTreeMap<_, _>) = (self.known().collect(), new.known().collect());
        let names: BTreeSet<&str> = old.keys().chain(new.keys()).copied().collect();
        let value = |facets: &BTreeMap<&str, &str>, name| facets.get(name).map(|value| (*value).to_owned());
        let drift = names.into_iter().map(|name| Drift {
            facet: name.to_owned(),
            old: value(&old, name),
            new: value(&new, name),
        });
        // Older versions named the quantisation of a model file otherwise. The same weights have the same one.
        let is_name = |facet: &str| {
            let same = |model: &str, field: &str| {
                let facet = format!("models.{model}.{field}");
                old.get(&*facet).filter(|value| new.get(&*facet) == Some(value)).copied()
            };
            let model = facet.strip_prefix("models.").and_then(|rest| rest.strip_suffix(".build.quantization"));
            model.is_some_and(|model| {
                same(model, "provider") == Some("embedded") && same(model, "build.digest").is_some()
            })
        };
        let changed = |drift: &Drift| drift.old != drift.new && !is_name(&drift.facet);
        let mut drift: Vec<Drift> = drift.filter(changed).collect();
        drift.sort_by_key(|drift| ORDER.iter().position(|table| drift.facet.split('.').next() == Some(*table)));
        let gone = drift.iter().filter(|drift| drift.old.is_some()).count();
        Comparison { drift, same: old.len() - gone }
    }
}

impl Lock {
    pub(crate) fn facets(&self) -> Facets {
        let mut lock = self.clone();
        lock.transforms.values_mut().for_each(|transform| transform.looks.clear());
        let tree = serde_json::to_value(lock).unwrap_or_default();
        let mut facets = Vec::new();
        for table in ORDER {
            for (key, inner) in tree[table].as_object().into_iter().flatten() {
                leaves(format!("{table}.{key}"), inner, &mut |facet, leaf| facets.push((facet, text(leaf))));
            }
        }
        facets.retain(|(facet, _)| facet != "tool.fanfold" && !is_only_reported(facet));
        Facets(facets)
    }

    /// The differences that do not count as drift: the software of a server, and what its models add to requests.
    pub(crate) fn reported(&self, new: &Lock) -> Vec<Drift> {
        let service = |lock: &Lock, name: &str| {
            let mut found = BTreeMap::new();
            let service = lock.models.get(name).map(|model| &model.build.service);
            leaves(
                format!("models.{name}{SERVICE}"),
                &serde_json::to_value(service).unwrap_or_default(),
                &mut |facet, leaf| drop(found.insert(facet, text(leaf))),
            );
            found
        };
        let changed = |name: &String| {
            let (old, mut new) = (service(self, name), service(new, name));
            // An old lock or a replay does not have them.
            let both = old.into_iter().filter_map(|(facet, old)| Some((new.remove(&facet)?, facet, old)));
            both.filter(|(new, _, old)| new != old).collect::<Vec<_>>()
        };
        let changed = self.models.keys().flat_map(changed);
        changed.map(|(new, facet, old)| Drift { facet, old, new }).collect()
    }

    pub(crate) fn drift(&self, new: &Lock) -> Vec<Drift> {
        self.facets().compare(&new.facets()).drift
    }

    /// Drift that no edit of the spec or the inputs explains: a changed model build, or a changed format of call keys.
    pub(crate) fn moved(&self, new: &Lock) -> Vec<Drift> {
        let mut drift = self.drift(new);
        drift.retain(|d| d.old.is_some() && d.new.is_some());
        drift.retain(|d| {
            let Some((model, build)) = d.facet.strip_prefix("models.").and_then(|rest| rest.split_once(".build."))
            else {
                return d.facet == "tool.calls";
            };
            let same = |lock: &Lock| lock.models.get(model).map(|m| (m.provider.clone(), m.model.clone()));
            build != "replies" && same(self) == same(new)
        });
        drift
    }

    /// The hash of all facets that are known before the tables, so without results.
    pub(crate) fn causes(&self) -> String {
        let mut hasher = blake3::Hasher::new();
        for (facet, value) in self.facets().known() {
            let result = facet.starts_with("outputs.")
                || facet.ends_with(".build.replies")
                || (facet.starts_with("stages.")
                    && [".answered", ".failed", ".skipped"].iter().any(|end| facet.ends_with(end)));
            if !result {
                for text in [facet, value] {
                    hasher.update(&(text.len() as u64).to_le_bytes()).update(text.as_bytes());
                }
            }
        }
        hasher.finalize().to_hex().to_string()
    }
}

fn is_only_reported(facet: &str) -> bool {
    facet.starts_with("models.") && facet.contains(&format!("{SERVICE}."))
}

fn text(leaf: &Value) -> Option<String> {
    match leaf {
        Value::Null => None,
        Value::String(text) => Some(text.clone()),
        Value::Array(items) => Some(items.iter().filter_map(text).collect::<Vec<_>>().join(", ")),
        other => Some(other.to_string()),
    }
}

/// Passes the leaves of `value` to `take`, each with its path; a list is one leaf.
pub(crate) fn leaves(path: String, value: &Value, take: &mut impl FnMut(String, &Value)) {
    match value {
        Value::Object(table) => table.iter().for_each(|(key, inner)| leaves(format!("{path}.{key}"), inner, take)),
        leaf => take(path, leaf),
    }
}
