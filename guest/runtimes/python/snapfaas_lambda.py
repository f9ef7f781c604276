"""Handlers of AWS Lambda: `handler(event, context)`.

Names, messages and the order of things are those of Lambda's own client for Python, so that what a function's author has
seen there is found here: the failures' lines of the stack, the lines of the log, the environment.
"""
import json
import os
import sys
from importlib.machinery import PathFinder

from snapfaas_channel import FAILURE, RESULT
from snapfaas_context import LambdaContext, new_log_stream_name
from snapfaas_failure import OWN_DIRECTORY, describe, failure
from snapfaas_lambda_json import encode_result
from snapfaas_lambda_log import Log, log_failure, rehearse_logging, set_up_logging
from snapfaas_load import LoadError, most_arguments, parse_event
from snapfaas_output import exit_status, leave, leave_uncaught, write_at_once


# What Lambda's client has imported, and this runtime has not, when it imports a function.
IMPORTED_BY_LAMBDA = frozenset(
    '__future__ atexit contextlib copyreg decimal linecache logging numbers string textwrap threading token tokenize'
    ' traceback warnings weakref'.split()
)


class StandardModules:
    """Finds some modules in the standard library whatever files of the function have their names: in Lambda they are
    imported before, so that such a file is not found there either."""

    def __init__(self, path):
        self.path = path

    def find_spec(self, name, path=None, target=None):
        if path is None and name in IMPORTED_BY_LAMBDA:
            return PathFinder.find_spec(name, self.path)
        return None


class LambdaStyle:
    def __init__(self, request):
        self.request = request
        self.max_result_bytes = request['max_result_bytes']
        self.wants_context = True
        self.log_stream_name = None
        self.trace = None

    def set_environment(self):
        if 'is_wrapped' not in self.request:
            self.set_variables()
        if self.request['output'] == 'pipes':
            write_at_once()
        set_up_logging()

    def set_variables(self):
        """The host knows all but what depends on the guest; the function's own variables come last, but for what AWS
        reserves."""
        root = self.request['root']
        old_libraries = os.environ.get('LD_LIBRARY_PATH')
        libraries = [root, os.path.join(root, 'lib')] + ([old_libraries] if old_libraries else [])
        os.environ.update(
            {
                'PWD': root,
                'LD_LIBRARY_PATH': ':'.join(libraries),
                # Lambda's value. Children find the standard library first, as they do there.
                'PYTHONPATH': '/var/runtime',
                'AWS_LAMBDA_LOG_GROUP_NAME': self.request['log_group'],
                '_HANDLER': self.request['handler'] or 'workload.handle',
            }
        )
        os.environ.update(self.request['environment'])
        os.environ.update(
            {
                'AWS_EXECUTION_ENV': 'AWS_Lambda_python%d.%d' % sys.version_info[:2],
                'AWS_LAMBDA_INITIALIZATION_TYPE': self.request['initialization'],
                'LAMBDA_TASK_ROOT': root,
                'LAMBDA_RUNTIME_DIR': OWN_DIRECTORY.rstrip('/'),
            }
        )

    @staticmethod
    def search_path(root, wanted, standard):
        """What `package/` and `lib/` hold hides nothing of Python's: Lambda does not search them."""
        sys.meta_path.insert(sys.meta_path.index(PathFinder), StandardModules(standard))
        return [root] + wanted + standard + [os.path.join(root, 'package'), os.path.join(root, 'lib')]

    def split_handler(self):
        name = self.request['handler'] or 'workload.handle'
        try:
            module_name, function_name = name.rsplit('.', 1)
        except ValueError as error:
            raise LoadError('Runtime.MalformedHandlerName', "Bad handler '%s': %s" % (name, error)) from None
        if module_name.split('.')[0] in sys.builtin_module_names:
            message = 'Cannot use built-in module %s as a handler module' % module_name
            raise LoadError('Runtime.BuiltInModuleConflict', message)
        return module_name.replace('/', '.'), function_name

    def accept(self, handle):
        """Lambda calls whatever has the name, with two arguments. One that can take but one gets one."""
        self.wants_context = most_arguments(handle) != 1

    def prepare(self):
        self.log_stream_name = new_log_stream_name(self.request['version'])
        os.environ['AWS_LAMBDA_LOG_STREAM_NAME'] = self.log_stream_name
        Log.request_id = ''

    @staticmethod
    def return_event(event, context=None):
        rehearse_logging()
        return event

    def set_trace(self, trace):
        self.trace = trace
        if trace is None:
            os.environ.pop('_X_AMZN_TRACE_ID', None)
        else:
            os.environ['_X_AMZN_TRACE_ID'] = trace

    def invoke(self, handle, fields, payload):
        """Runs a handler on one event. Returns type, payload and header of the answer."""
        Log.request_id = fields.get('id', '')
        trace = fields.get('trace')
        if trace != self.trace:
            self.set_trace(trace)
        try:
            event = parse_event(payload)
        except (ValueError, RecursionError) as error:
            return fail('Runtime.UnmarshalError', 'Unable to unmarshal input: %s' % error)
        try:
            if self.wants_context:
                result = handle(event, LambdaContext(fields, self.request, self.log_stream_name))
            else:
                result = handle(event)
        except Exception as error:
            return FAILURE, self.describe(error), b''
        except SystemExit as error:
            leave(exit_status(error))
        except BaseException as error:  # ends Lambda's client, too: a cancelled task, an interrupt
            leave_uncaught(error.with_traceback(error.__traceback__.tb_next))
        try:
            answer, header = encode_result(result, fields.get('strict', False))
        except Exception as error:  # the result's own methods run in there
            return fail('Runtime.MarshalError', 'Unable to marshal response: %s' % error)
        if len(answer) > self.max_result_bytes:
            limit = 'maximum allowed payload size (%d bytes)' % self.max_result_bytes
            message = 'Response payload size exceeded %s.' % limit
            return FAILURE, failure('Function.ResponseSizeTooLarge', message, raw=True), b''
        return RESULT, answer, header

    def describe(self, error):
        described = describe(error, stack_of)
        log_failure(json.loads(described))
        return described

    def describe_hook_failure(self, error, kind):
        """The log tells of the error itself; the answer's type says that it was a hook's, not the handler's."""
        own = json.loads(self.describe(error))
        message = '%s: %s' % (own['type'], own['message']) if own['message'] else own['type']
        return failure(kind, message, own['stack'])

    def describe_load_failure(self, error):
        module_name = (self.request['handler'] or 'workload.handle').rpartition('.')[0]
        if isinstance(error, LoadError):
            return fail(error.kind, str(error))[1]
        try:
            if isinstance(error, ImportError):
                return fail('Runtime.ImportModuleError', "Unable to import module '%s': %s" % (module_name, error))[1]
            if isinstance(error, SyntaxError):
                where = '  File "%s" Line %s\n    %s' % (error.filename, error.lineno, error.text)
                message = "Syntax error in module '%s': %s" % (module_name, error)
                return fail('Runtime.UserCodeSyntaxError', message, [where])[1]
        except Exception:
            pass
        return self.describe(error)


def fail(kind, message, stack=()):
    described = failure(kind, message, stack)
    log_failure(json.loads(described))
    return FAILURE, described, b''


def stack_of(error):
    """The traceback from the function's first frame on, as `traceback.format_list` has it: each with its line of code."""
    import traceback

    frames = [(f.filename, f.lineno, f.name, f.line) for f in traceback.extract_tb(error.__traceback__)]
    while frames and frames[0][0].startswith(OWN_DIRECTORY):
        frames.pop(0)
    return traceback.format_list(frames)
