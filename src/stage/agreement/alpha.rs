//! Krippendorff's alpha of chosen codes, for methods that make their own coders.

use std::collections::HashMap;

use arrow_schema::Field;

use super::coded::{Categories, Coded, Layout, Level, Values};
use super::coefficient::Coefficient;
use super::compute::Agreeing;
use super::order::{Checks, check_order};
use crate::stage::method::columns::{Reading, Rows};
use crate::stage::method::tidy::Statistic;
use crate::stage::transform::DataError;
use crate::stats::{Bootstrap, Codes, NO_CODE};
use crate::table::Type;

/// Computes alpha with its bootstrap interval.
#[derive(Debug)]
pub(crate) struct Alpha(Agreeing);

/// The codes of the rows of a column.
pub(crate) struct ReadColumn {
    categories: Categories,
    codes: Vec<u32>,
    labels: Vec<String>,
}

/// A code: the unit, the place of the coder and the row.
pub(crate) type CodedRow = (usize, usize, usize);

impl Alpha {
    /// `field` is the column of the codes, if it is known. Reports an order that does not fit.
    pub(crate) fn new(
        level: Level,
        order: Option<Vec<String>>,
        field: Option<&Field>,
        (bootstrap, confidence): (Bootstrap, f64),
        checks: &mut Checks<'_>,
    ) -> Alpha {
        let fields: Vec<&Field> = field.into_iter().collect();
        let texts = fields.iter().any(|field| Type::of_cells(field.data_type()) == Type::Text);
        let values = Values::new(level, order, &fields);
        check_order(&values, texts, field.map(|field| field.name().as_str()), checks);
        Alpha(Agreeing {
            layout: Layout::Long,
            values,
            clustered: false,
            statistics: vec![Coefficient::KrippendorffAlpha],
            pairs: false,
            bootstrap: Some(bootstrap),
            confidence,
        })
    }

    /// What the column of the codes is read as.
    pub(crate) fn reading(&self) -> Reading {
        self.0.values.reading
    }

    /// Reads the codes of the column `read`.
    pub(crate) fn read(&self, rows: &Rows<'_>, read: usize) -> Result<ReadColumn, DataError> {
        let found = self.0.values.read(rows, read..read + 1, |_| "value".to_owned());
        let (categories, mut columns) = found.map_err(|error| error.or_at("value"))?;
        let labels = rows.label_names().iter().cloned().collect();
        Ok(ReadColumn { categories, codes: columns.remove(0), labels })
    }

    /// Alpha of these rows. Each coder has one row of a unit; else the error is the unit.
    pub(crate) fn of(
        &self,
        column: &ReadColumn,
        coders: usize,
        rows: impl Iterator<Item = CodedRow>,
    ) -> Result<Statistic, usize> {
        let (mut units, mut table): (HashMap<usize, usize>, Vec<Option<u32>>) = (HashMap::new(), Vec::new());
        for (unit, coder, row) in rows {
            let next = units.len();
            let place = *units.entry(unit).or_insert(next);
            table.resize(units.len() * coders, None);
            if table[place * coders + coder].replace(column.codes[row]).is_some() {
                return Err(unit);
            }
        }
        let mut codes = Codes::new(coders, false);
        for unit in table.chunks(coders.max(1)) {
            codes.push(unit.iter().map(|code| code.unwrap_or(NO_CODE)), 1, 0);
        }
        let coders = (1..=coders).map(|coder| coder.to_string()).collect();
        let coded = Coded { coders, codes: codes.merged(), categories: column.categories.clone() };
        let mut found = self.0.of(&coded, &column.labels, None);
        Ok(found.swap_remove(0))
    }
}
