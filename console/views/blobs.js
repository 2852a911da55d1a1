// The form of `list-blobs`.
import functionForm from './functions.js';

export default (root, context) => functionForm(root, { ...context, path: ['list-blobs'] });
