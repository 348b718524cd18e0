// Requests to the server that has sent this page. All addresses are relative to it, so that its token stays in them.

/** The server has answered with a sentence. */
export class Refused extends Error {
  constructor(status, sentence, body) {
    super(sentence);
    this.status = status;
    this.body = body;
  }
}

/** No answer: the server or the way to it is gone, and may come back. */
export class Lost extends Error {}

async function request(path, options) {
  let response;
  try {
    response = await fetch(path, options);
  } catch {
    throw new Lost("the server does not answer");
  }
  if (response.ok) return response;
  const body = await response.json().catch(() => ({}));
  throw new Refused(response.status, body.error ?? `the server answered ${response.status}`, body);
}

async function body(response, read) {
  try {
    return await response[read]();
  } catch {
    throw new Lost("the answer was cut off");
  }
}

/** Returns the JSON that a GET gives. */
export async function get(path) {
  return body(await request(path, { cache: "no-store" }), "json");
}

/** Returns the JSON that a POST of `content` gives. */
export async function post(path, content) {
  const headers = { "Content-Type": "application/json" };
  return body(await request(path, { method: "POST", headers, body: JSON.stringify(content) }), "json");
}

/** Returns an image whose values are those of the file: no profile, no alpha, nothing is converted. */
export async function bitmap(path) {
  const blob = await body(await request(path), "blob");
  return createImageBitmap(blob, { premultiplyAlpha: "none", colorSpaceConversion: "none" });
}
