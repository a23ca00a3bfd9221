//! Coded units: the codes of each coder, from a wide or a long table.

use std::collections::HashMap;

use arrow_schema::Field;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::stage::method::columns::{Reading, Rows, is_list};
use crate::stage::transform::DataError;
use crate::stats::{Codes, NO_CODE, Scale, in_parallel, masi};

/// The most categories that are compared each with each.
pub(super) const MOST_COMPARED: usize = 3000;

/// What codes are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Level {
    /// Labels, or lists of labels.
    #[default]
    Nominal,
    /// Labels in an order.
    Ordinal,
    /// Numbers whose differences matter.
    Interval,
    /// Numbers from 0 whose ratios matter.
    Ratio,
}

impl Level {
    pub(super) fn name(self) -> &'static str {
        match self {
            Level::Nominal => "nominal",
            Level::Ordinal => "ordinal",
            Level::Interval => "interval",
            Level::Ratio => "ratio",
        }
    }

    pub(super) fn is_numeric(self) -> bool {
        matches!(self, Level::Interval | Level::Ratio)
    }
}

/// How the codes lie in the table.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Layout {
    /// A row is a unit, with a column for each of these coders.
    Wide(Vec<String>),
    /// A row is one code of one unit.
    Long,
}

/// What the codes are.
#[derive(Clone, Debug)]
pub(super) struct Values {
    pub(super) level: Level,
    pub(super) reading: Reading,
    pub(super) order: Option<Vec<String>>,
}

/// The categories of the codes.
#[derive(Clone, Debug)]
pub(super) enum Categories {
    Labels(Vec<String>),
    /// Ordered labels, and whether those that do not occur count.
    Ordered(Vec<String>, bool),
    Numbers(Vec<f64>, Level),
    /// Sets of labels.
    Sets(Vec<Vec<u64>>),
    /// Whether a list has this label.
    Presence(String),
}

/// The codes of all coders.
#[derive(Debug)]
pub(super) struct Coded {
    pub(super) coders: Vec<String>,
    pub(super) codes: Codes,
    pub(super) categories: Categories,
}

impl Categories {
    /// The number of categories, if those that do not occur count.
    pub(super) fn all(&self) -> Option<usize> {
        match self {
            Categories::Ordered(labels, true) => Some(labels.len()),
            _ => None,
        }
    }

    pub(super) fn scale(&self, used: &[usize]) -> Scale {
        match self {
            Categories::Labels(_) | Categories::Presence(_) => Scale::Nominal,
            Categories::Ordered(..) => Scale::Ordinal,
            Categories::Numbers(_, Level::Ordinal) => Scale::Ordinal,
            Categories::Numbers(_, Level::Ratio) => Scale::Ratio(self.values(used)),
            Categories::Numbers(..) => Scale::Interval(self.values(used)),
            // The distances are not computed: no statistic reads them.
            Categories::Sets(_) if self.has_too_many(used.len()) => Scale::Nominal,
            Categories::Sets(sets) => {
                let row = |a: &usize| used.iter().map(|b| masi(&sets[*a], &sets[*b])).collect();
                Scale::Distances(used.iter().map(row).collect())
            }
        }
    }

    /// Whether there are too many categories to compare each with each. Only sets need such a comparison.
    pub(super) fn has_too_many(&self, used: usize) -> bool {
        matches!(self, Categories::Sets(_)) && used > MOST_COMPARED
    }

    /// The values of these categories: numbers, or their places in the order.
    pub(super) fn values(&self, used: &[usize]) -> Vec<f64> {
        match self {
            Categories::Numbers(numbers, Level::Interval | Level::Ratio) => {
                used.iter().map(|category| numbers[*category]).collect()
            }
            _ => (0..used.len()).map(|place| place as f64).collect(),
        }
    }

    pub(super) fn name(&self, category: usize, labels: &[String]) -> String {
        match self {
            Categories::Labels(labels) | Categories::Ordered(labels, _) => labels[category].clone(),
            Categories::Numbers(numbers, _) => numbers[category].to_string(),
            Categories::Sets(sets) => {
                let names: Vec<&str> = sets[category].iter().map(|label| labels[*label as usize].as_str()).collect();
                format!("[{}]", names.join(", "))
            }
            Categories::Presence(label) if category == 0 => format!("without {label}"),
            Categories::Presence(label) => format!("with {label}"),
        }
    }
}

/// The code of each row in each read, or [`NO_CODE`].
type ReadCodes = Vec<Vec<u32>>;

impl Values {
    /// The values in columns with these fields.
    pub(super) fn new(level: Level, order: Option<Vec<String>>, fields: &[&Field]) -> Values {
        let lists = level == Level::Nominal && fields.first().is_some_and(|field| is_list(field));
        let are_numbers = fields.iter().all(|field| Reading::Number.fits(field));
        let reading = match level {
            Level::Interval | Level::Ratio => Reading::Number,
            Level::Ordinal if are_numbers && order.is_none() => Reading::Number,
            Level::Nominal if lists => Reading::Labels,
            Level::Nominal | Level::Ordinal => Reading::Label,
        };
        Values { level, reading, order }
    }

    /// The categories of the codes in these reads, and the code of each row in each read. `name` names a read.
    pub(super) fn read(
        &self,
        rows: &Rows<'_>,
        reads: std::ops::Range<usize>,
        name: impl Fn(usize) -> String,
    ) -> Result<(Categories, ReadCodes), DataError> {
        let labels: Vec<String> = rows.label_names().iter().cloned().collect();
        let code = |code: Option<usize>| code.map_or(NO_CODE, |code| code as u32);
        let codes = || reads.clone().map(|read| rows.labels(read).into_iter().map(code).collect()).collect();
        match (self.level, &self.order) {
            _ if self.reading == Reading::Number => self.numbers(rows, reads, name),
            (Level::Ordinal, Some(order)) => {
                let places: Vec<Option<usize>> =
                    labels.iter().map(|label| order.iter().position(|other| other == label)).collect();
                let mut columns: ReadCodes = codes();
                for (read, column) in columns.iter_mut().enumerate() {
                    for code in column.iter_mut().filter(|code| **code != NO_CODE) {
                        let unknown = || {
                            let (label, read) = (&labels[*code as usize], name(read));
                            DataError::at("order", format!("`{read}` has the label `{label}`, which is not in `order`"))
                        };
                        *code = places[*code as usize].ok_or_else(unknown)? as u32;
                    }
                }
                Ok((Categories::Ordered(order.clone(), true), columns))
            }
            (Level::Ordinal, None) => Ok((Categories::Ordered(labels, false), codes())),
            _ if self.reading == Reading::Labels => {
                Ok((Categories::Sets(rows.label_sets().iter().cloned().collect()), codes()))
            }
            _ => Ok((Categories::Labels(labels), codes())),
        }
    }

    fn numbers(
        &self,
        rows: &Rows<'_>,
        reads: std::ops::Range<usize>,
        name: impl Fn(usize) -> String,
    ) -> Result<(Categories, ReadCodes), DataError> {
        let wrong = |number: f64| match self.level {
            Level::Ordinal => false,
            level => !number.is_finite() || level == Level::Ratio && number < 0.0,
        };
        // Each column is sorted by itself, in parallel; then the sorted columns are merged.
        let columns = in_parallel(reads.len(), |place, _| {
            let numbers = rows.each_number(reads.start + place).zip(0u32..);
            // Adding 0 makes -0 and 0 the same number.
            let mut sorted: Vec<(f64, u32)> = Vec::with_capacity(rows.len());
            sorted.extend(numbers.filter_map(|(number, row)| Some((number? + 0.0, row))));
            sorted.sort_unstable_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
            sorted
        });
        for (place, column) in columns.iter().enumerate() {
            if let Some((number, _)) = column.iter().filter(|(number, _)| wrong(*number)).min_by_key(|(_, row)| row) {
                let needs =
                    if number.is_finite() { "ratios need numbers from 0" } else { "distances need finite numbers" };
                return Err(format!("`{}` has the number {number}, but {needs}", name(place)).into());
            }
        }
        let mut codes: ReadCodes = vec![vec![NO_CODE; rows.len()]; columns.len()];
        let mut numbers: Vec<f64> = Vec::with_capacity(columns.iter().map(Vec::len).max().unwrap_or(0));
        let mut rest: Vec<&[(f64, u32)]> = columns.iter().map(Vec::as_slice).collect();
        // The column with the smallest number that is left.
        let least = |rest: &[&[(f64, u32)]]| {
            let heads = rest.iter().enumerate().filter_map(|(place, column)| Some((column.first()?.0, place)));
            heads.min_by(|a, b| a.0.total_cmp(&b.0))
        };
        while let Some((number, place)) = least(&rest) {
            if numbers.last() != Some(&number) {
                numbers.push(number);
            }
            let equal = rest[place].iter().take_while(|(other, _)| *other == number).count().max(1);
            let (these, others) = rest[place].split_at(equal);
            these.iter().for_each(|(_, row)| codes[place][*row as usize] = numbers.len() as u32 - 1);
            rest[place] = others;
        }
        Ok((Categories::Numbers(numbers, self.level), codes))
    }
}

/// The codes of a wide table: a read for each coder, then the cluster.
pub(super) fn wide(coders: &[String], values: &Values, rows: &Rows<'_>, clustered: bool) -> Result<Coded, DataError> {
    let read = values.read(rows, 0..coders.len(), |read| coders[read].clone());
    let (categories, columns) = read.map_err(|error| error.or_at("coders"))?;
    let clusters = clustered.then(|| rows.clusters(coders.len()).map_err(of_clusters)).transpose()?;
    let mut codes = Codes::new(coders.len(), clustered);
    for (row, count) in rows.counts().into_iter().enumerate() {
        let cluster = clusters.as_ref().map_or(0, |clusters| clusters[row]);
        codes.push(columns.iter().map(|column| column[row]), count, cluster);
    }
    drop(columns);
    Ok(Coded { coders: coders.to_vec(), codes: codes.merged(), categories })
}

/// The reads of a long table.
const VALUE: usize = 0;
const UNIT: usize = 1;
const CODER: usize = 2;
const CLUSTER: usize = 3;

fn of_clusters(message: String) -> DataError {
    DataError::at("cluster", message)
}

/// The coders of a long table.
pub(super) fn coders_of(rows: &Rows<'_>) -> Vec<String> {
    rows.names(CODER).iter().cloned().collect()
}

/// The codes of a long table: a row is one code of one unit by one of two `coders` or more.
pub(super) fn long(coders: Vec<String>, values: &Values, rows: &Rows<'_>, clustered: bool) -> Result<Coded, DataError> {
    let read = values.read(rows, VALUE..VALUE + 1, |_| "value".to_owned());
    let (categories, columns) = read.map_err(|error| error.or_at("value"))?;
    let clusters = clustered.then(|| rows.clusters(CLUSTER).map_err(of_clusters)).transpose()?;
    let (mut units, mut table, mut of_unit) = (HashMap::new(), Vec::new(), Vec::new());
    for (row, (unit, coder)) in rows.labels(UNIT).into_iter().zip(rows.labels(CODER)).enumerate() {
        let (Some(unit), Some(coder)) = (unit, coder) else {
            let field = if unit.is_none() { "unit" } else { "coder" };
            return Err(DataError::at(field, "a row names no unit or no coder"));
        };
        let place = *units.entry(unit).or_insert_with(|| {
            table.resize(table.len() + coders.len(), None);
            of_unit.push(clusters.as_ref().map_or(0, |clusters| clusters[row]));
            of_unit.len() - 1
        });
        let cell: &mut Option<u32> = &mut table[place * coders.len() + coder];
        if cell.replace(columns[0][row]).is_some() {
            let unit = &rows.names(UNIT)[unit];
            let message = format!("the coder `{}` has two rows about the unit `{unit}`", coders[coder]);
            let help =
                "if a column tells the rows apart, such as `replicate`, write it into `by`; or `filter` the rows first";
            return Err(DataError::at("coder", message).help(help));
        }
    }
    let mut codes = Codes::new(coders.len(), clustered);
    for (unit, cluster) in table.chunks(coders.len()).zip(of_unit) {
        codes.push(unit.iter().map(|code| code.unwrap_or(NO_CODE)), 1, cluster);
    }
    Ok(Coded { coders, codes: codes.merged(), categories })
}

impl Coded {
    /// The codes of lists of labels, for one label: whether a list has it.
    pub(super) fn presence(&self, sets: &[Vec<u64>], label: usize, name: &str) -> Coded {
        let has = |set: usize| usize::from(sets[set].binary_search(&(label as u64)).is_ok());
        let codes = self.codes.mapped(has).merged();
        Coded { coders: self.coders.clone(), codes, categories: Categories::Presence(name.to_owned()) }
    }
}
