/**
 * Runs in snapctr, and in the commands that read YAML. YAML, by its library, with a bound on how deep values are in each other: the
 * library calls itself once a level, and at the end of the stack V8 ends the process if it has a regular expression to compile there.
 */
import {
  Composer,
  isScalar,
  Lexer,
  Parser,
  visit,
  YAMLParseError,
  type Document,
  type DocumentOptions,
  type ParseOptions,
  type SchemaOptions,
} from 'yaml';

/** Of what people write, templates of CloudFormation are deepest, with some twenty levels. */
const MAX_DEPTH = 200;

type Options = Pick<ParseOptions & DocumentOptions & SchemaOptions, 'lineCounter' | 'stringKeys' | 'customTags'>;

/** The first document of a text; `errors` has what is wrong with it. */
export function parseDocument(text: string, options: Options = {}): Document {
  const { lineCounter } = options;
  const parser = new Parser(lineCounter?.addNewLine);
  // The library compares each key with all others of its map.
  const composer = new Composer({ ...options, prettyErrors: false, uniqueKeys: false });
  lineCounter?.addNewLine(0);
  const tokens = [];
  let depthError: YAMLParseError | null = null;
  for (const lexeme of new Lexer().lex(text)) {
    tokens.push(...parser.next(lexeme));
    if (parser.stack.length <= MAX_DEPTH) continue;
    const message = `Values are in each other more than ${MAX_DEPTH} levels deep`;
    depthError = new YAMLParseError([parser.offset, parser.offset + 1], 'RESOURCE_EXHAUSTION', message);
    break;
  }
  tokens.push(...parser.end());
  const [document, next] = composer.compose(tokens, true, text.length);
  // Nothing at all is an empty document.
  if (document === undefined) throw new Error('bug: YAML without a document');
  // The rest is as if the text ended there, and told as such.
  if (depthError !== null) {
    document.errors = [depthError];
    return document;
  }
  document.errors = [...document.errors, ...duplicateKeys(document)].sort((a, b) => a.pos[0] - b.pos[0]);
  if (next !== undefined) {
    const [from, to] = next.range;
    const message = 'There are several documents; leave one';
    document.errors.push(new YAMLParseError([from, to], 'MULTIPLE_DOCS', message));
  }
  return document;
}

function duplicateKeys(document: Document): readonly YAMLParseError[] {
  const errors: YAMLParseError[] = [];
  visit(document, {
    Map(_key, { items }) {
      const seen = new Set<unknown>();
      for (const { key } of items) {
        if (!isScalar(key)) continue;
        const [at = 0] = key.range ?? [];
        if (seen.has(key.value))
          errors.push(new YAMLParseError([at, at + 1], 'DUPLICATE_KEY', 'Map keys must be unique'));
        seen.add(key.value);
      }
    },
  });
  return errors;
}

/** The value of a text. @throws YAMLParseError for the first thing that is wrong. */
export function parseYaml(text: string): unknown {
  const document = parseDocument(text);
  const [error] = document.errors;
  if (error !== undefined) throw error;
  return document.toJS();
}
