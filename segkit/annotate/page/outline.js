// Outlines of the objects of a tile, along the edges of its pixels.

/**
 * Traces every object of a tile.
 *
 * The edges of an object's pixels are walked with the object to the right; equal directions make one line, so that a
 * dash pattern runs along the outline. The border of the tile is no outline.
 *
 * @param ids Uint16Array of width x height, 0 where there is no object.
 * @returns Map from an id to its Path2D in pixels of the tile.
 */
export function trace(ids, width, height) {
  const edges = new Map(); // id -> Map(start vertex -> [end vertex, ...])
  const stride = width + 1;
  const add = (id, from, to) => {
    if (!edges.has(id)) edges.set(id, new Map());
    const of = edges.get(id);
    const ends = of.get(from);
    if (ends) ends.push(to);
    else of.set(from, [to]);
  };
  for (let y = 0, i = 0; y < height; y++) {
    for (let x = 0; x < width; x++, i++) {
      const id = ids[i];
      if (x > 0 && ids[i - 1] !== id) {
        const top = y * stride + x;
        if (id) add(id, top + stride, top); // left side, upwards
        if (ids[i - 1]) add(ids[i - 1], top, top + stride); // right side of the neighbor, downwards
      }
      if (y > 0 && ids[i - width] !== id) {
        const left = y * stride + x;
        if (id) add(id, left, left + 1); // upper side, to the right
        if (ids[i - width]) add(ids[i - width], left + 1, left); // lower side of the neighbor, to the left
      }
    }
  }
  const paths = new Map();
  for (const [id, of] of edges) paths.set(id, pathOf(of, stride));
  return paths;
}

function pathOf(edges, stride) {
  const path = new Path2D();
  const ends = new Set();
  for (const list of edges.values()) list.forEach((end) => ends.add(end));
  // lines that begin at the border of the tile first, closed ones after them
  const starts = [...edges.keys()].filter((vertex) => !ends.has(vertex));
  for (const start of [...starts, ...edges.keys()]) {
    while (edges.get(start)?.length) walk(path, edges, start, stride);
  }
  return path;
}

function walk(path, edges, start, stride) {
  const point = (vertex) => [vertex % stride, Math.floor(vertex / stride)];
  path.moveTo(...point(start));
  let at = start;
  let before = 0;
  while (edges.get(at)?.length) {
    const next = edges.get(at).pop();
    if (next - at !== before && at !== start) path.lineTo(...point(at));
    before = next - at;
    at = next;
  }
  if (at === start) path.closePath();
  else path.lineTo(...point(at));
}
