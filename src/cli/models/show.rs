//! What the servers have, what a spec needs and lacks, and what does not fit.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use unicode_width::UnicodeWidthStr;

use crate::cli::exit::Exit;
use crate::cli::load::load_or_show;
use crate::cli::status::Format;
use crate::cli::terminal::Terminal;
use crate::inventory::{Hint, Lack, Need, Surveyed, hints, survey};
use crate::provider::weights::Folders;
use crate::provider::{Here, Inventory, Listed, default_endpoint, memory};
use crate::report::summary::{count, number};

/// Models of a server that are shown beside those that the spec needs.
const OTHERS: usize = 10;

/// What is shown.
#[derive(Debug, clap::Args)]
pub struct Show {
    /// The spec; left out: the built-in models, and what the Ollama of this machine (or at OLLAMA_HOST) has.
    #[arg(value_name = "SPEC")]
    spec: Option<PathBuf>,
    /// How it is shown.
    #[arg(long, value_enum, default_value = "human")]
    format: Format,
}

impl Show {
    /// Runs the command.
    pub fn run(&self, folders: &Folders, terminal: &Terminal) -> Exit {
        let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
            Ok(runtime) => runtime,
            Err(error) => {
                terminal.error(&format!("the network can't be used: {error}"), None);
                return Exit::Environment;
            }
        };
        let env = |name: &str| std::env::var(name).ok();
        let Some(path) = &self.spec else {
            let server = runtime.block_on(own_ollama());
            match self.format {
                Format::Human => terminal.text(&format!("{}\n{}", super::human(folders), server_text(&server))),
                Format::Json => {
                    let mut value = super::as_json(folders);
                    value["servers"] = json!([server_json(&server)]);
                    terminal.json(&super::pretty(&value));
                }
            }
            return Exit::Ok;
        };
        let Some(spec) = load_or_show(path, terminal) else { return Exit::Spec };
        let surveyed = runtime.block_on(survey(&spec, &env));
        let hints = hints(&spec, &surveyed, &env, memory());
        let lacking = surveyed.iter().map(lacking).sum::<usize>();
        match self.format {
            Format::Human => terminal.text(&human(&spec.name, &surveyed, &hints, lacking)),
            Format::Json => terminal.json(&super::pretty(&as_json(&spec.name, &surveyed, &hints, lacking))),
        }
        if lacking == 0 { Exit::Ok } else { Exit::Environment }
    }
}

/// What the Ollama has that is asked where a spec says no more than `ollama`.
async fn own_ollama() -> Surveyed {
    let env = |name: &str| std::env::var(name).ok();
    let here = Here { env: &env, folder: Path::new(".") };
    let connected = default_endpoint("ollama").map(|endpoint| endpoint.connect(&here));
    let (endpoint, inventory) = match connected {
        Some(Ok(provider)) => {
            let found = provider.inventory(&[]).await;
            (Some(provider.endpoint()), found.map_err(|error| Lack { message: error.message, help: None }))
        }
        Some(Err(error)) => (None, Err(Lack { message: error.message, help: error.help })),
        None => (None, Ok(Inventory::default())),
    };
    Surveyed { name: "ollama".to_owned(), kind: "ollama", endpoint, inventory, needs: Vec::new() }
}

/// How many of the models that are needed of a server can't be asked.
fn lacking(server: &Surveyed) -> usize {
    match server.inventory {
        Ok(_) => server.needs.iter().filter(|need| need.lack.is_some()).count(),
        Err(_) => server.needs.len(),
    }
}

fn human(pipeline: &str, surveyed: &[Surveyed], hints: &[Hint], lacking: usize) -> String {
    let mut out = format!("pipeline {pipeline}\n");
    for server in surveyed {
        let _ = write!(out, "\n{}", server_text(server));
    }
    if !hints.is_empty() {
        let _ = writeln!(out, "\nhints");
    }
    for hint in hints {
        let _ = writeln!(out, "  {}: {}", hint.about, hint.message);
    }
    let _ = match (surveyed.is_empty(), lacking) {
        (true, _) => writeln!(out, "\nno stage asks a model"),
        (_, 0) => writeln!(out, "\nnothing is lacking"),
        (_, lacking) => writeln!(out, "\nlacking: {}", count(lacking as u64, "model")),
    };
    out
}

/// A server: what it is, what it has, what is needed of it.
fn server_text(server: &Surveyed) -> String {
    let place = server.endpoint.as_ref().map(|endpoint| format!(" at {endpoint}")).unwrap_or_default();
    let software = server.inventory.as_ref().ok().and_then(|found| found.software.clone());
    let mut out = match software {
        None if server.name == server.kind => format!("{}{place}", server.name),
        software => format!("{}: {}{place}", server.name, software.unwrap_or_else(|| server.kind.to_owned())),
    };
    match &server.inventory {
        Err(lack) => {
            let _ = writeln!(out, "\n  {}", sentence(lack));
        }
        Ok(found) => {
            if let Some(slots) = found.slots {
                let _ = write!(out, ", works on {} at once", count(slots, "call"));
            }
            out.push('\n');
            out += &table(server, found);
        }
    }
    for need in &server.needs {
        let _ = writeln!(out, "  {}", need_text(server, need));
    }
    out
}

fn sentence(lack: &Lack) -> String {
    match &lack.help {
        Some(help) => format!("{}; {help}", lack.message),
        None => lack.message.clone(),
    }
}

/// A model that is needed, and whether it is there.
fn need_text(server: &Surveyed, need: &Need) -> String {
    let named = match need.model == need.id {
        true => need.model.clone(),
        false => format!("{} ({})", need.model, need.id),
    };
    match (&server.inventory, &need.lack, &need.listed) {
        (Err(_), ..) => format!("needed: {named}, which can't be told"),
        (_, Some(lack), _) => format!("lacking: {named}: {}", sentence(lack)),
        (_, None, Some(_)) => format!("needed: {named}, is there"),
        (Ok(inventory), None, None) if inventory.models.is_empty() => format!("needed: {named}"),
        (_, None, None) => format!("needed: {named}, not on its list, which may not be all that it serves"),
    }
}

/// The models that are needed and the first others.
fn table(server: &Surveyed, found: &Inventory) -> String {
    let needed = |listed: &&Listed| server.needs.iter().any(|need| need.listed.as_ref() == Some(*listed));
    let others = found.models.iter().filter(|listed| !needed(listed));
    let shown: Vec<&Listed> = found.models.iter().filter(needed).chain(others.take(OTHERS)).collect();
    let mut lines = vec![["model", "size", "parameters", "quantization", "context", ""].map(str::to_owned)];
    lines.extend(shown.iter().map(|listed| cells(listed)));
    // A column of which the server says nothing is left out.
    let told = |at: &usize| *at == 0 || lines[1..].iter().any(|line| !line[*at].is_empty());
    let columns: Vec<usize> = (0..lines[0].len()).filter(told).collect();
    let width = |at: usize| lines.iter().map(|line| line[at].width()).max().unwrap_or(0);
    let mut out = String::new();
    for line in lines.iter().filter(|_| !shown.is_empty()) {
        let cells = columns.iter().map(|at| match at {
            1 | 4 => format!("{:>width$}", line[*at], width = width(*at)),
            _ => format!("{:width$}", line[*at], width = width(*at)),
        });
        let _ = writeln!(out, "  {}", cells.collect::<Vec<_>>().join("  ").trim_end());
    }
    let left = found.models.len() - shown.len();
    if left > 0 || found.more {
        let more = if found.more { "and more that it does not list here" } else { "`--format json` lists them" };
        let _ = writeln!(out, "  and {} others; {more}", number(left as u64));
    }
    out
}

fn cells(listed: &Listed) -> [String; 6] {
    let size = listed.bytes.map(|bytes| match bytes {
        bytes if bytes >= 1_000_000_000 => format!("{:.1} GB", bytes as f64 / 1e9),
        bytes => format!("{:.0} MB", bytes as f64 / 1e6),
    });
    let gpu = listed.on_gpu.map(|share| match share {
        share if share >= 0.995 => ", on the GPU".to_owned(),
        share if share > 0.0 => format!(", {:.0} % on the GPU", 100.0 * share),
        _ => ", on the CPU".to_owned(),
    });
    let state = match (listed.loaded, listed.loaded_context) {
        (Some(true), Some(context)) => format!("loaded with {}{}", number(context), gpu.unwrap_or_default()),
        (Some(true), None) => format!("loaded{}", gpu.unwrap_or_default()),
        _ => String::new(),
    };
    [
        listed.id.clone(),
        size.unwrap_or_default(),
        listed.parameters.clone().unwrap_or_default(),
        listed.quantization.clone().unwrap_or_default(),
        listed.context.map(number).unwrap_or_default(),
        state,
    ]
}

fn as_json(pipeline: &str, surveyed: &[Surveyed], hints: &[Hint], lacking: usize) -> Value {
    let hints = hints.iter().map(|hint| json!({ "kind": hint.kind, "about": hint.about, "message": hint.message }));
    json!({
        "schema_version": 1, "pipeline": pipeline, "lacking": lacking,
        "servers": surveyed.iter().map(server_json).collect::<Vec<_>>(), "hints": hints.collect::<Vec<_>>(),
    })
}

fn server_json(server: &Surveyed) -> Value {
    let needs = server.needs.iter().map(|need| {
        let lack = server.inventory.as_ref().err().or(need.lack.as_ref());
        json!({
            "model": need.model, "id": need.id, "there": lack.is_none(),
            "message": lack.map(|lack| &lack.message), "help": lack.and_then(|lack| lack.help.as_ref()),
        })
    });
    json!({
        "name": server.name, "provider": server.kind, "endpoint": server.endpoint,
        "has": server.inventory.as_ref().ok(), "error": server.inventory.as_ref().err().map(sentence),
        "needs": needs.collect::<Vec<_>>(),
    })
}
