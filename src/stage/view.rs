//! Views: what the report page shows of a stage's table, as data. A stage lists its views, and the page draws them.
//!
//! A view names columns of the stage's table. A column that the stage writes is shown for each model. To show something
//! else, add a variant of [`Shown`]; `src/page/views` computes it.

use crate::prompt::AnswerType;
use crate::table::Column;

/// The figures of one answer, one question or one part of a method.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct View {
    pub(crate) title: String,
    /// The heading above the views that follow each other with it.
    pub(crate) heading: Option<String>,
    /// The columns whose values repeat the statistics of a tidy table.
    pub(crate) by: Vec<String>,
    pub(crate) shown: Shown,
}

/// What is shown. Names without a type are names of columns.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Shown {
    /// The share of each label. Without `labels`, those that are found. `probability` is the column of the labels'
    /// probabilities.
    Labels {
        column: String,
        labels: Vec<String>,
        probability: Option<String>,
    },
    /// The share of each step of a scale, from low to high, with the words of its ends.
    Scale {
        column: String,
        steps: Vec<String>,
        ends: [Option<String>; 2],
    },
    /// The distribution of numbers, with the bounds that the spec sets.
    Numbers {
        column: String,
        bounds: [Option<f64>; 2],
    },
    /// The lengths of texts, the most frequent texts, and some texts. `most` is the most characters.
    Texts {
        column: String,
        most: Option<u32>,
    },
    /// The share of rows with each item of a list. Without `items`, those that are found.
    Lists {
        column: String,
        items: Vec<String>,
    },
    /// How the quotes of these answers are found in the column `text`.
    Quotes {
        answers: Vec<String>,
        text: Option<String>,
    },
    /// Where the cells of some columns come from: each with the column of its sources.
    Origins {
        columns: Vec<(String, String)>,
    },
    /// How many respondents reach each question.
    Questions {
        questions: Vec<String>,
    },
    /// The share of respondents that choose the option in each place. `order` is the column of the options as shown.
    Places {
        column: String,
        order: String,
    },
    /// The pieces of each document: the numbers of pieces, and the lengths of the texts.
    Pieces {
        number: String,
        text: String,
    },
    /// The rows of the input that the table has, and those that it lacks.
    Kept,
    /// How many prompts each row needed, by the calls table.
    Prompts,
    /// The rows with a value in at least one of these columns of another table.
    Matches {
        columns: Vec<String>,
    },
    /// The first rows of the table.
    Rows,
    /// Rows of a tidy table as points with intervals.
    Estimates(Estimates),
    /// Counts or shares by two labels, for each value of `of`. Each row is divided by its sum.
    Confusion {
        statistic: &'static str,
        of: &'static str,
        truth: &'static str,
        predicted: &'static str,
    },
    /// Agreement of pairs of coders: a coefficient above the diagonal, the share of equal codes below.
    Pairs {
        coders: &'static str,
        above: &'static [&'static str],
        below: &'static str,
    },
    Curve(Curve),
    /// Rows of the stage's first input where a prediction is wrong.
    Wrong(Predictions),
}

/// The columns of predictions and of their truth.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Predictions {
    pub(crate) truth: String,
    pub(crate) predicted: String,
    pub(crate) probability: Option<String>,
    /// A column of parts, and the part whose rows are compared.
    pub(crate) part: Option<(String, String)>,
}

/// Rows of a tidy table as points with intervals.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Estimates {
    /// The statistics that are shown; all others without names.
    pub(crate) statistics: &'static [&'static str],
    /// The columns that must have a value, or must have none.
    pub(crate) with: &'static [&'static str],
    pub(crate) without: &'static [&'static str],
    /// The columns whose values name a line.
    pub(crate) lines: &'static [&'static str],
    /// The column whose values have a colour each.
    pub(crate) series: Option<&'static str>,
    /// Whether the values are shares from 0 to 1.
    pub(crate) shares: bool,
    /// A value to compare with, such as 0.
    pub(crate) mark: Option<f64>,
    /// Whether the notes of the rows are findings that people must see.
    pub(crate) notes: bool,
    /// Whether each line has a chart, since their values have different scales.
    pub(crate) apart: bool,
    pub(crate) columns: EstimateColumns,
}

/// The columns of a point. The last one is the number of rows.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct EstimateColumns {
    pub(crate) estimate: &'static str,
    pub(crate) low: &'static str,
    pub(crate) high: &'static str,
    pub(crate) n: &'static str,
}

impl Default for EstimateColumns {
    fn default() -> Self {
        EstimateColumns { estimate: "estimate", low: "ci_low", high: "ci_high", n: "n" }
    }
}

/// A line through the statistics of a tidy table.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Curve {
    /// The statistic along each axis; `n` is the number of rows.
    pub(crate) x: &'static str,
    pub(crate) y: &'static str,
    /// The columns that a point of both axes shares.
    pub(crate) point: &'static [&'static str],
    /// The columns whose values have a line each.
    pub(crate) series: &'static [&'static str],
    pub(crate) titles: [&'static str; 2],
    /// Whether both axes are shares, which are equal on the diagonal.
    pub(crate) shares: bool,
    pub(crate) diagonal: bool,
}

impl View {
    pub(crate) fn new(title: impl Into<String>, shown: Shown) -> View {
        View { title: title.into(), heading: None, by: Vec::new(), shown }
    }

    /// What fits an answer of this type.
    pub(crate) fn of_answer(column: &Column, kind: &AnswerType, probability: Option<&str>) -> View {
        let name = column.name.clone();
        let labels = kind.labels();
        let shown = match kind {
            _ if !labels.is_empty() => {
                Shown::Labels { column: name, labels, probability: probability.map(str::to_owned) }
            }
            AnswerType::Integer(low, high) | AnswerType::Number(low, high) => {
                Shown::Numbers { column: name, bounds: [*low, *high] }
            }
            AnswerType::List(item) | AnswerType::Some(item, _) => Shown::Lists { column: name, items: item.labels() },
            AnswerType::Text(most) => Shown::Texts { column: name, most: most.map(std::num::NonZeroU32::get) },
            AnswerType::Boolean | AnswerType::Enum(_) | AnswerType::Labelled(_) | AnswerType::Probabilities(_) => {
                Shown::Labels { column: name, labels, probability: None }
            }
        };
        View::new(&column.name, shown)
    }
}

/// The distribution of a column of numbers.
pub(crate) fn numbers(title: &str, column: impl Into<String>) -> View {
    View::new(title, Shown::Numbers { column: column.into(), bounds: [None, None] })
}

/// The share of each label that a column holds.
pub(crate) fn labels(title: &str, column: impl Into<String>) -> View {
    View::new(title, Shown::Labels { column: column.into(), labels: Vec::new(), probability: None })
}
