//! SVG: the drawing area of plotters as an `svg` element that follows the style of the page.
//!
//! Colours are [`INK`] and the series; `page.css` replaces them by those of the light or the dark style.

use plotters::backend::SVGBackend;
use plotters::coord::Shift;
use plotters::drawing::{DrawingArea, DrawingAreaErrorKind, IntoDrawingArea};
use plotters::style::RGBColor;

pub(super) type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
pub(super) type Drawn = Result<(), DrawingAreaErrorKind<std::io::Error>>;

pub(super) const INK: RGBColor = RGBColor(1, 1, 1);
/// The colours of the series, which people with colour blindness can tell apart (Okabe and Ito 2008).
pub(super) const SERIES: [RGBColor; 7] = [
    RGBColor(0, 114, 178),
    RGBColor(230, 159, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(86, 180, 233),
    RGBColor(213, 94, 0),
    RGBColor(120, 120, 120),
];

pub(super) fn drawn(title: &str, size: (u32, u32), draw: impl FnOnce(&Area<'_>) -> Drawn) -> Result<String, String> {
    let mut text = String::new();
    {
        let area = SVGBackend::with_string(&mut text, size).into_drawing_area();
        draw(&area).and_then(|()| area.present()).map_err(|error| error.to_string())?;
    }
    let start = text.find('>').unwrap_or_default();
    let title = title.replace('&', "&amp;").replace('<', "&lt;");
    text.insert_str(start + 1, &format!("<title>{title}</title>"));
    text.insert_str(start, " role=\"img\"");
    Ok(text)
}
