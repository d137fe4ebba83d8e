"""Connect and follow a quote without reading it; at a line on stdin send orders and be killed (kill -9) in the same instant.

usage: late_order.py PORT CLIENT_ID COUNT
"""

import os
import signal
import socket
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from gateway_support import ask, opening, order

PORT, CLIENT_ID, COUNT = map(int, sys.argv[1:])
sock = socket.create_connection(("127.0.0.1", PORT))
sock.sendall(opening(CLIENT_ID) + ask(176, "reqMktData", reqId=1, symbol="KO", secType="STK"))
while b"Sec-def" not in sock.recv(1 << 16, socket.MSG_PEEK):  # what is left unread makes the kill a reset (RST)
    pass
print("connected", flush=True)
sys.stdin.readline()
sock.sendall(b"".join(order(i, qty=1, limit="20.00") for i in range(1, COUNT + 1)))
os.kill(os.getpid(), signal.SIGKILL)
