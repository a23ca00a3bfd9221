//! The storage probe: whether a folder that several machines share, or a folder of an object store, keeps what workers
//! rely on.

use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant, SystemTime};

use super::EngineError;
use crate::object::{Address, Bucket, ObjectError};
use crate::store::put_if_absent;
use crate::table::files::{new_file, write_whole};

pub(crate) const RACERS: usize = 16;
const ROUNDS: usize = 8;
/// The time that racers wait for the start, and the probe for racers.
const PATIENCE: Duration = Duration::from_secs(60);
const START: &str = "start";
const REPLACED: &str = "replaced";
/// A clock that differs more is reported.
const SKEW: Duration = Duration::from_secs(2);

/// What a probe found. A folder that fails is an error.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Probed {
    /// `None` for an object store, which needs none.
    pub(crate) has_links: Option<bool>,
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

/// A place with files or objects, for racing processes.
trait Place {
    fn put(&self, name: &str, text: &str) -> io::Result<()>;

    /// Whether this call created the name.
    fn put_new(&self, name: &str, text: &str) -> io::Result<bool>;

    /// `None` if nothing has the name.
    fn read(&self, name: &str) -> io::Result<Option<String>>;

    fn exists(&self, name: &str) -> bool {
        self.read(name).is_ok_and(|text| text.is_some())
    }
}

impl Place for Path {
    fn put(&self, name: &str, text: &str) -> io::Result<()> {
        write_whole(&self.join(name), text.as_bytes())
    }

    fn put_new(&self, name: &str, text: &str) -> io::Result<bool> {
        let path = self.join(name);
        let mut file = new_file(&path)?;
        file.write_all(text.as_bytes())?;
        put_if_absent(&file, &path)
    }

    fn read(&self, name: &str) -> io::Result<Option<String>> {
        match std::fs::read_to_string(self.join(name)) {
            Ok(text) => Ok(Some(text)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }
}

impl Place for Bucket {
    fn put(&self, name: &str, text: &str) -> io::Result<()> {
        Ok(Bucket::put(self, name, text.into())?)
    }

    fn put_new(&self, name: &str, text: &str) -> io::Result<bool> {
        // The reply of the store may be lost after it has created the object.
        Ok(Bucket::put_new(self, name, text.into())? || Place::read(self, name)?.is_some_and(|found| found == text))
    }

    fn read(&self, name: &str) -> io::Result<Option<String>> {
        let bytes = self.get(name)?;
        Ok(bytes.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()))
    }
}

impl From<ObjectError> for EngineError {
    fn from(ObjectError { message, help }: ObjectError) -> Self {
        EngineError { message, help }
    }
}

/// The same for a folder of an object store, which has no clock that can be read.
pub(crate) fn probe_store(folder: &Address, program: &Path) -> Result<Probed, EngineError> {
    let inner = folder.join(&format!(".fanfold-probe-{}-{}", std::process::id(), milliseconds(SystemTime::now())));
    let bucket = Bucket::open(&inner)?;
    // An error of this one is not about the race.
    bucket.put("folder", Vec::new())?;
    let found = probe_objects(&bucket, (&folder.to_string(), &inner.to_string()), program);
    bucket.delete(&bucket.list("")?)?;
    found
}

fn probe_objects(bucket: &Bucket, (shown, inner): (&str, &str), program: &Path) -> Result<Probed, EngineError> {
    let broken = |error: io::Error| EngineError::new(format!("{shown} can't be shared by workers: {error}"));
    let winners = race(bucket, Path::new(inner), program).map_err(broken)?;
    check_race(shown, bucket, &winners)?;
    let write = rewrite(shown, bucket)?;
    Ok(Probed { has_links: None, write, skew_ms: 0 })
}

/// Lets processes of `program` race to create names in `folder`, and writes, replaces and reads files there.
pub(crate) fn probe(folder: &Path, program: &Path) -> Result<Probed, EngineError> {
    let broken = |what: &str| {
        let message = format!("{} can't be shared by workers: {what}", folder.display());
        move |error: io::Error| EngineError::new(format!("{message}: {error}"))
    };
    let inner = tempfile::Builder::new()
        .prefix(".fanfold-probe-")
        .tempdir_in(folder)
        .map_err(broken("no folder can be made"))?;
    let winners = race(inner.path(), inner.path(), program).map_err(broken("the race failed"))?;
    let shown = folder.display().to_string();
    check_race(&shown, inner.path(), &winners)?;
    let write = rewrite(&shown, inner.path())?;
    let path = inner.path().join(REPLACED);
    let modified = std::fs::metadata(&path).and_then(|found| found.modified()).map_err(broken("a file has no time"))?;
    Ok(Probed {
        has_links: Some(has_links(inner.path())),
        write,
        skew_ms: milliseconds(modified) - milliseconds(SystemTime::now()),
    })
}

/// Replaces a file or an object several times. Returns the mean time.
fn rewrite(shown: &str, place: &(impl Place + ?Sized)) -> Result<Duration, EngineError> {
    let broken = |error: io::Error| EngineError::new(format!("{shown} can't be shared by workers: {error}"));
    let start = Instant::now();
    for round in 0..ROUNDS {
        let text = format!("round {round}");
        place.put(REPLACED, &text).map_err(broken)?;
        if place.read(REPLACED).map_err(broken)? != Some(text) {
            return Err(refused(shown, "a file that was replaced still has its old bytes"));
        }
    }
    Ok(start.elapsed() / ROUNDS as u32)
}

fn milliseconds(time: SystemTime) -> i64 {
    time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_millis() as i64
}

fn has_links(folder: &Path) -> bool {
    std::fs::hard_link(folder.join(REPLACED), folder.join("link")).is_ok()
}

fn refused(shown: &str, what: &str) -> EngineError {
    EngineError {
        message: format!("{shown} can't be shared by workers: {what}"),
        help: Some(
            "keep the project on another file system, such as the home or the project folder of the cluster".to_owned(),
        ),
    }
}

/// The rounds that each racer won; `argument` is the place as an argument.
fn race(place: &(impl Place + ?Sized), argument: &Path, program: &Path) -> io::Result<Vec<Vec<usize>>> {
    let racer = |number: usize| {
        let words = ["doctor", "storage"].map(PathBuf::from).into_iter().chain([argument.to_owned()]);
        let mut command = Command::new(program);
        command.args(words).args(["--racer", &number.to_string()]);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn()
    };
    let racers: Vec<Child> = (0..RACERS).map(racer).collect::<io::Result<_>>()?;
    let start = Instant::now();
    let is_ready = |number: usize| place.exists(&format!("ready-{number}"));
    while !(0..RACERS).all(is_ready) && start.elapsed() < PATIENCE {
        std::thread::sleep(Duration::from_millis(20));
    }
    place.put(START, "")?;
    let rounds = |racer: Child| {
        let done = racer.wait_with_output()?;
        let words = String::from_utf8_lossy(&done.stdout).into_owned();
        Ok(words.split_whitespace().filter_map(|word| word.parse().ok()).collect())
    };
    racers.into_iter().map(rounds).collect()
}

/// Exactly one racer must have won each round, and its file must be whole.
fn check_race(shown: &str, place: &(impl Place + ?Sized), winners: &[Vec<usize>]) -> Result<(), EngineError> {
    for round in 0..ROUNDS {
        let won: Vec<usize> = (0..winners.len()).filter(|racer| winners[*racer].contains(&round)).collect();
        let [winner] = won.as_slice() else {
            let what = format!("{} of {RACERS} processes created the same file", won.len());
            return Err(refused(shown, &what));
        };
        if place.read(&format!("round-{round}")).ok().flatten() != Some(winner.to_string()) {
            return Err(refused(shown, "a file has other bytes than the process wrote that created it"));
        }
    }
    Ok(())
}

/// One of the processes that race: returns the rounds that it won.
pub(crate) fn racer(folder: &Path, number: usize) -> io::Result<Vec<usize>> {
    match folder.to_str().and_then(Address::parse) {
        Some(address) => run_race(&Bucket::open(&address?)?, number),
        None => run_race(folder, number),
    }
}

fn run_race(place: &(impl Place + ?Sized), number: usize) -> io::Result<Vec<usize>> {
    place.put(&format!("ready-{number}"), "")?;
    let start = Instant::now();
    while !place.exists(START) && start.elapsed() < PATIENCE {
        std::thread::sleep(Duration::from_millis(1));
    }
    let mut won = Vec::new();
    for round in 0..ROUNDS {
        if place.put_new(&format!("round-{round}"), &number.to_string())? {
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
        let check = |winners: &[Vec<usize>]| check_race("a", inner, winners).map_err(|error| error.message);
        assert_eq!(check(&[vec![], all.clone()]), Ok(()));
        assert!(check(&[vec![3], all.clone()]).unwrap_err().ends_with("2 of 16 processes created the same file"));
        assert!(check(&[vec![], all[1..].to_vec()]).unwrap_err().ends_with("0 of 16 processes created the same file"));
        assert!(check(&[all, vec![]]).unwrap_err().contains("other bytes"));
    }
}
