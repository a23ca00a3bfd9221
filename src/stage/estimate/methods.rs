//! The models and methods of an estimate, by their names in a spec.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::stats::{Link, Method, Model};

/// What is estimated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum ModelName {
    /// The mean.
    #[default]
    Mean,
    /// A linear regression.
    Ols,
    /// A logistic regression.
    Logit,
}

/// A way to estimate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum MethodName {
    /// The machine's labels alone.
    Naive,
    /// The gold labels alone, weighted by `1 / p`.
    GoldOnly,
    /// Design-based supervised learning.
    Dsl,
    /// Prediction-powered inference.
    Ppi,
    /// Prediction-powered inference with a tuned weight of the machine's labels.
    #[serde(rename = "ppi++")]
    PpiTuned,
}

impl ModelName {
    pub(super) fn model(self) -> Model {
        match self {
            ModelName::Mean => Model::Mean,
            ModelName::Ols => Model::Regression(Link::Identity),
            ModelName::Logit => Model::Regression(Link::Logit),
        }
    }
}

impl MethodName {
    pub(super) fn method(self) -> Method {
        match self {
            MethodName::Naive => Method::Naive,
            MethodName::GoldOnly => Method::GoldOnly,
            MethodName::Dsl => Method::Dsl,
            MethodName::Ppi => Method::Ppi,
            MethodName::PpiTuned => Method::PpiTuned,
        }
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            MethodName::Naive => "naive",
            MethodName::GoldOnly => "gold_only",
            MethodName::Dsl => "dsl",
            MethodName::Ppi => "ppi",
            MethodName::PpiTuned => "ppi++",
        }
    }

    pub(super) fn is_corrected(self) -> bool {
        matches!(self, MethodName::Dsl | MethodName::Ppi | MethodName::PpiTuned)
    }
}
