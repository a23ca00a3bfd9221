//! The server: shows the report of a run in the browser, also while the run goes, to this machine only.
//!
//! ```text
//!  request --guard--> door of its secret --> page, style and script, or JSON
//! ```
//!
//! It has its own thread, so that it does not slow a run. Work that takes long happens on further threads.

mod connections;
mod corrections;
mod file;
mod guard;
mod report;
mod sheet;
mod site;
mod watch;

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{CONTENT_TYPE, HeaderValue, LOCATION};
use hyper::{Request, Response, StatusCode};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::oneshot;

pub(crate) use report::Shown;
pub(crate) use site::Site;
pub(crate) use watch::Watched;

use crate::page::{Page, Search, Served, Subject, rows};
use corrections::{Change, Corrected, Wanted};
use file::Refused;
use sheet::Code;
use site::Door;

/// How long the server waits at its end for work that writes.
const END: Duration = Duration::from_secs(5);

/// A server that runs until this value is dropped.
pub(crate) struct Server {
    origin: String,
    site: Arc<Site>,
    end: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// Starts to serve `site` on 127.0.0.1, at a free port by default.
    pub(crate) fn start(site: Arc<Site>, port: Option<u16>) -> std::io::Result<Server> {
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, port.unwrap_or(0)))?;
        listener.set_nonblocking(true)?;
        let (origin, served) = (format!("http://{}", listener.local_addr()?), site.clone());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().max_blocking_threads(4).build()?;
        let (end, ended) = oneshot::channel();
        let thread = std::thread::Builder::new().name("serve".to_owned()).spawn(move || {
            runtime.block_on(async {
                tokio::select! {
                    _ = serve(listener, served) => {}
                    _ = ended => {}
                }
            });
            runtime.shutdown_timeout(END);
        })?;
        Ok(Server { origin, site, end: Some(end), thread: Some(thread) })
    }

    /// The address of the report. Its secret opens everything that the server has.
    pub(crate) fn address(&self) -> String {
        format!("{}{}", self.origin, self.site.path())
    }

    /// An address that leads to the report once, for a browser.
    pub(crate) fn address_once(&self) -> String {
        format!("{}{}", self.origin, self.site.path_once())
    }

    /// The addresses of the coding sheets, with their titles. Each opens one sheet and nothing else.
    pub(crate) fn sheets(&self) -> Vec<(String, String)> {
        self.site.sheet_paths().map(|(title, path)| (title, format!("{}{path}", self.origin))).collect()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.end.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

async fn serve(listener: std::net::TcpListener, site: Arc<Site>) -> std::io::Result<()> {
    connections::serve(TcpListener::from_std(listener)?, move |request| answer(site.clone(), request)).await;
    Ok(())
}

/// The content of a reply.
enum Reply {
    Text(&'static str, String),
    /// The page of the report, which has its own style and script.
    Page(String),
    Json(Value),
    /// The path of the page that is meant.
    Moved(String),
    Refused(StatusCode, String),
}

async fn answer(site: Arc<Site>, request: Request<Incoming>) -> Response<Full<Bytes>> {
    let reply = match guard::check(request.headers()) {
        Err(refusal) => Reply::Refused(StatusCode::FORBIDDEN, refusal.text().to_owned()),
        Ok(()) => behind_door(&site, request).await,
    };
    let policy = matches!(reply, Reply::Page(_)).then(Served::policy);
    let place = if let Reply::Moved(path) = &reply { HeaderValue::from_str(path).ok() } else { None };
    let (status, kind, text) = match reply {
        Reply::Page(text) => (StatusCode::OK, HTML, text),
        Reply::Text(kind, text) => (StatusCode::OK, kind, text),
        Reply::Json(value) => (StatusCode::OK, "application/json", value.to_string()),
        Reply::Moved(_) => (StatusCode::SEE_OTHER, PLAIN, String::new()),
        Reply::Refused(status, text) => (status, PLAIN, text),
    };
    let mut response = Response::new(Full::from(text));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    response.headers_mut().extend(place.map(|place| (LOCATION, place)));
    guard::protect(response.headers_mut(), policy.as_deref());
    response
}

async fn behind_door(site: &Arc<Site>, request: Request<Incoming>) -> Reply {
    let path = request.uri().path().to_owned();
    let (word, rest) = path.trim_start_matches('/').split_once('/').unwrap_or((&path, ""));
    match site.door(word) {
        Some(Door::Report) => of_report(site, rest.to_owned(), request).await,
        Some(Door::Sheet(sheet)) => of_sheet(site, sheet, rest.to_owned(), request).await,
        Some(Door::Once) => Reply::Moved(site.path()),
        None => {
            Reply::Refused(StatusCode::FORBIDDEN, "This address lacks the secret that the terminal shows".to_owned())
        }
    }
}

/// What the page of a report loads from this server.
const LINKS: &str = r#"<link rel="stylesheet" href="live.css"><script src="live.js" defer></script>"#;

/// The most rows of one search in an output, and about their bytes.
const DATA_ROWS: usize = 200;
const DATA_BYTES: usize = 1 << 20;

/// The most bytes of a request with a code.
const CODE_BYTES: usize = 1 << 20;

const HTML: &str = "text/html; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";
const STYLE: &str = "text/css; charset=utf-8";
const PLAIN: &str = "text/plain; charset=utf-8";

fn unknown() -> Reply {
    Reply::Refused(StatusCode::NOT_FOUND, "there is no such page".to_owned())
}

/// The replies behind the door of the report.
async fn of_report(site: &Arc<Site>, path: String, request: Request<Incoming>) -> Reply {
    let asked = site.clone();
    if let Ok(Some(why)) = tokio::task::spawn_blocking(move || asked.closed()).await
        && path != "stop"
    {
        return Reply::Refused(StatusCode::LOCKED, why);
    }
    let query = Query::of(request.uri().query().unwrap_or_default());
    match (request.method().as_str(), path.as_str()) {
        ("GET", "") => report_page(site.clone(), query.0.contains_key("renew")).await,
        ("GET", "live.js") => Reply::Text(SCRIPT, include_str!("live.js").to_owned()),
        ("GET", "live.css") => Reply::Text(STYLE, include_str!("live.css").to_owned()),
        ("GET", "correct") => Reply::Text(HTML, include_str!("correct.html").to_owned()),
        ("GET", "filling.js") => Reply::Text(SCRIPT, include_str!("filling.js").to_owned()),
        ("GET", "correct.js") => Reply::Text(SCRIPT, include_str!("correct.js").to_owned()),
        ("GET", "coding.css") => Reply::Text(STYLE, include_str!("coding.css").to_owned()),
        ("GET", "state") => state(site.clone()).await,
        ("GET", "rows") => {
            let totals = site.totals();
            about_run(site, move |shown| shown.with(totals, |subject| data(subject, &query)).map_err(Refused::Failed))
                .await
        }
        ("GET", "corrections") => about_run(site, move |shown| query.corrected(shown)?.rows(&query.wanted())).await,
        ("POST", "correction") => {
            let change = sent::<Change>(request).await;
            about_run(site, move |shown| version(query.corrected(shown)?.save(&change?))).await
        }
        ("POST", "stop") => {
            site.watched.lock().iter_mut().for_each(Watched::drain);
            Reply::Json(json!({}))
        }
        _ => unknown(),
    }
}

/// The fields of a query.
struct Query(BTreeMap<String, String>);

impl Query {
    fn of(text: &str) -> Query {
        let address = reqwest::Url::parse(&format!("http://localhost/?{text}"));
        Query(address.iter().flat_map(|address| address.query_pairs().into_owned().collect::<Vec<_>>()).collect())
    }

    fn text(&self, name: &str) -> &str {
        self.0.get(name).map_or("", String::as_str)
    }

    fn number(&self, name: &str) -> u64 {
        self.text(name).parse().unwrap_or(0)
    }

    fn wanted(&self) -> Wanted {
        Wanted { from: self.number("from"), text: self.text("text").to_owned() }
    }

    fn corrected<'a>(&self, shown: &'a Shown) -> Result<Corrected<'a>, Refused> {
        Corrected::find(shown, self.text("stage"))
    }
}

/// Rows of an output, for the part of the page on data.
fn data(subject: &Subject<'_>, query: &Query) -> Result<Value, String> {
    let (output, text) = (query.text("output"), query.text("text"));
    let search = Search { output, from: query.number("from"), text, rows: DATA_ROWS, bytes: DATA_BYTES };
    serde_json::to_value(rows(subject, &search)?).map_err(|error| error.to_string())
}

/// The reply to a page that asks about the run or its files.
async fn about_run(site: &Arc<Site>, work: impl FnOnce(&Shown) -> Result<Value, Refused> + Send + 'static) -> Reply {
    let mut report = site.report.clone().lock_owned().await;
    filled(move || {
        let shown = report.shown().map_err(Refused::Failed)?;
        drop(report);
        work(&shown)
    })
    .await
}

/// What a page sends to be saved.
async fn sent<T: DeserializeOwned>(request: Request<Incoming>) -> Result<T, Refused> {
    let body = connections::body(request, CODE_BYTES).await.map_err(Refused::Wrong)?;
    serde_json::from_slice(&body).map_err(|error| Refused::Wrong(error.to_string()))
}

fn version(saved: Result<String, Refused>) -> Result<Value, Refused> {
    saved.map(|version| json!({ "version": version }))
}

/// The replies behind the door of a sheet.
async fn of_sheet(site: &Arc<Site>, sheet: usize, path: String, request: Request<Incoming>) -> Reply {
    site.open(sheet);
    let site = site.clone();
    match (request.method().as_str(), path.as_str()) {
        ("GET", "") => Reply::Text(HTML, include_str!("coding.html").to_owned()),
        ("GET", "filling.js") => Reply::Text(SCRIPT, include_str!("filling.js").to_owned()),
        ("GET", "coding.js") => Reply::Text(SCRIPT, include_str!("coding.js").to_owned()),
        ("GET", "coding.css") => Reply::Text(STYLE, include_str!("coding.css").to_owned()),
        ("GET", "sheet") => filled(move || site.sheets[sheet].read()).await,
        ("POST", "code") => {
            let code = sent::<Code>(request).await;
            filled(move || version(site.sheets[sheet].save(&code?))).await
        }
        _ => unknown(),
    }
}

/// The reply to a page that fills a file.
async fn filled(work: impl FnOnce() -> Result<Value, Refused> + Send + 'static) -> Reply {
    match tokio::task::spawn_blocking(work).await {
        Ok(Ok(value)) => Reply::Json(value),
        Ok(Err(Refused::Changed(text))) => Reply::Refused(StatusCode::CONFLICT, text),
        Ok(Err(Refused::Wrong(text))) => Reply::Refused(StatusCode::UNPROCESSABLE_ENTITY, text),
        Ok(Err(Refused::Failed(text))) => Reply::Refused(StatusCode::INTERNAL_SERVER_ERROR, text),
        Err(_) => Reply::Refused(StatusCode::INTERNAL_SERVER_ERROR, "the server failed".to_owned()),
    }
}

async fn report_page(site: Arc<Site>, renews: bool) -> Reply {
    let (name, totals) = (site.name.clone(), site.totals());
    let served = |version: &str| {
        let panel = include_str!("live.html").replace("VERSION", version);
        Served { links: LINKS.to_owned(), panel }
    };
    let mut report = site.report.clone().lock_owned().await;
    let made = tokio::task::spawn_blocking(move || match report.page(totals, renews, served) {
        Ok(made) => Ok(made.html),
        Err(why) => Page::message(&name, &why).served(&served("")),
    });
    match made.await {
        Ok(Ok(html)) => Reply::Page(html),
        Ok(Err(why)) => Reply::Refused(StatusCode::INTERNAL_SERVER_ERROR, why),
        Err(_) => Reply::Refused(StatusCode::INTERNAL_SERVER_ERROR, "the page can't be made".to_owned()),
    }
}

async fn state(site: Arc<Site>) -> Reply {
    let asked = site.clone();
    let Ok(mut state) = tokio::task::spawn_blocking(move || asked.state()).await else { return unknown() };
    // While a page is made, its version is not known.
    if let Ok(mut report) = site.report.clone().try_lock_owned() {
        let goes_on = site.goes_on();
        let version = tokio::task::spawn_blocking(move || report.version(goes_on)).await;
        state["page"] = version.ok().and_then(Result::ok).into();
    }
    Reply::Json(state)
}
