"""Sends to each group from a plain socket, and says of every datagram to the port how it leaves this host.

The payload is the group as it was given: ADDRESS, ADDRESS%INTERFACE to name the multicast interface, and with
/PORT for a source port.
"""

import argparse
import errno
import socket
import struct

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("port", type=int)
parser.add_argument("groups", nargs="+")
options = parser.parse_args()

# Every packet that this host sends or receives, from the IP header on (packet(7)).
ETH_P_ALL = 3
wire = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(ETH_P_ALL))


def leaving():
    """The payload, interface and source of the next datagram that leaves for our port."""
    while True:
        packet, (interface, _, kind, *_) = wire.recvfrom(65535)
        if kind != socket.PACKET_OUTGOING:
            continue
        if packet[0] >> 4 == 4:
            start, protocol, family, source = (packet[0] & 15) * 4, packet[9], socket.AF_INET, packet[12:16]
        else:
            start, protocol, family, source = 40, packet[6], socket.AF_INET6, packet[8:24]
        if protocol == socket.IPPROTO_UDP and packet[start + 2 : start + 4] == struct.pack("!H", options.port):
            payload = packet[start + 8 :].decode(errors="replace")
            return payload, interface, socket.inet_ntop(family, source)


def send(payload, group, interface, source_port):
    family = socket.AF_INET6 if ":" in group else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as sock:
        if source_port:
            sock.bind(("", int(source_port)))
        if interface and family == socket.AF_INET:
            # struct ip_mreqn
            request = struct.pack("=8si", bytes(8), socket.if_nametoindex(interface))
            sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, request)
        elif interface:
            index = socket.if_nametoindex(interface)
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_IF, index)
        sock.sendto(payload.encode(), (group, options.port))


for argument in options.groups:
    rest, _, source_port = argument.partition("/")
    group, _, interface = rest.partition("%")
    try:
        send(argument, group, interface, source_port)
    except OSError as error:
        print(f"{argument} -> refused {errno.errorcode[error.errno]}", flush=True)

while True:
    payload, interface, source = leaving()
    print(f"{payload} -> {interface} {source}", flush=True)
