// Colors of classes and objects. The colors of Okabe and Ito are told apart with every kind of color vision
// (https://jfly.uni-koeln.de/color/); beyond eight objects a hatching divides what has the same color.
import { store } from "./store.js";

export const OBJECT_COLORS = [
  "#e69f00", "#56b4e9", "#009e73", "#f0e442", "#0072b2", "#d55e00", "#cc79a7", "#ffffff",
];
export const HATCHINGS = 4;

/** "#rrggbb" -> [r, g, b]. */
export function channels(color) {
  return [1, 3, 5].map((start) => parseInt(color.slice(start, start + 2), 16));
}

/** Returns {color, hatching} of an object; hatching 0 is plain. */
export function lookOf(object) {
  const classes = store.project.classes;
  if (!store.settings.byObject && classes.length) {
    return { color: classes[object.class]?.color ?? "#888888", hatching: 0 };
  }
  const number = (object.look ?? object.id) - 1;
  const round = Math.floor(number / OBJECT_COLORS.length);
  return { color: OBJECT_COLORS[number % OBJECT_COLORS.length], hatching: round % HATCHINGS };
}

/** Whether a pixel of a hatching lies on one of its lines, which are left out of the fill. */
export function isOnLine(hatching, x, y) {
  if (hatching === 1) return ((x + y) & 7) < 3;
  if (hatching === 2) return ((x - y) & 7) < 3;
  return hatching === 3 && (y & 7) < 3;
}

/** Returns [[id, [r, g, b], hatching], ...] of the objects that are shown. */
export function looks(without) {
  const shown = store.image.objects.filter((object) => object.id !== without);
  return shown.map((object) => {
    const { color, hatching } = lookOf(object);
    return [object.id, channels(color), hatching];
  });
}
