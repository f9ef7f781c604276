"""What functions of Lambda find set up for logging: a handler on the root logger, and failures in their log."""
import json
import os
import sys
import time

from snapfaas_output import OwnLog

NO_BREAK_SPACE = '\u00a0'


class Log:
    """The request that is under way; '' during the import."""

    request_id = ''
    writes_json = False
    handler = None


class LoggingFinder:
    """Finds `logging` when the function imports it, and sets it up then: who does not log need not wait for it."""

    @classmethod
    def find_spec(cls, name, path=None, target=None):
        if name != 'logging':
            return None
        sys.meta_path.remove(cls)
        found = (finder.find_spec(name, path, target) for finder in sys.meta_path)
        spec = next((one for one in found if one is not None), None)
        if spec is not None and spec.loader is not None:
            execute = spec.loader.exec_module

            def exec_module(module):
                execute(module)
                add_handler(module)

            spec.loader.exec_module = exec_module
        return spec


def set_up_logging():
    Log.writes_json = os.environ.get('AWS_LAMBDA_LOG_FORMAT', '').upper() == 'JSON'
    logging = sys.modules.get('logging')
    if logging is None:
        sys.meta_path.insert(0, LoggingFinder)
    else:
        add_handler(logging)


def add_handler(logging):
    class LambdaLoggerHandler(logging.Handler):
        def emit(self, record):
            text = self.format(record)
            # A traceback comes behind the format's line feed, and a format of the function's need not have one.
            OwnLog.write(text if text[-1:] == '\n' else text + '\n')

    class LambdaLoggerFilter(logging.Filter):
        def filter(self, record):
            record.aws_request_id = Log.request_id
            return True

    class JsonFormatter(logging.Formatter):
        def format(self, record):
            return format_as_json(record)

    handler = LambdaLoggerHandler()
    if Log.writes_json:
        handler.setFormatter(JsonFormatter())
    else:
        line = '[%(levelname)s]\t%(asctime)s.%(msecs)03dZ\t%(aws_request_id)s\t%(message)s\n'
        handler.setFormatter(logging.Formatter(line, '%Y-%m-%dT%H:%M:%S'))
    logging.Formatter.converter = time.gmtime
    handler.addFilter(LambdaLoggerFilter())
    root = logging.getLogger()
    root.addHandler(handler)
    Log.handler = handler
    level = 'DEBUG' if log_level() == 'TRACE' else log_level()
    if level in ('NOTSET', 'DEBUG', 'INFO', 'WARN', 'WARNING', 'ERROR', 'CRITICAL', 'FATAL'):
        root.setLevel(level)


def log_plainly(text):
    """`context.log`: where the logger writes, unless the function has taken its handler away."""
    logging = sys.modules.get('logging')
    if Log.handler is None or logging is None or Log.handler in logging.getLogger().handlers:
        OwnLog.write(text)
    else:
        sys.stdout.write(text)


def rehearse_logging():
    """All of a line but its text, so that a snapshot holds this warm: most functions log something."""
    logging = sys.modules.get('logging')
    if Log.handler is None or logging is None:
        return
    try:
        record = logging.LogRecord('rehearsal', logging.INFO, __file__, 1, '%s', ('text',), None)
        Log.handler.filter(record)
        OwnLog.write(Log.handler.format(record)[:0])
    except Exception:
        pass  # the function has changed the handler


def log_level():
    return os.environ.get('AWS_LAMBDA_LOG_LEVEL', '').upper()


# Of a record, what makes no members of its own in a line of JSON.
KNOWN = frozenset(
    'name msg args levelname levelno pathname filename module exc_info exc_text stack_info lineno funcName created msecs'
    ' relativeCreated thread threadName processName process aws_request_id timestamp level message logger stackTrace'
    ' errorType errorMessage requestId location'.split()
)


def format_as_json(record):
    """A record as one line, with all that the function added to it (`extra`). Levels are the next standard one below."""
    import logging

    is_structured = isinstance(record.msg, dict) and not record.args
    line = {
        'timestamp': time.strftime('%Y-%m-%dT%H:%M:%SZ', logging.Formatter.converter(record.created)),
        'level': logging.getLevelName(min(50, max(0, record.levelno)) // 10 * 10),
        'message': record.msg if is_structured else record.getMessage(),
        'logger': record.name,
        'requestId': Log.request_id,
    }
    if record.exc_info and record.exc_info[0] is not None:
        import traceback

        kind, value, frames = record.exc_info
        line.update(stackTrace=traceback.format_tb(frames), errorType=kind.__name__, errorMessage=str(value))
        line['location'] = '%s:%s:%d' % (record.pathname, record.funcName, record.lineno)
    line.update((key, value) for key, value in vars(record).items() if key not in KNOWN and value is not None)
    return json.dumps(line, ensure_ascii=False, default=str) + '\n'


def log_failure(failure):
    """Writes a failure to the function's log. Leading spaces are of the kind that the log's readers keep."""
    kind, message, stack = failure['type'], failure['message'], failure['stack']
    if Log.writes_json:
        line = {'timestamp': time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime()), 'level': 'ERROR'}
        line.update(errorMessage=message, errorType=kind, requestId=Log.request_id, stackTrace=stack)
        OwnLog.write(json.dumps(line, ensure_ascii=False) + '\n')
        return
    lines = ['[ERROR] %s: %s' % (kind, message) if message else '[ERROR] %s' % kind]
    lines.append('Traceback (most recent call last):')
    for entry in stack:
        for line in entry.splitlines():
            text = line.lstrip(' ')
            lines.append(NO_BREAK_SPACE * (len(line) - len(text)) + text)
    OwnLog.write('\n'.join(lines) + '\n')
