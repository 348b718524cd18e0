// All keys, in one table: what they are called, what they do, and when they count.
import * as actions from "./actions.js";
import { stepPlace } from "./session.js";
import { select, store, tell } from "./store.js";
import { TOOLS, closePolygon, held, moveCross, pressCross, setTool } from "./tools.js";
import { port } from "./viewer.js";

const at = (id) => document.getElementById(id);
const STEP = 8; // screen pixels of an arrow key

function zoom(factor) {
  const [x, y] = store.cursor ? port.toScreen(...store.cursor) : [port.width / 2, port.height / 2];
  port.zoomAt(factor, x, y);
  tell("place");
}

function fullSize() {
  const [x, y] = store.cursor ?? port.toImage(port.width / 2, port.height / 2);
  port.lookAt(x, y, 1);
  tell("place");
}

export function fit() {
  port.fit();
  tell("place");
}

function setting(id, change) {
  const field = at(id);
  if (field.type === "checkbox") field.checked = !field.checked;
  else field.value = Number(field.value) + change(Number(field.value));
  field.dispatchEvent(new Event("input", { bubbles: true }));
}

const radius = (sign) => () => setting("radius", (value) => sign * Math.max(1, Math.round(value / 8)));

function threshold(change) {
  const field = at("threshold");
  if (at("threshold-row").hidden) return;
  setting("threshold", () => change);
  actions.applyThreshold(Number(field.value));
}

let kept = 45; // opacity, while the labels are hidden

function toggleLabels() {
  const { opacity } = store.settings;
  if (opacity) kept = opacity;
  setting("opacity", () => (opacity ? -opacity : kept));
}

function arrow(event) {
  const [dx, dy] = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
  if (event.ctrlKey || event.metaKey) {
    port.pan(-64 * dx, -64 * dy);
    return tell("place");
  }
  const step = event.shiftKey ? port.zoom : Math.max(STEP, port.zoom);
  moveCross(dx * step, dy * step);
}

/** [group, [[shown keys, what they do, matching keys, act, options], ...]]; options: canvas = only on the image. */
export const KEYS = [
  ["Image after image", [
    ["D, Page Down", "Next image", ["d", "PageDown"], () => actions.go(1)],
    ["A, Page Up", "Previous image", ["a", "PageUp"], () => actions.go(-1)],
    ["Y", "Done (accept), next image", ["y"], () => actions.decide("done")],
    ["R", "Reject, next image", ["r"], () => actions.decide("rejected")],
    ["K", "Correct: start on the first object", ["k"], () => actions.correct()],
    ["I", "Copy the objects of the last image", ["i"], () => actions.copyLast()],
    ["<  >", "Previous, next place of the image that an audit has found", ["<"], () => stepPlace(-1)],
    [null, null, [">"], () => stepPlace(1)],
    ["/", "Search in the list of images", ["/"], () => at("search").focus()],
    ["W", "Write masks, objects and the log now", ["w"], () => actions.writeOutputs()],
  ]],
  ["Tools", [
    ...TOOLS.map(({ name, label, key }) => [key, label, [key.toLowerCase()], () => setTool(name)]),
    ["[  ]", "Smaller, larger brush", ["["], radius(-1)],
    [null, null, ["]"], radius(1)],
    ["{  }", "Lower, higher threshold of the model's answer", ["{"], () => threshold(-0.05)],
    [null, null, ["}"], () => threshold(0.05)],
  ]],
  ["On the image", [
    ["Arrows", "Move the cross; with Shift by one pixel, with Ctrl move the image",
      ["ArrowLeft", "ArrowRight", "ArrowUp", "ArrowDown"], arrow, { canvas: true, any: true }],
    ["Enter", "The tool at the cross; strokes and boxes: Enter begins, Enter ends; with Shift the right button",
      ["Enter"], pressCross, { canvas: true, any: true }],
    ["Q", "Close the polygon", ["q"], () => closePolygon()],
    ["Esc", "Leave what is begun; then the selection", ["Escape"], () => leave()],
    ["+  -", "Zoom", ["+", "="], () => zoom(1.25)],
    [null, null, ["-"], () => zoom(0.8)],
    ["F", "Whole image", ["f"], fit],
    ["Z", "Full size, 100 %", ["z"], fullSize],
    ["Space + drag", "Move the image", [], null],
    ["T", "Hide and show the labels", ["t"], toggleLabels],
    ["O", "Outlines", ["o"], () => setting("outlines")],
  ]],
  ["Objects and classes", [
    ["1 to 9", "Class of what is drawn next", [], null],
    ["Shift + 1 to 9", "Class of the selected object", [], null],
    ["N", "New object", ["n"], () => actions.newObject()],
    [",  .", "Object above, below", [","], () => actions.step(-1)],
    [null, null, ["."], () => actions.step(1)],
    ["Alt + up, down", "Move the object up, down in the order", [], null],
    ["V", "Hide and show the object", ["v"], () => actions.toggleVisible()],
    ["Space", "In the list: mark an object to merge", [], null],
    ["M", "Merge the marked objects into the selected one", ["m"], () => actions.merge()],
    ["G", "Split into its separate parts", ["g"], () => actions.split()],
    ["L", "Fill holes", ["l"], () => actions.fillHoles()],
    ["U", "Smooth the outline", ["u"], () => actions.smooth()],
    ["Delete", "Delete the object", ["Delete", "Backspace"], () => actions.remove()],
    ["Ctrl + Z", "Undo", [], null],
    ["Ctrl + Shift + Z, Ctrl + Y", "Redo", [], null],
    ["?", "These keys", ["?"], showHelp],
  ]],
];

function leave() {
  if (document.activeElement !== at("marks")) at("marks").focus();
  else actions.leave();
}

export function showHelp() {
  at("help").showModal();
}

function withControl(event) {
  const key = event.key.toLowerCase();
  if (key === "z") return event.shiftKey ? actions.redo : actions.undo;
  return key === "y" ? actions.redo : null;
}

function digit(event) {
  const found = /^(?:Digit|Numpad)([1-9])$/.exec(event.code);
  if (!found || event.ctrlKey || event.metaKey || event.altKey) return null;
  const index = Number(found[1]) - 1;
  return () => (event.shiftKey ? actions.giveClass(index) : actions.chooseClass(index));
}

function plain(event, isOnImage) {
  const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
  for (const [, rows] of KEYS) {
    for (const [, , keys, act, { canvas = false, any = false } = {}] of rows) {
      if (!keys.includes(key) || (canvas && !isOnImage)) continue;
      // arrows on a slider and Enter on a button are theirs
      if (!any && (event.ctrlKey || event.metaKey || event.altKey)) continue;
      return () => act(event);
    }
  }
  return null;
}

function onKey(event) {
  if (at("help").open || event.isComposing || !store.project) return;
  const field = event.target;
  const isText = field.matches("input:not([type=range], [type=checkbox], [type=radio]), textarea");
  if (isText) {
    if (event.key === "Escape" || event.key === "Enter") at("marks").focus();
    return;
  }
  const isOnImage = field === at("marks");
  if (event.key === " " && isOnImage) {
    held.space = true;
    return event.preventDefault();
  }
  // letters choose in a list of choices, pages turn in a list
  if (field.matches("select") && event.key.length === 1) return;
  if (field.matches("input[type=range]") && /^Page/.test(event.key)) return;
  let act;
  if ((event.ctrlKey || event.metaKey) && !event.key.startsWith("Arrow")) act = withControl(event);
  else if (event.altKey && (event.key === "ArrowUp" || event.key === "ArrowDown")) {
    act = () => actions.reorder(event.key === "ArrowUp" ? -1 : 1);
  } else act = digit(event) ?? plain(event, isOnImage);
  if (!act) return;
  event.preventDefault();
  act();
}

/** Listens to the keys, and writes the dialog that lists them. */
export function startKeys() {
  document.addEventListener("keydown", onKey);
  document.addEventListener("keyup", (event) => {
    if (event.key === " ") held.space = false;
  });
  window.addEventListener("blur", () => (held.space = false));
  for (const [title, rows] of KEYS) {
    const group = document.createElement("section");
    const head = document.createElement("h3");
    head.textContent = title;
    const list = document.createElement("dl");
    for (const [keys, does] of rows) {
      if (keys === null) continue;
      const term = document.createElement("dt");
      const name = document.createElement("kbd");
      name.textContent = keys;
      term.append(name);
      const text = document.createElement("dd");
      text.textContent = does;
      list.append(term, text);
    }
    group.append(head, list);
    at("help-keys").append(group);
  }
}

/** Arrows in the list of objects select, Space marks. */
export function keysOfObjects(event) {
  if (event.altKey) return;
  const steps = { ArrowUp: -1, ArrowDown: 1 };
  if (event.key in steps) actions.step(steps[event.key]);
  else if (event.key === " " && store.selected !== null) actions.mark(store.selected);
  else if (event.key === "Home" || event.key === "End") select(actions.ordered().at(event.key === "Home" ? 0 : -1)?.id ?? null);
  else return;
  event.preventDefault();
  event.stopPropagation();
}
