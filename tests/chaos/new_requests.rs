//! Requests during a disturbance of a link: the responses must show the state of the link.

use std::net::SocketAddr;

use hyper::Method;
use serde_json::{Value, json};

use super::checks::{Checks, none_of};
use super::expected::Surroundings;
use super::links::{Link, Situation};
use super::service::{Body, RequestOutcome};
use super::spec::{Sources, Spec};

impl Checks<'_> {
    /// A message and two memberships on each troubled link.
    pub(super) async fn check_new_requests(&self, surroundings: &Surroundings) {
        for link in Link::TROUBLED {
            let situation = self.world.links().situation(link);
            let sent = self.new_message(link, situation).await;
            self.expect(
                "new message",
                sent.map_err(|fault| format!("{} ({situation:?}): {fault}", link.name())),
            );
            let groups = ["239.8.7.1:10000", "[ff15::8:7]:10000"];
            for group in groups.map(|group| group.parse().expect("an address")) {
                self.expect("new membership", self.new_membership(link, group, surroundings).await);
            }
        }
    }

    async fn new_message(&self, link: Link, situation: Situation) -> Result<(), String> {
        let path = format!("/v1/messages/newcomer-{}-{}", self.index, link.name());
        let body = json!({
            "group": "239.8.7.2:10000",
            "payload": "newcomer",
            "interfaces": [link.name()],
            "window_ms": 0,
        });
        let (status, response) = self.exchange(Method::PUT, &path, Some(&body)).await?;
        if status == 202 {
            self.exchange(Method::DELETE, &path, None).await?;
        }
        let expected = match situation {
            Situation::Up | Situation::SmallMtu | Situation::Ipv6Disabled => (202, ""),
            Situation::Down | Situation::NoCarrier => (422, "interface-down"),
            Situation::Gone | Situation::Renamed => (422, "unknown-interface"),
            Situation::BridgePort => return Ok(()),
        };
        let problem = response["type"].as_str().unwrap_or_default();
        let problem = problem.trim_start_matches("urn:rollcall:problem:");
        if (status, problem) == expected { Ok(()) } else { Err(format!("{response} is not {expected:?}")) }
    }

    async fn new_membership(
        &self,
        link: Link,
        group: SocketAddr,
        surroundings: &Surroundings,
    ) -> Result<(), String> {
        let spec = Spec {
            path: format!("/v1/memberships/newcomer-{}", link.name()),
            group,
            interfaces: Some(vec![link.name()]),
            sources: Sources::All,
            exact_drops: false,
            allow_missing: true,
            lease: None,
            retention: None,
            replies: None,
        };
        let (status, view) = self.exchange(Method::PUT, &spec.path, Some(&spec.body())).await?;
        let (deleted, _) = self.exchange(Method::DELETE, &spec.path, None).await?;
        if (status, deleted) != (201, 204) {
            return Err(format!("{} {group}: {status}, deleted with {deleted}: {view}", spec.path));
        }
        none_of(&surroundings.faults(&spec, &view))
    }

    async fn exchange(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<(u16, Value), String> {
        let body = body.map_or(Body::None, Body::Json);
        let outcome = self.world.service.exchange(method, path, body).await;
        match outcome {
            RequestOutcome::Answered(response) => {
                let body = serde_json::from_slice(&response.reply.body).unwrap_or_default();
                Ok((response.reply.status.as_u16(), body))
            }
            RequestOutcome::Killed => Err(format!("{path}: killed")),
            RequestOutcome::Silent => Err(format!("{path}: no answer")),
            RequestOutcome::Broken(error) => Err(format!("{path}: {error}")),
        }
    }
}
