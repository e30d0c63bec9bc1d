# A session of requests, on a pool of urllib3. The words of the command line: a request's method, the seconds to sleep, or the
# connections' keepalive as `time/interval/probes`.
# Prints of each request the port that it left from, and the status and what Keep-Alive said, or the error and its errno.
import socket
import sys
import time

import requests
import urllib3.connection

port = 0
keepalive = None


class Connection(urllib3.connection.HTTPConnection):
    def connect(self):
        global port
        super().connect()
        port = self.sock.getsockname()[1]
        if keepalive:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            names = socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL, socket.TCP_KEEPCNT
            for name, value in zip(names, keepalive):
                self.sock.setsockopt(socket.IPPROTO_TCP, name, value)


def of_kernel(error):
    """The error that the kernel gave, around which the libraries have put theirs."""
    while error and not getattr(error, "errno", None):
        error = error.__context__
    return error


urllib3.HTTPConnectionPool.ConnectionCls = Connection
url, *words = sys.argv[1:]
session = requests.Session()
for word in words:
    if word.isalpha():
        try:
            answer = session.request(word, url)
            print(port, answer.status_code, answer.headers.get("Keep-Alive", "-").replace(" ", ""), flush=True)
        except requests.RequestException as error:
            error = of_kernel(error) or error
            print(port, type(error).__name__, error.errno, flush=True)
    elif "/" in word:
        keepalive = [int(number) for number in word.split("/")]
    else:
        time.sleep(float(word))
session.close()
