//! Templates: what they print, what they refuse, and that no bomb goes off.

use super::*;
use crate::table::{Column, Shape, Type};
use arrow_array::{ArrayRef, Float64Array, Int64Array, RecordBatch, StringArray, StructArray};
use arrow_schema::{DataType, Field, Fields};
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
    assert_eq!(unknown.1, []);
}

/// Two posts: a column of JSON text, a struct, lists of structs and of texts, and columns with difficult names.
fn posts() -> RecordBatch {
    let json = [r#"{"name": "Ann \u00e9", "a b": [1, {"x": 12345678901234567890}], "bio": null}"#, r#"{"name": "Bo"}"#];
    let tags = [r#"["x", "y"]"#, "[]"];
    let marked = |name: &str, values: &[&str]| {
        let mut shape = Shape::default();
        values.iter().for_each(|value| shape.learn(value));
        shape.marked(Field::new(name, DataType::Utf8, true))
    };
    let inner = Cell::Object(vec![("lat".to_owned(), Cell::Number(1.5))]);
    let place: ArrayRef = {
        let fields = Fields::from(vec![Field::new("lat", DataType::Float64, true)]);
        let columns = vec![Arc::new(Float64Array::from(vec![1.5, 0.0])) as ArrayRef];
        Arc::new(StructArray::new(fields, columns, Some(vec![true, false].into())))
    };
    assert_eq!(crate::table::cell_at(&place, 0), inner);
    let words = Column::new("words", Type::List(crate::table::Simple::Text));
    let lists = [Cell::List(vec![Cell::Text("p".into()), Cell::Text("q".into())]), Cell::List(vec![])];
    let texts = |values: [&str; 2]| Arc::new(StringArray::from(values.to_vec())) as ArrayRef;
    let text = |name: &str| Field::new(name, DataType::Utf8, true);
    let fields = vec![
        marked("user", &json),
        marked("tags", &tags),
        Field::new("place", place.data_type().clone(), true),
        words.field(),
        text("row"),
        text("range"),
        text("loop"),
        text("payload"),
        text("a.b"),
    ];
    let columns = vec![
        texts(json),
        texts(tags),
        place,
        crate::table::array_of(words.kind, lists.iter()),
        texts(["17", "18"]),
        texts(["1-2", "3-4"]),
        texts(["l1", "l2"]),
        texts([r#"{"k": [true]}"#, "no JSON"]),
        texts(["dot", "dot"]),
    ];
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).unwrap()
}

fn of_post(source: &str, row: usize) -> Result<String, String> {
    let posts = posts();
    let bound = Template::new(source).unwrap().bind(&posts.schema(), None, &[]);
    let bound = bound.unwrap_or_else(|unknown| panic!("{source}: {unknown:?}"));
    assert_eq!(bound.source(), source);
    bound.render(Row::new(&posts, row, 0), &[])
}

#[test]
fn nested_values_can_be_reached_into() {
    for (source, first, second) in [
        ("by {{ user.name }}", "by Ann é", "by Bo"),
        ("{{ user['a b'][0] }}{{ user[\"a b\"][1].x }}", "112345678901234567890", ""),
        ("[{{ user.bio }}{{ user.bio.deeper }}]", "[]", "[]"),
        ("{{ user.bio | default('-', true) }}{{ user.bio is none }}", "-True", "-True"),
        ("{{ user['a b'] }}", r#"[1, {"x": 12345678901234567890}]"#, ""),
        ("{{ (user).name | upper }}", "ANN É", "BO"),
        ("{{ row.user.name }} {{ row['user']['name'][:2] }}", "Ann é An", "Bo Bo"),
        ("{{ tags[0] }}{{ tags[-1] }}{{ tags[5] }}", "xy", ""),
        ("{% for t in tags %}{{ loop.index }}{{ t }}{% endfor %}", "1x2y", ""),
        ("{% for t in row.tags %}{{ t }},{% else %}none{% endfor %}", "x,y,", "none"),
        ("{% for k in user %}{{ k }} {% endfor %}", "name a b bio ", "name "),
        ("{% for i in range(2) %}{{ tags[i] | default('.') }}{% endfor %}", "xy", ".."),
        ("{{ place.lat }} {{ place }}", r#"1.5 {"lat":1.5}"#, " "),
        ("{{ words[0] | default('-') }} {{ words }}", "p ['p', 'q']", "- []"),
        ("{% if 'x' in user.name %}x{% elif user.name[0] == 'A' %}A{% endif %}", "A", ""),
        ("{% set u = user %}{% if u %}{{ (u | json).name }}{% endif %}", "Ann é", "Bo"),
    ] {
        assert_eq!(of_post(source, 0).as_deref(), Ok(first), "{source}");
        assert_eq!(of_post(source, 1).as_deref(), Ok(second), "{source}");
    }
}

#[test]
fn json_text_is_printed_and_handled_as_text() {
    let written = r#"["x", "y"]"#;
    for (source, expected) in [
        ("{{ tags }}", written.to_owned()),
        ("{{ row.tags }}{{ tags ~ '!' }}", format!("{written}{written}!")),
        ("{{ tags | length }} {{ tags | upper }} {{ tags[:4] }}", "10 [\"X\", \"Y\"] [\"x\"".to_owned()),
        ("{{ tags == '[]' }} {{ '\"x\"' in tags }}", "False True".to_owned()),
    ] {
        assert_eq!(of_post(source, 0), Ok(expected), "{source}");
    }
}

#[test]
fn the_filter_json_reads_a_text() {
    assert_eq!(of_post("{{ (payload | json).k[0] }} {{ payload | json }}", 0).as_deref(), Ok("True {\"k\": [true]}"));
    let error = of_post("{{ (payload | json).k }}", 1).unwrap_err();
    assert_eq!(error, "invalid operation: \"no JSON\" can't be read as JSON: expected ident");
}

#[test]
fn no_column_hides_another_name() {
    for (source, expected) in [
        ("{{ row }} {{ row.row }} {{ row['a.b'] }}", "17 17 dot"),
        ("{% set key = 'a.b' %}{{ row[key] }}{{ row.user.name }}", "dotAnn é"),
        ("{{ range }}{% for i in range(2) %}{{ i }}{{ row.loop }}{{ loop.last }}{% endfor %}", "1-20l1False1l1True"),
        ("{{ loop }}", "l1"),
    ] {
        assert_eq!(of_post(source, 0).as_deref(), Ok(expected), "{source}");
    }
    // `text` is the text column; a column of that name is read through `row`.
    let texts = |text: &str| Arc::new(StringArray::from(vec![text])) as ArrayRef;
    let rows = RecordBatch::try_from_iter([("text", texts("own")), ("speech", texts("spoken"))]).unwrap();
    let bound = Template::new("{{ text }} {{ row.text }}").unwrap().bind(&rows.schema(), Some(1), &[]).unwrap();
    assert_eq!(bound.render(Row::new(&rows, 0, 0), &[]).as_deref(), Ok("spoken own"));
}

/// The messages and helps about a template over the posts.
fn faults(source: &str) -> Vec<String> {
    let schema = posts().schema();
    let unknown = Template::new(source).unwrap().bind(&schema, None, &["missing"]).unwrap_err();
    let problems = unknown.problems(&Path::root(), "the template", &schema);
    problems.into_iter().map(|p| p.message + &p.help.map(|help| format!(" ({help})")).unwrap_or_default()).collect()
}

#[test]
fn names_that_do_not_exist_are_named_before_a_run() {
    for (source, expected) in [
        ("{{ row | truncat }}", "the template: there is no filter `truncat` (the filters are `batch`, "),
        ("{{ row | uper }}", "the template: there is no filter `uper` (did you mean `upper`?)"),
        ("x\n{% if row is nane %}{% endif %}", "the template, line 2: there is no test `nane` (did you mean `none`?)"),
        ("{{ tags | json | map('uper') | join }}", "the template: there is no filter `uper`"),
        ("{{ words | select('evn') | list }}", "the template: there is no test `evn` (did you mean `even`?)"),
        ("{{ upper(row) }}", "the template: there is no function `upper` (`upper` is a filter: write `… | upper`)"),
        ("{{ lipsum() }}", "the template: there is no function `lipsum` (the functions are `range` and `dict`)"),
        ("{{ row.strip() }}", "the template: `row.strip`: values have no method `strip` (write `row | trim`)"),
        ("{{ user.nmae }}", "the template: `user.nmae` is in no row: there is no key `nmae` (did you mean `name`?)"),
        ("{{ place.lon }}", "the template: `place.lon` is in no row: there is no key `lon`"),
        ("{{ payload.k }}", "the template: `payload.k`: text does not have the key `k` (if it holds JSON, read it"),
        ("{{ tags.first }}", "the template: `tags.first`: a list does not have the key `first` (take an item first"),
        ("{{ row.usr }}", "the template uses `row.usr`, but the input has no such column (did you mean `row.user`?)"),
        (
            "{{ a.b }}",
            "the template uses `a`, but the input has no such column (the column `a.b` is read as `row[\"a.b\"]`)",
        ),
        ("{% for p in place %}{{ q }}{% endfor %}", "the template uses `q`, but the input has no such column"),
    ] {
        let faults = faults(source);
        assert!(faults.len() == 1 && faults[0].starts_with(expected), "{source}: {faults:?}");
    }
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
                let none = |unknown: Unknown| {
                    let message = if unknown.names().next().is_some() { "unknown" } else { "refused" };
                    TemplateError { line: None, message: message.to_owned() }
                };
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
