// Lets the timers of a script take longer, SLOWNESS times as long: node --import ./slow_timers.mjs script.mjs

const slowness = Number(process.env.SLOWNESS);
const original = globalThis.setTimeout;
globalThis.setTimeout = (callback, delay = 0, ...args) => original(callback, delay * slowness, ...args);
Object.defineProperties(globalThis.setTimeout, Object.getOwnPropertyDescriptors(original));
