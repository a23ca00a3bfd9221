//! Runs whose settings, faults and interruptions are drawn at random: batches, budgets, lanes, retries and kills.
//!
//! Whatever is drawn, some more runs end with the table of an undisturbed run, no good answer is asked for twice, and no
//! run sends more than its budget. `FANFOLD_CHANCES=0..300 cargo test --test suite -- chances` draws three hundred.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::ops::Range;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::batches::{OUT, RUN, project, row, spec};
use crate::project::Project;
use crate::server::{Asked, Course, Dialect, Job, Say, Server, hash};

/// The runs with interruptions and budgets, and those after them.
const DISTURBED: u64 = 8;
const CALM: usize = 6;
/// A run that takes longer hangs.
const DEADLINE: Duration = Duration::from_secs(240);

/// The stages of a spec.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Work {
    Analysis,
    /// A further stage asks about the answers.
    Two,
    /// Two models, of which one is never asked in batches.
    FanOut,
    /// A further stage joins the answers of each year.
    Reduce,
    /// Three questions, each with the earlier answers.
    Survey,
}

/// The settings of a further stage.
const STAGE: &str = "models = [\"one\"]\nworkers = 2\nbatch_size = 1\nmax_attempts = 6\n";

/// Whether any text is an answer.
fn is_text(asked: &Asked) -> bool {
    asked.question().starts_with("Why ")
}

/// What was asked, without what was said about earlier replies.
fn asked_for(asked: &Asked) -> String {
    let first = asked.messages.iter().position(|(role, _)| role == "user").unwrap_or(0);
    let said: Vec<&str> = asked.messages[..=first].iter().map(|(_, text)| text.as_str()).collect();
    format!("{} {said:?} {}", asked.model, asked.schema.clone().unwrap_or_default())
}

/// What is drawn.
#[derive(Clone, Debug)]
struct Draw {
    number: u64,
    dialect: Dialect,
    rows: u64,
    /// How many texts the rows have, one after another.
    different: u64,
    lanes: u64,
    pack: u64,
    batched_retries: bool,
    /// The shares of rows, in percent, whose first reply does not fit, and whose first or second request fails.
    bad: u64,
    fails: u64,
    refuses_form: bool,
    work: Work,
    chunk: u64,
    is_model_major: bool,
    /// Whether batches are cancelled. Then workers would pay what the batches have answered again.
    cancels: bool,
    /// The share of direct requests that are refused or cut off.
    rough: u64,
    latency_ms: u64,
    batch_ms: u64,
    /// One batch in this many is lost when it is made, has a page of HTML first, or misses calls.
    faulty: u64,
}

/// What a number decides. The same for each place in the same draw.
struct Dice(u64, u64);

impl Dice {
    fn below(&mut self, most: u64) -> u64 {
        self.1 += 1;
        hash(&[&self.0.to_string(), &self.1.to_string()]) % most
    }

    fn of(&mut self, choices: &[u64]) -> u64 {
        choices[self.below(choices.len() as u64) as usize]
    }
}

impl Draw {
    fn new(number: u64) -> (Draw, Dice) {
        let mut dice = Dice(number, 0);
        let dialect = [Dialect::OpenAi, Dialect::Anthropic, Dialect::Gemini][dice.below(3) as usize];
        // The schemas of the other dialects have no bounds.
        let all = [Work::Analysis, Work::Two, Work::FanOut, Work::Reduce, Work::Survey];
        let work = all[dice.below(if dialect == Dialect::OpenAi { 5 } else { 2 }) as usize];
        let is_plain = matches!(work, Work::Analysis | Work::Two);
        let pack = if dialect == Dialect::OpenAi && is_plain { dice.of(&[1, 1, 3]) } else { 1 };
        let draw = Draw {
            number,
            dialect,
            rows: dice.of(&[7, 20, 45]),
            different: dice.of(&[1000, 1000, 5]),
            lanes: dice.of(&[1, 3, 8]),
            pack,
            batched_retries: dice.below(2) == 0,
            // A pack that does not fit is divided, and other prompts have other answers.
            bad: if pack > 1 { 0 } else { dice.of(&[0, 20, 95]) },
            fails: dice.of(&[0, 20, 95]),
            refuses_form: dialect == Dialect::OpenAi && pack == 1 && is_plain && dice.below(3) == 0,
            work,
            chunk: dice.of(&[4, 16]),
            is_model_major: dice.below(3) == 0,
            cancels: dice.below(2) == 0,
            rough: dice.of(&[0, 0, 15]),
            latency_ms: dice.of(&[0, 50, 300]),
            batch_ms: dice.of(&[0, 300, 1_500]),
            faulty: dice.of(&[1000, 2, 4]),
        };
        (draw, dice)
    }

    fn is_in(&self, share: u64, asked: &Asked, what: &str) -> bool {
        hash(&[what, &asked_for(asked), &self.number.to_string()]) % 100 < share
    }

    /// `tries` counts the requests for each answer whose form was not refused.
    fn say(&self, asked: &Asked, tries: &Mutex<BTreeMap<String, usize>>) -> Say {
        if self.refuses_form && asked.body.pointer("/response_format/json_schema").is_some() {
            let message = "response_format json_schema is not supported";
            let body = json!({"error": {"message": message, "type": "invalid_request_error"}}).to_string();
            return Say::Status { code: 400, retry_after: None, body };
        }
        let chance = hash(&["rough", &asked.number.to_string(), &self.number.to_string()]);
        if asked.header("x-batch").is_none() && chance % 100 < self.rough {
            return match chance / 100 % 3 {
                0 => Say::rate_limited("0"),
                1 => Say::status(503),
                _ => Say::Reset,
            };
        }
        let mut tries = tries.lock().expect("no panic while locked");
        let number = tries.entry(asked_for(asked)).or_default();
        *number += 1;
        let is_bad = self.is_in(self.bad, asked, "bad") && !is_text(asked);
        match (self.is_in(self.fails, asked, "fails"), is_bad, *number) {
            (true, _, 1) => Say::status(500),
            (true, true, 2) | (false, true, 1) => Say::Text("none".to_owned()),
            _ => self.answer(asked),
        }
    }

    fn answer(&self, asked: &Asked) -> Say {
        if self.pack > 1 || is_text(asked) || !matches!(self.work, Work::Analysis | Work::Two) {
            return Say::Default;
        }
        let label = ["positive", "neutral", "negative"][row(asked) % 3];
        Say::Json(json!({"label": label, "score": row(asked) % 11}))
    }

    fn course(&self, number: usize) -> Course {
        let course = Course::after(self.batch_ms);
        match hash(&["course", &number.to_string(), &self.number.to_string()]) % self.faulty {
            0 if number.is_multiple_of(3) => Course { is_lost: true, ..course },
            0 if number % 3 == 1 => Course { pages: 1, ..course },
            0 => Course { misses: |place| place % 3 == 1, ..course },
            _ => course,
        }
    }

    /// The spec of a run with batches or without, and with a budget or without.
    fn spec(&self, batch: bool, budget: Option<&str>) -> String {
        let retries = if self.batched_retries { "batched" } else { "direct" };
        let batch = if batch { format!("batch = true\nbatch_retries = \"{retries}\"") } else { String::new() };
        let mut text = spec(self.dialect, &batch);
        let order = if self.is_model_major { "order = \"model-major\"\n" } else { "" };
        let lanes = format!("workers = {}\nbatch_size = 1\nmax_attempts = 6", self.lanes);
        let mut stage = format!("{order}{lanes}\nchunk_size = {}", self.chunk);
        if self.pack > 1 {
            stage = format!("rows_per_prompt = {}\n{stage}", self.pack);
        }
        text = text.replacen("chunk_size = 16", &stage, 1);
        match self.work {
            Work::Analysis => {}
            Work::Two => {
                text = text.replacen("input = \"tone\"\npath", "input = \"why\"\npath", 1)
                    + &format!(
                        "\n[stages.why]\ntype = \"analysis\"\ninput = \"tone\"\nprompt = \"Why {{{{ label }}}}? {{{{ text }}}}\"\n{STAGE}"
                    );
            }
            Work::FanOut => {
                text = text.replacen("models = [\"one\"]", "models = [\"one\", \"two\"]\nfanout = true", 1)
                    + "\n[providers.direct]\ntype = \"openai\"\nbase_url_env = \"LAB_URL\"\n"
                    + "\n[models.two]\nprovider = \"direct\"\nmodel = \"tiny\"\nmax_tokens = 64\n";
            }
            Work::Reduce => {
                text = text.replacen("input = \"tone\"\npath", "input = \"why\"\npath", 1)
                    + &format!(
                        "\n[stages.why]\ntype = \"reduce\"\ninput = \"tone\"\ngroup_by = [\"year\"]\nprompt = \"Why {{{{ year }}}}?{{% for row in rows %}} {{{{ row.label }}}}{{% endfor %}}\"\n{STAGE}"
                    );
            }
            Work::Survey => {
                let end = text.find("[stages.tone]").expect("the stage");
                let questions = "[stages.tone.questions]\n\"Are you content?\" = [\"Yes\", \"No\"]\n\"And at work?\" = [\"Often\", \"Rarely\", \"Never\"]\n\"And on Sundays?\" = [\"Very\", \"Somewhat\"]\n";
                text.truncate(end);
                text += &format!(
                    "[stages.tone]\ntype = \"survey\"\ninput = \"speeches\"\nmodels = [\"one\"]\npersona = \"You said: {{{{ text }}}}\"\nmemory = true\n{stage}\n{questions}"
                );
            }
        }
        if let Some(budget) = budget {
            text = text.replacen("\n", &format!("\nbudget = {{ {budget} }}\n"), 1);
        }
        text
    }

    fn server(&self) -> Server {
        let (draw, other) = (self.clone(), self.clone());
        let tries = Mutex::default();
        let script = move |asked: &Asked, _: usize| {
            let say = draw.say(asked, &tries);
            match asked.header("x-batch").is_some() {
                true => say,
                false => Say::Late(draw.latency_ms, Box::new(say)),
            }
        };
        Server::new()
            .models(&["small", "tiny"])
            .script(script)
            .batches(move |_: &Job, number| other.course(number))
            .start()
    }

    fn project(&self, server: &Server) -> Project {
        let project = project(server, &self.spec(false, None), 0);
        let mut rows = String::from("id,year,text\n");
        for row in 0..self.rows {
            writeln!(rows, "s{row:04},{},\"Speech {}, on trade and peace.\"", 1790 + row / 3, row % self.different)
                .expect("a string");
        }
        project.write("data.csv", rows);
        project
    }

    fn expected(&self) -> Vec<u8> {
        let draw = self.clone();
        let server = Server::new().models(&["small", "tiny"]).script(move |asked, _| draw.answer(asked)).start();
        let project = self.project(&server);
        project.run(&RUN).exits(0);
        project.bytes(OUT)
    }
}

/// The calls that were sent, without those that a batch turned out to lack.
fn sent(server: &Server) -> usize {
    let calls = |job: &Job| if job.is_fetched { job.answered().count() } else { job.calls.len() };
    server.jobs().iter().map(calls).sum::<usize>() + server.direct()
}

/// What has been done in a draw, for its failure.
struct Log(String);

impl Log {
    fn add(&mut self, line: &str) {
        self.0 += line;
        self.0.push('\n');
    }
}

/// One run, perhaps interrupted. Returns whether it was killed.
fn disturbed(draw: &Draw, dice: &mut Dice, (server, project): (&Server, &Project), log: &mut Log) -> bool {
    let batch = dice.below(4) > 0;
    let calls = dice.of(&[3, 10, 30]);
    let budget = match dice.below(5) {
        0 => Some(format!("calls = {calls}")),
        1 => Some(format!("total = {{ calls = {} }}", calls * 3)),
        2 => Some(format!("tokens = {}", calls * 60)),
        _ => None,
    };
    project.write("pipeline.toml", draw.spec(batch, budget.as_deref()));
    let args: &[&str] = match dice.below(9) {
        // Workers may both ask equal questions.
        3 if draw.different > draw.rows && !draw.cancels => {
            &["run", "pipeline.toml", "--on", "local", "--workers", "2"]
        }
        0 => &["run", "pipeline.toml", "--detach"],
        1 => &["run", "pipeline.toml", "--pilot", "3"],
        2 if draw.cancels => &["batches", "pipeline.toml", "--cancel"],
        _ => &RUN,
    };
    let before = sent(server);
    let mut running = project.spawn(args);
    let (end, moment) = (dice.below(4), Duration::from_millis(30 + dice.below(2_500)));
    let start = Instant::now();
    while end < 2 && start.elapsed() < moment && !running.ended() {
        std::thread::sleep(Duration::from_millis(5));
    }
    let goes_on = !running.ended();
    let (ran, killed) = match end {
        0 if goes_on => (running.kill(), true),
        1 if goes_on => {
            running.sigint();
            (running.wait_within(DEADLINE), false)
        }
        _ => (running.wait_within(DEADLINE), false),
    };
    let sent = sent(server).saturating_sub(before);
    log.add(&format!("{args:?} batch {batch} budget {budget:?} -> {} {sent} sent, {:?}", ran.code, ran.took));
    log.add(&ran.stderr.lines().filter(|line| line.contains("stopped") || line.contains("error")).collect::<String>());
    assert!(ran.code != 101, "{}", ran.stderr);
    if budget.is_some_and(|budget| budget.starts_with("calls")) {
        assert!(sent <= calls as usize, "{sent} calls were sent, more than the budget of {calls}: {}", ran.stderr);
    }
    killed
}

fn take(number: u64, log: &mut Log) {
    let (draw, mut dice) = Draw::new(number);
    log.add(&format!("{draw:?}"));
    let server = draw.server();
    let project = draw.project(&server);
    let runs = 1 + dice.below(DISTURBED);
    let kills = (0..runs).filter(|_| disturbed(&draw, &mut dice, (&server, &project), log)).count();
    let batch = dice.below(3) > 0;
    project.write("pipeline.toml", draw.spec(batch, None));
    let is_done = (0..CALM).any(|_| {
        // Workers of a killed command may be ending.
        std::thread::sleep(Duration::from_millis(300));
        let (before, ran) = (sent(&server), project.spawn(&RUN).wait_within(DEADLINE));
        log.add(&format!(
            "calm, batch {batch} -> {} {} sent, {:?}",
            ran.code,
            sent(&server).saturating_sub(before),
            ran.took
        ));
        log.add(&ran.stderr);
        ran.code == 0
    });
    assert!(is_done, "no run ended well");
    assert!(project.bytes(OUT) == draw.expected(), "another table");
    let mut answers: BTreeMap<String, [usize; 2]> = BTreeMap::new();
    let mut twice = String::new();
    for asked in server.asked().iter().filter(|asked| asked.answered.is_some()) {
        let batched = asked.header("x-batch").is_some();
        let times = answers.entry(asked.call()).or_default();
        times[usize::from(batched)] += 1;
        if times[0] + times[1] > 1 {
            writeln!(twice, "request {}: {}", asked.number, asked.call()).expect("a string");
            for other in server.asked().iter().filter(|other| asked_for(other) == asked_for(asked)) {
                let (batch, answered) = (other.header("x-batch"), other.answered.is_some());
                let said = other.messages.len();
                writeln!(twice, "  {} batch {batch:?}, messages {said}, answered {answered}", other.number)
                    .expect("a string");
            }
        }
    }
    let repeated: usize = answers.values().map(|[direct, batched]| direct + batched - 1).sum();
    // A killed process loses what was in flight, also the search for the form.
    let lost = kills * (2 * draw.lanes as usize + 2) * 2;
    let most = answers.values().map(|[_, batched]| *batched).max().unwrap_or(0);
    assert!(most <= 1, "an answer of a batch was paid twice: {twice}");
    assert!(repeated <= lost, "{repeated} answers were paid twice, after {kills} kills: {twice}");
}

#[test]
fn whatever_happens_the_table_is_the_same_and_nothing_is_paid_twice() {
    let range = std::env::var("FANFOLD_CHANCES").ok();
    let range: Option<Range<u64>> = range.and_then(|text| {
        let (first, end) = text.split_once("..")?;
        Some(first.parse().ok()?..end.parse().ok()?)
    });
    for number in range.unwrap_or(0..6) {
        let mut log = Log(String::new());
        let taken = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| take(number, &mut log)));
        assert!(taken.is_ok(), "draw {number} failed, see above:\n{}", log.0);
    }
}
