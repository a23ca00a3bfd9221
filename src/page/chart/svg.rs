//! SVG: a picture as an `svg` element that follows the style of the page.
//!
//! `chart.css` selects shapes by these colours: it replaces them by those of the light or the dark style, and adds a
//! pattern of `patterns.svg` to every series.

use plotters::backend::SVGBackend;
use plotters::coord::Shift;
use plotters::drawing::{DrawingArea, DrawingAreaErrorKind, IntoDrawingArea};
use plotters::element::{Circle, PathElement, Polygon, Rectangle, Text};
use plotters::style::text_anchor::{HPos, Pos, VPos};
use plotters::style::{Color as _, FontTransform, IntoFont, RGBAColor, RGBColor};

use super::picture::{Anchor, Color, Picture, Shape, on_one_line};

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

/// The colours of the series, which people with colour blindness can tell apart (Okabe and Ito 2008).
const SERIES: [RGBColor; 7] = [
    RGBColor(0, 114, 178),
    RGBColor(230, 159, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(86, 180, 233),
    RGBColor(213, 94, 0),
    RGBColor(120, 120, 120),
];
/// One red for the eye, and a pattern for each.
const FAILED: [RGBColor; 3] = [RGBColor(193, 18, 31), RGBColor(193, 19, 31), RGBColor(193, 20, 31)];
const INK: RGBColor = RGBColor(1, 1, 1);
/// Plotters divides the size of a font by this.
const PLOTTERS: f64 = 1.24;
const FONT_SIZE: f64 = 13.0 * PLOTTERS;

impl Color {
    fn rgba(self) -> RGBAColor {
        match self {
            Color::Ink => INK.mix(1.0),
            Color::Paper => RGBColor(254, 254, 254).mix(1.0),
            Color::Grid => RGBColor(221, 221, 221).mix(1.0),
            Color::Failed(n) => FAILED[n % FAILED.len()].mix(1.0),
            Color::Series(n) => SERIES[n % SERIES.len()].mix(1.0),
            Color::Shade(opacity) => RGBColor(0, 114, 179).mix((opacity * 100.0).round() / 100.0),
            Color::Ribbon => RGBColor(150, 150, 150).mix(0.4),
        }
    }
}

/// `title` is the name of the picture for screen readers.
pub(super) fn svg(picture: &Picture, title: &str) -> Result<String, String> {
    let mut text = String::new();
    {
        let size = (picture.width.max(1) as u32, picture.height.max(1) as u32);
        let area = SVGBackend::with_string(&mut text, size).into_drawing_area();
        for shape in &picture.shapes {
            draw(&area, shape).map_err(|error| error.to_string())?;
        }
        area.present().map_err(|error| error.to_string())?;
    }
    // The back end escapes quotation marks in texts, so that these are attributes.
    let size = format!(" font-size=\"{}\"", FONT_SIZE / PLOTTERS);
    let usual = [" font-family=\"sans-serif\"", &size, " opacity=\"1\"", " text-anchor=\"start\"", " stroke=\"none\""];
    for attribute in usual {
        text = text.replace(attribute, "");
    }
    let start = text.find('>').unwrap_or_default();
    let title = on_one_line(title).replace('&', "&amp;").replace('<', "&lt;");
    text.insert_str(start + 1, &format!("<title>{title}</title>"));
    text.insert_str(start, " role=\"img\" font-family=\"sans-serif\" font-size=\"13\"");
    Ok(text)
}

fn draw(area: &Area<'_>, shape: &Shape) -> Result<(), DrawingAreaErrorKind<std::io::Error>> {
    match shape {
        Shape::Rectangle { from, to, color } => area.draw(&Rectangle::new([*from, *to], color.rgba().filled())),
        Shape::Path { points, color, width } => {
            area.draw(&PathElement::new(points.clone(), color.rgba().stroke_width(*width)))
        }
        Shape::Polygon { points, color } => area.draw(&Polygon::new(points.clone(), color.rgba())),
        Shape::Circle { centre, radius, color } => area.draw(&Circle::new(*centre, *radius, color.rgba().filled())),
        Shape::Text { text, at, anchor } => {
            let across = match anchor {
                Anchor::Start | Anchor::Upward => HPos::Left,
                Anchor::Middle => HPos::Center,
                Anchor::End => HPos::Right,
            };
            let font = ("sans-serif", FONT_SIZE).into_font();
            let font = if *anchor == Anchor::Upward { font.transform(FontTransform::Rotate270) } else { font };
            area.draw(&Text::new(text.as_str(), *at, font.color(&INK).pos(Pos::new(across, VPos::Center))))
        }
    }
}
