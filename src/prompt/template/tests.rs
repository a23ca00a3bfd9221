//! Templates: what they print, what they refuse, and that no bomb goes off.

use super::*;
use arrow_array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use std::sync::Arc;

fn batch() -> RecordBatch {
    let speech: ArrayRef = Arc::new(StringArray::from(vec![Some("{{ 7*7 }}{% include 'x' %}"), None]));
    let year: ArrayRef = Arc::new(Int64Array::from(vec![1790, 1800]));
    let party: ArrayRef = Arc::new(StringArray::from(vec!["A & B <b>", "C"]));
    RecordBatch::try_from_iter([("speech", speech), ("year", year), ("the party", party)]).unwrap()
}

fn render(source: &str, row: usize) -> Result<String, String> {
    let batch = batch();
    let bound = Template::new(source).unwrap().bind(&batch.schema(), Some(0), &[]).unwrap();
    bound.render(Row::new(&batch, row, 0), &[])
}

#[test]
fn cells_stand_where_the_template_says_and_are_never_parsed() {
    assert_eq!(render("{{ year }}: {{ speech }}", 0).unwrap(), "1790: {{ 7*7 }}{% include 'x' %}");
    assert_eq!(render("{{ text }}|{{ row['the party'] }}", 0).unwrap(), "{{ 7*7 }}{% include 'x' %}|A & B <b>");
    let batch = batch();
    let bound = Template::new("{{ text }} {{ range(2) }}").unwrap().bind(&batch.schema(), Some(1), &[]).unwrap();
    assert_eq!(bound.render(Row::new(&batch, 0, 0), &[]).unwrap(), "1790 [0, 1]");
    assert_eq!(render("[{{ speech }}]{% if not speech %} none{% endif %}", 1).unwrap(), "[] none");
    assert_eq!(render("{% for x in [1,2] %}{{ x }}{{ loop.index }} {% endfor %}", 1).unwrap(), "11 22 ");
}

proptest::proptest! {
    #[test]
    fn no_text_is_ever_a_template(text in "[ {}%#a-z|~*'\"\\\\\u{0}-\u{1f}é-]{0,60}") {
        let cells: ArrayRef = Arc::new(StringArray::from(vec![text.as_str()]));
        let rows = RecordBatch::try_from_iter([("text", cells)]).unwrap();
        let bound = Template::new("<{{ text }}|{{ row.text }}>").unwrap().bind(&rows.schema(), None, &[]).unwrap();
        proptest::prop_assert_eq!(bound.render(Row::new(&rows, 0, 0), &[]).unwrap(), format!("<{text}|{text}>"));
    }
}

#[test]
fn unknown_variables_are_listed_with_the_near_column() {
    let template = Template::new("{{ speach }} {{ year }} {{ row.yaer }} {{ zzz }}").unwrap();
    let unknown = template.bind(&batch().schema(), None, &[]).unwrap_err();
    let expected = [
        ("row.yaer".to_owned(), Some("row.year".to_owned())),
        ("speach".to_owned(), Some("speech".to_owned())),
        ("zzz".to_owned(), None),
    ];
    assert_eq!(unknown.0, expected);
}

#[test]
fn the_variable_of_a_slice_is_bound() {
    assert_eq!(render("{{ text[:5] }} {{ row.speech[3:6] | upper }}", 0).unwrap(), "{{ 7* 7*7");
    assert_eq!(Template::new("{{ speach[:5] }}").unwrap().variables(), ["speach"]);
}

#[test]
fn a_template_that_does_not_compile_says_where() {
    let error = Template::new("one\n{{ two").unwrap_err();
    assert_eq!(error.line, Some(2));
    assert!(error.message.starts_with("syntax error"), "{}", error.message);
}

#[test]
fn loops_without_end_run_out_of_fuel() {
    let source = "{% for a in range(9999) %}{% for b in range(9999) %}{{ a }}{% endfor %}{% endfor %}";
    assert!(render(source, 0).unwrap_err().contains("fuel"));
}

/// Templates that would take all memory or all day: by operators, by filters, by what is put aside, by recursion.
fn bombs() -> Vec<String> {
    let doubled = |how: &str| {
        let steps: String = (0..40).map(|_| how.to_owned()).collect();
        format!("{{% set a = text %}}\n{steps}{{{{ a }}}}")
    };
    let looped = |what: &str| format!("\n{{% for i in range(99999) %}}{{% if {what} %}}{{% endif %}}{{% endfor %}}");
    let mut bombs: Vec<String> = [
        "{% set a = a ~ a %}",
        "{% set a = a + a %}",
        "{% set a = a * 2 %}",
        "{% set a = [a, a] %}",
        "{% set a = [a, a] | join(',') %}",
        "{% set a = a | replace('', a) %}",
        "{% set a = '%s%s' | format(a, a) %}",
        "{% set a = a | list | chain(a | list) %}",
        "{% set a %}{{ a }}{{ a }}{% endset %}",
        // Names that are keywords elsewhere, and text that only looks like the beginning of a comment or of raw text.
        "{% set if = a %}{% set a = if ~ if %}",
        "{% set call = a %}{% set a = call ~ call %}",
        "{% set a = {'if': a}.if ~ {'not': a}.not %}",
        "{% set raw = 1 %}{{ raw }}{% set a = a ~ a %}",
        "{#} {% raw %} #}{% set a = a ~ a %}",
    ]
    .map(doubled)
    .into();
    bombs.extend(
        [
            "{{ 'x' * 100000000 }}",
            "{{ [1] * 100000000 }}",
            "{{ 'x\ny' | indent(99999999) }}",
            "{{ 'x' | indent(width=999999999999, first=true) }}",
            "{{ '%999999999d' | format(1) }}",
            "{{ '%*d' | format(999999999, 1) }}",
            "{{ [1] | batch(99999999, 'x') }}",
            "{{ [1] | slice(99999999, 'x') }}",
            "{{ range(99999) | join('x' | indent(9999, true)) }}",
            "{{ 'x' | indent(100000, true) | replace(' ', 'y' | indent(20000, true)) }}",
            "{{ range(10 ** 9) | list }}",
            "{{ 9 ** 9 ** 9 ** 9 }}",
            "{% macro f(a) %}{{ f(a ~ a) }}{% endmacro %}{{ f('xxxxxxxx') }}",
            "{% macro f(a) %}{{ f([a]) }}{% endmacro %}{{ f(1) }}",
            "{% for a in [1] recursive %}{{ loop([a]) }}{% endfor %}",
            "{% include 'prompt' %}",
            "{{ [text] | map('!replace', '', text) | list }}",
        ]
        .map(str::to_owned),
    );
    bombs.extend(["'x' * 99999999 == 1", "text | indent(99999) == 1", "range(9999) | join(text) == 1"].map(looped));
    // Copies that stay, and values in values.
    let thousands = |first: &str, how: &str| format!("{{% set is = 1 %}}{{% set a = {first} %}}{}", how.repeat(5000));
    let copied = |how: &str| {
        let copies: String = (0..1000).map(|i| format!("{{% set b{i} = {how} %}}")).collect();
        format!("{{% set a = range(99999)|join %}}{copies}")
    };
    bombs.extend(["a[1:]", "a[::-1]", "a|safe", "1. ~ a", "('x' is string) ~ a", "'upper' is filter ~ a"].map(copied));
    for how in
        ["[a]", "a, 1", "(a, 1)", "dict(x=a)", "{'x': a}", "a|batch(1)", "a|zip", "1 if 0 else [a]", "is if 0 else [a]"]
    {
        bombs.push(thousands("[1]", &format!("{{% set a = {how} %}}")));
    }
    let nested = "{% set a = [a] %}".repeat(900);
    bombs.push(format!("{{% macro f(a) %}}{nested}{{{{ f(a) }}}}{{% endmacro %}}{{{{ f(1) }}}}"));
    bombs.push(format!("{{{{ {}1{} }}}}", "f(".repeat(200), ")".repeat(200)));
    bombs.push(format!("{{{{ {}1 }}}}", "-".repeat(5000)));
    bombs.push(format!("{}{}", "{% if 1 %}".repeat(200), "{% endif %}".repeat(200)));
    bombs.push(format!("{{% if 0 %}}{}{{% endif %}}", "{% elif 0 %}".repeat(5000)));
    let long = "y".repeat(100_000);
    let turns = "{% for i in range(9999) %}";
    bombs.push(format!("{turns}{turns}{long}{{% endfor %}}{{% endfor %}}"));
    bombs.push(format!("{{% set a %}}{turns}{turns}{long}{{% endfor %}}{{% endfor %}}{{% endset %}}"));
    let raw = format!("{{% raw %}}{long}{{% endraw %}}");
    bombs.push(format!("{{% set a %}}{turns}{turns}{raw}{{% endfor %}}{{% endfor %}}{{% endset %}}"));
    bombs
}

#[test]
fn bombs_are_refused_soon_on_a_small_stack() {
    let all = || {
        for bomb in bombs() {
            let shown: String = bomb.chars().take(120).collect();
            let bound = Template::new(&bomb).and_then(|t| {
                let none = |_| TemplateError { line: None, message: "unknown".to_owned() };
                t.bind(&batch().schema(), Some(0), &[]).map_err(none)
            });
            let error = match bound {
                Ok(bound) => bound.render(Row::new(&batch(), 0, 0), &[]).unwrap_err(),
                Err(error) => error.message,
            };
            assert!(error != "unknown", "{shown}");
        }
    };
    std::thread::Builder::new().stack_size(2 << 20).spawn(all).unwrap().join().unwrap();
}

#[test]
fn the_line_of_a_bomb_is_told() {
    let error = render("one\n{{ 'x' * year * 'y' }}", 0).unwrap_err();
    assert!(error.starts_with("line 2 of the template: ") && error.contains("`*` is for numbers"), "{error}");
    let error = render("one\n{% set a = text %}\n{{ a | indent(99999999) }}", 0).unwrap_err();
    assert!(error.starts_with("line 3 of the template: ") && error.contains("more than 64 MiB"), "{error}");
}

#[test]
fn operators_and_filters_do_what_they_did() {
    for (source, expected) in [
        ("{{ 'a' ~ (year + 1) }}", "a1791"),
        ("{{ (year + 10) * 2 - 1 }}", "3599"),
        ("{{ 'a' ~ 1 ~ none ~ year | string | upper }}", "a1None1790"),
        ("{{ [1] + [2] }} {{ 'a' + 'b' }}", "[1, 2] ab"),
        ("{{ ['b', 'a'] | sort | map('upper') | join(', ') }}", "A, B"),
        ("{{ 'a-b' | replace('-', '+') }} {{ 'x\ny' | indent(2) }}", "a+b x\n  y"),
        ("{{ [1, 2, 3] | batch(2) | list }} {{ '%.2f' | format(1.234) }}", "[[1, 2], [3]] 1.23"),
        ("{{ {'b': 1, 'a': 2} | dictsort }} {{ [1, 2] | sum }}", "[('a', 2), ('b', 1)] 3"),
        ("{{ missing | default('x') }}{{ 2.345 | round(2) }}", "x2.35"),
        ("{% macro f(a, b=1 + 1) %}{{ a * b }}{% endmacro %}{{ f(3) }}{{ f(a=4, b=5) }}", "620"),
        ("{% set a, b = 'x', 'y' %}{% set c = [a, b] %}{{ c[1:] }}{{ c[0] ~ 'b' 'c' }}{{ 'abc'[:2] }}", "['y']xbcab"),
        ("{% for (a, b), c in [((1, 2), 3)] %}{{ a + b + c }}{% endfor %}{{ dict(a=year).a }}", "61790"),
        ("{% for a in [1, 2] %}{% if a in [1, year] %}{{ loop.index ~ '.' }}{% endif %}{% endfor %}", "1."),
        ("{% macro f(x) %}{{ caller(x, 1) }}{% endmacro %}{% call(a, b) f('q') %}{{ a ~ b }}{% endcall %}", "q1"),
        ("{% with (a, b) = (year, 2) %}{{ [a, b] | last }}{% endwith %}{{ range(4)[1:3] }}", "2[1, 2]"),
    ] {
        let template = Template::new(source).unwrap();
        let batch = batch();
        let bound = template.bind(&batch.schema(), Some(0), &["missing"]).unwrap();
        assert_eq!(bound.render(Row::new(&batch, 0, 0), &[]).as_deref(), Ok(expected), "{source}");
    }
}

#[test]
fn the_text_around_its_tags_is_the_same_for_all_rows() {
    let cases = [
        ("Tone?\n\n{{ text }}", "Tone?\n\n", ""),
        ("{{ text }}\nTone?\n", "", "\nTone?"),
        ("a {%- if x %} b {% endif -%} c", "a", "c"),
        ("a {# note #} {{ x }} b", "a ", " b"),
        ("{{ x }} like {\"a\": {\"b\": 1}}", "", ""),
        ("all of it\r\n", "all of it", ""),
        ("a {{ x }} b -}} c", "a ", "c"),
    ];
    for (source, start, end) in cases {
        assert_eq!(constant(source), (start.to_owned(), end.to_owned()), "{source}");
    }
}
