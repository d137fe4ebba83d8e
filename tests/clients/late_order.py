"""Connect, follow quotes without reading them, send orders and be killed (kill -9) in the same instant.

usage: late_order.py PORT CLIENT_ID COUNT
"""

import os
import signal
import socket
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from gateway_support import ask, opening, order

PORT, CLIENT_ID, COUNT = map(int, sys.argv[1:])
sock = socket.create_connection(("127.0.0.1", PORT))
sock.sendall(opening(CLIENT_ID))
time.sleep(0.3)
quotes = b"".join(ask(176, "reqMktData", reqId=i, symbol="KO", secType="STK", snapshot=False) for i in range(1, 60))
sock.sendall(quotes)  # the answers stay unread, so the kill resets the connection
sock.sendall(b"".join(order(i, qty=1, limit="20.00") for i in range(1, COUNT + 1)))
os.kill(os.getpid(), signal.SIGKILL)
