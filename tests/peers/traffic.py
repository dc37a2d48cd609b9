"""Sends to groups and answers calls, as it is told over a unix socket.

A connection carries one job, as a line of JSON:

{"targets": [{"interface": "w0", "address": "239.1.2.3", "port": 10000}],
 "label": "probe", "first": 1, "count": 10, "interval_ms": 4}
    sends "LABEL INTERFACE NUMBER" to each target in turn, and says at the end how many the system took: [10]
{"answer": [{"interface": "w0", "address": "239.1.2.3", "port": 10000}]}
    answers "ack" to whatever comes to these groups, until the connection ends
"""

import json
import selectors
import socket
import struct
import sys
import threading
import time


class Sender:
    """A socket that sends out of one interface. It is opened again after an error: the interface may be a new one."""

    def __init__(self, interface, address, port):
        self.interface, self.address, self.port = interface, address, port
        self.sock = None

    def send(self, payload):
        try:
            if self.sock is None:
                self.sock, self.to = self.open()
            self.sock.sendto(payload, self.to)
            return 1
        except OSError:
            self.close()
            return 0

    def open(self):
        index = socket.if_nametoindex(self.interface)
        if ":" in self.address:
            sock = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_IF, index)
            return sock, (self.address, self.port, 0, index)
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        # struct ip_mreqn
        interface = struct.pack("=4s4si", bytes(4), bytes(4), index)
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, interface)
        return sock, (self.address, self.port)

    def close(self):
        if self.sock is not None:
            self.sock.close()
            self.sock = None


def send(job):
    senders = [Sender(**target) for target in job["targets"]]
    sent = [0] * len(senders)
    start = time.monotonic()
    for nth in range(job["count"]):
        time.sleep(max(0, start + nth * job["interval_ms"] / 1000 - time.monotonic()))
        for at, sender in enumerate(senders):
            payload = f'{job["label"]} {sender.interface} {job["first"] + nth}'
            sent[at] += sender.send(payload.encode())
    for sender in senders:
        sender.close()
    return sent


def member(interface, address, port):
    index = socket.if_nametoindex(interface)
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_DGRAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    group = socket.inet_pton(family, address)
    if family == socket.AF_INET:
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, struct.pack("=4s4si", group, bytes(4), index))
    else:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP, struct.pack("=16si", group, index))
    sock.bind(("", port))
    return sock


def answer(groups, connection):
    selector = selectors.DefaultSelector()
    selector.register(connection, selectors.EVENT_READ)
    for group in groups:
        selector.register(member(**group), selectors.EVENT_READ)
    while True:
        for key, _ in selector.select():
            if key.fileobj is connection:
                return
            _, source = key.fileobj.recvfrom(65535)
            try:
                key.fileobj.sendto(b"ack", source)
            except OSError:
                pass


def serve(connection):
    with connection:
        job = json.loads(connection.makefile().readline())
        if "answer" in job:
            answer(job["answer"], connection)
        else:
            connection.sendall(json.dumps(send(job)).encode() + b"\n")


listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
listener.bind(sys.argv[1])
listener.listen()
print("listening", flush=True)
while True:
    threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()
