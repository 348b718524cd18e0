// Where the image lies in the window. Screen positions are CSS pixels from the upper left corner of the canvas.

export const MAX_ZOOM = 32;

export class Viewport {
  constructor() {
    this.width = 1; // of the canvas
    this.height = 1;
    this.size = [1, 1]; // [height, width] of the image
    this.zoom = 1; // screen pixels per image pixel
    this.x = 0; // image position at the upper left corner
    this.y = 0;
  }

  get fitting() {
    return Math.min(MAX_ZOOM, this.width / this.size[1], this.height / this.size[0]);
  }

  toImage(sx, sy) {
    return [this.x + sx / this.zoom, this.y + sy / this.zoom];
  }

  toScreen(x, y) {
    return [(x - this.x) * this.zoom, (y - this.y) * this.zoom];
  }

  fit() {
    this.lookAt(this.size[1] / 2, this.size[0] / 2, this.fitting);
  }

  /** Shows a rectangle of the image; the view is `share` times as wide or as high, for what is around it. */
  focus([x0, y0, x1, y1], share = 2) {
    const zoom = Math.min(this.width / (share * Math.max(x1 - x0, 1)), this.height / (share * Math.max(y1 - y0, 1)), 8);
    this.lookAt((x0 + x1) / 2, (y0 + y1) / 2, zoom);
  }

  lookAt(x, y, zoom) {
    this.zoom = Math.min(MAX_ZOOM, Math.max(this.fitting / 2, zoom));
    this.x = x - this.width / 2 / this.zoom;
    this.y = y - this.height / 2 / this.zoom;
    this.keepInside();
  }

  /** Zooms so that what is under (sx, sy) stays there. */
  zoomAt(factor, sx, sy) {
    const [x, y] = this.toImage(sx, sy);
    this.zoom = Math.min(MAX_ZOOM, Math.max(this.fitting / 2, this.zoom * factor));
    this.x = x - sx / this.zoom;
    this.y = y - sy / this.zoom;
    this.keepInside();
  }

  pan(dx, dy) {
    this.x -= dx / this.zoom;
    this.y -= dy / this.zoom;
    this.keepInside();
  }

  /** Some of the image stays in sight. */
  keepInside() {
    const clamp = (start, length, shown) => Math.min(length - shown * 0.1, Math.max(start, -shown * 0.9));
    this.x = clamp(this.x, this.size[1], this.width / this.zoom);
    this.y = clamp(this.y, this.size[0], this.height / this.zoom);
  }

  /** The level of the pyramid whose pixels are nearest to the screen's, never coarser than these. */
  level(levels, ratio) {
    return Math.min(levels - 1, Math.max(0, Math.floor(Math.log2(1 / (this.zoom * ratio)) + 1e-6)));
  }

  /** Returns the [column, row] pairs of the tiles in sight at a level. */
  tiles(level, tile) {
    const step = tile * 2 ** level;
    const [height, width] = this.size;
    const first = (start) => Math.max(0, Math.floor(start / step));
    const last = (end, length) => Math.min(Math.ceil(length / step), Math.ceil(end / step));
    const found = [];
    for (let row = first(this.y); row < last(this.y + this.height / this.zoom, height); row++) {
      for (let column = first(this.x); column < last(this.x + this.width / this.zoom, width); column++) {
        found.push([column, row]);
      }
    }
    return found;
  }
}
