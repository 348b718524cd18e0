// What the page shows, in one place. Who changes something says so with `tell`, who shows it listens with `on`.

export const store = {
  project: null,
  image: null, // as of GET images/ID
  selected: null, // id of an object; negative while the server has not named a new one yet
  marked: new Set(), // objects to merge
  classIndex: 0,
  tool: "brush",
  strokes: [], // drawn here, not yet in the label tiles: {kind, object, add, points, radius, version, area}
  shape: null, // what the tool is drawing: {kind, points, ...}
  cursor: null, // [x, y] of the keyboard's cross
  pointer: null, // [x, y] of the mouse
  preview: null, // threshold under the hand
  last: null, // id of the image before this one
  placeIndex: 0, // which of the image's places is looked at
  settings: { radius: 10, opacity: 45, brightness: 100, contrast: 100, outlines: true, byObject: false },
};

const listeners = new Map();

/** Calls `listener` whenever one of `names` (divided by blanks) is told. */
export function on(names, listener) {
  for (const name of names.split(" ")) listeners.set(name, [...(listeners.get(name) ?? []), listener]);
}

/** Names: project, image, objects, selected, tool, settings, draw, place, edits. */
export function tell(...names) {
  for (const name of names) for (const listener of listeners.get(name) ?? []) listener();
}

/** Returns the object of an id, undefined where there is none. */
export function objectOf(id) {
  return store.image?.objects.find((object) => object.id === id);
}

/** Returns the selected object, undefined where none is. */
export function selected() {
  return objectOf(store.selected);
}

export function select(id) {
  store.selected = id;
  const object = selected();
  if (object) store.classIndex = object.class;
  store.preview = null;
  tell("selected", "draw");
}

/** Sentences for the one who annotates; the last one stays. */
export function say(text, isBad = false) {
  const line = document.getElementById("saved");
  line.textContent = text;
  line.classList.toggle("bad", isBad);
}
