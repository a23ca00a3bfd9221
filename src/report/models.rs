//! The reports of `fanfold models`: list the built-in models, and the models that servers have and a spec needs.

use std::fmt::{self, Display, Formatter};

use serde::{Serialize, Serializer};
use serde_json::{Value, json};

use super::text::{count, grid, number};
use crate::inventory::{Hint, Lack, Need, Surveyed};
use crate::provider::weights::{BUILTIN, Folders, megabytes};
use crate::provider::{Inventory, Listed};

const OTHERS: usize = 10;

pub(crate) struct BuiltinReport<'a> {
    pub(crate) folders: &'a Folders,
    pub(crate) ollama: Option<Surveyed>,
}

impl Display for BuiltinReport<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        for builtin in BUILTIN {
            let state = if builtin.is_there(self.folders) { "downloaded" } else { "not downloaded" };
            let size = megabytes(builtin.bytes);
            let (name, title, quantization) = (builtin.name(), builtin.title, builtin.quantization);
            writeln!(f, "{name}: {title}, {quantization}, {size}, {}, {state}", builtin.licence)?;
            if let [_, also @ ..] = builtin.names
                && !also.is_empty()
            {
                writeln!(f, "  also {}", also.join(", "))?;
            }
            writeln!(f, "  file {}", builtin.path(self.folders).display())?;
        }
        if let Some(server) = &self.ollama {
            writeln!(f)?;
            write_server(f, server)?;
        }
        Ok(())
    }
}

impl Serialize for BuiltinReport<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let models = BUILTIN.iter().map(|builtin| {
            json!({
                "name": builtin.name(), "names": builtin.names, "title": builtin.title,
                "quantization": builtin.quantization, "licence": builtin.licence, "bytes": builtin.bytes,
                "sha256": builtin.sha256, "path": builtin.path(self.folders), "here": builtin.is_there(self.folders),
            })
        });
        let models: Vec<Value> = models.collect();
        let mut value = json!({ "schema_version": 1, "folder": self.folders.models, "models": models });
        if let Some(server) = &self.ollama {
            value["servers"] = json!([server_json(server)]);
        }
        value.serialize(serializer)
    }
}

pub(crate) struct ModelsReport {
    pub(crate) pipeline: String,
    pub(crate) servers: Vec<Surveyed>,
    pub(crate) hints: Vec<Hint>,
}

impl ModelsReport {
    pub(crate) fn missing(&self) -> usize {
        let missing = |server: &Surveyed| match server.inventory {
            Ok(_) => server.needs.iter().filter(|need| need.lack.is_some()).count(),
            Err(_) => server.needs.len(),
        };
        self.servers.iter().map(missing).sum()
    }

    fn what_is_wrong(&self) -> &'static str {
        let lacking = || self.servers.iter().flat_map(|server| &server.needs).filter(|need| need.lack.is_some());
        let unusable = lacking().filter(|need| need.listed.is_some()).count();
        match unusable {
            0 => "missing",
            all if all == self.missing() => "unusable",
            _ => "missing or unusable",
        }
    }
}

impl Display for ModelsReport {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        writeln!(f, "pipeline {}", self.pipeline)?;
        for server in &self.servers {
            writeln!(f)?;
            write_server(f, server)?;
        }
        if !self.hints.is_empty() {
            writeln!(f, "\nhints")?;
        }
        for hint in &self.hints {
            writeln!(f, "  {}: {}", hint.about, hint.message)?;
        }
        match (self.servers.is_empty(), self.missing()) {
            (true, _) => writeln!(f, "\nno stage uses a model"),
            (_, 0) => writeln!(f, "\nall models are available"),
            (_, missing) => writeln!(f, "\n{}: {}", self.what_is_wrong(), count(missing as u64, "model")),
        }
    }
}

impl Serialize for ModelsReport {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let hint = |hint: &Hint| json!({ "kind": hint.kind, "about": hint.about, "message": hint.message });
        let value = json!({
            "schema_version": 1, "pipeline": self.pipeline, "lacking": self.missing(),
            "servers": self.servers.iter().map(server_json).collect::<Vec<_>>(),
            "hints": self.hints.iter().map(hint).collect::<Vec<_>>(),
        });
        value.serialize(serializer)
    }
}

fn write_server(f: &mut Formatter<'_>, server: &Surveyed) -> fmt::Result {
    let software = server.inventory.as_ref().ok().and_then(|found| found.software.clone());
    match software {
        None if server.name == server.kind => write!(f, "{}", server.name)?,
        software => write!(f, "{}: {}", server.name, software.unwrap_or_else(|| server.kind.to_owned()))?,
    }
    if let Some(endpoint) = &server.endpoint {
        write!(f, " at {endpoint}")?;
    }
    match &server.inventory {
        Err(lack) => writeln!(f, "\n  {}", sentence(lack))?,
        Ok(found) => {
            if let Some(slots) = found.slots {
                write!(f, ", processes {} in parallel", count(slots, "call"))?;
            }
            writeln!(f)?;
            write_table(f, server, found)?;
        }
    }
    server.needs.iter().try_for_each(|need| writeln!(f, "  {}", need_text(server, need)))
}

fn sentence(lack: &Lack) -> String {
    match &lack.help {
        Some(help) => format!("{}; {help}", lack.message),
        None => lack.message.clone(),
    }
}

fn need_text(server: &Surveyed, need: &Need) -> String {
    let named = match need.model == need.id {
        true => need.model.clone(),
        false => format!("{} ({})", need.model, need.id),
    };
    match (&server.inventory, &need.lack, &need.listed) {
        (Err(_), ..) => format!("needed: {named} (unknown)"),
        (_, Some(lack), None) => format!("missing: {named}: {}", sentence(lack)),
        (_, Some(lack), Some(_)) => format!("unusable: {named}: {}", sentence(lack)),
        (_, None, Some(_)) => format!("needed: {named}, available"),
        (Ok(inventory), None, None) if inventory.models.is_empty() => format!("needed: {named}"),
        (_, None, None) => format!("needed: {named}, not listed by the server, whose list may be incomplete"),
    }
}

fn write_table(f: &mut Formatter<'_>, server: &Surveyed, found: &Inventory) -> fmt::Result {
    let needed = |listed: &&Listed| server.needs.iter().any(|need| need.listed.as_ref() == Some(*listed));
    let others = found.models.iter().filter(|listed| !needed(listed));
    let shown: Vec<&Listed> = found.models.iter().filter(needed).chain(others.take(OTHERS)).collect();
    let mut lines = vec![["model", "size", "parameters", "quantization", "context", ""].map(str::to_owned)];
    lines.extend(shown.iter().map(|listed| cells(listed)));
    // Columns without any value are omitted.
    let columns: Vec<usize> =
        (0..lines[0].len()).filter(|i| *i == 0 || lines[1..].iter().any(|line| !line[*i].is_empty())).collect();
    let rows: Vec<Vec<String>> = lines.iter().map(|line| columns.iter().map(|i| line[*i].clone()).collect()).collect();
    if !shown.is_empty() {
        f.write_str(&grid(&rows, "  ", |i| matches!(columns[i], 1 | 4)))?;
    }
    let left = found.models.len() - shown.len();
    if left > 0 || found.more {
        let more = if found.more { "and more that it does not list here" } else { "`--format json` lists them" };
        writeln!(f, "  and {} others; {more}", number(left as u64))?;
    }
    Ok(())
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
