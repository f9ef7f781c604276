"""The original's handlers: `handle(request)`, or with a second parameter for the context."""
import json
import os

from snapfaas_channel import FAILURE, RESULT
from snapfaas_context import LambdaContext
from snapfaas_failure import describe, failure, own_frames
from snapfaas_load import LoadError, most_arguments, parse_event
from snapfaas_output import exit_status, leave

encode = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(',', ':')).encode


class OriginalStyle:
    def __init__(self, request):
        self.request = request
        self.max_result_bytes = request['max_result_bytes']
        self.wants_context = False

    def set_environment(self):
        os.environ.update(self.request['environment'])

    @staticmethod
    def search_path(root, wanted, standard):
        """The function's own directories first, as the original has it."""
        return [root, os.path.join(root, 'package'), os.path.join(root, 'lib')] + wanted + standard

    def split_handler(self):
        name = self.request['handler']
        if name is None:
            return 'workload', 'handle'
        module_name, _, function_name = name.rpartition('.')
        module_name = module_name.replace('/', '.')
        if not function_name.isidentifier() or not module_name or '' in module_name.split('.'):
            raise LoadError('Runtime.MalformedHandlerName', "Bad handler '%s': expected file.function" % name)
        return module_name, function_name

    def accept(self, handle):
        if not callable(handle):
            module_name, function_name = self.split_handler()
            message = "Handler '%s' not a function in module '%s'" % (function_name, module_name)
            raise LoadError('Runtime.HandlerNotFound', message)
        most = most_arguments(handle)
        # What passes on any number of arguments takes as many as what is behind it.
        while most is None and hasattr(handle, '__wrapped__'):
            handle = handle.__wrapped__
            most = most_arguments(handle)
        self.wants_context = self.request['handler'] is not None if most is None else most >= 2

    def prepare(self):
        """Nothing differs between two VMs."""

    @staticmethod
    def return_event(event, context=None):
        return event

    def invoke(self, handle, fields, payload):
        """Runs a handler on one event. Returns type, payload and header of the answer."""
        try:
            event = parse_event(payload)
        except (ValueError, RecursionError) as error:
            return FAILURE, failure('Runtime.UnmarshalError', 'Unable to unmarshal input: %s' % error), b''
        try:
            if self.wants_context:
                result = handle(event, LambdaContext(fields, self.request, ''))
            else:
                result = handle(event)
        except SystemExit as error:
            leave(exit_status(error))
        except BaseException as error:
            return FAILURE, describe(error), b''
        try:
            answer = encode(result).encode('utf-8')
        except Exception as error:  # the result's own methods run in there
            return FAILURE, failure('Runtime.MarshalError', 'Unable to marshal response: %s' % error), b''
        if len(answer) > self.max_result_bytes:
            message = 'The result has %d bytes; at most %d are allowed.' % (len(answer), self.max_result_bytes)
            return FAILURE, failure('Function.ResponseSizeTooLarge', message), b''
        return RESULT, answer, b''

    @staticmethod
    def describe_hook_failure(error, kind):
        return describe(error)

    def describe_load_failure(self, error):
        if isinstance(error, LoadError):
            return failure(error.kind, str(error))
        handler = self.request['handler']
        module_name = 'workload' if handler is None else handler.rpartition('.')[0]
        try:
            if isinstance(error, ImportError):
                message = "Unable to import module '%s': %s" % (module_name, error)
                return failure('Runtime.ImportModuleError', message, own_frames(error))
            if isinstance(error, SyntaxError):
                where = '  File "%s", line %s' % (error.filename, error.lineno)
                text = [where, '    ' + error.text.strip()] if error.text else [where]
                message = "Syntax error in module '%s': %s" % (module_name, error)
                return failure('Runtime.UserCodeSyntaxError', message, own_frames(error) + text)
        except Exception:
            pass
        return describe(error)
