//! `fanfold verify`

use std::collections::HashMap;
use std::fmt::Write;
use std::path::{Path, PathBuf};

use serde_json::json;

use super::exit::Exit;
use super::load::load_or_show;
use super::run::{failed, no_models};
use super::status::Format;
use super::terminal::Terminal;
use crate::lock::{Lock, Verified, verify};
use crate::models::{Access, Models, asked_models};
use crate::plan::{Plan, Selection};
use crate::report::drift;
use crate::report::summary::count;
use crate::run::preview;
use crate::store::Project;

/// Facets that are named as not checked; of more, only how many there are.
const NAMED: usize = 6;

/// Checks that the tables, the spec and the inputs are what the lock beside the spec says, and names what is not.
///
/// Exit code 5 if something differs. Sends nothing but, with `--models`, the question which builds the servers have; writes
/// nothing.
#[derive(Debug, clap::Args)]
pub struct Verify {
    /// The spec.
    #[arg(value_name = "SPEC")]
    spec: PathBuf,
    /// Ask the servers whether they have the builds that the lock names.
    #[arg(long)]
    models: bool,
    /// How it is shown.
    #[arg(long, value_enum, default_value = "human")]
    format: Format,
}

impl Verify {
    /// Runs the command.
    pub fn run(self, terminal: &Terminal) -> Exit {
        let Some(spec) = load_or_show(&self.spec, terminal) else { return Exit::Spec };
        let path = Lock::path_of(&self.spec);
        let lock = match Lock::read(&path) {
            Ok(Some(lock)) => lock,
            Ok(None) => {
                let message = format!("there is no lock `{}`", path.display());
                terminal.error(&message, Some("`fanfold run` writes it when it is done"));
                return Exit::Lock;
            }
            Err(error) => {
                terminal.error(&error.to_string(), Some("write a new one with `fanfold run --update-lock`"));
                return Exit::Lock;
            }
        };
        let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
            Ok(runtime) => runtime,
            Err(error) => {
                terminal.error(&format!("the network can't be used: {error}"), None);
                return Exit::Environment;
            }
        };
        let (pipeline, project) = (spec.name.clone(), Project::of(&spec.folder));
        let plan = match Plan::new(spec, &Selection::default(), HashMap::new()) {
            Ok(plan) => plan,
            Err(error) => return failed(&error.into(), terminal),
        };
        let access = Access { env: &|name: &str| std::env::var(name).ok(), ledger: None, recorded: None };
        let asked = asked_models(&plan);
        let models = match self.models {
            true => match runtime.block_on(Models::connect(&plan.spec, &asked, access)) {
                Ok(models) => Some(models),
                Err(error) => return no_models(&error, terminal),
            },
            false => Models::offline(&plan.spec, &asked, access).ok(),
        };
        let verified = match preview::now(plan, models, &lock, &project) {
            Ok((plan, now)) => verify(&lock, now, &plan, &project),
            Err(error) => return failed(&error, terminal),
        };
        match self.format {
            Format::Human => terminal.text(&human(&pipeline, &path, &verified)),
            Format::Json => terminal.json(&as_json(&pipeline, &path, &verified)),
        }
        if verified.drift.is_empty() { Exit::Ok } else { Exit::Lock }
    }
}

fn human(pipeline: &str, path: &Path, verified: &Verified) -> String {
    let Verified { drift, unchecked, same } = verified;
    let mut out = format!("pipeline {pipeline}: {} as {} says", count(*same as u64, "facet"), path.display());
    let _ = match drift.len() {
        0 => writeln!(out),
        differ => writeln!(out, ", {differ} not:"),
    };
    let _ = write!(out, "{}", drift::lines(drift, "  "));
    if !unchecked.is_empty() {
        let named = unchecked.iter().take(NAMED).map(String::as_str).collect::<Vec<_>>().join(", ");
        let more = match unchecked.len().saturating_sub(NAMED) {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        let _ = writeln!(out, "  not checked: {named}{more}");
    }
    out
}

fn as_json(pipeline: &str, path: &Path, verified: &Verified) -> String {
    let Verified { drift, unchecked, same } = verified;
    let value = json!({
        "schema_version": 1, "pipeline": pipeline, "lock": path, "verified": drift.is_empty(), "same": same,
        "drift": drift, "not_checked": unchecked,
    });
    serde_json::to_string_pretty(&value).unwrap_or_default() + "\n"
}
