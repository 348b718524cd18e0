// The lists of classes and objects, the tool bar, and the sliders.
import * as actions from "./actions.js";
import { lookOf } from "./colors.js";
import { edits } from "./session.js";
import { on, select, selected, store, tell } from "./store.js";
import { TOOLS, setTool } from "./tools.js";
import { keysOfObjects } from "./keys.js";
import { port } from "./viewer.js";

const at = (id) => document.getElementById(id);

function make(name, properties, ...children) {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children);
  return made;
}

function swatch({ color, hatching }) {
  const made = make("i", { className: `swatch hatching-${hatching}` });
  made.style.backgroundColor = color;
  return made;
}

const COMMANDS = [
  ["New", "N", actions.newObject, false],
  ["Merge", "M", actions.merge, true],
  ["Split", "G", actions.split, true],
  ["Fill holes", "L", actions.fillHoles, true],
  ["Smooth", "U", actions.smooth, true],
  ["Up", "Alt+Up", () => actions.reorder(-1), true],
  ["Down", "Alt+Down", () => actions.reorder(1), true],
  ["Delete", "Delete", actions.remove, true],
];

function showClasses() {
  const { classes } = store.project;
  at("classes").replaceChildren(...classes.map(({ name, color }, index) => {
    const row = make("li", { role: "option", id: `class-${index}` });
    row.ariaSelected = index === store.classIndex;
    row.append(swatch({ color, hatching: 0 }), make("span", { textContent: name }));
    if (index < 9) row.append(make("kbd", { textContent: `${index + 1}` }));
    row.addEventListener("click", () => actions.chooseClass(index));
    return row;
  }));
  at("classes").setAttribute("aria-activedescendant", `class-${store.classIndex}`);
  document.getElementById(`class-${store.classIndex}`)?.scrollIntoView({ block: "nearest" });
}

function objectRow(object) {
  const name = store.project.classes[object.class]?.name ?? `class ${object.class}`;
  const row = make("li", { role: "option", id: `object-${object.id}`, draggable: true });
  row.ariaSelected = object.id === store.selected;
  const isMarked = store.marked.has(object.id);
  row.ariaChecked = isMarked;
  row.classList.toggle("marked", isMarked);
  row.classList.toggle("unseen-object", !object.visible);
  const number = object.id > 0 ? `${object.id}` : "…";
  const area = `${object.area.toLocaleString("en")} px`;
  row.ariaLabel = `${number} ${name}, ${area}, ${object.visible ? "shown" : "hidden"}${isMarked ? ", marked" : ""}`;
  const eye = make("button", { type: "button", className: "eye", tabIndex: -1, textContent: object.visible ? "◉" : "○" });
  eye.title = object.visible ? "Hide (V)" : "Show (V)";
  eye.ariaHidden = true;
  eye.addEventListener("click", (event) => {
    event.stopPropagation();
    actions.setVisible(object, !object.visible);
  });
  row.append(eye, swatch(lookOf(object)), make("span", { textContent: `${name} ${number}` }), make("small", { textContent: area }));
  row.addEventListener("click", (event) => (event.shiftKey ? actions.mark(object.id) : select(object.id)));
  row.addEventListener("dblclick", () => {
    if (!object.bbox) return;
    port.focus(object.bbox);
    tell("place");
  });
  row.addEventListener("dragstart", (event) => event.dataTransfer.setData("text/plain", `${object.id}`));
  row.addEventListener("dragover", (event) => event.preventDefault());
  row.addEventListener("drop", (event) => {
    event.preventDefault();
    const moved = store.image.objects.find((one) => `${one.id}` === event.dataTransfer.getData("text/plain"));
    if (moved) actions.placeAt(moved, object);
  });
  return row;
}

function showObjects() {
  const list = actions.ordered();
  at("objects").replaceChildren(...list.map(objectRow));
  if (!list.length) at("objects").append(make("li", { className: "empty", textContent: "None yet: draw on the image." }));
  at("objects-title").textContent = list.length ? `Objects (${list.length})` : "Objects";
}

function showSelected() {
  const object = selected();
  for (const row of at("objects").children) row.ariaSelected = row.id === `object-${store.selected}`;
  if (object) at("objects").setAttribute("aria-activedescendant", `object-${object.id}`);
  else at("objects").removeAttribute("aria-activedescendant");
  document.getElementById(`object-${store.selected}`)?.scrollIntoView({ block: "nearest" });
  for (const button of at("object-commands").children) button.disabled = button.dataset.needs === "true" && !object;
  at("class-row").hidden = !object;
  at("object-class").value = object?.class ?? 0;
  const isAnswered = typeof object?.threshold === "number";
  at("threshold-row").hidden = !isAnswered;
  if (store.preview === null && isAnswered) at("threshold").value = object.threshold;
  at("threshold-shown").textContent = Number(at("threshold").value).toFixed(2);
  showClasses();
}

function showImageFacts() {
  const { image } = store;
  at("name").textContent = image.name;
  document.title = `${image.name}: segkit annotate`;
  at("state").textContent = image.state;
  at("state").className = `badge ${image.state}`;
  at("state").hidden = false;
  at("undo").disabled = !(image.can_undo || edits.waitsFor(image.id));
  at("redo").disabled = !image.can_redo;
}

function showPlace() {
  if (!store.image) return;
  const place = store.cursor ?? store.pointer;
  at("place").textContent = place ? `x ${Math.floor(place[0])}, y ${Math.floor(place[1])}` : `${store.image.size[1]} × ${store.image.size[0]}`;
  at("zoom").textContent = `${Math.round(port.zoom * 100)} %`;
}

function showTool() {
  document.querySelectorAll("#tools input").forEach((field) => (field.checked = field.value === store.tool));
  at("help-line").textContent = TOOLS.find((tool) => tool.name === store.tool).hint;
  at("marks").dataset.tool = store.tool;
}

function makeTools() {
  for (const { name, label, key, needsModel } of TOOLS) {
    const field = make("input", { type: "radio", name: "tool", value: name });
    field.disabled = Boolean(needsModel) && !store.project.model;
    field.addEventListener("change", () => setTool(name));
    const text = make("span", { textContent: label });
    const row = make("label", { title: field.disabled ? "Clicks need a model: segkit annotate FOLDER --model FILE" : `${label} (${key})` });
    row.append(field, text, make("kbd", { textContent: key }));
    at("tools").append(row);
  }
}

function bind(id, name, unit) {
  const field = at(id);
  const isCheck = field.type === "checkbox";
  const take = () => {
    store.settings[name] = isCheck ? field.checked : Number(field.value);
    if (!isCheck) at(`${id}-shown`).textContent = `${field.value}${unit}`;
    tell("settings");
    if (name === "byObject" && store.image) tell("objects", "selected");
  };
  if (isCheck) field.checked = store.settings[name];
  else field.value = store.settings[name];
  field.addEventListener("input", take);
  take();
}

/** Builds the panels, once the project is known. */
export function startPanels() {
  const { project } = store;
  store.settings.byObject = project.kind !== "semantic";
  makeTools();
  for (const [text, key, act, needs] of COMMANDS) {
    const button = make("button", { type: "button", textContent: text, title: `${text} (${key})`, disabled: needs });
    button.dataset.needs = needs;
    button.addEventListener("click", act);
    at("object-commands").append(button);
  }
  at("object-class").replaceChildren(...project.classes.map(({ name }, index) => new Option(name, index)));
  at("object-class").addEventListener("change", () => actions.giveClass(Number(at("object-class").value)));
  at("objects").addEventListener("keydown", keysOfObjects);
  at("classes").addEventListener("keydown", (event) => {
    const by = { ArrowUp: -1, ArrowDown: 1 }[event.key];
    if (!by) return;
    event.preventDefault();
    actions.chooseClass(Math.max(0, store.classIndex + by));
  });
  for (const name of ["radius", "opacity", "brightness", "contrast"]) bind(name, name, name === "radius" ? " px" : " %");
  bind("outlines", "outlines", "");
  bind("by-object", "byObject", "");
  at("threshold").addEventListener("input", () => {
    store.preview = Number(at("threshold").value);
    at("threshold-shown").textContent = store.preview.toFixed(2);
    tell("draw");
  });
  at("threshold").addEventListener("change", () => actions.applyThreshold(Number(at("threshold").value)));
  on("objects", showObjects);
  on("selected", showSelected);
  on("image edits", () => store.image && showImageFacts());
  on("place", showPlace);
  on("tool", showTool);
  showClasses();
}
