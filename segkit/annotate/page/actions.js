// What buttons and keys do with the open image and its objects.
import { Lost, Refused, get, post } from "./api.js";
import { banner, edit, edits, openImage, prepare } from "./session.js";
import { objectOf, say, select, selected, store, tell } from "./store.js";
import { cancelShape, takeCornerBack } from "./tools.js";
import { images } from "./images.js";

/** Runs what asks the server; a failure becomes a sentence. */
async function asked(action) {
  try {
    await action();
  } catch (error) {
    if (!(error instanceof Lost || error instanceof Refused)) throw error;
    banner(`Not done: ${error.message}`, "Close");
  }
}

export const undo = () => {
  if (takeCornerBack()) return;
  if (store.image && (store.image.can_undo || edits.waitsFor(store.image.id))) edit({ do: "undo" });
};

export const redo = () => store.image?.can_redo && edit({ do: "redo" });

/** The next stroke or click makes a new object. */
export function newObject() {
  select(null);
  say("The next click or stroke makes a new object.");
}

/** Leaves what is begun, step by step: a shape, a preview, the selection. */
export function leave() {
  if (cancelShape()) return;
  if (store.marked.size) {
    store.marked.clear();
    tell("objects");
  } else select(null);
}

function withSelected(act) {
  return () => {
    const object = selected();
    if (object) act(object);
  };
}

export const remove = withSelected((object) => {
  const { objects } = store.image;
  const index = objects.indexOf(object);
  const left = objects.filter((one) => one !== object);
  edit({ do: "delete", object: object.id });
  select(left.length ? left[Math.min(index, left.length - 1)].id : null);
});

export const split = withSelected((object) => edit({ do: "split", object: object.id }));
export const fillHoles = withSelected((object) => edit({ do: "holes", object: object.id }));
export const smooth = withSelected((object) => edit({ do: "smooth", object: object.id, radius: 2 }));
export const toggleVisible = withSelected((object) => setVisible(object, !object.visible));

export function setVisible(object, visible) {
  edit({ do: "visible", object: object.id, visible });
}

/** The marked objects become a part of the selected one. */
export function merge() {
  const object = selected();
  const others = [...store.marked].filter((id) => id !== object?.id && objectOf(id));
  if (!object || !others.length) return say("Mark what to merge first: Space or Shift+click in the list of objects.", true);
  store.marked.clear();
  edit({ do: "merge", objects: [object.id, ...others] });
}

export function mark(id) {
  if (!store.marked.delete(id)) store.marked.add(id);
  tell("objects");
}

/** Objects from the uppermost to the lowest, as the list shows them. */
export function ordered() {
  return [...(store.image?.objects ?? [])].sort((a, b) => b.order - a.order || b.id - a.id);
}

/** Selects the object above (-1) or below (1) in the list. */
export function step(by) {
  const list = ordered();
  if (!list.length) return;
  const index = list.findIndex((object) => object.id === store.selected);
  select(list[index < 0 ? 0 : (index + by + list.length) % list.length].id);
}

/** Moves an object above (-1) or below (1) its neighbor in the list. */
export function reorder(by) {
  const list = ordered();
  const index = list.findIndex((object) => object.id === store.selected);
  const other = list[index + by];
  if (index >= 0 && other) placeAt(list[index], other);
}

/** Gives an object the place of another one in the order. */
export function placeAt(object, other) {
  if (object !== other) edit({ do: "order", object: object.id, order: other.order });
}

/** Makes a class the one of what is drawn next; in a semantic project its object goes on. */
export function chooseClass(index) {
  if (index >= store.project.classes.length) return;
  store.classIndex = index;
  const object = selected();
  if (store.project.kind === "semantic") {
    const own = ordered().find((one) => one.class === index);
    store.selected = own?.id ?? null;
  } else if (object && object.class !== index) store.selected = null;
  store.preview = null;
  tell("objects", "selected", "draw");
}

/** Gives the selected object another class. */
export function giveClass(index) {
  const object = selected();
  if (!object || index >= store.project.classes.length || object.class === index) return;
  store.classIndex = index;
  edit({ do: "class", object: object.id, class: index });
}

export function copyLast() {
  if (!store.image) return;
  if (!store.last || store.last === store.image.id) return say("No other image with objects was open before this one.", true);
  edit({ do: "copy", from: store.last });
}

/** Applies the threshold under the hand. */
export function applyThreshold(value) {
  const object = selected();
  if (!object) return;
  edit({ do: "threshold", object: object.id, value }, { kind: "asked", object: object.id, add: true, points: [] });
  store.preview = null;
  object.threshold = value;
  tell("selected", "draw");
}

// image after image

async function open(row) {
  if (!row) return say("There is no further image in the list.");
  if (!(await openImage(row.id))) return;
  const next = await images.neighbor(row.id, 1);
  if (next) prepare(next.id);
}

export const goTo = (row) => asked(() => open(row));
export const go = (by) => asked(async () => open(await images.neighbor(store.image?.id, by)));

let isDeciding = false;

/** Sets the state of the image and goes on to the next one; until that one is seen, further decisions do not count. */
export function decide(state) {
  return asked(async () => {
    if (!store.image || isDeciding) return;
    isDeciding = true;
    try {
      const next = await images.neighbor(store.image.id, 1);
      edit({ do: "state", state });
      images.setState(store.image.id, state);
      if (next) await open(next);
      else say("That was the last image of the list.");
    } finally {
      isDeciding = false;
    }
  });
}

/** A draft is taken up to be corrected by hand. */
export function correct() {
  if (!store.image) return;
  edit({ do: "state", state: "started" });
  if (!selected()) step(1);
  document.getElementById("marks").focus();
}

export const writeOutputs = () => asked(async () => {
  await edits.through();
  const { images: count, objects, folder } = await post("api/outputs", {});
  say(`Written: ${count} image${count === 1 ? "" : "s"}, ${objects} object${objects === 1 ? "" : "s"} to ${folder}`);
});

export const setInitial = (initial) => asked(() => post("api/project", { initial }));

export async function readProject() {
  store.project = await get("api/project");
}
