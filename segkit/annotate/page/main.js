// Starts the page: the project, the list of images, and the image that the address names.
import * as actions from "./actions.js";
import { images, startImages } from "./images.js";
import { fit, showHelp, startKeys } from "./keys.js";
import { startPanels } from "./panels.js";
import { banner, edits, openImage, startSession, stepPlace } from "./session.js";
import { on, say, store, tell } from "./store.js";
import { setTool, startTools } from "./tools.js";
import { isSettled, port, startViewer } from "./viewer.js";

const at = (id) => document.getElementById(id);

/** "#image=ID&x=..&y=..&zoom=.." -> {id, place}; place is empty where the address names none. */
function wanted() {
  const words = new URLSearchParams(location.hash.slice(1));
  const [x, y, zoom] = ["x", "y", "zoom"].map((name) => parseFloat(words.get(name)));
  const isPlace = Number.isFinite(x) && Number.isFinite(y) && zoom > 0;
  return { id: words.get("image"), place: isPlace ? { x, y, zoom } : {} };
}

let written = "";
let waiting = 0;

/** Keeps the address that of what is seen, so that a reload and a link show the same. */
function writeAddress() {
  clearTimeout(waiting);
  waiting = setTimeout(() => {
    const round = (value) => Math.round(value * 100) / 100;
    const [x, y] = port.toImage(port.width / 2, port.height / 2);
    const isWhole = Math.abs(port.zoom - port.fitting) < 1e-6;
    const place = isWhole ? "" : `&x=${round(x)}&y=${round(y)}&zoom=${Math.round(port.zoom * 1e4) / 1e4}`;
    written = `#image=${store.image.id}${place}`;
    history.replaceState(null, "", written);
  }, 200);
}

async function openWanted() {
  const { id, place } = wanted();
  if (!id || !/^[\w-]+$/.test(id)) return false;
  return openImage(id, place);
}

function bindButtons() {
  const acts = {
    previous: () => actions.go(-1), next: () => actions.go(1), undo: actions.undo, redo: actions.redo,
    copy: actions.copyLast, accept: () => actions.decide("done"), reject: () => actions.decide("rejected"),
    keys: showHelp, fit, outputs: actions.writeOutputs,
    "note-previous": () => stepPlace(-1), "note-next": () => stepPlace(1),
  };
  for (const [id, act] of Object.entries(acts)) at(id).addEventListener("click", act);
  at("initial").addEventListener("change", () => actions.setInitial(at("initial").value.trim()));
}

async function start() {
  try {
    await actions.readProject();
  } catch (error) {
    banner(`The server does not answer: ${error.message}`, "Try again", start);
    return;
  }
  const { project } = store;
  startPanels();
  startSession();
  startViewer();
  startTools(at("marks"));
  startImages(actions.goTo);
  startKeys();
  bindButtons();
  at("initial").value = project.initial ?? "";
  if (project.review) at("accept").textContent = "Accept";
  setTool(project.model ? "click" : "brush");
  on("place image", () => store.image && writeAddress());
  window.addEventListener("hashchange", () => location.hash !== written && openWanted());
  try {
    await images.restart();
  } catch (error) {
    banner(`The list of images cannot be read: ${error.message}`, "Close");
    return;
  }
  if (!(await openWanted()) && images.rows[0]) await actions.goTo(images.rows[0]);
  if (!images.total) say("There is no image in this folder.", true);
  at("marks").focus({ preventScroll: true });
}

// for tests of the page: whether everything is sent, read and drawn, and where to look
window.segkit = {
  isSettled: () => isSettled() && !edits.waitsFor(),
  lookAt(x, y, zoom) {
    port.lookAt(x, y, zoom);
    tell("place");
  },
  port,
  store,
};

start();
