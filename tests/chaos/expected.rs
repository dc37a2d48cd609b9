//! The expected view of a membership or responder, by the situation of its interfaces.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use serde_json::Value;

use super::kernel::Included;
use super::links::{Link, Links, Situation, peer_address};
use super::spec::{ReplyFrom, Sources, Spec};

/// The expected view of one interface of a membership, in its present situation.
struct Expected {
    states: &'static [&'static str],
    hears: bool,
}

impl Expected {
    fn of(situation: Option<Situation>, group: SocketAddr) -> Self {
        const JOINED: &[&str] = &["joined"];
        const WAITING: &[&str] = &["pending", "lost"];
        let (states, hears) = match situation {
            Some(Situation::Down | Situation::NoCarrier | Situation::BridgePort) => (JOINED, false),
            Some(Situation::SmallMtu) if group.is_ipv6() => (WAITING, false),
            Some(Situation::Ipv6Disabled) => (JOINED, group.is_ipv4()),
            Some(Situation::Up | Situation::Renamed | Situation::SmallMtu) => (JOINED, true),
            Some(Situation::Gone) | None => (WAITING, false),
        };
        Self { states, hears }
    }
}

/// The host as it is when states are judged.
pub(super) struct Surroundings {
    pub(super) interfaces: Vec<(&'static str, Situation)>,
    has_reply_address: bool,
}

impl Surroundings {
    pub(super) fn of(links: &Links) -> Self {
        Self { interfaces: links.interfaces(), has_reply_address: links.has_reply_address() }
    }

    fn situation(&self, name: &str) -> Option<Situation> {
        self.interfaces.iter().find(|(known, _)| *known == name).map(|(_, situation)| *situation)
    }

    /// Whether a membership without `interfaces` must be joined there.
    fn is_default(&self, name: &str, group: SocketAddr) -> bool {
        match self.situation(name) {
            Some(Situation::Up) => true,
            Some(Situation::SmallMtu | Situation::Ipv6Disabled) => group.is_ipv4(),
            _ => false,
        }
    }

    /// All that is wrong with how a membership or responder is shown.
    pub(super) fn faults(&self, spec: &Spec, view: &Value) -> Vec<String> {
        let shown = view["interfaces"].as_array().map_or(&[][..], Vec::as_slice);
        let names: Vec<_> = shown.iter().filter_map(|interface| interface["name"].as_str()).collect();
        let mut faults = Vec::new();
        let defaults = self.interfaces.iter().map(|(name, _)| *name);
        let defaults = || defaults.filter(|name| self.is_default(name, spec.group)).collect();
        let requested: Vec<&str> = spec.interfaces.clone().unwrap_or_else(defaults);
        for name in requested.iter().filter(|name| !names.contains(*name)) {
            faults.push(format!("{name} is missing"));
        }
        for interface in shown {
            let name = interface["name"].as_str().unwrap_or_default();
            let is_known = spec
                .interfaces
                .as_ref()
                .map_or(self.situation(name).is_some(), |named| named.contains(&name));
            if is_known {
                faults.extend(self.faults_of_interface(spec, interface));
            } else {
                faults.push(format!("{name} is too much"));
            }
        }
        faults.extend(whole_faults(spec, view, shown));
        faults.iter().map(|fault| format!("{} {}: {fault}", spec.path, spec.group)).collect()
    }

    fn faults_of_interface(&self, spec: &Spec, interface: &Value) -> Vec<String> {
        let name = interface["name"].as_str().unwrap_or_default();
        let (situation, mut faults) = (self.situation(name), Vec::new());
        let expected = Expected::of(situation, spec.group);
        let state = interface["state"].as_str().unwrap_or_default();
        let lacks_address = spec.replies == Some(ReplyFrom::Address) && !self.has_reply_address;
        let is_right = if lacks_address {
            state == "pending" || (state != "joined" && expected.states.contains(&state))
        } else {
            expected.states.contains(&state)
        };
        if !is_right {
            let why = if lacks_address { ", without the address to reply from," } else { "" };
            faults.push(format!("{name} ({situation:?}){why} is {state:?}, and not {:?}", expected.states));
        }
        let hears = interface.get("hears").and_then(Value::as_bool);
        if hears.is_some_and(|hears| hears != expected.hears) {
            faults.push(format!("{name} ({situation:?}) has hears: {}", !expected.hears));
        }
        if (state != "joined" || hears == Some(false)) && !interface["reason"].is_string() {
            faults.push(format!("{name} ({situation:?}) has no reason"));
        }
        faults
    }
}

/// The expected state of the membership as a whole, by those of its interfaces.
fn whole_faults(spec: &Spec, view: &Value, shown: &[Value]) -> Vec<String> {
    const WORSE: [&str; 4] = ["joined", "pending", "lost", "failed"];
    let mut faults = Vec::new();
    let rank = |state: &Value| WORSE.iter().position(|known| state == known);
    let worst = shown.iter().map(|interface| rank(&interface["state"])).max().flatten();
    if rank(&view["state"]) != worst {
        faults.push(format!("is {} as a whole, with {}", view["state"], Value::from(shown)));
    }
    if let Some(hears) = view.get("hears").and_then(Value::as_bool) {
        let mut of_interfaces = shown.iter().map(|interface| interface["hears"] == true);
        let is_lo = |interface: &&Value| interface["name"] == "lo";
        let expected = match &spec.interfaces {
            Some(_) => of_interfaces.all(|hears| hears),
            None if shown.iter().all(|interface| is_lo(&interface)) => of_interfaces.any(|hears| hears),
            None => shown.iter().filter(|it| !is_lo(it)).any(|interface| interface["hears"] == true),
        };
        if hears != expected {
            faults.push(format!("has hears: {hears} as a whole, with {}", Value::from(shown)));
        }
    }
    faults
}

/// How many sockets the service says hear the other host alone, by interface, group and each of its addresses.
pub(super) fn including_sockets<'a>(resources: impl Iterator<Item = (&'a Spec, &'a Value)>) -> Included {
    let mut sockets = Included::new();
    for (spec, view) in resources.filter(|(spec, _)| spec.sources == Sources::OnlyPeer) {
        let hearing = view["interfaces"].as_array().into_iter().flatten();
        for interface in hearing.filter(|interface| interface["hears"] == true) {
            let name = interface["name"].as_str().unwrap_or_default();
            for source in Link::ALL.map(peer_address) {
                *sockets.entry((name.to_owned(), spec.group.ip(), source.into())).or_default() += 1;
            }
        }
    }
    sockets
}

/// How many sockets the service shows as joined, by interface and group: at least, and at most.
pub(super) fn joined_sockets<'a>(
    resources: impl Iterator<Item = (&'a Spec, &'a Value)>,
) -> BTreeMap<(String, IpAddr), (u64, u64)> {
    let mut sockets = BTreeMap::new();
    for (spec, view) in resources {
        for interface in view["interfaces"].as_array().into_iter().flatten() {
            let name = interface["name"].as_str().unwrap_or_default().to_owned();
            let (least, most): &mut (u64, u64) = sockets.entry((name, spec.group.ip())).or_default();
            let is_joined = interface["state"] == "joined";
            *least += u64::from(is_joined);
            // It may keep the membership while it waits for the address to reply from.
            *most += u64::from(is_joined || spec.replies == Some(ReplyFrom::Address));
        }
    }
    sockets
}
