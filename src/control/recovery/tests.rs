use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::panic::catch_unwind;
use std::sync::atomic::{AtomicU64, Ordering};

use futures_util::future::BoxFuture;
use serde_json::json;
use tokio::sync::Notify;

use super::*;
use crate::control::{CheckOutcome, Condition, EventKind, Membership, ResourceKind, fixtures};
use crate::model::{
    ClockReading, CloseReason, Family, Group, Id, Interface, InterfaceTable, Retention, SourceFilter,
};
use crate::net::{
    Batch, GroupSocket, KernelGroups, KernelSockets, MessageSocketSpec, ReceiveOptions, RegisteredSocket,
    Registration, Route, RouteQuery, SharedSendSocket, Sink, Socket, SocketBackend, SocketError,
};
use crate::store::{Cursor, Log, ReadRange};

#[tokio::test]
async fn a_panicking_sink_fails_only_its_membership() {
    const EACH: u32 = 100;
    let (control, peer) = (started().await, peer());
    let (harmed, other) = (join(&control, "harmed").await, join(&control, "other").await);
    let send_numbers = async |from: u32| {
        for number in from..from + EACH {
            peer.send_to(&number.to_be_bytes(), address(&other)).unwrap();
        }
        holds(&other.log(), u64::from(from + EACH)).await;
    };

    send_numbers(0).await;
    peer.send_to(PANIC, address(&harmed)).unwrap();
    let mut sent = EACH;
    while control.failures()[0].1 == 0 {
        send_numbers(sent).await;
        sent += EACH;
    }
    has_failed_and_is_joined_again(&control, "harmed").await;
    send_numbers(sent).await;
    peer.send_to(b"again", address(&harmed)).unwrap();
    holds(&harmed.log(), 1).await;

    let heard: Vec<_> = payloads(&other.log()).await;
    let sent: Vec<_> = (0..sent + EACH).map(|number| number.to_be_bytes().to_vec()).collect();
    assert_eq!(heard, sent);
    assert_eq!(
        control.failures(),
        [(ResourceKind::Membership, 1), (ResourceKind::Responder, 0), (ResourceKind::Message, 0)]
    );
    let health = control.health();
    let resources = health.iter().find(|check| check.name == "resources").unwrap();
    assert_eq!(resources.verdict, CheckOutcome::Warning, "{resources:?}");
    control.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_half_changed_log_is_replaced() {
    let (control, peer) = (started().await, peer());
    let membership = join(&control, "harmed").await;
    let log = membership.log();
    let harmed = log.clone();
    let panics = move || harmed.append(std::iter::once_with(|| panic!("a batch that panics on purpose")));
    catch_unwind(AssertUnwindSafe(panics)).unwrap_err();
    assert!(log.is_broken() && membership.is_broken());

    control.note_panic();
    has_failed_and_is_joined_again(&control, "harmed").await;

    assert!(!membership.is_broken() && !Arc::ptr_eq(&log, &membership.log()));
    peer.send_to(b"again", address(&membership)).unwrap();
    holds(&membership.log(), 1).await;
    control.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_panic_in_work_on_one_resource_fails_that_resource_only() {
    let control = started().await;
    let membership = join(&control, "harmed").await;
    control.0.failures.contain(&membership, || panic!("work that panics on purpose"));
    has_failed_and_is_joined_again(&control, "harmed").await;
    control.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_panicking_sink_closes_its_message_as_failed() {
    let (control, peer) = (started().await, peer());
    let spec = json!({
        "group": fixtures::fresh_group(), "interfaces": {"named": ["lo"]}, "payload": "", "hop_limit": 1, "loopback": true,
        "source_port": null, "window": {"secs": 60, "nanos": 0}, "expect": null, "stall": null,
        "repeat": {"count": 1, "interval": {"secs": 0, "nanos": 0}}, "track_attempts": false,
        "linger": {"secs": 0, "nanos": 0}, "retention": Retention::default(),
    });
    let message = control.send(serde_json::from_value(spec).unwrap()).await.unwrap();
    let local = message.view().results[0].source.unwrap();

    peer.send_to(PANIC, local).unwrap();
    message.wait_closed().await;

    assert_eq!(message.view().closed.map(|(reason, _)| reason), Some(CloseReason::Failed));
    assert_eq!(control.failures()[2], (ResourceKind::Message, 1));
    control.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_panicking_task_is_started_again() {
    let (starts, runs) = (AtomicU64::new(0), Notify::new());
    let start = || async {
        assert!(starts.fetch_add(1, Ordering::Relaxed) > 1, "a task that panics on purpose");
        runs.notify_one();
        std::future::pending::<()>().await;
    };
    tokio::select! {
        () = keep_running("of a test", start) => unreachable!("it runs"),
        () = runs.notified() => {}
    }
    assert_eq!(starts.into_inner(), 3);
}

/// Sinks panic on this payload.
const PANIC: &[u8] = b"panic";

/// A core with one receive thread, whose sinks panic.
async fn started() -> Control {
    let sockets = |threads, interfaces| {
        Arc::new(PanickingSockets(KernelSockets { threads, interfaces })) as Arc<dyn SocketBackend>
    };
    Control::start_with(fixtures::settings(), sockets).await.unwrap()
}

async fn join(control: &Control, id: &str) -> Arc<Membership> {
    control.join_as(Id::parse(id).unwrap(), fixtures::on_lo(), &Condition::ONLY_CREATE).await.unwrap().0
}

/// Sends by `lo`, because its address is on that interface.
fn peer() -> UdpSocket {
    UdpSocket::bind(("127.0.0.1", 0)).unwrap()
}

fn address(membership: &Membership) -> SocketAddr {
    membership.group().socket_addr(0)
}

async fn holds(log: &Log, datagrams: u64) {
    loop {
        let changed = log.changed();
        if log.counters().appended >= datagrams {
            return;
        }
        changed.await;
    }
}

async fn payloads(log: &Log) -> Vec<Vec<u8>> {
    let (mut payloads, mut cursor) = (Vec::new(), None::<Cursor>);
    loop {
        let page = log.read(cursor, 1_000, ReadRange::ALL).await.unwrap();
        if page.is_empty() {
            return payloads;
        }
        payloads.extend(page.entries().map(|entry| entry.payload.to_vec()));
        cursor = Some(page.next);
    }
}

async fn has_failed_and_is_joined_again(control: &Control, id: &str) {
    loop {
        let changed = control.events().changed();
        let events = control.events().read(None, 1_000, |_| true).events;
        let mut of_it = events.iter().filter(|event| event.id.as_str() == id).map(|event| &event.event);
        if of_it.any(|event| matches!(event, EventKind::Failed(_)))
            && of_it.any(|event| matches!(event, EventKind::Joined))
        {
            return;
        }
        changed.await;
    }
}

/// The kernel's sockets, with sinks that panic.
struct PanickingSockets(KernelSockets);

struct PanickingSink(Box<dyn Sink>);

impl Sink for PanickingSink {
    fn deliver(&mut self, socket: &Arc<RegisteredSocket>, batch: &Batch<'_>) {
        assert!(batch.iter().all(|received| received.bytes != PANIC), "a sink that panics on purpose");
        self.0.deliver(socket, batch);
    }
}

impl SocketBackend for PanickingSockets {
    fn register(&self, socket: Socket, sink: Box<dyn Sink>) -> Result<Registration, SocketError> {
        self.0.register(socket, Box::new(PanickingSink(sink)))
    }

    fn clock(&self) -> ClockReading {
        self.0.clock()
    }

    fn interfaces(&self) -> Arc<InterfaceTable> {
        self.0.interfaces()
    }

    fn refresh(&self) -> BoxFuture<'_, Result<Arc<InterfaceTable>, SocketError>> {
        self.0.refresh()
    }

    fn route(&self, query: &RouteQuery) -> Result<Route, SocketError> {
        self.0.route(query)
    }

    fn open_group_socket(
        &self,
        group: &Group,
        interface: &Interface,
        sources: &SourceFilter,
        options: ReceiveOptions,
    ) -> Result<GroupSocket, SocketError> {
        self.0.open_group_socket(group, interface, sources, options)
    }

    fn open_message_socket(&self, spec: &MessageSocketSpec<'_>) -> Result<Socket, SocketError> {
        self.0.open_message_socket(spec)
    }

    fn open_shared_send_socket(
        &self,
        family: Family,
        loopback: bool,
    ) -> Result<SharedSendSocket, SocketError> {
        self.0.open_shared_send_socket(family, loopback)
    }

    fn open_reply_socket(
        &self,
        interface_index: u32,
        source: IpAddr,
        port: u16,
    ) -> Result<Socket, SocketError> {
        self.0.open_reply_socket(interface_index, source, port)
    }

    fn kernel_groups(&self) -> Result<KernelGroups, SocketError> {
        self.0.kernel_groups()
    }
}
