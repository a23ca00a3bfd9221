//! How fast fanfold is over servers that refuse calls, next to a simulation of its policy.
//!
//! ```text
//! cargo bench --bench limits    # about six minutes
//! ```
//!
//! Each line is a run of the real program over a server in this process that lets in only some calls. The columns:
//!
//! - **ideal**: the least seconds that the server's limit allows.
//! - **took**: from the first request to the last answer, the median of the runs.
//! - **factor**: took / ideal, next to the factor of the simulation.
//! - **refused**: refusals per 1,000 answers.
//! - **failed**: rows without an answer.

#[expect(dead_code, reason = "the tests need more of it")]
mod rules;

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use rules::{After, Entry, Limited, Rule};

const FANFOLD: &str = env!("CARGO_BIN_EXE_fanfold");
const MODELS: &str = r#"{"object":"list","data":[{"id":"m","object":"model"}]}"#;
const ANSWER: &str = r#"{"choices":[{"index":0,"finish_reason":"stop","message":{"role":"assistant","content":"{\"label\":\"yes\"}"}}],"usage":{"prompt_tokens":9,"completion_tokens":1}}"#;
const REFUSAL: &str = r#"{"error":{"message":"slow down","type":"rate_limit"}}"#;

struct Case {
    name: &'static str,
    rule: Rule,
    after: After,
    latency: f64,
    rows: usize,
    lanes: usize,
    ideal: f64,
    simulated: f64,
    runs: usize,
}

const fn case(name: &'static str, rule: Rule, after: After, of: (f64, usize, usize), sim: (f64, f64, usize)) -> Case {
    let ((latency, rows, lanes), (ideal, simulated, runs)) = (of, sim);
    Case { name, rule, after, latency, rows, lanes, ideal, simulated, runs }
}

const CASES: [Case; 10] = [
    case("random 5 %, Retry-After 1", Rule::Random(0.05), After::Exact, (0.02, 2000, 64), (2.625, 1.33, 9)),
    case("random 5 %, no Retry-After", Rule::Random(0.05), After::None, (0.02, 2000, 64), (1.625, 1.55, 9)),
    case("random 5 %, Retry-After 1, 4 lanes", Rule::Random(0.05), After::Exact, (0.02, 2000, 4), (12.0, 1.24, 3)),
    case("5/s, exact Retry-After", Rule::Bucket(5.0), After::Exact, (0.02, 200, 64), (39.02, 1.02, 1)),
    case("5/s, whole seconds", Rule::Bucket(5.0), After::Ceil, (0.02, 200, 64), (39.02, 1.08, 1)),
    case("5/s, no Retry-After", Rule::Bucket(5.0), After::None, (0.02, 200, 64), (39.02, 1.07, 1)),
    case("50/s, no Retry-After", Rule::Bucket(50.0), After::None, (0.02, 2000, 64), (39.02, 1.02, 1)),
    case("60 in 5 s, whole seconds", Rule::Window(60, 5.0), After::Ceil, (0.02, 600, 64), (45.02, 1.02, 1)),
    case("8 at once, no Retry-After", Rule::AtOnce(8), After::None, (0.02, 2000, 64), (5.0, 1.26, 3)),
    case("32 at once, latency 1 s", Rule::AtOnce(32), After::None, (1.0, 2000, 64), (62.5, 1.03, 1)),
];

fn main() {
    println!(
        "{:<36}{:>9}{:>11}{:>9}{:>11}{:>9}{:>8}",
        "server", "ideal", "took", "factor", "simulated", "refused", "failed"
    );
    for case in CASES {
        let mut runs: Vec<Run> = (0..case.runs).map(|_| run(&case)).collect();
        runs.sort_by(|a, b| a.seconds.total_cmp(&b.seconds));
        let Run { seconds, refused, answered } = runs[runs.len() / 2];
        let failed: usize = runs.iter().map(|run| case.rows - run.answered).sum();
        println!(
            "{:<36}{:>7.1} s{seconds:>9.1} s{:>9.2}{:>11.2}{:>9.0}{failed:>8}",
            case.name,
            case.ideal,
            seconds / case.ideal,
            case.simulated,
            1000.0 * refused as f64 / answered as f64,
        );
    }
}

#[derive(Clone, Copy)]
struct Run {
    seconds: f64,
    refused: usize,
    answered: usize,
}

struct Server {
    address: SocketAddr,
    state: Mutex<State>,
    latency: Duration,
}

struct State {
    limited: Limited,
    first: Option<Instant>,
    last: Option<Instant>,
    refused: usize,
    answered: usize,
    random: u64,
}

fn run(case: &Case) -> Run {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let listener = TcpListener::bind("127.0.0.1:0").expect("there is a free port");
    let address = listener.local_addr().expect("a bound socket has an address");
    let limited = Limited::new(case.rule, case.after);
    let random = Instant::now().elapsed().as_nanos() as u64 ^ u64::from(address.port()) << 20 | 1;
    let state = State { limited, first: None, last: None, refused: 0, answered: 0, random };
    let server = Arc::new(Server { address, state: Mutex::new(state), latency: Duration::from_secs_f64(case.latency) });
    let serving = server.clone();
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let server = serving.clone();
            // An error is a connection that the program closed, as it does at its end.
            thread::spawn(move || server.serve(stream));
        }
    });
    let rows = (0..case.rows).map(|row| format!("{row},text {row}\n")).collect::<String>();
    fs::write(folder.path().join("rows.csv"), format!("id,text\n{rows}")).expect("the folder takes the rows");
    fs::write(folder.path().join("p.toml"), spec(&server, case.lanes)).expect("the folder takes a spec");
    let output = Command::new(FANFOLD).args(["run", "p.toml"]).current_dir(folder.path()).output();
    let output = output.expect("the program can be started");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let state = server.state.lock().expect("no thread panics while it holds the lock");
    let seconds = state.last.zip(state.first).map_or(0.0, |(last, first)| (last - first).as_secs_f64());
    Run { seconds, refused: state.refused, answered: state.answered }
}

fn spec(server: &Server, lanes: usize) -> String {
    let address = server.address;
    let (workers, batch) = if lanes < 8 { (1, lanes) } else { (8, lanes / 8) };
    format!(
        r#"name = "limits"

[providers.srv]
type = "openai"
base_url = "http://{address}/v1"

[models.m]
provider = "srv"
model = "m"

[sources.rows]
type = "file"
path = "rows.csv"
key = "id"

[stages.tone]
type = "analysis"
input = "rows"
models = ["m"]
workers = {workers}
batch_size = {batch}
prompt = "{{{{ id }}}}"

[stages.tone.output]
label = {{ type = "string" }}

[outputs.tone]
input = "tone"
path = "tone.parquet"
"#
    )
}

impl Server {
    /// Answers the requests of a connection until it is closed.
    fn serve(&self, stream: TcpStream) -> std::io::Result<()> {
        stream.set_nodelay(true)?;
        let mut writer = stream.try_clone()?;
        let mut reader = BufReader::new(stream);
        let mut line = String::new();
        while reader.read_line(&mut line)? > 0 {
            let is_call = line.starts_with("POST");
            let mut length = 0;
            loop {
                line.clear();
                reader.read_line(&mut line)?;
                let header = line.to_ascii_lowercase();
                if let Some(value) = header.strip_prefix("content-length:") {
                    length = value.trim().parse().unwrap_or(0);
                } else if header.trim().is_empty() {
                    break;
                }
            }
            line.clear();
            let mut body = vec![0; length];
            reader.read_exact(&mut body)?;
            match is_call {
                true => self.answer(&body, &mut writer)?,
                false => reply(&mut writer, 200, None, MODELS)?,
            }
        }
        Ok(())
    }

    fn answer(&self, body: &[u8], writer: &mut impl Write) -> std::io::Result<()> {
        let now = Instant::now();
        let entry = {
            let mut state = self.state.lock().expect("no thread panics while it holds the lock");
            let t = (now - *state.first.get_or_insert(now)).as_secs_f64();
            // xorshift64 (Marsaglia 2003)
            state.random ^= state.random << 13;
            state.random ^= state.random >> 7;
            state.random ^= state.random << 17;
            let random = (state.random >> 11) as f64 / (1u64 << 53) as f64;
            let digits: String = String::from_utf8_lossy(body).chars().filter(char::is_ascii_digit).collect();
            state.limited.arrive(digits.parse().unwrap_or(0), t, random)
        };
        match entry {
            Entry::LetIn => {
                thread::sleep(self.latency);
                let mut state = self.state.lock().expect("no thread panics while it holds the lock");
                state.limited.leave();
                (state.last, state.answered) = (Some(Instant::now()), state.answered + 1);
                drop(state);
                reply(writer, 200, None, ANSWER)
            }
            Entry::Refused(after) => {
                self.state.lock().expect("no thread panics while it holds the lock").refused += 1;
                reply(writer, 429, after, REFUSAL)
            }
        }
    }
}

fn reply(writer: &mut impl Write, code: u16, after: Option<f64>, body: &str) -> std::io::Result<()> {
    let after = after.map_or(String::new(), |seconds| format!("retry-after: {seconds}\r\n"));
    let length = body.len();
    write!(
        writer,
        "HTTP/1.1 {code} Status\r\ncontent-type: application/json\r\n{after}content-length: {length}\r\n\r\n{body}"
    )
}
