// Draws the image, its labels, and what is under way, on two canvases that lie over each other.
import { channels, lookOf, looks } from "./colors.js";
import { drawClicks, drawCross, drawPlaces, drawShape, drawStroke, strokeOutline } from "./marks.js";
import { ImageTiles, LabelTiles, ProbabilityTiles } from "./tiles.js";
import { on, selected, store, tell } from "./store.js";
import { Viewport } from "./viewport.js";

const at = (id) => document.getElementById(id);
export const port = new Viewport();
export let labels = null;
let photos = null;
let probabilities = null; // {object, version, tiles}
let isAsked = false;

/** Takes the tiles of another image, or those of the same one as another tab has made them. */
export function showImage(image) {
  const where = (kind, query) => (level, column, row, version) =>
    `api/images/${image.id}/${kind}/${level}/${column}/${row}${query(version)}`;
  if (photos?.image !== image.id) {
    photos = new ImageTiles(where("tile", () => ""));
    photos.image = image.id;
    port.size = image.size;
    resize();
    port.fit();
  }
  labels = new LabelTiles(where("labels", (version) => `?v=${version}`));
  labels.version = image.version;
  probabilities = null;
  store.strokes = [];
}

function probabilitiesOf(object) {
  const { id, version } = store.image;
  if (probabilities?.object !== object.id || probabilities.version !== version) {
    const path = (level, column, row) =>
      `api/images/${id}/probability/${level}/${column}/${row}?v=${version}&object=${object.id}`;
    const refused = () => {
      object.threshold = null; // an answer of an earlier start of the server is not there any more
      store.preview = null;
      tell("selected", "draw");
    };
    probabilities = { object: object.id, version, tiles: new ProbabilityTiles(path, refused) };
  }
  return probabilities.tiles;
}

function resize() {
  const { clientWidth: width, clientHeight: height } = at("view");
  const ratio = window.devicePixelRatio;
  for (const canvas of [at("photo"), at("marks")]) {
    if (canvas.width === Math.round(width * ratio) && canvas.height === Math.round(height * ratio)) continue;
    canvas.width = Math.round(width * ratio);
    canvas.height = Math.round(height * ratio);
  }
  const wasFitting = Math.abs(port.zoom - port.fitting) < 1e-6;
  port.width = Math.max(1, width);
  port.height = Math.max(1, height);
  if (wasFitting && store.image) port.fit();
}

/** Draws before the next frame, once for all who ask. */
export function redraw() {
  if (isAsked) return;
  isAsked = true;
  requestAnimationFrame(() => {
    isAsked = false;
    if (store.image && port.width > 1) draw();
  });
}

/** Draws a tile; its edges lie on pixels of the screen, so that no seam shows between two. */
function place(context, tile, content, ratio) {
  const step = store.image.tile * 2 ** tile.level;
  const [height, width] = store.image.size;
  const edges = [
    tile.column * step, tile.row * step,
    Math.min(width, (tile.column + 1) * step), Math.min(height, (tile.row + 1) * step),
  ];
  const [left, top] = port.toScreen(edges[0], edges[1]).map((value) => Math.round(value * ratio));
  const [right, bottom] = port.toScreen(edges[2], edges[3]).map((value) => Math.round(value * ratio));
  // the last column of a coarse level reaches over the border by a part of a pixel
  const scale = 2 ** tile.level;
  const taken = [(edges[2] - edges[0]) / scale, (edges[3] - edges[1]) / scale];
  context.drawImage(content, 0, 0, ...taken, left, top, right - left, bottom - top);
}

function drawPhoto(level, inSight, ratio) {
  const context = at("photo").getContext("2d");
  const { width, height } = context.canvas;
  context.clearRect(0, 0, width, height);
  context.imageSmoothingEnabled = port.zoom * ratio < 1;
  const { levels, tile } = store.image;
  const coarse = levels - 1;
  // what is not there yet shows the coarsest level
  if (level !== coarse && inSight.some(([column, row]) => !photos.get(level, column, row).bitmap)) {
    for (const [column, row] of port.tiles(coarse, tile)) {
      const content = photos.get(coarse, column, row);
      if (content.bitmap) place(context, content, content.bitmap, ratio);
    }
  }
  for (const [column, row] of inSight) {
    const content = photos.get(level, column, row);
    if (content.bitmap) place(context, content, content.bitmap, ratio);
  }
}

function drawLabels(context, level, inSight, ratio) {
  const object = selected();
  const isPreviewed = store.preview !== null && object;
  const list = looks(isPreviewed ? object.id : null);
  const key = JSON.stringify(list);
  context.imageSmoothingEnabled = false;
  const tiles = inSight.map(([column, row]) => labels.get(level, column, row)).filter((tile) => tile.ids);
  for (const tile of tiles) place(context, tile, labels.painted(tile, list, key), ratio);
  if (isPreviewed) {
    const color = channels(lookOf(object).color);
    for (const [column, row] of inSight) {
      const own = probabilitiesOf(object);
      const tile = own.get(level, column, row);
      if (tile.levels) place(context, tile, own.painted(tile, color, store.preview), ratio);
    }
  }
  return isPreviewed ? [] : tiles;
}

function drawOutlines(context, tiles, ratio) {
  for (const tile of tiles) {
    const scale = 2 ** tile.level;
    const step = store.image.tile * scale;
    const [left, top] = port.toScreen(tile.column * step, tile.row * step).map((value) => Math.round(value * ratio));
    const zoom = port.zoom * ratio * scale;
    for (const [id, path] of labels.outlines(tile)) {
      const object = store.image.objects.find((one) => one.id === id);
      if (!object) continue;
      const placed = new Path2D();
      placed.addPath(path, new DOMMatrix([zoom, 0, 0, zoom, left, top]));
      strokeOutline(context, placed, lookOf(object).color, id === store.selected, ratio);
    }
  }
}

const layer = document.createElement("canvas").getContext("2d");

function draw() {
  const ratio = window.devicePixelRatio;
  const level = port.level(store.image.levels, ratio);
  const inSight = port.tiles(level, store.image.tile);
  drawPhoto(level, inSight, ratio);
  const context = at("marks").getContext("2d");
  const { width, height } = context.canvas;
  context.setTransform(1, 0, 0, 1, 0, 0);
  context.clearRect(0, 0, width, height);
  layer.canvas.width = width; // clears it too
  layer.canvas.height = height;
  const isThere = (stroke) =>
    stroke.version !== null && labels.isFresh(stroke.area, stroke.version, level, inSight, store.image.tile);
  store.strokes = store.strokes.filter((stroke) => !isThere(stroke));
  const tiles = drawLabels(layer, level, inSight, ratio);
  toImagePixels(layer, ratio);
  for (const stroke of store.strokes) drawStroke(layer, stroke);
  if (store.shape?.kind === "brush") drawStroke(layer, store.shape);
  layer.setTransform(1, 0, 0, 1, 0, 0);
  context.globalAlpha = store.settings.opacity / 100;
  context.drawImage(layer.canvas, 0, 0);
  context.globalAlpha = 1;
  if (store.settings.outlines && store.settings.opacity > 0) drawOutlines(context, tiles, ratio);
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  drawPlaces(context, port);
  drawClicks(context, port);
  if (store.shape) drawShape(context, port);
  drawCross(context, port);
}

function toImagePixels(context, ratio) {
  const zoom = port.zoom * ratio;
  context.setTransform(zoom, 0, 0, zoom, -port.x * zoom, -port.y * zoom);
}

/** Whether everything in sight is drawn as the server has it. */
export function isSettled() {
  if (!store.image || isAsked || store.strokes.length) return false;
  const level = port.level(store.image.levels, window.devicePixelRatio);
  return port.tiles(level, store.image.tile).every(([column, row]) => {
    const tile = labels.get(level, column, row);
    return tile.have >= tile.wanted && photos.get(level, column, row).bitmap;
  });
}

/** Follows the size of the window and what is told. */
export function startViewer() {
  new ResizeObserver(() => {
    resize();
    tell("place");
  }).observe(at("view"));
  on("draw place objects selected tool", redraw);
  on("settings", () => {
    const { brightness, contrast } = store.settings;
    const isPlain = brightness === 100 && contrast === 100;
    at("photo").style.filter = isPlain ? "none" : `brightness(${brightness}%) contrast(${contrast}%)`;
    redraw();
  });
}
