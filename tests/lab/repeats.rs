//! A message that repeats follows its interfaces by name, as memberships do.

use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::support::lab::{Host, Lab};
use crate::support::node::{Node, payloads, texts};

/// A second between two copies leaves time to change something between them.
const INTERVAL_MS: u32 = 1_000;

#[tokio::test(flavor = "multi_thread")]
async fn the_next_copy_leaves_from_the_new_address() {
    let Some(mut lab) = Lab::new() else { return };
    let scene = Scene::new(&mut lab).await;
    let senders = scene.start().await;

    scene.host.ip("addr flush dev eth0\n");
    scene.has("10.77.0.151", "fd77::151");

    scene.assert_next_copies(&senders, "10.77.0.151", "fd77::151").await;
    scene.assert_exact(&senders).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeating_message_survives_the_loss_of_its_interface() {
    let Some(mut lab) = Lab::new() else { return };
    let mut scene = Scene::new(&mut lab).await;
    let senders = scene.start().await;

    scene.host.ip("link del eth0\n");
    scene.assert_failing(&senders, "gone").await;
    lab.attach_again(&mut scene.host, 0, Lab::LAN);

    let (ipv4, ipv6) = (scene.host.ipv4().to_string(), scene.host.ipv6().to_string());
    scene.assert_next_copies(&senders, &ipv4, &ipv6).await;
    scene.assert_exact(&senders).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeating_message_follows_its_interface_by_name() {
    let Some(mut lab) = Lab::new() else { return };
    let scene = Scene::new(&mut lab).await;
    let senders = scene.start().await;

    scene.host.ip("link set eth0 down\nlink set eth0 name other\nlink set other up\n");
    scene.assert_failing(&senders, "gone").await;
    scene.host.ip("link set other down\nlink set other name eth0\nlink set eth0 up\naddr flush dev eth0\n");
    scene.has("10.77.0.152", "fd77::152");

    scene.assert_next_copies(&senders, "10.77.0.152", "fd77::152").await;
    scene.assert_exact(&senders).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn copies_fail_while_the_interface_is_down() {
    let Some(mut lab) = Lab::new() else { return };
    let scene = Scene::new(&mut lab).await;
    let senders = scene.start().await;

    scene.host.ip("link set eth0 down\n");
    scene.assert_failing(&senders, "eth0 is down").await;
    scene.host.ip("link set eth0 up\naddr flush dev eth0\n");
    scene.has("10.77.0.153", "fd77::153");

    scene.assert_next_copies(&senders, "10.77.0.153", "fd77::153").await;
    scene.assert_exact(&senders).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn copies_fail_without_a_source_address() {
    let Some(mut lab) = Lab::new() else { return };
    let scene = Scene::new(&mut lab).await;
    let senders = scene.start().await;

    scene.host.ip("addr flush dev eth0\n");
    scene.assert_failing(&senders, "address").await;
    scene.has("10.77.0.154", "fd77::154");

    scene.assert_next_copies(&senders, "10.77.0.154", "fd77::154").await;
    scene.assert_exact(&senders).await;
}

/// A service that sends, and a service on another host of the same segment that listens.
struct Scene {
    node: Node,
    host: Host,
    listener: Node,
    _listening: Host,
}

/// A repeating message, and the membership that receives it.
struct Sender {
    kind: &'static str,
    message: String,
    membership: String,
    is_ipv6: bool,
}

impl Scene {
    async fn new(lab: &mut Lab) -> Self {
        let (host, listening) = (lab.host(), lab.host());
        let (node, listener) = (Node::start(&host, &[]).await, Node::start(&listening, &[]).await);
        Self { node, host, listener, _listening: listening }
    }

    /// Starts messages of all kinds in both families, and waits until a copy of each has just been received.
    async fn start(&self) -> Vec<Sender> {
        let mut senders = Vec::new();
        for (group, is_ipv6) in [("239.4.15.1", false), ("[ff15::15:1]", true)] {
            for (nth, (kind, options)) in kinds(is_ipv6).into_iter().enumerate() {
                let group = format!("{group}:{}", 10_000 + nth);
                let membership = self.listener.join(json!({"group": group, "interfaces": ["eth0"]})).await;
                let message = format!("/v1/messages/{kind}-{}", if is_ipv6 { 6 } else { 4 });
                let mut body = options;
                body["group"] = json!(group);
                body["payload"] = json!(kind);
                if kind != "default" {
                    body["interfaces"] = json!(["eth0"]);
                }
                senders.push((Sender { kind, message, membership, is_ipv6 }, body));
            }
        }
        let begun = senders.iter().map(|(sender, body)| self.node.put(&sender.message, body.clone()));
        for reply in join_all(begun).await {
            reply.expect(202);
        }
        let senders: Vec<_> = senders.into_iter().map(|(sender, _)| sender).collect();
        for sender in &senders {
            self.listener.receive_until(&sender.membership, sender.kind).await;
        }
        senders
    }

    /// Gives eth0 these addresses, and the route to groups, which the kernel removed with the last address.
    fn has(&self, ipv4: &str, ipv6: &str) {
        self.host.ip(&format!(
            "addr add {ipv4}/24 dev eth0\naddr add {ipv6}/64 dev eth0\nroute replace 224.0.0.0/4 dev eth0\n"
        ));
        self.host.wait_for_addresses();
    }

    /// The message's result on its one interface.
    async fn sent(&self, sender: &Sender) -> Value {
        self.node.get(&sender.message).await.expect(200)["sent"][0].clone()
    }

    /// Waits until two copies of each message have failed for a reason with this word; none counts as sent.
    async fn assert_failing(&self, senders: &[Sender], word: &str) {
        join_all(senders.iter().map(async |sender| {
            let fails = |count: u64| move |view: &Value| view["sent"][0]["failed"].as_u64() >= Some(count);
            let first = self.node.until(&sender.message, fails(1)).await["sent"][0].clone();
            let failed = first["failed"].as_u64().expect("a number");
            let second = self.node.until(&sender.message, fails(failed + 1)).await["sent"][0].clone();
            assert_eq!(first["count"], second["count"], "{}: {second}", sender.kind);
            for sent in [&first, &second] {
                let error = sent["error"].as_str().unwrap_or_else(|| panic!("no error in {sent}"));
                assert!(error.contains(word) && !error.contains("route"), "{}: {error}", sender.kind);
                assert_eq!(sent["interface"], "eth0", "{}", sender.kind);
            }
        }))
        .await;
    }

    /// The next copy of each message leaves from one of these addresses, and none fails from now on.
    async fn assert_next_copies(&self, senders: &[Sender], ipv4: &str, ipv6: &str) {
        let before = join_all(senders.iter().map(|sender| self.sent(sender))).await;
        for (sender, before) in senders.iter().zip(before) {
            let old = before["count"].as_u64().expect("a number");
            let more = |view: &Value| view["counters"]["datagrams"].as_u64() > Some(old);
            self.listener.until(&sender.membership, more).await;
            let received = self.listener.receive_until(&sender.membership, sender.kind).await;
            let new = if sender.is_ipv6 { format!("[{ipv6}]:") } else { format!("{ipv4}:") };
            let sources = texts(&received, "source");
            let next = sources.iter().skip(usize::try_from(old).expect("a few"));
            assert!(next.clone().count() > 0, "{}: {sources:?}", sender.kind);
            assert!(next.clone().all(|source| source.starts_with(&new)), "{}: {sources:?}", sender.kind);
            let sent = self.sent(sender).await;
            assert_eq!(sent["failed"], before["failed"], "{}: {sent}", sender.kind);
            assert!(sent["source"].as_str().unwrap().starts_with(&new), "{}: {sent}", sender.kind);
            if sender.kind == "own-port" {
                assert!(sources.iter().all(|source| source.ends_with(":20001")), "{sources:?}");
            }
        }
    }

    /// Ends the messages: the listener has received as many copies as count as sent.
    async fn assert_exact(&self, senders: &[Sender]) {
        for sender in senders {
            self.node.post(&format!("{}/cancel", sender.message), json!({})).await.expect(200);
            let sent = self.sent(sender).await;
            let view = self
                .listener
                .until(&sender.membership, |view| view["counters"]["datagrams"] == sent["count"])
                .await;
            assert_eq!(view["counters"]["datagrams"], sent["count"], "{}", sender.kind);
            let received = self.listener.receive_until(&sender.membership, sender.kind).await;
            assert!(payloads(&received).iter().all(|payload| *payload == sender.kind));
        }
    }
}

/// Messages that differ in the sockets that they send from.
fn kinds(is_ipv6: bool) -> Vec<(&'static str, Value)> {
    let repeat = |count: u32| json!({"count": count, "interval_ms": INTERVAL_MS});
    // So few that they last only with longer pauses.
    let tracked = json!({"count": 8, "interval_ms": 3 * INTERVAL_MS});
    let mut kinds = vec![
        ("shared", json!({"window_ms": 0, "repeat": repeat(600_000)})),
        ("own-port", json!({"window_ms": 0, "source_port": 20_001, "repeat": repeat(600_000)})),
        ("collecting", json!({"window_ms": 86_400_000, "repeat": repeat(80_000)})),
        ("tracked", json!({"window_ms": 60_000, "track_attempts": true, "repeat": tracked})),
    ];
    // For IPv6 it would take the interface of the default route, which there is not.
    if !is_ipv6 {
        kinds.push(("default", json!({"window_ms": 0, "repeat": repeat(600_000)})));
    }
    kinds
}
