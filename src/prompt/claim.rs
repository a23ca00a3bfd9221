//! Claims: Jinja expressions over the figures of a whole table that are true or false, such as
//! `rows > 30 and shares.refund > 0.1`.

use std::collections::BTreeMap;

use minijinja::Value;

use super::condition::{HOLDS, holding};
use super::template::Template;

#[derive(Debug)]
pub(crate) struct Claim {
    template: Template,
    source: String,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Figure {
    Count(u64),
    Number(f64),
    Group(BTreeMap<String, Figure>),
}

impl Claim {
    pub(crate) fn new(source: &str) -> Result<Self, String> {
        Ok(Claim { template: holding(source)?, source: source.to_owned() })
    }

    pub(crate) fn source(&self) -> &str {
        &self.source
    }

    /// The names are sorted; a figure of a group is written with a dot.
    pub(crate) fn figures(&self) -> Vec<String> {
        let mut names = self.template.variables();
        names.retain(|name| !self.template.is_global(name));
        names
    }

    pub(crate) fn holds(&self, figures: &BTreeMap<String, Figure>) -> Result<bool, String> {
        let context = figures.iter().map(|(name, figure)| (name.clone(), value_of(figure))).collect();
        Ok(self.template.over(context)? == HOLDS)
    }
}

fn value_of(figure: &Figure) -> Value {
    match figure {
        Figure::Count(count) => Value::from(*count),
        Figure::Number(number) => Value::from(*number),
        Figure::Group(group) => {
            Value::from(group.iter().map(|(name, figure)| (name.clone(), value_of(figure))).collect::<BTreeMap<_, _>>())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn claims_hold_or_do_not() {
        let shares = Figure::Group(BTreeMap::from([("refund".to_owned(), Figure::Number(0.25))]));
        let figures = BTreeMap::from([("rows".to_owned(), Figure::Count(40)), ("shares".to_owned(), shares)]);
        let holds = |source: &str| Claim::new(source).unwrap().holds(&figures);
        assert_eq!(holds("rows > 30 and shares.refund > 0.1"), Ok(true));
        assert_eq!(holds("rows > 30 and shares['refund'] > 0.3"), Ok(false));
        for unknown in ["shares.refnd > 0.1", "row > 30", "rows / 0 > 1"] {
            assert!(holds(unknown).is_err(), "{unknown}");
        }
        assert_eq!(
            Claim::new("rows > range(3)|length and shares.refund > 0").unwrap().figures(),
            ["rows", "shares.refund"]
        );
        assert!(Claim::new("rows >").is_err());
    }
}
