//! Flows: boxes from left to right, with bands between them as wide as their rows.

use serde::Serialize;

use super::picture::{Anchor, Color, LINE, Picture, Pixel, WIDTH, cut, widest};
use crate::report::text::number;

const BOX: i32 = 2 * LINE + 12;
/// Between two columns.
const GAP: i32 = 56;
/// Between two boxes of a column.
const SPACE: i32 = 16;
/// A box gets narrower than its texts when the columns would not fit otherwise.
const NARROWEST_BOX: i32 = 132;
const WIDEST_BAND: f64 = 36.0;

#[derive(Clone, Debug, Serialize)]
pub(crate) struct Flow {
    pub(crate) nodes: Vec<Node>,
    pub(crate) edges: Vec<Edge>,
}

#[derive(Clone, Debug, Serialize)]
pub(crate) struct Node {
    pub(crate) name: String,
    /// The place from the left.
    pub(crate) column: usize,
    pub(crate) text: String,
    /// The share of the rows that failed.
    pub(crate) failed: f64,
}

#[derive(Clone, Debug, Serialize)]
pub(crate) struct Edge {
    pub(crate) from: usize,
    pub(crate) to: usize,
    pub(crate) rows: u64,
}

/// What takes room in a column.
#[derive(Clone, Copy, PartialEq)]
enum Slot {
    Node(usize),
    /// An edge on its way to a later column.
    Edge(usize),
}

/// Where everything is: the slots of each column, with the middle of each.
struct Layout {
    columns: Vec<Vec<(Slot, i32)>>,
    box_width: i32,
    height: i32,
}

const MOST_NODES: usize = 60;
const MOST_EDGES: usize = 120;

impl Flow {
    pub(super) fn picture(&self) -> Picture {
        let (nodes, rest) = self.nodes.split_at(self.nodes.len().min(MOST_NODES));
        let is_kept = |edge: &&Edge| edge.from < nodes.len() && edge.to < nodes.len();
        let edges: Vec<Edge> = self.edges.iter().filter(is_kept).take(MOST_EDGES).cloned().collect();
        let mut picture = Flow { nodes: nodes.to_vec(), edges }.drawn();
        picture.rest(rest.iter().map(|node| node.name.as_str()));
        picture
    }

    fn drawn(&self) -> Picture {
        let layout = self.layout();
        let mut picture = Picture::new();
        picture.width = picture.width.max(layout.x(layout.columns.len()) - GAP + 2);
        picture.height = layout.height;
        let most = self.edges.iter().map(|edge| edge.rows).max().unwrap_or(0).max(1) as f64;
        let mut numbers: Vec<Pixel> = Vec::new();
        for (n, edge) in self.edges.iter().enumerate().filter(|(_, edge)| self.is_drawn(edge)) {
            let middles = self.middles(&layout, n, edge);
            let half = (edge.rows as f64 / most * WIDEST_BAND / 2.0).ceil() as i32;
            picture.polygon(band(&middles, half.max(1)), Color::Ribbon);
            // The number is on the last gap, where bands have parted.
            let [.., before, after] = middles[..] else { continue };
            let mut at = ((before.0 + after.0) / 2, (before.1 + after.1) / 2);
            while numbers.iter().any(|other| other.0 == at.0 && (other.1 - at.1).abs() < LINE) {
                at.1 += LINE / 2;
            }
            numbers.push(at);
            picture.text(&cut(&number(edge.rows), GAP), at, Anchor::Middle);
            picture.height = picture.height.max(at.1 + LINE);
        }
        for (n, node) in self.nodes.iter().enumerate() {
            node.draw(
                &mut picture,
                (layout.x(node.column), layout.middle(node.column, Slot::Node(n))),
                layout.box_width,
            );
        }
        picture
    }

    /// Edges go to a later column.
    fn is_drawn(&self, edge: &Edge) -> bool {
        let column = |n: usize| self.nodes.get(n).map(|node| node.column);
        matches!((column(edge.from), column(edge.to)), (Some(from), Some(to)) if from < to)
    }

    fn layout(&self) -> Layout {
        let count = self.nodes.iter().map(|node| node.column + 1).max().unwrap_or(0);
        let mut slots = vec![Vec::new(); count];
        for (n, node) in self.nodes.iter().enumerate() {
            slots[node.column].push(Slot::Node(n));
        }
        for (n, edge) in self.edges.iter().enumerate().filter(|(_, edge)| self.is_drawn(edge)) {
            let between = self.nodes[edge.from].column + 1..self.nodes[edge.to].column;
            slots[between].iter_mut().for_each(|slots| slots.push(Slot::Edge(n)));
        }
        let tall = |slots: &Vec<Slot>| (BOX + SPACE) * slots.len() as i32;
        let height = slots.iter().map(tall).max().unwrap_or(0);
        let middle =
            |n: usize, slots: &Vec<Slot>| (height - tall(slots)) / 2 + (BOX + SPACE) * n as i32 + (BOX + SPACE) / 2;
        let columns =
            slots.iter().map(|slots| slots.iter().enumerate().map(|(n, slot)| (*slot, middle(n, slots))).collect());
        let texts = self.nodes.iter().flat_map(|node| [node.name.as_str(), node.text.as_str()]);
        let room = (WIDTH + GAP) / count.max(1) as i32 - GAP;
        let box_width = (widest(texts, 180) + 16).min(room.max(NARROWEST_BOX)).max(60);
        Layout { columns: columns.collect(), box_width, height }
    }

    /// The points that an edge goes through: from the right of a box, over later columns, to the left of a box.
    fn middles(&self, layout: &Layout, n: usize, edge: &Edge) -> Vec<Pixel> {
        let (first, last) = (self.nodes[edge.from].column, self.nodes[edge.to].column);
        let mut points = vec![(layout.x(first) + layout.box_width, layout.middle(first, Slot::Node(edge.from)))];
        for column in first + 1..last {
            let (x, y) = (layout.x(column), layout.middle(column, Slot::Edge(n)));
            points.extend([(x, y), (x + layout.box_width, y)]);
        }
        points.push((layout.x(last), layout.middle(last, Slot::Node(edge.to))));
        points
    }
}

impl Node {
    /// Draws the box whose left end and middle height are given.
    fn draw(&self, picture: &mut Picture, (x, y): Pixel, box_width: i32) {
        let (left, right, top, bottom) = (x + 1, x + box_width - 1, y - BOX / 2, y + BOX / 2);
        picture.rectangle((left, top), (right, bottom), Color::Paper);
        if self.failed > 0.0 {
            let wide = (self.failed.min(1.0) * f64::from(right - left)).round() as i32;
            picture.rectangle((left, bottom - 5), (left + wide.max(2), bottom), Color::Failed(0));
        }
        let around = vec![(left, top), (right, top), (right, bottom), (left, bottom), (left, top)];
        picture.path(around, Color::Ink, 1);
        let room = box_width - 14;
        picture.text(&cut(&self.name, room), (left + 7, top + LINE / 2 + 3), Anchor::Start);
        picture.text(&cut(&self.text, room), (left + 7, top + LINE * 3 / 2 + 2), Anchor::Start);
    }
}

impl Layout {
    /// The left end of a column.
    fn x(&self, column: usize) -> i32 {
        (self.box_width + GAP) * column as i32
    }

    fn middle(&self, column: usize, slot: Slot) -> i32 {
        let found = self.columns.get(column).and_then(|slots| slots.iter().find(|(other, _)| *other == slot));
        found.map_or(0, |(_, middle)| *middle)
    }
}

/// A band around a curve through the points.
fn band(middles: &[Pixel], half: i32) -> Vec<Pixel> {
    let mut curve = Vec::new();
    for ends in middles.windows(2) {
        let ((x0, y0), (x1, y1)) = (ends[0], ends[1]);
        for n in 0..=10 {
            let share = f64::from(n) / 10.0;
            let smooth = share * share * (3.0 - 2.0 * share);
            let x = f64::from(x0) + share * f64::from(x1 - x0);
            curve.push((x.round() as i32, (f64::from(y0) + smooth * f64::from(y1 - y0)).round() as i32));
        }
    }
    let above = curve.iter().map(|(x, y)| (*x, y - half));
    let below = curve.iter().rev().map(|(x, y)| (*x, y + half));
    above.chain(below).collect()
}
