'use strict';

const { marked } = require('marked');

/** Turns Markdown into HTML. */
exports.handle = async ({ markdown }) => {
  if (typeof markdown !== 'string') throw new TypeError('"markdown" must be a string');
  return { html: marked.parse(markdown) };
};
