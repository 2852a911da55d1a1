// Every function of the app, from its OpenAPI document. It loads at the first use: the first page does without it.
import { state, tell } from './state.js';
import { base } from './base.js';
import { credential } from './credential.js';

/**
 * @typedef {{name: string, in: 'path'|'query'|'header'|'body', required: boolean, schema: any, description: string, examples: Record<string, {value: any}>}} Field
 * @typedef {{name: string, methods: string[], path: string, group: string, access: 'function'|'public'|'session', summary: string, description: string,
 *   fields: Field[], raw: boolean, responses: Record<string, any>, examples: {summary: string, fields: Record<string, any>}[]}} Fn
 */

/** The few functions that the shell calls before the document is there. */
const FIRST = { health: { method: 'GET', path: '/health', access: 'public' } };

/** @type {Promise<Map<string, Fn>>|undefined} */
let loading;
/** @type {Map<string, Fn>|undefined} */
let loaded;
/** @type {any} */
let source;

/** All functions by name. Rejects if the document cannot be loaded; the next call tries again. */
export function functions() {
  loading ??= fetch(new URL('openapi.json', base), { credentials: 'same-origin' })
    .then((response) => { if (!response.ok) throw new Error(`openapi.json: ${response.status}`); return response.json(); })
    .then((found) => { source = found; loaded = read(found); tell('functions'); return loaded; })
    .catch((error) => { loading = undefined; throw error; });
  return loading;
}
/** The functions if they are loaded. */
export const known = () => loaded;
/** What the call needs of a function: at once for the few above, else when the document is there. */
export async function find(name) {
  const fn = loaded?.get(name);
  if (fn) return { ...fn, method: fn.methods.find((m) => m === 'POST') ?? fn.methods[0] };
  if (name in FIRST) return { name, methods: [FIRST[name].method], fields: [], raw: false, ...FIRST[name] };
  const all = await functions();
  const found = all.get(name);
  if (!found) throw new TypeError(`There is no function ${name}`);
  return { ...found, method: found.methods.find((m) => m === 'POST') ?? found.methods[0] };
}
/** Whether the app has this function; true while that is not known. */
export const exists = (name) => !loaded || loaded.has(name);

/** The schema behind a `$ref`, and of a value that may be null the other kind. */
export function resolve(schema) {
  if (!schema) return {};
  if (schema.$ref) return resolve(source?.components.schemas[schema.$ref.split('/').pop()]);
  if (schema.anyOf) {
    const kinds = schema.anyOf.filter((s) => s.type !== 'null');
    if (kinds.length === 1) return { ...resolve(kinds[0]), ...('default' in schema ? { default: schema.default } : {}) };
  }
  return schema;
}
/** The version of the app, once the document is there. */
export const version = () => source?.info.version;

const ACCESS = (security) => !security?.length ? 'public' : security.some((s) => 'session' in s) ? 'session' : 'function';

function read(document) {
  source = document;
  const all = new Map();
  for (const [path, methods] of Object.entries(document.paths)) {
    for (const [method, operation] of Object.entries(methods)) {
      // The operation of a function's first method has its name; the others have the method behind it.
      const first = Object.values(methods).find((o) => operation.operationId === `${o.operationId}-${method}`);
      const name = first?.operationId ?? operation.operationId;
      const fn = all.get(name) ?? {
        name, methods: [], path, group: operation.tags?.[0] ?? 'app', access: ACCESS(operation.security), summary: operation.summary ?? '',
        description: operation.description ?? '', fields: [], raw: false, responses: operation.responses, examples: [],
      };
      all.set(name, fn);
      fn.methods.push(method.toUpperCase());
      for (const p of operation.parameters ?? []) {
        if (fn.fields.some((f) => f.name === fieldName(p))) continue;
        const holder = p.content?.['application/json'] ?? p;
        fn.fields.push({ name: fieldName(p), in: p.in, required: Boolean(p.required), schema: holder.schema ?? {}, description: p.description ?? '', examples: holder.examples ?? {} });
      }
      const content = operation.requestBody?.content ?? {};
      const json = content['application/json'];
      if (json) {
        const schema = resolve(json.schema);
        for (const [field, own] of Object.entries(schema.properties ?? {})) {
          const before = fn.fields.findIndex((f) => f.name === field);
          const entry = { name: field, in: 'body', required: (schema.required ?? []).includes(field), schema: own, description: resolve(own).description ?? own.description ?? '', examples: {} };
          if (before < 0) fn.fields.push(entry); else if (fn.fields[before].in === 'query') fn.fields[before] = entry;
        }
        for (const [summary, example] of Object.entries(json.examples ?? {})) fn.examples.push({ summary, fields: example.value });
      } else if (Object.keys(content).length) fn.raw = true;
    }
  }
  for (const fn of all.values()) {
    // Where no body has examples, the parameters have theirs by the same summary.
    const inParameters = new Map();
    for (const f of fn.fields) for (const [summary, e] of Object.entries(f.examples)) inParameters.set(summary, { ...inParameters.get(summary), [f.name]: e.value });
    for (const [summary, fields] of inParameters) {
      const example = fn.examples.find((e) => e.summary === summary);
      if (example) example.fields = { ...fields, ...example.fields }; else fn.examples.push({ summary, fields });
    }
  }
  return all;
}
const fieldName = (p) => p.in === 'header' ? p.name.replaceAll('-', '_') : p.name;

/** Whether the credential may call a function: false where a response said so, and for functions of a session without one. */
export const may = (name) => state.allowed.get(name) !== false && (loaded?.get(name)?.access !== 'session' || Boolean(credential()?.user !== undefined));
