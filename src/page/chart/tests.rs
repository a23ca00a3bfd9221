//! Tests of all charts: whatever the numbers and names, everything is in the picture and nothing is on top of another text.

use proptest::prelude::*;

use super::picture::{Anchor, LINE, Picture, Shape, width};
use super::scale::Scale;
use super::*;

const HOSTILE: &str = "<script>alert(\"1\")</script> & 'x' \u{7}opacity=\"1\"";

fn axis(title: &str, unit: Unit) -> Axis {
    Axis { title: title.to_owned(), unit, range: None }
}

fn names(count: usize, name: &str) -> Vec<String> {
    (1..=count).map(|n| format!("{name} {n}")).collect()
}

fn mark(at: f64, label: &str) -> Mark {
    Mark { at, label: label.to_owned() }
}

/// Charts of all kinds about `numbers`, with `name` in every label.
fn charts(numbers: &[f64], name: &str) -> Vec<(&'static str, Chart)> {
    let at = |n: usize| numbers.get(n % numbers.len().max(1)).copied().unwrap_or(0.0);
    let count = numbers.len();
    let share = |n: usize| if at(n).is_finite() { at(n).abs().fract() } else { 0.0 };
    let units = [Unit::Count, Unit::Share, Unit::Number, Unit::Rate, Unit::Usd, Unit::Seconds, Unit::Moment];
    let unit = units[count % units.len()];
    let bars = |centre| {
        let bar = |n| Bar {
            label: format!("{name} {n}"),
            values: vec![share(n), at(n), at(n + 1).abs()],
            text: format!("{:.1} %", share(n) * 100.0),
        };
        let tones = vec![Tone::Plain, Tone::Failed, Tone::Missing];
        Chart::Bars(Bars { centre, tones, ..Bars::new(unit, names(3, name), (0..count).map(bar).collect()) })
    };
    let dot = |series, n: usize| Dot { series, at: at(n), interval: Some((at(n) - 0.1, at(n + 1))) };
    let dots = |n| DotRow { label: format!("{name} {n}"), dots: vec![dot(0, n), dot(1, n + 2)] };
    let marks = vec![mark(at(0), name), mark(at(1), name), mark(at(1), "target"), mark(at(2), &name.repeat(9))];
    let mut edges: Vec<f64> = numbers.to_vec();
    edges.sort_by(f64::total_cmp);
    let counts = |n: u64| (0..count as u64).map(|bin| bin * n).collect();
    let point =
        |n: usize| Point { x: at(n), y: at(n + 1), interval: (n.is_multiple_of(3)).then(|| (at(n + 1), at(n + 2))) };
    let line = |name: String| Line { name, points: (0..count).map(point).collect(), steps: count.is_multiple_of(2) };
    let nodes = |n: usize| Node {
        name: format!("{name} {n}"),
        column: n % 4,
        text: format!("{} rows", n * 1000),
        failed: share(n),
    };
    let edge = |n: usize| Edge { from: n, to: (n * 3 + 1) % count.max(1), rows: n as u64 * 1000 };
    let cells =
        |text: &dyn Fn(usize, usize) -> String| (0..count).map(|i| (0..count).map(|j| text(i, j)).collect()).collect();
    vec![
        ("bars", bars(None)),
        ("bars around a part", bars(Some(1))),
        (
            "dots",
            Chart::Dots(Dots {
                axis: axis(name, unit),
                series: names(2, name),
                rows: (0..count).map(dots).collect(),
                marks: marks.clone(),
            }),
        ),
        (
            "histogram",
            Chart::Histogram(Histogram {
                axis: axis(name, unit),
                edges,
                series: names(2, name),
                counts: vec![counts(1), counts(900)],
                marks: marks.clone(),
            }),
        ),
        (
            "matrix",
            Chart::Matrix(Matrix {
                row_title: name.to_owned(),
                column_title: name.to_owned(),
                rows: names(count, name),
                columns: names(count, name),
                shades: (0..count).map(|i| (0..count).map(|j| (i != j).then(|| at(i * j))).collect()).collect(),
                texts: cells(&|i, j| format!("{:.0} %", share(i + j) * 100.0)),
            }),
        ),
        (
            "lines",
            Chart::Lines(Lines {
                x: axis(name, unit),
                y: axis(name, Unit::Number),
                lines: names(3, name).into_iter().map(line).collect(),
                diagonal: true,
                marks,
            }),
        ),
        ("flow", Chart::Flow(Flow { nodes: (0..count).map(nodes).collect(), edges: (0..count).map(edge).collect() })),
    ]
}

/// The pixels that a shape covers: left, top, right, bottom.
fn frame(shape: &Shape) -> (i32, i32, i32, i32) {
    let around = |points: &[(i32, i32)]| {
        let (x, y) = (points.iter().map(|p| p.0), points.iter().map(|p| p.1));
        (x.clone().min().unwrap_or(0), y.clone().min().unwrap_or(0), x.max().unwrap_or(0), y.max().unwrap_or(0))
    };
    match shape {
        Shape::Rectangle { from, to, .. } => around(&[*from, *to]),
        Shape::Path { points, .. } | Shape::Polygon { points, .. } => around(points),
        Shape::Circle { centre: (x, y), radius, .. } => (x - radius, y - radius, x + radius, y + radius),
        Shape::Text { text, at: (x, y), anchor } => {
            let (long, half) = (width(text), LINE / 2 - 3);
            match anchor {
                Anchor::Start => (*x, y - half, x + long, y + half),
                Anchor::Middle => (x - long / 2, y - half, x + long / 2, y + half),
                Anchor::End => (x - long, y - half, *x, y + half),
                Anchor::Upward => (x - half, y - long, x + half, *y),
            }
        }
    }
}

/// What is wrong with a picture.
fn faults(picture: &Picture) -> Vec<String> {
    let mut faults = Vec::new();
    for shape in &picture.shapes {
        let (left, top, right, bottom) = frame(shape);
        if left < 0 || top < 0 || right > picture.width || bottom > picture.height || left > right || top > bottom {
            faults.push(format!("outside {} x {}: {shape:?}", picture.width, picture.height));
        }
    }
    let texts: Vec<&Shape> = picture.shapes.iter().filter(|shape| matches!(shape, Shape::Text { .. })).collect();
    for (n, one) in texts.iter().enumerate() {
        for other in &texts[..n] {
            let (a, b) = (frame(one), frame(other));
            if a.0 < b.2 && b.0 < a.2 && a.1 < b.3 && b.1 < a.3 {
                faults.push(format!("on top of each other: {one:?} and {other:?}"));
            }
        }
    }
    faults
}

fn check(numbers: &[f64], name: &str) {
    for (kind, chart) in charts(numbers, name) {
        let faults = faults(&chart.picture());
        assert!(faults.is_empty(), "{kind} of {numbers:?} with {name:?}:\n{}", faults.join("\n"));
        let svg = chart.svg(name).expect("drawn");
        assert!(svg.len() < 60_000, "{kind} of {} numbers has {} bytes", numbers.len(), svg.len());
        assert!(!svg.contains("NaN"), "{kind} of {numbers:?}: {svg}");
    }
}

#[test]
fn charts_of_no_number_one_number_and_equal_numbers_are_drawn() {
    for numbers in
        [&[][..], &[0.0], &[1.0], &[-3.5], &[7.0; 5], &[1e-300, 2e-300], &[f64::MAX, f64::MIN], &[1e15, 1e15 + 0.125]]
    {
        check(numbers, "label");
    }
}

#[test]
fn numbers_that_are_not_finite_are_left_out() {
    check(&[f64::NAN, f64::INFINITY, f64::NEG_INFINITY], "label");
    check(&[0.25, f64::NAN, 0.75, f64::INFINITY], "label");
}

#[test]
fn charts_of_many_rows_stay_small_and_name_the_rest() {
    let numbers: Vec<f64> = (0..3000).map(|n| f64::from(n) * 0.37).collect();
    check(&numbers, "a rather long name of a label that is cut");
    for (kind, chart) in charts(&numbers[..60], "label").into_iter().take(3) {
        assert!(chart.svg("").expect("drawn").contains("and 20 more: label 40, label 41"), "{kind}");
    }
}

#[test]
fn texts_are_escaped_and_without_control_characters() {
    for (kind, chart) in charts(&[0.1, 0.5, 0.9], HOSTILE) {
        let svg = chart.svg(HOSTILE).expect("drawn");
        assert!(!svg.contains("<script") && !svg.contains('\u{7}'), "{kind}: {svg}");
        assert!(svg.matches("&lt;script").count() > 2, "{kind}: {svg}");
        let mut reader = quick_xml::Reader::from_str(&svg);
        while !matches!(
            reader.read_event().unwrap_or_else(|error| panic!("{kind}: {error}: {svg}")),
            quick_xml::events::Event::Eof
        ) {}
    }
}

#[test]
fn every_label_and_mark_is_in_the_picture() {
    for (kind, chart) in charts(&[0.1, 0.5, 0.9], "label") {
        let svg = chart.svg("").expect("drawn");
        for text in ["label 1", "label 2"] {
            assert!(svg.contains(&format!("\n{text}\n")), "{kind} lacks {text}: {svg}");
        }
        if matches!(kind, "dots" | "histogram" | "lines") {
            assert!(svg.contains("\ntarget\n"), "{kind} lacks its mark: {svg}");
        }
    }
}

#[test]
fn failures_have_their_colour_and_every_part_of_a_bar_another_drawing() {
    let bar = |values: &[f64]| Bar { label: "a".to_owned(), values: values.to_vec(), text: String::new() };
    let parts =
        ["answered", "skipped", "failed: timeout", "failed: refused", "not reached"].map(str::to_owned).to_vec();
    let tones = vec![Tone::Plain, Tone::Plain, Tone::Failed, Tone::Failed, Tone::Missing];
    let svg = |values: &[f64]| {
        let bars = Bars { tones: tones.clone(), ..Bars::new(Unit::Count, parts.clone(), vec![bar(values)]) };
        Chart::Bars(bars).svg("Rows").expect("an SVG")
    };
    let whole = svg(&[1.0; 5]);
    for color in ["#0072B2", "#E69F00", "#C1121F", "#C1131F", "#787878"] {
        // One in the legend and one in the bar.
        assert_eq!(whole.matches(&format!("fill=\"{color}\"")).count(), 2, "{color}");
        assert!(
            super::super::html::STYLE.contains(&format!("rect[fill=\"{color}\"]")) || color == "#0072B2",
            "{color}"
        );
    }
    // The legend names only what a bar has.
    let answered = svg(&[5.0, 0.0, 0.0, 0.0, 0.0]);
    assert!(answered.contains(">answered<") || answered.contains("answered\n"), "{answered}");
    assert!(!answered.contains("skipped") && !answered.contains("failed"), "{answered}");
}

#[test]
fn ticks_are_round_numbers_of_their_unit() {
    let ticks = |unit, low, high| {
        let scale = Scale::new(&axis("", unit), [low, high].into_iter(), (0, 300), 5);
        scale.ticks().into_iter().map(|(_, text)| text).collect::<Vec<_>>()
    };
    assert_eq!(ticks(Unit::Count, 1.0, 3.0), ["0", "1", "2", "3"]);
    assert_eq!(ticks(Unit::Count, 0.0, 4321.0), ["0", "1,000", "2,000", "3,000", "4,000", "5,000"]);
    assert_eq!(ticks(Unit::Share, 0.1, 0.37), ["0 %", "10 %", "20 %", "30 %", "40 %"]);
    assert_eq!(ticks(Unit::Usd, 0.002, 0.0123), ["0.000", "0.005", "0.010", "0.015"]);
    assert_eq!(ticks(Unit::Number, -1.0, 1.0), ["-1.0", "-0.5", "0.0", "0.5", "1.0"]);
    assert_eq!(ticks(Unit::Seconds, 3.0, 9.0), ["0 s", "2 s", "4 s", "6 s", "8 s", "10 s"]);
    let ten = 1_764_324_000_000.0;
    assert_eq!(
        ticks(Unit::Moment, ten, ten + 45.0),
        ["10:00:00.000", "10:00:00.010", "10:00:00.020", "10:00:00.030", "10:00:00.040"]
    );
    assert_eq!(ticks(Unit::Moment, ten, ten + 3e6), ["10:00", "10:10", "10:20", "10:30", "10:40", "10:50"]);
    assert_eq!(
        ticks(Unit::Moment, ten, ten + 25e3),
        ["10:00:00", "10:00:05", "10:00:10", "10:00:15", "10:00:20", "10:00:25"]
    );
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, max_shrink_iters: 50, ..ProptestConfig::default() })]

    #[test]
    fn all_numbers_are_drawn_inside_the_picture(
        numbers in prop::collection::vec(prop_oneof![-1e3..1e3, 0.0..1.0, any::<f64>(), 1.76e12..1.77e12], 0..50),
        name in "\\PC{0,60}",
    ) {
        check(&numbers, &name);
    }
}
