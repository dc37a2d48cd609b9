"""The classic multicast sender: one datagram to a group, then every reply until a silence."""

import argparse
import socket
import struct

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("group", nargs="?", default="224.3.29.71")
parser.add_argument("port", nargs="?", default=10000, type=int)
parser.add_argument("--timeout", default=0.2, type=float, help="seconds of silence that end it")
options = parser.parse_args()

message = b"very important data"

sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
sock.settimeout(options.timeout)
sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, struct.pack("b", 1))

try:
    print(f'sending "{message.decode()}"', flush=True)
    sock.sendto(message, (options.group, options.port))

    while True:
        print("waiting to receive", flush=True)
        try:
            data, server = sock.recvfrom(1024)
        except socket.timeout:
            print("timed out, no more responses", flush=True)
            break
        print(f'received "{data.decode(errors="replace")}" from {server}', flush=True)
finally:
    print("closing socket", flush=True)
    sock.close()
