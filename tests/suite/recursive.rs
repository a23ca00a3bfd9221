//! Recursive stages: programs of a scripted root model ask a sub model; whole runs, kills, bounds and failures.

use std::time::{Duration, Instant};

use crate::project::Project;
use crate::server::{Asked, Say, Server};

const RUN: [&str; 2] = ["run", "pipeline.toml"];
const OUT: &str = "out/answer.parquet";
const ROUNDS: &str = "out/rounds.parquet";
/// An answer is on disk at the latest so long after it was sent.
const ON_DISK: Duration = Duration::from_millis(250);

/// A stage `answer` with these lines about the texts in `data.csv`, its table and its rounds.
fn spec(stage: &str) -> String {
    format!(
        r#"name = "recursive"
seed = 42
[models.strong]
provider = "ollama"
model = "llama3.2"
num_ctx = 8192
[models.cheap]
provider = "ollama"
model = "mistral"
num_ctx = 4096
[sources.texts]
type = "file"
path = "data.csv"
key = "id"
[stages.answer]
type = "recursive"
input = "texts"
root = "strong"
sub = "cheap"
prompt = "What is in {{{{ id }}}}?"
{stage}
[outputs.answer]
input = "answer"
path = "{OUT}"
[outputs.rounds]
input = "answer.trajectory"
path = "{ROUNDS}"
"#
    )
}

const TEXTS: [[&str; 2]; 3] = [
    ["id", "text"],
    ["a", "one wolf\ntwo owls\nthree wolves\nfour cats"],
    ["b", "a wolf, an owl\nno cat\nowls and wolves"],
];

/// The replies of the root model, one for each round: these programs.
fn scripted(programs: &'static [&'static str]) -> impl Fn(&Asked, usize) -> Say + Send + Sync {
    move |asked, _| {
        if asked.model.starts_with("mistral") {
            // The sub model: how often the prompt has a wolf, and its last word.
            let (wolves, last) = (asked.question().matches("wol").count(), asked.question().split_whitespace().last());
            return Say::Text(format!("{wolves} {}", last.unwrap_or_default()));
        }
        let round = asked.messages.iter().filter(|(role, _)| role == "assistant").count();
        match programs.get(round) {
            Some(program) => Say::Text(format!("I look.\n\n```starlark\n{program}\n```")),
            None => Say::Text("I have no more programs.".to_owned()),
        }
    }
}

fn project(server: &Server, stage: &str) -> Project {
    Project::new().env("OLLAMA_HOST", &server.url()).spec(&spec(stage)).csv("data.csv", &TEXTS)
}

/// Questions about each chunk of a list.
const PARALLEL: &[&str] = &[
    "lines = context.split('\\n')\nfound = parallel_query('Animals in: {chunk}', lines)\nprint(found)",
    "final('; '.join(found))",
];
/// Questions about each chunk, and one about the answers.
const MAP_REDUCE: &[&str] = &[
    "parts = parallel_query('Count: {chunk}', context.splitlines())\nfinal(llm_query('Add up:\\n' + '\\n'.join(parts)))",
];
/// A stage picks the chunks of the next one.
const STAGES: &[&str] = &[
    "lines = context.splitlines()\nlabels = parallel_query('Wolf? {chunk}', lines)\nprint(labels)",
    "wolves = [line for line, label in zip(lines, labels) if not label.startswith('0')]\ndetails = parallel_query('Details: {chunk}', wolves)\nprint(len(wolves))",
    "final(llm_query('Report on ' + ', '.join(details)))",
];
/// Overlapping chunks of characters, and a search.
const CHUNKS: &[&str] = &[
    "size, step = 20, 15\nchunks = [context[i:i + size] for i in range(0, len(context), step)]\nprint(len(chunks), search('wol(f|ves)'))",
    "answers = parallel_query('In: {chunk}', chunks)\nfinal('|'.join([a for a in answers if not is_error(a)]))",
];

const BY_TEXT: &str = "context = \"text\"\nmax_parallel_calls = 2\nworkers = 2\nbatch_size = 1";

/// Runs undisturbed, then kills a run after each number of answers and resumes it: the tables are equal, and no answered
/// call is paid for twice.
fn survives_kills(programs: &'static [&'static str], answer: &str) {
    let server = Server::new().script(scripted(programs)).start();
    let whole = project(&server, BY_TEXT);
    whole.run(&RUN).exits(0);
    assert_eq!(whole.table(OUT).texts("answer")[0], answer);
    let (expected, rounds, answers) = (whole.bytes(OUT), whole.bytes(ROUNDS), server.answered());
    for killed_after in 1..answers {
        let server = Server::new().latency_ms(15).script(scripted(programs)).start();
        let project = project(&server, BY_TEXT);
        let running = project.spawn(&RUN);
        assert!(server.wait_answered(killed_after), "killed after {killed_after}: it never came so far");
        let moment = Instant::now();
        running.kill();
        project.run(&RUN).exits(0);
        assert!(project.bytes(OUT) == expected, "killed after {killed_after}: the table differs");
        assert!(project.bytes(ROUNDS) == rounds, "killed after {killed_after}: the rounds differ");
        let twice = server.paid_twice(moment - ON_DISK);
        assert!(twice.is_empty(), "killed after {killed_after}: paid twice: {twice:?}");
    }
}

#[test]
fn simple_parallel_questions_survive_a_kill_after_each_answer() {
    survives_kills(PARALLEL, "1 wolf; 0 owls; 1 wolves; 0 cats");
}

#[test]
fn map_and_reduce_survive_a_kill_after_each_answer() {
    survives_kills(MAP_REDUCE, "2 cats");
}

#[test]
fn several_stages_survive_a_kill_after_each_answer() {
    survives_kills(STAGES, "2 wolves");
}

#[test]
fn overlapping_chunks_survive_a_kill_after_each_answer() {
    survives_kills(CHUNKS, "1 th|1 four|0 cats");
}

#[test]
fn the_context_is_in_no_prompt_of_the_root_model_and_the_rounds_are_a_table() {
    let server = Server::new().script(scripted(PARALLEL)).start();
    let project = project(&server, BY_TEXT);
    let plan = project.run(&["plan", "pipeline.toml"]).exits(0).stdout;
    assert!(plan.contains("asked of strong, which calls cheap") && plan.contains("2 to 220 calls"), "{plan}");
    project.run(&RUN).exits(0);
    let asked = server.asked();
    let first = asked.iter().find(|asked| asked.model.starts_with("llama3.2")).expect("the root model is asked");
    assert!(first.question().contains("What is in"), "{}", first.question());
    assert!(first.question().contains("The context is a text of"), "{}", first.question());
    assert!(!first.question().contains("wolf"), "the context is in the prompt: {}", first.question());
    let table = project.table(OUT);
    assert_eq!((table.ints("answer_rounds"), table.ints("answer_calls")), (vec![Some(2); 2], vec![Some(4), Some(3)]));
    let rounds = project.table(ROUNDS);
    assert_eq!(rounds.texts("id"), ["a", "a", "b", "b"]);
    assert_eq!(rounds.ints("round"), [1, 2, 1, 2].map(Some));
    assert_eq!(rounds.texts("outcome"), ["continued", "final", "continued", "final"]);
    assert_eq!(rounds.ints("calls"), [4, 0, 3, 0].map(Some));
    assert!(rounds.texts("printed")[0].contains("1 wolf"), "{:?}", rounds.texts("printed"));
    assert!(rounds.ints("sub_prompt_tokens")[0] > Some(0) && rounds.ints("root_completion_tokens")[1] > Some(0));
    let calls = project.calls();
    let cheap = calls.texts("model").iter().filter(|model| *model == "cheap").count();
    assert_eq!((calls.len(), cheap), (11, 7), "both models are in the calls table");
    let explained = project.run(&["explain", "pipeline.toml", "a", "--output", "answer"]).exits(0).stdout;
    for words in ["answer_trajectory", "Animals in: two owls", "cheap", "strong"] {
        assert!(explained.contains(words), "{words}: {explained}");
    }
    project.run(&RUN).exits(0).says("0 calls sent");
    assert_eq!(server.requests(), 11, "nothing is asked again");
}

#[test]
fn the_rows_of_a_group_are_a_context_and_the_answer_has_types() {
    const GROUP: &[&str] = &[
        "print(len(context), context[0]['id'], search('wolves'))\nfinal({'wolves': 'many', 'where': context[0]['id']})",
        "final({'wolves': len(search('wol')), 'where': context[0]['id']})",
    ];
    let server = Server::new().script(scripted(GROUP)).start();
    let typed =
        "[stages.answer.output]\nwolves = { type = \"integer\" }\nwhere = { type = \"string\", enum = [\"a\", \"b\"] }";
    let project = project(&server, &format!("columns = [\"id\", \"text\"]\ncontext_head = 30\n{typed}"));
    let text = project.text("pipeline.toml").replace("{{ id }}", "the texts");
    let project = project.spec(&text);
    project.run(&RUN).exits(0);
    let table = project.table(OUT);
    assert_eq!((table.ints("wolves"), table.texts("where")), (vec![Some(4)], vec!["a".to_owned()]));
    assert_eq!((table.ints("answer_rows"), table.ints("answer_rounds")), (vec![Some(2)], vec![Some(2)]));
    let first = server.asked()[0].question().to_owned();
    assert!(first.contains("a list of 2 rows with the keys id, text. It begins with:\n\n{\"id\":\"a\""), "{first}");
    assert_eq!(project.table(ROUNDS).texts("outcome"), ["refused", "final"]);
}

#[test]
fn a_failed_call_is_a_value_and_a_replay_repeats_it() {
    const TESTED: &[&str] = &[
        "found = parallel_query('{chunk}', context.splitlines())\nfinal(str([f.kind if is_error(f) else 'ok' for f in found]))",
    ];
    let script = |asked: &Asked, attempt: usize| match asked.question() == "two owls" {
        true => Say::status(400),
        false => scripted(TESTED)(asked, attempt),
    };
    let server = Server::new().script(script).start();
    let project = project(&server, BY_TEXT);
    project.run(&RUN).exits(0);
    assert_eq!(project.table(OUT).texts("answer")[0], "[\"ok\", \"rejected\", \"ok\", \"ok\"]");
    assert_eq!(project.table(ROUNDS).ints("failed_calls"), [Some(1), Some(0)]);
    let (answers, rounds, asked) = (project.bytes(OUT), project.bytes(ROUNDS), server.requests());
    project.run(&["ledger", "export", "pipeline.toml", "-o", "calls.parquet"]).exits(0);
    std::fs::remove_dir_all(project.path(".fanfold")).expect("the project has been run");
    project.run(&["run", "pipeline.toml", "--replay", "calls.parquet"]).exits(0).says("0 calls sent");
    assert!(project.bytes(OUT) == answers && project.bytes(ROUNDS) == rounds, "the tables of the replay differ");
    assert_eq!(server.requests(), asked, "requests during the replay");
}

#[test]
fn hostile_programs_end_in_an_error_cell_that_names_the_bound() {
    let cases: [(&'static [&'static str], &str); 6] = [
        (&["for i in range(1000000000000): pass"], "max_steps"),
        (&["x = 'a' * 10000000000"], "max_memory_mb"),
        (&["x = [[0] * 1000 for i in range(1000000000)]"], "max_memory_mb"),
        (&["parallel_query('{chunk}', list(range(10000)))"], "max_calls"),
        (&["llm_query('x' * 200000)"], "max_prompt_chars"),
        (&["def f(n): return f(n + 1)\nf(0)", "print(\"final('fake')\")", "((((("], "max_rounds"),
    ];
    for (programs, field) in cases {
        let server = Server::new().script(scripted(programs)).start();
        let project = project(&server, &format!("{BY_TEXT}\nmax_steps = 1000000\nmax_memory_mb = 16\nmax_rounds = 3"));
        project.run_within(400 << 10, &RUN).exits(1);
        let table = project.table(OUT);
        let errors = table.texts("answer_error");
        assert!(
            errors.iter().all(|error| error.starts_with("program: ") && error.ends_with(&format!("raise `{field}`"))),
            "{errors:?}"
        );
        assert_eq!(table.strings("answer"), [None, None]);
        assert_eq!(server.requests_of("mistral"), 0, "{field}: nothing is asked of the sub model");
    }
}

#[test]
fn one_root_and_what_a_recursive_stage_lacks_are_refused_with_the_way_out() {
    let refused = |stage: &str, words: &[&str]| {
        let project = Project::new().spec(&spec(stage)).csv("data.csv", &TEXTS);
        let ran = project.run(&["validate", "pipeline.toml"]).exits(2);
        let said = format!("{}{}", ran.stdout, ran.stderr);
        words.iter().for_each(|words| assert!(said.contains(words), "{words}: {said}"));
    };
    refused(
        "models = [\"strong\", \"cheap\"]",
        &["names its models as `root` and `sub`, one each", "leave `models` out"],
    );
    refused("context = \"text\"\nfanout = true", &["`fanout` is for several models, and `root` is one"]);
    refused("context = \"text\"\nrows_per_prompt = 4", &["several rows can't share a prompt"]);
    refused("context = \"text\"\ngroup_by = [\"id\"]", &["`group_by` is for rows as the context"]);
    refused("context = \"txt\"", &["no column `txt`"]);
    refused("context = \"text\"\nmax_rounds = 0", &["`max_rounds` must be from 1 to 100"]);
    let unknown = spec("context = \"text\"").replace("sub = \"cheap\"", "sub = \"chaep\"");
    let ran = Project::new().spec(&unknown).csv("data.csv", &TEXTS).run(&["validate", "pipeline.toml"]).exits(2);
    let said = format!("{}{}", ran.stdout, ran.stderr);
    assert!(said.contains("did you mean `cheap`?") && said.contains("sub = \"chaep\""), "{said}");
}
