// Tiles of the image, of its labels, and of the model's probabilities: asked for when they come in sight, the oldest
// ones forgotten.
import { Refused, bitmap } from "./api.js";
import { isOnLine } from "./colors.js";
import { trace } from "./outline.js";
import { tell } from "./store.js";

const KEPT = 160; // tiles of a kind, 1 MB each at most

/** The tiles of one address; `path(level, column, row, version)` is where each of them lies. */
class Tiles {
  constructor(path) {
    this.path = path;
    this.tiles = new Map();
    this.version = 0;
  }

  /** Returns a tile, which may not be loaded yet (its `bitmap` or `ids` are null then). */
  get(level, column, row) {
    const key = `${level}/${column}/${row}`;
    let tile = this.tiles.get(key);
    if (tile) this.tiles.delete(key); // moves to the end: used last
    else tile = { level, column, row, wanted: this.version, have: -1, isLoading: false, bitmap: null, ids: null };
    this.tiles.set(key, tile);
    if (this.tiles.size > KEPT) this.tiles.delete(this.tiles.keys().next().value);
    if (tile.have < tile.wanted && !tile.isLoading) this.load(tile);
    return tile;
  }

  async load(tile) {
    tile.isLoading = true;
    const version = tile.wanted;
    try {
      this.take(tile, await bitmap(this.path(tile.level, tile.column, tile.row, version)));
      tile.have = version;
    } catch (error) {
      // what is refused stays so; what was lost on the way is asked for again
      if (error instanceof Refused) tile.have = version;
      else setTimeout(() => tell("draw"), 2000);
      this.failed(error);
    }
    if (tile.have >= version) tell("draw");
    tile.isLoading = false;
  }

  take(tile, content) {
    tile.bitmap?.close();
    tile.bitmap = content;
  }

  failed() {}
}

/** Tiles of the image itself. */
export class ImageTiles extends Tiles {}

const scratch = document.createElement("canvas").getContext("2d", { willReadFrequently: true });

/** Returns the RGBA values of a bitmap and closes it. */
function pixels(content) {
  const { width, height } = content;
  scratch.canvas.width = width;
  scratch.canvas.height = height;
  scratch.drawImage(content, 0, 0);
  content.close();
  return { width, height, values: scratch.getImageData(0, 0, width, height).data };
}

/** Tiles of object ids, which the page colors. */
export class LabelTiles extends Tiles {
  take(tile, content) {
    const { width, height, values } = pixels(content);
    const ids = new Uint16Array(width * height);
    for (let i = 0; i < ids.length; i++) ids[i] = values[4 * i] + 256 * values[4 * i + 1];
    Object.assign(tile, { width, height, ids, painted: null, paths: null });
  }

  /** The labels in [x0, y0, x1, y1] of the image (everywhere, for "all") have changed with a version. */
  change(area, version, size) {
    this.version = version;
    if (area === null) return;
    for (const tile of this.tiles.values()) {
      if (area === "all" || overlaps(tile, area, size)) tile.wanted = version;
    }
  }

  /** Whether what is in sight of an area is as of a version. */
  isFresh(area, version, level, inSight, size) {
    return inSight.every(([column, row]) => {
      const tile = this.tiles.get(`${level}/${column}/${row}`);
      return tile && (tile.have >= version || (area !== "all" && !overlaps(tile, area, size)));
    });
  }

  /** Returns the tile as a canvas in the colors of `looks`, by whose `key` it is known. */
  painted(tile, looks, key) {
    if (tile.painted?.key === key) return tile.painted.canvas;
    const canvas = tile.painted?.canvas ?? document.createElement("canvas");
    canvas.width = tile.width;
    canvas.height = tile.height;
    const context = canvas.getContext("2d");
    const picture = context.createImageData(tile.width, tile.height);
    const words = new Uint32Array(picture.data.buffer);
    const lookOf = new Map(looks.map(([id, [r, g, b], hatching]) => [
      id, { word: (0xff000000 | (b << 16) | (g << 8) | r) >>> 0, hatching },
    ]));
    for (let i = 0; i < tile.ids.length; i++) {
      const look = tile.ids[i] && lookOf.get(tile.ids[i]);
      if (!look) continue;
      const x = i % tile.width;
      if (!look.hatching || !isOnLine(look.hatching, x, (i - x) / tile.width)) words[i] = look.word;
    }
    context.putImageData(picture, 0, 0);
    tile.painted = { key, canvas };
    return canvas;
  }

  /** Returns the outlines of a tile's objects. */
  outlines(tile) {
    tile.paths ??= trace(tile.ids, tile.width, tile.height);
    return tile.paths;
  }
}

/** Tiles of the probabilities of one object; `refused` is called where the model has not answered for it. */
export class ProbabilityTiles extends Tiles {
  constructor(path, refused) {
    super(path);
    this.refused = refused;
  }

  take(tile, content) {
    const { width, height, values } = pixels(content);
    const levels = new Uint8Array(width * height);
    for (let i = 0; i < levels.length; i++) levels[i] = values[4 * i];
    Object.assign(tile, { width, height, levels, painted: null });
  }

  failed(error) {
    if (error instanceof Refused) this.refused();
  }

  /** Returns the tile as a canvas: a color where the probability is above a threshold. */
  painted(tile, [r, g, b], threshold) {
    const key = `${threshold} ${r} ${g} ${b}`;
    if (tile.painted?.key === key) return tile.painted.canvas;
    const canvas = tile.painted?.canvas ?? document.createElement("canvas");
    canvas.width = tile.width;
    canvas.height = tile.height;
    const picture = canvas.getContext("2d").createImageData(tile.width, tile.height);
    const words = new Uint32Array(picture.data.buffer);
    const word = (0xff000000 | (b << 16) | (g << 8) | r) >>> 0;
    for (let i = 0; i < words.length; i++) if (tile.levels[i] > threshold * 255) words[i] = word;
    canvas.getContext("2d").putImageData(picture, 0, 0);
    tile.painted = { key, canvas };
    return canvas;
  }
}

function overlaps(tile, [x0, y0, x1, y1], size) {
  const step = size * 2 ** tile.level;
  const [left, top] = [tile.column * step, tile.row * step];
  return x0 < left + step && x1 > left && y0 < top + step && y1 > top;
}
