//! Evidence: asks for the words that support a value, and looks them up in the text.

use std::num::NonZeroU32;

use super::ask::BindContext;
use super::question::TextColumn;
use super::quote;
use super::view::{Shown, View};
use crate::document::Problems;
use crate::prompt::{AnswerType, Field};
use crate::table::{Cell, Column, Row, Type};

/// The most characters of a quote: enough to find its position, too few to copy the text.
const LONGEST: NonZeroU32 = NonZeroU32::new(160).expect("it is not zero");

#[derive(Clone, Debug)]
pub(crate) struct Evidence {
    text: usize,
    /// The name of the column with the text.
    name: String,
    ratio: Option<f64>,
}

/// The quote of a value: the words, their start and end in the text, and how they were found.
pub(crate) type Quote = [Cell; 4];

pub(crate) const NO_QUOTE: Quote = [const { Cell::Null }; 4];

impl Evidence {
    pub(crate) fn bind(
        context: &BindContext<'_>,
        (quotes, ratio): (bool, Option<f64>),
        text: TextColumn<'_>,
        problems: &mut Problems,
    ) -> Option<Evidence> {
        let mut bad = |key: &str, message: &str| {
            problems.error("bad-value", context.path.key(key), message);
        };
        if quotes && text.name.is_none() {
            bad("quotes", "quotes are checked against the text: name its column in `text_column`");
        }
        if !quotes && ratio.is_some() {
            bad(
                "quote_ratio",
                "`quote_ratio` says how quotes are checked, but none are asked for: write `quotes = true`",
            );
        }
        if ratio.is_some_and(|ratio| !(0.5..=1.0).contains(&ratio)) {
            bad("quote_ratio", "`quote_ratio` must be from 0.5 to 1");
        }
        let name = text.name.unwrap_or_default().to_owned();
        text.index.filter(|_| quotes).map(|text| Evidence { text, name, ratio })
    }

    /// Returns `fields`, each after the field of its quote: the evidence comes first, and the value follows from it.
    pub(crate) fn asked<'a>(evidence: Option<&Evidence>, fields: impl Iterator<Item = &'a Field>) -> Vec<Field> {
        fields.flat_map(|field| evidence.map(|_| quote_of(field)).into_iter().chain([field.clone()])).collect()
    }

    pub(crate) fn columns(target: &str) -> [Column; 4] {
        [("", Type::Text), ("_start", Type::Integer), ("_end", Type::Integer), ("_found", Type::Text)]
            .map(|(part, kind)| Column::new(format!("{target}_quote{part}"), kind))
    }

    pub(crate) fn quote(&self, row: Row<'_>, words: Cell) -> Quote {
        let (Cell::Text(words), Cell::Text(text)) = (words, row.cell(self.text)) else { return NO_QUOTE };
        let found = quote::find(&text, &words, self.ratio);
        let place = |at: Option<usize>| at.map_or(Cell::Null, |at| Cell::Integer(at as i64));
        let how = found.map_or("no", |found| found.how.name());
        [Cell::Text(words), place(found.map(|f| f.start)), place(found.map(|f| f.end)), Cell::Text(how.to_owned())]
    }

    /// What the report page shows of the quotes of these answers.
    pub(crate) fn view(&self, answers: Vec<String>) -> View {
        View::new("Quotes", Shown::Quotes { answers, text: Some(self.name.clone()) })
    }

    pub(crate) fn ratio(&self) -> Option<f64> {
        self.ratio
    }
}

fn quote_of(field: &Field) -> Field {
    Field {
        name: format!("{}_quote", field.name),
        kind: AnswerType::Text(Some(LONGEST)),
        nullable: true,
        prob: false,
        masses: false,
        distribution: None,
        description: Some(format!("the exact words of the text that say the value of \"{}\"", field.name)),
        ..field.clone()
    }
}
