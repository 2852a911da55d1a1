// A place to drop files on, with a button for those who do not drag.
import { h } from '../lib/dom.js';
import { icon } from '../lib/icons.js';

/** Call `onfiles` with the files that are dropped on `target`. */
export function acceptDrop(target, onfiles) {
  const carriesFiles = (e) => e.dataTransfer?.types.includes('Files');
  target.addEventListener('dragover', (e) => { if (carriesFiles(e)) { e.preventDefault(); target.dataset.over = 'true'; } });
  target.addEventListener('dragleave', (e) => { if (!target.contains(e.relatedTarget)) delete target.dataset.over; });
  target.addEventListener('drop', (e) => {
    if (!carriesFiles(e)) return;
    e.preventDefault();
    delete target.dataset.over;
    onfiles([...e.dataTransfer.files]);
  });
}

/**
 * A button that opens the browser's own dialog for files.
 * @param {any} label @param {(files: File[]) => void} onfiles @param {{multiple?: boolean, mark?: string}} [options]
 */
export function fileButton(label, onfiles, { multiple = false, mark } = {}) {
  const picker = h('input', { type: 'file', multiple, hidden: true, 'aria-label': label, onchange: () => { const files = [...picker.files]; picker.value = ''; if (files.length) onfiles(files); } });
  return [h('button', { type: 'button', onclick: () => picker.click() }, mark && icon(mark, 14), label), picker];
}

export function dropzone(words, onfiles, options) {
  const zone = h('div.drop', icon('upload'), h('span', words), fileButton(options?.multiple ? 'Choose files' : 'Choose a file', onfiles, options));
  acceptDrop(zone, onfiles);
  return zone;
}
