//! Python with packages from PyPI, to check files with other programs: pandas, pyarrow, openpyxl, odfpy and
//! pyreadstat.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, OnceLock};

use crate::project::Project;
use crate::venv::{installed, skipped};

/// What is installed, with everything that these need.
const PACKAGES: [&str; 11] = [
    "pyreadstat==1.3.7",
    "odfpy==1.4.1",
    "defusedxml==0.7.1",
    "openpyxl==3.1.5",
    "pandas==3.1.1",
    "pyarrow==26.0.1",
    "numpy==2.4.6",
    "et_xmlfile==2.0.0",
    "narwhals==2.29.0",
    "python-dateutil==4.0.0",
    "tzdata==2026.6",
];

/// A Python with these packages.
pub(crate) struct Python(PathBuf);

impl Python {
    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// The Python, or a loud line on stderr that the test was skipped.
    pub(crate) fn or_skip(test: &str) -> Option<Python> {
        match installed("tables-venv", &PACKAGES) {
            Ok(python) => Some(Python(python)),
            Err(why) => {
                skipped(test, &format!("no Python with pandas and pyreadstat: {why}"));
                None
            }
        }
    }

    /// What `script` prints when it runs in `folder`. A script that fails fails the test.
    pub(crate) fn run(&self, folder: &Path, script: &str) -> String {
        let output = Command::new(&self.0)
            .args(["-W", "ignore", "-X", "utf8", "-c", script])
            .current_dir(folder)
            .stdin(Stdio::null())
            .output()
            .expect("python starts");
        let [stdout, stderr] = [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned());
        assert!(output.status.success(), "{stderr}\n{stdout}\nthe script was:\n{script}");
        stdout
    }

    /// The files that `script` writes into an empty folder. It runs once for all tests: pandas takes a second to start.
    pub(crate) fn files(&self, script: &str) -> Files {
        static WRITTEN: Mutex<BTreeMap<String, Arc<OnceLock<Files>>>> = Mutex::new(BTreeMap::new());
        let written = WRITTEN.lock().expect("no panic").entry(script.to_owned()).or_default().clone();
        let run = || {
            let project = Project::new();
            self.run(project.folder(), script);
            project.files("").into_iter().map(|file| (file.clone(), project.bytes(&file))).collect()
        };
        written.get_or_init(run).clone()
    }
}

/// The bytes of files by their paths.
pub(crate) type Files = BTreeMap<String, Vec<u8>>;

#[test]
fn the_packages_work() {
    let Some(python) = Python::or_skip("the_packages_work") else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let script = r#"
import pandas as pd, pyreadstat, pyarrow
frame = pd.DataFrame({"n": [1.0, 2.0]})
pyreadstat.write_sav(frame, "t.sav", column_labels=["Grüße"], variable_value_labels={"n": {1: "one"}})
frame.to_excel("t.xlsx", index=False)
back, meta = pyreadstat.read_sav("t.sav")
print(list(back["n"]), meta.column_names_to_labels["n"], meta.variable_value_labels["n"])
print(list(pd.read_excel("t.xlsx")["n"]))
"#;
    assert_eq!(python.run(folder.path(), script), "[1.0, 2.0] Grüße {1.0: 'one'}\n[1, 2]\n");
}
