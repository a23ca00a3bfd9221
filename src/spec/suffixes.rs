//! Suffixes: the last part of the names of columns that each model of a fan-out has for itself.

use super::language::{Layout, StageTable, Suffix};
use super::pipeline::Spec;
use super::resolve::Resolver;
use crate::document::Path;
use crate::name::safe;

impl Resolver<'_> {
    /// A suffix of columns that do not exist is an error.
    pub(super) fn suffix(&mut self, at: &Path, table: &StageTable) {
        let is_wide = table.fanout == Some(true) && table.layout == Layout::Wide;
        if table.suffix.is_some() && !is_wide {
            let message = "`suffix` names the columns that each model of a fan-out has for itself";
            self.error("bad-value", at.key("suffix"), message)
                .help("write `fanout = true` without `layout = \"long\"`, or leave `suffix` out");
        }
    }
}

/// Returns the suffix of each model. `names` are their names, and `known` those that are in the spec.
pub(super) fn suffixes(spec: &Spec, suffix: Option<Suffix>, known: &[usize], names: &[String]) -> Vec<String> {
    if suffix != Some(Suffix::Model) || known.len() < names.len() {
        return names.to_vec();
    }
    let ids: Vec<String> = known.iter().map(|model| safe(&spec.model(*model).1.model.id)).collect();
    distinct(&ids, names)
}

/// Adds the names of models to equal ids.
fn distinct(ids: &[String], names: &[String]) -> Vec<String> {
    let is_shared = |id: &String| ids.iter().filter(|other| other.to_lowercase() == id.to_lowercase()).count() > 1;
    let suffix = |(id, name): (&String, &String)| match is_shared(id) || id.is_empty() {
        true => [id.as_str(), name].into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("_"),
        false => id.clone(),
    };
    ids.iter().zip(names).map(suffix).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn models_with_one_id_are_told_apart_by_their_names() {
        let of = |ids: [&str; 3]| distinct(&ids.map(safe), &["cold", "warm", "other"].map(str::to_owned));
        assert_eq!(
            of(["llama3.2:3b", "llama3.2:3b", "hf.co/org/Phi-4"]),
            ["llama3_2_3b_cold", "llama3_2_3b_warm", "hf_co_org_Phi_4"]
        );
        assert_eq!(of(["a:b", "A-b", "::"]), ["a_b_cold", "A_b_warm", "other"]);
    }
}
