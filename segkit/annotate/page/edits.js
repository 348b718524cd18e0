// Edits on their way to the server: one after the other, in the order in which they were made, each until the server
// has answered. An edit is kept while the server does not answer and is sent again under its key, by which the server
// knows one that it had taken already.
import { Lost, Refused, get, post } from "./api.js";

const WAITS = [500, 1000, 2000, 4000]; // milliseconds between tries

const pause = (time) => new Promise((done) => setTimeout(done, time));

function newKey() {
  const bytes = crypto.getRandomValues(new Uint8Array(8));
  return [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}

export class Edits {
  /**
   * @param report an object with answered(entry, answer), refused(entry, error), conflict(image, lost),
   *   lost(count, isElsewhere) and sent(), which is called when nothing waits any more.
   */
  constructor(report) {
    this.report = report;
    this.waiting = [];
    this.versions = new Map(); // of each image, as the server has said last
    this.names = new Map(); // our number of a new object -> the server's
    this.clock = null; // when the last edit was made
    this.isSending = false;
    this.isLost = false;
    this.isElsewhere = false; // another server answers, at another address
  }

  /** Starts the time that the next edit of the image takes, at its version. */
  open(image, version) {
    this.versions.set(image, version);
    this.clock = performance.now();
  }

  /** Whether edits of an image (of any, without one) wait. */
  waitsFor(image) {
    return this.waiting.some((entry) => image === undefined || entry.image === image);
  }

  /** Queues an edit and returns its entry; `number` is our (negative) number of the object that an "add" makes. */
  push(image, edit, number = null) {
    const now = performance.now();
    const seconds = Math.round((now - (this.clock ?? now)) / 10) / 100;
    this.clock = now;
    const entry = { image, edit, seconds, number, key: newKey(), tries: 0 };
    this.waiting.push(entry);
    if (this.isLost) this.report.lost(this.waiting.length, this.isElsewhere);
    this.pump();
    return entry;
  }

  /** Resolves when the edits of an image are through. */
  async through(image) {
    while (this.waitsFor(image)) await pause(20);
  }

  /** Forgets the edits of an image that another tab has changed; returns how many. */
  drop(image) {
    const count = this.waiting.filter((entry) => entry.image === image).length;
    this.waiting = this.waiting.filter((entry) => entry.image !== image);
    return count;
  }

  async pump() {
    if (this.isSending) return;
    this.isSending = true;
    while (this.waiting.length) {
      const entry = this.waiting[0];
      try {
        this.finish(entry, await this.send(entry));
      } catch (error) {
        if (error instanceof Lost) await this.wait(entry);
        else if (error instanceof Refused && error.status === 409) this.report.conflict(entry.image, this.drop(entry.image));
        else if (error instanceof Refused && error.status === 404 && !(await this.isHere())) await this.wait(entry, true);
        else this.refuse(entry, error);
      }
    }
    this.isSending = false;
    this.report.sent();
  }

  send(entry) {
    const version = this.versions.get(entry.image);
    return post(`api/images/${entry.image}/edits`, {
      version, edit: this.named(entry.edit), seconds: entry.seconds, key: entry.key,
    });
  }

  /** The edit with the server's numbers of objects that were new when it was made. */
  named(edit) {
    const name = (number) => this.names.get(number) ?? number;
    const named = { ...edit };
    if ("object" in edit) named.object = name(edit.object);
    if ("objects" in edit) named.objects = edit.objects.map(name);
    return named;
  }

  finish(entry, answer) {
    this.waiting.shift();
    this.isLost = false;
    this.versions.set(entry.image, answer.version);
    if (entry.number !== null) this.names.set(entry.number, answer.object);
    this.report.answered(entry, answer);
  }

  /** An edit that the server refuses goes, and so do those of an object that is not made. */
  refuse(entry, error) {
    const needs = (other) => entry.number !== null && other.edit.object === entry.number;
    this.waiting = this.waiting.filter((other) => other !== entry && !needs(other));
    this.report.refused(entry, error);
  }

  async wait(entry, isElsewhere = false) {
    this.isLost = true;
    this.isElsewhere = isElsewhere;
    this.report.lost(this.waiting.length, isElsewhere);
    await pause(WAITS[Math.min(entry.tries++, WAITS.length - 1)]);
  }

  /** Whether the server knows this page's token; another one has taken its place where it does not. */
  async isHere() {
    try {
      await get("api/project");
      return true;
    } catch {
      return false;
    }
  }
}
