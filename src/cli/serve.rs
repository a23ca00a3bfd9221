//! Serving: starts the server of a page, shows its address, and waits for the end. Reads the port of `--serve`.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;

use super::runtime::block_on;
use super::terminal::Notes;
use super::{Exit, Failure, Terminal};
use crate::pipeline::Started;
use crate::run::{Cost, Stop, earlier_cost};
use crate::serve::{Server, Shown, Site, Watched};
use crate::spec::Spec;
use crate::store::{Ledger, Project};

/// Serves the site until the server is dropped. The address is shown once.
pub(crate) fn serve(site: Arc<Site>, port: Option<u16>, open: bool, terminal: &Terminal) -> Result<Server, Failure> {
    let server = Server::start(site, port).map_err(|error| {
        let place = port.map_or("a free port".to_owned(), |port| format!("port {port}"));
        let failure = Failure::new(Exit::Environment, format!("the page can't be served at {place}: {error}"));
        failure.help_if(port.map(|_| "leave the port out, and a free one is chosen"))
    })?;
    // Without the address the page is of no use, so it is shown to quiet users too.
    let terminal = match terminal.notes {
        Notes::None => Terminal { notes: Notes::Text, ..*terminal },
        _ => *terminal,
    };
    terminal.note(&format!("the page is at {}", server.address()));
    server.sheets().iter().for_each(|(title, address)| terminal.note(&format!("code {title} at {address}")));
    if open && let Err(error) = open::that_detached(server.address_once()) {
        terminal.note(&format!("the browser can't be opened: {error}"));
    }
    Ok(server)
}

/// A run that is shown while it goes.
pub(crate) struct Live {
    site: Arc<Site>,
    shown: Arc<Mutex<Option<Shown>>>,
    spec: PathBuf,
    _server: Server,
}

impl Live {
    /// Starts to serve the run of `spec`, which was read from `path`.
    pub(crate) fn start(
        (spec, path): (&Spec, &Path),
        port: Option<u16>,
        open: bool,
        terminal: &Terminal,
    ) -> Result<Live, Failure> {
        let shown: Arc<Mutex<Option<Shown>>> = Arc::default();
        let begun = shown.clone();
        let find = move || begun.lock().clone().ok_or("The run has not begun yet.".to_owned());
        let site = Arc::new(Site::new(spec, Box::new(find), true));
        let server = serve(site.clone(), port, open, terminal)?;
        Ok(Live { site, shown, spec: path.to_owned(), _server: server })
    }

    pub(crate) fn begin(&self, started: &Started, stop: &Stop) {
        let Started { plan, folder, .. } = started;
        *self.shown.lock() =
            Some(Shown { plan: plan.clone(), folder: folder.clone(), is_current: true, spec: self.spec.clone() });
        self.site.watch(Watched::new(started, stop, earlier(&plan.spec)));
    }

    /// Shows how and why the run has ended, and serves on until Ctrl-C. A signal that has stopped the run also ends the server.
    pub(crate) fn end(self, exit: Exit, why: String, terminal: &Terminal) -> Result<(), Failure> {
        block_on(async {
            let end = ending();
            let is_stopped_in_page = self.site.ended(exit as u8, why);
            let by_signal = matches!(exit, Exit::Interrupted | Exit::Terminated) && !is_stopped_in_page;
            if !by_signal {
                let code = exit as u8;
                terminal.note(&format!("the run has ended with exit code {code}; press Ctrl-C to end the server"));
                end.await;
            }
            Ok(())
        })
    }
}

/// What earlier runs cost, if the budget limits the total of all runs.
fn earlier(spec: &Spec) -> Option<Cost> {
    spec.budget.total?;
    let ledger = Ledger::read(&Project::of(&spec.folder).ledger()).ok()?;
    earlier_cost(spec, &ledger).ok()
}

/// Waits for Ctrl-C, or for another signal that ends the process. Signals count from the call on.
pub(crate) fn ending() -> impl Future<Output = ()> {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        let [interrupt, terminate, hangup] =
            [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()].map(signal);
        async move {
            if let (Ok(mut interrupt), Ok(mut terminate), Ok(mut hangup)) = (interrupt, terminate, hangup) {
                tokio::select! {
                    _ = interrupt.recv() => {}
                    _ = terminate.recv() => {}
                    _ = hangup.recv() => {}
                }
            }
        }
    }
    #[cfg(not(unix))]
    async {
        let _ = tokio::signal::ctrl_c().await;
    }
}

/// The words of the command line, where `--serve` takes the next word only if it is a number. So the spec can follow it.
pub(super) fn with_port(words: impl IntoIterator<Item = OsString>) -> Vec<OsString> {
    let mut all: Vec<OsString> = Vec::new();
    for word in words {
        let is_port = word.to_str().is_some_and(|word| word.bytes().all(|byte| byte.is_ascii_digit()));
        match all.last_mut().filter(|last| *last == "--serve") {
            Some(last) if is_port => {
                last.push("=");
                last.push(word);
            }
            Some(last) => {
                last.push("=0");
                all.push(word);
            }
            None => all.push(word),
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::with_port;

    #[test]
    fn the_spec_may_follow_the_flag_that_serves() {
        let read = |words: &str| with_port(words.split(' ').map(Into::into)).join(std::ffi::OsStr::new(" "));
        assert_eq!(read("fanfold report --serve a.toml"), "fanfold report --serve=0 a.toml");
        assert_eq!(read("fanfold report --serve 8421 a.toml"), "fanfold report --serve=8421 a.toml");
        assert_eq!(read("fanfold report --serve --open"), "fanfold report --serve=0 --open");
        assert_eq!(read("fanfold report a.toml --serve"), "fanfold report a.toml --serve");
        assert_eq!(read("fanfold report --serve=7 8"), "fanfold report --serve=7 8");
    }
}
