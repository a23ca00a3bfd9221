//! The wheel: maturin builds it around the program of these tests, and pip installs it. The tests in `python/tests` then
//! check the module in it.
//!
//! Without maturin, pip or PyPI the tests are skipped, loudly.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::time::Instant;

use serde_json::Value;

use crate::book::{block, blocks};
use crate::ci;
use crate::hub::{self, Hub};
use crate::project::Project;
use crate::python::Python;
use crate::venv::{installed, skipped};
use crate::weights;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");
const VERSION: &str = env!("CARGO_PKG_VERSION");
const PROGRAM: &str = env!("CARGO_BIN_EXE_fanfold");
const MATURIN: [&str; 1] = ["maturin==1.16.0"];
const POLARS: [&str; 2] = ["polars==2.1.0", "polars-runtime-32==2.1.0"];
const LINTERS: [&str; 7] = [
    "mypy==2.4.1",
    "ruff==0.17.6",
    "ast-serialize==0.13.1",
    "librt==0.17.0",
    "mypy_extensions==1.2.0",
    "pathspec==1.1.1",
    "typing_extensions==4.16.0",
];

/// The standard output of a program. The error has its arguments and both outputs.
fn output(command: &mut Command) -> Result<String, String> {
    let name = format!("{command:?}");
    let output = command.stdin(Stdio::null()).output().map_err(|error| format!("{name}: {error}"))?;
    let [stdout, stderr] = [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned());
    if output.status.success() { Ok(stdout) } else { Err(format!("{name}:\n{stdout}{stderr}")) }
}

/// A wheel with the program of these tests, and a folder where pip has installed it.
struct Wheel {
    file: PathBuf,
    site: PathBuf,
    /// The arguments that maturin gave to `cargo` to build the program.
    arguments: String,
}

impl Wheel {
    /// The wheel, or a loud line on stderr that the test was skipped.
    fn or_skip(test: &str) -> Option<&'static Wheel> {
        static WHEEL: OnceLock<Result<Wheel, String>> = OnceLock::new();
        let maturin = installed("maturin-venv", &MATURIN);
        let maturin = maturin.map_err(|why| skipped(test, &format!("no maturin: {why}"))).ok()?;
        let built = WHEEL.get_or_init(|| Wheel::build(&maturin.with_file_name("maturin")));
        Some(built.as_ref().unwrap_or_else(|why| panic!("{why}")))
    }

    /// A real `cargo` would compile the program once more. So maturin finds another `cargo`, which names the program of
    /// these tests when maturin asks for a build. Everything else is as in a release.
    fn build(maturin: &Path) -> Result<Wheel, String> {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("wheel");
        let _ = fs::remove_dir_all(&folder);
        let (bin, site) = (folder.join("bin"), folder.join("site"));
        fs::create_dir_all(&bin).map_err(|error| error.to_string())?;
        let program = folder.join("fanfold");
        // The symbols are most of a debug build.
        output(Command::new("strip").arg("-o").arg(&program).arg(PROGRAM))
            .or_else(|_| fs::copy(PROGRAM, &program).map(|_| String::new()).map_err(|error| error.to_string()))?;
        let cargo = env!("CARGO");
        let metadata = output(Command::new(cargo).args(["metadata", "--no-deps", "--offline"]).current_dir(ROOT))?;
        let metadata: Value = serde_json::from_str(&metadata).map_err(|error| error.to_string())?;
        let package = &metadata["packages"][0];
        let is_program = |target: &&Value| target["kind"][0] == "bin";
        let target = package["targets"].as_array().and_then(|all| all.iter().find(is_program));
        let artifact = serde_json::json!({
            "reason": "compiler-artifact", "package_id": package["id"], "manifest_path": package["manifest_path"],
            "target": target, "features": [], "filenames": [program], "executable": program, "fresh": true,
            "profile": {
                "opt_level": "0", "debuginfo": 0, "debug_assertions": true, "overflow_checks": true, "test": false,
            },
        });
        let end = r#"{"reason":"build-finished","success":true}"#;
        let arguments = folder.join("arguments");
        let shown = arguments.display();
        let script = format!(
            "#!/bin/sh\ncase \"$1\" in\nrustc) echo \"$@\" > '{shown}'\ncat <<'END'\n{artifact}\n{end}\nEND\n;;\n\
             *) exec '{cargo}' \"$@\";;\nesac\n"
        );
        executable(&bin.join("cargo"), &script)?;
        let path = std::env::var("PATH").unwrap_or_default();
        let mut build = Command::new(maturin);
        build.args(["build", "--profile", "dev", "--compression-method", "stored", "--out"]).arg(&folder);
        output(
            build.current_dir(ROOT).env("PATH", format!("{}:{path}", bin.display())).env("CARGO", bin.join("cargo")),
        )?;
        let files = fs::read_dir(&folder).map_err(|error| error.to_string())?.flatten().map(|entry| entry.path());
        let wheels: Vec<PathBuf> = files.filter(|file| file.extension().is_some_and(|end| end == "whl")).collect();
        let [file] = wheels.as_slice() else { return Err(format!("maturin made {wheels:?}")) };
        let target = ["-m", "pip", "install", "--quiet", "--no-index", "--no-deps", "--target"];
        output(Command::new(maturin.with_file_name("python")).args(target).arg(&site).arg(file))?;
        let arguments = fs::read_to_string(&arguments).map_err(|error| error.to_string())?;
        Ok(Wheel { file: file.clone(), site, arguments })
    }

    /// Runs tests of `python/tests` with the installed wheel.
    fn test(&self, python: &Path, module: &str) -> Result<String, String> {
        let tests = Path::new(ROOT).join("python").join("tests");
        let paths = std::env::join_paths([&self.site, &tests]).map_err(|error| error.to_string())?;
        let mut command = Command::new(python);
        command.args(["-W", "error::ResourceWarning", "-m", "unittest", module]).current_dir(&self.site);
        output(command.env("PYTHONPATH", paths).env("PYTHONDONTWRITEBYTECODE", "1"))
    }
}

fn executable(path: &Path, text: &str) -> Result<(), String> {
    fs::write(path, text).map_err(|error| error.to_string())?;
    output(Command::new("chmod").arg("+x").arg(path)).map(drop)
}

/// The Pythons of this machine that the module supports, with their versions.
fn pythons() -> Vec<(String, PathBuf)> {
    let root = std::env::var("PYENV_ROOT").or_else(|_| std::env::var("HOME").map(|home| format!("{home}/.pyenv")));
    let of_pyenv = fs::read_dir(Path::new(&root.unwrap_or_default()).join("versions")).into_iter().flatten().flatten();
    let of_pyenv: Vec<PathBuf> = of_pyenv.map(|version| version.path().join("bin")).collect();
    let find = |version: &str| {
        let name = format!("python{version}");
        let mut found = of_pyenv.iter().map(|folder| folder.join(&name)).chain([PathBuf::from(&name)]);
        found.find(|python| output(Command::new(python).arg("--version")).is_ok())
    };
    let versions = (10..20).map(|minor| format!("3.{minor}"));
    versions.filter_map(|version| find(&version).map(|python| (version, python))).collect()
}

#[test]
fn the_wheel_has_the_program_and_the_module() {
    let test = "the_wheel_has_the_program_and_the_module";
    let Some(wheel) = Wheel::or_skip(test) else { return };
    let name = wheel.file.file_name().unwrap_or_default().to_string_lossy().into_owned();
    assert!(name.starts_with(&format!("fanfold-{VERSION}-py3-none-")), "{name}");
    let listed = output(Command::new("python3").args(["-m", "zipfile", "-l"]).arg(&wheel.file)).expect("a zip file");
    let files: Vec<&str> = listed.lines().skip(1).filter_map(|line| line.split_whitespace().next()).collect();
    let scripts = format!("fanfold-{VERSION}.data/scripts/fanfold");
    for wanted in ["fanfold/__init__.py", "fanfold/__main__.py", "fanfold/py.typed", &scripts] {
        assert!(files.contains(&wanted), "{wanted} is not in {files:?}");
    }
    assert!(files.iter().any(|file| file.ends_with("licenses/LICENSE")), "{files:?}");
    assert!(wheel.arguments.contains("--features cloud"), "a wheel without object stores: {}", wheel.arguments);
    let is_known = |file: &&&str| file.starts_with("fanfold/") || file.starts_with(&format!("fanfold-{VERSION}."));
    assert_eq!(files.iter().filter(is_known).count(), files.len(), "{files:?}");
    // A fresh environment, as a person has one.
    let folder = tempfile::tempdir().expect("a folder");
    let venv = folder.path().join("venv");
    output(Command::new("python3").args(["-m", "venv"]).arg(&venv)).expect("an environment");
    let [python, program] = ["python", "fanfold"].map(|name| venv.join("bin").join(name));
    let install = ["-m", "pip", "install", "--quiet", "--no-index"];
    output(Command::new(&python).args(install).arg(&wheel.file)).expect("pip installs the wheel");
    let version = format!("fanfold {VERSION}\n");
    assert_eq!(output(Command::new(program).arg("--version")), Ok(version.clone()));
    assert_eq!(output(Command::new(&python).args(["-m", "fanfold", "--version"])), Ok(version));
    let module = "import fanfold; print(fanfold.__version__, fanfold.find_program())";
    let printed = output(Command::new(&python).args(["-c", module]).current_dir(folder.path())).expect("the module");
    assert_eq!(printed, format!("{VERSION} {}\n", venv.join("bin/fanfold").display()));
}

#[test]
fn the_module_works_with_each_python() {
    let test = "the_module_works_with_each_python";
    let Some(wheel) = Wheel::or_skip(test) else { return };
    let pythons = pythons();
    for wanted in ["3.10", "3.11", "3.12", "3.13"] {
        if !pythons.iter().any(|(version, _)| version == wanted) {
            skipped(test, &format!("no Python {wanted}"));
        }
    }
    // They mostly wait for servers and signals.
    std::thread::scope(|scope| {
        for (version, python) in &pythons {
            scope.spawn(move || {
                wheel.test(python, "test_module").unwrap_or_else(|why| panic!("Python {version}: {why}"))
            });
        }
    });
}

#[test]
fn tables_of_pandas_polars_and_pyarrow_go_in_and_come_out() {
    let test = "tables_of_pandas_polars_and_pyarrow_go_in_and_come_out";
    let Some(wheel) = Wheel::or_skip(test) else { return };
    if let Some(python) = Python::or_skip(test) {
        wheel.test(python.path(), "test_frames").unwrap_or_else(|why| panic!("pandas and pyarrow: {why}"));
    }
    match installed("polars-venv", &POLARS) {
        Ok(python) => drop(wheel.test(&python, "test_frames").unwrap_or_else(|why| panic!("polars: {why}"))),
        Err(why) => skipped(test, &format!("no polars: {why}")),
    }
}

#[test]
fn the_module_is_typed_and_clean() {
    let test = "the_module_is_typed_and_clean";
    let python = match installed("linters-venv", &LINTERS) {
        Ok(python) => python,
        Err(why) => return skipped(test, &format!("no mypy and ruff: {why}")),
    };
    let cache = concat!(env!("CARGO_TARGET_TMPDIR"), "/mypy-cache");
    for arguments in [
        &["mypy", "--cache-dir", cache][..],
        &["ruff", "check", "--no-cache"],
        &["ruff", "format", "--check", "--no-cache"],
    ] {
        let program = python.with_file_name(arguments[0]);
        output(Command::new(program).args(&arguments[1..]).current_dir(ROOT)).unwrap_or_else(|why| panic!("{why}"));
    }
}

/// The text without the day of the runs.
pub(crate) fn undated(text: &str) -> Vec<String> {
    let is_day = |word: &str| word.len() == 10 && word.starts_with("20") && word.matches('-').count() == 2;
    let undated = |word: &str| {
        let start = word.find("20").filter(|start| word.get(*start..start + 10).is_some_and(is_day));
        start.map_or_else(|| word.to_owned(), |start| format!("{}day{}", &word[..start], &word[start + 10..]))
    };
    text.lines().map(|line| line.split(' ').map(undated).collect::<Vec<_>>().join(" ")).collect()
}

#[test]
fn the_page_about_python_is_correct() {
    let test = "the_page_about_python_is_correct";
    let Some(wheel) = Wheel::or_skip(test) else { return };
    let Some(python) = Python::or_skip(test) else { return };
    let (page, folder) = ("docs/src/python.md", tempfile::tempdir().expect("a folder"));
    fs::write(folder.path().join("study.toml"), block(page, "## How do I label", "toml")).expect("a file");
    let mut command = Command::new(python.path());
    command.args(["-c", &blocks(page, "python").concat()]).current_dir(folder.path()).env("PYTHONPATH", &wheel.site);
    let printed = output(&mut command).unwrap_or_else(|why| panic!("{why}"));
    assert_eq!(undated(&printed), undated(&blocks(page, "text").concat()));
}

#[test]
fn the_action_installs_the_wheel() {
    let Some(wheel) = Wheel::or_skip("the_action_installs_the_wheel") else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let install = |what: &Path| {
        let bash = ["--noprofile", "--norc", "-eo", "pipefail", "-c", &ci::script("install")];
        let mut command = Command::new("bash");
        command.args(bash).env("INSTALL", what).env("RUNNER_TEMP", folder.path()).env("PIP_NO_INDEX", "1");
        output(command.env("GITHUB_PATH", folder.path().join("path")))
    };
    install(&wheel.file).unwrap_or_else(|why| panic!("{why}"));
    let bin = fs::read_to_string(folder.path().join("path")).expect("the folder for later steps");
    let version = output(Command::new(Path::new(bin.trim()).join("fanfold")).arg("--version"));
    assert_eq!(version, Ok(format!("fanfold {VERSION}\n")));
    for wrong in ["no-such-package==0.0.0", "/no/such.whl", ""] {
        assert!(install(Path::new(wrong)).is_err(), "{wrong}");
    }
}

/// From a machine with only Python to a first table, with the commands of the book: the wheel comes from a folder, and
/// the weights from a hub on this machine. The time is printed, and depends on the machine and its network.
#[test]
fn the_quick_start_makes_a_table() {
    let test = "the_quick_start_makes_a_table";
    let Some(wheel) = Wheel::or_skip(test) else { return };
    let Some(project) = weights::or_skip(test, Project::new()) else { return };
    let files = fs::read_dir(weights::FOLDER).expect("the weights").flatten().map(|entry| entry.path());
    let mut files = files.filter(|file| file.extension().is_some_and(|end| end == "gguf"));
    let hub = Hub::start(fs::read(files.next().expect("the weights")).expect("the weights"));
    let commands = block("docs/src/install.md", "From there, a first table", "sh");
    let model = format!("fanfold run --set 'models.first.model=\"{}\"'", hub::ID);
    let commands = commands.replace("fanfold run", &model);
    assert!(commands.contains(hub::ID), "{commands}");
    let script = format!("set -eux\npython3 -m venv fresh\nPATH=\"$PWD/fresh/bin:$PATH\"\n{commands}");
    let begun = Instant::now();
    let mut command = Command::new("sh");
    command.args(["-c", &script]).current_dir(project.folder()).env("HF_ENDPOINT", &hub.address);
    command.env("HF_HOME", project.path("hf")).env("PIP_NO_INDEX", "1");
    command.env("PIP_FIND_LINKS", wheel.file.parent().expect("a folder"));
    output(&mut command).unwrap_or_else(|why| panic!("{why}"));
    println!("from nothing to a table in {:.1} s, with {} MB of weights", begun.elapsed().as_secs_f64(), 93);
    assert!(project.files("out").iter().any(|file| file.ends_with(".csv")), "{:?}", project.files("out"));
}
