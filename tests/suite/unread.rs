//! A column that nothing reads never stops a run: cells that cannot be read are null, counted and named.

use serde_json::{Value, json};

use crate::formats::ods;
use crate::project::{Project, Ran};

const ROWS: &str = "id,t,a name,x\n1,one,p,5\n2,two,q,abc\n3,three,r,7\n";

/// The source `rows` with a cell of `x` that is not a whole number, and `more`.
fn spec(path: &str, fields: &str, more: &str) -> String {
    format!(
        "models.m = {{ provider = \"mock\", model = \"any\" }}\n[sources.rows]\ntype = \"file\"\npath = \"{path}\"\n\
         types = {{ x = \"integer\" }}\n{fields}\n{more}\n"
    )
}

/// A stage with this prompt, and an output with all columns.
fn stage(prompt: &str, fields: &str) -> String {
    format!(
        "[stages.s]\ntype = \"analysis\"\ninput = \"rows\"\nmodels = [\"m\"]\nprompt = '''{prompt}'''\n\
         output.y = {{ type = \"boolean\" }}\n{fields}\n[outputs.o]\ninput = \"s\"\npath = \"o.jsonl\"\n"
    )
}

fn project(more: &str) -> Project {
    Project::new().spec(&spec("rows.csv", "", more)).file("rows.csv", ROWS)
}

#[track_caller]
fn passes(project: &Project, warning: &str) {
    project.run(&["run", "pipeline.toml"]).exits(0).says(warning);
    let cells: Vec<Value> = project
        .text("o.jsonl")
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).expect("a row"))
        .map(|row| json!([row["id"].to_string().trim_matches('"'), row["t"], row["x"]]))
        .collect();
    assert_eq!(cells, [json!(["1", "one", 5]), json!(["2", "two", null]), json!(["3", "three", 7])]);
}

#[track_caller]
fn refused(project: &Project) -> Ran {
    project.run(&["run", "pipeline.toml"]).exits(2)
}

/// The rows in a file of each format.
fn files() -> Vec<(&'static str, Vec<u8>)> {
    let ends = ["csv", "jsonl", "xlsx", "dta", "sav", "arrow", "parquet"];
    let paths = ["x.csv", "x.jsonl", "x.xlsx", "x.dta", "x.sav", "x.arrow", "x.parquet"];
    let outputs = ends.map(|end| format!("[outputs.{end}]\ninput = \"x\"\npath = \"x.{end}\"\n")).concat();
    let made = Project::new()
        .spec(&format!("sources.x = {{ type = \"file\", path = \"rows.csv\" }}\n{outputs}"))
        .file("rows.csv", ROWS);
    made.run(&["run", "pipeline.toml"]).exits(0);
    let mut files: Vec<_> = paths.into_iter().map(|path| (path, made.bytes(path))).collect();
    files.push(("x.tsv", ROWS.replace(',', "\t").into_bytes()));
    let list = format!("[{}]", made.text("x.jsonl").lines().collect::<Vec<_>>().join(","));
    files.push(("x.json", list.into_bytes()));
    let cell = |text: &str| {
        format!("<table:table-cell office:value-type=\"string\"><text:p>{text}</text:p></table:table-cell>")
    };
    let row =
        |line: &str| format!("<table:table-row>{}</table:table-row>", line.split(',').map(cell).collect::<String>());
    let body = ROWS.lines().map(row).collect::<String>();
    files.push(("x.ods", ods(&format!("<table:table table:name=\"S\">{body}</table:table>"))));
    files
}

#[test]
fn a_column_that_nothing_reads_does_not_stop_a_run_in_any_format() {
    for (path, bytes) in files() {
        let project = Project::new().spec(&spec(path, "", &stage("{{ t }}", ""))).file(path, bytes);
        passes(&project, &format!("rows: warning: 1 cell of `x`, which nothing reads, is null: {path}: row "));
        // The same column in a prompt.
        project.write("pipeline.toml", spec(path, "", &stage("{{ t }} {{ x }}", "")));
        refused(&project).says("column `x` is \"abc\", not a").says("; `s` reads `x`");
    }
}

#[test]
fn the_import_report_names_and_counts_the_cells() {
    let project = project(&stage("{{ t }}", ""));
    project.write("rows.csv", ROWS.replace(",7", ",seven"));
    let ran = project.run(&["run", "pipeline.toml"]).exits(0);
    let line = "rows: warning: 2 cells of `x`, which nothing reads, are null: rows.csv: row 2 (line 3, byte 24): column `x` is \"abc\"";
    assert!(ran.stderr.contains(line), "{}", ran.stderr);
    let plan = project.run(&["plan", "pipeline.toml", "--format", "json"]).exits(0).json();
    let import = &plan["sources"][0]["import"];
    assert_eq!((&import["nulls"], &import["unreadable"][0]["column"]), (&json!(2), &json!("x")), "{plan}");
    assert_eq!(import["unreadable"][0]["cells"], json!(2));
    // A copy of the import is used now, and the rule holds all the same.
    project.write("pipeline.toml", spec("rows.csv", "", &stage("{{ x }}", "")));
    refused(&project).says("(2 cells in all); `s` reads `x`").says("if it means null, add it to `null_values`");
    project.write("pipeline.toml", spec("rows.csv", "null_values = [\"abc\", \"seven\"]", &stage("{{ x }}", "")));
    project.run(&["run", "pipeline.toml"]).exits(0);
}

#[test]
fn everything_that_reads_the_column_is_named() {
    let with = "[sources.other]\ntype = \"file\"\npath = \"other.csv\"\ntypes = { x = \"integer\" }\n";
    let output = "[outputs.o]\ninput = \"s\"\npath = \"o.jsonl\"\n";
    let reads = [
        (stage("{{ row['x'] }}", ""), "`s` reads `x`"),
        (stage("{{ row }}", ""), "`s` reads `x`"),
        (stage("{{ t }}", "when = \"x > 5\""), "`when` of `s` reads `x`"),
        (format!("[stages.s]\ntype = \"filter\"\ninput = \"rows\"\nwhen = \"x > 5\"\n{output}"), "`s` reads `x`"),
        (
            format!("{with}[stages.s]\ntype = \"join\"\ninput = \"rows\"\nwith = \"other\"\non = [\"x\"]\n{output}"),
            "`s` reads `x`",
        ),
        (
            format!(
                "[stages.s]\ntype = \"reduce\"\ninput = \"rows\"\nmodels = [\"m\"]\ngroup_by = [\"x\"]\n\
                 prompt = \"{{% for r in rows %}}{{{{ r.t }}}}{{% endfor %}}\"\n{output}"
            ),
            "reads `x`",
        ),
        (
            "[outputs.o]\ninput = \"rows\"\npath = \"o.jsonl\"\ncolumns = [\"id\", \"x\"]\n".to_owned(),
            "`columns` of the output `o.jsonl` reads `x`",
        ),
        (
            format!("{}[stages.t]\ntype = \"filter\"\ninput = \"s\"\nwhen = \"x is none\"\n", stage("{{ t }}", "")),
            "`t` reads `x`",
        ),
    ];
    for (more, reader) in reads {
        let project = project(&more).file("other.csv", "x,z\n5,v\n");
        refused(&project).says("rows.csv: row 2 (line 3, byte 24): column `x` is \"abc\"").says(reader);
    }
    for fields in ["where = \"x > 5\"", "key = \"x\""] {
        let project = Project::new().spec(&spec("rows.csv", fields, &stage("{{ t }}", ""))).file("rows.csv", ROWS);
        refused(&project).says("column `x` is \"abc\", not an integer");
    }
}

#[test]
fn what_only_passes_the_column_on_does_not_read_it() {
    let other = "[sources.other]\ntype = \"file\"\npath = \"other.csv\"\n";
    let output = "[outputs.o]\ninput = \"s\"\npath = \"o.jsonl\"\n";
    for more in [
        stage("{{ row['a name'] }}", ""),
        stage("{{ t }}", "when = \"row['a name'] != 'z'\""),
        "[outputs.o]\ninput = \"rows\"\npath = \"o.jsonl\"\n".to_owned(),
        "[outputs.o]\ninput = \"rows\"\npath = \"o.jsonl\"\ndrop = [\"a name\"]\n".to_owned(),
        format!("[stages.s]\ntype = \"filter\"\ninput = \"rows\"\nwhen = \"t != 'z'\"\n{output}"),
        format!("{other}[stages.s]\ntype = \"join\"\ninput = \"rows\"\nwith = \"other\"\non = [\"t\"]\n{output}"),
    ] {
        let project = project(&more).file("other.csv", "t,z\none,v\ntwo,v\nthree,v\n");
        passes(&project, "rows: warning: 1 cell of `x`, which nothing reads, is null");
    }
    // A column that `columns` leaves out is not in the table.
    let project = Project::new()
        .spec(
            &spec("rows.csv", "columns = [\"id\", \"t\"]", &stage("{{ t }}", ""))
                .replace("types = { x = \"integer\" }", ""),
        )
        .file("rows.csv", ROWS);
    let ran = project.run(&["run", "pipeline.toml"]).exits(0);
    assert!(!ran.stderr.contains("which nothing reads"), "{}", ran.stderr);
}
