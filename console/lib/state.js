// What the page knows, in memory. The credential itself is in credential.js.
const listeners = new Set();

export const state = {
  /** @type {Call[]} The last 100 calls, newest first. */
  calls: [],
  /** Whether calls without a key have worked: this app enforces no keys. */
  open: false,
  /** @type {Map<string, boolean>} By function: whether the credential may call it, as far as the responses show. */
  allowed: new Map(),
};

/** Call `fn` with each change: 'credential', 'calls', 'functions', 'objects'. Returns the function that ends it. */
export const watch = (fn, signal) => {
  listeners.add(fn);
  signal?.addEventListener('abort', () => listeners.delete(fn));
  return () => listeners.delete(fn);
};
export const tell = (what) => listeners.forEach((fn) => fn(what));

export function remember(call) {
  state.calls.unshift(call);
  state.calls.length = Math.min(state.calls.length, 100);
  tell('calls');
}

/** @typedef {{id: string, name: string, method: string, path: string, status: number, fields: Record<string, any>, ms: number, at: Date, body: boolean}} Call */
