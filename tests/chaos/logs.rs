//! Checks of logs: every sent datagram is there once, or counted as missing.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::checks::{Checks, none_of};
use super::links::Link;
use super::model::Reading;
use super::spec::Spec;
use super::traffic::Job;
use super::{STEADY, STEADY_LABEL};

/// Probes to each group by each link.
const PROBES: u64 = 3;
/// How long datagrams may take.
const ARRIVAL_LIMIT: Duration = Duration::from_secs(3);

/// The part of a log that was read.
#[derive(Default)]
struct Read {
    reading: Reading,
    items: u64,
    missed: u64,
    /// How often each probe was received.
    probes: BTreeMap<String, u64>,
    /// The numbers of the traffic that never ends.
    steady: Vec<u64>,
    faults: Vec<String>,
}

impl Checks<'_> {
    /// Sends to every group by every link, and reads all logs to their ends.
    pub(super) async fn logs(&self, phase: u64, steady: Option<u64>) {
        let specs: Vec<_> = {
            let model = self.world.model();
            model.resources.values().map(|resource| resource.spec.clone()).collect()
        };
        let label = format!("probe {phase}");
        let groups: BTreeSet<_> = specs.iter().map(|spec| spec.group).collect();
        let targets = groups.into_iter().flat_map(|group| Link::ALL.map(|link| (link, group)));
        let interval = Duration::from_millis(5);
        let job = Job { targets: targets.collect(), label: label.clone(), first: 1, count: PROBES, interval };
        self.world.report.sent(self.world.traffic.send(&job).await.iter().sum());
        let deadline = Instant::now() + ARRIVAL_LIMIT;
        for spec in specs {
            let outcome = self.log(&spec, &label, deadline, steady).await;
            self.expect("log", outcome.and_then(|faults| none_of(&faults)));
        }
    }

    async fn log(
        &self,
        spec: &Spec,
        label: &str,
        deadline: Instant,
        steady: Option<u64>,
    ) -> Result<Vec<String>, String> {
        let Some(before) = self.reading(spec) else { return Ok(Vec::new()) };
        let links = Link::ALL.into_iter().filter(|link| spec.hears_peer_on(*link));
        let expected: BTreeSet<_> = links
            .flat_map(|link| (1..=PROBES).map(move |nth| (link, nth)))
            .map(|(link, nth)| format!("{label} {} {nth}", link.peer()))
            .collect();
        let mut read = Read { reading: before.clone(), ..Read::default() };
        let counters = loop {
            self.read_to_the_end(spec, label, &mut read).await?;
            let counters = self.world.service.get(&spec.path).await?.json()["counters"].take();
            let is_whole = expected.iter().all(|probe| read.probes.contains_key(probe));
            let is_counted = read.items + read.missed == count(&counters, "datagrams") - before.datagrams;
            if (is_whole && is_counted) || Instant::now() > deadline {
                break counters;
            }
        };
        let Read { mut reading, items, missed, probes, steady: numbers, mut faults } = read;
        for probe in &expected {
            let times = probes.get(probe).copied().unwrap_or_default();
            if times != 1 {
                faults.push(format!("{probe:?} was heard {times} times, and {missed} were missed"));
            }
        }
        if !faults.is_empty() {
            faults.push(self.history(spec).await?);
        }
        faults.extend(
            probes
                .keys()
                .filter(|probe| !expected.contains(*probe))
                .map(|probe| format!("{probe:?} is not for it")),
        );
        (reading.datagrams, reading.dropped) =
            (count(&counters, "datagrams"), count(&counters, "dropped_buffers"));
        // After a crash, the log may have fewer datagrams than were counted; the check bounds the difference.
        if let Some(sent) = steady {
            if items + missed != reading.datagrams - before.datagrams {
                let counted = reading.datagrams - before.datagrams;
                faults.push(format!(
                    "{items} read and {missed} missed are not the {counted} that were counted"
                ));
            }
            let dropped = reading.dropped - before.dropped;
            if STEADY.contains(&spec.path.as_str()) && numbers.len() as u64 + missed + dropped != sent {
                let kept = numbers.len();
                faults.push(format!(
                    "{kept} kept, {missed} missed and {dropped} dropped are not the {sent} sent"
                ));
            }
        }
        if let Some(resource) = self.world.model().resources.get_mut(&spec.path) {
            resource.reading = reading;
        }
        Ok(faults.iter().map(|fault| format!("{} {}: {fault}", spec.path, spec.group)).collect())
    }

    /// The view of the resource and its latest events, to find the cause of a missing datagram.
    async fn history(&self, spec: &Spec) -> Result<String, String> {
        const LATEST: usize = 12;
        let view = self.world.service.get(&spec.path).await?.json();
        let events = self.world.service.get("/v1/events?limit=1000").await?.json();
        let own = events["items"].as_array().into_iter().flatten();
        let own: Vec<_> = own.filter(|event| event["id"] == view["id"]).map(Value::to_string).collect();
        let latest = &own[own.len().saturating_sub(LATEST)..];
        Ok(format!("it is {view}, after {}", latest.join(", ")))
    }

    fn reading(&self, spec: &Spec) -> Option<Reading> {
        self.world.model().resources.get(&spec.path).map(|resource| resource.reading.clone())
    }

    /// Reads to the end. Waits for the first page, so that this is no busy loop.
    async fn read_to_the_end(&self, spec: &Spec, label: &str, read: &mut Read) -> Result<(), String> {
        let mut wait = 50;
        loop {
            let after =
                read.reading.cursor.as_ref().map_or_else(String::new, |cursor| format!("&after={cursor}"));
            let path = format!("{}/datagrams?limit=1000&wait_ms={wait}{after}", spec.path);
            let reply = self.world.service.get(&path).await?;
            if reply.status != 200 {
                return Err(format!("GET {path}: {}", reply.status));
            }
            let page = reply.json();
            read.take(&page, label);
            if page["items"].as_array().is_none_or(Vec::is_empty) && page.get("gap").is_none() {
                return Ok(());
            }
            wait = 0;
        }
    }
}

impl Read {
    /// Numbers increase by one, or a gap accounts for the step.
    fn take(&mut self, page: &Value, label: &str) {
        let missed = match page.get("gap") {
            Some(gap) if gap["reason"] == "log_replaced" => {
                self.faults.push(format!("the log was replaced: {gap}"));
                None
            }
            Some(gap) => gap["missed"].as_u64(),
            None => Some(0),
        };
        self.missed += missed.unwrap_or_default();
        self.reading.last_seq += missed.unwrap_or_default();
        let mut expected = missed.map(|_| self.reading.last_seq + 1);
        for item in page["items"].as_array().into_iter().flatten() {
            let seq = item["seq"].as_u64().unwrap_or_default();
            if expected.is_some_and(|expected| seq != expected) || seq <= self.reading.last_seq {
                let last = self.reading.last_seq;
                self.faults.push(format!("{seq} follows {last}"));
            }
            self.reading.last_seq = seq;
            expected = Some(seq + 1);
            self.items += 1;
            self.note(item["payload"].as_str().unwrap_or_default(), label);
        }
        self.reading.cursor = page["next_cursor"].as_str().map(str::to_owned);
    }

    fn note(&mut self, payload: &str, label: &str) {
        if payload.starts_with(label) {
            *self.probes.entry(payload.to_owned()).or_default() += 1;
        } else if payload.starts_with(STEADY_LABEL) {
            let number =
                payload.rsplit(' ').next().and_then(|number| number.parse().ok()).unwrap_or_default();
            if number <= self.reading.last_steady {
                self.faults.push(format!("{payload:?} was heard after {}", self.reading.last_steady));
            }
            self.reading.last_steady = number;
            self.steady.push(number);
        }
    }
}

fn count(counters: &Value, name: &str) -> u64 {
    counters[name].as_u64().unwrap_or_default()
}
