"""The README's tour with the client that openapi-generator makes for Python.

    python tour.py URL TOKEN    of a service that was started with --demo
"""

import json
import sys

from rollcall_client import (
    ApiClient,
    ApiException,
    CloseReason,
    Configuration,
    DatagramMatch,
    InterfaceName,
    MembershipBody,
    MembershipsApi,
    MessageBody,
    MessagesApi,
    Reply,
    ReplyContent,
    ResponderBody,
    RespondersApi,
)

GROUP = "239.1.2.3:10000"
LO = [InterfaceName("lo")]

def main(url: str, token: str) -> None:
    with ApiClient(Configuration(host=url, access_token=token)) as client:
        tour(MessagesApi(client), MembershipsApi(client), RespondersApi(client))

def tour(messages: MessagesApi, memberships: MembershipsApi, responders: RespondersApi) -> None:
    call = MessageBody(group=GROUP, payload="who is there?", interfaces=LO, expect=2)
    message = messages.send_message(call, prefer="wait=2")
    acks = sorted(f'"{response.payload}" from {response.source}' for response in message.responses or [])
    print(f"called: {CloseReason(message.close_reason).value}, {', '.join(acks)}")

    monitor = memberships.put_membership("monitor", MembershipBody(group=GROUP, interfaces=LO))
    print(f"{monitor.state.value}: {monitor.id}, {monitor.group}")
    messages.send_message(MessageBody(group=GROUP, payload="very important data", interfaces=LO, window_ms=0))
    page = memberships.read_membership_datagrams("monitor", wait_ms=1000)
    print(f'heard: "{page.items[0].payload}"')

    echo = ResponderBody(
        group="239.1.2.4:10000",
        interfaces=LO,
        match=DatagramMatch(prefix="ping"),
        reply=Reply(ReplyContent(echo=True)),
    )
    responders.put_responder("echo", echo)
    ping = MessageBody(group=echo.group, payload="ping 1", interfaces=LO, expect=1)
    message = messages.send_message(ping, prefer="wait=2")
    print(f'echoed: "{(message.responses or [])[0].payload}"')

    # PUT is safe to repeat: the second request finds the message, and sends nothing.
    messages.put_message("roll-1", call, prefer="wait=2")
    messages.put_message("roll-1", call)
    responses = messages.read_message_responses("roll-1").items
    print(f"read: {len(responses)} responses to roll-1, attempt {responses[0].attempt}")

    listed = [membership.id for membership in memberships.list_memberships().items]
    answering = [responder.id for responder in responders.list_responders().items]
    print(f"listed: memberships {', '.join(listed)}; responders {', '.join(answering)}")

    try:
        messages.send_message(MessageBody(group=GROUP, payload="x", interfaces=LO, source="192.0.2.7"))
    except ApiException as error:
        problem = json.loads(error.body or "{}")
        print(f"refused: {error.status}, {problem['errors'][0]['pointer']}")

    memberships.delete_membership("monitor")
    responders.delete_responder("echo")
    messages.delete_message("roll-1")
    print("deleted: monitor, echo, roll-1")


main(*sys.argv[1:])
