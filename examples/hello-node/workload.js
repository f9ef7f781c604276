'use strict';

/** Greets whoever the request names. */
exports.handle = async ({ name = 'world' }) => ({ greeting: `Hello, ${name}!` });
