// The image that is open: how it is read, and how edits and their answers change it.
import { Lost, Refused, get, post } from "./api.js";
import { Edits } from "./edits.js";
import { objectOf, on, say, select, store, tell } from "./store.js";
import { labels, port, showImage } from "./viewer.js";

const at = (id) => document.getElementById(id);
const plural = (count, word) => `${count} ${word}${count === 1 ? "" : "s"}`;

/** Shows a sentence that stays until it is closed; `act` runs when its button is pressed. */
export function banner(sentence, button, act) {
  at("banner-text").textContent = sentence;
  at("banner-button").textContent = button ?? "";
  at("banner-button").hidden = !button;
  at("banner-button").onclick = () => {
    at("banner").hidden = true;
    act?.();
  };
  at("banner").hidden = false;
}

function report() {
  const isOpen = (entry) => entry.image === store.image?.id;
  return {
    answered(entry, answer) {
      if (at("banner").dataset.kind === "lost") {
        at("banner").hidden = true;
        at("banner").dataset.kind = "";
      }
      tell("edits");
      if (isOpen(entry)) take(entry, answer);
    },
    refused(entry, error) {
      store.strokes = store.strokes.filter((stroke) => stroke.entry !== entry);
      banner(`Not done: ${error.message}`, "Close");
      if (isOpen(entry)) openImage(entry.image, { again: true });
    },
    conflict(image, lost) {
      if (store.image?.id !== image) return;
      at("banner").dataset.kind = "conflict";
      const sentence = `This image was changed elsewhere, in another tab or window; ${plural(lost, "edit")} of this one `;
      banner(`${sentence}${lost === 1 ? "was" : "were"} not taken.`, "Reload the image", () => openImage(image, { again: true }));
      store.strokes = [];
      tell("draw");
    },
    lost(count, isElsewhere) {
      at("banner").dataset.kind = "lost";
      const kept = `${plural(count, "edit")} ${count === 1 ? "is" : "are"} kept here and sent again.`;
      if (isElsewhere) banner(`The server has another address now: open the one that it prints. ${kept}`);
      else banner(`The server does not answer. ${kept}`);
      tell("edits");
    },
    sent: () => tell("edits"),
  };
}

export const edits = new Edits(report());

/** Takes the state that the server answers; objects that it does not know yet stay. */
function take(entry, answer) {
  const { image } = store;
  const known = (id) => (id < 0 && edits.names.has(id) ? edits.names.get(id) : id);
  const unknown = image.objects.filter((object) => object.id < 0 && !edits.names.has(object.id));
  store.selected = known(store.selected);
  store.marked = new Set([...store.marked].map(known));
  for (const stroke of store.strokes) stroke.object = known(stroke.object);
  store.image = { ...image, ...answer, objects: [...answer.objects, ...unknown] };
  if (store.selected > 0 && !objectOf(store.selected)) store.selected = null;
  store.marked = new Set([...store.marked].filter(objectOf));
  // of an edit that was sent twice it is not known what it has changed
  const area = entry.tries ? "all" : answer.changed ?? null;
  labels.change(area, answer.version, image.tile);
  for (const stroke of store.strokes) {
    if (stroke.entry === entry) Object.assign(stroke, { version: answer.version, area: area ?? [0, 0, 0, 0] });
  }
  tell("image", "objects", "selected", "draw");
}

/**
 * Opens an image.
 *
 * @param place {again} reads the one that is open anew; {x, y, zoom} is where to look.
 */
export async function openImage(id, place = {}) {
  const asked = (openImage.asked = Symbol(id));
  if (!place.again) await edits.through(id);
  let image;
  try {
    image = await get(`api/images/${id}`);
  } catch (error) {
    if (asked !== openImage.asked) return false;
    if (error instanceof Lost) banner("The server does not answer.", "Try again", () => openImage(id, place));
    else banner(`The image cannot be opened: ${error.message}`, "Close");
    return false;
  }
  if (asked !== openImage.asked) return false;
  if (store.image && store.image.id !== id) store.last = store.image.objects.length ? store.image.id : store.last;
  edits.open(id, image.version);
  store.image = image;
  store.marked = new Set();
  store.shape = store.preview = store.cursor = null;
  showImage(image);
  if (!place.again) store.placeIndex = 0;
  if (place.zoom) port.lookAt(place.x, place.y, place.zoom);
  else if (!place.again) lookAtPlace();
  showNote();
  if (!objectOf(store.selected) || !place.again) select(firstObject());
  tell("image", "objects", "selected", "draw", "place");
  return true;
}

/** Looks at the place for which the image is shown, such as a finding of an audit. */
function lookAtPlace() {
  const box = store.image.places[store.placeIndex]?.box;
  if (box) port.focus(box, 3); // what is around it says whether the label is right
}

/** Says why the image is shown, and which of its places is looked at. */
function showNote() {
  const { places } = store.image;
  const { note = "" } = places[store.placeIndex] ?? {};
  at("note-text").textContent = places.length > 1 ? `${store.placeIndex + 1} of ${places.length}: ${note}` : note;
  at("note").hidden = !at("note-text").textContent;
  at("note-previous").hidden = at("note-next").hidden = places.length < 2;
}

/** Goes to the next (1) or previous (-1) place of the image; after the last one comes the first. */
export function stepPlace(by) {
  const count = store.image?.places.length ?? 0;
  if (count < 2) return;
  store.placeIndex = (store.placeIndex + by + count) % count;
  lookAtPlace();
  showNote();
  tell("place", "draw");
}

/** In a semantic project a class is one object mostly: the one of the current class goes on. */
function firstObject() {
  const { project, image, classIndex } = store;
  if (project.kind !== "semantic") return null;
  return image.objects.find((object) => object.class === classIndex)?.id ?? null;
}

/** Sends an edit of the open image; `stroke` is what stands for it until the server's labels do. */
export function edit(content, stroke = null, number = null) {
  const entry = edits.push(store.image.id, content, number);
  if (stroke) store.strokes.push({ ...stroke, entry, version: null, area: null });
  tell("edits", "draw");
  return entry;
}

let numbers = 0;

/** Returns the selected object's id; one of the current class is made where none is selected. */
export function objectForEdit() {
  if (objectOf(store.selected)) return store.selected;
  const number = --numbers;
  const last = store.image.objects.reduce((most, object) => Math.max(most, object.look ?? object.id), 0);
  const order = store.image.objects.reduce((most, object) => Math.max(most, object.order), 0) + 1;
  store.image.objects.push({
    id: number, look: last + 1, class: store.classIndex, visible: true, order, bbox: null, area: 0, clicks: [], seconds: 0,
    source: "hand",
  });
  edit({ do: "add", class: store.classIndex }, null, number);
  store.selected = number;
  tell("objects", "selected");
  return number;
}

/** Encodes an image ahead; that this fails costs nothing. */
export async function prepare(id) {
  try {
    await post(`api/images/${id}/prepare`, {});
  } catch (error) {
    if (!(error instanceof Refused || error instanceof Lost)) throw error;
  }
}

/** Tells how many edits are on their way. */
export function startSession() {
  on("edits", () => {
    const count = edits.waiting.length;
    if (count) say(edits.isLost ? `${plural(count, "edit")} not saved yet` : "Saving …", edits.isLost);
    else say("Saved");
  });
  window.addEventListener("beforeunload", (event) => {
    if (edits.waitsFor()) event.preventDefault();
  });
}
