//! `type = "sample"`: draws the rows that people shall code, with known probabilities of inclusion.
//!
//! The input is read twice: first the columns of the design, then the rows that are drawn.

use std::collections::HashMap;
use std::sync::Arc;

use arrow_array::{ArrayRef, BooleanArray, Float64Array, RecordBatch, StringArray};
use arrow_schema::{DataType, Field, SchemaRef};
use arrow_select::filter::filter_record_batch;
use indexmap::{IndexMap, IndexSet};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::method::columns::{Columns, Read, Reading, Rows};
use super::method::gold::PROBABILITY;
use super::method::outcome;
use super::method::settings::read_column;
use super::transform::{
    self, DataError, Pass, Transform, TransformConfig, TransformContext, TransformInfo, Work, sentence,
};
use super::view::{self, Shown, View};
use crate::document::Problems;
use crate::random::Streams;
use crate::registry::Kind;
use crate::stats::{allocation, inclusion, parts, sampford, systematic};
use crate::table::cell_at;

pub(crate) const KIND: Kind<Box<dyn TransformConfig>> =
    Kind::new::<Sample>("sample", "A random sample of rows, with the probability of each row to be in it.");

const STRATUM: &str = "stratum";
const SPLIT: &str = "split";
/// The stratum of rows without a value.
const MISSING: &str = "(missing)";
/// Splits of several strata begin at a random place of this many.
const STARTS: u64 = 1000;

/// A random sample of the rows of `input`, drawn by the spec's seed, in their order. The table has the columns of `input`
/// and `inclusion_probability`; with `strata` also `stratum`, and with `split` also `split`. An input with fewer rows is
/// drawn whole. Without `weight`, a larger sample contains the smaller one, and no row changes its split.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Sample {
    /// The source or the stage whose rows are drawn.
    #[serde(skip_serializing)]
    input: String,
    /// The number of rows.
    #[schemars(range(min = 1))]
    n: usize,
    /// Columns whose values divide the rows into strata. Each stratum has at least one row in the sample.
    #[serde(default)]
    strata: Vec<String>,
    /// How many rows each stratum has: `proportional` to its size, `equal`, or `neyman` (proportional to its size times
    /// the standard deviation of `outcome` in it). Default: `proportional`.
    allocation: Option<Allocation>,
    /// With `neyman`, a condition such as `label == "positive"`, or a column of numbers or of true and false.
    outcome: Option<String>,
    /// A column with the size of each row. The probability to be drawn is proportional to it.
    weight: Option<String>,
    /// How rows with a `weight` are drawn: `sampford`, or `systematic` in the order of the rows. Default: `sampford`.
    draw: Option<Draw>,
    /// Parts of the sample with their shares, such as `{ dev = 0.4, test = 0.6 }`.
    #[serde(default)]
    split: IndexMap<String, f64>,
}

/// The sizes of the strata.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum Allocation {
    /// Proportional to the number of rows.
    Proportional,
    /// Equal sizes.
    Equal,
    /// Proportional to the number of rows times the standard deviation of the outcome.
    Neyman,
}

/// The way to draw with unequal probabilities.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum Draw {
    /// Sampford's design.
    #[default]
    Sampford,
    /// Systematic, in the order of the rows.
    Systematic,
}

impl Sample {
    fn check(&self, context: &TransformContext<'_>, problems: &mut Problems) {
        let mut bad = |key: &str, message: String, help: &str| {
            problems.error("bad-value", context.path.key(key), message).help(help);
        };
        if self.n == 0 {
            bad("n", "`n` is 0, so no row is drawn".to_owned(), "name the number of rows to draw");
        }
        if self.allocation.is_some() && self.strata.is_empty() {
            bad("allocation", "`allocation` needs strata".to_owned(), "add `strata = [\"a column\"]`");
        }
        if self.allocation == Some(Allocation::Neyman) && self.outcome.is_none() {
            let help = "add `outcome`, such as `outcome = 'label == \"positive\"'`";
            bad("allocation", "`neyman` needs an outcome".to_owned(), help);
        }
        if self.outcome.is_some() && self.allocation != Some(Allocation::Neyman) {
            bad("outcome", "only `neyman` uses `outcome`".to_owned(), "set `allocation = \"neyman\"`, or remove it");
        }
        if self.draw.is_some() && self.weight.is_none() {
            bad("draw", "`draw` needs a weight".to_owned(), "name a column in `weight`, or remove `draw`");
        }
        let total: f64 = self.split.values().sum();
        if let Some((name, share)) = self.split.iter().find(|(_, share)| **share <= 0.0 || share.is_nan()) {
            bad("split", format!("the share of `{name}` is {share}"), "each share is above 0");
        } else if !self.split.is_empty() && (total - 1.0).abs() > 1e-9 {
            bad(
                "split",
                format!("the shares of `split` sum to {total}, not to 1"),
                "such as { dev = 0.4, test = 0.6 }",
            );
        }
    }

    /// What is read for the design: the strata, then the weight, then the outcome.
    fn reads(&self, context: &TransformContext<'_>, problems: &mut Problems) -> Option<Vec<Read>> {
        let input = context.inputs.first()?;
        let strata =
            self.strata.iter().enumerate().map(|(i, name)| {
                read_column(input, context.path.key("strata").index(i), name, Reading::Name, problems)
            });
        let mut reads: Vec<Option<Read>> = strata.collect();
        if let Some(weight) = &self.weight {
            reads.push(read_column(input, context.path.key("weight"), weight, Reading::Number, problems));
        }
        if let Some(source) = &self.outcome {
            reads.push(outcome::read(context, "outcome", source, problems));
        }
        reads.into_iter().collect()
    }
}

impl TransformConfig for Sample {
    fn inputs(&self) -> Vec<(&'static str, &str)> {
        vec![("input", &self.input), ("input", &self.input)]
    }

    fn bind(&self, context: &TransformContext<'_>, problems: &mut Problems) -> Option<Transform> {
        let before = problems.mark();
        let input = context.inputs.first()?;
        self.check(context, problems);
        let reads = self.reads(context, problems);
        let added = [
            Some(Field::new(PROBABILITY, DataType::Float64, true)),
            (!self.strata.is_empty()).then(|| Field::new(STRATUM, DataType::Utf8, true)),
            (!self.split.is_empty()).then(|| Field::new(SPLIT, DataType::Utf8, true)),
        ];
        let added: Vec<Field> = added.into_iter().flatten().collect();
        for field in added.iter().filter(|field| input.schema.index_of(field.name()).is_ok()) {
            let message = format!("`{}` already has a column `{}`, which a sample adds", input.name, field.name());
            problems
                .error("duplicate-column", context.path.key("input"), message)
                .help("give that column another name");
        }
        if problems.had_errors_since(before) {
            return None;
        }
        let reads = reads?;
        let columns = input.schema.fields().len();
        let new = added.len();
        let fields = input.schema.fields().iter().map(|field| field.as_ref().clone()).chain(added).collect();
        let info = TransformInfo {
            kind: KIND.name,
            schema: transform::schema(fields, context.path, problems)?,
            origins: (0..columns).map(|column| Some((0, column))).chain(std::iter::repeat_n(None, new)).collect(),
            reads: reads.iter().flat_map(Read::uses).chain(input.key).map(|column| (0, column)).collect(),
            key: input.key,
            hidden: 0,
            meaning: json!({ "type": KIND.name, "seed": context.seed, "name": context.name, "settings": self }),
        };
        let name = context.name.to_owned();
        let design = Design { sample: self.clone(), reads, seed: context.seed, name };
        let (schema, key) = (info.schema.clone(), input.key);
        Some(Transform { info, work: Box::new(BoundSample { schema, key, design }) })
    }
}

#[derive(Debug)]
struct BoundSample {
    schema: SchemaRef,
    key: Option<usize>,
    design: Design,
}

impl Work for BoundSample {
    fn views(&self) -> Vec<View> {
        let sample = &self.design.sample;
        let kept = View::new("Rows in the sample", Shown::Kept);
        let split = (!sample.split.is_empty()).then(|| view::labels("Parts of the sample", SPLIT));
        let strata = (!sample.strata.is_empty()).then(|| view::labels("Strata of the sample", STRATUM));
        let probabilities = view::numbers("Probability to be in the sample", PROBABILITY);
        [kept].into_iter().chain(split).chain(strata).chain([probabilities]).collect()
    }

    fn start(&self) -> Box<dyn Pass + '_> {
        let columns = Columns::new(self.design.reads.len(), false);
        let streams = self.design.streams("order");
        Box::new(Sampling { sample: self, columns, streams, order: Vec::new(), drawn: None, next: 0 })
    }
}

struct Sampling<'a> {
    sample: &'a BoundSample,
    columns: Columns,
    streams: Streams,
    /// A random number of each row, which depends only on the seed and on its key, or its number without a key.
    order: Vec<f64>,
    drawn: Option<Sampled>,
    next: usize,
}

/// The rows in the sample by their places, and the names of the strata.
struct Sampled {
    rows: HashMap<usize, Drawn>,
    strata: Vec<String>,
}

/// A row in the sample.
#[derive(Clone, Debug, PartialEq)]
struct Drawn {
    probability: f64,
    stratum: usize,
    split: usize,
}

impl Sampling<'_> {
    fn gather(&mut self, batch: &RecordBatch) -> Result<(), DataError> {
        self.columns.add(batch, &self.sample.design.reads, std::iter::repeat_n(None, batch.num_rows()))?;
        for i in 0..batch.num_rows() {
            let number = self.sample.key.map_or(self.order.len() as u64, |key| {
                let key = blake3::hash(cell_at(batch.column(key).as_ref(), i).json().to_string().as_bytes());
                u64::from_le_bytes(key.as_bytes()[..8].try_into().expect("a hash has 32 bytes"))
            });
            self.order.push(self.streams.of(number).unit());
        }
        Ok(())
    }
}

impl Pass for Sampling<'_> {
    fn take(&mut self, input: usize, batch: &RecordBatch) -> Result<Vec<RecordBatch>, DataError> {
        if input == 0 {
            return self.gather(batch).map(|()| Vec::new());
        }
        let BoundSample { schema, design, .. } = self.sample;
        let Sampled { rows, strata: names } = match self.drawn.take() {
            Some(sampled) => self.drawn.insert(sampled),
            None => {
                let mut columns = std::mem::take(&mut self.columns);
                columns.finish(&design.reads);
                self.drawn.insert(design.draw(&columns.rows(None), &std::mem::take(&mut self.order))?)
            }
        };
        let drawn: Vec<Option<&Drawn>> = (self.next..self.next + batch.num_rows()).map(|row| rows.get(&row)).collect();
        self.next += batch.num_rows();
        let mask: BooleanArray = drawn.iter().map(|drawn| Some(drawn.is_some())).collect();
        let kept = filter_record_batch(batch, &mask).map_err(sentence)?;
        let of = |text: &dyn Fn(&Drawn) -> String| -> ArrayRef {
            Arc::new(StringArray::from_iter_values(drawn.iter().flatten().map(|drawn| text(drawn))))
        };
        let mut columns = kept.columns().to_vec();
        let probabilities = drawn.iter().flatten().map(|drawn| drawn.probability);
        columns.push(Arc::new(Float64Array::from_iter_values(probabilities)));
        let Sample { strata, split, .. } = &design.sample;
        if !strata.is_empty() {
            columns.push(of(&|drawn| names[drawn.stratum].clone()));
        }
        if !split.is_empty() {
            columns.push(of(&|drawn| split.get_index(drawn.split).map(|(name, _)| name.clone()).unwrap_or_default()));
        }
        let made = RecordBatch::try_new(schema.clone(), columns).map_err(sentence)?;
        Ok(Some(made).filter(|made| made.num_rows() > 0).into_iter().collect())
    }
}

#[derive(Debug)]
struct Design {
    sample: Sample,
    reads: Vec<Read>,
    seed: u64,
    name: String,
}

impl Design {
    fn streams(&self, purpose: &str) -> Streams {
        Streams::new(self.seed, &["sample", &self.name, purpose])
    }

    /// The stratum of each row, and the names of the strata, sorted.
    fn strata(&self, rows: &Rows<'_>) -> (Vec<usize>, Vec<String>) {
        let columns: Vec<_> = (0..self.sample.strata.len()).map(|read| rows.labels(read)).collect();
        let (mut found, mut codes): (IndexSet<Vec<Option<usize>>>, Vec<Option<usize>>) = (IndexSet::new(), Vec::new());
        let stratum = |row: usize| {
            codes.clear();
            codes.extend(columns.iter().map(|column| column[row]));
            found.get_index_of(&codes).unwrap_or_else(|| found.insert_full(codes.clone()).0)
        };
        let mut strata: Vec<usize> = (0..rows.counts().len()).map(stratum).collect();
        let mut order: Vec<usize> = (0..found.len()).collect();
        order.sort_by(|a, b| found[*a].cmp(&found[*b]));
        let mut places = vec![0; order.len()];
        order.iter().enumerate().for_each(|(place, stratum)| places[*stratum] = place);
        strata.iter_mut().for_each(|stratum| *stratum = places[*stratum]);
        let name = |stratum: &usize| {
            let value = |(read, code): (usize, &Option<usize>)| {
                code.map_or(MISSING, |code| rows.names(read).get_index(code).map_or(MISSING, |name| name.as_str()))
            };
            found[*stratum].iter().enumerate().map(value).collect::<Vec<_>>().join(" / ")
        };
        (strata, order.iter().map(name).collect())
    }

    /// Draws the rows. `order` has a random number of each row.
    fn draw(&self, rows: &Rows<'_>, order: &[f64]) -> Result<Sampled, DataError> {
        let (stratum, names) = self.strata(rows);
        let mut members = vec![Vec::new(); names.len()];
        stratum.iter().enumerate().for_each(|(row, stratum)| members[*stratum].push(row));
        let n = self.sample.n.min(order.len());
        if n < names.len() {
            let message = format!("`n` is {n}, but `strata` makes {} strata, and each needs a row", names.len());
            return Err(DataError::at("n", message).help("raise `n`, or name fewer columns in `strata`"));
        }
        let weights = self.weights(rows)?;
        let mut drawn = HashMap::new();
        for (stratum, n) in self.allocated(rows, &members, n).into_iter().enumerate() {
            let members = &members[stratum];
            let (probabilities, mut sample) = match &weights {
                Some(weights) => self.by_weight(n, &names[stratum], members, weights),
                None => (vec![n as f64 / members.len() as f64; members.len()], (0..members.len()).collect()),
            };
            sample.sort_by(|a, b| order[members[*a]].total_cmp(&order[members[*b]]).then(a.cmp(b)));
            sample.truncate(n);
            let shares: Vec<f64> = self.sample.split.values().copied().collect();
            let start = self.streams("split").of(stratum as u64).below(STARTS) as usize;
            let splits = parts(&shares, if names.len() > 1 { start } else { 0 }, sample.len());
            for (unit, split) in sample.into_iter().zip(splits) {
                drawn.insert(members[unit], Drawn { probability: probabilities[unit], stratum, split });
            }
        }
        Ok(Sampled { rows: drawn, strata: names })
    }

    fn weights(&self, rows: &Rows<'_>) -> Result<Option<Vec<f64>>, DataError> {
        let Some(column) = &self.sample.weight else { return Ok(None) };
        let weight = |(row, weight): (usize, Option<f64>)| match weight {
            Some(weight) if weight > 0.0 && weight.is_finite() => Ok(weight),
            other => {
                let weight = other.map_or("missing".to_owned(), |weight| weight.to_string());
                let message = format!("the weight `{column}` of row {} is {weight}, but it must be above 0", row + 1);
                Err(DataError::at("weight", message))
            }
        };
        let weights = rows.numbers(self.sample.strata.len()).into_iter().enumerate().map(weight);
        weights.collect::<Result<Vec<f64>, DataError>>().map(Some)
    }

    /// The probabilities of the members of a stratum, and those that are drawn.
    fn by_weight(&self, n: usize, stratum: &str, members: &[usize], weights: &[f64]) -> (Vec<f64>, Vec<usize>) {
        let weights: Vec<f64> = members.iter().map(|row| weights[*row]).collect();
        let probabilities = inclusion(n, &weights);
        let mut stream = Streams::new(self.seed, &["sample", &self.name, "weight", stratum]).of(0);
        let drawn = match self.sample.draw.unwrap_or_default() {
            Draw::Sampford => sampford(&probabilities, || stream.unit()),
            Draw::Systematic => systematic(&probabilities, stream.unit()),
        };
        let drawn = (0..members.len()).filter(|unit| drawn[*unit]).collect();
        (probabilities, drawn)
    }

    /// The number of rows to draw of each stratum.
    fn allocated(&self, rows: &Rows<'_>, members: &[Vec<usize>], n: usize) -> Vec<usize> {
        let sizes: Vec<usize> = members.iter().map(Vec::len).collect();
        let proportional = || sizes.iter().map(|size| *size as f64);
        let shares = match self.sample.allocation.unwrap_or(Allocation::Proportional) {
            Allocation::Proportional => proportional().collect(),
            Allocation::Equal => vec![1.0; sizes.len()],
            Allocation::Neyman => {
                let read = self.sample.strata.len() + usize::from(self.sample.weight.is_some());
                let values = outcome::values(rows, read, self.reads[read].is_number());
                let spread = |members: &Vec<usize>| deviation(members.iter().filter_map(|row| values[*row]));
                proportional().zip(members).map(|(size, members)| size * spread(members)).collect()
            }
        };
        allocation(n, &sizes, &shares)
    }
}

/// The standard deviation of a population.
fn deviation(values: impl Iterator<Item = f64> + Clone) -> f64 {
    let n = (values.clone().count() as f64).max(1.0);
    let mean = values.clone().sum::<f64>() / n;
    (values.map(|value| (value - mean).powi(2)).sum::<f64>() / n).sqrt()
}

#[cfg(test)]
mod tests;
