//! The engine `ray`: a job of a Ray cluster, submitted to its Jobs API. A driver in Python starts a worker per task.
//!
//! Ray starts a worker again if its process or its node dies. If the driver dies, the same command submits a new job.

use serde_json::{Value, json};

use super::{Engine, EngineError, JobState, Work};
use crate::provider::JsonService;
use crate::spec::ClusterTable;
use crate::table::files::write_whole;

const DRIVER: &str = include_str!("driver.py");
const ADDRESS: &str = "RAY_API_SERVER_ADDRESS";
const TOKEN: &str = "RAY_AUTH_TOKEN";

pub(crate) struct Ray {
    pub(crate) cluster: ClusterTable,
    /// The variables that the models of the spec read.
    pub(crate) variables: Vec<String>,
}

impl Ray {
    /// The driver with the commands of each worker.
    fn driver(&self, work: &Work) -> String {
        let program = work.program.display().to_string();
        let tables = work.tables.iter().map(|table| {
            let words = work.arguments(table, "INDEX");
            let words: Vec<String> = [program.clone()].into_iter().chain(words).collect();
            json!({ "words": words, "workers": work.workers_of(table) })
        });
        let plan = json!({
            "before": self.cluster.before,
            "tables": tables.collect::<Vec<_>>(),
            "logs": work.logs().display().to_string(),
        });
        // A string of JSON is also one of Python.
        DRIVER.replace("PLAN = None", &format!("PLAN = json.loads({})", Value::String(plan.to_string())))
    }

    fn ask(&self, path: &str, body: Option<&Value>) -> Result<(u16, Value), EngineError> {
        let address = std::env::var(ADDRESS).unwrap_or_else(|_| "http://127.0.0.1:8265".to_owned());
        let token = std::env::var(TOKEN).ok();
        let ask = || {
            let service = JsonService::new(&address, token.as_deref())?;
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.map_err(|error| error.to_string())?.block_on(service.ask(path, body))
        };
        // The caller may be in a runtime, in which no other one can start.
        let asked = std::thread::scope(|scope| scope.spawn(ask).join());
        asked.unwrap_or_else(|_| Err("the request died".to_owned())).map_err(|message| EngineError {
            message: format!("Ray: {message}"),
            help: Some(format!("set `{ADDRESS}` to the address of the cluster's dashboard")),
        })
    }
}

impl Engine for Ray {
    fn name(&self) -> &'static str {
        "ray"
    }

    fn script(&self, work: &Work) -> String {
        self.driver(work)
    }

    fn submit(&mut self, work: &Work) -> Result<Vec<String>, EngineError> {
        let driver = work.scripts().join("driver.py");
        let written = std::fs::create_dir_all(work.scripts())
            .and_then(|()| std::fs::create_dir_all(work.logs()))
            .and_then(|()| write_whole(&driver, self.driver(work).as_bytes()));
        written.map_err(|error| EngineError::new(format!("{}: {error}", driver.display())))?;
        let id = format!("fanfold-{}-{}", work.dir.name(), chrono::Utc::now().timestamp_millis());
        let names = self.cluster.env.iter().chain(&self.variables);
        let variables = names.filter_map(|name| Some((name.clone(), Value::String(std::env::var(name).ok()?))));
        let body = json!({
            "entrypoint": format!("python3 {}", super::quoted(&driver.display().to_string())),
            "submission_id": id,
            "runtime_env": { "env_vars": variables.collect::<serde_json::Map<_, _>>() },
        });
        match self.ask("api/jobs/", Some(&body))? {
            (200, _) => Ok(vec![id]),
            (status, reply) => Err(EngineError::new(format!("Ray refused the job (status {status}): {reply}"))),
        }
    }

    fn state(&mut self, ids: &[String]) -> Result<JobState, EngineError> {
        let Some(id) = ids.first() else { return Ok(JobState::Ended) };
        match self.ask(&format!("api/jobs/{id}"), None) {
            // The cluster may be gone or begin again; a job that it does not know has ended.
            Ok((404, _)) => Ok(JobState::Ended),
            Ok((_, reply)) => Ok(state_of(&reply)),
            Err(error) => Ok(JobState::Active { running: 0, waiting: 0, reason: Some(error.message) }),
        }
    }

    fn failure(&mut self, ids: &[String]) -> Option<String> {
        let (_, reply) = self.ask(&format!("api/jobs/{}", ids.first()?), None).ok()?;
        reply["message"].as_str().map(|message| message.trim_end().to_owned())
    }

    fn cancel(&mut self, ids: &[String]) -> Result<(), EngineError> {
        ids.iter().try_for_each(|id| self.ask(&format!("api/jobs/{id}/stop"), Some(&json!({}))).map(drop))
    }
}

fn state_of(reply: &Value) -> JobState {
    match reply["status"].as_str() {
        Some("SUCCEEDED" | "FAILED" | "STOPPED") => JobState::Ended,
        Some("RUNNING") => JobState::Active { running: 1, waiting: 0, reason: None },
        other => JobState::Active { running: 0, waiting: 1, reason: other.map(str::to_owned) },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_has_ended_when_ray_says_so() {
        let state = |status: &str| state_of(&json!({ "status": status }));
        for ended in ["SUCCEEDED", "FAILED", "STOPPED"] {
            assert_eq!(state(ended), JobState::Ended);
        }
        assert_eq!(state("RUNNING"), JobState::Active { running: 1, waiting: 0, reason: None });
        let waits = JobState::Active { running: 0, waiting: 1, reason: Some("PENDING".to_owned()) };
        assert_eq!(state("PENDING"), waits);
    }
}
