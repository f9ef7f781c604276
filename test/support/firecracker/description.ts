/**
 * Firecracker's API description (Swagger 2.0), as a judge of requests. Runs in the fake Firecracker, and in tests of
 * whoever writes request bodies (`validate-request.ts`).
 *
 * Stricter than the description, as the server is: objects are closed, but for those it calls free (`/mmds`); ids in the
 * path and in the body are equal. Stricter than the server: no nulls, closed also where the server is lax. What the
 * description says in prose only is in `prose-rules.ts`.
 */
import { checkProse, isTooNew } from './prose-rules.ts';

export interface Schema {
  readonly $ref?: string;
  readonly type?: string;
  readonly properties?: Readonly<Record<string, Schema>>;
  readonly required?: readonly string[];
  readonly items?: Schema;
  readonly enum?: readonly string[];
  readonly minimum?: number;
  readonly maximum?: number;
  readonly additionalProperties?: boolean;
}

interface Operation {
  readonly operationId: string;
  readonly parameters?: readonly { readonly in: string; readonly required?: boolean; readonly schema?: Schema }[];
}

/** The description as the YAML parser returns it. */
export interface ApiDocument {
  readonly paths: Readonly<Record<string, Readonly<Record<string, Operation>>>>;
  readonly definitions: Readonly<Record<string, Schema>>;
}

export interface Verdict {
  /** Empty: the request is well formed. Whether it may come now is another question. */
  readonly problems: readonly string[];
  /** Names of deprecated members that the body has. */
  readonly deprecated: readonly string[];
}

const METHODS: ReadonlySet<string> = new Set(['GET', 'PUT', 'PATCH']);
const RESOURCE_ID = /^[A-Za-z0-9_]+$/;

/** Deprecated members by operation: the answer to a request with one of them carries a `Deprecation` header. */
const DEPRECATED: Readonly<Record<string, readonly string[]>> = {
  loadSnapshot: ['enable_diff_snapshots', 'mem_file_path'],
  putGuestVsock: ['vsock_id'],
  putMachineConfiguration: ['cpu_template'],
  patchMachineConfiguration: ['cpu_template'],
};

export class ApiDescription {
  readonly #document: ApiDocument;
  readonly #version: string;

  /** @param version of the Firecracker that is asked, such as "1.16.1": older ones do not know all members. */
  constructor(document: ApiDocument, version: string) {
    this.#document = document;
    this.#version = version;
  }

  /** @param body parsed JSON; undefined: the request has none. */
  check(method: string, path: string, body: unknown): Verdict {
    const found = this.#find(method, path);
    if (found === null) return wrong(`Invalid request method and/or path: ${method} ${path.replace(/^\//, '')}.`);
    const { operation, id } = found;
    if (id !== null && !RESOURCE_ID.test(id.value)) {
      return wrong(
        `Invalid API resource ID: ${JSON.stringify(id.value)}: letters, digits and underscores are allowed.`,
      );
    }
    if (method === 'GET') return body === undefined ? FINE : wrong('GET request cannot have a body.');
    if (body === undefined) return wrong(`Empty ${method} request.`);
    const problems: string[] = [];
    const schema = operation.parameters?.find((parameter) => parameter.in === 'body')?.schema;
    if (schema === undefined) problems.push(`${method} ${path} takes no body`);
    else this.#checkValue(body, this.#forOperation(operation, schema), 'body', problems);
    if (problems.length > 0 || typeof body !== 'object' || body === null) return { problems, deprecated: [] };
    const members = body as Readonly<Record<string, unknown>>;
    if (id !== null && members[id.name] !== id.value) {
      problems.push(
        `the id in the path, ${id.value}, is not ${id.name} in the body, ${JSON.stringify(members[id.name])}`,
      );
    }
    problems.push(...checkProse(operation.operationId, members, this.#version));
    return { problems, deprecated: (DEPRECATED[operation.operationId] ?? []).filter((name) => name in members) };
  }

  #find(method: string, path: string): { operation: Operation; id: { name: string; value: string } | null } | null {
    if (!METHODS.has(method)) return null;
    const exact = this.#document.paths[path]?.[method.toLowerCase()];
    if (exact !== undefined) return { operation: exact, id: null };
    const [, collection = '', value = '', ...more] = path.split('/');
    if (more.length > 0) return null;
    for (const [template, operations] of Object.entries(this.#document.paths)) {
      const match = /^\/([^/]+)\/\{([^}]+)\}$/.exec(template);
      const operation = operations[method.toLowerCase()];
      if (match?.[1] === collection && operation !== undefined) {
        return { operation, id: { name: match[2] ?? '', value } };
      }
    }
    return null;
  }

  /** Where the description is known to be wrong. */
  #forOperation(operation: Operation, schema: Schema): Schema {
    // The schema of the PUT is used for the PATCH as well, in which all members are optional.
    if (operation.operationId === 'patchMachineConfiguration') return { ...this.#resolve(schema), required: [] };
    return schema;
  }

  #resolve(schema: Schema): Schema {
    if (schema.$ref === undefined) return schema;
    const definition = this.#document.definitions[schema.$ref.replace('#/definitions/', '')];
    if (definition === undefined) throw new Error(`the API description has no ${schema.$ref}`);
    return this.#resolve(definition);
  }

  #checkValue(value: unknown, reference: Schema, at: string, problems: string[]): void {
    const schema = this.#resolve(reference);
    const found = value === null ? 'null' : Array.isArray(value) ? 'array' : typeof value;
    const expected = schema.type ?? 'object';
    const fits = expected === 'integer' ? Number.isInteger(value) : found === expected;
    if (!fits) {
      problems.push(`${at}: invalid type: ${found}, expected ${expected}`);
    } else if (expected === 'object') {
      this.#checkObject(value as Readonly<Record<string, unknown>>, schema, at, problems);
    } else if (expected === 'array') {
      const items = schema.items ?? {};
      for (const [index, item] of (value as unknown[]).entries()) {
        this.#checkValue(item, items, `${at}[${index}]`, problems);
      }
    } else if (expected === 'integer') {
      const number = value as number;
      const { minimum = 0, maximum = Number.MAX_SAFE_INTEGER } = schema;
      if (number < minimum || number > maximum) problems.push(`${at}: ${number} is not in ${minimum} to ${maximum}`);
    } else if (schema.enum !== undefined && !schema.enum.includes(casedFor(at, value as string))) {
      problems.push(`${at}: unknown variant \`${value as string}\`, expected one of ${schema.enum.join(', ')}`);
    }
  }

  #checkObject(value: Readonly<Record<string, unknown>>, schema: Schema, at: string, problems: string[]): void {
    const properties = schema.properties ?? {};
    for (const name of schema.required ?? []) {
      if (!Object.hasOwn(value, name)) problems.push(`${at}: missing field \`${name}\``);
    }
    for (const [name, member] of Object.entries(value)) {
      const property = Object.hasOwn(properties, name) ? properties[name] : undefined;
      if (property !== undefined && !isTooNew(name, this.#version)) {
        this.#checkValue(member, property, `${at}.${name}`, problems);
      } else if (schema.additionalProperties !== true) {
        problems.push(`${at}: unknown field \`${name}\`, expected one of ${Object.keys(properties).join(', ')}`);
      }
    }
  }
}

const FINE: Verdict = { problems: [], deprecated: [] };

function wrong(problem: string): Verdict {
  return { problems: [problem], deprecated: [] };
}

/** The log level alone may be written as one likes. */
function casedFor(at: string, text: string): string {
  if (at !== 'body.level') return text;
  return text.charAt(0).toUpperCase() + text.slice(1).toLowerCase();
}
