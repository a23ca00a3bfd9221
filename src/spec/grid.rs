//! Grids: the axes of an asking stage, and its universes, one for each combination of their levels.
//!
//! An axis is a field of the stage, or of its models after `model`. A universe is read like a stage that the spec
//! contains; this file makes the tables to read.

use crate::document::{Node, Path, Problems, Value};
use crate::name::{Name, listed, suggestion};
use crate::stage::UNIVERSE;
use crate::table::{Cell, Column, Type};

/// The field of a stage with its axes.
pub(crate) const GRID: &str = "grid";
/// The first key of the axes that are fields of the stage's models.
pub(super) const MODEL: &str = "model";
const EXCLUDE: &str = "exclude";
/// Fields that are the same in all universes.
const FIXED: [&str; 5] = ["type", "input", "corrections", "audit", GRID];
const MOST: usize = 1000;
/// The most characters of the name of a level, and of a universe.
const LABEL: usize = 24;
const LONGEST: usize = 100;

#[derive(Debug)]
pub(crate) struct Grid {
    pub(crate) axes: Vec<Axis>,
    pub(crate) universes: Vec<Universe>,
}

#[derive(Debug)]
pub(crate) struct Axis {
    keys: Vec<String>,
    /// The place of the levels in the spec.
    pub(crate) at: Path,
    pub(crate) column: Column,
    levels: Vec<Level>,
}

#[derive(Debug)]
struct Level {
    node: Node,
    label: String,
}

#[derive(Debug)]
pub(crate) struct Universe {
    /// A short name, made of the names of its levels.
    pub(crate) label: String,
    /// For each axis, the number of its level.
    levels: Vec<usize>,
}

/// A value that a universe gives to a field, with its place in the grid.
pub(crate) struct Setting<'a> {
    pub(crate) keys: &'a [String],
    pub(crate) node: &'a Node,
    pub(crate) at: Path,
}

impl Grid {
    /// Reads the grid of the stage `table` at `at`. Returns `None` after an error.
    pub(crate) fn read(table: &Node, at: &Path, problems: &mut Problems) -> Option<Grid> {
        let mark = problems.mark();
        let (node, at_grid) = (table.get(GRID)?, at.key(GRID));
        if !matches!(node.value, Value::Table(_)) {
            let message = format!("`grid` is a table of axes, not {}", node.kind_name());
            problems.error("wrong-type", at_grid, message).help("write a table `[stages.NAME.grid]`");
            return None;
        }
        if table.get("corrections").is_some() {
            let message = "corrections replace the answers of one stage, and a grid has several";
            problems.error_at_key("bad-value", at.key("corrections"), message).help("leave it out");
        }
        let mut axes = Vec::new();
        read_axes(node, &at_grid, &[], &mut axes, problems);
        if axes.is_empty() && problems.clean_since(mark) {
            let message = "the grid has no axes";
            problems
                .error("bad-value", at_grid.clone(), message)
                .help("write for example `prompt = [\"...\", \"...\"]`");
        }
        for axis in &axes {
            axis.check(table, at, problems);
        }
        name_columns(&mut axes);
        if problems.had_errors_since(mark) {
            return None;
        }
        let size = axes.iter().map(|axis| axis.levels.len()).try_fold(1_usize, usize::checked_mul);
        if size.is_none_or(|size| size > MOST) {
            let size = size.map_or_else(|| "too many".to_owned(), |size| size.to_string());
            let message = format!("the grid has {size} universes, more than the {MOST} that are possible");
            problems.error("bad-value", at_grid, message).help("leave out levels, or an axis");
            return None;
        }
        let excluded = excluded(node, &at_grid, &axes, problems);
        let is_excluded =
            |levels: &[usize]| excluded.iter().any(|pairs| pairs.iter().all(|(axis, level)| levels[*axis] == *level));
        let mut universes: Vec<Universe> = Vec::new();
        for levels in combinations(&axes).into_iter().filter(|levels| !is_excluded(levels)) {
            let mut label = label_of(&axes, &levels);
            if universes.iter().any(|other| part(&other.label).eq_ignore_ascii_case(&part(&label))) {
                label = format!("{label}-{}", hash(&format!("{levels:?}")));
            }
            universes.push(Universe { label, levels });
        }
        if universes.is_empty() && problems.clean_since(mark) {
            let message = "`exclude` leaves no universe";
            problems.error("bad-value", at_grid.key(EXCLUDE), message).help("leave out one of its tables");
        }
        problems.clean_since(mark).then_some(Grid { axes, universes })
    }

    /// The values of the axes in a universe.
    pub(crate) fn cells(&self, universe: &Universe) -> Vec<Cell> {
        let levels = self.axes.iter().zip(&universe.levels);
        levels.map(|(axis, level)| axis.levels[*level].cell(axis.column.kind)).collect()
    }

    /// The table of a universe: that of the stage with the universe's levels.
    pub(crate) fn table(&self, stage: &Node, universe: &Universe) -> Node {
        let mut table = stage.clone();
        table.retain(|key| key != GRID);
        for setting in self.settings(universe, false) {
            table.put(setting.keys, setting.node.clone());
        }
        table
    }

    /// The fields of the stage that a universe sets.
    pub(crate) fn of_stage<'a>(&'a self, universe: &'a Universe) -> impl Iterator<Item = Setting<'a>> {
        self.settings(universe, false)
    }

    /// The fields of the models that a universe sets.
    pub(crate) fn of_models<'a>(&'a self, universe: &'a Universe) -> impl Iterator<Item = Setting<'a>> {
        self.settings(universe, true)
    }

    /// The name of a model of a universe that sets fields of its models. `None` if it sets none.
    pub(crate) fn model(&self, universe: &Universe, model: &Name) -> Option<Name> {
        let levels = self.axes.iter().zip(&universe.levels).filter(|(axis, _)| axis.is_of_models());
        let set = levels.map(|(axis, level)| format!("{}={}", axis.keys[1..].join("."), axis.levels[*level].setting()));
        let set: Vec<String> = set.collect();
        (!set.is_empty()).then(|| model.variant(&part(&set.join(","))))
    }

    /// The name of the table of a universe.
    pub(crate) fn table_name(&self, stage: &Name, universe: &Universe) -> Name {
        stage.part(&part(&universe.label))
    }

    /// The first axis in which two universes differ.
    pub(crate) fn difference(&self, one: &Universe, other: &Universe) -> Option<Path> {
        let at = self.axes.iter().zip(one.levels.iter().zip(&other.levels)).find(|(_, (one, other))| one != other);
        at.map(|(axis, (_, level))| axis.at.index(*level))
    }

    fn settings<'a>(&'a self, universe: &'a Universe, of_models: bool) -> impl Iterator<Item = Setting<'a>> {
        let levels = self.axes.iter().zip(&universe.levels).filter(move |(axis, _)| axis.is_of_models() == of_models);
        levels.map(move |(axis, level)| Setting {
            keys: if of_models { &axis.keys[1..] } else { &axis.keys },
            node: &axis.levels[*level].node,
            at: axis.at.index(*level),
        })
    }
}

impl Axis {
    fn is_of_models(&self) -> bool {
        self.keys.len() > 1 && self.keys[0] == MODEL
    }

    /// Reports a field that can't be an axis of the stage `table` at `at`.
    fn check(&self, table: &Node, at: &Path, problems: &mut Problems) {
        let (first, key) = (self.keys[0].as_str(), self.keys.join("."));
        if FIXED.contains(&first) {
            let message = format!("`{first}` is the same in all universes of a grid");
            problems.error_at_key("bad-value", self.at.clone(), message).help("leave the axis out");
            return;
        }
        if self.is_of_models() {
            return;
        }
        let written = self.keys.iter().try_fold(table, |node, key| node.get(key));
        let place = self.keys.iter().fold(at.clone(), |path, key| path.key(key));
        if written.is_some() {
            let message = format!("`{key}` is an axis of the grid too");
            problems.error_at_key("bad-value", place, message).help("leave it out here, and keep it among the levels");
        } else if !table.clone().put(&self.keys, self.levels[0].node.clone()) {
            let message = format!("`{first}` of this stage has no `{}`", self.keys[1..].join("."));
            let help = if first == "models" {
                format!("write `model.{}`", self.keys[1..].join("."))
            } else {
                "write a field of the stage, or a field of its models after `model.`".to_owned()
            };
            problems.error_at_key("unknown-field", self.at.clone(), message).help(help);
        }
    }
}

impl Level {
    /// The level in the name of a model, which other grids may set too: different levels have different texts.
    fn setting(&self) -> String {
        match self.node.value {
            Value::Bool(_) | Value::Integer(_) | Value::Float(_) => words(&self.node),
            _ => hash(&self.node.to_json().to_string()),
        }
    }

    fn cell(&self, kind: Type) -> Cell {
        match (&self.node.value, kind) {
            (Value::Null, _) => Cell::Null,
            (Value::Bool(truth), Type::Boolean) => Cell::Boolean(*truth),
            (Value::Integer(number), Type::Integer) => Cell::Integer(*number),
            (Value::Integer(number), Type::Number) => Cell::Number(*number as f64),
            (Value::Float(number), Type::Number) => Cell::Number(*number),
            (Value::String(text), _) => Cell::Text(text.clone()),
            _ => Cell::Text(words(&self.node)),
        }
    }
}

/// Reads the axes below `prefix`. An axis is a list; a table has further keys.
fn read_axes(node: &Node, at: &Path, prefix: &[String], axes: &mut Vec<Axis>, problems: &mut Problems) {
    for entry in node.entries() {
        let at = at.key(&entry.key);
        let keys: Vec<String> = prefix.iter().cloned().chain(entry.key.split('.').map(str::to_owned)).collect();
        match &entry.node.value {
            _ if prefix.is_empty() && entry.key == EXCLUDE => {}
            Value::Table(_) => read_axes(&entry.node, &at, &keys, axes, problems),
            Value::List(items) if items.is_empty() => {
                problems.error("bad-value", at, format!("the axis `{}` has no levels", keys.join(".")));
            }
            Value::List(items) => {
                let levels: Vec<Node> = items.iter().map(|item| level(&keys, item)).collect();
                for (i, item) in levels.iter().enumerate() {
                    if levels[..i].iter().any(|other| is_same(other, item)) {
                        let message = format!("the axis `{}` has this level twice", keys.join("."));
                        problems.error("bad-value", at.index(i), message).help("leave one of them out");
                    }
                }
                let kind = column_type(&levels);
                let is_file = keys.last().is_some_and(|key| key.ends_with("_file"));
                let levels = labelled(levels, is_file);
                axes.push(Axis { column: Column::new("", kind), keys, at, levels });
            }
            _ => {
                let message =
                    format!("an axis is a list of levels, but `{}` is {}", keys.join("."), entry.node.kind_name());
                problems
                    .error("wrong-type", at, message)
                    .help("write for example `\"model.temperature\" = [0.0, 0.7]`");
            }
        }
    }
}

/// A level of `models` may be the name of one model.
fn level(keys: &[String], item: &Node) -> Node {
    match &item.value {
        Value::String(_) if keys == ["models"] => {
            Node { value: Value::List(vec![item.clone()]), span: item.span.clone() }
        }
        _ => item.clone(),
    }
}

/// Numbers are equal whatever their notation.
fn is_same(one: &Node, other: &Node) -> bool {
    let number = |node: &Node| match node.value {
        Value::Integer(number) => Some(number as f64),
        Value::Float(number) => Some(number),
        _ => None,
    };
    match (number(one), number(other)) {
        (Some(one), Some(other)) => one == other,
        _ => one.to_json() == other.to_json(),
    }
}

fn column_type(levels: &[Node]) -> Type {
    let all = |is: fn(&Value) -> bool| levels.iter().all(|level| is(&level.value));
    if all(|value| matches!(value, Value::Bool(_))) {
        Type::Boolean
    } else if all(|value| matches!(value, Value::Integer(_))) {
        Type::Integer
    } else if all(|value| matches!(value, Value::Integer(_) | Value::Float(_))) {
        Type::Number
    } else {
        Type::Text
    }
}

/// The columns have the last keys of their axes as names, or all keys where two axes have the same.
fn name_columns(axes: &mut [Axis]) {
    let last = |axis: &Axis| match axis.keys.last().map_or("", String::as_str) {
        "models" => MODEL.to_owned(),
        key => key.to_owned(),
    };
    let short: Vec<String> = axes.iter().map(last).collect();
    for (axis, name) in axes.iter_mut().zip(&short) {
        let is_shared = short.iter().filter(|other| *other == name).count() > 1 || name == UNIVERSE;
        axis.column.name = if is_shared { axis.keys.join("_") } else { name.clone() };
    }
}

/// The value of a level in a column of texts.
fn words(node: &Node) -> String {
    match &node.value {
        Value::String(text) => text.clone(),
        // 0.0 and 0 are the same level.
        Value::Float(number) => number.to_string(),
        Value::List(items) if items.iter().all(|item| item.as_str().is_some()) => {
            items.iter().filter_map(Node::as_str).collect::<Vec<_>>().join(", ")
        }
        _ => node.to_json().to_string(),
    }
}

/// Gives each level a short name. It does not depend on later levels, so that more of them rename no universe.
fn labelled(nodes: Vec<Node>, is_file: bool) -> Vec<Level> {
    let mut levels: Vec<Level> = Vec::new();
    for node in nodes {
        let words = words(&node);
        let shown = if is_file { stem(&words) } else { words.as_str() };
        let mut label = short(shown, &words, LABEL);
        if levels.iter().any(|other| part(&other.label).eq_ignore_ascii_case(&part(&label))) {
            label = format!("{label}-{}", hash(&words));
        }
        levels.push(Level { node, label });
    }
    levels
}

/// The name of a file without its folder and its extension.
fn stem(path: &str) -> &str {
    let name = path.rsplit(['/', '\\']).next().unwrap_or(path);
    name.rsplit_once('.').map_or(name, |(stem, _)| stem)
}

/// `shown` with `-` for all characters that a file name should not have. A long or empty one ends in a hash of `whole`.
fn short(shown: &str, whole: &str, longest: usize) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "_.".contains(c);
    let parts = shown.split(|c: char| !is_plain(c)).filter(|part| !part.is_empty());
    let safe = parts.collect::<Vec<_>>().join("-");
    if !safe.is_empty() && safe.len() <= longest {
        return safe;
    }
    let start: String = safe.chars().take(longest - 8).collect();
    format!("{}-{}", start.trim_end_matches(['-', '.']), hash(whole)).trim_start_matches('-').to_owned()
}

fn hash(text: &str) -> String {
    blake3::hash(text.as_bytes()).to_hex()[..6].to_owned()
}

/// A label in the name of a table or a model, where a dot would separate parts.
fn part(label: &str) -> String {
    label.replace('.', "_")
}

fn label_of(axes: &[Axis], levels: &[usize]) -> String {
    let labels = axes.iter().zip(levels).map(|(axis, level)| axis.levels[*level].label.as_str());
    let label = labels.collect::<Vec<_>>().join("-");
    if label.len() <= LONGEST { label } else { short(&label, &label, LONGEST) }
}

/// All combinations of levels, the last axis first.
fn combinations(axes: &[Axis]) -> Vec<Vec<usize>> {
    axes.iter().fold(vec![Vec::new()], |found, axis| {
        let more = |start: Vec<usize>| (0..axis.levels.len()).map(move |level| [start.as_slice(), &[level]].concat());
        found.into_iter().flat_map(more).collect()
    })
}

/// The combinations of `exclude`: for each, the numbers of axes with the numbers of their levels.
fn excluded(grid: &Node, at: &Path, axes: &[Axis], problems: &mut Problems) -> Vec<Vec<(usize, usize)>> {
    let Some(node) = grid.get(EXCLUDE) else { return Vec::new() };
    let at = at.key(EXCLUDE);
    if !matches!(node.value, Value::List(_)) {
        let message = format!("`exclude` is a list of tables, not {}", node.kind_name());
        problems.error("wrong-type", at, message);
        return Vec::new();
    }
    let mut all = Vec::new();
    for (i, table) in node.items().iter().enumerate() {
        let mut excluded = Excluded { axes, pairs: Vec::new() };
        excluded.read(table, &at.index(i), "", problems);
        if table.entries().is_empty() {
            let message = "a table of `exclude` names the levels that don't go together";
            problems.error("bad-value", at.index(i), message).help("write for example `{ prompt_file = \"a.md\" }`");
        }
        all.push(excluded.pairs);
    }
    all
}

/// A combination of levels that is left out.
struct Excluded<'a> {
    axes: &'a [Axis],
    /// The number of an axis, and that of its level.
    pairs: Vec<(usize, usize)>,
}

impl Excluded<'_> {
    fn read(&mut self, table: &Node, at: &Path, prefix: &str, problems: &mut Problems) {
        for entry in table.entries() {
            let (at, key) = (at.key(&entry.key), format!("{prefix}{}", entry.key));
            let Some(place) = self.axes.iter().position(|axis| axis.keys.join(".") == key) else {
                if matches!(entry.node.value, Value::Table(_)) {
                    self.read(&entry.node, &at, &format!("{key}."), problems);
                    continue;
                }
                let names: Vec<String> = self.axes.iter().map(|axis| axis.keys.join(".")).collect();
                let help = suggestion(&key, "the axes are", names.iter().map(String::as_str));
                problems.error_at_key("unknown-field", at, format!("the grid has no axis `{key}`")).help_if(help);
                continue;
            };
            let axis = &self.axes[place];
            let wanted = level(&axis.keys, &entry.node);
            match axis.levels.iter().position(|level| is_same(&level.node, &wanted)) {
                Some(level) => self.pairs.push((place, level)),
                None => {
                    let levels: Vec<String> = axis.levels.iter().map(|level| words(&level.node)).collect();
                    let help = format!("its levels are {}", listed(levels.iter().map(String::as_str)));
                    problems.error("bad-value", at, format!("the axis `{key}` has no such level")).help(help);
                }
            }
        }
    }
}
