//! Checks of states, of the kernel's lists and of the interfaces.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::checks::{Checks, none_of};
use super::expected::{Surroundings, including_sockets, joined_sockets};
use super::links::Situation;
use super::{kernel, within};

/// How long states may take to be right.
pub(super) const STATE_LIMIT: Duration = Duration::from_secs(2);
/// How long to wait beyond that, to distinguish late from wrong.
const LATE_LIMIT: Duration = Duration::from_secs(5);

impl Checks<'_> {
    /// States, the kernel's lists and the interfaces, as the links are now.
    pub(super) async fn states(&self, surroundings: &Surroundings) {
        self.in_time("interfaces", async || self.interfaces_are(&surroundings.interfaces).await).await;
        self.in_time("state", async || {
            let listed = self.joined().await?;
            let model = self.world.model();
            let lasting = model.resources.values().filter(|resource| resource.spec.lease.is_none());
            let faults = lasting.flat_map(|resource| match listed.get(&resource.spec.path) {
                Some(view) => surroundings.faults(&resource.spec, view),
                None => vec![format!("{} is not there", resource.spec.path)],
            });
            none_of(&faults.collect::<Vec<_>>())
        })
        .await;
        self.in_time("kernel's list", async || {
            let listed = self.joined().await?;
            self.kernel_agrees(&listed)
        })
        .await;
        self.in_time("hears filter", async || {
            let listed = self.joined().await?;
            let mut filtered = self.list_where("memberships", "&hears=false").await?;
            filtered.extend(self.list_where("responders", "&hears=false").await?);
            let is_deaf = |(_, view): &(&String, &Value)| view["hears"] == false;
            let wrong = listed.iter().filter(|entry| is_deaf(entry) != filtered.contains_key(entry.0));
            none_of(&wrong.map(|(path, _)| path).collect::<Vec<_>>())
        })
        .await;
        let lacks_hears = self.joined().await.map(|listed| {
            let lacking = listed.iter().filter(|(_, view)| view.get("hears").is_none());
            lacking.map(|(path, _)| path.clone()).collect::<Vec<_>>()
        });
        self.expect("no `hears`", lacks_hears.and_then(|lacking| none_of(&lacking)));
    }

    async fn interfaces_are(&self, expected: &[(&str, Situation)]) -> Result<(), String> {
        let reply = self.world.service.get("/v1/interfaces").await?.expect(200);
        let shown = reply["items"].as_array().into_iter().flatten().map(|interface| {
            let is = |field: &str| interface[field] == true;
            (interface["name"].as_str().unwrap_or_default(), is("up"), is("running"))
        });
        let mut shown: Vec<_> = shown.collect();
        let mut expected: Vec<_> = expected
            .iter()
            .map(|(name, situation)| {
                let is_up = *situation != Situation::Down;
                (*name, is_up, is_up && *situation != Situation::NoCarrier)
            })
            .collect();
        shown.sort_unstable();
        expected.sort_unstable();
        if shown == expected {
            return Ok(());
        }
        Err(format!("(name, up, running) are {shown:?}, and not {expected:?}"))
    }

    /// The kernel's lists must match the joined memberships.
    fn kernel_agrees(&self, listed: &BTreeMap<String, Value>) -> Result<(), String> {
        let users = kernel::users(self.world.links().host(), is_group_here);
        let model = self.world.model();
        let known = model.resources.values().map(|resource| &resource.spec);
        let known: Vec<_> = known.filter_map(|spec| Some((spec, listed.get(&spec.path)?))).collect();
        let mut shown = joined_sockets(known.iter().copied());
        let mut faults = Vec::new();
        for ((interface, group), users) in users {
            let (least, most) = shown.remove(&(interface.clone(), group)).unwrap_or_default();
            if !(least..=most).contains(&users) {
                faults.push(format!("{group} on {interface} has {users} sockets, and not {least} to {most}"));
            }
        }
        let missing = shown.into_iter().filter(|(_, (least, _))| *least > 0);
        faults.extend(missing.map(|((interface, group), (least, _))| {
            format!("{group} on {interface} has no socket, and not {least}")
        }));
        let (included, unlisted) = kernel::included(self.world.links().host());
        for (key, sockets) in including_sockets(known.into_iter()) {
            let listed = included.get(&key).copied().unwrap_or_default();
            if listed < sockets && !unlisted.contains(&key.0) {
                let (interface, group, source) = key;
                faults.push(format!(
                    "{group} on {interface} has {listed} sockets for {source}, and not {sockets}"
                ));
            }
        }
        none_of(&faults)
    }

    /// Looks until all is right, which has to be soon.
    pub(super) async fn in_time(&self, kind: &'static str, look: impl AsyncFn() -> Result<(), String>) {
        let start = Instant::now();
        let outcome = within(LATE_LIMIT, look).await;
        let late = start.elapsed();
        let outcome = outcome.and_then(|()| {
            if late < STATE_LIMIT { Ok(()) } else { Err(format!("right only after {late:.1?}")) }
        });
        self.expect(kind, outcome);
    }
}

/// Whether it is one that clients join here.
fn is_group_here(group: IpAddr) -> bool {
    match group {
        IpAddr::V4(group) => matches!(group.octets(), [239, 8 | 9, ..]),
        IpAddr::V6(group) => matches!(group.segments(), [0xff15 | 0xff02, 0, 0, 0, 0, 0, 8 | 9, _]),
    }
}
