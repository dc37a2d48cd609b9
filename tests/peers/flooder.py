"""Sends numbered datagrams to an address and port, some ten thousand a second, whether or not a socket is there."""

import argparse
import itertools
import socket
import time

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("address")
parser.add_argument("port", type=int)
parser.add_argument("--seconds", default=60, type=float, help="when to end")
options = parser.parse_args()

family = socket.AF_INET6 if ":" in options.address else socket.AF_INET
sock = socket.socket(family, socket.SOCK_DGRAM)
sock.sendto(b"flood 0", (options.address, options.port))
print("flooding", flush=True)

end = time.monotonic() + options.seconds
for nth in itertools.count(1):
    sock.sendto(b"flood %d" % nth, (options.address, options.port))
    # About 100 microseconds, with the kernel's timer slack.
    time.sleep(0.00003)
    if time.monotonic() > end:
        break
