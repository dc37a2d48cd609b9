//! Many messages at once: each gets its own responses only, and none blocks a join.

use std::collections::HashSet;
use std::future::Future;
use std::sync::Arc;
use std::time::Instant;

use hyper::Method;
use serde_json::{Value, json};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::support::client::Client;
use crate::support::lab::{Host, Lab};
use crate::support::node::{Node, payloads, texts};

#[tokio::test(flavor = "multi_thread")]
async fn five_thousand_messages_at_once_block_no_join_and_never_mix() {
    const MESSAGES: usize = 5_000;
    let Some(mut lab) = Lab::new() else { return };
    let (caller, answerer, responder, _hosts) = echo_on_two_segments(&mut lab, &json!(0)).await;

    let start = Instant::now();
    let client = Client::clone(&caller);
    let messages = in_parallel(MESSAGES, 32, move |nth| {
        let client = client.clone();
        async move {
            let body = echo_message(nth, json!({"window_ms": 600_000}));
            client.put(&path(nth), body).await.expect(202)
        }
    })
    .await;
    println!("5,000 messages sent in {:?}", start.elapsed());

    // On ports in use by the messages, and on others.
    let in_use = messages.iter().take(150).map(|message| port(&message["sent"][0]));
    let ports: Vec<u16> = in_use.chain((32_768..61_000).step_by(188)).collect();
    let client = Client::clone(&caller);
    let count = ports.len();
    assert!(count >= 300);
    let memberships = in_parallel(count, 32, move |nth| {
        let (client, port) = (client.clone(), ports[nth]);
        async move {
            let group = format!("239.2.{}.{}:{port}", 100 + nth / 256, nth % 256);
            client.post("/v1/memberships", json!({"group": group})).await.expect(201)
        }
    })
    .await;
    for membership in &memberships {
        assert_eq!(membership["state"], "joined", "{membership:#}");
    }

    let client = Client::clone(&caller);
    let responses = in_parallel(MESSAGES, 32, move |nth| {
        let client = client.clone();
        async move { own_responses(&client, nth).await }
    })
    .await;
    println!("5,000 messages answered in {:?}", start.elapsed());

    // Every reply has been accounted for, so none is anywhere else.
    let total: usize = responses.iter().sum();
    let replies = answerer.get(&responder).await.expect(200)["replies"].clone();
    assert_eq!((&replies["replied"], &replies["failed"]), (&json!(total), &json!(0)));
    let collecting = all_messages(&caller, "collecting").await;
    assert_eq!(collecting.len(), MESSAGES);
    assert_eq!(sum(&collecting, "responses"), total);
    let views = caller.get("/v1/memberships?limit=1000").await.expect(200);
    assert!(views["items"].as_array().unwrap().iter().all(|view| view["counters"]["datagrams"] == 0));
}

/// Few ports, and replies that come after the window: a port must not go to another message while
/// replies to the last one are under way.
#[tokio::test(flavor = "multi_thread")]
async fn late_replies_stay_with_their_message() {
    const MESSAGES: usize = 600;
    let Some(mut lab) = Lab::new() else { return };
    let (caller, answerer, responder, hosts) =
        echo_on_two_segments(&mut lab, &json!({"min": 0, "max": 150})).await;
    hosts[0].set("net/ipv4/ip_local_port_range", "40000 40399");

    let client = Client::clone(&caller);
    let sent = in_parallel(MESSAGES, 4, move |nth| {
        let client = client.clone();
        async move {
            let body = echo_message(nth, json!({"window_ms": 20, "linger_ms": 1500}));
            let request = client.request(Method::PUT, &format!("{}?wait_ms=60000", path(nth)));
            request.json(body).send().await.expect(200)
        }
    })
    .await;
    assert_ports_were_used_again(&sent);

    let client = Client::clone(&caller);
    let responses = in_parallel(MESSAGES, 32, move |nth| {
        let client = client.clone();
        async move { own_responses(&client, nth).await }
    })
    .await;
    let total: usize = responses.iter().sum();
    let replies = answerer.get(&responder).await.expect(200)["replies"].clone();
    assert_eq!(replies["replied"], total);
    let closed = all_messages(&caller, "closed").await;
    assert_eq!(sum(&closed, "responses"), total);
    let late = sum(&closed, "late");
    assert!(late > total / 4, "of {total} replies, {late} came late");
}

/// Few ports, given back at once.
#[tokio::test(flavor = "multi_thread")]
async fn reused_ports_receive_no_replies_to_other_messages() {
    const MESSAGES: usize = 1_000;
    let Some(mut lab) = Lab::new() else { return };
    let (caller, answerer, responder, hosts) = echo_on_two_segments(&mut lab, &json!(0)).await;
    hosts[0].set("net/ipv4/ip_local_port_range", "40000 40049");

    let client = Client::clone(&caller);
    let sent = in_parallel(MESSAGES, 16, move |nth| {
        let client = client.clone();
        async move {
            let expect = copies(nth);
            let body = echo_message(nth, json!({"window_ms": 60_000, "expect": expect, "linger_ms": 0}));
            let request = client.request(Method::PUT, &format!("{}?wait_ms=60000", path(nth)));
            let message = request.json(body).send().await.expect(200);
            assert_eq!(message["close_reason"], "expected", "{message:#}");
            let responses = message["responses"].as_array().expect("responses");
            assert_eq!(payloads(responses), vec![format!("m{nth}"); expect]);
            message
        }
    })
    .await;

    assert_ports_were_used_again(&sent);
    let total: usize = (0..MESSAGES).map(copies).sum();
    let replies = answerer.get(&responder).await.expect(200)["replies"].clone();
    assert_eq!(replies["replied"], total);
    let closed = all_messages(&caller, "closed").await;
    assert_eq!((sum(&closed, "responses"), sum(&closed, "late")), (total, 0));
}

/// Two hosts on two segments; one of them replies to every message with its payload.
async fn echo_on_two_segments(lab: &mut Lab, delay_ms: &Value) -> (Node, Node, String, [Host; 2]) {
    let second = lab.bridge();
    let mut hosts = [lab.host(), lab.host()];
    for host in &mut hosts {
        lab.attach(host, second);
    }
    let caller = Node::start(&hosts[0], &[]).await;
    let unlimited = ["--replies-per-source", "0", "--replies-total", "0"];
    let answerer = Node::start(&hosts[1], &unlimited).await;
    let responder = json!({
        "group": "239.2.2.1:10000", "interfaces": ["eth0", "eth1"], "reply": {"echo": true}, "delay_ms": delay_ms
    });
    let responder = answerer.respond(responder).await;
    (caller, answerer, responder, hosts)
}

fn path(nth: usize) -> String {
    format!("/v1/messages/m{nth}")
}

/// A message with its own id as payload, on one interface, the other, or both.
fn echo_message(nth: usize, options: Value) -> Value {
    let interfaces = [&["eth0"][..], &["eth1"], &["eth0", "eth1"]][nth % 3];
    let mut message = options;
    message["group"] = json!("239.2.2.1:10000");
    message["payload"] = json!(format!("m{nth}"));
    message["interfaces"] = json!(interfaces);
    message
}

/// How many copies of a message go out, and how many replies are to come.
fn copies(nth: usize) -> usize {
    if nth % 3 == 2 { 2 } else { 1 }
}

/// Waits for all replies to a message; returns their number. Each must have the message's own id as payload.
async fn own_responses(client: &Client, nth: usize) -> usize {
    let (mut count, mut after) = (0, String::new());
    while count < copies(nth) {
        let page = format!("{}/responses?wait_ms=20000{after}", path(nth));
        let page = client.get(&page).await.expect(200);
        let items = page["items"].as_array().expect("a list");
        assert!(!items.is_empty(), "m{nth} has {count} responses");
        assert!(payloads(items).iter().all(|payload| *payload == format!("m{nth}")), "m{nth}: {items:?}");
        count += items.len();
        after = format!("&after={}", page["next_cursor"].as_str().expect("a cursor"));
    }
    count
}

async fn all_messages(client: &Client, state: &str) -> Vec<Value> {
    let (mut all, mut after) = (Vec::new(), String::new());
    loop {
        let list = client.get(&format!("/v1/messages?state={state}&limit=1000{after}")).await.expect(200);
        all.extend_from_slice(list["items"].as_array().expect("a list"));
        let Some(next) = list["next_cursor"].as_str() else {
            return all;
        };
        after = format!("&after={next}");
    }
}

fn sum(messages: &[Value], counter: &str) -> usize {
    let counts = messages.iter().map(|message| message["counters"][counter].as_u64().expect("a number"));
    usize::try_from(counts.sum::<u64>()).expect("a small number")
}

fn assert_ports_were_used_again(messages: &[Value]) {
    let sent: Vec<Value> =
        messages.iter().flat_map(|message| message["sent"].as_array().unwrap().clone()).collect();
    let distinct: HashSet<_> = texts(&sent, "source").into_iter().collect();
    assert!(distinct.len() < sent.len(), "{} ports for {} sends", distinct.len(), sent.len());
}

fn port(sent: &Value) -> u16 {
    let source = sent["source"].as_str().expect("a source");
    let source: std::net::SocketAddr = source.parse().expect("an address");
    source.port()
}

/// Runs `count` jobs, so many `at_once`; their results in the order in which they ended.
async fn in_parallel<T, F>(count: usize, at_once: usize, job: impl Fn(usize) -> F) -> Vec<T>
where
    T: Send + 'static,
    F: Future<Output = T> + Send + 'static,
{
    let permits = Arc::new(Semaphore::new(at_once));
    let mut jobs = JoinSet::new();
    for nth in 0..count {
        let (job, permits) = (job(nth), permits.clone());
        jobs.spawn(async move {
            let _permit = permits.acquire().await.expect("never closed");
            job.await
        });
    }
    jobs.join_all().await
}
