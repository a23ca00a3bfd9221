//! Builds of a model: the ones known from earlier runs, and a change during a run. Pure.

use indexmap::IndexMap;

use super::target::Target;
use crate::provider::Build;
use crate::store::{Manifest, ModelEntry, ReplayFile, shown};

/// The build of a model in a lock or in the manifest of an earlier run.
#[derive(Clone, Debug)]
pub(crate) struct KnownBuild {
    /// The model's name in the spec.
    pub(crate) name: String,
    pub(crate) provider: String,
    pub(crate) id: String,
    pub(crate) build: Build,
    /// The hash of the server in the keys of a replay file.
    pub(crate) server: Option<String>,
}

impl KnownBuild {
    pub(crate) fn all_of_run(manifest: &Manifest) -> Vec<KnownBuild> {
        KnownBuild::all_of(&manifest.models)
    }

    pub(crate) fn all_of(entries: &IndexMap<String, ModelEntry>) -> Vec<KnownBuild> {
        let known = entries.iter().map(|(name, model)| KnownBuild {
            name: name.clone(),
            provider: model.provider.clone(),
            id: model.model.clone(),
            build: model.build.clone(),
            server: None,
        });
        known.collect()
    }

    pub(crate) fn all_of_replay(file: &ReplayFile) -> Vec<KnownBuild> {
        let known = file.models.iter().map(|(name, model)| KnownBuild {
            name: name.clone(),
            provider: model.provider.clone(),
            id: model.model.clone(),
            build: Build {
                digest: model.digest.clone(),
                quantization: model.quantization.clone(),
                template: model.template.clone(),
                ..Build::default()
            },
            server: model.server.clone(),
        });
        known.collect()
    }

    /// The first build of the target's provider and model, of the same name if there is one.
    pub(super) fn of<'a>(known: &'a [KnownBuild], target: &Target) -> Option<&'a KnownBuild> {
        let mut fitting = KnownBuild::fitting(known, target);
        let first = fitting.next();
        first.into_iter().chain(fitting).find(|known| known.name == target.name).or(first)
    }

    /// The builds of the target's provider and model.
    pub(super) fn fitting<'a>(known: &'a [KnownBuild], target: &Target) -> impl Iterator<Item = &'a KnownBuild> {
        let kind = target.provider.kind();
        known
            .iter()
            .filter(move |known| known.provider == kind && shown(kind, &known.id) == shown(kind, &target.model.id))
    }
}

/// A model whose server had another build during the run than at its start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct BuildChange {
    /// The model's name in the spec.
    pub(crate) model: String,
    pub(crate) old: Build,
    pub(crate) new: Build,
    /// The answers that are out of service because the new build may have given them.
    pub(crate) retired: usize,
}

impl BuildChange {
    /// The facets that differ, each with its old and its new value.
    pub(crate) fn facets(&self) -> Vec<(&'static str, &str, &str)> {
        differences(&self.old, &self.new)
    }
}

/// Compares only what both builds tell: a page that fails once is not a new build.
pub(crate) fn differences<'a>(old: &'a Build, new: &'a Build) -> Vec<(&'static str, &'a str, &'a str)> {
    let facets = [
        ("digest", &old.digest, &new.digest),
        ("quantization", &old.quantization, &new.quantization),
        ("template", &old.template, &new.template),
    ];
    let both = facets.into_iter().filter_map(|(name, old, new)| Some((name, old.as_deref()?, new.as_deref()?)));
    both.filter(|(_, old, new)| old != new).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_both_builds_tell_is_compared() {
        let build = |digest: &str, template: Option<&str>| Build {
            digest: Some(digest.to_owned()),
            template: template.map(str::to_owned),
            ..Build::default()
        };
        let old = build("a", Some("t"));
        assert_eq!(differences(&old, &build("a", None)), []);
        assert_eq!(differences(&Build::default(), &old), []);
        assert_eq!(differences(&old, &build("b", Some("t"))), [("digest", "a", "b")]);
        assert_eq!(differences(&old, &build("a", Some("u"))), [("template", "t", "u")]);
    }
}
