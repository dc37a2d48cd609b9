//! Health checks: what works, what does not, and what to do about it, for probes and for operators.
//!
//! A failed check means that the service should get no work now. A warning names something that is amiss, or that this
//! host does not let the service do (see [`host_limits`]), while everything else works. To add a check, write a function
//! that returns a [`HealthCheck`] and list it in [`Control::health`].

mod host_limits;

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::membership::Membership;
use super::resource_kind::ResourceKind;
use super::shared::{Control, Shared};
use super::views::JoinState;
use super::watchdog::MAX_BUSY;
use crate::net::Descriptors;
use crate::store::Store;
use crate::sync::Lock;

/// What one check has found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HealthCheck {
    pub name: &'static str,
    pub verdict: CheckOutcome,
    /// The finding, and how to fix it.
    pub detail: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CheckOutcome {
    Ok,
    Warning,
    Failed,
}

impl Control {
    /// All checks. Each takes a few system calls and waits for nothing.
    pub fn health(&self) -> Vec<HealthCheck> {
        let shared = &self.0;
        let mut checks = vec![
            accepting(shared),
            tasks_running(shared),
            interfaces_followed(shared),
            hearing(shared),
            lanes_running(shared),
            timers_run(shared),
            resources_whole(shared),
            store_works(shared),
            descriptors(),
        ];
        checks.extend(self.rights());
        checks
    }

    /// Whether everything that the watchdog watches makes progress, for the service's supervisor.
    pub fn is_alive(&self) -> bool {
        makes_progress(&self.0)
    }
}

fn makes_progress(shared: &Shared) -> bool {
    let now = Instant::now();
    let store = shared.store.as_ref().map(Store::progress);
    let others = [shared.interfaces.progress(), &shared.reconciler.progress].into_iter().chain(store);
    let mut all = shared.receive_threads.progress().chain(others);
    all.all(|progress| progress.busy_for(now) < MAX_BUSY) && shared.timers.late(now) < MAX_BUSY
}

fn accepting(shared: &Shared) -> HealthCheck {
    const NAME: &str = "accepting";
    if shared.stop.is_cancelled() {
        return HealthCheck::failed(NAME, "the service is stopping");
    }
    HealthCheck::ok(NAME, "the service takes requests")
}

fn tasks_running(shared: &Shared) -> HealthCheck {
    const NAME: &str = "tasks";
    let tasks = shared.long_running.lock_shared();
    let running = tasks.iter().filter(|task| !task.is_finished()).count();
    let detail = format!("{running} of {} long-running tasks run", tasks.len());
    if running < tasks.len() {
        return HealthCheck::failed(NAME, format!("{detail}: the log has the reason, restart the service"));
    }
    HealthCheck::ok(NAME, detail)
}

fn interfaces_followed(shared: &Shared) -> HealthCheck {
    const NAME: &str = "interfaces";
    let health = shared.interfaces.health();
    let found = shared.interfaces.table().interfaces.len();
    if health.is_current(Instant::now()) {
        return HealthCheck::ok(NAME, format!("followed: {found}"));
    }
    let reason = health.last_error.unwrap_or_else(|| "the kernel does not answer".to_owned());
    HealthCheck::failed(NAME, format!("interfaces that come, go or change are not noticed: {reason}"))
}

fn hearing(shared: &Shared) -> HealthCheck {
    const NAME: &str = "hearing";
    /// Enough for a round in which a storm of changes makes it open thousands of sockets.
    const MAX_ROUND: Duration = Duration::from_secs(30);
    if shared.reconciler.progress.busy_for(Instant::now()) > MAX_ROUND {
        return HealthCheck::failed(
            NAME,
            "the thread that opens and closes sockets is stuck: restart the service",
        );
    }
    let not_hearing = shared.all_memberships().filter(|membership| !membership.join_status().hears);
    let (mut count, mut example) = (0, String::new());
    for membership in not_hearing {
        count += 1;
        if example.is_empty()
            && let Some(reason) = membership.why_not_hearing()
        {
            example = format!(", as {} `{}` on {reason}", membership.kind(), membership.id());
        }
    }
    match count {
        0 => HealthCheck::ok(NAME, "all memberships and responders hear"),
        _ => HealthCheck::warning(
            NAME,
            format!("memberships and responders that do not hear: {count}{example}"),
        ),
    }
}

fn lanes_running(shared: &Shared) -> HealthCheck {
    const NAME: &str = "lanes";
    /// A receive thread that works on one batch for longer than this is stuck.
    const MAX_BATCH: Duration = Duration::from_secs(5);
    let (running, started) = shared.receive_threads.running(MAX_BATCH);
    let detail = format!("{running} of {started} threads receive");
    if running < started {
        return HealthCheck::failed(
            NAME,
            format!("{detail}: sockets of the others hear nothing, restart the service"),
        );
    }
    HealthCheck::ok(NAME, detail)
}

fn timers_run(shared: &Shared) -> HealthCheck {
    const NAME: &str = "timers";
    const LATE: Duration = Duration::from_secs(5);
    let late = shared.timers.late(Instant::now());
    if late >= LATE && !shared.stop.is_cancelled() {
        let late = late.as_secs();
        return HealthCheck::failed(
            NAME,
            format!("windows, leases, retries and replies are {late} s late: restart the service"),
        );
    }
    HealthCheck::ok(NAME, "windows, leases, retries and replies are in time")
}

fn resources_whole(shared: &Shared) -> HealthCheck {
    const NAME: &str = "resources";
    let mut findings = Vec::new();
    let failures: u64 = ResourceKind::ALL.into_iter().map(|kind| shared.failures.count(kind)).sum();
    if failures > 0 {
        let is_failed = |membership: &Arc<Membership>| membership.join_status().state == JoinState::Failed;
        let failed_now = shared.all_memberships().filter(is_failed).count();
        findings.push(format!(
            "internal errors have failed {failures} resources since the start, and {failed_now} are failed now: the log names them, please report it"
        ));
    }
    let mut refused = shared.all_memberships().filter(|membership| membership.check_pattern().is_err());
    if let Some(example) = refused.next() {
        findings.push(format!(
            "responders that reply to nothing because their pattern is refused: {}, as `{}`: change it",
            1 + refused.count(),
            example.id()
        ));
    }
    if findings.is_empty() {
        return HealthCheck::ok(NAME, "no resource has failed");
    }
    HealthCheck::warning(NAME, findings.join("; "))
}

fn store_works(shared: &Shared) -> HealthCheck {
    const NAME: &str = "store";
    let Some(store) = &shared.store else {
        return HealthCheck::ok(NAME, "nothing is kept on disk");
    };
    let condition = store.status();
    match condition.error {
        Some(error) => HealthCheck::failed(
            NAME,
            format!(
                "{error}; datagrams and changes of the last {} s are in memory only, and are written when the disk works again",
                condition.lag.as_secs()
            ),
        ),
        None if condition.is_degraded() => HealthCheck::failed(
            NAME,
            format!(
                "the disk of the data directory does not respond: datagrams and changes of the last {} s are in memory only",
                condition.lag.as_secs()
            ),
        ),
        None if condition.is_damaged() => {
            let copy =
                condition.damaged_copy.map(|copy| format!("; the damaged database is {}", copy.display()));
            HealthCheck::warning(
                NAME,
                format!(
                    "damage in the data directory: {} memberships, responders and messages are set aside with their logs, and {} blocks of logs are lost{}: the log has details; check the disk, stop the service and run `rollcall check --repair`",
                    condition.set_aside,
                    condition.lost_blocks,
                    copy.unwrap_or_default()
                ),
            )
        }
        None => match condition.confined_to {
            Some(bytes) => HealthCheck::warning(
                NAME,
                format!(
                    "the disk is nearly full: logs keep {bytes} bytes together, and new datagrams replace the oldest ones: free disk space, or keep less"
                ),
            ),
            None => {
                HealthCheck::ok(NAME, format!("the data directory works, {} bytes", condition.file_bytes))
            }
        },
    }
}

fn descriptors() -> HealthCheck {
    const NAME: &str = "descriptors";
    let found = Descriptors::now();
    let Descriptors { open: Some(open), limit: Some(limit) } = found else {
        return HealthCheck::warning(NAME, "the number of open descriptors cannot be read from /proc");
    };
    let detail = format!("{open} of {limit} are open");
    // Not a failure: joined groups are still received, and resources that end free descriptors.
    if found.are_short() {
        return HealthCheck::warning(NAME, format!("{detail}: raise the limit (`ulimit -n`, `LimitNOFILE`)"));
    }
    HealthCheck::ok(NAME, detail)
}

impl HealthCheck {
    fn ok(name: &'static str, detail: impl Into<String>) -> Self {
        Self { name, verdict: CheckOutcome::Ok, detail: detail.into() }
    }

    fn warning(name: &'static str, detail: impl Into<String>) -> Self {
        Self { name, verdict: CheckOutcome::Warning, detail: detail.into() }
    }

    fn failed(name: &'static str, detail: impl Into<String>) -> Self {
        Self { name, verdict: CheckOutcome::Failed, detail: detail.into() }
    }
}
