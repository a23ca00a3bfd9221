//! The storage probe: whether a folder that several machines share keeps what workers rely on.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant, SystemTime};

use super::EngineError;
use crate::store::put_if_absent;
use crate::table::parquet::{new_file, write_whole};

pub(crate) const RACERS: usize = 16;
const ROUNDS: usize = 8;
/// The time that racers wait for the start, and the probe for racers.
const PATIENCE: Duration = Duration::from_secs(60);
const START: &str = "start";
/// A clock that differs more is reported.
const SKEW: Duration = Duration::from_secs(2);

/// What a probe found. A folder that fails is an error.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Probed {
    pub(crate) has_links: bool,
    /// The mean time of writing a file and making it durable.
    pub(crate) write: Duration,
    /// The difference between the clock of the file system and that of this machine, in milliseconds.
    pub(crate) skew_ms: i64,
}

impl Probed {
    pub(crate) fn clock_differs(&self) -> bool {
        self.skew_ms.unsigned_abs() as u128 > SKEW.as_millis()
    }
}

/// Lets processes of `program` race to create names in `folder`, and writes, replaces and reads files there.
pub(crate) fn probe(folder: &Path, program: &Path) -> Result<Probed, EngineError> {
    let broken = |what: &str| {
        let message = format!("{} can't be shared by workers: {what}", folder.display());
        move |error: std::io::Error| EngineError::new(format!("{message}: {error}"))
    };
    let inner = tempfile::Builder::new()
        .prefix(".fanfold-probe-")
        .tempdir_in(folder)
        .map_err(broken("no folder can be made"))?;
    let winners = race(inner.path(), program).map_err(broken("the race failed"))?;
    check_race(folder, inner.path(), &winners)?;
    let start = Instant::now();
    let path = inner.path().join("replaced");
    for round in 0..ROUNDS {
        let text = format!("round {round}");
        write_whole(&path, text.as_bytes()).map_err(broken("a file can't be replaced"))?;
        if std::fs::read_to_string(&path).map_err(broken("a file can't be read"))? != text {
            return Err(refused(folder, "a file that was replaced still has its old bytes"));
        }
    }
    let write = start.elapsed() / ROUNDS as u32;
    let modified = std::fs::metadata(&path).and_then(|found| found.modified()).map_err(broken("a file has no time"))?;
    Ok(Probed {
        has_links: has_links(inner.path()),
        write,
        skew_ms: milliseconds(modified) - milliseconds(SystemTime::now()),
    })
}

fn milliseconds(time: SystemTime) -> i64 {
    time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_millis() as i64
}

fn has_links(folder: &Path) -> bool {
    std::fs::hard_link(folder.join("replaced"), folder.join("link")).is_ok()
}

fn refused(folder: &Path, what: &str) -> EngineError {
    EngineError {
        message: format!("{} can't be shared by workers: {what}", folder.display()),
        help: Some(
            "keep the project on another file system, such as the home or the project folder of the cluster".to_owned(),
        ),
    }
}

/// The rounds that each racer won.
fn race(folder: &Path, program: &Path) -> std::io::Result<Vec<Vec<usize>>> {
    let racer = |number: usize| {
        let words = ["doctor", "storage"].map(PathBuf::from).into_iter().chain([folder.to_owned()]);
        let mut command = Command::new(program);
        command.args(words).args(["--racer", &number.to_string()]);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn()
    };
    let racers: Vec<Child> = (0..RACERS).map(racer).collect::<std::io::Result<_>>()?;
    let start = Instant::now();
    let is_ready = |number: usize| folder.join(format!("ready-{number}")).exists();
    while !(0..RACERS).all(is_ready) && start.elapsed() < PATIENCE {
        std::thread::sleep(Duration::from_millis(20));
    }
    std::fs::write(folder.join(START), "")?;
    let rounds = |racer: Child| {
        let done = racer.wait_with_output()?;
        let words = String::from_utf8_lossy(&done.stdout).into_owned();
        Ok(words.split_whitespace().filter_map(|word| word.parse().ok()).collect())
    };
    racers.into_iter().map(rounds).collect()
}

/// Exactly one racer must have won each round, and its file must be whole.
fn check_race(folder: &Path, inner: &Path, winners: &[Vec<usize>]) -> Result<(), EngineError> {
    for round in 0..ROUNDS {
        let won: Vec<usize> = (0..winners.len()).filter(|racer| winners[*racer].contains(&round)).collect();
        let [winner] = won.as_slice() else {
            let what = format!("{} of {RACERS} processes created the same file", won.len());
            return Err(refused(folder, &what));
        };
        if std::fs::read_to_string(inner.join(format!("round-{round}"))).ok() != Some(winner.to_string()) {
            return Err(refused(folder, "a file has other bytes than the process wrote that created it"));
        }
    }
    Ok(())
}

/// One of the processes that race: returns the rounds that it won.
pub(crate) fn racer(folder: &Path, number: usize) -> std::io::Result<Vec<usize>> {
    std::fs::write(folder.join(format!("ready-{number}")), "")?;
    let start = Instant::now();
    while !folder.join(START).exists() && start.elapsed() < PATIENCE {
        std::thread::sleep(Duration::from_millis(1));
    }
    let mut won = Vec::new();
    for round in 0..ROUNDS {
        let path = folder.join(format!("round-{round}"));
        let mut file = new_file(&path)?;
        write!(file, "{number}")?;
        if put_if_absent(&file, &path)? {
            won.push(round);
        }
    }
    Ok(won)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_round_needs_exactly_one_winner_with_a_whole_file() {
        let folder = tempfile::tempdir().unwrap();
        let inner = folder.path();
        (0..ROUNDS).for_each(|round| std::fs::write(inner.join(format!("round-{round}")), "1").unwrap());
        let all: Vec<usize> = (0..ROUNDS).collect();
        let check = |winners: &[Vec<usize>]| check_race(inner, inner, winners).map_err(|error| error.message);
        assert_eq!(check(&[vec![], all.clone()]), Ok(()));
        assert!(check(&[vec![3], all.clone()]).unwrap_err().ends_with("2 of 16 processes created the same file"));
        assert!(check(&[vec![], all[1..].to_vec()]).unwrap_err().ends_with("0 of 16 processes created the same file"));
        assert!(check(&[all, vec![]]).unwrap_err().contains("other bytes"));
    }
}
