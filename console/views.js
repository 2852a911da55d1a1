// Every view, in the order of the navigation. A new view: one line here, and views/<id>.js.
export const VIEWS = [
  { id: 'home', name: 'Home', icon: 'home', key: 'h' },
  { group: 'Seal' },
  { id: 'sign', name: 'Sign & verify', icon: 'seal', key: 's', functions: ['sign', 'verify', 'jwks'] },
  { group: 'Data' },
  { id: 'sql', name: 'SQL', icon: 'table', key: 'q', functions: ['query-sql', 'execute-sql', 'list-databases', 'save-query', 'list-queries', 'run-query', 'delete-query'] },
  { id: 'blobs', name: 'Blobs', icon: 'box', key: 'b', functions: ['list-blobs', 'get-blob', 'put-blob', 'delete-blob', 'share-blob', 'list-shares', 'revoke-share', 'create-container', 'summarize-blobs', 'restore-blob'] },
  { group: 'Reference' },
  { id: 'functions', name: 'Functions', icon: 'explore', key: 'f' },
];
export const OTHER = [{ id: 'connect', name: 'Connect', icon: 'plug', key: 'c' }];
export const view = (id) => [...VIEWS, ...OTHER].find((v) => v.id === id);
/** The view that covers a function, if one does. */
export const viewOf = (name) => VIEWS.find((v) => v.functions?.includes(name));

const built = document.documentElement.dataset.views;
/** The module of a view: by its hashed name in what is served, by its source in development. */
export function load(id) {
  const files = new Map((built ?? '').split(' ').map((pair) => /** @type {[string, string]} */ (pair.split(':'))));
  const path = built === undefined ? `views/${id}.js` : files.get(id);
  return import(new URL(path, import.meta.url).href);
}
