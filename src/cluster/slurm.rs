//! The engine `slurm`: an array of workers for each table, submitted with `sbatch`.
//!
//! Slurm repeats a worker whose node dies (`--requeue`). Before the time limit it sends SIGTERM: the worker finishes its
//! calls in flight, and the script puts itself into the queue again.

use std::path::Path;
use std::process::{Command, Output};

use super::{Engine, EngineError, JobState, Work, quoted};
use crate::run::FrozenTable;
use crate::spec::ClusterTable;
use crate::table::files::write_whole;

/// The seconds between SIGTERM and the time limit.
const GRACE: u32 = 120;

pub(crate) struct Slurm {
    pub(crate) cluster: ClusterTable,
    /// Options of `sbatch` from the command line.
    pub(crate) options: Vec<String>,
}

impl Slurm {
    /// The name and the text of each script. The last one submits the others.
    fn scripts(&self, work: &Work) -> Vec<(String, String)> {
        let check = ("check.sh".to_owned(), self.check(work));
        let tables = work.tables.iter().enumerate().map(|(i, table)| (script_name(i, table), self.table(work, table)));
        let submit = ("submit.sh".to_owned(), submit(work));
        [check].into_iter().chain(tables).chain([submit]).collect()
    }

    /// The lines at the start of a job. A job without models needs no server.
    fn head(&self, work: &Work, name: &str, log: &str, has_models: bool) -> String {
        let shell = if self.cluster.modules.is_empty() { "#!/bin/bash" } else { "#!/bin/bash -l" };
        let log = work.logs().join(log);
        let own = [
            format!("--job-name=fanfold-{name}"),
            format!("--output=\"{}\"", log.display()),
            "--open-mode=append".to_owned(),
            "--export=ALL".to_owned(),
        ];
        let options = own.iter().chain(&self.cluster.sbatch).chain(&self.options);
        let options: String = options.map(|option| format!("#SBATCH {option}\n")).collect();
        let modules: String =
            self.cluster.modules.iter().map(|module| format!("module load {}\n", quoted(module))).collect();
        let before = self.cluster.before.as_ref().filter(|_| has_models);
        let before = before.map(|lines| format!("{}\n", lines.trim_end())).unwrap_or_default();
        format!("{shell}\n{options}\n{modules}{before}")
    }

    /// Checks from a compute node that every model answers, before the workers start.
    fn check(&self, work: &Work) -> String {
        let stages = work.tables.iter().filter(|table| table.is_stage);
        let lines = stages.map(|table| {
            let words = [&work.program.display().to_string(), "task", &work.run];
            let words = words.into_iter().chain([table.name.as_str(), "--check"]).map(quoted);
            format!("{} || exit\n", words.collect::<Vec<_>>().join(" "))
        });
        format!("{}{}", self.head(work, "check", "check.log", true), lines.collect::<String>())
    }

    fn table(&self, work: &Work, table: &FrozenTable) -> String {
        let last = work.workers_of(table) - 1;
        let log = format!("{}-%a.log", table.name);
        let head = self.head(work, &table.name, &log, table.is_stage);
        let (first, rest) = head.split_once('\n').unwrap_or_default();
        let words =
            [work.program.display().to_string()].into_iter().chain(work.arguments(table, "$SLURM_ARRAY_TASK_ID"));
        let quoted = |word: String| if word.starts_with('$') { format!("\"{word}\"") } else { quoted(&word) };
        let command = words.map(quoted).collect::<Vec<_>>().join(" ");
        format!(
            "{first}\n#SBATCH --array=0-{last}\n#SBATCH --requeue\n#SBATCH --signal=B:TERM@{GRACE}\n{rest}\
             {command} &\nworker=$!\ntrap 'kill -TERM $worker 2>/dev/null' TERM\n\
             wait $worker; code=$?\n\
             # A signal ends the first wait early.\n\
             while kill -0 $worker 2>/dev/null; do wait $worker; code=$?; done\n\
             # 143: the time limit is near. The worker goes on where it stopped.\n\
             if [ $code -eq 143 ]; then scontrol requeue \"$SLURM_JOB_ID\"; sleep 30; fi\n\
             exit $code\n"
        )
    }
}

fn script_name(number: usize, table: &FrozenTable) -> String {
    format!("{}-{}.sh", number + 1, table.name)
}

/// The script that submits the others and prints the numbers of the jobs.
fn submit(work: &Work) -> String {
    let mut lines = vec![
        "#!/bin/sh".to_owned(),
        "# Submits the jobs of this run, and prints their numbers.".to_owned(),
        "set -e".to_owned(),
        "cd \"$(dirname \"$0\")\"".to_owned(),
        "check=$(sbatch --parsable check.sh); check=${check%%;*}; echo $check".to_owned(),
    ];
    for (i, table) in work.tables.iter().enumerate() {
        let made = |input: &String| work.tables.iter().position(|other| other.name == *input);
        let before: Vec<String> = table.inputs.iter().filter_map(made).map(|number| format!("$t{number}")).collect();
        let before = if before.is_empty() { "$check".to_owned() } else { before.join(":") };
        let script = quoted(&script_name(i, table));
        lines.push(format!(
            "t{i}=$(sbatch --parsable --kill-on-invalid-dep=yes --dependency=afterok:{before} {script}); \
             t{i}=${{t{i}%%;*}}; echo $t{i}"
        ));
    }
    lines.join("\n") + "\n"
}

impl Engine for Slurm {
    fn name(&self) -> &'static str {
        "slurm"
    }

    fn script(&self, work: &Work) -> String {
        let folder = work.scripts();
        let shown = |(name, text): (String, String)| format!("# {}\n{text}\n", folder.join(name).display());
        self.scripts(work).into_iter().map(shown).collect()
    }

    fn submit(&mut self, work: &Work) -> Result<Vec<String>, EngineError> {
        let missing = self.cluster.env.iter().find(|name| std::env::var_os(name).is_none());
        if let Some(name) = missing {
            return Err(EngineError::new(format!("the environment variable `{name}` of `cluster.env` is not set")));
        }
        let folder = work.scripts();
        write(&folder, self.scripts(work), &work.logs())
            .map_err(|error| EngineError::new(format!("{}: {error}", folder.display())))?;
        let done = run(Command::new("sh").arg(folder.join("submit.sh")))?;
        let ids: Vec<String> = String::from_utf8_lossy(&done.stdout).split_whitespace().map(str::to_owned).collect();
        if done.status.success() {
            return Ok(ids);
        }
        // The jobs before the one that was refused.
        if !ids.is_empty() {
            self.cancel(&ids)?;
        }
        Err(refused("sbatch", &done))
    }

    fn state(&mut self, ids: &[String]) -> Result<JobState, EngineError> {
        let found = run(Command::new("squeue").args(["-h", "-r", "-o", "%T|%r", "-j", &ids.join(",")]))?;
        if !found.status.success() {
            let error = String::from_utf8_lossy(&found.stderr).trim().to_owned();
            // Slurm forgets jobs some minutes after their end.
            let is_over = error.contains("Invalid job id");
            return Ok(if is_over {
                JobState::Ended
            } else {
                JobState::Active { running: 0, waiting: 0, reason: Some(error) }
            });
        }
        Ok(state_of(&String::from_utf8_lossy(&found.stdout)))
    }

    fn cancel(&mut self, ids: &[String]) -> Result<(), EngineError> {
        let done = run(Command::new("scancel").args(ids))?;
        if done.status.success() { Ok(()) } else { Err(refused("scancel", &done)) }
    }
}

/// The state of jobs from lines of `squeue` with the state and the reason of each task.
fn state_of(lines: &str) -> JobState {
    let (mut running, mut waiting, mut why) = (0, 0, None);
    for (state, reason) in lines.lines().filter_map(|line| line.trim().split_once('|')) {
        match state {
            "RUNNING" | "COMPLETING" | "SUSPENDED" | "STOPPED" => running += 1,
            _ => {
                waiting += 1;
                let is_plain = matches!(reason, "None" | "Dependency");
                why = why.or_else(|| (!is_plain).then(|| reason.to_owned()));
            }
        }
    }
    match running + waiting {
        0 => JobState::Ended,
        _ => JobState::Active { running, waiting, reason: why },
    }
}

fn write(folder: &Path, scripts: Vec<(String, String)>, logs: &Path) -> std::io::Result<()> {
    std::fs::create_dir_all(folder)?;
    std::fs::create_dir_all(logs)?;
    scripts.iter().try_for_each(|(name, text)| write_whole(&folder.join(name), text.as_bytes()))
}

fn run(command: &mut Command) -> Result<Output, EngineError> {
    command.output().map_err(|error| EngineError {
        message: format!("`{}` can't be started: {error}", command.get_program().display()),
        help: Some("run this on a machine of the cluster, such as its login node".to_owned()),
    })
}

fn refused(program: &str, done: &Output) -> EngineError {
    EngineError::new(format!("{program}: {}", String::from_utf8_lossy(&done.stderr).trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tasks_are_counted_by_their_state() {
        let state = |lines: &str| state_of(lines);
        assert_eq!(state(""), JobState::Ended);
        let active = |running, waiting, reason: Option<&str>| JobState::Active {
            running,
            waiting,
            reason: reason.map(str::to_owned),
        };
        assert_eq!(state("RUNNING|None\nRUNNING|None\nPENDING|Dependency\n"), active(2, 1, None));
        assert_eq!(state("PENDING|Dependency\nPENDING|Resources\n"), active(0, 2, Some("Resources")));
        assert_eq!(state("COMPLETING|None\nREQUEUED|BeginTime\n"), active(1, 1, Some("BeginTime")));
    }
}
