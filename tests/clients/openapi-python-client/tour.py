"""The README's tour with the client that openapi-python-client makes.

    python tour.py URL TOKEN    of a service that was started with --demo
"""

import sys
from typing import TypeVar

from rollcall_client import AuthenticatedClient
from rollcall_client.api.memberships import (
    delete_membership,
    list_memberships,
    put_membership,
    read_membership_datagrams,
)
from rollcall_client.api.messages import delete_message, put_message, read_message_responses, send_message
from rollcall_client.api.responders import delete_responder, list_responders, put_responder
from rollcall_client.models import (
    CollectedMessage,
    DatagramMatch,
    MembershipBody,
    MessageBody,
    Problem,
    ReplyContent,
    ResponderBody,
    ShownInterface,
)

GROUP = "239.1.2.3:10000"
LO: list[int | ShownInterface | str] = ["lo"]
T = TypeVar("T")


def main(url: str, token: str) -> None:
    with AuthenticatedClient(url, token) as client:
        tour(client)


def tour(client: AuthenticatedClient) -> None:
    call = MessageBody(group=GROUP, payload="who is there?", interfaces=LO, expect=2)
    message = collected(send_message.sync(client=client, body=call, prefer="wait=2"))
    acks = sorted(f'"{response.payload}" from {response.source}' for response in message.responses or [])
    print(f"called: {message.close_reason}, {', '.join(acks)}")

    monitor = done(
        put_membership.sync("monitor", client=client, body=MembershipBody(group=GROUP, interfaces=LO))
    )
    print(f"{monitor.state}: {monitor.id}, {monitor.group}")
    data = MessageBody(group=GROUP, payload="very important data", interfaces=LO, window_ms=0)
    done(send_message.sync(client=client, body=data))
    page = done(read_membership_datagrams.sync("monitor", client=client, wait_ms=1000))
    print(f'heard: "{page.items[0].payload}"')

    echo = ResponderBody(
        group="239.1.2.4:10000",
        interfaces=LO,
        match=DatagramMatch(prefix="ping"),
        reply=ReplyContent(echo=True),
    )
    done(put_responder.sync("echo", client=client, body=echo))
    ping = MessageBody(group=echo.group, payload="ping 1", interfaces=LO, expect=1)
    message = collected(send_message.sync(client=client, body=ping, prefer="wait=2"))
    print(f'echoed: "{(message.responses or [])[0].payload}"')

    # PUT is safe to repeat: the second request finds the message, and sends nothing.
    done(put_message.sync("roll-1", client=client, body=call, prefer="wait=2"))
    done(put_message.sync("roll-1", client=client, body=call))
    responses = done(read_message_responses.sync("roll-1", client=client)).items
    print(f"read: {len(responses)} responses to roll-1, attempt {responses[0].attempt}")

    listed = [membership.id for membership in done(list_memberships.sync(client=client)).items]
    answering = [responder.id for responder in done(list_responders.sync(client=client)).items]
    print(f"listed: memberships {', '.join(listed)}; responders {', '.join(answering)}")

    foreign = MessageBody(group=GROUP, payload="x", interfaces=LO, source="192.0.2.7")
    problem = send_message.sync(client=client, body=foreign)
    if isinstance(problem, Problem) and problem.errors:
        print(f"refused: {problem.status}, {problem.errors[0].pointer}")

    for deletion in (
        delete_membership.sync_detailed("monitor", client=client),
        delete_responder.sync_detailed("echo", client=client),
        delete_message.sync_detailed("roll-1", client=client),
    ):
        assert deletion.status_code == 204, deletion
    print("deleted: monitor, echo, roll-1")


def done(result: T | Problem | None) -> T:
    """The answer, which is not a problem."""
    assert result is not None and not isinstance(result, Problem), result
    return result


def collected(result: object) -> CollectedMessage:
    """The message and its responses, for which the request has waited."""
    assert isinstance(result, CollectedMessage), result
    return result


main(*sys.argv[1:])
