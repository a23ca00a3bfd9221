//! Conditions: Jinja expressions over a row's columns that are true or false, such as `language != "en"`, and claims:
//! the same over the figures of a whole table, such as `rows > 30 and shares.refund > 0.1`.

use std::collections::BTreeMap;

use arrow_schema::SchemaRef;
use minijinja::Value;

use super::direct::Direct;
use super::guards::MOST_STEPS;
use super::logic::{Mistake, strict};
use super::template::{Bound, Template, Unknown, said};
use super::tokens::{TokenKind, tokens};
use super::tree::{Known, Variable};
use crate::document::{Diagnostic, Path};
use crate::table::{Cell, Column, Row};

const HOLDS: &str = "1";
/// A comparison becomes up to three steps of the expression that runs.
const STEPS: usize = 4 * MOST_STEPS;

#[derive(Debug)]
pub(crate) struct BoundCondition {
    template: Bound,
    /// The same without the engine, if it is as simple as that.
    direct: Option<Direct>,
    source: String,
}

#[derive(Debug)]
pub(crate) enum ConditionError {
    /// The expression does not compile; a sentence, and what may be meant.
    Broken(String, Option<String>),
    Unknown(Unknown),
    /// Comparisons of values that can't be compared, and texts in place of conditions.
    Mistaken(Vec<Mistake>),
}

impl ConditionError {
    /// The problems of the condition at `path`, without the variables that are unknown.
    pub(crate) fn problems(&self, path: &Path) -> Vec<Diagnostic> {
        let error = |code, message: String, help: Option<&String>| {
            let problem = Diagnostic::error(code, path.clone(), message);
            help.into_iter().fold(problem, |problem, help| problem.help(help.clone()))
        };
        match self {
            ConditionError::Broken(message, help) => {
                vec![error("bad-template", format!("the condition does not compile: {message}"), help.as_ref())]
            }
            ConditionError::Unknown(unknown) => unknown.faults(path, "the condition"),
            ConditionError::Mistaken(mistakes) => {
                let one = |mistake: &Mistake| error("bad-condition", mistake.message.clone(), Some(&mistake.help));
                mistakes.iter().map(one).collect()
            }
        }
    }
}

impl BoundCondition {
    /// Each row comes with values for `others`.
    pub(crate) fn new(source: &str, input: &SchemaRef, others: &[Column]) -> Result<Self, ConditionError> {
        let broken = |message: String| ConditionError::Broken(message, meant(source));
        Template::check_expression(source).map_err(|error| broken(error.message))?;
        let names: Vec<&str> = others.iter().map(|other| other.name.as_str()).collect();
        let mut known = Known::new(input, None, &[]);
        known.variables.extend(others.iter().map(|other| (other.name.clone(), Variable::of(&other.field()))));
        let (text, mistakes) = strict(source, &known).ok_or_else(|| broken("it is not an expression".to_owned()))?;
        let direct = Direct::new(&text, input, &names);
        let text = format!("{{% if {text} %}}{HOLDS}{{% endif %}}");
        let template = Template::compiled(&text, &text, STEPS).map_err(|error| broken(error.message))?;
        let template = template.bind(input, None, &names).map_err(ConditionError::Unknown)?;
        match mistakes.is_empty() {
            true => Ok(BoundCondition { template, direct, source: source.to_owned() }),
            false => Err(ConditionError::Mistaken(mistakes)),
        }
    }

    pub(crate) fn source(&self) -> &str {
        &self.source
    }

    pub(crate) fn reads(&self) -> Vec<usize> {
        self.template.reads()
    }

    pub(crate) fn uses(&self) -> Vec<usize> {
        self.template.uses()
    }

    pub(crate) fn others(&self) -> &[String] {
        self.template.others()
    }

    pub(crate) fn holds(&self, row: Row<'_>, others: &[(&str, &Cell)]) -> Result<bool, String> {
        match &self.direct {
            Some(direct) => direct.holds(row).map_err(|error| said(&error)),
            None => Ok(self.template.render(row, others)? == HOLDS),
        }
    }
}

/// What the author of an expression in another language may mean.
fn meant(source: &str) -> Option<String> {
    let tokens = tokens(source);
    let sign = |i: usize| tokens.get(i).filter(|token| token.kind == TokenKind::Sign).map_or("", |token| token.text);
    let both = |i: usize| format!("{}{}", sign(i), sign(i + 1));
    (0..tokens.len()).find_map(|i| {
        let (typed, means) = match (both(i).as_str(), sign(i), tokens[i].text) {
            ("===" | "==", "==", _) if sign(i + 1) == "=" => ("===", "=="),
            ("&&", ..) => ("&&", "and"),
            ("||", ..) => ("||", "or"),
            ("<>", ..) => ("<>", "!="),
            (_, "=", _) => ("=", "=="),
            (_, "!", _) => ("!", "not"),
            (_, "", "AND") => ("AND", "and"),
            (_, "", "OR") => ("OR", "or"),
            (_, "", "NOT") => ("NOT", "not"),
            (_, "", "IS" | "NULL") => ("IS NULL", "is none"),
            _ => return None,
        };
        Some(format!("did you mean `{means}` instead of `{typed}`?"))
    })
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
    use crate::table::Type;
    use arrow_array::{ArrayRef, Int64Array, RecordBatch, StringArray};
    use std::sync::Arc;

    fn people() -> RecordBatch {
        let age: ArrayRef = Arc::new(Int64Array::from(vec![Some(17), Some(40), None]));
        let party: ArrayRef = Arc::new(StringArray::from(vec!["a", "b %} {{ age }}", "c"]));
        RecordBatch::try_from_iter([("age", age), ("party", party)]).unwrap()
    }

    fn bound(source: &str) -> Result<BoundCondition, ConditionError> {
        BoundCondition::new(source, &people().schema(), &[Column::new("q1", Type::Text)])
    }

    fn holds(source: &str) -> Vec<Result<bool, String>> {
        let people = people();
        let mut condition = bound(source).unwrap_or_else(|error| panic!("{source}: {error:?}"));
        let yes = Cell::Text("yes".to_owned());
        let holds = |condition: &BoundCondition| -> Vec<Result<bool, String>> {
            (0..3).map(|i| condition.holds(Row::new(&people, i, 0), &[("q1", &yes)])).collect()
        };
        let found = holds(&condition);
        if condition.direct.take().is_some() {
            assert_eq!(holds(&condition), found, "{source} with the engine");
        }
        found
    }

    /// The rows for which the condition holds.
    fn rows(source: &str) -> Vec<usize> {
        let holds = holds(source);
        (0..3).filter(|row| *holds[*row].as_ref().unwrap_or_else(|error| panic!("{source}: {error}"))).collect()
    }

    /// Messages and helps.
    fn mistakes(source: &str) -> Vec<String> {
        let problems = bound(source).map_or_else(|error| error.problems(&Path::root()), |_| Vec::new());
        problems.into_iter().map(|p| p.message + &p.help.map(|help| format!(" ({help})")).unwrap_or_default()).collect()
    }

    #[test]
    fn conditions_hold_or_do_not() {
        assert_eq!(holds("age is not none and age >= 18"), [Ok(false), Ok(true), Ok(false)]);
        assert_eq!(rows("party in ['a', 'c']"), [0, 2]);
        assert_eq!(rows("row.party == 'a' or q1 == 'no'"), [0]);
        assert!(holds("age / 0 > 1")[0].is_err());
        for broken in ["", "age >", "age %} {% if party", "true %}1{% endif %}{% if age"] {
            assert!(matches!(bound(broken), Err(ConditionError::Broken(..))), "{broken}");
        }
        let ConditionError::Unknown(unknown) = bound("aeg > 1 and q1 == 'x'").unwrap_err() else { panic!() };
        assert_eq!(unknown.names().collect::<Vec<_>>(), ["aeg"]);
    }

    #[test]
    fn a_comparison_with_null_is_neither_true_nor_false() {
        for (source, expected) in [
            ("age < 18", &[0][..]),
            ("not age < 18", &[1]),
            ("age != 17", &[1]),
            ("not (age == 17)", &[1]),
            ("not (age != 17)", &[0]),
            ("age in [17, 40]", &[0, 1]),
            ("age not in [17]", &[1]),
            ("age in [17, none]", &[0, 2]),
            ("0 < age < 20", &[0]),
            ("not (0 < age < 20)", &[1]),
            ("age < 18 or age is none", &[0, 2]),
            ("age == none", &[2]),
            ("none != age", &[0, 1]),
            ("age is gt(20)", &[1]),
            ("not (age > 20 or party == 'a')", &[]),
            ("not (age > 20 and party == 'a')", &[0, 1, 2]),
            ("(age > 20) if party != 'c' else true", &[1, 2]),
            ("not age", &[]),
            ("(age | default(0, true)) < 18", &[0, 2]),
        ] {
            assert_eq!(rows(source), expected, "{source}");
        }
    }

    #[test]
    fn comparisons_of_columns_and_constants_need_no_engine() {
        let is_direct =
            |source: &str| bound(source).unwrap_or_else(|error| panic!("{source}: {error:?}")).direct.is_some();
        for source in [
            "age > 18",
            "-1.5 <= age",
            "not (age in [17, 40] and party != 'a')",
            "0 < age < 20",
            "age is not none or party == 'c'",
            "age",
            "not age",
        ] {
            assert!(is_direct(source), "{source}");
            holds(source);
        }
        for source in [
            "q1 == 'yes'",
            "party == age | string",
            "row.age > 3",
            "age + 1 > 3",
            "age in [17, age]",
            "(age | default(0)) < 18",
        ] {
            assert!(!is_direct(source), "{source}");
        }
        // Values whose kinds are known only in a run.
        let batch = RecordBatch::try_from_iter([("x", Arc::new(StringArray::from(vec![""; 1])) as ArrayRef)]).unwrap();
        let field = arrow_schema::Field::new("x", arrow_schema::DataType::Null, true);
        let schema = Arc::new(arrow_schema::Schema::new(vec![field]));
        let condition = BoundCondition::new("x > 3", &schema, &[]).unwrap();
        assert!(condition.direct.is_some());
        assert_eq!(
            condition.holds(Row::new(&batch, 0, 0), &[]).unwrap_err(),
            "invalid operation: `x > 3` compares text with a number"
        );
    }

    #[test]
    fn long_conditions_are_not_nested_deeply() {
        let any: Vec<String> = (0..60).map(|i| format!("age == {i}")).collect();
        assert_eq!(rows(&any.join(" or ")), [0, 1]);
        let none: Vec<String> = (0..60).map(|i| format!("not (age == {i})")).collect();
        assert_eq!(rows(&none.join(" and ")), [] as [usize; 0]);
    }

    #[test]
    fn texts_are_no_conditions() {
        let bare = "`party` is text, and every text counts as true, also \"False\" and \"0\" (write `party == \"True\"`, \
                    or set `types = { party = \"boolean\" }` in the source)";
        let sources =
            ["party", "not party", "party and age > 3", "age > 3 or party", "true if party else false", "party | bool"];
        for source in sources {
            assert_eq!(mistakes(source), [bare], "{source}");
        }
        for (source, start) in [
            ("party | lower", "`party | lower` is text"),
            ("q1", "`q1` is text"),
            ("party ~ 'x'", "`party ~ \"x\"` is text"),
            ("party[:2]", "`party[:2]` is text"),
        ] {
            assert!(mistakes(source)[0].starts_with(start), "{source}: {:?}", mistakes(source));
        }
        for fine in ["party | length", "age", "true", "party == 'a' and age", "party | int"] {
            assert_eq!(mistakes(fine), [] as [&str; 0], "{fine}");
        }
    }

    #[test]
    fn values_of_different_kinds_are_not_compared() {
        for (source, expected) in [
            (
                "party >= 18",
                "`party >= 18` compares text with a number: `party` is text (write `party | int`, or set `types = { party = \
                 \"integer\" }` in the source)",
            ),
            ("1.5 < party", "`1.5 < party` compares a number with text: `party` is text (write `party | float`"),
            ("age == '17'", "`age == \"17\"` compares a number with text: `age` is a number (write the number without"),
            ("(age > 3) == 'true'", "`(age > 3) == \"true\"` compares true or false with text"),
            ("age in [17, '18']", "`age in [17, \"18\"]` compares a number with text"),
            ("party in ['a', 3]", "`party in [\"a\", 3]` compares text with a number"),
            ("age in party", "`age in party` compares a number with text"),
            (
                "party == true",
                "`party == true` compares text with true or false: `party` is text (write `party == \"True\"",
            ),
            ("party is eq(3)", "`party == 3` compares text with a number"),
            ("1 < age < party", "`age < party` compares a number with text"),
            ("party == ['a']", "`party == [\"a\"]` compares text with a list"),
        ] {
            assert!(
                mistakes(source).first().is_some_and(|m| m.starts_with(expected)),
                "{source}: {:?}",
                mistakes(source)
            );
        }
        for fine in ["party | int > 3", "3 < party | length", "party == 'x > 3'", "row.party > 'a'", "age > 3.5"] {
            assert_eq!(mistakes(fine), [] as [&str; 0], "{fine}");
        }
        // What is unknown before a run is checked in it.
        assert_eq!(
            holds("row['par' ~ 'ty'] > 3")[0].as_ref().unwrap_err(),
            "invalid operation: `row[\"par\" ~ \"ty\"] > 3` compares text with a number"
        );
    }

    #[test]
    fn other_languages_are_understood_enough_to_say_what_is_meant() {
        for (source, meant) in [
            ("age = 1", "`==` instead of `=`"),
            ("age > 1 && party == 'a'", "`and` instead of `&&`"),
            ("age > 1 || party == 'a'", "`or` instead of `||`"),
            ("age <> 1", "`!=` instead of `<>`"),
            ("age > 1 AND party == 'a'", "`and` instead of `AND`"),
            ("party IS NULL", "`is none` instead of `IS NULL`"),
            ("!age", "`not` instead of `!`"),
        ] {
            assert!(
                mistakes(source)[0].ends_with(&format!("(did you mean {meant}?)")),
                "{source}: {:?}",
                mistakes(source)
            );
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
