// The functions by what they are for, under the tags of the OpenAPI document.
const NAMES = { signing: 'Signing and encryption', passwords: 'Passwords and users', sql: 'SQL', blobs: 'Blobs', identity: 'Sign-in', models: 'Models', data: 'Data files', audit: 'Audit', privacy: 'Privacy', app: 'The app' };
export const groupName = (group) => NAMES[group] ?? group[0].toUpperCase() + group.slice(1);
/** @param {import('./functions.js').Fn[]} all */
export function grouped(all) {
  const groups = new Map();
  for (const f of all) groups.set(f.group, [...groups.get(f.group) ?? [], f]);
  return groups;
}
