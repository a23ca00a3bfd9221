//! The report of `fanfold verify`: shows how many facets of a lock still match, and lists the others.

use std::fmt::{self, Display, Formatter};
use std::path::PathBuf;

use serde::{Serialize, Serializer};
use serde_json::{Map, Value, json};

use super::settings::SettingChange;
use super::text::count;
use super::{changes, drift};
use crate::lock::{Drift, Looked, Verified};

const NAMED: usize = 6;

pub(crate) struct VerificationReport {
    pub(crate) pipeline: String,
    pub(crate) lock: PathBuf,
    pub(crate) verified: Verified,
    /// The settings that differ from those of the locked run, if that run is kept.
    pub(crate) settings: Vec<SettingChange>,
    /// Whether the text shows the hashes of changed settings too.
    pub(crate) verbose: bool,
}

/// Whether a facet is a hash of settings.
fn is_hash(Drift { facet, old, new }: &Drift) -> bool {
    let is_hex = |value: &Option<String>| value.as_ref().is_some_and(|value| value.len() == 64);
    let of_stage = [".settings", ".prompts", ".answers"].iter().any(|end| facet.ends_with(end));
    is_hex(old) && is_hex(new) && (facet == "spec.meaning" || facet.starts_with("stages.") && of_stage)
}

impl Display for VerificationReport {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Verified { drift, reported, unchecked, same, looked, changes } = &self.verified;
        let lock = self.lock.display();
        write!(f, "pipeline {}: {} as {lock} says", self.pipeline, count(*same as u64, "facet"))?;
        match drift.len() {
            0 => writeln!(f)?,
            differ => writeln!(f, ", {differ} not:")?,
        }
        // What is sent to a model follows from its settings.
        let is_shown = |drift: &Drift| {
            let model = drift.facet.split_once(".sent.").map(|(model, _)| format!("{model}."));
            model.is_some_and(|model| self.settings.iter().any(|change| change.setting.starts_with(&model)))
        };
        let is_hidden =
            |drift: &&Drift| !self.verbose && !self.settings.is_empty() && (is_hash(drift) || is_shown(drift));
        self.settings.iter().try_for_each(|change| writeln!(f, "  {}", change.words()))?;
        let shown: Vec<Drift> = drift.iter().filter(|drift| !is_hidden(drift)).cloned().collect();
        f.write_str(&drift::lines(&shown, "  "))?;
        if shown.len() < drift.len() {
            let facets = count((drift.len() - shown.len()) as u64, "facet");
            writeln!(f, "  {facets} of these settings (`-v` shows them)")?;
        }
        if !reported.is_empty() {
            write!(f, "  changed, but not part of the check:\n{}", drift::lines(reported, "    "))?;
        }
        if !unchecked.is_empty() {
            let named = unchecked.iter().take(NAMED).map(String::as_str).collect::<Vec<_>>().join(", ");
            let more = match unchecked.len().saturating_sub(NAMED) {
                0 => String::new(),
                more => format!(" and {more} more"),
            };
            writeln!(f, "  not checked: {named}{more}")?;
        }
        for (stage, Looked { looks, prompts }) in looked {
            let (looks, prompts) = (count(*looks as u64, "time"), count(*prompts as u64, "different prompt"));
            writeln!(f, "  stage {stage}: the test part was looked at {looks}, with {prompts}")?;
        }
        if drift.iter().any(|drift| drift.facet.starts_with("outputs.") && drift.facet.ends_with(".content")) {
            for (stage, changes) in changes {
                write!(f, "  stage {stage}, run with `--fresh`:\n{}", changes::lines(changes, 4))?;
            }
            writeln!(
                f,
                "  to see the changed cells, compare the file with a table of the recorded run: `fanfold diff A B`; \
                 `fanfold run SPEC --replay FILE` makes it again"
            )?;
        }
        Ok(())
    }
}

impl Serialize for VerificationReport {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Verified { drift, reported, unchecked, same, looked, changes } = &self.verified;
        let looked: Map<String, Value> = looked.iter().map(|(stage, of)| (stage.clone(), json!(of))).collect();
        let changes: Map<String, Value> = changes.iter().map(|(stage, of)| (stage.clone(), json!(of))).collect();
        let value = json!({
            "schema_version": 1, "pipeline": self.pipeline, "lock": self.lock, "verified": drift.is_empty(),
            "same": same, "settings": self.settings, "drift": drift, "reported": reported, "not_checked": unchecked,
            "changes": changes, "test_looks": looked,
        });
        value.serialize(serializer)
    }
}
