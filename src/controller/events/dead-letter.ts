/**
 * Runs in snapctr. What the target of a function's DeadLetterConfig gets of an event that failed for good: the event itself, and
 * beside it the three attributes of AWS's message, where the target has a place for them.
 */
import { failurePayload } from '../gateway/lambda/failures.ts';
import type { DeadLetterAttributes } from './event-store.ts';
import type { Ending } from './invocation-record.ts';

/** As on AWS. */
const MAX_MESSAGE_BYTES = 1024;
/** An invocation that a function failed is answered with this status as well. */
const FUNCTION_FAILED = 200;
/** It grew too old before there was room for it. */
const NO_ROOM = 429;

/** @param reason why it failed, where the function did not say it. */
export function deadLetterAttributes(id: string, ending: Ending, reason: string): DeadLetterAttributes {
  return {
    RequestID: id,
    ErrorCode: ending.tries > 0 ? FUNCTION_FAILED : NO_ROOM,
    ErrorMessage: cut(messageOf(id, ending) ?? reason),
  };
}

/** For a target that takes lines of JSON: the event is in it byte for byte. */
export function deadLetterLine(attributes: DeadLetterAttributes, payload: Buffer): Buffer {
  const head = JSON.stringify(attributes).slice(0, -1);
  return Buffer.concat([Buffer.from(`${head},"Payload":`), payload, Buffer.from('}')]);
}

/** What no header can carry is percent-encoded, as in a URL, and so is the percent sign. */
export function deadLetterHeaders({
  RequestID,
  ErrorCode,
  ErrorMessage,
}: DeadLetterAttributes): Record<string, string> {
  const message = ErrorMessage.replace(/[^ -~]+|%/gu, (part) => encodeURIComponent(part));
  return { RequestID, ErrorCode: String(ErrorCode), ErrorMessage: message };
}

/** As the caller of the function would be told. @returns null: there was no answer, or it has no message. */
function messageOf(id: string, { outcome, version }: Ending): string | null {
  if (outcome?.status !== 'error' || version === null) return null;
  try {
    const { errorMessage } = JSON.parse(failurePayload(outcome, version, id)) as { readonly errorMessage?: unknown };
    return typeof errorMessage === 'string' ? errorMessage : null;
  } catch {
    // A program that asks for its events itself may post what it likes.
    return null;
  }
}

/** Half a character at the end goes as well, and half a pair becomes the sign for it: what is left can be encoded. */
function cut(text: string): string {
  const bytes = Buffer.from(text.slice(0, MAX_MESSAGE_BYTES));
  if (bytes.length <= MAX_MESSAGE_BYTES) return bytes.toString('utf8');
  let end = MAX_MESSAGE_BYTES;
  while (isContinuation(bytes[end])) end -= 1;
  return bytes.toString('utf8', 0, end);
}

function isContinuation(byte: number | undefined): boolean {
  return byte !== undefined && (byte & 0xc0) === 0x80;
}
