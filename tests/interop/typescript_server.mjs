// A server with the services of contracts.py, written with the TypeScript packages of ActualLab.Fusion:
//     REFUSION_TS=/path/to/ts node tests/interop/typescript_server.mjs [--port N] [--keep-alive-period MS]
//         [--keep-alive-timeout MS]
// A connection with `peers=client` in its URL gets the peer of the client's id, as at a .NET server; others get a new
// peer each, as the packages' own accept helper does it.

import { AsyncLocalStorage } from 'node:async_hooks';
import { createServer } from 'node:http';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { parseArgs } from 'node:util';

const require = createRequire(join(process.env.REFUSION_TS, 'package.json'));
const { WebSocketServer } = require('ws');
const rpc = require('@actuallab/rpc');
const { MutableState } = require('@actuallab/fusion');
const { FusionHub, defineComputeService } = require('@actuallab/fusion-rpc');

const { values: options } = parseArgs({
  options: {
    port: { type: 'string', default: '0' },
    'keep-alive-period': { type: 'string', default: '10000' },
    'keep-alive-timeout': { type: 'string', default: '25000' },
  },
});

const hub = new FusionHub();
hub.limits = new rpc.RpcLimits({
  keepAlivePeriodMs: Number(options['keep-alive-period']),
  keepAliveTimeoutMs: Number(options['keep-alive-timeout']),
});

const pause = milliseconds => new Promise(resolve => setTimeout(resolve, milliseconds));

// Handlers of regular calls aren't told who calls them.
const callers = new AsyncLocalStorage();
const dispatch = hub.serviceHost.dispatch.bind(hub.serviceHost);
hub.serviceHost.dispatch = (method, args, context) =>
  callers.run(context?.peer, () => dispatch(method, args, context));

// Regular calls

const basicService = rpc.defineRpcService('ITypeScriptTestService', {
  Add: { args: [0, 0], wireArgCount: 2 },
  'Add:3': { args: [0, 0, 0], wireArgCount: 3 },
  Greet: { args: [''], wireArgCount: 1 },
  Negate: { args: [false], wireArgCount: 1 },
  Divide: { args: [0, 0], wireArgCount: 2 },
  Echo: { args: [''], wireArgCount: 1 },
  Throw: { args: [''], wireArgCount: 1 },
  SlowEcho: { args: ['', 0], wireArgCount: 2 },
  GetSlowEchoInvocationCount: { args: [], wireArgCount: 0 },
  ResetSlowEchoCounter: { args: [], wireArgCount: 0 },
});

let slowEchoCount = 0;
hub.addService(basicService, {
  Add: (...numbers) => numbers.reduce((sum, number) => sum + number, 0),
  Greet: name => `Hello, ${name}!`,
  Negate: value => !value,
  Divide: (a, b) => a / b,
  Echo: message => message,
  Throw: message => {
    throw new RangeError(message);
  },
  SlowEcho: async (marker, delay) => {
    slowEchoCount += 1;
    await pause(delay);
    return marker;
  },
  GetSlowEchoInvocationCount: () => slowEchoCount,
  ResetSlowEchoCounter: () => {
    slowEchoCount = 0;
  },
});

const echoes = ['EchoInt', 'EchoFloat', 'EchoText', 'EchoFlag', 'EchoBytes', 'EchoList', 'EchoMap', 'EchoPoint', 'EchoTime'];
hub.addService(
  rpc.defineRpcService('IValueService', Object.fromEntries(echoes.map(name => [name, { args: [null] }]))),
  Object.fromEntries(echoes.map(name => [name, value => value])),
);

// Computed values and streams

const counterService = defineComputeService('ITypeScriptTestComputeService', {
  Add: { args: [0, 0], callTypeId: 0 },
  GetCounter: { args: [''] },
  GetValue: { args: [0] },
  GetFailing: { args: [''] },
  Set: { args: ['', 0], callTypeId: 0 },
  Increment: { args: [''], callTypeId: 0 },
  GetCounterNonCompute: { args: [''], callTypeId: 0 },
  Notify: { args: [''], callTypeId: 0, returns: rpc.RpcType.noWait },
  GetNotifications: { args: [], callTypeId: 0 },
  StreamInt32: { args: [0], wireArgCount: 1, callTypeId: 0, returns: rpc.RpcType.stream },
  StreamInt32NoReconnect: { args: [0], wireArgCount: 1, callTypeId: 0, returns: rpc.RpcType.stream },
  SlowStream: { args: [0], wireArgCount: 1, callTypeId: 0, returns: rpc.RpcType.stream },
  SumStream: { args: [null], callTypeId: 0 },
  BreakStream: { args: [0], callTypeId: 0, returns: rpc.RpcType.stream },
  AddToEach: { args: [null, 0], callTypeId: 0, returns: rpc.RpcType.stream },
  TakeFromStream: { args: [null, 0], callTypeId: 0 },
  GetProducedCount: { args: [], callTypeId: 0 },
  GetOpenStreamCount: { args: [], callTypeId: 0 },
});

const counters = new Map();
const counter = key => {
  if (!counters.has(key))
    counters.set(key, new MutableState(0));
  return counters.get(key);
};
const notifications = [];
let openStreams = 0;
let produced = 0;

async function* numbers(count, interval = 0) {
  openStreams += 1;
  try {
    for (let number = 0; number < count; number++) {
      produced += 1;
      yield number;
      if (interval)
        await pause(interval);
    }
  } finally {
    openStreams -= 1;
  }
}

async function* brokenNumbers(count) {
  yield* numbers(count);
  throw new RangeError(`broken at ${count}`);
}

async function* sums(items, addend) {
  for await (const item of items)
    yield item + addend;
}

const sum = async items => {
  let total = 0;
  for await (const item of items)
    total += item;
  return total;
};

const take = async (items, count) => {
  const taken = [];
  for await (const item of items) {
    taken.push(item);
    if (taken.length === count)
      break;
  }
  return taken;
};

hub.addService(counterService, {
  Add: (a, b) => a + b,
  GetCounter: key => counter(key).use(),
  GetValue: value => value,
  GetFailing: key => {
    const value = counter(key).use();
    if (value === 0)
      throw new Error(`${key} is zero`);
    return value;
  },
  Set: (key, value) => counter(key).set(value),
  Increment: key => counter(key).set(counter(key).value + 1),
  GetCounterNonCompute: key => counter(key).value,
  Notify: text => {
    notifications.push(text);
  },
  GetNotifications: () => notifications,
  StreamInt32: count => numbers(count),
  StreamInt32NoReconnect: count => new rpc.RpcStream(numbers(count), { allowReconnect: false }),
  SlowStream: count => numbers(count, 20),
  SumStream: reference => sum(rpc.toRpcStream(reference, callers.getStore())),
  BreakStream: count => brokenNumbers(count),
  AddToEach: (reference, addend) => sums(rpc.toRpcStream(reference, callers.getStore()), addend),
  TakeFromStream: (reference, count) => take(rpc.toRpcStream(reference, callers.getStore()), count),
  GetOpenStreamCount: () => openStreams,
  GetProducedCount: () => produced,
});

// Calls in the other direction

const askedService = rpc.defineRpcService('ITypeScriptTestService', {
  Greet: { args: [''], wireArgCount: 1 },
  Throw: { args: [''], wireArgCount: 1 },
  SlowEcho: { args: ['', 0], wireArgCount: 2 },
});
const watchedService = defineComputeService('ITypeScriptTestComputeService', {
  GetCounter: { args: [''] },
  StreamInt32: { args: [0], wireArgCount: 1, callTypeId: 0, returns: rpc.RpcType.stream },
  SlowStream: { args: [0], wireArgCount: 1, callTypeId: 0, returns: rpc.RpcType.stream },
  SumStream: { args: [null], callTypeId: 0 },
});

// Computed values are kept by the client that they were read with.
const clients = new WeakMap();
const back = () => {
  const peer = callers.getStore();
  if (!clients.has(peer))
    clients.set(peer, { asked: hub.addClient(peer, askedService), watched: hub.addClient(peer, watchedService) });
  return clients.get(peer);
};

hub.addService(
  rpc.defineRpcService('ICallerService', {
    AskBack: { args: [''] },
    FailBack: { args: [''] },
    ReadBack: { args: [''] },
    EchoBack: { args: ['', 0] },
    SumBack: { args: [0] },
    TakeBack: { args: [0] },
    StreamToBack: { args: [0] },
  }),
  {
    AskBack: name => back().asked.Greet(name),
    FailBack: message =>
      back().asked.Throw(message).then(
        () => 'no error',
        error => `${error.typeName}: ${error.message}`,
      ),
    ReadBack: key => back().watched.GetCounter(key),
    EchoBack: (marker, delay) => back().asked.SlowEcho(marker, delay),
    SumBack: async count => sum(await back().watched.StreamInt32(count)),
    TakeBack: async count => take(await back().watched.SlowStream(1_000_000), count),
    StreamToBack: count => back().watched.SumStream(new rpc.RpcStream(numbers(count)).toRef(callers.getStore())),
  },
);

// Plain bytes: a string in base64 in JSON, a Uint8Array in MessagePack

const telemetryService = rpc.defineRpcService('ITelemetry', {
  Send: { args: [null], wireArgCount: 1, returns: rpc.RpcType.noWait },
});
hub.addService(telemetryService, {
  Send: data => {
    hub.addClient(callers.getStore(), telemetryService).Send(data);
  },
});

// Connections

const http = createServer();
new WebSocketServer({ server: http, path: '/rpc/ws' }).on('connection', (socket, request) => {
  const query = new URL(request.url, 'ws://localhost').searchParams;
  const format = rpc.RpcSerializationFormat.tryGet(query.get('f') ?? 'json5np');
  if (!format) {
    socket.close(rpc.RPC_CLOSE_CODE_UNSUPPORTED_FORMAT, 'Unsupported format');
    return;
  }
  const id = query.get('peers') === 'client' ? `${query.get('clientId')}-${format.key}` : crypto.randomUUID();
  const peer = hub.getServerPeer(rpc.RpcRefBuilder.forServer(id));
  peer.serializationFormat = format;
  peer.accept(new rpc.RpcWebSocketConnection(socket, format.isBinary, format, hub.registry));
});

http.listen(Number(options.port), '127.0.0.1', () => {
  console.log(`serving at ws://127.0.0.1:${http.address().port}/rpc/ws`);
});
