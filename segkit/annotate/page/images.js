// The list of images: only the rows in sight exist, and only the pages of the list that were in sight are read.
import { get } from "./api.js";
import { on, store } from "./store.js";

const at = (id) => document.getElementById(id);
const ROW = 32; // pixels, as in page.css
const PAGE = 200; // rows that are asked for at once
const STATES = { "": "All states", new: "New", draft: "Draft", started: "Started", done: "Done", rejected: "Rejected" };
const MARKS = { new: "○", draft: "◌", started: "◐", done: "●", rejected: "✕" };

class Images {
  constructor() {
    this.total = 0;
    this.rows = []; // sparse
    this.pages = new Map(); // number -> promise
    this.active = 0; // row of the keyboard
    this.query = 0; // a later search makes the answers to an earlier one void
  }

  /** Reads the list anew, as search and filter say. */
  async restart() {
    this.query++;
    this.rows = [];
    this.pages.clear();
    this.total = 0;
    this.active = 0;
    at("list").scrollTop = 0;
    await this.page(0);
    this.show();
  }

  /** Reads a page once. */
  page(number) {
    if (!this.pages.has(number)) {
      const reading = this.read(number, this.query);
      reading.catch(() => this.pages.delete(number)); // asked for again when it is in sight again
      this.pages.set(number, reading);
    }
    return this.pages.get(number);
  }

  async read(number, query) {
    const words = new URLSearchParams({ from: number * PAGE, count: PAGE, state: at("filter").value, search: at("search").value });
    const { total, images } = await get(`api/images?${words}`);
    if (query !== this.query) return;
    this.total = total;
    images.forEach((row, index) => (this.rows[number * PAGE + index] = row));
  }

  /** Returns the row `by` places after an image, null at the ends; the first one where the list lacks the image. */
  async neighbor(id, by) {
    const index = await this.indexOf(id);
    const wanted = index < 0 ? 0 : index + by;
    if (wanted < 0 || wanted >= this.total) return null;
    await this.page(Math.floor(wanted / PAGE));
    return this.rows[wanted] ?? null;
  }

  async indexOf(id) {
    for (let number = 0; number === 0 || number * PAGE < this.total; number++) {
      const found = this.rows.findIndex((row) => row?.id === id);
      if (found >= 0) return found;
      await this.page(number);
    }
    return this.rows.findIndex((row) => row?.id === id);
  }

  setState(id, state) {
    const row = this.rows.find((one) => one?.id === id);
    if (row) row.state = state;
    this.show();
  }

  /** Draws the rows in sight. */
  show() {
    const list = at("list");
    const first = Math.max(0, Math.floor(list.scrollTop / ROW) - 5);
    const end = Math.min(this.total, Math.ceil((list.scrollTop + list.clientHeight) / ROW) + 5);
    at("rows").style.height = `${this.total * ROW}px`;
    at("count").textContent = this.total === store.project.images_total ? `${this.total}` : `${this.total} of ${store.project.images_total}`;
    const shown = [];
    for (let index = first; index < end; index++) shown.push(this.row(index));
    at("rows").replaceChildren(...shown);
    list.setAttribute("aria-activedescendant", `image-${this.active}`);
    for (let number = Math.floor(first / PAGE); number * PAGE < end; number++) {
      if (!this.pages.has(number)) this.page(number).then(() => this.show(), () => {});
    }
  }

  row(index) {
    const row = this.rows[index];
    const line = document.createElement("div");
    line.className = "image";
    line.id = `image-${index}`;
    line.role = "option";
    line.style.top = `${index * ROW}px`;
    line.ariaPosInSet = index + 1;
    line.ariaSetSize = this.total;
    line.ariaSelected = row?.id === store.image?.id && Boolean(row);
    line.classList.toggle("active", index === this.active);
    line.dataset.index = index;
    if (!row) {
      line.textContent = "…";
      return line;
    }
    const mark = document.createElement("i");
    mark.className = row.state;
    mark.textContent = MARKS[row.state] ?? "";
    mark.ariaLabel = STATES[row.state] ?? row.state;
    mark.role = "img";
    const name = document.createElement("span");
    name.textContent = name.title = row.name;
    const facts = document.createElement("small");
    const score = typeof row.score === "number" ? `${Math.round(100 * row.score)} %` : "";
    facts.textContent = score || (row.objects ? `${row.objects}` : "");
    facts.title = score ? "certainty of the draft" : "objects";
    line.append(mark, name, facts);
    return line;
  }

  /** Makes a row the keyboard's, and brings it into sight. */
  activate(index) {
    this.active = Math.min(Math.max(index, 0), Math.max(0, this.total - 1));
    const list = at("list");
    const top = this.active * ROW;
    if (top < list.scrollTop) list.scrollTop = top;
    if (top + ROW > list.scrollTop + list.clientHeight) list.scrollTop = top + ROW - list.clientHeight;
    this.show();
  }

  /** Follows the image that is open: its state, its number of objects, its place in the list. */
  follow() {
    const { image } = store;
    const index = this.rows.findIndex((row) => row?.id === image?.id);
    if (index < 0) return this.show();
    Object.assign(this.rows[index], { state: image.state, objects: image.objects.length });
    if (this.open !== image.id) this.activate(index);
    else this.show();
    this.open = image.id;
  }
}

export const images = new Images();

function byKey(event, open) {
  const rows = Math.floor(at("list").clientHeight / ROW) - 1;
  const steps = { ArrowUp: -1, ArrowDown: 1, PageUp: -rows, PageDown: rows, Home: -Infinity, End: Infinity };
  if (event.key in steps) images.activate(images.active + steps[event.key]);
  else if ((event.key === "Enter" || event.key === " ") && images.rows[images.active]) open(images.rows[images.active]);
  else return;
  event.preventDefault();
  event.stopPropagation();
}

/** Builds the list; `open` is called with the row that is chosen. */
export function startImages(open) {
  at("filter").replaceChildren(...Object.entries(STATES).map(([value, text]) => new Option(text, value)));
  const list = at("list");
  list.addEventListener("scroll", () => images.show());
  list.addEventListener("keydown", (event) => byKey(event, open));
  list.addEventListener("click", (event) => {
    const line = event.target.closest(".image");
    const row = line && images.rows[line.dataset.index];
    if (!row) return;
    images.active = Number(line.dataset.index);
    open(row);
  });
  let waiting = 0;
  const search = () => images.restart().catch(() => {});
  at("search").addEventListener("input", () => {
    clearTimeout(waiting);
    waiting = setTimeout(search, 150);
  });
  at("filter").addEventListener("change", search);
  on("image", () => images.follow());
  new ResizeObserver(() => images.show()).observe(list);
}
