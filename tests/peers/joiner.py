"""A program that shares its port: joins a group on one interface and prints what reaches its socket."""

import argparse
import socket
import struct

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("group")
parser.add_argument("port", type=int)
parser.add_argument("interface")
options = parser.parse_args()

index = socket.if_nametoindex(options.interface)
family = socket.AF_INET6 if ":" in options.group else socket.AF_INET
group = socket.inet_pton(family, options.group)

sock = socket.socket(family, socket.SOCK_DGRAM)
sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
if family == socket.AF_INET:
    sock.bind(("", options.port))
    # struct ip_mreqn
    membership = struct.pack("=4s4si", group, bytes(4), index)
    sock.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, membership)
else:
    # Without this, the port is taken for IPv4 too.
    sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    sock.bind(("", options.port))
    # struct ipv6_mreq
    membership = struct.pack("=16si", group, index)
    sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP, membership)
print("joined", flush=True)

while True:
    data, address = sock.recvfrom(65535)
    print(f"heard {data.decode(errors='replace')}", flush=True)
