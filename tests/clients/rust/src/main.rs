//! The README's tour with the client that openapi-generator makes for Rust.
//!
//!     tour URL TOKEN    of a service that was started with --demo

use std::error::Error;
use std::sync::Arc;

use rollcall_client::apis::configuration::Configuration;
use rollcall_client::apis::memberships_api::{
    DeleteMembershipParams, ListMembershipsParams, PutMembershipParams, ReadMembershipDatagramsParams,
};
use rollcall_client::apis::messages_api::{
    DeleteMessageParams, PutMessageParams, ReadMessageResponsesParams, SendMessageParams,
};
use rollcall_client::apis::responders_api::{
    DeleteResponderParams, ListRespondersParams, PutResponderParams,
};
use rollcall_client::apis::{self, Api, ApiClient};
use rollcall_client::models::{
    DatagramMatch, InterfaceName, MembershipBody, MessageBody, Problem, Reply, ReplyContent, ResponderBody,
};

const GROUP: &str = "239.1.2.3:10000";

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let configuration = Configuration {
        base_path: arguments.next().expect("a URL"),
        bearer_access_token: arguments.next(),
        ..Configuration::default()
    };
    let client = ApiClient::new(Arc::new(configuration));
    let (messages, memberships, responders) =
        (client.messages_api(), client.memberships_api(), client.responders_api());

    let call = MessageBody { expect: Some(Some(2)), ..message(GROUP, "who is there?") };
    let params = SendMessageParams::builder().message_body(call.clone()).prefer("wait=2".to_owned());
    let roll = messages.send_message(params.build()).await?;
    let mut acks: Vec<_> = roll.responses.iter().flatten().collect();
    acks.sort_by(|one, other| one.source.cmp(&other.source));
    let acks: Vec<_> = acks
        .iter()
        .map(|ack| format!("{:?} from {}", ack.payload.as_deref().unwrap_or_default(), ack.source))
        .collect();
    println!("called: {}, {}", roll.close_reason.ok_or("not closed")?, acks.join(", "));

    let body = MembershipBody { interfaces: lo(), ..MembershipBody::new(GROUP.to_owned()) };
    let params = PutMembershipParams::builder().id("monitor".to_owned()).membership_body(body);
    let monitor = memberships.put_membership(params.build()).await?;
    println!("{}: {}, {}", monitor.state, monitor.id, monitor.group);
    let body = MessageBody { window_ms: Some(Some(0)), ..message(GROUP, "very important data") };
    messages.send_message(SendMessageParams::builder().message_body(body).build()).await?;
    let params = ReadMembershipDatagramsParams::builder().id("monitor".to_owned()).wait_ms(1000);
    let page = memberships.read_membership_datagrams(params.build()).await?;
    println!("heard: {:?}", page.items[0].payload.as_deref().unwrap_or_default());

    let matches = DatagramMatch { prefix: Some(Some("ping".to_owned())), ..DatagramMatch::new() };
    let reply = ReplyContent { echo: Some(Some(true)), ..ReplyContent::new() };
    let echo = ResponderBody {
        interfaces: lo(),
        r#match: Some(Some(Box::new(matches))),
        reply: Some(Some(Box::new(Reply::ReplyContent(Box::new(reply))))),
        ..ResponderBody::new("239.1.2.4:10000".to_owned())
    };
    let ping = MessageBody { expect: Some(Some(1)), ..message(&echo.group, "ping 1") };
    responders
        .put_responder(PutResponderParams::builder().id("echo".to_owned()).responder_body(echo).build())
        .await?;
    let params = SendMessageParams::builder().message_body(ping).prefer("wait=2".to_owned());
    let pinged = messages.send_message(params.build()).await?.responses.unwrap_or_default();
    println!("echoed: {:?}", pinged[0].payload.as_deref().unwrap_or_default());

    // PUT is safe to repeat: the second request finds the message, and sends nothing.
    for prefer in [Some("wait=2".to_owned()), None] {
        let params = PutMessageParams::builder().id("roll-1".to_owned()).message_body(call.clone());
        messages.put_message(params.maybe_prefer(prefer).build()).await?;
    }
    let params = ReadMessageResponsesParams::builder().id("roll-1".to_owned());
    let responses = messages.read_message_responses(params.build()).await?.items;
    let attempt = responses[0].attempt.ok_or("an unknown attempt")?;
    println!("read: {} responses to roll-1, attempt {attempt}", responses.len());

    let listed = memberships.list_memberships(ListMembershipsParams::builder().build()).await?.items;
    let answering = responders.list_responders(ListRespondersParams::builder().build()).await?.items;
    let listed: Vec<_> = listed.into_iter().map(|membership| membership.id).collect();
    let answering: Vec<_> = answering.into_iter().map(|responder| responder.id).collect();
    println!("listed: memberships {}; responders {}", listed.join(", "), answering.join(", "));

    let foreign = MessageBody { source: Some(Some("192.0.2.7".to_owned())), ..message(GROUP, "x") };
    let params = SendMessageParams::builder().message_body(foreign);
    match messages.send_message(params.build()).await {
        Err(apis::Error::ResponseError(response)) => {
            // `entity` has a variant for each status, all of one shape: which one it is says nothing.
            let problem: Problem = serde_json::from_str(&response.content)?;
            let pointer = problem.errors.map(|errors| errors[0].pointer.clone());
            println!("refused: {}, {}", response.status.as_u16(), pointer.unwrap_or_default());
        }
        other => println!("not refused: {other:?}"),
    }

    memberships.delete_membership(DeleteMembershipParams::builder().id("monitor".to_owned()).build()).await?;
    responders.delete_responder(DeleteResponderParams::builder().id("echo".to_owned()).build()).await?;
    messages.delete_message(DeleteMessageParams::builder().id("roll-1".to_owned()).build()).await?;
    println!("deleted: monitor, echo, roll-1");
    Ok(())
}

fn message(group: &str, payload: &str) -> MessageBody {
    MessageBody {
        payload: Some(Some(payload.to_owned())),
        interfaces: lo(),
        ..MessageBody::new(group.to_owned())
    }
}

fn lo() -> Option<Option<Vec<InterfaceName>>> {
    Some(Some(vec![InterfaceName::String("lo".to_owned())]))
}
