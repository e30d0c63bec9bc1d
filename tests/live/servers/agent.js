// Node's own agent: each word of the command line is a request's method, or the seconds to sleep.
// Prints of each request the port that it left from, and the status or the error's code.
const http = require('http');
const [url, ...words] = process.argv.slice(1);
const agent = new http.Agent({ keepAlive: true, maxSockets: 1 });
const ask = (method) => new Promise((done) => {
  let port = 0;
  const request = http.request(url, { agent, method }, (answer) => {
    answer.resume();
    answer.on('end', () => { console.log(port, answer.statusCode); setImmediate(done); });
  });
  request.on('socket', (socket) => {
    const note = () => { port = socket.localPort; };
    if (socket.connecting) socket.once('connect', note); else note();
  });
  request.on('error', (error) => { console.log(port, error.code); done(); });
  request.end();
});
(async () => {
  for (const word of words) {
    if (/^[A-Z]+$/.test(word)) await ask(word);
    else await new Promise((done) => setTimeout(done, 1000 * Number(word)));
  }
  agent.destroy();
})();
