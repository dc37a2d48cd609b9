//! Checks of messages.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::checks::{Checks, none_of};
use super::links::{Link, Situation, host_address};
use super::model::Sent;
use super::plan::{Request, Theme, follower_id};
use super::within;

/// How much later than its window a message may be closed.
const CLOSE_LIMIT: Duration = Duration::from_secs(2);

/// A message's result on one interface.
struct Copies<'a> {
    count: u64,
    failed: u64,
    source: &'a str,
    error: &'a str,
}

impl Checks<'_> {
    /// The repeating message sends where that is possible, and gives the reason where it is not.
    pub(super) async fn follower(&self, phase: u64) {
        let path = format!("/v1/messages/{}", follower_id(phase));
        let generation = self.world.service.generation();
        let goes_on = |sent: &Sent| sent.generation == generation;
        if !self.world.model().messages.get(&path).is_some_and(goes_on) {
            return;
        }
        let read = async || Ok::<_, String>(self.world.service.get(&path).await?.json());
        let before = match read().await {
            Ok(before) => before,
            Err(error) => return self.expect("sender", Err(error)),
        };
        let situations = Link::ALL.map(|link| self.world.links().situation(link));
        self.in_time("sender", async || {
            let now = read().await?;
            let faults = Link::ALL.into_iter().zip(situations).filter_map(|(link, situation)| {
                let (Some(before), Some(now)) = (copies(&before, link), copies(&now, link)) else {
                    return Some(format!("{} is missing", link.name()));
                };
                let fault = fault_of_sender(situation, link, &before, &now)?;
                Some(format!("{} ({situation:?}): {fault}", link.name()))
            });
            none_of(&faults.collect::<Vec<_>>())
        })
        .await;
    }

    /// Each message that was accepted is there, and as it has to be by now. Then deletes them all.
    pub(super) async fn messages(&self) {
        let generation = self.world.service.generation();
        let last = {
            let model = self.world.model();
            let current = model.messages.values().filter(|sent| sent.generation == generation);
            current.filter_map(Sent::closes_at).max()
        };
        let limit =
            last.map_or(CLOSE_LIMIT, |last| (last + CLOSE_LIMIT).saturating_duration_since(Instant::now()));
        let look = async || {
            let listed = self.list("messages").await?;
            let model = self.world.model();
            let faults = model.messages.iter().filter_map(|(path, sent)| {
                let fault = self.fault_of(sent, generation, listed.get(path))?;
                Some(format!("operation {}, {path}: {fault}", sent.index))
            });
            none_of(&faults.collect::<Vec<_>>())
        };
        self.expect("message", within(limit, look).await);
        match self.list("messages").await {
            Ok(listed) => self.responses(&listed).await,
            Err(error) => self.expect("no list", Err(error)),
        }
        let paths: Vec<_> = self.world.model().messages.keys().cloned().collect();
        for path in paths {
            self.client().perform(self.index, Request::Delete(path)).await;
        }
    }

    fn fault_of(&self, sent: &Sent, generation: u32, view: Option<&Value>) -> Option<String> {
        let was_killed = sent.generation < generation;
        let message = &sent.message;
        let Some(view) = view else {
            // A message that was sent by POST may not have been on disk yet.
            let may_be_lost = was_killed && message.id.is_none();
            return (!may_be_lost).then(|| "is not there".to_owned());
        };
        let reason = view["close_reason"].as_str();
        let is_right = match reason {
            None => {
                view["state"] == "collecting"
                    && !was_killed
                    && !sent.is_cancelled
                    && sent.closes_at().is_none()
            }
            Some("window") => sent.closes_at().is_some(),
            Some("expected") => message.expect.is_some(),
            Some("cancelled") => sent.is_cancelled,
            Some("restarted") => was_killed,
            Some(_) => false,
        };
        if !is_right {
            return Some(format!("closed by {reason:?} is wrong for {message:?}"));
        }
        // A pause of the process costs a window some copies, too.
        let is_calm = !matches!(self.theme, Theme::Stop | Theme::Storm | Theme::Kill);
        let is_all = reason == Some("window") && is_calm;
        view["sent"].as_array()?.iter().find_map(|copies| {
            let copies_in_all = copies["count"].as_u64()? + copies["failed"].as_u64()?;
            let is_right = if is_all {
                copies_in_all == u64::from(message.count)
            } else {
                copies_in_all <= u64::from(message.count)
            };
            (!is_right).then(|| format!("{copies} is not {} copies", message.count))
        })
    }

    /// The kept responses and the evicted ones together are all that arrived.
    async fn responses(&self, listed: &BTreeMap<String, Value>) {
        for path in listed.keys() {
            let look = async || {
                let counters = self.world.service.get(path).await?.json()["counters"].take();
                let page = self.world.service.get(&format!("{path}/responses?limit=1000")).await?.json();
                let kept = page["items"].as_array().map_or(0, Vec::len) as u64;
                let count = |name: &str| counters[name].as_u64().unwrap_or_default();
                if kept + count("evicted") + count("lost") == count("responses") || kept == 1_000 {
                    return Ok(());
                }
                Err(format!("{path}: {kept} responses are kept of {counters}"))
            };
            self.expect("responses", within(CLOSE_LIMIT, look).await);
        }
    }
}

fn copies(message: &Value, link: Link) -> Option<Copies<'_>> {
    let sent = message["sent"].as_array()?.iter().find(|sent| sent["interface"] == link.name())?;
    Some(Copies {
        count: sent["count"].as_u64()?,
        failed: sent["failed"].as_u64()?,
        source: sent["source"].as_str().unwrap_or_default(),
        error: sent["error"].as_str().unwrap_or_default(),
    })
}

fn fault_of_sender(
    situation: Situation,
    link: Link,
    before: &Copies<'_>,
    now: &Copies<'_>,
) -> Option<String> {
    let (sent, failed) = (now.count - before.count, now.failed - before.failed);
    match situation {
        Situation::Up | Situation::SmallMtu | Situation::Ipv6Disabled => {
            let has_source = now.source.starts_with(&format!("{}:", host_address(link)));
            let is_right = sent > 0 && has_source;
            (!is_right).then(|| format!("{sent} copies left, from {:?}; error: {}", now.source, now.error))
        }
        Situation::Down | Situation::NoCarrier | Situation::Gone | Situation::Renamed => {
            let is_right = sent == 0 && failed > 1 && !now.error.is_empty();
            (!is_right).then(|| format!("{sent} copies count as sent, {failed} as failed: {}", now.error))
        }
        // Copies leave by it, though they are the bridge's to send.
        Situation::BridgePort => None,
    }
}
