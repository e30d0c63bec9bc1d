// Node's own server with all its defaults. Prints of each request the client's port, the method and the version.
const http = require('http');
const server = http.createServer((request, answer) => {
  console.log(request.socket.remotePort, request.method, request.httpVersion);
  request.resume();
  request.on('end', () => {
    if (request.url === '/chunked') {
      // Without a length it comes in chunks; one of them looks like a head.
      answer.write('HTTP/1.1 500 No\r\nConnection: close\r\n\r\n');
      setTimeout(() => answer.end('GET / HTTP/1.1\r\n\r\n'), 50);
    } else {
      answer.setHeader('Content-Length', 2);
      answer.end('hi');
    }
  });
});
server.on('upgrade', (request, socket) => {
  console.log(request.socket.remotePort, request.method, request.httpVersion);
  socket.write('HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n');
  socket.on('data', (bytes) => socket.write(bytes));
  socket.on('end', () => socket.end());
});
if (process.argv[2]) server.maxRequestsPerSocket = Number(process.argv[2]);
server.listen(8080, '127.0.0.1');
