//! The report page at its edges: no rows, one row, many models, and names that could break a page.

use serde_json::json;

use crate::page_views::{numbers, report, texts};
use crate::project::Project;

/// A spec of one stage with answers of all types, asked of these models.
fn all_types(models: usize, rows: &[[&str; 2]]) -> Project {
    let names: Vec<String> = (0..models).map(|n| format!("m{n}")).collect();
    let entries: String =
        names.iter().map(|name| format!("models.{name} = {{ provider = \"mock\", model = \"{name}\" }}\n")).collect();
    let spec = format!(
        "{entries}sources.s = {{ type = \"file\", path = \"s.csv\" }}\noutputs.tone = {{ input = \"tone\", path = \"tone.parquet\" }}\n\
         [stages.tone]\ntype = \"analysis\"\ninput = \"s\"\nmodels = {}\nfanout = {}\nwhen = \"text != ''\"\nprompt = \"What is it? {{{{ text }}}}\"\n\
         [stages.tone.output]\nlabel = {{ type = \"string\", enum = [\"a\", \"b\"], prob = true }}\nyes = {{ type = \"boolean\" }}\n\
         number = {{ type = \"number\", minimum = 0, maximum = 1 }}\nwhole = {{ type = \"integer\" }}\n\
         list = {{ type = \"array\", items = {{ type = \"string\" }} }}\nwords = {{ type = \"string\" }}\n",
        json!(names),
        models > 1,
    );
    Project::new().spec(&spec).csv("s.csv", rows)
}

#[test]
fn no_row_one_row_and_skipped_rows_have_a_page() {
    let page = report(&all_types(1, &[["text", "x"]]));
    assert!(page["lead"].as_str().expect("a lead").starts_with("0 rows of s"), "{}", page["lead"]);
    let page = report(&all_types(1, &[["text", "x"], ["peace", ""]]));
    let label = numbers(&page, "stage-tone", "label");
    assert_eq!(label.iter().filter_map(|row| row["answers"].as_u64()).sum::<u64>(), 1);
    // One number has no distribution, and one list no frequent items.
    let said = texts(&page, "stage-tone");
    for start in ["number: ", "whole: ", "Lengths of words: ", "list: 1 list with "] {
        assert!(said.iter().any(|text| text.starts_with(start)), "{start}: {said:?}");
    }
    // A row without a text is skipped, and no share counts it.
    let page = report(&all_types(1, &[["text", "x"], ["", "1"], ["war", "2"], ["", "3"]]));
    let rows = numbers(&page, "rows", "Rows of each stage");
    assert_eq!((&rows[0]["answered"], &rows[0]["skipped"]), (&json!(1), &json!(2)));
    assert_eq!(numbers(&page, "stage-tone", "yes")[0]["of"], 1);
}

#[test]
fn many_models_share_a_small_page() {
    let rows: Vec<[String; 2]> = (0..30).map(|n| [format!("Text {n} {}", "word ".repeat(n)), n.to_string()]).collect();
    let head = [["text", "x"]];
    let rows = head.into_iter().chain(rows.iter().map(|[text, x]| [text.as_str(), x.as_str()]));
    let project = all_types(50, &rows.collect::<Vec<_>>());
    let page = report(&project);
    assert!(project.bytes("page.html").len() < 2_200_000, "{} bytes", project.bytes("page.html").len());
    // Every model is in the numbers, and the page says which charts it leaves out.
    assert_eq!(numbers(&page, "stage-tone", "label").len(), 2 * 50);
    assert_eq!(numbers(&page, "stage-tone", "Summary: number").len(), 50);
    assert!(texts(&page, "stage-tone").contains(&"The charts of the first 12 of 50 models are shown."));
    let tokens = numbers(&page, "money", "Tokens over time");
    let last = tokens.last().and_then(|row| row.as_object()).expect("a row");
    let spent: f64 = last
        .iter()
        .filter(|(name, _)| !name.contains("until") && !name.contains("all"))
        .filter_map(|(_, n)| n.as_f64())
        .sum();
    assert_eq!(last["all models"].as_f64(), Some(spent));
    assert!(last.contains_key("42 other models"), "{last:?}");
}
