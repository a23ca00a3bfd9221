//! The coefficients of agreement by their names in a spec.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::coded::Level;
use crate::stats::{Chance, Distance, View, Weighted};

/// A coefficient of agreement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum Coefficient {
    /// Krippendorff's alpha; of lists of labels with the MASI distance.
    KrippendorffAlpha,
    /// Cohen's kappa of two coders.
    CohenKappa,
    /// Cohen's kappa with weights by the distance of the codes.
    CohenKappaLinear,
    /// Cohen's kappa with weights by the squared distance of the codes.
    CohenKappaQuadratic,
    /// Fleiss' kappa.
    FleissKappa,
    /// Gwet's AC1.
    #[serde(rename = "gwet_ac1")]
    GwetAc1,
    /// Gwet's AC2, with ordinal, quadratic or ratio weights by the level.
    #[serde(rename = "gwet_ac2")]
    GwetAc2,
    /// The share of pairs of equal codes.
    Percent,
}

impl Coefficient {
    const ALL: [Coefficient; 8] = [
        Coefficient::KrippendorffAlpha,
        Coefficient::CohenKappa,
        Coefficient::CohenKappaLinear,
        Coefficient::CohenKappaQuadratic,
        Coefficient::FleissKappa,
        Coefficient::GwetAc1,
        Coefficient::GwetAc2,
        Coefficient::Percent,
    ];

    pub(super) fn name(self) -> &'static str {
        match self {
            Coefficient::KrippendorffAlpha => "krippendorff_alpha",
            Coefficient::CohenKappa => "cohen_kappa",
            Coefficient::CohenKappaLinear => "cohen_kappa_linear",
            Coefficient::CohenKappaQuadratic => "cohen_kappa_quadratic",
            Coefficient::FleissKappa => "fleiss_kappa",
            Coefficient::GwetAc1 => "gwet_ac1",
            Coefficient::GwetAc2 => "gwet_ac2",
            Coefficient::Percent => "percent",
        }
    }

    /// The coefficients that fit codes of this level.
    pub(super) fn fitting(level: Level, is_pair: bool) -> impl Iterator<Item = Coefficient> {
        Coefficient::ALL.into_iter().filter(move |coefficient| match coefficient {
            Coefficient::KrippendorffAlpha | Coefficient::Percent => true,
            Coefficient::CohenKappa => is_pair && !level.is_numeric(),
            Coefficient::CohenKappaLinear | Coefficient::CohenKappaQuadratic => is_pair && level != Level::Nominal,
            Coefficient::FleissKappa | Coefficient::GwetAc1 => !level.is_numeric(),
            Coefficient::GwetAc2 => level != Level::Nominal,
        })
    }

    /// Whether the codes must have an order.
    pub(super) fn is_ordered(self) -> bool {
        use Coefficient::{CohenKappaLinear, CohenKappaQuadratic, GwetAc2};
        matches!(self, CohenKappaLinear | CohenKappaQuadratic | GwetAc2)
    }

    /// Whether it is defined for two coders only.
    pub(super) fn is_of_two(self) -> bool {
        use Coefficient::{CohenKappa, CohenKappaLinear, CohenKappaQuadratic};
        matches!(self, CohenKappa | CohenKappaLinear | CohenKappaQuadratic)
    }

    /// Whether it compares all pairs of categories by their distance.
    pub(super) fn has_distances(self) -> bool {
        matches!(self, Coefficient::KrippendorffAlpha | Coefficient::GwetAc2)
    }

    /// Whether it is defined for whole lists of labels.
    pub(super) fn is_of_lists(self) -> bool {
        matches!(self, Coefficient::KrippendorffAlpha | Coefficient::Percent)
    }

    fn distance(self, values: &[f64]) -> Option<Distance<'_>> {
        Some(match self {
            Coefficient::CohenKappa => Distance::Nominal,
            Coefficient::CohenKappaLinear => Distance::Linear(values),
            Coefficient::CohenKappaQuadratic => Distance::Quadratic(values),
            _ => return None,
        })
    }

    fn chance(self) -> Chance {
        match self {
            Coefficient::GwetAc1 => Chance::Gwet,
            Coefficient::GwetAc2 => Chance::GwetSimilar,
            _ => Chance::Fleiss,
        }
    }

    /// The estimate. `units` are the view's; `values` has the value of each category.
    pub(super) fn estimate(self, view: &View, values: &[f64], units: &Weighted<'_>) -> Option<f64> {
        match self {
            Coefficient::KrippendorffAlpha => units.alpha(),
            Coefficient::Percent => units.percent(),
            _ => match (self.distance(values), &view.pairs) {
                (Some(distance), pairs) => pairs.as_ref()?.kappa(&view.of_pairs(units.weights), distance),
                (None, _) => units.coefficient(self.chance()),
            },
        }
    }

    /// The standard error for large samples.
    pub(super) fn error(self, view: &View, values: &[f64], units: &Weighted<'_>) -> Option<f64> {
        match self {
            Coefficient::KrippendorffAlpha => units.alpha_error(),
            Coefficient::Percent => units.percent_error(),
            _ => match (self.distance(values), &view.pairs) {
                (Some(distance), pairs) => pairs.as_ref()?.kappa_error(&view.of_pairs(units.weights), distance),
                (None, _) => units.coefficient_error(self.chance()),
            },
        }
    }

    /// The number of units that the standard error is of.
    pub(super) fn units(self, units: &Weighted<'_>) -> f64 {
        let is_of_pairs = matches!(self, Coefficient::KrippendorffAlpha | Coefficient::Percent);
        if is_of_pairs { units.paired } else { units.coded }
    }
}
