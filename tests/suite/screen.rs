//! A real terminal of 80 columns: the program in a window of tmux, what the window shows, and keys to it.

use std::process::{Command, Output};
use std::time::{Duration, Instant};

use crate::project::Project;
use crate::venv::skipped;

/// No program of a test may take longer.
const DEADLINE: Duration = Duration::from_secs(120);
const CONFIG: &str = "set -g remain-on-exit on\nset -g status off\nset -g default-terminal screen-256color\n";

/// A window in which the program runs or has ended.
pub(crate) struct Screen<'a> {
    project: &'a Project,
    socket: String,
}

/// Whether tmux is there. If not, says that the test was skipped.
pub(crate) fn is_there(test: &str) -> bool {
    let found = Command::new("tmux").arg("-V").output().is_ok_and(|ran| ran.status.success());
    if !found {
        skipped(test, "there is no tmux on this machine");
    }
    found
}

impl<'a> Screen<'a> {
    /// Starts the program in a window of this size, in a shell that has these variables.
    pub(crate) fn open(
        project: &'a Project,
        (columns, rows): (u32, u32),
        line: &str,
        variables: &[(&str, &str)],
    ) -> Screen<'a> {
        // A socket's path may have about 100 characters, so it is not in the project's folder.
        let socket = format!("/tmp/fanfold-{}-{:p}", std::process::id(), project);
        project.write(".tmux.conf", CONFIG);
        let screen = Screen { project, socket };
        // tmux loses the exit code of a program that ends at once, so the shell writes it down.
        let program = format!("trap : INT; {} {line}; echo $? > .exit-code", env!("CARGO_BIN_EXE_fanfold"));
        let (columns, rows) = (columns.to_string(), rows.to_string());
        let mut new =
            screen.tmux(&["-f", ".tmux.conf", "new-session", "-d", "-s", "s", "-x", &columns, "-y", &rows, &program]);
        new.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
        new.envs([("HOME", "/nonexistent"), ("TERM", "xterm-256color"), ("LANG", "C.UTF-8"), ("TZ", "UTC")]);
        new.envs(variables.iter().copied());
        let ran = new.output().expect("tmux starts");
        assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
        screen
    }

    fn tmux(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("tmux");
        command.args(["-S", &self.socket]).args(arguments).current_dir(self.project.folder());
        command
    }

    fn ask(&self, arguments: &[&str]) -> String {
        let Output { status, stdout, stderr } = self.tmux(arguments).output().expect("tmux answers");
        assert!(status.success(), "{}", String::from_utf8_lossy(&stderr));
        String::from_utf8_lossy(&stdout).into_owned()
    }

    /// What the window shows, and what has left it above.
    pub(crate) fn text(&self) -> String {
        let shown = self.ask(&["capture-pane", "-p", "-S", "-", "-t", "s"]);
        let lines = shown.lines().filter(|line| !line.starts_with("Pane is dead"));
        let text: String = lines.map(|line| format!("{}\n", line.trim_end())).collect();
        format!("{}\n", text.trim_end())
    }

    /// The same with the codes of colours.
    pub(crate) fn colors(&self) -> String {
        self.ask(&["capture-pane", "-e", "-p", "-S", "-", "-t", "s"])
    }

    pub(crate) fn resize(&self, columns: u32, rows: u32) {
        self.ask(&["resize-window", "-t", "s", "-x", &columns.to_string(), "-y", &rows.to_string()]);
    }

    pub(crate) fn press(&self, key: &str) {
        self.ask(&["send-keys", "-t", "s", key]);
    }

    fn wait(&self, what: &str, is_so: impl Fn() -> bool) {
        let started = Instant::now();
        while !is_so() {
            assert!(started.elapsed() < DEADLINE, "{what}; the window shows:\n{}", self.text());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Waits until the window shows a text.
    #[track_caller]
    pub(crate) fn shows(&self, text: &str) -> String {
        self.wait(&format!("`{text}` is not shown"), || self.text().contains(text));
        self.text()
    }

    /// Waits for the end of the program. Returns what the window shows.
    #[track_caller]
    pub(crate) fn ends(&self, code: i32) -> String {
        let is_dead = || self.ask(&["display-message", "-p", "-t", "s", "#{pane_dead}"]).trim() == "1";
        self.wait("the program has not ended", is_dead);
        assert_eq!(self.project.text(".exit-code").trim(), code.to_string(), "{}", self.text());
        self.text()
    }
}

impl Drop for Screen<'_> {
    fn drop(&mut self) {
        drop(self.tmux(&["kill-server"]).output());
        drop(std::fs::remove_file(&self.socket));
    }
}
