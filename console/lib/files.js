// Files that leave the page: what the browser saves, and the addresses that it opens.
import { h } from './dom.js';

/** Save bytes under a name, as a download of this browser. @param {Blob} data @param {string} name */
export function saveFile(data, name) {
  const url = URL.createObjectURL(data);
  h('a', { href: url, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(url), 60000);
}
/** Open a signed address of storage. It never enters the page: no attribute, no history. */
export const openSigned = (url) => { window.open(url, '_blank', 'noopener,noreferrer'); };
