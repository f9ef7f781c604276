/**
 * Runs in snapctr. A doubly linked list whose elements carry their own links: adding, removing from anywhere and taking
 * the oldest cost the same few pointer writes at any length, which a Map or an array does not give.
 */

/** An element is in at most one list at a time. */
export interface ListNode<T> {
  previous: T | null;
  next: T | null;
}

export class LinkedList<T extends ListNode<T>> {
  #first: T | null = null;
  #last: T | null = null;
  #length = 0;

  get length(): number {
    return this.#length;
  }

  get first(): T | null {
    return this.#first;
  }

  get last(): T | null {
    return this.#last;
  }

  append(node: T): void {
    node.previous = this.#last;
    node.next = null;
    if (this.#last === null) this.#first = node;
    else this.#last.next = node;
    this.#last = node;
    this.#length += 1;
  }

  prepend(node: T): void {
    node.previous = null;
    node.next = this.#first;
    if (this.#first === null) this.#last = node;
    else this.#first.previous = node;
    this.#first = node;
    this.#length += 1;
  }

  /** @param next must be in this list. */
  insertBefore(node: T, next: T): void {
    if (next.previous === null) return this.prepend(node);
    node.previous = next.previous;
    node.next = next;
    next.previous.next = node;
    next.previous = node;
    this.#length += 1;
  }

  /** The node must be in this list. */
  remove(node: T): void {
    if (node.previous === null && node !== this.#first) throw new Error('the node is in no list, or in another one');
    if (node.previous === null) this.#first = node.next;
    else node.previous.next = node.next;
    if (node.next === null) this.#last = node.previous;
    else node.next.previous = node.previous;
    node.previous = null;
    node.next = null;
    this.#length -= 1;
  }

  takeFirst(): T | null {
    const first = this.#first;
    if (first !== null) this.remove(first);
    return first;
  }
}
