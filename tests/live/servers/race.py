# Requests on connections that a server is about to close, by Python's own client: each on a connection of its own, which has lain idle
# since its first request. First the server's own close is waited for, a few times; then requests are sent up to SPREAD seconds before
# and after the middle of what was seen. Prints of each of them the port, and the status or the error that the library gave.
import http.client
import itertools
import select
import statistics
import sys
import time

count, spread = int(sys.argv[1]), float(sys.argv[2])
# No port is used twice, below those that the kernel gives: after a reset it may give one again.
ports = itertools.count(20001)


def first():
    connection = http.client.HTTPConnection("127.0.0.1", 8080, source_address=("127.0.0.1", next(ports)))
    connection.request("GET", "/")
    connection.getresponse().read()
    return connection, time.monotonic()


closes = []
for _ in range(5):
    connection, answered = first()
    select.select([connection.sock], [], [])
    closes.append(time.monotonic() - answered)
    connection.close()
middle = statistics.median(closes)
# Early and late ones take turns.
order = [place * 37 % count for place in range(count)]
for place in order:
    connection, answered = first()
    port = connection.sock.getsockname()[1]
    until = answered + middle + spread * (2 * place / (count - 1) - 1)
    time.sleep(max(0, until - time.monotonic() - 0.001))
    while time.monotonic() < until:
        pass
    try:
        connection.request("GET", "/")
        said = connection.getresponse()
        said.read()
        said = said.status
    except Exception as error:
        said = type(error).__name__
    connection.close()
    print(port, said, flush=True)
