//! The README and the book are correct: their example is the shipped one, and their output blocks are what the program
//! prints.

use std::path::{Path, PathBuf};

use crate::pipelines::json_of;
use crate::project::Project;
use crate::venv::skipped;
use crate::weights;

mod fields;
mod links;
mod markdown;
mod reference;
mod walk;

const EXAMPLE: &str = "docs/src/example.md";
const SHARE: &str = "docs/src/share.md";
const SURVEYS: &str = "docs/src/surveys.md";
/// Pages of the reference that other tests generate.
const GENERATED: &[&str] = &["/reference/spec/", "/reference/commands.md", "/reference/messages.md"];
const QUICKSTART: &str = include_str!("../../pipelines/quickstart.toml");
const PARAGRAPHS: &str = include_str!("../../pipelines/data/paragraphs.csv");

/// The text of a file of the project, such as a page of the book.
#[track_caller]
pub(crate) fn page(path: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap_or_else(|e| panic!("{path}: {e}"))
}

/// The README and the pages of the book, by their paths in the project.
pub(crate) fn pages() -> Vec<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let files = markdown_files(&root.join("docs/src"));
    let below = files.iter().map(|path| path.strip_prefix(root).expect("below the project").display().to_string());
    std::iter::once("README.md".to_owned()).chain(below).collect()
}

/// The Markdown files of a folder, in the order of their names.
fn markdown_files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for path in std::fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path()) {
        if path.is_dir() {
            found.extend(markdown_files(&path));
        } else if path.extension().is_some_and(|extension| extension == "md") {
            found.push(path);
        }
    }
    found.sort();
    found
}

/// The code block of `language` that follows `mark` on a page.
#[track_caller]
pub(crate) fn block(path: &str, mark: &str, language: &str) -> String {
    let page = page(path);
    let rest = &page[page.find(mark).unwrap_or_else(|| panic!("{path} has no `{mark}`"))..];
    let open = format!("```{language}\n");
    let start = rest.find(&open).expect("a code block") + open.len();
    let end = rest[start..].find("```").expect("the end of the block");
    rest[start..start + end].to_owned()
}

/// All code blocks of `language` on a page, in order.
#[track_caller]
pub(crate) fn blocks(path: &str, language: &str) -> Vec<String> {
    let open = format!("```{language}\n");
    let page = page(path);
    page.split(&open).skip(1).filter_map(|rest| Some(rest.split_once("```")?.0.to_owned())).collect()
}

/// The text without the parts that differ between runs and machines: the hash of the run, the time, and everything that
/// depends on the words of a model (the length of its answers, the cells of the preview).
fn lasting(text: &str) -> Vec<String> {
    let lines = text.lines().map(str::trim_end).filter(|line| !line.is_empty());
    lines
        .map(|line| match (line.split_once(".fanfold/runs/quickstart-"), line.split_once(" tokens in, ")) {
            (Some((before, after)), _) => {
                let before = before.split_once(", calls table").map_or(before, |(_, rest)| rest);
                format!("{before}..{}", &after[12..])
            }
            (None, Some((before, _))) => format!("{before} tokens in, .. out"),
            _ if line.ends_with(" calls/s") || line.ends_with(" s/call") => "time".to_owned(),
            _ if line.contains(" %, 95 % sampling interval ") => {
                line.split(|c: char| c.is_ascii_digit()).next().unwrap_or_default().trim_end().to_owned()
            }
            _ if line.ends_with(" (40 texts)") => line.split_whitespace().next().unwrap_or_default().to_owned(),
            // The preview has the same rows and columns, but their width depends on the cells.
            _ if line.starts_with("id ") => line.split_whitespace().collect::<Vec<_>>().join(" "),
            _ if line.starts_with("p0") => line[..3].to_owned(),
            _ => line.to_owned(),
        })
        .collect()
}

fn project() -> Project {
    Project::new().file("pipelines/quickstart.toml", QUICKSTART).file("pipelines/data/paragraphs.csv", PARAGRAPHS)
}

#[test]
fn the_example_is_the_shipped_one() {
    let shown = block("README.md", "## One example, whole", "toml");
    assert_eq!(json_of("shown.toml", &shown), json_of("quickstart.toml", QUICKSTART));
}

#[test]
fn the_output_is_what_is_printed() {
    let project = project();
    let shown = block(EXAMPLE, "<!-- output of: fanfold plan", "text");
    let plan = project.run(&["plan", "pipelines/quickstart.toml"]).exits(0);
    assert_eq!(lasting(&shown), lasting(&plan.stdout));
    let Some(project) = weights::or_skip("the_output_is_what_is_printed", project) else { return };
    let shown = block(EXAMPLE, "<!-- output of: fanfold run", "text");
    let ran = project.run(&["run", "pipelines/quickstart.toml"]).exits(0);
    // A slow machine also prints lines about the progress and about what the model waits for.
    let progress =
        |line: &&str| line.contains("/40 calls") || line.starts_with("small: ") || line.starts_with("disk: ");
    let printed: Vec<&str> = ran.stderr.lines().filter(|line| !progress(line)).collect();
    assert_eq!(lasting(&shown), lasting(&printed.join("\n")));
    let again = project.run(&["run", "pipelines/quickstart.toml"]).exits(0);
    assert!(again.stderr.contains("0 calls sent, 40 rows kept from before"), "{}", again.stderr);
    let verify = ["verify", "pipelines/quickstart.toml", "--models"];
    assert_eq!(project.run(&verify).exits(0).stdout, block(SHARE, "<!-- output of: fanfold verify pipelines", "text"));
    let changed = QUICKSTART.replace("What is this passage of a speech about?", "What is this passage about?");
    project.write("pipelines/quickstart.toml", changed);
    assert_eq!(
        project.run(&verify).exits(5).stdout,
        block(SHARE, "<!-- output of: fanfold verify, another prompt", "text")
    );
    let status = project.run(&["status", "pipelines/quickstart.toml"]).exits(0).stdout;
    assert_eq!(status, block(SHARE, "<!-- output of: fanfold status, another prompt", "text"));
}

#[test]
fn the_diff_is_what_is_printed() {
    if !cfg!(feature = "embedded") {
        return skipped("the_diff_is_what_is_printed", "this build has no built-in models");
    }
    let replay = Path::new(env!("CARGO_MANIFEST_DIR")).join("pipelines/replay/quickstart.parquet");
    let chance = QUICKSTART.replace("provider = \"embedded\"", "provider = \"mock\"");
    let project = project().file("replay.parquet", std::fs::read(replay).expect("the file"));
    project.write("pipelines/chance.toml", chance);
    project.run(&["run", "pipelines/quickstart.toml", "--replay", "replay.parquet"]).exits(0);
    project.run(&["run", "pipelines/chance.toml"]).exits(0);
    let diff = project.run(&["diff", "pipelines/quickstart.toml", "pipelines/chance.toml", "--examples", "2"]).exits(1);
    assert_eq!(diff.stdout, block("docs/src/compare.md", "<!-- output of: fanfold diff", "text"));
}

#[test]
fn the_populations_are_valid() {
    let (people, voters) =
        (block(SURVEYS, "## Generated respondents", "toml"), block(SURVEYS, "iterative proportional fitting", "toml"));
    let project = Project::new().spec(&format!("{people}\n{voters}"));
    project.write("data/regions.csv", "region,count\nnorth,300\nsouth,700\n");
    project.write("data/sample.csv", "age,region,count\nyoung,north,9\nyoung,south,12\nold,north,8\nold,south,20\n");
    let shown = project.run(&["population", "pipeline.toml"]).exits(0);
    assert_eq!(shown.stderr, "");
    assert!(shown.stdout.contains("source voters: 1,000 rows, raked"), "{}", shown.stdout);
}

#[test]
fn the_tutorial_has_no_hidden_step() {
    let pieces = markdown::Page::of(&page("docs/src/first-table.md")).into_pieces();
    let mut commands = 0;
    for piece in pieces {
        match piece {
            markdown::Piece::Comment(text) => {
                let seen = ["file ", "in ", "answers vary", "weights"];
                assert!(!text.contains('\n') && seen.iter().any(|word| text.starts_with(word)), "{text}");
            }
            markdown::Piece::Code { language, text, .. } if language == "sh" => commands += text.lines().count(),
            markdown::Piece::Code { .. } => {}
        }
    }
    assert!(commands > 9, "{commands} commands");
}

#[test]
fn the_pages_do_what_they_say() {
    let walked =
        pages().into_iter().filter(|path| path != "README.md" && !GENERATED.iter().any(|at| path.contains(at)));
    let problems: Vec<String> = walked.flat_map(|path| walk::follow(&path)).collect();
    let renew = "after a change of the program, INSTA_UPDATE=always writes what is printed into the pages";
    assert!(problems.is_empty(), "{}\n{renew}", problems.join("\n"));
}
