"""The classic multicast receiver: joins a group and acknowledges each datagram."""

import argparse
import socket
import struct

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("group", nargs="?", default="224.3.29.71")
parser.add_argument("port", nargs="?", default=10000, type=int)
options = parser.parse_args()

# No address reuse: the port is this program's alone, as in most programs of this kind.
sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
sock.bind(("", options.port))

# INADDR_ANY leaves the choice of the interface to the routing table.
membership = struct.pack("=4sL", socket.inet_aton(options.group), socket.INADDR_ANY)
sock.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, membership)

while True:
    print("waiting to receive message", flush=True)
    data, address = sock.recvfrom(1024)

    print(f"received {len(data)} bytes from {address}", flush=True)
    print(data.decode(errors="replace"), flush=True)

    print(f"sending acknowledgement to {address}", flush=True)
    sock.sendto(b"ack", address)
