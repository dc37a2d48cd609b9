//! The checks after the disturbances, in their order; health, and deletions.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::task::block_in_place;

use super::client::ClientRun;
use super::expected::Surroundings;
use super::model::Origin;
use super::plan::{Phase, Request, Theme};
use super::states::STATE_LIMIT;
use super::{World, within};

const ALIVE_LIMIT: Duration = Duration::from_secs(1);
const READY_LIMIT: Duration = Duration::from_secs(5);

pub(super) struct Checks<'a> {
    pub(super) world: &'a World,
    /// The last operation before.
    pub(super) index: u64,
    pub(super) theme: Theme,
}

impl World {
    pub(super) fn checks(&self, index: u64, theme: Theme) -> Checks<'_> {
        Checks { world: self, index, theme }
    }
}

impl Checks<'_> {
    /// Leaves the links in the phase's last situation, and checks what the service shows of it.
    pub(super) async fn of_aftermath(&self, phase: &Phase) {
        block_in_place(|| self.world.links().leave(phase.aftermath, phase.has_reply_address));
        self.health().await;
        self.finish_requests().await;
        let surroundings = Surroundings::of(&self.world.links());
        self.states(&surroundings).await;
        self.check_new_requests(&surroundings).await;
        self.follower(phase.number).await;
    }

    /// Checks everything, once the disturbances are over. `steady` is how much was sent to each steady group, if all
    /// of it must have arrived.
    pub(super) async fn when_mended(&self, phase: u64, steady: Option<u64>) {
        self.health().await;
        self.finish_requests().await;
        self.delete_posted().await;
        self.wait_for_leases().await;
        let surroundings = Surroundings::of(&self.world.links());
        self.states(&surroundings).await;
        self.follower(phase).await;
        self.messages().await;
        self.logs(phase, steady).await;
        self.failures().await;
    }

    /// The service must respond, be ready, and not have panicked.
    async fn health(&self) {
        let alive = tokio::time::timeout(ALIVE_LIMIT, self.world.service.get("/livez")).await;
        let alive = alive.unwrap_or_else(|_| Err(format!("no answer in {ALIVE_LIMIT:?}")));
        self.expect("not alive", alive.map(drop));
        self.expect("not ready", self.world.service.ready(READY_LIMIT).await);
    }

    /// Repeats the requests that clients abandoned. Now they have to succeed.
    async fn finish_requests(&self) {
        let unfinished: Vec<_> = self.world.model().unfinished.values().cloned().collect();
        for request in unfinished {
            self.client().perform(self.index, request).await;
        }
        let left: Vec<_> = self.world.model().unfinished.keys().cloned().collect();
        self.expect("not finished", none_of(&left));
    }

    /// Deletes the memberships and responders that POST requests created, so that their number does not grow, and the
    /// resources of requests that got no response.
    async fn delete_posted(&self) {
        for list in ["memberships", "responders", "messages"] {
            let listed = match self.list(list).await {
                Ok(listed) => listed,
                Err(error) => return self.expect("no list", Err(error)),
            };
            for path in listed.into_keys() {
                let origin = self.world.model().origin(&path);
                match origin {
                    Origin::Named => {}
                    Origin::Posted => self.client().perform(self.index, Request::Delete(path)).await,
                    Origin::Nobody => self.expect("not asked for", Err(path)),
                }
            }
        }
        self.world.model().unknown_posts = 0;
        self.finish_requests().await;
    }

    async fn wait_for_leases(&self) {
        let Some(end) = self.world.model().last_lease() else { return };
        let limit = (end + STATE_LIMIT).saturating_duration_since(Instant::now());
        let look = async || {
            let listed = self.joined().await?;
            let leased = |path: &&String| {
                let model = self.world.model();
                model.resources.get(*path).is_some_and(|resource| resource.spec.lease.is_some())
            };
            none_of(&listed.keys().filter(leased).collect::<Vec<_>>())
        };
        self.expect("lease goes on", within(limit, look).await);
        self.world.model().resources.retain(|_, resource| resource.spec.lease.is_none());
    }

    /// That nothing has failed for a reason of the service's own.
    async fn failures(&self) {
        let panics = self.world.service.panics();
        let known = self.world.panics.swap(panics.len(), Ordering::Relaxed);
        self.expect("panic", none_of(&panics[known..]));
        let metrics = self.world.service.get("/metrics").await;
        let metrics = metrics.map(|reply| String::from_utf8_lossy(&reply.body).into_owned());
        for name in ["rollcall_resource_failures_total", "rollcall_not_hearing"] {
            let is_zero = |text: String| {
                let mut rows = text.lines().filter(|line| line.starts_with(name)).peekable();
                rows.peek().ok_or_else(|| format!("{name} is missing"))?;
                none_of(&rows.filter(|row| !row.ends_with(" 0")).collect::<Vec<_>>())
            };
            self.expect("metric", metrics.clone().and_then(is_zero));
        }
    }

    pub(super) async fn delete_everything(&self) {
        let paths: Vec<_> = {
            let model = self.world.model();
            model.resources.keys().chain(model.messages.keys()).cloned().collect()
        };
        for path in paths {
            self.client().perform(self.index, Request::Delete(path)).await;
        }
        for list in ["memberships", "responders", "messages"] {
            let left = self.list(list).await;
            self.expect("not deleted", left.and_then(|left| none_of(&left.into_keys().collect::<Vec<_>>())));
        }
    }

    /// Memberships and responders as the service shows them, by path.
    pub(super) async fn joined(&self) -> Result<BTreeMap<String, Value>, String> {
        let mut joined = self.list("memberships").await?;
        joined.extend(self.list("responders").await?);
        Ok(joined)
    }

    pub(super) async fn list(&self, kind: &str) -> Result<BTreeMap<String, Value>, String> {
        self.list_where(kind, "").await
    }

    pub(super) async fn list_where(
        &self,
        kind: &str,
        filter: &str,
    ) -> Result<BTreeMap<String, Value>, String> {
        let reply = self.world.service.get(&format!("/v1/{kind}?limit=1000{filter}")).await?;
        if reply.status != 200 {
            return Err(format!("GET /v1/{kind}: {}", reply.status));
        }
        let Value::Array(items) = reply.json()["items"].take() else { return Err("no items".to_owned()) };
        let path = |item: &Value| format!("/v1/{kind}/{}", item["id"].as_str().unwrap_or_default());
        Ok(items.into_iter().map(|item| (path(&item), item)).collect())
    }

    pub(super) fn client(&self) -> ClientRun<'_> {
        ClientRun { world: self.world, theme: self.theme }
    }

    pub(super) fn expect(&self, kind: &'static str, outcome: Result<(), String>) {
        self.world.report.expect(kind, self.index, outcome);
    }
}

/// An error that lists the first wrong items.
pub(super) fn none_of<T: std::fmt::Display>(faults: &[T]) -> Result<(), String> {
    const LISTED: usize = 4;
    if faults.is_empty() {
        return Ok(());
    }
    let listed: Vec<_> = faults.iter().take(LISTED).map(ToString::to_string).collect();
    let more =
        if faults.len() > LISTED { format!(", and {} more", faults.len() - LISTED) } else { String::new() };
    Err(listed.join("; ") + &more)
}
