# Switches protocols, and then says what looks like HTTP and is none.
import http.client
import sys

connection = http.client.HTTPConnection("127.0.0.1", 8080)
connection.request("GET", "/", headers={"Connection": "Upgrade", "Upgrade": "websocket"})
answer = connection.getresponse()
print(connection.sock.getsockname()[1], answer.status)
connection.sock.sendall(b"GET /not HTTP/1.1\r\n\r\n")
connection.sock.recv(100)
connection.sock.close()
