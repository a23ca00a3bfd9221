//! R: the functions of `docs/r/fanfold.R`, with the R of this machine. Debian has it in the packages `r-base-core` and
//! `r-cran-jsonlite`.
//!
//! Without R or jsonlite the tests are skipped, loudly.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::book::{block, blocks};
use crate::venv::skipped;

const FUNCTIONS: &str = include_str!("../../docs/r/fanfold.R");

fn has_r(test: &str) -> bool {
    let found = Command::new("Rscript").args(["-e", "library(jsonlite)"]).stdin(Stdio::null()).output();
    let is_there = found.is_ok_and(|output| output.status.success());
    if !is_there {
        skipped(test, "no R with jsonlite: apt-get install r-base-core r-cran-jsonlite");
    }
    is_there
}

/// What a script prints that runs in `folder` with `fanfold.R` in it.
fn run(folder: &Path, script: &str) -> String {
    fs::write(folder.join("fanfold.R"), FUNCTIONS).expect("a file");
    fs::write(folder.join("script.R"), script).expect("a file");
    let mut command = Command::new("Rscript");
    command.arg("script.R").current_dir(folder).env("FANFOLD_PROGRAM", env!("CARGO_BIN_EXE_fanfold"));
    let output = command.env("LC_ALL", "C.UTF-8").stdin(Stdio::null()).output().expect("R starts");
    let [stdout, stderr] = [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned());
    assert!(output.status.success(), "{stdout}{stderr}");
    stdout
}

#[test]
fn data_frames_go_in_and_come_out() {
    if !has_r("data_frames_go_in_and_come_out") {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    assert_eq!(run(folder.path(), include_str!("../../docs/r/test.R")), "all tests of fanfold.R pass\n");
}

#[test]
fn the_page_about_r_is_correct() {
    if !has_r("the_page_about_r_is_correct") {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let spec = block("docs/src/python.md", "## How do I label", "toml");
    fs::write(folder.path().join("study.toml"), spec).expect("a file");
    // The last block needs the rows of the study.
    let rows = "write.csv(speeches, 'speeches.csv', row.names = FALSE)\n";
    let code = blocks("docs/src/r.md", "r").join(rows);
    let printed = run(folder.path(), &code);
    assert_eq!(crate::wheel::undated(&printed), crate::wheel::undated(&blocks("docs/src/r.md", "text").concat()));
}
