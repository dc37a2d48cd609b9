//! A host whose links change faster than the service can read.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::task::{JoinSet, block_in_place};

use crate::support::client::{Client, Reply};
use crate::support::lab::{Host, Lab};
use crate::support::node::{Node, payloads, texts};

/// The service responds to every request within this time, even during storms.
const ANSWERED: Duration = Duration::from_secs(10);

#[tokio::test(flavor = "multi_thread")]
async fn every_request_completes_during_ten_storms_of_link_changes() {
    const STORMS: usize = 10;
    let Some(mut lab) = Lab::new() else { return };
    let (host, neighbour) = (lab.host(), lab.host());
    let (node, neighbour) = (Node::start(&host, &[]).await, Node::start(&neighbour, &[]).await);
    let group = "239.4.11.1:10000";
    let membership = node.join(json!({"group": group})).await;
    let spinners = [(); 2].map(|()| host.spawn("nice", &["sh", "-c", "ulimit -t 60; while :; do :; done"]));

    let over = Arc::new(AtomicBool::new(false));
    let mut clients = JoinSet::new();
    for nth in 0..5 {
        clients.spawn(send_requests(Client::clone(&node), nth, over.clone()));
    }
    for _ in 0..STORMS {
        block_in_place(|| storm(&node, &host));
    }
    over.store(true, Ordering::Relaxed);
    let responses = clients.join_all().await;
    drop(spinners);

    println!("{STORMS} storms: {} requests answered", responses.into_iter().sum::<usize>());
    the_table_is_right(&node, &host).await;
    node.get("/readyz").await.expect(200);
    let view = node.soon(&membership, |view| view["interfaces"].as_array().unwrap().len() == 2).await;
    assert_eq!(view["state"], "joined", "{view:#}");
    neighbour.say(json!({"group": group, "payload": "after the storms"})).await;
    assert_eq!(payloads(&node.receive_until(&membership, "after the storms").await), ["after the storms"]);
}

/// Sends one request after another until the storms are over, and checks each response; returns their number.
async fn send_requests(client: Client, nth: usize, over: Arc<AtomicBool>) -> usize {
    let mut answered = 0;
    while !over.load(Ordering::Relaxed) {
        let message = json!({"group": "239.4.11.2:10000", "payload": format!("{nth}"), "window_ms": 0});
        let request = async {
            if nth == 0 {
                client.get("/v1/interfaces").await
            } else {
                client.post("/v1/messages", message).await
            }
        };
        let reply = tokio::time::timeout(ANSWERED, request).await;
        let reply = reply.unwrap_or_else(|_| panic!("client {nth} has no answer to request {answered}"));
        is_right(&reply);
        answered += 1;
    }
    answered
}

/// The request was carried out, or it ran out of time and may be repeated.
#[track_caller]
fn is_right(reply: &Reply) {
    if !reply.status.is_success() {
        let problem = reply.expect(503);
        assert_eq!(reply.header("retry-after"), "1", "{problem:#}");
    }
}

/// Two hundred veth pairs come, change for two seconds and go. So do hundreds of addresses, and the service is stopped
/// each time they come, as on a busy host: the announcements overflow its buffer, and until it has read them all, the
/// kernel drops replies too.
fn storm(node: &Node, host: &Host) {
    const PAIRS: usize = 200;
    const ADDRESSES: usize = 400;
    let pairs = |line: fn(usize) -> String| (0..PAIRS).map(line).collect::<String>();
    let come = pairs(|nth| format!("link add name s{nth} group 7 type veth peer name t{nth} group 7\n"));
    let up = pairs(|nth| {
        format!("link set s{nth} up\nlink set t{nth} up\naddr add 10.79.0.{nth}/32 dev s{nth}\n")
    });
    let down = pairs(|nth| format!("addr flush dev s{nth}\nlink set s{nth} down\nlink set t{nth} down\n"));
    let addresses = |verb: &str| {
        let line = |nth| format!("addr {verb} 10.80.{}.{}/32 dev lo\n", nth / 200, nth % 200);
        (0..ADDRESSES).map(line).collect::<String>()
    };
    let (add, delete) = (addresses("add"), addresses("del"));
    host.ip(&come);
    let end = Instant::now() + Duration::from_secs(2);
    thread::scope(|storm| {
        storm.spawn(|| {
            while Instant::now() < end {
                host.ip(&up);
                host.ip(&down);
            }
        });
        while Instant::now() < end {
            node.while_stopped(|| host.ip(&add));
            host.ip(&delete);
        }
    });
    host.ip("link del group 7\n");
}

/// The service shows the same interfaces as the kernel.
async fn the_table_is_right(node: &Node, host: &Host) {
    let kernels: Value = serde_json::from_str(&host.run("ip", &["-json", "link"])).expect("JSON");
    let names = texts(kernels.as_array().expect("a list"), "ifname");
    assert_eq!(names, ["lo", "eth0"]);
    let shown = node
        .soon("/v1/interfaces", |shown| {
            let items = shown["items"].as_array().expect("a list");
            texts(items, "name") == names && items.iter().all(|item| item["up"] == true)
        })
        .await;
    for (shown, kernels) in shown["items"].as_array().unwrap().iter().zip(kernels.as_array().unwrap()) {
        assert_eq!((&shown["index"], &shown["mtu"]), (&kernels["ifindex"], &kernels["mtu"]));
    }
}
