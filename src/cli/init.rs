//! `fanfold init`

use std::path::{Path, PathBuf};

use super::exit::Exit;
use super::terminal::Terminal;

/// The starter spec.
const SPEC: &str = include_str!("init/pipeline.toml");
/// The rows that it reads.
const ROWS: &str = include_str!("init/remarks.csv");

/// Writes a commented starter spec and a few rows for it.
#[derive(Debug, clap::Args)]
pub struct Init {
    /// The folder; it is made if it isn't there.
    #[arg(default_value = ".")]
    folder: PathBuf,
}

impl Init {
    /// Runs the command.
    pub fn run(self, terminal: &Terminal) -> Exit {
        let files = [(self.folder.join("pipeline.toml"), SPEC), (self.folder.join("remarks.csv"), ROWS)];
        if let Some((path, _)) = files.iter().find(|(path, _)| path.exists()) {
            terminal.error(&format!("{} is there already", path.display()), Some("choose another folder"));
            return Exit::Spec;
        }
        for (path, text) in &files {
            if let Err(error) = write(path, text) {
                terminal.error(&format!("{} can't be written: {error}", path.display()), None);
                return Exit::Environment;
            }
            terminal.note(&format!("wrote {}", path.display()));
        }
        terminal.note(&format!("now: fanfold run {}", files[0].0.display()));
        Exit::Ok
    }
}

fn write(path: &Path, text: &str) -> std::io::Result<()> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    std::fs::write(path, text)
}
