//! `serve --demo`: two responders on `lo`, told apart by their source addresses, and a real roll call.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use bytes::Bytes;

use crate::control::{Condition, Control, ControlError, InterfaceChoice, JoinRequest, RequestedLease};
use crate::model::{
    Delay, Group, HopLimit, Id, InterfaceRef, Interfaces, Labels, Match, MessageSpec, Repeat, Reply,
    ReplyFrom, ResponderRules, Retention, SourceFilter,
};
use crate::stdout;
use crate::store::{Page, ReadRange};

const GROUP: &str = "239.1.2.3:10000";
const PAYLOAD: &[u8] = b"very important data";
const RESPONDERS: [(&str, Ipv4Addr); 2] =
    [("demo-1", Ipv4Addr::new(127, 0, 0, 2)), ("demo-2", Ipv4Addr::new(127, 0, 0, 3))];

/// Starts the responders, calls the roll and prints the responses; the responders stay. `needs_token`: requests to
/// that address must have one.
pub async fn call_the_roll(
    control: &Control,
    listening: Option<SocketAddr>,
    needs_token: bool,
) -> Result<(), ControlError> {
    let (group, _) = Group::parse(GROUP).expect("a group");
    for (id, address) in RESPONDERS {
        let id = Id::parse(id).expect("an id");
        control.join_as(id, responder(group, address.into()), &Condition::NONE).await?;
    }
    print(format_args!("Roll call of {GROUP} on lo: \"{}\"\n", PAYLOAD.escape_ascii()));
    let message = control.send(message(group)).await?;
    message.wait_closed().await;
    let page = message.log().read(None, RESPONDERS.len(), ReadRange::ALL).await.ok();
    let mut responses = 0;
    for entry in page.iter().flat_map(Page::entries) {
        let rtt = entry
            .response
            .and_then(|response| response.rtt_us)
            .map_or_else(String::new, |rtt| format!(" after {rtt} µs"));
        print(format_args!("  {} from {}{rtt}\n", entry.payload.escape_ascii(), entry.metadata.source));
        responses += 1;
    }
    print(format_args!("{responses} of {} answered.\n", RESPONDERS.len()));
    if let Some(listening) = listening {
        let token = if needs_token { "-H \"authorization: Bearer $TOKEN\" " } else { "" };
        print(format_args!(
            "\nThe service listens on http://{listening}; call the roll yourself:\n\n  \
            curl -s 'http://{listening}/v1/messages?wait_ms=2000' {token}-H 'content-type: application/json' \\\n    \
            -d '{{\"group\": \"{GROUP}\", \"payload\": \"hello\", \"interfaces\": [\"lo\"], \"expect\": 2}}'\n\n"
        ));
    }
    Ok(())
}

/// The service goes on without a reader of what it prints.
fn print(text: fmt::Arguments<'_>) {
    if let Err(error) = stdout::print(text) {
        tracing::warn!(%error, "the demo could not be shown");
    }
}

fn responder(group: Group, address: IpAddr) -> JoinRequest {
    JoinRequest {
        group,
        interfaces: InterfaceChoice { zone: None, named: Some(vec![InterfaceRef::Name("lo".to_owned())]) },
        allow_missing: false,
        sources: SourceFilter::Any,
        exact_drops: false,
        retention: Retention::default(),
        labels: Labels::default(),
        lease: RequestedLease::None,
        declared: false,
        rules: Some(ResponderRules {
            reply: Reply::Fixed(Bytes::from_static(b"ack")),
            matches: Match::All,
            delay: Delay::NONE,
            reply_from: Some(ReplyFrom { address: Some(address), port: None }),
            dedupe: true,
            reply_bytes: None,
        }),
    }
}

fn message(group: Group) -> MessageSpec {
    MessageSpec {
        group,
        source: None,
        interfaces: Interfaces::Named(vec!["lo".into()]),
        payload: Bytes::from_static(PAYLOAD),
        hop_limit: HopLimit(1),
        loopback: true,
        source_port: None,
        window: Duration::from_secs(1),
        expect: Some(RESPONDERS.len() as u64),
        stall: None,
        repeat: Repeat::ONCE,
        track_attempts: false,
        retention: Retention::default(),
        labels: Labels::default(),
        linger: Duration::from_secs(2),
    }
}
