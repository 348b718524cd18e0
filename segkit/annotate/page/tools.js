// The tools: what pressing, moving and letting go mean, with the mouse, a finger, a pen, or the keyboard's cross.
import { edit, objectForEdit } from "./session.js";
import { selected, store, tell } from "./store.js";
import { port } from "./viewer.js";

/** name, label, key, whether it needs a model; in the order of the tool bar. */
export const TOOLS = [
  { name: "click", label: "Click", key: "C", needsModel: true, hint: "Left: belongs to the object. Right: does not." },
  { name: "box", label: "Box", key: "X", hint: "Drag a box. The model answers in it; without a model, or with Shift, it is filled." },
  { name: "brush", label: "Brush", key: "B", hint: "Draw. Right button: erase. [ ] change the size." },
  { name: "eraser", label: "Eraser", key: "E", hint: "Erase. [ ] change the size." },
  { name: "polygon", label: "Polygon", key: "P", hint: "A click a corner; double click or Enter on the first corner closes. With Alt it is cut out." },
  { name: "hand", label: "Hand", key: "H", hint: "Drag the image. The wheel zooms." },
];

const POINTS = 10000; // of a stroke, the most that the server takes
const CLOSE = 8; // screen pixels

export function setTool(name) {
  const tool = TOOLS.find((one) => one.name === name);
  if (tool.needsModel && !store.project.model) return;
  store.tool = name;
  store.shape = null;
  tell("tool", "draw");
}

const within = (value, most) => Math.min(Math.max(value, 0), most);
const inside = ([x, y]) => [within(x, store.image.size[1]), within(y, store.image.size[0])];
const isOver = ([x, y]) => x >= 0 && y >= 0 && x < store.image.size[1] && y < store.image.size[0];
const rounded = ([x, y]) => [Math.round(x * 100) / 100, Math.round(y * 100) / 100];
const distance = (a, b) => Math.hypot(a[0] - b[0], a[1] - b[1]);

/** What is seen of the image: the model answers on large images at this part of it. */
function view() {
  const [x0, y0] = inside(port.toImage(0, 0));
  const [x1, y1] = inside(port.toImage(port.width, port.height));
  return [x0, y0, x1, y1];
}

function click(point, isSecond) {
  if (!isOver(point)) return;
  const object = objectForEdit();
  const [x, y] = rounded(point);
  edit({ do: "click", object, x, y, positive: !isSecond, view: view() }, { kind: "click", object, add: !isSecond, points: [[x, y]] });
}

function startStroke(point, isSecond) {
  const add = store.tool === "brush" && !isSecond;
  if (!add && !selected()) return; // there is nothing to erase from
  store.shape = { kind: "brush", object: objectForEdit(), add, radius: store.settings.radius, points: [rounded(point)] };
}

function moveStroke(point) {
  const { points, radius } = store.shape;
  // nearer points than a part of the radius and of a screen pixel show nowhere
  if (distance(points.at(-1), point) < Math.max(0.5 / port.zoom, Math.min(radius / 8, 1))) return;
  points.push(rounded(point));
  if (points.length < POINTS) return;
  const isErasing = !store.shape.add;
  endStroke();
  startStroke(point, isErasing);
}

function endStroke() {
  const { object, add, radius, points } = store.shape;
  const stroke = store.shape;
  store.shape = null;
  edit({ do: "brush", object, add, radius, points }, stroke);
}

function endBox(isFilled) {
  const [a, b] = store.shape.points;
  store.shape = null;
  const [x0, x1] = [a[0], b[0]].sort((one, other) => one - other);
  const [y0, y1] = [a[1], b[1]].sort((one, other) => one - other);
  if ((x1 - x0) * port.zoom < 3 || (y1 - y0) * port.zoom < 3) return;
  const model = Boolean(store.project.model) && !isFilled;
  const object = objectForEdit();
  const stroke = { kind: model ? "asked" : "box", object, add: true, points: [[x0, y0], [x1, y1]] };
  edit({ do: "box", object, x0, y0, x1, y1, model, ...(model && { view: view() }) }, stroke);
}

function addCorner(point, isCut) {
  if (!store.shape) {
    store.shape = { kind: "polygon", points: [point] };
    return;
  }
  const [first] = store.shape.points;
  const isFirst = distance(first, point) * port.zoom < CLOSE && store.shape.points.length > 2;
  const isTwice = distance(store.shape.points.at(-1), point) * port.zoom < 2;
  if (isFirst || isTwice) closePolygon(isCut);
  else store.shape.points.push(point);
}

export function closePolygon(isCut = false) {
  if (store.shape?.kind !== "polygon" || store.shape.points.length < 3) return;
  const { points } = store.shape;
  store.shape = null;
  if (isCut && !selected()) return;
  const object = objectForEdit();
  edit({ do: "polygon", object, add: !isCut, points }, { kind: "polygon", object, add: !isCut, points });
  tell("draw");
}

/** Gives up what is being drawn; returns whether there was something. */
export function cancelShape() {
  const was = store.shape !== null;
  store.shape = null;
  tell("draw");
  return was;
}

/** Takes the last corner of a polygon back; returns whether there was one. */
export function takeCornerBack() {
  if (store.shape?.kind !== "polygon") return false;
  store.shape.points.pop();
  if (!store.shape.points.length) store.shape = null;
  tell("draw");
  return true;
}

function down(point, isSecond, keys) {
  if (store.tool === "click") click(point, isSecond);
  else if (store.tool === "box") store.shape = { kind: "box", points: [inside(rounded(point)), inside(rounded(point))] };
  else if (store.tool === "polygon") isSecond ? closePolygon(keys.altKey) : addCorner(inside(rounded(point)), keys.altKey);
  else if (store.tool !== "hand") startStroke(point, isSecond);
  tell("draw");
}

function move(point) {
  if (store.shape?.kind === "brush") moveStroke(point);
  else if (store.shape?.kind === "box") store.shape.points[1] = inside(rounded(point));
  tell("draw");
}

function up(keys) {
  if (store.shape?.kind === "brush") endStroke();
  else if (store.shape?.kind === "box") endBox(keys.shiftKey);
  tell("draw");
}

// the keyboard's cross

/** Moves the cross by screen pixels; what is out of sight is brought into sight. */
export function moveCross(dx, dy) {
  if (!store.image) return;
  const [height, width] = store.image.size;
  const start = store.cursor ?? port.toImage(port.width / 2, port.height / 2);
  const step = (value, by, most) => within(Math.floor(value + by / port.zoom) + 0.5, most - 0.5);
  store.cursor = [step(start[0], dx, width), step(start[1], dy, height)];
  const [x, y] = port.toScreen(...store.cursor);
  const edge = 24;
  port.pan(within(edge - x, Infinity) - within(x - port.width + edge, Infinity), within(edge - y, Infinity) - within(y - port.height + edge, Infinity));
  move(store.cursor);
  tell("place", "draw");
}

/** What the mouse's button does, at the cross: strokes and boxes begin with one Enter and end with the next. */
export function pressCross(keys) {
  if (!store.cursor) return moveCross(0, 0);
  const isDrawing = store.shape && store.shape.kind !== "polygon";
  if (isDrawing) up(keys);
  else down(store.cursor, keys.shiftKey && store.tool !== "box", keys);
}

// the mouse, fingers, pens

const fingers = new Map();
let drag = null;
export const held = { space: false };

/** Where an event is on the canvas, as exactly as it says; its own offsets are whole numbers. */
function placeOf(event, canvas = event.target) {
  const { left, top } = canvas.getBoundingClientRect();
  return { x: event.clientX - left, y: event.clientY - top };
}

function startDrag(event) {
  drag = { id: event.pointerId, ...placeOf(event) };
}

function pinch() {
  const [a, b] = [...fingers.values()];
  return { x: (a.x + b.x) / 2, y: (a.y + b.y) / 2, apart: Math.max(1, Math.hypot(a.x - b.x, a.y - b.y)) };
}

function pointerDown(event) {
  if (!store.image) return;
  const canvas = event.target;
  canvas.focus({ preventScroll: true });
  canvas.setPointerCapture(event.pointerId);
  store.cursor = null;
  const { x, y } = placeOf(event);
  if (event.pointerType === "touch") {
    fingers.set(event.pointerId, { x, y });
    if (fingers.size === 2) {
      cancelShape(); // the first finger's stroke was none
      drag = { ...pinch(), isPinch: true };
      return;
    }
  }
  if (event.button === 1 || store.tool === "hand" || held.space) startDrag(event);
  else if (event.button === 0 || event.button === 2) down(port.toImage(x, y), event.button === 2, event);
}

function pointerMove(event) {
  if (!store.image) return;
  const { x, y } = placeOf(event);
  if (fingers.has(event.pointerId)) fingers.set(event.pointerId, { x, y });
  if (drag?.isPinch && fingers.size === 2) {
    const now = pinch();
    port.pan(now.x - drag.x, now.y - drag.y);
    port.zoomAt(now.apart / drag.apart, now.x, now.y);
    Object.assign(drag, now);
  } else if (drag?.id === event.pointerId) {
    port.pan(x - drag.x, y - drag.y);
    startDrag(event);
  } else {
    store.pointer = port.toImage(x, y);
    store.cursor = null;
    // a fast hand makes several moves between two frames
    const all = event.getCoalescedEvents?.() ?? [];
    for (const one of all.length ? all : [event]) {
      const part = placeOf(one, event.target);
      move(port.toImage(part.x, part.y));
    }
  }
  tell("place");
}

function pointerUp(event) {
  fingers.delete(event.pointerId);
  if (drag && (drag.isPinch || drag.id === event.pointerId)) drag = null;
  else if (event.type === "pointercancel") cancelShape();
  else if (store.image) up(event);
}

function wheel(event) {
  event.preventDefault();
  if (!store.image) return;
  const lines = event.deltaMode === 1 ? 20 : 1;
  const { x, y } = placeOf(event);
  port.zoomAt(Math.exp(-event.deltaY * lines * 0.002), x, y);
  tell("place");
}

/** Listens to the pointers on a canvas. */
export function startTools(canvas) {
  canvas.addEventListener("pointerdown", pointerDown);
  canvas.addEventListener("pointermove", pointerMove);
  canvas.addEventListener("pointerup", pointerUp);
  canvas.addEventListener("pointercancel", pointerUp);
  canvas.addEventListener("pointerleave", () => {
    store.pointer = null;
    tell("place", "draw");
  });
  canvas.addEventListener("dblclick", (event) => closePolygon(event.altKey));
  canvas.addEventListener("contextmenu", (event) => event.preventDefault());
  canvas.addEventListener("wheel", wheel, { passive: false });
}
