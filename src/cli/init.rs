//! The command `fanfold init`.

use std::path::{Path, PathBuf};

use super::{Exit, Failure, Terminal};

const SPEC: &str = include_str!("init/pipeline.toml");
const ROWS: &str = include_str!("init/remarks.csv");

/// Writes a commented starter spec and a few rows for it.
#[derive(Debug, clap::Args)]
pub(crate) struct Init {
    /// The folder; created if it does not exist.
    #[arg(default_value = ".")]
    folder: PathBuf,
}

impl Init {
    pub(crate) fn run(self, terminal: &Terminal) -> Result<Exit, Failure> {
        let files = [(self.folder.join("pipeline.toml"), SPEC), (self.folder.join("remarks.csv"), ROWS)];
        if let Some((path, _)) = files.iter().find(|(path, _)| path.exists()) {
            let message = format!("{} already exists", path.display());
            return Err(Failure::new(Exit::Spec, message).help("choose another folder"));
        }
        for (path, text) in &files {
            write(path, text).map_err(|error| {
                Failure::new(Exit::Environment, format!("{} can't be written: {error}", path.display()))
            })?;
            terminal.note(&format!("wrote {}", path.display()));
        }
        terminal.note(&format!("next: fanfold run {}", files[0].0.display()));
        Ok(Exit::Ok)
    }
}

fn write(path: &Path, text: &str) -> std::io::Result<()> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    std::fs::write(path, text)
}
