/**
 * Runs in the commands of people. Values of a CloudFormation template with its parameters, conditions and intrinsic functions worked
 * out. Source: AWS CloudFormation's template reference, "Intrinsic functions".
 */
import { badInput } from '../client-error.ts';
import { PARTITION, type LambdaAccount } from '../../protocol/arn.ts';
import type { Template } from './template-file.ts';

export type Value = null | boolean | number | string | readonly Value[] | { readonly [key: string]: Value };

/** What a resource is: by `Ref` where `attribute` is null, else by `Fn::GetAtt`. Undefined: nothing that is deployed here. */
export type Lookup = (id: string, attribute: string | null) => string | undefined;

/** Cannot be told here, such as the name of a table. The message ends the sentence "it …". */
export class Unresolved extends Error {
  override readonly name = 'Unresolved';
}

/** Given by hand: values of parameters, and of what the resources are that are not deployed here. */
export type Given = Readonly<Record<string, string>>;

/** `AWS::NoValue`: as if it was not written. */
const NOTHING: unique symbol = Symbol('AWS::NoValue');
const URL_SUFFIX = 'amazonaws.com';
/** As deep as a template may nest; JSON can be made to nest deeper than a stack reaches. */
const MAX_DEPTH = 100;

export class Intrinsics {
  readonly #template: Template;
  readonly #given: Given;
  readonly #account: LambdaAccount;
  readonly #lookup: Lookup;
  /** Conditions that are being worked out: one that needs itself has no value. */
  readonly #open = new Set<string>();

  /** @throws ClientError for what is given and not in the template. */
  constructor(template: Template, given: Given, account: LambdaAccount, lookup: Lookup) {
    this.#template = template;
    this.#given = given;
    this.#account = account;
    this.#lookup = lookup;
    for (const [name, value] of Object.entries(given)) {
      const parameter = template.parameters.get(name);
      if (parameter === undefined && !template.resources.has(name.split('.', 1)[0] ?? name)) {
        const known = [...template.parameters.keys()].join(', ') || 'none';
        badInput(`the template has no parameter "${name}"; correct --parameter. It has: ${known}`);
      }
      if (parameter?.allowed?.includes(value) === false) {
        badInput(`"${value}" is no value for the parameter ${name}; it takes: ${parameter.allowed.join(', ')}`);
      }
    }
  }

  /**
   * @returns undefined for `AWS::NoValue`, and for what is not written.
   * @throws Unresolved
   */
  value(raw: unknown): Value | undefined {
    const value = raw === undefined ? NOTHING : this.#value(raw, 0);
    return value === NOTHING ? undefined : value;
  }

  /** @throws Unresolved */
  isTrue(condition: string): boolean {
    if (!this.#template.conditions.has(condition))
      throw new Unresolved(`needs the condition ${condition}, which is not there`);
    if (this.#open.has(condition)) throw new Unresolved(`needs the condition ${condition}, which needs itself`);
    this.#open.add(condition);
    try {
      return this.#boolean(this.#template.conditions.get(condition), 0);
    } finally {
      this.#open.delete(condition);
    }
  }

  #value(raw: unknown, depth: number): Value | typeof NOTHING {
    if (depth > MAX_DEPTH) throw new Unresolved('is nested too deeply');
    if (typeof raw === 'string') return plainText(raw);
    if (raw === null || typeof raw === 'number' || typeof raw === 'boolean') return raw;
    if (Array.isArray(raw)) return raw.map((one) => this.#value(one, depth + 1)).filter((one) => one !== NOTHING);
    if (typeof raw !== 'object') throw new Unresolved(`is ${typeof raw}, which a template cannot have`);
    const [call, ...others] = Object.entries(raw);
    if (call !== undefined && others.length === 0 && isIntrinsic(call[0])) return this.#call(call[0], call[1], depth);
    const members = Object.entries(raw).map(([key, one]) => [key, this.#value(one, depth + 1)] as const);
    return Object.fromEntries(members.filter((member): member is readonly [string, Value] => member[1] !== NOTHING));
  }

  #call(name: string, argument: unknown, depth: number): Value | typeof NOTHING {
    switch (name) {
      case 'Ref':
        return this.#reference(this.#text(argument, depth));
      case 'Fn::GetAtt': {
        const path = typeof argument === 'string' ? argument.split('.') : this.#texts(argument, depth);
        const [id = '', ...attribute] = path;
        return this.#resource(id, attribute.join('.'));
      }
      case 'Fn::Sub':
        return this.#substitute(argument, depth);
      case 'Fn::Join': {
        const [separator, parts] = this.#list(argument, depth, 2);
        return this.#texts(parts, depth).join(this.#text(separator, depth));
      }
      case 'Fn::Split': {
        const [separator, text] = this.#list(argument, depth, 2);
        return this.#text(text, depth).split(this.#text(separator, depth));
      }
      case 'Fn::Select': {
        const [index, list] = this.#list(argument, depth, 2);
        const value = this.#value(list, depth + 1);
        const chosen = Array.isArray(value) ? (value as readonly Value[])[Number(this.#text(index, depth))] : undefined;
        if (chosen === undefined) throw new Unresolved('selects what is not in the list');
        return chosen;
      }
      case 'Fn::Length': {
        const value = this.#value(argument, depth + 1);
        if (!Array.isArray(value)) throw new Unresolved('counts what is no list');
        return value.length;
      }
      case 'Fn::FindInMap': {
        const [map, first, second] = this.#list(argument, depth, 3).map((one) => this.#text(one, depth));
        const found = memberOf(memberOf(memberOf(this.#template.mappings, map), first), second);
        if (found === undefined)
          throw new Unresolved(`looks for ${[map, first, second].join('.')}, which is not in Mappings`);
        return this.#value(found, depth + 1);
      }
      case 'Fn::If': {
        const [condition, yes, no] = this.#list(argument, depth, 3);
        return this.#value(this.isTrue(this.#text(condition, depth)) ? yes : no, depth + 1);
      }
      case 'Fn::Base64':
        return Buffer.from(this.#text(argument, depth)).toString('base64');
      case 'Fn::ToJsonString':
        return JSON.stringify(this.value(argument) ?? null);
      default:
        throw new Unresolved(`needs ${name}, which only AWS can tell`);
    }
  }

  #boolean(raw: unknown, depth: number): boolean {
    if (depth > MAX_DEPTH) throw new Unresolved('is nested too deeply');
    const [name = '', argument] = typeof raw === 'object' && raw !== null ? (Object.entries(raw)[0] ?? []) : [];
    const parts = (): readonly boolean[] => this.#list(argument, depth).map((one) => this.#boolean(one, depth + 1));
    switch (name) {
      case 'Condition':
        return this.isTrue(this.#text(argument, depth));
      case 'Fn::Equals': {
        const [left, right] = this.#list(argument, depth, 2).map((one) => JSON.stringify(asText(this.value(one))));
        return left === right;
      }
      case 'Fn::Not':
        return !parts().every(Boolean);
      case 'Fn::And':
        return parts().every(Boolean);
      case 'Fn::Or':
        return parts().some(Boolean);
      default:
        throw new Unresolved('needs a condition that is none');
    }
  }

  #reference(name: string): Value | typeof NOTHING {
    if (name.startsWith('AWS::')) return this.#pseudo(name);
    const parameter = this.#template.parameters.get(name);
    if (parameter === undefined) return this.#resource(name, null);
    const value = this.#given[name] ?? (parameter.type.startsWith('AWS::SSM::') ? null : parameter.fallback);
    if (value === null) throw new Unresolved(`needs the parameter ${name}; give it by --parameter ${name}=VALUE`);
    const isList = parameter.type === 'CommaDelimitedList' || parameter.type.startsWith('List<');
    return isList ? value.split(',').map((one) => one.trim()) : value;
  }

  #pseudo(name: string): Value | typeof NOTHING {
    switch (name) {
      case 'AWS::NoValue':
        return NOTHING;
      case 'AWS::Region':
        return this.#account.region;
      case 'AWS::AccountId':
        return this.#account.accountId;
      case 'AWS::Partition':
        return PARTITION;
      case 'AWS::URLSuffix':
        return URL_SUFFIX;
      case 'AWS::StackName':
        return this.#template.stack;
      default:
        throw new Unresolved(`needs ${name}, which only AWS can tell`);
    }
  }

  #resource(id: string, attribute: string | null): string {
    const given = this.#given[attribute === null ? id : `${id}.${attribute}`];
    const found = given ?? this.#lookup(id, attribute);
    if (found !== undefined) return found;
    const type = this.#template.resources.get(id)?.type;
    const name = attribute === null ? id : `${id}.${attribute}`;
    if (type === undefined) throw new Unresolved(`names ${name}, which is not in the template`);
    throw new Unresolved(`needs ${name} (${type}), which is not made here; give it by --parameter ${name}=VALUE`);
  }

  #substitute(argument: unknown, depth: number): string {
    const [text, variables] = Array.isArray(argument) ? (argument as readonly unknown[]) : [argument, {}];
    if (typeof text !== 'string') throw new Unresolved('has a Fn::Sub without a text');
    return plainText(text).replace(/\$\{(!?)([^}]*)\}/g, (_, literal: string, inner: string) => {
      if (literal !== '') return `\${${inner}}`;
      const name = inner.trim();
      const own = memberOf(variables, name);
      if (own !== undefined) return this.#text(own, depth);
      const [id = '', ...attribute] = name.split('.');
      if (attribute.length > 0 && this.#lookup(name, null) === undefined)
        return this.#resource(id, attribute.join('.'));
      return this.#text({ Ref: name }, depth);
    });
  }

  #list(argument: unknown, depth: number, length?: number): readonly unknown[] {
    const list: unknown = Array.isArray(argument) ? argument : this.#value(argument, depth + 1);
    if (!Array.isArray(list) || (length !== undefined && list.length < length)) {
      throw new Unresolved(`has an intrinsic function with too little`);
    }
    return list as readonly unknown[];
  }

  #texts(argument: unknown, depth: number): readonly string[] {
    return this.#list(this.#value(argument, depth + 1), depth).map((one) => this.#text(one, depth));
  }

  #text(argument: unknown, depth: number): string {
    const value = this.#value(argument, depth + 1);
    const text = value === NOTHING ? undefined : asText(value);
    if (typeof text !== 'string') throw new Unresolved('has a list or a map where a text is wanted');
    return text;
  }
}

function isIntrinsic(key: string): boolean {
  return key === 'Ref' || key.startsWith('Fn::');
}

/** As CloudFormation takes values: all are texts. */
export function asText(value: Value | undefined): Value | undefined {
  return typeof value === 'number' || typeof value === 'boolean' ? String(value) : value;
}

function plainText(text: string): string {
  const service = /\{\{resolve:([\w-]+)/.exec(text)?.[1];
  if (service !== undefined) throw new Unresolved(`needs a value that AWS keeps (${service})`);
  return text;
}

function memberOf(value: unknown, key: string | undefined): unknown {
  if (typeof value !== 'object' || value === null || key === undefined || !Object.hasOwn(value, key)) return undefined;
  return (value as Readonly<Record<string, unknown>>)[key];
}
