//! A client: sends its requests one after the other, checks each response, and updates the model.

use hyper::Method;
use serde_json::Value;

use super::World;
use super::model::Sent;
use super::plan::{Invalid, Operation, Request, Theme};
use super::service::{Answer, Body, RequestOutcome};
use super::spec::{Message, Spec};

/// How often a client repeats a request that got a 503.
const ATTEMPTS: u32 = 5;

pub(super) struct ClientRun<'a> {
    pub(super) world: &'a World,
    pub(super) theme: Theme,
}

/// A request that can be made again without doing more.
struct Repeatable<'a> {
    index: u64,
    method: Method,
    path: &'a str,
    body: Option<Value>,
}

impl ClientRun<'_> {
    pub(super) async fn all(&self, operations: Vec<Operation<Request>>) {
        for Operation { index, pause, what } in operations {
            tokio::time::sleep(pause).await;
            self.perform(index, what).await;
        }
    }

    pub(super) async fn perform(&self, index: u64, request: Request) {
        self.world.report.operation(request.kind());
        match request {
            Request::Put(spec) => self.put(index, spec).await,
            Request::Post(spec) => self.post(index, spec).await,
            Request::Delete(path) => self.delete(index, path).await,
            Request::Send(message) => self.send(index, message).await,
            Request::Cancel(id) => self.cancel(index, &id).await,
            Request::Read(path) => drop(self.once(index, Method::GET, &path, None).await),
            Request::Abandon(path, after) => {
                // To drop a request is to hang up.
                let stream = self.world.service.exchange(Method::GET, &path, Body::None);
                drop(tokio::time::timeout(after, stream).await);
            }
            Request::Invalid(invalid) => self.invalid(index, &invalid).await,
        }
    }

    async fn put(&self, index: u64, spec: Spec) {
        let path = spec.path.clone();
        let before = self.world.model().has(&path);
        let request = Repeatable { index, method: Method::PUT, path: &path, body: Some(spec.body()) };
        let Some((response, is_repeated)) = self.until_final(request).await else {
            self.world.model().unfinished.insert(path, Request::Put(spec));
            return;
        };
        self.world.model().unfinished.remove(&path);
        let status = response.reply.status.as_u16();
        let expected = if before == Some(true) { 200 } else { 201 };
        if !matches!(status, 200 | 201) {
            return;
        }
        if before.is_some() && !is_repeated && status != expected {
            self.violation("wrong status", index, format!("PUT {path}: {status}, and not {expected}"));
        }
        self.world.model().accepted(spec, status == 201);
    }

    async fn post(&self, index: u64, mut spec: Spec) {
        let collection = spec.collection().to_owned();
        let (method, body) = (Method::POST, Some(spec.body()));
        match self.once(index, method, &collection, body).await {
            Some(Answer { reply, .. }) if reply.status == 201 => {
                reply.header("location").clone_into(&mut spec.path);
                self.world.model().accepted(spec, true);
            }
            Some(response) if !response.reply.status.is_server_error() => {}
            _ => self.world.model().unknown_posts += 1,
        }
    }

    async fn delete(&self, index: u64, path: String) {
        let before = self.world.model().has(&path);
        let request = Repeatable { index, method: Method::DELETE, path: &path, body: None };
        let Some((response, is_repeated)) = self.until_final(request).await else {
            self.world.model().unfinished.insert(path.clone(), Request::Delete(path));
            return;
        };
        self.world.model().unfinished.remove(&path);
        let status = response.reply.status.as_u16();
        let expected = if before == Some(true) { 204 } else { 404 };
        if before.is_some() && !is_repeated && status != expected {
            self.violation("wrong status", index, format!("DELETE {path}: {status}, and not {expected}"));
        }
        let mut model = self.world.model();
        model.resources.remove(&path);
        model.messages.remove(&path);
    }

    async fn send(&self, index: u64, message: Message) {
        let (method, path) = match &message.id {
            Some(id) => (Method::PUT, format!("/v1/messages/{id}")),
            None => (Method::POST, "/v1/messages".to_owned()),
        };
        let payload = format!("call {index}");
        let response = if message.raw {
            let path = path + &message.query();
            let body = Body::Of("text/plain", &payload);
            let outcome = self.world.service.exchange(method.clone(), &path, body).await;
            self.judge(index, &format!("{method} {path}"), outcome)
        } else if message.id.is_some() {
            let request = Repeatable { index, method, path: &path, body: Some(message.body(&payload)) };
            self.until_final(request).await.map(|(response, _)| response)
        } else {
            self.once(index, method, &path, Some(message.body(&payload))).await
        };
        match response {
            Some(Answer { reply, generation }) if matches!(reply.status.as_u16(), 200 | 202) => {
                let path = reply.header("location").to_owned();
                self.world.model().messages.insert(path, Sent::new(message, index, generation));
            }
            Some(response) if !response.reply.status.is_server_error() => {}
            _ => self.world.model().unknown_posts += 1,
        }
    }

    async fn cancel(&self, index: u64, id: &str) {
        let path = format!("/v1/messages/{id}");
        let response = self.once(index, Method::POST, &format!("{path}/cancel"), None).await;
        if response.is_none_or(|response| response.reply.status == 200)
            && let Some(sent) = self.world.model().messages.get_mut(&path)
        {
            sent.is_cancelled = true;
        }
    }

    async fn invalid(&self, index: u64, invalid: &Invalid) {
        let method = invalid.method.parse().expect("a method");
        let what = format!("{} {} {}", invalid.method, invalid.path, invalid.body);
        let body = Body::Of(invalid.content_type, invalid.body);
        let outcome = self.world.service.exchange(method, invalid.path, body).await;
        let RequestOutcome::Answered(Answer { reply, .. }) = outcome else {
            self.judge(index, &what, outcome);
            return;
        };
        self.world.report.response(reply.status.as_u16());
        if !reply.status.is_client_error() {
            self.violation("wrong status", index, format!("{what}: {}", reply.status));
        }
    }

    /// Repeats the request if the service was killed meanwhile, or responded with 503. Returns the final response, and
    /// whether an earlier try may have done it; none if it is open whether the request was carried out.
    async fn until_final(&self, request: Repeatable<'_>) -> Option<(Answer, bool)> {
        let Repeatable { index, method, path, body } = request;
        for attempt in 0..ATTEMPTS {
            let outcome = self.exchange(method.clone(), path, body.as_ref()).await;
            if matches!(outcome, RequestOutcome::Killed) {
                continue;
            }
            let response = self.judge(index, &format!("{method} {path}"), outcome)?;
            if response.reply.status != 503 {
                return Some((response, attempt > 0));
            }
        }
        None
    }

    async fn once(&self, index: u64, method: Method, path: &str, body: Option<Value>) -> Option<Answer> {
        let outcome = self.exchange(method.clone(), path, body.as_ref()).await;
        self.judge(index, &format!("{method} {path}"), outcome)
    }

    async fn exchange(&self, method: Method, path: &str, body: Option<&Value>) -> RequestOutcome {
        self.world.service.exchange(method, path, body.map_or(Body::None, Body::Json)).await
    }

    /// Returns the response, if there is one; records it, and its violations.
    fn judge(&self, index: u64, what: &str, outcome: RequestOutcome) -> Option<Answer> {
        let response = match outcome {
            RequestOutcome::Answered(response) => response,
            RequestOutcome::Killed => return None,
            RequestOutcome::Silent => {
                self.violation("no answer", index, what);
                return None;
            }
            RequestOutcome::Broken(error) => {
                self.violation("connection broken", index, format!("{what}: {error}"));
                return None;
            }
        };
        let reply = &response.reply;
        let status = reply.status.as_u16();
        self.world.report.response(status);
        if status >= 400 {
            let problem: Value = serde_json::from_slice(&reply.body).unwrap_or_default();
            let kind = problem["type"].as_str().unwrap_or_default();
            let kind = kind.trim_start_matches("urn:rollcall:problem:");
            if !self.may_be_refused(status, kind) {
                self.violation("wrong status", index, format!("{what}: {problem}"));
            }
            if kind == "timeout" && !reply.headers.contains_key("retry-after") {
                self.violation("no retry-after", index, format!("{what}: {problem}"));
            }
        }
        Some(response)
    }

    /// Whether a valid request can get this response during the disturbances.
    fn may_be_refused(&self, status: u16, problem: &str) -> bool {
        const CHANGED_HOST: [&str; 6] = [
            "unknown-interface",
            "interface-down",
            "no-address",
            "no-route",
            "route-refused",
            "address-not-local",
        ];
        match status {
            404 => problem == "not-found",
            409 => problem == "port-in-use",
            422 => CHANGED_HOST.contains(&problem),
            503 if problem == "store" => self.theme == Theme::FullDisk,
            503 => ["timeout", "network-failure"].contains(&problem),
            _ => false,
        }
    }

    fn violation(&self, kind: &'static str, index: u64, detail: impl Into<String>) {
        self.world.report.violation(kind, index, detail);
    }
}

impl Request {
    fn kind(&self) -> &'static str {
        match self {
            Self::Put(_) => "put",
            Self::Post(_) => "post",
            Self::Delete(_) => "delete",
            Self::Send(_) => "send",
            Self::Cancel(_) => "cancel",
            Self::Read(_) => "read",
            Self::Abandon(..) => "abandon",
            Self::Invalid(_) => "invalid",
        }
    }
}
