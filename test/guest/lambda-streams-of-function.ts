/** Functions that do to their output what libraries do which capture or redirect it; afterwards each logs, prints, fails. */

/** By what is done; each is run before anything is logged, and undone by nothing. */
export const pythonStreamAbuse: Readonly<Record<string, string>> = {
  'redirects stdout': 'contextlib.redirect_stdout(captured).__enter__()',
  'replaces sys.stdout': 'sys.stdout = captured',
  'sets sys.stdout to None': 'sys.stdout = sys.stderr = None',
  'closes sys.stdout': 'sys.stdout.close()',
  'closes both streams and their originals':
    '[s.close() for s in (sys.stdout, sys.stderr, sys.__stdout__, sys.__stderr__)]',
  'replaces write':
    'sys.stdout = type("Broken", (), {"write": lambda self, text: 1 / 0, "flush": lambda self: None})()',
  'closes descriptor 1': 'os.close(1)',
  'closes descriptors 1 and 2': '(os.close(1), os.close(2))',
  'puts a file on descriptor 1': 'os.dup2(os.open("/dev/null", os.O_WRONLY), 1)',
  'detaches the stream': 'sys.stdout.detach()',
  'makes descriptor 1 non-blocking': 'os.set_blocking(1, False)',
};

export function pythonAbuser(abuse: string): string {
  return `import contextlib, io, logging, os, sys
captured = io.StringIO()
log = logging.getLogger()
log.setLevel('INFO')

def handler(event, context):
    if event.get('first'):
        ${abuse}
    log.info('logged')
    try:
        print('printed')
    except Exception:
        pass
    context.log('plain\\n')
    if event.get('fail'):
        raise ValueError('failed')
    return [captured.getvalue().replace('printed\\n', ''), event]
`;
}

export const nodeStreamAbuse: Readonly<Record<string, string>> = {
  'ends stdout': 'process.stdout.end();',
  'destroys stdout': 'process.stdout.destroy();',
  'ends both streams': 'process.stdout.end(); process.stderr.end();',
  'destroys stdout with an error': 'process.stdout.on("error", () => {}); process.stdout.destroy(new Error("gone"));',
  'pipes a stream into stdout':
    'await require("stream/promises").pipeline(require("stream").Readable.from(["piped\\n"]), process.stdout);',
  'replaces write': 'process.stdout.write = (text) => { captured += text; return true; };',
  'replaces write by one that throws': 'process.stdout.write = () => { throw new Error("captured"); };',
  'replaces process.stdout':
    'Object.defineProperty(process, "stdout", { value: new (require("stream").PassThrough)() });',
  'removes process.stdout': 'Object.defineProperty(process, "stdout", { value: undefined });',
  'corks stdout': 'process.stdout.cork();',
};

export function nodeAbuser(abuse: string): string {
  return `let captured = '';
exports.handler = async (event, context) => {
  if (event.first) { ${abuse} }
  console.log('logged');
  console.error('plain');
  if (event.fail) throw new TypeError('failed');
  return [captured, event];
};
`;
}
