//! Agreement on published tables and on random tables that reference packages have computed.

use serde_json::Value;

use super::*;

/// Numbers of the packages that `tests/methods_numbers.py` names.
const NUMBERS: &str = include_str!("../../../tests/data/methods/agreement.json");

fn tables(name: &str) -> Vec<Value> {
    let numbers: Value = serde_json::from_str(NUMBERS).expect("JSON");
    numbers[name].as_array().expect("a list").clone()
}

/// Units x coders; a missing code is 0.
type Table = Vec<Vec<usize>>;

fn codes(table: &Value) -> Table {
    serde_json::from_value(table["codes"].clone()).expect("codes")
}

fn coded(table: &[Vec<usize>]) -> Codes {
    let mut codes = Codes::new(table[0].len(), false);
    table
        .iter()
        .for_each(|unit| codes.push(unit.iter().map(|code| if *code > 0 { *code as u32 } else { NO_CODE }), 1, 0));
    codes.merged()
}

fn view(codes: &Codes, coders: &[usize], scale: &str) -> View {
    let values = |used: &[usize]| used.iter().map(|code| *code as f64).collect();
    codes.view(coders, None, |used| match scale {
        "nominal" | "identity" => Scale::Nominal,
        "ordinal" => Scale::Ordinal,
        "interval" | "quadratic" => Scale::Interval(values(used)),
        _ => Scale::Ratio(values(used)),
    })
}

fn weights(codes: &Codes, view: &View) -> Vec<f64> {
    view.weights(&codes.counts().iter().map(|count| *count as f64).collect::<Vec<_>>()).into_owned()
}

fn near(found: Option<f64>, expected: &Value, what: &str) {
    let is_near = match (found, expected.as_f64()) {
        (Some(found), Some(expected)) => (found - expected).abs() < 1e-10,
        (found, expected) => found == expected,
    };
    assert!(is_near, "{what}: {found:?}, expected {expected}");
}

#[test]
fn coefficients_of_all_coders_are_those_of_other_packages() {
    let tables = tables("tables");
    assert_eq!(tables.len(), 50);
    for (i, table) in tables.iter().enumerate() {
        let codes = coded(&codes(table));
        let all: Vec<usize> = (0..table["codes"][0].as_array().unwrap().len()).collect();
        for level in ["nominal", "ordinal", "interval", "ratio"] {
            let view = view(&codes, &all, level);
            near(
                view.ratings.weighted(&weights(&codes, &view)).alpha(),
                &table[format!("alpha_{level}")],
                &format!("{i} {level}"),
            );
        }
        for similarity in ["identity", "ordinal", "quadratic", "ratio"] {
            let view = view(&codes, &all, similarity);
            let (weights, ratings) = (weights(&codes, &view), &view.ratings);
            let gwet = if similarity == "identity" { Chance::Gwet } else { Chance::GwetSimilar };
            let expected = &table[format!("gwet_{similarity}")];
            near(ratings.weighted(&weights).coefficient(gwet), &expected[0], &format!("{i} gwet {similarity}"));
            near(
                ratings.weighted(&weights).coefficient_error(gwet),
                &expected[1],
                &format!("{i} gwet {similarity} error"),
            );
            if let Some(expected) = table.get(format!("krippendorff_{similarity}")) {
                near(ratings.weighted(&weights).alpha(), &expected[0], &format!("{i} alpha {similarity}"));
                near(ratings.weighted(&weights).alpha_error(), &expected[1], &format!("{i} alpha {similarity} error"));
            }
        }
        let view = view(&codes, &all, "nominal");
        let (weights, expected) = (weights(&codes, &view), &table["fleiss_identity"]);
        near(view.ratings.weighted(&weights).coefficient(Chance::Fleiss), &expected[0], &format!("{i} fleiss"));
        near(
            view.ratings.weighted(&weights).coefficient_error(Chance::Fleiss),
            &expected[1],
            &format!("{i} fleiss error"),
        );
    }
}

#[test]
fn kappa_is_that_of_other_packages() {
    for (i, table) in tables("tables").iter().enumerate() {
        // The two coders alone, so that all used labels are those of units that both coded.
        let both: Table = codes(table).into_iter().map(|unit| unit[..2].to_vec()).collect();
        let both: Table = both.into_iter().filter(|unit| unit.iter().all(|code| *code > 0)).collect();
        let codes = coded(&both);
        let view = view(&codes, &[0, 1], "nominal");
        let weights = view.of_pairs(&weights(&codes, &view));
        let places: Vec<f64> = (0..view.categories.len()).map(|place| place as f64).collect();
        let distances = [
            ("nominal", Distance::Nominal),
            ("linear", Distance::Linear(&places)),
            ("quadratic", Distance::Quadratic(&places)),
        ];
        for (name, distance) in distances {
            let (pairs, expected) = (view.pairs.as_ref().unwrap(), &table[format!("kappa_{name}")]);
            near(pairs.kappa(&weights, distance), &expected[0], &format!("{i} {name}"));
            near(pairs.kappa_error(&weights, distance), &expected[1], &format!("{i} {name} error"));
        }
    }
}

#[test]
fn alpha_of_sets_has_the_masi_distance() {
    for table in tables("sets") {
        let rows: Vec<Vec<Option<Vec<u64>>>> = serde_json::from_value(table["codes"].clone()).expect("sets");
        let sets: Vec<Vec<u64>> = (0..8).map(|bits| (0..3).filter(|label| bits >> label & 1 == 1).collect()).collect();
        let mut codes = Codes::new(3, false);
        for row in rows {
            let code = |set: Option<Vec<u64>>| {
                set.and_then(|set| sets.iter().position(|other| *other == set)).map_or(NO_CODE, |code| code as u32)
            };
            codes.push(row.into_iter().map(code), 1, 0);
        }
        let view = codes.view(&[0, 1, 2], None, |used| {
            Scale::Distances(used.iter().map(|a| used.iter().map(|b| masi(&sets[*a], &sets[*b])).collect()).collect())
        });
        near(view.ratings.weighted(&weights(&codes, &view)).alpha(), &table["alpha"], "alpha");
    }
}

/// Krippendorff's four observers and twelve units.
fn observers() -> Table {
    let observers = [
        [1, 2, 3, 3, 2, 1, 4, 1, 2, 0, 0, 0],
        [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, 0, 3],
        [0, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, 0],
        [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, 0],
    ];
    (0..12).map(|unit| observers.iter().map(|codes| codes[unit]).collect()).collect()
}

fn rounded(found: Option<f64>, digits: i32) -> f64 {
    let scale = 10f64.powi(digits);
    (found.expect("a number") * scale).round() / scale
}

#[test]
fn published_examples_have_their_published_numbers() {
    let codes = coded(&observers());
    let alpha = |level| {
        let view = view(&codes, &[0, 1, 2, 3], level);
        rounded(view.ratings.weighted(&weights(&codes, &view)).alpha(), 4)
    };
    assert_eq!(["nominal", "ordinal", "interval", "ratio"].map(alpha), [0.7434, 0.8154, 0.8491, 0.7974]);
    let all = view(&codes, &[0, 1, 2, 3], "nominal");
    let own = weights(&codes, &all);
    assert_eq!(rounded(all.ratings.weighted(&own).coefficient(Chance::Gwet), 5), 0.77544);
    assert_eq!(rounded(all.ratings.weighted(&own).coefficient_error(Chance::Gwet), 5), 0.14295);
    assert_eq!(rounded(all.ratings.weighted(&own).alpha_error(), 5), 0.14557);
    let two: Table =
        "0100000010".bytes().zip("1110010000".bytes()).map(|(a, b)| vec![(a - 47).into(), (b - 47).into()]).collect();
    let codes = coded(&two);
    let pair = view(&codes, &[0, 1], "nominal");
    assert_eq!(rounded(pair.ratings.weighted(&weights(&codes, &pair)).alpha(), 4), 0.0952);
    // Fleiss 1971: how many of 14 psychiatrists chose each of 5 categories for 10 patients.
    let counts = [
        [0, 0, 0, 0, 14],
        [0, 2, 6, 4, 2],
        [0, 0, 3, 5, 6],
        [0, 3, 9, 2, 0],
        [2, 2, 8, 1, 1],
        [7, 7, 0, 0, 0],
        [3, 2, 6, 3, 0],
        [2, 5, 3, 2, 2],
        [6, 5, 2, 1, 0],
        [0, 2, 2, 3, 7],
    ];
    let unit = |counts: &[usize; 5]| (0..5).flat_map(|category| vec![category; counts[category]]).collect();
    let units: Table = counts.iter().map(unit).collect();
    let ratings = Ratings::of_units(Scale::Nominal, 5, &units);
    assert_eq!(rounded(ratings.weighted(&[1.0; 10]).coefficient(Chance::Fleiss), 4), 0.2099);
}

#[test]
fn the_order_of_coders_and_units_does_not_matter() {
    for (i, table) in tables("tables").iter().enumerate() {
        let table = codes(table);
        let mut stream = crate::random::Streams::new(i as u64, &["permutation"]).of(0);
        let mut order: Vec<usize> = (0..table[0].len()).collect();
        stream.shuffle(&mut order);
        let mut moved: Table = table.iter().map(|unit| order.iter().map(|coder| unit[*coder]).collect()).collect();
        stream.shuffle(&mut moved);
        let of = |table: &Table| {
            let codes = coded(table);
            let all: Vec<usize> = (0..table[0].len()).collect();
            let found = ["nominal", "ordinal", "interval", "ratio"].map(|level| {
                let view = view(&codes, &all, level);
                let (weights, ratings) = (weights(&codes, &view), &view.ratings);
                let similar = ratings.weighted(&weights).coefficient(Chance::GwetSimilar);
                [
                    ratings.weighted(&weights).alpha(),
                    ratings.weighted(&weights).alpha_error(),
                    similar,
                    ratings.weighted(&weights).percent(),
                ]
            });
            found.concat()
        };
        for (a, b) in of(&table).into_iter().zip(of(&moved)) {
            assert!(a.zip(b).map_or(a == b, |(a, b)| (a - b).abs() < 1e-12), "{i}: {a:?} {b:?}");
        }
    }
}

#[test]
fn what_cannot_be_computed_is_undefined() {
    let of = |table: &[Vec<usize>]| {
        let codes = coded(table);
        let view = view(&codes, &[0, 1], "ordinal");
        let weights = weights(&codes, &view);
        let kappa = view.pairs.as_ref().unwrap().kappa(&view.of_pairs(&weights), Distance::Nominal);
        let chances = [Chance::Fleiss, Chance::Gwet, Chance::GwetSimilar];
        let chances = chances.map(|chance| view.ratings.weighted(&weights).coefficient(chance));
        (view.ratings.weighted(&weights).alpha(), kappa, chances, view.ratings.weighted(&weights).percent())
    };
    assert_eq!(of(&[vec![1, 1], vec![1, 1]]), (None, None, [None; 3], Some(1.0)), "one class");
    assert_eq!(of(&[vec![1, 0], vec![2, 0]]), (None, None, [None; 3], None), "labels of one coder only");
    assert_eq!(of(&[vec![1, 0], vec![0, 2]]), (None, None, [None; 3], None), "no unit with two codes");
    assert_eq!(of(&[vec![0, 0]]), (None, None, [None; 3], None), "no code");
}

#[test]
fn kappa_of_a_table_has_its_reference_values() {
    // Two coders of 50 proposals: both yes 20, only the first 5, only the second 10, both no 15.
    assert!((kappa(&[vec![20, 5], vec![10, 15]]).unwrap() - 0.4).abs() < 1e-12);
    // Observed agreement 0.70, expected by chance 0.475: 0.225 / 0.525.
    let three = [vec![53, 5, 2], vec![11, 14, 5], vec![1, 6, 3]];
    assert!((kappa(&three).unwrap() - 3.0 / 7.0).abs() < 1e-12, "{:?}", kappa(&three));
    assert_eq!(kappa(&[vec![3, 0], vec![0, 4]]), Some(1.0));
    assert_eq!((kappa(&[vec![0, 0], vec![0, 7]]), kappa(&[vec![0]]), kappa(&[])), (None, None, None));
}

#[test]
fn alpha_of_units_has_its_reference_value() {
    let units: Table = observers().iter().map(|unit| unit.iter().copied().filter(|code| *code > 0).collect()).collect();
    assert_eq!(rounded(alpha(&units), 4), 0.7434);
    assert_eq!((alpha(&[vec![0, 0], vec![0, 0]]), alpha(&[vec![1], vec![0]]), alpha(&[])), (None, None, None));
}
