//! Findings: the main statistics of a method in words, and tests of them.

use crate::project::Project;

/// The codes of four observers for twelve units, from Krippendorff's book on content analysis.
const CODES: &str = "unit,a,b,c,d\n1,1,1,,1\n2,2,2,3,2\n3,3,3,3,3\n4,3,3,3,3\n5,2,2,2,2\n6,1,2,3,4\n7,4,4,4,4\n8,1,1,2,1\n\
                     9,2,2,2,2\n10,,5,5,5\n11,,,1,1\n12,,3,,\n";

const SPEC: &str = r#"name = "irr"
sources.codes = { type = "file", path = "codes.csv", key = "unit" }

[stages.irr]
type = "agreement"
input = "codes"
coders = ["a", "b", "c", "d"]
statistics = ["krippendorff_alpha"]

[outputs.irr]
input = "irr"
path = "irr.csv"

[[tests]]
name = "reliable"
input = "irr"
type = "statistic"
where = { statistic = "krippendorff_alpha" }
minimum = 0.7

[[tests]]
name = "surely reliable"
input = "irr"
type = "statistic"
where = { statistic = "krippendorff_alpha" }
minimum = 0.7
of = "ci_low"
"#;

#[test]
fn a_run_ends_with_a_sentence_for_a_text() {
    let project = Project::new().spec(SPEC).file("codes.csv", CODES);
    let words = "Krippendorff's alpha 0.74 (95 % CI ";
    for _ in 0..2 {
        let ran = project.run(&["run", "pipeline.toml"]).exits(0);
        let line = ran.stderr.lines().find(|line| line.starts_with(&format!("irr: {words}")));
        assert!(
            line.is_some_and(|line| line.ends_with(" 11 units, 4 coders); 1 unit has fewer than two codes")),
            "{}",
            ran.stderr
        );
    }
    let json = project.run(&["run", "pipeline.toml", "--format", "json"]).exits(0).json();
    assert!(json["findings"]["irr"][0].as_str().is_some_and(|line| line.starts_with(words)), "{json}");
    project.run(&["show", "pipeline.toml", "irr"]).exits(0).says(words);
    let tested = project.run(&["test", "pipeline.toml"]).exits(1);
    assert!(tested.stdout.contains("0.7434 (95 % CI "), "{}", tested.stdout);
    assert!(tested.stdout.contains("(estimate 0.7434, "), "{}", tested.stdout);
}
