"""Sends a text to a group on one interface, twenty times a second."""

import argparse
import socket
import struct
import time

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("group")
parser.add_argument("port", type=int)
parser.add_argument("interface")
parser.add_argument("text")
parser.add_argument("--times", default=400, type=int)
options = parser.parse_args()

index = socket.if_nametoindex(options.interface)
family = socket.AF_INET6 if ":" in options.group else socket.AF_INET
sock = socket.socket(family, socket.SOCK_DGRAM)
if family == socket.AF_INET:
    # struct ip_mreqn
    interface = struct.pack("=4s4si", bytes(4), bytes(4), index)
    sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, interface)
else:
    sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_IF, index)

for _ in range(options.times):
    try:
        sock.sendto(options.text.encode(), (options.group, options.port))
    except OSError as error:
        # An interface that has just come back may have no address yet.
        print(error, flush=True)
    time.sleep(0.05)
