//! Pictures: shapes in pixels, before they have a format.

use unicode_segmentation::UnicodeSegmentation;
use unicode_width::UnicodeWidthStr;

pub(super) type Pixel = (i32, i32);

/// The width of every picture, unless its contents need more.
pub(super) const WIDTH: i32 = 640;
/// The height of a line of text.
pub(super) const LINE: i32 = 18;
/// The most rows, such as bars, that a picture has.
pub(super) const MOST_ROWS: usize = 40;
/// The width of a character, rounded up: the fonts of the reader are not known.
const CHARACTER: f64 = 7.5;

#[derive(Clone, Debug)]
pub(super) struct Picture {
    pub(super) width: i32,
    pub(super) height: i32,
    pub(super) shapes: Vec<Shape>,
}

#[derive(Clone, Debug)]
pub(super) enum Shape {
    Rectangle { from: Pixel, to: Pixel, color: Color },
    Path { points: Vec<Pixel>, color: Color, width: u32 },
    Polygon { points: Vec<Pixel>, color: Color },
    Circle { centre: Pixel, radius: i32, color: Color },
    Text { text: String, at: Pixel, anchor: Anchor },
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Color {
    Ink,
    Paper,
    Grid,
    /// The colour of failures of kind `n`.
    Failed(usize),
    /// The colour of series `n`.
    Series(usize),
    /// The colour of the first series, with this opacity.
    Shade(f64),
    /// Between two nodes.
    Ribbon,
}

/// Where a text starts. All texts are centred on the height of their pixel.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Anchor {
    Start,
    Middle,
    End,
    /// Starts at the pixel and goes upwards.
    Upward,
}

impl Picture {
    pub(super) fn new() -> Self {
        Picture { width: WIDTH, height: 0, shapes: Vec::new() }
    }

    pub(super) fn rectangle(&mut self, from: Pixel, to: Pixel, color: Color) {
        self.shapes.push(Shape::Rectangle { from, to, color });
    }

    pub(super) fn path(&mut self, points: Vec<Pixel>, color: Color, width: u32) {
        self.shapes.push(Shape::Path { points, color, width });
    }

    pub(super) fn polygon(&mut self, points: Vec<Pixel>, color: Color) {
        self.shapes.push(Shape::Polygon { points, color });
    }

    pub(super) fn text(&mut self, text: &str, at: Pixel, anchor: Anchor) {
        if !text.is_empty() {
            self.shapes.push(Shape::Text { text: text.to_owned(), at, anchor });
        }
    }

    /// The mark of series `n`: circle, square, diamond or triangle.
    pub(super) fn marker(&mut self, (x, y): Pixel, n: usize) {
        let color = Color::Series(n);
        match n % 4 {
            0 => self.shapes.push(Shape::Circle { centre: (x, y), radius: 4, color }),
            1 => self.polygon(vec![(x - 4, y - 4), (x + 4, y - 4), (x + 4, y + 4), (x - 4, y + 4)], color),
            2 => self.polygon(vec![(x, y - 6), (x + 6, y), (x, y + 6), (x - 6, y)], color),
            _ => self.polygon(vec![(x, y - 5), (x + 5, y + 4), (x - 5, y + 4)], color),
        }
    }

    /// Names what the picture leaves out, on a separate line.
    pub(super) fn rest<'a>(&mut self, names: impl ExactSizeIterator<Item = &'a str>) {
        if names.len() > 0 {
            let text = format!("and {} more: {}", names.len(), names.take(20).collect::<Vec<_>>().join(", "));
            self.text(&cut(&text, self.width), (0, self.height + LINE / 2), Anchor::Start);
            self.height += LINE;
        }
    }
}

/// How wide a text is, at most.
pub(super) fn width(text: &str) -> i32 {
    (text.width() as f64 * CHARACTER).ceil() as i32
}

/// The width of the widest text, at most `most`.
pub(super) fn widest<'a>(texts: impl Iterator<Item = &'a str>, most: i32) -> i32 {
    texts.map(width).max().unwrap_or(0).min(most)
}

/// The text on one line, cut with `..` to the room.
pub(super) fn cut(text: &str, room: i32) -> String {
    let line = on_one_line(text);
    if width(&line) <= room {
        return line;
    }
    let mut end = 0;
    for (at, grapheme) in line.grapheme_indices(true) {
        let next = at + grapheme.len();
        if width(&line[..next]) + width("..") > room {
            break;
        }
        end = next;
    }
    format!("{}..", line[..end].trim_end())
}

/// The text without control characters, which SVG has no place for.
pub(super) fn on_one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}
