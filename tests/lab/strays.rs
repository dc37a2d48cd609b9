//! Datagrams that reach a message's port before the message is sent.

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::support::lab::{Lab, peer};
use crate::support::node::{Node, payloads};

/// The source port is fixed, so that another host can know it in advance.
#[tokio::test(flavor = "multi_thread")]
async fn datagrams_before_the_first_send_are_strays() {
    const MESSAGES: usize = 300;
    const PORT: u16 = 20_000;
    let Some(mut lab) = Lab::new() else { return };
    let second = lab.bridge();
    let (mut host, outside, neighbour) = (lab.host(), lab.host(), lab.host());
    lab.attach(&mut host, second);
    let node = Node::start(&host, &[]).await;
    let neighbour = Node::start(&neighbour, &[]).await;
    let member = json!({"group": "239.4.10.1:10000", "interfaces": ["eth0"]});
    let membership = node.join(member.clone()).await;
    let address = host.ipv4().to_string();
    let flooder = outside.spawn("python3", &[&peer("flooder.py"), &address, &PORT.to_string()]);
    flooder.wait_for_line("flooding");

    let (mut strays, mut responses) = (0, 0);
    for nth in 0..MESSAGES {
        let message = json!({
            "group": "239.4.10.2:10000", "payload": "who is there?", "interfaces": ["eth0", "eth1"],
            "source_port": PORT, "window_ms": 20, "linger_ms": 0,
            "expect": if nth % 2 == 0 { json!(1) } else { Value::Null },
        });
        let message = node.call(message).await;
        let own = message["responses"].as_array().unwrap();
        for response in own {
            let sent = message["sent"].as_array().unwrap();
            let sent = sent.iter().find(|sent| sent["source"] == response["destination"]).unwrap();
            let early = time(&response["received_at"]) < time(&sent["first_sent_at"]);
            assert!(!early, "message {nth} was sent as {sent}, and this came before: {response}");
        }
        assert!(message["close_reason"] != "expected" || !own.is_empty(), "{message:#}");
        strays += message["counters"]["strays"].as_u64().unwrap();
        responses += own.len();
    }

    println!("{MESSAGES} messages: {strays} strays, {responses} responses");
    assert_eq!(node.check("lanes").await["status"], "ok");
    node.get("/readyz").await.expect(200);
    neighbour.say(json!({"group": member["group"], "payload": "still there?"})).await;
    assert_eq!(payloads(&node.receive_until(&membership, "still there?").await), ["still there?"]);
    assert!(strays > 0 && responses > 0, "{strays} strays, {responses} responses");
}

fn time(text: &Value) -> Timestamp {
    text.as_str().and_then(|text| text.parse().ok()).unwrap_or_else(|| panic!("{text} is no time"))
}
