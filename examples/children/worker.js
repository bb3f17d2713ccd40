// A child in Node, with nothing but Node: it beats, calls a service until it is throttled, and leaves when asked to.
'use strict';

const net = require('node:net');
const readline = require('node:readline');

const fd = Number(process.env.TREEGUARD_CONTROL_FD);
delete process.env.TREEGUARD_CONTROL_FD; // What this process starts has not got the connection.

const socket = new net.Socket({ fd, readable: true, writable: true });
const send = (message) => socket.write(JSON.stringify({ jsonrpc: '2.0', ...message }) + '\n');

const waiting = new Map();
let last = 0;
const call = (method, params) => new Promise((resolve) => {
  waiting.set(++last, resolve);
  send({ id: last, method, params });
});

async function main(token) {
  const { result: granted } = await call('hello', { token, client: { name: 'node', version: process.version } });
  if (granted.heartbeat_interval !== null) {
    setInterval(() => send({ method: 'heartbeat' }), granted.heartbeat_interval * 500);
  }
  await call('log.line', ['attached']);
  for (;;) {
    const { error } = await call('storage.get', { key: 'motto' });
    if (error) {
      const later = error.data.retry_after > 0 ? 'later' : 'never';
      await call('log.line', [`throttled with code ${error.code}, may try again ${later}`]);
      return;
    }
  }
}

readline.createInterface({ input: socket }).on('line', (line) => {
  const message = JSON.parse(line);
  if (message.method === 'welcome') {
    main(message.params.token);
  } else if (message.method === 'process.shutdown') {
    send({ id: message.id, result: { acknowledged: true } });
    socket.end(() => process.exit(0));
  } else if (message.method) {
    if (message.id !== undefined) send({ id: message.id, error: { code: -32601, message: 'no such method' } });
  } else {
    waiting.get(message.id)(message);
    waiting.delete(message.id);
  }
}).on('close', () => process.exit(0));
