/** The folder of all functions: the console is served below it, and calls no other app. */
export const base = new URL('../', document.baseURI);
