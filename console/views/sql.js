// The form of `query-sql`.
import functionForm from './functions.js';

export default (root, context) => functionForm(root, { ...context, path: ['query-sql'] });
