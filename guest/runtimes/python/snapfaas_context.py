"""The context that handlers get as their second argument, with the members and the texts of AWS Lambda's."""
import json
import os
import time

from snapfaas_lambda_log import log_plainly


class LambdaContext:
    def __init__(self, fields, request, log_stream_name):
        self.aws_request_id = fields.get('id', '')
        self.log_group_name = request.get('log_group')
        self.log_stream_name = log_stream_name
        self.function_name = request['function']
        self.memory_limit_in_mb = str(request['memory_mib'])
        self.function_version = request.get('version')
        self.invoked_function_arn = fields.get('arn', request.get('arn'))
        self.tenant_id = fields.get('tenant_id')
        client = parsed_client_context(fields.get('client_context'))
        self._w3c_fields = take_w3c(client)
        self.client_context = None if client is None else ClientContext(client)
        self.identity = CognitoIdentity(fields.get('cognito_identity'))
        self._deadline_ms = fields.get('deadline_ms', 0)

    def get_remaining_time_in_millis(self):
        return max(0, int(self._deadline_ms - time.time() * 1000))

    def w3c(self):
        """The trace context of the W3C that came with the client's context."""
        return dict(self._w3c_fields)

    def log(self, msg):
        log_plainly(str(msg))

    def __repr__(self):
        return described(
            self,
            'aws_request_id',
            'log_group_name',
            'log_stream_name',
            'function_name',
            'memory_limit_in_mb',
            'function_version',
            'invoked_function_arn',
            'client_context',
            'identity',
            'tenant_id',
        )


class CognitoIdentity:
    __slots__ = ('cognito_identity_id', 'cognito_identity_pool_id')

    def __init__(self, text):
        fields = json.loads(text) if text else {}
        self.cognito_identity_id = fields.get('cognitoIdentityId')
        self.cognito_identity_pool_id = fields.get('cognitoIdentityPoolId')

    def __repr__(self):
        return described(self, *self.__slots__)


class ClientContext:
    __slots__ = ('custom', 'env', 'client')

    def __init__(self, fields):
        self.custom = fields.get('custom')
        self.env = fields.get('env')
        client = fields.get('client')
        self.client = Client(client) if isinstance(client, dict) else client

    def __repr__(self):
        return described(self, *self.__slots__)


class Client:
    __slots__ = ('installation_id', 'app_title', 'app_version_name', 'app_version_code', 'app_package_name')

    def __init__(self, fields):
        for name in self.__slots__:
            setattr(self, name, fields.get(name))

    def __repr__(self):
        return described(self, *self.__slots__)


def parsed_client_context(text):
    fields = json.loads(text) if text else None
    return fields if isinstance(fields, dict) else None


def take_w3c(client):
    """Takes the member `w3c` out of a client's context, which shows it to no handler. Returns its texts of known names."""
    given = client.pop('w3c', None) if client is not None else None
    if not isinstance(given, dict):
        return {}
    return {name: given[name] for name in ('traceparent', 'tracestate', 'baggage') if isinstance(given.get(name), str)}


def described(thing, *names):
    return '%s([%s])' % (type(thing).__name__, ','.join('%s=%s' % (name, getattr(thing, name)) for name in names))


def new_log_stream_name(version):
    """A name that no other VM has, in Lambda's form: `2026/01/31/[$LATEST]` and 32 hex digits."""
    return '%s/[%s]%s' % (time.strftime('%Y/%m/%d', time.gmtime()), version, os.urandom(16).hex())
