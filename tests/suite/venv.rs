//! Virtual environments of Python with packages from PyPI, installed once into `target/`.
//!
//! Without Python or PyPI the tests that need one are skipped, loudly.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Says past the test harness, which keeps the lines of a test that passes to itself, that `test` was skipped.
pub(crate) fn skipped(test: &str, why: &str) {
    let line = format!("SKIPPED (not shown): {test}: {why}\n");
    drop(std::io::stderr().write_all(line.as_bytes()));
}

/// The Python of the virtual environment `name` in `target/tmp`. Installs the packages, and nothing that they depend
/// on, when that has not been done.
pub(crate) fn installed(name: &str, packages: &[&str]) -> Result<PathBuf, String> {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
    fs::create_dir_all(folder).map_err(|e| format!("{}: {e}", folder.display()))?;
    let venv = folder.join(name);
    let python = venv.join("bin").join("python");
    let marker = venv.join("installed");
    let wanted = packages.join("\n");
    // One test process installs, the others wait; the system lets go of the lock when its holder dies.
    let lock = File::create(folder.join(format!("{name}.lock"))).map_err(|e| e.to_string())?;
    lock.lock().map_err(|e| e.to_string())?;
    if fs::read_to_string(&marker).is_ok_and(|text| text == wanted) {
        return Ok(python);
    }
    if venv.exists() {
        fs::remove_dir_all(&venv).map_err(|e| e.to_string())?;
    }
    command(Command::new("python3").args(["-m", "venv"]).arg(&venv))?;
    // Only odfpy has no wheel; it is plain Python.
    let install = ["-m", "pip", "install", "--quiet", "--no-deps", "--only-binary", ":all:", "--no-binary", "odfpy"];
    command(Command::new(&python).args(install).args(["--retries", "1", "--timeout", "60"]).args(packages))?;
    fs::write(&marker, wanted).map_err(|e| e.to_string())?;
    Ok(python)
}

pub(crate) fn command(command: &mut Command) -> Result<(), String> {
    let name = format!("{command:?}");
    let output = command.stdin(Stdio::null()).output().map_err(|e| format!("{name}: {e}"))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let last = said.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("it failed");
    Err(format!("{name}: {last}"))
}
