//! Configs: a test as written in the spec, and the assertion that it becomes.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::check::Rule;
use super::context::TestContext;
use crate::document::Problems;

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

impl<C: AssertionConfig + 'static> From<C> for Box<dyn AssertionConfig> {
    fn from(config: C) -> Self {
        Box::new(config)
    }
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
