/**
 * Contexts of `node:vm`, and what the proposal ShadowRealm makes: each has a `Math` of its own, whose generator V8 seeds from
 * one that every VM restored from a snapshot has a copy of.
 */
import vm = require('node:vm');
import { generation } from './generation.cjs';
import { makeRandom, random32 } from './generators.cjs';
import { replaceMethod } from './replaced.cjs';

type Installer = (current: typeof generation, seed: typeof random32) => void;

/**
 * Compiled inside of the context: no object of ours can be reached from there, not even the error of a stack that overflows in
 * a function of ours. A `Math` that was put into the context from outside is left alone.
 */
function install(make: typeof makeRandom, current: () => number, seed: () => number): void {
  const math = Math;
  if (!(math.abs instanceof install.constructor)) return;
  let Overflow: RangeErrorConstructor | undefined;
  try {
    [].length = -1;
  } catch (error) {
    // Of this context, whatever the name stands for.
    Overflow = (error as RangeError).constructor as RangeErrorConstructor;
  }
  const safely = (call: () => number) => (): number => {
    try {
      return call();
    } catch {
      throw new (Overflow as RangeErrorConstructor)('Maximum call stack size exceeded');
    }
  };
  math.random = make(safely(current), safely(seed));
}

const source = `((current, seed) => {
  'use strict';
  ${install.toString()}
  install(${makeRandom.toString()}, current, seed);
})`;

const script = new vm.Script(source, { filename: 'snapfaas:contexts' });
const known = new WeakSet<object>();

/** @param run runs the script in the context. */
function giveGenerator(context: object, run: () => unknown): void {
  if (known.has(context)) return;
  known.add(context);
  try {
    (run() as Installer)(generation, random32);
  } catch {
    // What stands for the global object refuses to be asked for `Math`: the function's own doing.
  }
}

/** Each context gets a generator when it is made, or before the first script runs in it. */
export function replaceGeneratorsOfContexts(): void {
  replaceMethod(vm.Script.prototype, 'runInContext', (original, receiver, args) => {
    const [context] = args;
    // Node refuses all else.
    if (typeof context === 'object' && context !== null && vm.isContext(context)) {
      giveGenerator(context, () => original(script, [context]));
    }
    return original(receiver, args);
  });
  replaceMethod(vm, 'createContext', (original, receiver, args) => {
    const context = original(receiver, args) as vm.Context;
    giveGenerator(context, () => script.runInContext(context));
    return context;
  });
  replaceGeneratorsOfShadowRealms();
}

interface ShadowRealm {
  evaluate(source: string): unknown;
}

function replaceGeneratorsOfShadowRealms(): void {
  const scope = globalThis as { ShadowRealm?: new () => ShadowRealm };
  const original = scope.ShadowRealm;
  if (original === undefined) return;
  scope.ShadowRealm = new Proxy(original, {
    construct(target, args, newTarget) {
      const realm = Reflect.construct(target, args, newTarget) as ShadowRealm;
      (realm.evaluate(source) as Installer)(generation, random32);
      return realm;
    },
  });
}
