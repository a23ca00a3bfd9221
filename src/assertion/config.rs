//! Configs: a test as written in the spec, and the assertion that it becomes.

use std::fmt;

use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::check::Rule;
use super::context::TestContext;
use crate::document::{self, Problems};
use crate::registry::Kind;

/// The consequence of a test that does not hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Severity {
    /// The tests have failed.
    #[default]
    Error,
    /// It is reported.
    Warn,
}

pub(crate) trait AssertionConfig: Send + Sync + fmt::Debug {
    fn bind(&self, context: &TestContext<'_>, problems: &mut Problems) -> Option<Assertion>;
}

pub(crate) const fn kind<C>(name: &'static str, about: &'static str) -> Kind<Box<dyn AssertionConfig>>
where
    C: AssertionConfig + DeserializeOwned + JsonSchema + 'static,
{
    Kind::new::<C>(name, about, |node, path, problems| {
        document::decode::<C>(node, path, problems).map(|config| Box::new(config) as Box<dyn AssertionConfig>)
    })
}

#[derive(Debug)]
pub(crate) struct Assertion {
    /// The rule in a few words, used as the test's name if the spec gives none.
    pub(crate) words: String,
    pub(crate) reads: Vec<usize>,
    pub(crate) rule: Box<dyn Rule>,
}

impl Assertion {
    pub(crate) fn new(words: String, reads: Vec<usize>, rule: impl Rule + 'static) -> Self {
        Assertion { words, reads, rule: Box::new(rule) }
    }
}
