"""The life of a function by boto3, as its users write it: run by boto3.ts with the URL of a controller. Prints what it has seen."""

import hashlib
import base64
import io
import json
import sys
import zipfile

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

ROLE = 'arn:aws:iam::000000000000:role/any'
NAME = 'made'
WAIT = {'Delay': 1, 'MaxAttempts': 120}


def package(word):
    text = f'def handle(event, context):\n    return ["{word}", context.function_version, event]\n'
    file = io.BytesIO()
    with zipfile.ZipFile(file, 'w') as archive:
        archive.writestr('main.py', text)
    return file.getvalue()


STREAM = """
exports.handler = awslambda.streamifyResponse(async (event, output) => {
  for (const word of ['a', 'b', 'c']) {
    output.write(word);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  output.end();
});
"""


def stream_package():
    file = io.BytesIO()
    with zipfile.ZipFile(file, 'w') as archive:
        archive.writestr('index.js', STREAM)
    return file.getvalue()


def digest(content):
    return base64.b64encode(hashlib.sha256(content).digest()).decode()


def refused(name, call, **members):
    try:
        call(**members)
    except ClientError as error:
        assert error.response['Error']['Code'] == name, error
        return error.response
    raise AssertionError(f'it was done: {call.__name__} {members}')


def check_life(client):
    one, two = package('one'), package('two')
    members = {'FunctionName': NAME, 'Role': ROLE, 'Runtime': 'python3.12', 'Handler': 'main.handle'}
    created = client.create_function(**members, Code={'ZipFile': one}, Tags={'team': 'x'})
    assert (created['State'], created['CodeSha256'], created['CodeSize']) == ('Pending', digest(one), len(one)), created
    client.get_waiter('function_exists').wait(FunctionName=NAME, WaiterConfig=WAIT)
    client.get_waiter('function_active_v2').wait(FunctionName=NAME, WaiterConfig=WAIT)
    conflict = refused('ResourceConflictException', client.create_function, **members, Code={'ZipFile': one})
    assert conflict['ResponseMetadata']['HTTPStatusCode'] == 409, conflict
    assert conflict['Error']['Message'] == f'Function already exist: {NAME}', conflict
    assert isinstance(error_of(client.create_function, **members, Code={'ZipFile': one}),
                      client.exceptions.ResourceConflictException)

    assert invoke(client) == ['one', '$LATEST', {'n': 1}]
    assert client.publish_version(FunctionName=NAME)['Version'] == '1'
    if 'published_version_active' in client.waiter_names:
        client.get_waiter('published_version_active').wait(FunctionName=NAME, Qualifier='1', WaiterConfig=WAIT)
    updating = client.update_function_code(FunctionName=NAME, ZipFile=two)
    assert (updating['LastUpdateStatus'], updating['CodeSha256']) == ('InProgress', digest(two)), updating
    client.get_waiter('function_updated_v2').wait(FunctionName=NAME, WaiterConfig=WAIT)
    assert invoke(client) == ['two', '$LATEST', {'n': 1}]
    client.update_function_configuration(FunctionName=NAME, Timeout=7, Description='second')
    client.get_waiter('function_updated_v2').wait(FunctionName=NAME, WaiterConfig=WAIT)
    assert client.publish_version(FunctionName=NAME)['Version'] == '2'
    assert client.get_function_configuration(FunctionName=NAME, Qualifier='2')['Timeout'] == 7
    assert invoke(client, Qualifier='1') == ['one', '1', {'n': 1}]


def error_of(call, **members):
    try:
        call(**members)
    except ClientError as error:
        return error
    raise AssertionError('it was done')


def invoke(client, **members):
    answer = client.invoke(FunctionName=NAME, Payload=b'{"n": 1}', **members)
    assert (answer['StatusCode'], answer.get('FunctionError')) == (200, None), answer
    value = json.loads(answer['Payload'].read())
    assert answer['ExecutedVersion'] == value[1], (answer, value)
    return value


def check_aliases(client):
    routing = {'AdditionalVersionWeights': {'2': 0.25}}
    made = client.create_alias(FunctionName=NAME, Name='live', FunctionVersion='1', RoutingConfig=routing)
    assert made['RoutingConfig'] == routing, made
    got = client.get_alias(FunctionName=NAME, Name='live')
    assert {**made, 'ResponseMetadata': None} == {**got, 'ResponseMetadata': None}, got
    assert invoke(client, Qualifier='live')[1] in ('1', '2')
    moved = client.update_alias(FunctionName=NAME, Name='live', FunctionVersion='2',
                                RoutingConfig={'AdditionalVersionWeights': {}})
    assert moved['FunctionVersion'] == '2' and not moved.get('RoutingConfig'), moved
    assert invoke(client, Qualifier='live') == ['two', '2', {'n': 1}]
    client.create_alias(FunctionName=NAME, Name='old', FunctionVersion='1')


def check_permissions_and_tags(client):
    arn = client.get_function(FunctionName=NAME)['Configuration']['FunctionArn']
    said = client.add_permission(FunctionName=NAME, StatementId='s', Action='lambda:InvokeFunction',
                                 Principal='s3.amazonaws.com', SourceArn='arn:aws:s3:::bucket')
    statement = json.loads(said['Statement'])
    assert json.loads(client.get_policy(FunctionName=NAME)['Policy'])['Statement'] == [statement], statement
    client.remove_permission(FunctionName=NAME, StatementId='s')
    refused('ResourceNotFoundException', client.get_policy, FunctionName=NAME)
    client.tag_resource(Resource=arn, Tags={'stage': 'test', 'kept': 'no'})
    client.untag_resource(Resource=arn, TagKeys=['kept'])
    assert client.list_tags(Resource=arn)['Tags'] == {'team': 'x', 'stage': 'test'}


def check_layers(client):
    content = {'ZipFile': package('layer')}
    for name in ('first', 'first', 'second'):
        client.publish_layer_version(LayerName=name, Content=content, Description=name)
    client.publish_layer_version(LayerName='first', Content=content)
    layer = client.get_layer_version(LayerName='first', VersionNumber=2)
    assert layer['Content']['CodeSha256'] == digest(content['ZipFile']), layer
    # A page for each: whoever takes several pages sees each once, and all of them.
    assert listed(client, 'list_layers', 'Layers', 'LayerName') == ['first', 'second']
    assert listed(client, 'list_layer_versions', 'LayerVersions', 'Version', LayerName='first') == [3, 2, 1]
    client.delete_layer_version(LayerName='first', VersionNumber=2)
    assert listed(client, 'list_layer_versions', 'LayerVersions', 'Version', LayerName='first') == [3, 1]


def check_lists(client):
    versions = listed(client, 'list_versions_by_function', 'Versions', 'Version', FunctionName=NAME)
    assert versions == ['$LATEST', '1', '2'], versions
    aliases = listed(client, 'list_aliases', 'Aliases', 'Name', FunctionName=NAME)
    assert sorted(aliases) == ['live', 'old'], aliases
    functions = listed(client, 'list_functions', 'Functions', 'FunctionName')
    assert sorted(functions) == ['filed', NAME, 'streaming'], functions


def listed(client, operation, member, key, **members):
    """What the paginator finds with one entry a page, of which each but the last has a marker."""
    pages = list(client.get_paginator(operation).paginate(**members, PaginationConfig={'PageSize': 1}))
    assert all(len(page[member]) <= 1 for page in pages), pages
    return [entry[key] for page in pages for entry in page[member]]


def check_stream(client):
    client.create_function(FunctionName='streaming', Role=ROLE, Runtime='nodejs22.x', Handler='index.handler',
                           Code={'ZipFile': stream_package()})
    client.get_waiter('function_active_v2').wait(FunctionName='streaming', WaiterConfig=WAIT)
    answer = client.invoke_with_response_stream(FunctionName='streaming', Payload=b'{}')
    events = list(answer['EventStream'])
    payload = b''.join(event['PayloadChunk']['Payload'] for event in events if 'PayloadChunk' in event)
    assert payload == b'abc', events
    assert 'InvokeComplete' in events[-1] and 'ErrorCode' not in events[-1]['InvokeComplete'], events


def check_end(client):
    refused('ResourceConflictException', client.delete_function, FunctionName=NAME, Qualifier='2')
    client.delete_alias(FunctionName=NAME, Name='live')
    client.delete_function(FunctionName=NAME, Qualifier='2')
    client.delete_function(FunctionName=NAME)
    gone = refused('ResourceNotFoundException', client.delete_function, FunctionName=NAME)
    assert gone['ResponseMetadata']['HTTPStatusCode'] == 404, gone
    refused('ResourceNotFoundException', client.get_function, FunctionName=NAME)
    client.delete_function(FunctionName='streaming')


def main(url):
    config = Config(retries={'max_attempts': 1})
    client = boto3.client('lambda', endpoint_url=url, region_name='us-east-1', aws_access_key_id='x',
                          aws_secret_access_key='x', config=config)
    for check in (check_life, check_aliases, check_permissions_and_tags, check_layers, check_stream, check_lists,
                  check_end):
        check(client)
        print(check.__name__, flush=True)


main(sys.argv[1])
