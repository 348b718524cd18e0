// What is drawn over the labels: strokes that the server has not answered yet, clicks, the tool's shape, the cross.
import { lookOf } from "./colors.js";
import { objectOf, selected, store } from "./store.js";

/** Draws a stroke of the layer of labels, in image pixels; one that erases cuts it out. */
export function drawStroke(context, stroke) {
  const object = objectOf(stroke.object);
  const { color } = object ? lookOf(object) : { color: store.project.classes[store.classIndex]?.color ?? "#888888" };
  context.save();
  context.globalCompositeOperation = stroke.add ? "source-over" : "destination-out";
  context.fillStyle = context.strokeStyle = color;
  context.lineCap = context.lineJoin = "round";
  context.lineWidth = 2 * (stroke.radius ?? 0);
  context.beginPath();
  const [first, ...others] = stroke.points;
  if (stroke.kind === "brush") {
    context.moveTo(...first);
    for (const point of others.length ? others : [first]) context.lineTo(...point);
    context.stroke();
  } else if (stroke.kind === "polygon") {
    context.moveTo(...first);
    for (const point of others) context.lineTo(...point);
    context.fill();
  } else if (stroke.kind === "box") {
    const [x1, y1] = others[0];
    context.fillRect(first[0], first[1], x1 - first[0], y1 - first[1]);
  }
  context.restore();
}

/** Strokes an outline: the selected object's in black and white dashes, the others' in their color. */
export function strokeOutline(context, path, color, isSelected, ratio) {
  context.lineJoin = "round";
  context.setLineDash([]);
  context.strokeStyle = isSelected ? "#000" : "rgb(0 0 0 / 55%)";
  context.lineWidth = 3 * ratio;
  context.stroke(path);
  if (isSelected) context.setLineDash([6 * ratio, 5 * ratio]);
  context.strokeStyle = isSelected ? "#fff" : color;
  context.lineWidth = (isSelected ? 2 : 1.25) * ratio;
  context.stroke(path);
  context.setLineDash([]);
}

/** Draws the clicks of the selected object: a plus on a disc, or a minus on a square. */
export function drawClicks(context, port) {
  const object = selected();
  const waiting = store.strokes.filter((stroke) => stroke.kind === "click" && stroke.object === store.selected);
  const clicks = [...(object?.clicks ?? []), ...waiting.map(({ points: [[x, y]], add }) => ({ x, y, positive: add, waits: true }))];
  for (const { x, y, positive, waits } of clicks) {
    const [sx, sy] = port.toScreen(x, y);
    context.globalAlpha = waits ? 0.6 : 1;
    context.fillStyle = positive ? "#fff" : "#000";
    context.strokeStyle = positive ? "#000" : "#fff";
    context.lineWidth = 1.5;
    context.beginPath();
    if (positive) context.arc(sx, sy, 6, 0, 2 * Math.PI);
    else context.rect(sx - 5.5, sy - 5.5, 11, 11);
    context.fill();
    context.stroke();
    context.beginPath();
    context.moveTo(sx - 3, sy);
    context.lineTo(sx + 3, sy);
    if (positive) {
      context.moveTo(sx, sy - 3);
      context.lineTo(sx, sy + 3);
    }
    context.stroke();
    context.globalAlpha = 1;
  }
}

function twice(context, color) {
  context.strokeStyle = "rgb(0 0 0 / 70%)";
  context.lineWidth = 3;
  context.stroke();
  context.strokeStyle = color;
  context.lineWidth = 1.25;
  context.stroke();
}

/** Draws the box or the polygon under the hand. */
export function drawShape(context, port) {
  const { kind, points } = store.shape;
  if (kind === "brush") return;
  const places = points.map(([x, y]) => port.toScreen(x, y));
  context.beginPath();
  if (kind === "box") {
    const [[x0, y0], [x1, y1]] = places;
    context.rect(x0, y0, x1 - x0, y1 - y0);
  } else {
    context.moveTo(...places[0]);
    for (const place of places.slice(1)) context.lineTo(...place);
    const end = store.cursor ?? store.pointer;
    if (end) context.lineTo(...port.toScreen(...end));
  }
  twice(context, "#fff");
  if (kind !== "polygon") return;
  places.forEach(([x, y], number) => {
    context.beginPath();
    context.arc(x, y, number ? 3 : 5, 0, 2 * Math.PI);
    twice(context, "#fff");
  });
}

/** Draws the frames of what the image is shown for, such as findings of an audit; that of the current one is dashed. */
export function drawPlaces(context, port) {
  store.image.places.forEach(({ box }, index) => {
    if (!box) return;
    const [left, top] = port.toScreen(box[0], box[1]);
    const [right, bottom] = port.toScreen(box[2], box[3]);
    context.beginPath();
    context.rect(left, top, right - left, bottom - top);
    context.setLineDash(index === store.placeIndex ? [6, 4] : [1, 5]);
    twice(context, "#fff");
    context.setLineDash([]);
  });
}

/** Draws the ring of the brush, and the cross that the arrow keys move. */
export function drawCross(context, port) {
  const place = store.cursor ?? store.pointer;
  if (!place) return;
  const [x, y] = port.toScreen(...place);
  if (store.tool === "brush" || store.tool === "eraser") {
    context.beginPath();
    context.arc(x, y, Math.max(1, store.settings.radius * port.zoom), 0, 2 * Math.PI);
    context.setLineDash(store.tool === "eraser" ? [4, 3] : []);
    twice(context, "#fff");
    context.setLineDash([]);
  }
  if (!store.cursor) return;
  context.beginPath();
  for (const [dx, dy] of [[1, 0], [-1, 0], [0, 1], [0, -1]]) {
    context.moveTo(x + 4 * dx, y + 4 * dy);
    context.lineTo(x + 16 * dx, y + 16 * dy);
  }
  twice(context, "#fff");
}
