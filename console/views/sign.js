// The form of `sign`.
import functionForm from './functions.js';

export default (root, context) => functionForm(root, { ...context, path: ['sign'] });
