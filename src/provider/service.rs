//! Services: requests with JSON to servers other than those of models, such as the dashboard of a Ray cluster.

use std::time::Duration;

use serde_json::Value;

use super::address::Address;
use super::http::{Access, Deadlines, Headers, Http, Secret};

const DEADLINE: Duration = Duration::from_secs(30);

pub(crate) struct JsonService {
    http: Http,
    address: Address,
}

impl JsonService {
    /// `token` is sent as the bearer token.
    pub(crate) fn new(address: &str, token: Option<&str>) -> Result<Self, String> {
        let address = Address::parse_like(address, "http://127.0.0.1:8265")?;
        let deadlines = Deadlines { connect: DEADLINE, total: DEADLINE };
        let access = Access { key: token.map(Secret::new), ..Access::default() };
        let http = Http::new(&address, deadlines, access, Headers::BEARER)?;
        Ok(JsonService { http, address })
    }

    /// Sends a request: a GET without a body, else a POST. Returns the status and the reply, a text if it is not JSON.
    pub(crate) async fn ask(&self, path: &str, body: Option<&Value>) -> Result<(u16, Value), String> {
        let url = self.address.join(path);
        let unreachable = || format!("nothing answers at {}", self.address.server());
        let received = match body {
            Some(body) => self.http.post(url, body.to_string().into_bytes(), unreachable).await,
            None => self.http.get(url, DEADLINE, unreachable).await,
        };
        let received = received.map_err(|error| self.http.clean(error).message)?;
        let answer = received.answer();
        let text = || Value::String(String::from_utf8_lossy(answer.body).into_owned());
        Ok((answer.status, answer.json().unwrap_or_else(|_| text())))
    }
}
