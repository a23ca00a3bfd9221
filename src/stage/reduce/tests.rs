//! Groups, and what is asked about them in how many prompts.

use super::*;
use crate::document::{self, Document, Path, SpecFormat};
use crate::stage::InputTable;
use crate::table::{Cell, Guard, Row};
use arrow_array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use arrow_schema::SchemaRef;

/// `(decade, n, gist, gist_error)` in order.
type Rows<'a> = &'a [(Option<i64>, i64, Option<&'a str>, Option<&'a str>)];

fn table(rows: Rows<'_>) -> RecordBatch {
    let number = |name: &str| Field::new(name, DataType::Int64, true);
    let text = |name: &str| Field::new(name, DataType::Utf8, true);
    let schema = Schema::new(vec![number("decade"), number("n"), text("gist"), text("gist_error")]);
    let columns: Vec<ArrayRef> = vec![
        Arc::new(rows.iter().map(|r| r.0).collect::<Int64Array>()),
        Arc::new(rows.iter().map(|r| Some(r.1)).collect::<Int64Array>()),
        Arc::new(rows.iter().map(|r| r.2).collect::<StringArray>()),
        Arc::new(rows.iter().map(|r| r.3).collect::<StringArray>()),
    ];
    RecordBatch::try_new(Arc::new(schema), columns).unwrap()
}

struct Bounded {
    stage: Stage,
    groups: Vec<RecordBatch>,
}

fn bound(spec: &str, rows: Rows<'_>) -> Result<Bounded, Vec<String>> {
    let document = Document::parse("spec.toml", spec.to_owned(), SpecFormat::Toml).unwrap();
    let mut problems = Problems::default();
    let config = document::decode::<Reduce>(&document.root, &Path::root(), &mut problems).unwrap();
    let said = |problems: Problems| problems.into_iter().map(|p| p.message).collect::<Vec<_>>();
    let batch = table(rows);
    let schema = batch.schema();
    let path = Path::of(["stages", "sum"]);
    let guards = [vec![], vec![], vec![Guard::Error(3)], vec![]];
    let read = |_: &str| unreachable!();
    let given = [InputTable { name: "gists", schema: &schema, key: None, guards: &guards, origins: &[] }];
    let site = TransformContext { name: "sum", path: &path, inputs: &given, seed: 0, read: &read };
    let Ok(gathered) = config.gathers(&site, &mut problems) else { return Err(said(problems)) };
    let gathered = gathered.unwrap();
    let input: SchemaRef = gathered.info.schema.clone();
    let hidden = gathered.info.hidden;
    let key = gathered.info.key;
    let site = BindContext { name: "sum", path: &path, input: &input, hidden, key, fold: 1, seed: None, read: &read };
    let Some(stage) = config.bind(&site, &mut problems) else { return Err(said(problems)) };
    let mut work = gathered.work.start();
    // Rows that come one by one make the same groups.
    for row in 0..batch.num_rows() {
        assert!(work.take(0, &batch.slice(row, 1)).unwrap().is_empty());
    }
    let groups = work.finish().unwrap();
    Ok(Bounded { stage, groups })
}

impl Bounded {
    /// The columns of the groups that are shown, as text.
    fn shown(&self) -> Vec<String> {
        let batch = &self.groups[0];
        let cells = |i: usize| (0..batch.num_columns()).map(move |c| Row::new(batch, i, 0).cell(c));
        let shown = |i: usize| cells(i).filter(|c| !matches!(c, Cell::List(_))).map(|c| c.json().to_string());
        (0..batch.num_rows()).map(|i| shown(i).collect::<Vec<_>>().join(" ")).collect()
    }

    /// What is asked about the first group, round by round, when the n-th prompt is answered with `answer(n)`.
    fn asked(&self, answer: impl Fn(usize) -> String) -> Result<Vec<Vec<String>>, String> {
        let row = Row::new(&self.groups[0], 0, 0);
        let mut so_far: Vec<Vec<Cell>> = Vec::new();
        let mut rounds = Vec::new();
        loop {
            let prompts = self.stage.ask.prompts(row, &so_far).map_err(|failure| failure.to_string())?;
            if prompts.is_empty() {
                assert_eq!(self.stage.ask.cells(row, "m", &so_far), so_far.last().cloned().unwrap_or_default());
                return Ok(rounds);
            }
            rounds.push(prompts.iter().map(|p| p.messages.last().unwrap().content.clone()).collect());
            for _ in prompts {
                so_far.push(vec![Cell::Text(answer(so_far.len()))]);
            }
        }
    }
}

const ROWS: Rows<'static> = &[
    (Some(1790), 2, Some("peace"), None),
    (Some(1800), 1, None, Some("timeout: no answer")),
    (Some(1790), 1, Some("debt"), None),
    (None, 5, Some("war"), None),
    (Some(1790), 3, None, Some("refused: no")),
];

#[test]
fn rows_are_gathered_by_group_and_those_with_errors_left_out_and_counted() {
    let spec = "group_by = [\"decade\"]\norder_by = [\"n\"]\n\
                prompt = \"{{ decade }}:{% for row in rows %} {{ row.gist }}{% endfor %}\"";
    let reduce = bound(spec, ROWS).unwrap();
    // The columns of a group, its rows, the rows left out; a group of which nothing is left has null lists.
    assert_eq!(reduce.shown(), ["1790 2 1", "1800 0 1 null null", "null 1 0"]);
    assert_eq!(reduce.asked(|_| "x".into()).unwrap(), [["1790: debt peace"]]);
    let upwards = reduce.stage.info.needs.iter().map(|c| reduce.groups[0].column(*c).is_null(1));
    assert_eq!(upwards.collect::<Vec<_>>(), [true], "so that the group is skipped");
    let whole = bound("prompt = \"{% for row in rows %}{{ row.n }} {% endfor %}\"", ROWS).unwrap();
    assert_eq!(whole.shown(), ["5 0"]);
    assert_eq!(whole.asked(|_| "x".into()).unwrap(), [["2 1 1 5 3 "]]);
    assert_eq!(bound("prompt = \"{{ rows | length }}\"", &[]).unwrap().shown(), ["0 0"]);
    let downwards = "order_by = [\"n\"]\ndescending = true\nprompt = \"{% for row in rows %}{{ row.n }} {% endfor %}\"";
    assert_eq!(bound(downwards, ROWS).unwrap().asked(|_| "x".into()).unwrap(), [["5 3 2 1 1 "]]);
}

#[test]
fn a_tree_puts_answers_together_until_there_is_one() {
    let words: Vec<String> = (0..9).map(|i| format!("w{i}")).collect();
    let rows: Vec<_> = words.iter().map(|w| (None, 1, Some(w.as_str()), None)).collect();
    // A prompt holds 8 tokens of 4 bytes: 12 words of two letters and a blank at most minus the text before.
    let spec = "max_input_tokens = 4\nprompt = \"Of:{% for row in rows %} {{ row.gist }}{% endfor %}\"\n\
                combine = \"All:{% for a in answers %} {{ a }}{% endfor %}\"";
    let reduce = bound(spec, &rows).unwrap();
    let rounds = reduce.asked(|n| format!("a{n}")).unwrap();
    assert_eq!(rounds, [vec!["Of: w0 w1 w2 w3", "Of: w4 w5 w6 w7", "Of: w8"], vec!["All: a0 a1 a2"],]);
    let small = bound(&spec.replace("= 4", "= 3"), &rows).unwrap();
    let rounds = small.asked(|n| format!("a{n}")).unwrap();
    assert_eq!(
        rounds,
        [
            vec!["Of: w0 w1 w2", "Of: w3 w4 w5", "Of: w6 w7 w8"],
            // Two fit; the third goes up as it is.
            vec!["All: a0 a1"],
            vec!["All: a3 a2"],
        ]
    );
    assert_eq!(small.stage.most_prompts(Row::new(&small.groups[0], 0, 0)), 5);
    let error = bound(&spec.replace("= 4", "= 1"), &rows).unwrap().asked(|_| "x".into()).unwrap_err();
    assert!(
        error.starts_with("context_too_long: row 1 of the group alone makes a prompt of about 2 tokens"),
        "{error}"
    );
    let error = small.asked(|_| "much too long".into()).unwrap_err();
    assert!(error.starts_with("context_too_long: two partial answers make"), "{error}");
}

#[test]
fn a_fold_hands_the_answer_on_and_a_single_prompt_must_fit() {
    let words: Vec<String> = (0..5).map(|i| format!("w{i}")).collect();
    let rows: Vec<_> = words.iter().map(|w| (None, 1, Some(w.as_str()), None)).collect();
    let prompt = "prompt = \"Of:{% for row in rows %} {{ row.gist }}{% endfor %}\"";
    let fold = format!(
        "strategy = \"fold\"\nmax_input_tokens = 3\n{prompt}\n\
         combine = \"{{{{ answer }}}} and{{% for row in rows %}} {{{{ row.gist }}}}{{% endfor %}}\""
    );
    let rounds = bound(&fold, &rows).unwrap().asked(|n| format!("a{n}")).unwrap();
    assert_eq!(rounds, [["Of: w0 w1 w2"], ["a0 and w3 w4"]]);
    let single = format!("strategy = \"single\"\nmax_input_tokens = 4\n{prompt}");
    let error = bound(&single, &rows).unwrap().asked(|_| "x".into()).unwrap_err();
    assert!(error.starts_with("context_too_long: the group of 5 rows makes a prompt of about 5 tokens"), "{error}");
    let whole = bound(&single.replace("= 4", "= 5"), &rows).unwrap();
    assert_eq!(whole.asked(|_| "x".into()).unwrap(), [["Of: w0 w1 w2 w3 w4"]]);
}

#[test]
fn without_a_wording_of_its_own_a_tree_repeats_the_question() {
    let rows: Vec<_> = (0..60).map(|_| (None, 1, Some("a long enough gist of an address"), None)).collect();
    let spec = "max_input_tokens = 200\n[output]\ntheme = { type = \"string\" }\n";
    let prompt = "prompt = \"Which theme do they share?{% for row in rows %} {{ row.gist }}{% endfor %}\"\n";
    let reduce = bound(&format!("{prompt}{spec}"), &rows).unwrap();
    let rounds = reduce.asked(|n| format!("t{n}")).unwrap();
    let last = &rounds.last().unwrap()[0];
    assert!(last.contains("The question, without the parts:\n\nWhich theme do they share?\n\n"), "{last}");
    assert!(last.contains("1. {\"theme\":\"t0\"}\n\n2. {\"theme\":\"t1\"}"), "{last}");
}

#[test]
fn what_the_template_reads_is_checked() {
    let errors = |spec: &str| bound(spec, ROWS).err().unwrap();
    let prompt = |text: &str| format!("prompt = \"{text}\"");
    let unknown = errors(&prompt("{% for row in rows %}{{ row.gists }}{% endfor %}"));
    assert_eq!(unknown[0], "the template uses `gists` of a row, but `gists` has no such column");
    assert_eq!(errors(&prompt("No rows")), ["the template does not use `rows`"]);
    let column = errors(&prompt("{{ rows }}{{ gist }}"));
    assert!(column[0].starts_with("the template uses `gist`, but the input has no such column"), "{column:?}");
    assert_eq!(errors("group_by = [\"decad\"]\nprompt = \"{{ rows }}\"")[0], "`gists` has no column `decad`");
    let fold = errors("strategy = \"fold\"\nprompt = \"{{ rows }}\"");
    assert_eq!(fold, ["a fold goes by `max_input_tokens`, which is missing"]);
}
