//! Columns: what the answer columns of a finished stage contain, in one line each, and how far its models and
//! replicates agree. The shares of labels are counted during the run, so they are not here.

use std::collections::{BTreeMap, BTreeSet};

use arrow_array::RecordBatch;
use indexmap::IndexMap;
use serde_json::{Map, Value, json};

use super::distributions::Distributions;
use super::text::{count, figure, number, percent};
use crate::plan::Plan;
use crate::spec::{Form, StageSpec, TableId};
use crate::stage::MOST_LABELS;
use crate::stats::{alpha, interpolated, kappa};
use crate::store::RunDir;
use crate::table::{Cell, Cutter, Type, cell_at};

/// The most options of a list that are shown.
const OPTIONS: usize = 5;
/// The rows of a batch.
const ROWS: usize = 1024;

/// The values of a column so far.
#[derive(Debug, PartialEq)]
enum Values {
    Quotes {
        asked: u64,
        found: u64,
    },
    Numbers(Vec<f64>),
    /// How many answers have an item, and how many items an answer has.
    Lists(IndexMap<String, u64>, Vec<f64>),
    /// The numbers of characters.
    Texts(Vec<f64>),
    /// How often a value has each origin.
    Origins(IndexMap<String, u64>),
}

struct Column {
    name: String,
    index: usize,
    /// The place of its rows among the rows about one input row: the first one, and the distance to the next.
    rows: (usize, usize),
    values: Values,
}

/// The answers to one key that have labels, as numbers of labels.
struct Labels {
    name: String,
    labels: Vec<String>,
    /// The column of each model; one column if the models have their own rows.
    indices: Vec<usize>,
    /// For two models, how often each pair of labels occurs.
    pairs: Vec<Vec<u64>>,
    /// For each row, the labels of all models.
    ratings: Vec<Vec<usize>>,
    /// For each model, the rows whose replicates are all there, and those whose replicates are equal.
    replicates: Vec<(u64, u64)>,
}

/// What the answer columns of a stage contain.
pub(crate) struct StageColumns {
    /// All columns that the stage adds, in the order of its table.
    order: Vec<String>,
    columns: Vec<Column>,
    labels: Vec<Labels>,
    models: Vec<String>,
    replicates: usize,
    form: Form,
    distributions: Distributions,
    /// The rows that people correct and that the rows so far do not include.
    lost: LostRows,
}

#[derive(Default)]
struct LostRows {
    path: String,
    are_left_out: bool,
    names: BTreeSet<String>,
    key: Option<usize>,
    /// The number of rows about each input row, and the input rows so far.
    fold: usize,
    rows: u64,
}

/// Reads the table of a finished stage, which was asked about this number of rows. `None` if a part can't be read.
pub(crate) fn read(plan: &Plan, folder: &RunDir, id: TableId, rows: u64) -> Option<StageColumns> {
    let stage = plan.spec.stage(id);
    let mut found = StageColumns::new(stage);
    let mut cutter = Cutter::new(stage.answers.fold() as usize);
    for part in plan.parts(id, rows) {
        let table = folder.committed(stage.name.as_str(), part.number)?.table;
        for batch in table.read(0, table.rows(), ROWS).ok()? {
            if let Some(groups) = cutter.push(batch.ok()?).ok()? {
                found.add(&groups);
            }
        }
    }
    Some(found)
}

impl StageColumns {
    fn new(stage: &StageSpec) -> StageColumns {
        let (info, answers) = (&stage.stage.info, &stage.answers);
        let (writes, per_row) = (info.writes.len(), answers.models_per_row());
        let name = |index: usize| stage.relation.schema.field(index).name().clone();
        let (mut columns, mut labels) = (Vec::new(), Vec::new());
        for (write, column) in info.writes.iter().enumerate().filter(|(write, _)| info.is_answer(*write)) {
            let models = if answers.form == Form::Wide { per_row } else { 1 };
            let of_models: Vec<usize> =
                (0..models).map(|model| stage.given + answers.place(writes, model, write)).collect();
            if (1..=MOST_LABELS).contains(&info.labels[write].len()) {
                labels.push(Labels::new(&column.name, &info.labels[write], of_models, per_row));
                continue;
            }
            let of_field = info.origins[write].first().is_some_and(|part| part == "fields");
            let values = match of_field && column.name.ends_with("_source") {
                true => Some(Values::Origins(IndexMap::new())),
                false => Values::of(&column.name, column.kind),
            };
            let Some(values) = values else { continue };
            let steps = if answers.form == Form::Long { per_row } else { 1 };
            for index in of_models {
                for step in 0..steps {
                    let mut name = name(index).replace("_quote_found", "_quote");
                    if steps > 1 {
                        name = format!("{name} ({})", stage.model_names[step]);
                    }
                    columns.push(Column { name, index, rows: (step, steps), values: values.empty() });
                }
            }
        }
        let (models, replicates) = (stage.model_names.clone(), answers.replicates);
        let order = (stage.given..stage.relation.schema.fields().len()).map(name).collect();
        let (distributions, lost) = (Distributions::new(stage), LostRows::new(stage));
        StageColumns { order, columns, labels, models, replicates, form: answers.form, distributions, lost }
    }

    /// Adds rows: all rows about each input row.
    fn add(&mut self, rows: &RecordBatch) {
        self.lost.add(rows);
        self.distributions.add(rows);
        for column in &mut self.columns {
            let cells = rows.column(column.index);
            let (first, step) = column.rows;
            (first..rows.num_rows()).step_by(step).for_each(|row| column.values.add(cell_at(cells.as_ref(), row)));
        }
        let in_rows = if self.form == Form::Long { self.models.len() } else { 1 };
        let group = self.replicates * in_rows;
        for labels in &mut self.labels {
            for first in (0..rows.num_rows()).step_by(group) {
                // By replicate, then by model.
                let label = |replicate: usize, model: usize| {
                    let index = labels.indices[if in_rows > 1 { 0 } else { model }];
                    let row = first + replicate * in_rows + if in_rows > 1 { model } else { 0 };
                    labels.number(&cell_at(rows.column(index).as_ref(), row))
                };
                let models = labels.replicates.len();
                let answers: Vec<Vec<Option<usize>>> =
                    (0..self.replicates).map(|r| (0..models).map(|m| label(r, m)).collect()).collect();
                labels.add(&answers);
            }
        }
    }
}

impl LostRows {
    fn new(stage: &StageSpec) -> LostRows {
        let Some(corrections) = &stage.corrections else { return LostRows::default() };
        let (path, names) = (corrections.path.clone(), corrections.rows().map(str::to_owned).collect());
        let (key, fold) = (stage.relation.key, stage.answers.fold() as usize);
        LostRows { path, are_left_out: corrections.are_left_out, names, key, fold, rows: 0 }
    }

    fn add(&mut self, rows: &RecordBatch) {
        if self.names.is_empty() {
            return;
        }
        for row in (0..rows.num_rows()).step_by(self.fold) {
            let name = match self.key {
                Some(key) => cell_at(rows.column(key).as_ref(), row).text(),
                None => (self.rows + 1).to_string(),
            };
            self.names.remove(&name);
            self.rows += 1;
        }
    }
}

impl Values {
    /// `None` for a column that is part of a quote, or whose shares are counted.
    fn of(name: &str, kind: Type) -> Option<Values> {
        match kind {
            _ if name.ends_with("_quote_found") => Some(Values::Quotes { asked: 0, found: 0 }),
            _ if ["_quote", "_quote_start", "_quote_end"].iter().any(|end| name.ends_with(end)) => None,
            Type::Integer | Type::Number => Some(Values::Numbers(Vec::new())),
            Type::Vector => None,
            Type::List(_) => Some(Values::Lists(IndexMap::new(), Vec::new())),
            Type::Text => Some(Values::Texts(Vec::new())),
            Type::Boolean => None,
        }
    }

    fn empty(&self) -> Values {
        match self {
            Values::Quotes { .. } => Values::Quotes { asked: 0, found: 0 },
            Values::Numbers(_) => Values::Numbers(Vec::new()),
            Values::Lists(..) => Values::Lists(IndexMap::new(), Vec::new()),
            Values::Texts(_) => Values::Texts(Vec::new()),
            Values::Origins(_) => Values::Origins(IndexMap::new()),
        }
    }

    fn add(&mut self, cell: Cell) {
        match (self, cell) {
            (Values::Quotes { asked, found }, Cell::Text(how)) => {
                *asked += 1;
                *found += u64::from(how != "no");
            }
            (Values::Numbers(numbers), Cell::Integer(n)) => numbers.push(n as f64),
            (Values::Numbers(numbers), Cell::Number(n)) if n.is_finite() => numbers.push(n),
            (Values::Lists(options, sizes), Cell::List(items)) => {
                sizes.push(items.len() as f64);
                let mut items: Vec<String> = items.iter().map(Cell::text).collect();
                items.sort_unstable();
                items.dedup();
                items.into_iter().for_each(|item| *options.entry(item).or_default() += 1);
            }
            (Values::Origins(origins), Cell::Text(origin)) => *origins.entry(origin).or_default() += 1,
            (Values::Texts(lengths), Cell::Text(text)) => lengths.push(text.chars().count() as f64),
            _ => {}
        }
    }

    fn text(&self) -> String {
        match self {
            Values::Quotes { asked, found } => {
                let share =
                    if *asked > 0 { format!(" ({})", percent(*found as f64 / *asked as f64)) } else { String::new() };
                format!("{} of {} found{share}", number(*found), count(*asked, "quote"))
            }
            Values::Numbers(numbers) => match spread(numbers) {
                Some([low, median, high]) => {
                    let n = count(numbers.len() as u64, "number");
                    format!("median {}, {} to {} ({n})", value(median), value(low), value(high))
                }
                None => "no numbers".to_owned(),
            },
            Values::Texts(lengths) => match spread(lengths) {
                Some([low, median, high]) => {
                    let n = count(lengths.len() as u64, "text");
                    let least = if low < high { format!("{} to ", figure(low)) } else { String::new() };
                    format!("{least}{} characters, median {} ({n})", figure(high), figure(median))
                }
                None => "no texts".to_owned(),
            },
            Values::Origins(origins) => {
                let all = origins.values().sum::<u64>();
                let of = |(origin, n): (&String, &u64)| {
                    format!("{origin} {}/{} ({})", number(*n), number(all), percent(*n as f64 / all as f64))
                };
                match all {
                    0 => "no values".to_owned(),
                    _ => frequent(origins).take(OPTIONS).map(of).collect::<Vec<_>>().join(", "),
                }
            }
            Values::Lists(options, sizes) => {
                let Some([_, median, high]) = spread(sizes) else { return "no lists".to_owned() };
                let all = sizes.len() as f64;
                let shown =
                    frequent(options).take(OPTIONS).map(|(item, n)| format!("{item} {}", percent(*n as f64 / all)));
                let mut shown: Vec<String> = shown.collect();
                if options.len() > OPTIONS {
                    shown.push(format!("{} more", number((options.len() - OPTIONS) as u64)));
                }
                let n = count(sizes.len() as u64, "list");
                let sizes = format!("median {} of up to {} items ({n})", figure(median), figure(high));
                shown.push(sizes);
                shown.join(", ")
            }
        }
    }

    fn json(&self) -> Value {
        let spread = |values: &[f64]| {
            let found = spread(values).map(|[low, median, high]| json!([low, median, high]));
            let [low, median, high] = [0, 1, 2].map(|i| found.as_ref().map(|found| found[i].clone()));
            json!({ "count": values.len(), "minimum": low, "median": median, "maximum": high })
        };
        match self {
            Values::Quotes { asked, found } => json!({ "quotes": asked, "found": found }),
            Values::Numbers(numbers) => spread(numbers),
            Values::Texts(lengths) => json!({ "characters": spread(lengths) }),
            Values::Origins(origins) => json!({ "origins": origins }),
            Values::Lists(options, sizes) => {
                let options: Map<String, Value> = frequent(options).map(|(item, n)| (item.clone(), json!(n))).collect();
                json!({ "items": spread(sizes), "options": options })
            }
        }
    }
}

/// A value of the data: a whole number as it is, others with three significant digits.
fn value(n: f64) -> String {
    if n.fract() == 0.0 && n.abs() < 1e15 { format!("{n:.0}") } else { figure(n) }
}

/// The smallest value, the median and the largest one.
fn spread(values: &[f64]) -> Option<[f64; 3]> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let (low, high) = (sorted.first()?, sorted.last()?);
    Some([*low, interpolated(&sorted, 0.5), *high])
}

/// The most frequent items first, equally frequent ones in the order of the alphabet.
fn frequent(options: &IndexMap<String, u64>) -> impl Iterator<Item = (&String, &u64)> {
    let mut sorted: Vec<_> = options.iter().collect();
    sorted.sort_by(|a, b| b.1.cmp(a.1).then(a.0.cmp(b.0)));
    sorted.into_iter()
}

impl Labels {
    fn new(name: &str, labels: &[String], indices: Vec<usize>, models: usize) -> Labels {
        let pairs = vec![vec![0; labels.len()]; labels.len()];
        let (labels, replicates) = (labels.to_vec(), vec![(0, 0); models]);
        Labels { name: name.to_owned(), labels, indices, pairs, ratings: Vec::new(), replicates }
    }

    fn number(&self, cell: &Cell) -> Option<usize> {
        let text = match cell {
            Cell::Text(text) => text.clone(),
            Cell::Integer(number) => number.to_string(),
            Cell::Boolean(truth) => truth.to_string(),
            _ => return None,
        };
        self.labels.iter().position(|label| *label == text)
    }

    /// Adds the answers about a row: by replicate, then by model.
    fn add(&mut self, answers: &[Vec<Option<usize>>]) {
        for models in answers.iter().filter(|models| models.len() > 1) {
            if let [Some(a), Some(b)] = models.as_slice() {
                self.pairs[*a][*b] += 1;
            }
            self.ratings.push(models.iter().flatten().copied().collect());
        }
        for (model, (whole, equal)) in self.replicates.iter_mut().enumerate() {
            let all: Option<Vec<usize>> = answers.iter().map(|models| models[model]).collect();
            let Some(all) = all.filter(|all| all.len() > 1) else { continue };
            *whole += 1;
            *equal += u64::from(all.iter().all(|label| *label == all[0]));
        }
    }

    /// How far the models agree: the rows that all have answered, those with equal labels, and the coefficient.
    fn of_models(&self, models: usize) -> Option<(u64, u64, &'static str, Option<f64>)> {
        let whole = self.ratings.iter().filter(|labels| labels.len() == models);
        let equal = whole.clone().filter(|labels| labels.iter().all(|label| *label == labels[0])).count() as u64;
        let whole = whole.count() as u64;
        let (name, coefficient) = match models {
            2 => ("Cohen's kappa", kappa(&self.pairs)),
            _ => ("Krippendorff's alpha", alpha(&self.ratings)),
        };
        (whole > 0).then_some((whole, equal, name, coefficient))
    }
}

impl StageColumns {
    /// The place of a column in the table. A quote has the name of its words.
    pub(crate) fn place(&self, name: &str) -> usize {
        let name = name.split(" (").next().unwrap_or_default();
        self.order.iter().position(|column| column.replace("_quote_found", "_quote") == name).unwrap_or(usize::MAX)
    }

    /// The names of the columns with their texts.
    pub(crate) fn lines(&self) -> impl Iterator<Item = (&str, String)> {
        self.columns.iter().map(|column| (column.name.as_str(), column.values.text()))
    }

    /// How far the ways to measure distributions differ.
    pub(crate) fn distributions(&self) -> &Distributions {
        &self.distributions
    }

    /// The rows in the file of corrections that the table does not have.
    pub(crate) fn lost_corrections(&self) -> impl Iterator<Item = &str> {
        self.lost.names.iter().map(String::as_str)
    }

    /// What is wrong with the corrections of a run of all rows, or only of `some`.
    pub(crate) fn correction_warnings(&self, some: bool) -> Vec<String> {
        let LostRows { path, are_left_out, .. } = &self.lost;
        if *are_left_out {
            return vec![format!(
                "{path} names rows by their numbers among all rows, so it corrects none in this run of some rows: a `key` \
                 of the source would name them"
            )];
        }
        let lost = self.lost_corrections().filter(|_| !some);
        lost.map(|row| format!("{path} corrects row `{row}`, which its input does not have")).collect()
    }

    /// How far models and replicates agree, a line for each key.
    pub(crate) fn agreement(&self) -> Vec<String> {
        let mut lines = Vec::new();
        for labels in &self.labels {
            let models = labels.replicates.len();
            if let Some((whole, equal, name, coefficient)) = labels.of_models(models).filter(|_| models > 1) {
                let who = if models == 2 { self.models.join(" and ") } else { format!("all {models} models") };
                let share = percent(equal as f64 / whole as f64);
                let coefficient = coefficient.map_or("not defined".to_owned(), |value| format!("{value:.2}"));
                let of = count(whole, "row");
                lines.push(format!("{}: {who} agree on {share} of {of}, {name} {coefficient}", labels.name));
            }
            for (model, (whole, equal)) in labels.replicates.iter().enumerate().filter(|(_, (whole, _))| *whole > 0) {
                let who = if models > 1 { format!(" ({})", self.models[model]) } else { String::new() };
                let (share, n) = (percent(*equal as f64 / *whole as f64), self.replicates);
                lines.push(format!("{}{who}: all {n} alike: {share} of {}", labels.name, count(*whole, "row")));
            }
        }
        lines
    }

    pub(crate) fn columns_json(&self) -> BTreeMap<&str, Value> {
        self.columns.iter().map(|column| (column.name.as_str(), column.values.json())).collect()
    }

    pub(crate) fn agreement_json(&self) -> BTreeMap<&str, Value> {
        let of = |labels: &Labels| {
            let models = labels.replicates.len();
            let between = labels.of_models(models).filter(|_| models > 1);
            let between = between.map(|(rows, equal, coefficient, value)| {
                json!({ "rows": rows, "equal": equal, "coefficient": coefficient, "value": value })
            });
            let replicates = labels.replicates.iter().enumerate().filter(|(_, (whole, _))| *whole > 0);
            let replicates: Map<String, Value> = replicates
                .map(|(model, (rows, equal))| (self.models[model].clone(), json!({ "rows": rows, "equal": equal })))
                .collect();
            json!({ "models": between, "replicates": replicates })
        };
        let said = |labels: &&Labels| self.replicates > 1 || labels.replicates.len() > 1;
        self.labels.iter().filter(said).map(|labels| (labels.name.as_str(), of(labels))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(mut values: Values, cells: Vec<Cell>) -> String {
        cells.into_iter().for_each(|cell| values.add(cell));
        values.text()
    }

    fn text(text: &str) -> Cell {
        Cell::Text(text.to_owned())
    }

    #[test]
    fn every_type_has_a_line() {
        let numbers = || Values::of("hours", Type::Integer).expect("numbers");
        let all = [40, 10, 100].map(Cell::Integer).into_iter().chain([Cell::Null]).collect();
        assert_eq!(filled(numbers(), all), "median 40, 10 to 100 (3 numbers)");
        assert_eq!(filled(numbers(), vec![Cell::Null]), "no numbers");
        let quotes = Values::of("party_quote_found", Type::Text).expect("quotes");
        let all = vec![text("exact"), text("no"), text("fuzzy"), Cell::Null];
        assert_eq!(filled(quotes, all), "2 of 3 quotes found (66.7 %)");
        let texts = Values::of("why", Type::Text).expect("texts");
        assert_eq!(filled(texts, vec![text("a"), text("é平é"), Cell::Null]), "1 to 3 characters, median 2 (2 texts)");
        let lists = Values::of("news", Type::List(crate::table::Simple::Text)).expect("lists");
        let list = |items: &[&str]| Cell::List(items.iter().map(|item| text(item)).collect());
        let all = vec![list(&["tv", "papers"]), list(&["tv", "tv"]), list(&[]), Cell::Null];
        assert_eq!(filled(lists, all), "tv 66.7 %, papers 33.3 %, median 2 of up to 2 items (3 lists)");
        assert!(Values::of("party_quote_start", Type::Integer).is_none());
        let origins = Values::Origins(IndexMap::new());
        let all = vec![text("original"), text("small"), text("small"), Cell::Null];
        assert_eq!(filled(origins, all), "small 2/3 (66.7 %), original 1/3 (33.3 %)");
        let years = Values::of("year", Type::Integer).expect("numbers");
        assert_eq!(
            filled(years, [1153, 1814, 1527].map(Cell::Integer).into()),
            "median 1527, 1153 to 1814 (3 numbers)"
        );
        let shares = Values::of("weight", Type::Number).expect("numbers");
        assert_eq!(
            filled(shares, vec![Cell::Number(0.123_456), Cell::Number(1234.5)]),
            "median 617, 0.123 to 1,230 (2 numbers)"
        );
    }

    fn labels(models: usize, answers: &[&[&[Option<usize>]]]) -> StageColumns {
        let names = ["no", "yes"].map(str::to_owned);
        let mut labels = Labels::new("tone", &names, vec![0; models], models);
        for row in answers {
            labels.add(&row.iter().map(|models| models.to_vec()).collect::<Vec<_>>());
        }
        let models = ["a", "b", "c"].map(str::to_owned)[..models].to_vec();
        let replicates = answers[0].len();
        StageColumns {
            distributions: Distributions::default(),
            order: Vec::new(),
            columns: Vec::new(),
            labels: vec![labels],
            models,
            replicates,
            form: Form::Wide,
            lost: LostRows::default(),
        }
    }

    #[test]
    fn models_agree_by_kappa_or_alpha() {
        let two =
            labels(2, &[&[&[Some(1), Some(1)]], &[&[Some(0), Some(0)]], &[&[Some(1), Some(0)]], &[&[None, Some(0)]]]);
        assert_eq!(two.agreement(), ["tone: a and b agree on 66.7 % of 3 rows, Cohen's kappa 0.40"]);
        let three = labels(3, &[&[&[Some(1); 3]], &[&[Some(0); 3]]]);
        assert_eq!(three.agreement(), ["tone: all 3 models agree on 100 % of 2 rows, Krippendorff's alpha 1.00"]);
        let json = &two.agreement_json()["tone"]["models"];
        assert_eq!((&json["rows"], &json["equal"]), (&json!(3), &json!(2)));
    }

    #[test]
    fn replicates_are_alike_or_not() {
        let one = labels(1, &[&[&[Some(1)], &[Some(1)]], &[&[Some(0)], &[Some(1)]], &[&[None], &[Some(1)]]]);
        assert_eq!(one.agreement(), ["tone: all 2 alike: 50 % of 2 rows"]);
        assert_eq!(one.agreement_json()["tone"]["replicates"]["a"], json!({ "rows": 2, "equal": 1 }));
    }
}
