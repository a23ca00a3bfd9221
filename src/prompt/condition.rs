//! Conditions: Jinja expressions over a row's columns that are true or false, such as `language != "en"`, and claims:
//! the same over the figures of a whole table, such as `rows > 30 and shares.refund > 0.1`.

use std::collections::BTreeMap;

use arrow_schema::{DataType, Schema, SchemaRef};
use minijinja::Value;

use super::template::{Bound, Template, Unknown};
use super::tokens::tokens;
use crate::table::{Cell, Row};

const HOLDS: &str = "1";

#[derive(Debug)]
pub(crate) struct BoundCondition {
    template: Bound,
    source: String,
}

#[derive(Debug)]
pub(crate) enum ConditionError {
    /// The expression does not compile; a sentence.
    Broken(String),
    Unknown(Unknown),
}

impl BoundCondition {
    /// Each row comes with values for `others`.
    pub(crate) fn new(source: &str, input: &SchemaRef, others: &[&str]) -> Result<Self, ConditionError> {
        let template = holding(source).map_err(ConditionError::Broken)?;
        let template = template.bind(input, None, others).map_err(ConditionError::Unknown)?;
        Ok(BoundCondition { template, source: source.to_owned() })
    }

    pub(crate) fn source(&self) -> &str {
        &self.source
    }

    pub(crate) fn reads(&self) -> Vec<usize> {
        self.template.reads()
    }

    pub(crate) fn others(&self) -> &[String] {
        self.template.others()
    }

    pub(crate) fn holds(&self, row: Row<'_>, others: &[(&str, &Cell)]) -> Result<bool, String> {
        Ok(self.template.render(row, others)? == HOLDS)
    }

    /// Returns the text columns that are compared with a number, each with that number.
    pub(crate) fn compares_text(&self, input: &Schema) -> Vec<(String, String)> {
        let tokens = tokens(&self.source);
        let token = |i: Option<usize>| i.and_then(|i| tokens.get(i)).map_or("", |token| token.text);
        let is_number = |t: &str| t.starts_with(|c: char| c.is_ascii_digit());
        let is_text = |t: &str| input.field_with_name(t).is_ok_and(|f| *f.data_type() == DataType::Utf8);
        let mut found = Vec::new();
        for (i, operator) in tokens.iter().enumerate() {
            if !["<", ">", "<=", ">=", "==", "!="].contains(&operator.text) {
                continue;
            }
            let (before, left, right, after) =
                (token(i.checked_sub(2)), token(i.checked_sub(1)), token(Some(i + 1)), token(Some(i + 2)));
            let free = |neighbour: &str| !["|", ".", "+", "-", "*", "**", "/", "//", "~"].contains(&neighbour);
            if is_text(left) && is_number(right) && free(before) {
                found.push((left.to_owned(), right.to_owned()));
            } else if is_number(left) && is_text(right) && free(after) {
                found.push((right.to_owned(), left.to_owned()));
            }
        }
        found
    }
}

/// The template renders [`HOLDS`] if the expression is true.
fn holding(source: &str) -> Result<Template, String> {
    Template::check_expression(source).map_err(|error| error.message)?;
    Template::new(&format!("{{% if {source} %}}{HOLDS}{{% endif %}}")).map_err(|error| error.message)
}

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
    use arrow_array::{ArrayRef, Int64Array, RecordBatch, StringArray};
    use std::sync::Arc;

    fn people() -> RecordBatch {
        let age: ArrayRef = Arc::new(Int64Array::from(vec![Some(17), Some(40), None]));
        let party: ArrayRef = Arc::new(StringArray::from(vec!["a", "b %} {{ age }}", "c"]));
        RecordBatch::try_from_iter([("age", age), ("party", party)]).unwrap()
    }

    fn holds(source: &str) -> Vec<Result<bool, String>> {
        let people = people();
        let condition = BoundCondition::new(source, &people.schema(), &["q1"]).unwrap();
        let yes = Cell::Text("yes".to_owned());
        (0..3).map(|i| condition.holds(Row::new(&people, i, 0), &[("q1", &yes)])).collect()
    }

    #[test]
    fn conditions_hold_or_do_not() {
        assert_eq!(holds("age is not none and age >= 18"), [Ok(false), Ok(true), Ok(false)]);
        assert_eq!(holds("party in ['a', 'c']"), [Ok(true), Ok(false), Ok(true)]);
        assert_eq!(holds("row.party == 'a' or q1 == 'no'"), [Ok(true), Ok(false), Ok(false)]);
        assert!(holds("age / 0 > 1")[0].is_err());
        for broken in ["", "age >", "age %} {% if party", "true %}1{% endif %}{% if age"] {
            let error = BoundCondition::new(broken, &people().schema(), &["q1"]).unwrap_err();
            assert!(matches!(error, ConditionError::Broken(_)), "{broken}");
        }
        let unknown = BoundCondition::new("aeg > 1 and q1", &people().schema(), &["q1"]).unwrap_err();
        let ConditionError::Unknown(unknown) = unknown else { panic!("{unknown:?}") };
        assert_eq!(unknown.names().collect::<Vec<_>>(), ["aeg"]);
    }

    #[test]
    fn a_text_that_is_compared_with_a_number_is_seen() {
        let people = people();
        let seen = |source: &str| {
            let bound = BoundCondition::new(source, &people.schema(), &[]).unwrap();
            bound.compares_text(&people.schema()).into_iter().map(|(c, n)| format!("{c} {n}")).collect::<Vec<_>>()
        };
        assert_eq!(seen("party >= 18 and age < 3"), ["party 18"]);
        assert_eq!(seen("1.5 < party"), ["party 1.5"]);
        for fine in ["party | int > 3", "3 < party | length", "party == 'x > 3'", "row.party > 'a'", "age > 3"] {
            assert_eq!(seen(fine), [] as [&str; 0], "{fine}");
        }
    }

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
