// A thin layer over the bindings that componentize-js makes: errors in the contract's words.

import { log } from 'tenon:plugin/host@0.1.0';

/** An error of the contract: what is thrown here reaches the caller as it is. */
class PluginError extends Error {
  constructor(tag, message) {
    super(message);
    this.payload = { tag, val: message };
  }
}

/** A value that the caller should not have given: `throw invalid('…')`. */
export const invalid = (message) => new PluginError('invalid-argument', message);

/** Anything that is not the caller's fault. */
export const failed = (message) => new PluginError('failed', message);

/**
 * The class with every method answering for its exceptions.
 *
 * An exception that nobody catches would end the instance, and its stack would be lost: a plugin has no
 * console. With this the stack goes to the host's log and the caller gets the exception's text. Errors
 * of the contract, the host's own included, pass through as they are.
 */
export function answering(type) {
  for (const holder of [type, type.prototype]) {
    for (const name of Object.getOwnPropertyNames(holder)) {
      const property = Object.getOwnPropertyDescriptor(holder, name);
      if (name !== 'constructor' && typeof property.value === 'function' && property.writable) {
        property.value = guarded(property.value);
        Object.defineProperty(holder, name, property);
      }
    }
  }
  return type;
}

function guarded(method) {
  return function (...values) {
    try {
      return method.apply(this, values);
    } catch (error) {
      if (error && typeof error === 'object' && 'payload' in error) throw error;
      log('error', `${error}\n${error?.stack ?? ''}`);
      throw failed(String(error));
    }
  };
}

/** The answer to `describe`, from the content of a `plugin.json`. */
export function description(said) {
  return {
    name: said.name,
    version: said.version,
    kind: said.kind,
    summary: said.summary,
    configSchema: JSON.stringify(said.config_schema),
    capabilities: said.capabilities,
  };
}
