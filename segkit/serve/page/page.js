const at = (id) => document.getElementById(id);
let model = null;
let urls = [];
let asked = 0;
let photo = null;
let clicks = [];

function say(text, isBad = false) {
  at("status").textContent = text;
  at("status").classList.toggle("bad", isBad);
}

function headers() {
  const token = at("token").value;
  return token ? { Authorization: `Bearer ${token}` } : {};
}

// An answer that is no success is a sentence in JSON; one that is not even that came from something in between.
async function answered(response) {
  if (response.ok) return response;
  const body = await response.json().catch(() => ({}));
  throw new Error(body.error ?? `the server answered ${response.status}`);
}

function item(name, color, note) {
  const row = document.createElement("li");
  const swatch = document.createElement("i");
  swatch.style.background = `rgb(${color.join(",")})`;
  const text = document.createElement("span");
  text.textContent = name;
  row.append(swatch, text);
  if (note) {
    const small = document.createElement("small");
    small.textContent = note;
    row.append(small);
  }
  return row;
}

async function start() {
  try {
    const response = await fetch("model", { headers: headers() });
    at("token-row").hidden = response.status !== 401;
    if (response.status === 401) return say("This server asks for a token.");
    model = await (await answered(response)).json();
    at("name").textContent = model.name;
    document.title = `${model.name}: segkit`;
    at("all").replaceChildren(...model.classes.map((one) => item(one.name, one.color)));
    at("all-section").hidden = model.classes.length === 0;
    say("");
  } catch (error) {
    say(`The server does not answer: ${error.message}`, true);
  }
}

function found(result, size) {
  const colorOf = (label) => model.classes[label]?.color ?? [128, 128, 128];
  if (result.instances) {
    return result.instances.map((one) =>
      item(one.name, colorOf(one.category_id - 1), `${(100 * one.score).toFixed(0)} %`));
  }
  const pixels = size[0] * size[1];
  const rows = [...result.classes].sort((a, b) => b.pixels - a.pixels);
  return rows.map((one) => item(one.name, colorOf(one.label), `${((100 * one.pixels) / pixels).toFixed(1)} %`));
}

async function show(file) {
  const mine = ++asked;
  if (!model) await start();
  if (!model) return;
  if (model.kind === "clicks") return begin(file);
  say(`Predicting ${file.name} ...`);
  const began = performance.now();
  const post = (form) => fetch(`predict?format=${form}`, { method: "POST", headers: headers(), body: file });
  // label maps lie over the image with an opacity of one's own; the others are drawn by the server
  const isMap = model.kind === "semantic";
  try {
    const [picture, json] = await Promise.all([post(isMap ? "png" : "overlay"), post("rle")]);
    const content = await (await answered(picture)).blob();
    const result = await (await answered(json)).json();
    if (mine !== asked) return;
    urls.forEach((url) => URL.revokeObjectURL(url));
    urls = [URL.createObjectURL(content), URL.createObjectURL(file)];
    at("overlay").src = urls[0];
    at("overlay").hidden = !isMap;
    at("image").src = isMap ? urls[1] : urls[0];
    at("opacity-row").hidden = !isMap;
    at("download").href = urls[0];
    at("classes").replaceChildren(...found(result, result.size));
    at("result").hidden = false;
    say(`${file.name}: ${result.size[1]} x ${result.size[0]} pixels, ${Math.round(performance.now() - began)} ms`);
  } catch (error) {
    if (mine === asked) say(error.message, true);
  }
}

// A click model: the page shows the image alone, and after each click what the server has drawn.
function begin(file) {
  ++asked;
  [photo, clicks] = [file, []];
  urls.forEach((url) => URL.revokeObjectURL(url));
  urls = [URL.createObjectURL(file)];
  at("image").src = urls[0];
  at("download").href = urls[0];
  at("overlay").hidden = at("opacity-row").hidden = true;
  at("result").hidden = at("click-row").hidden = false;
  say("Click on the object; with the right button or Shift on what is not part of it.");
}

async function ask() {
  if (clicks.length === 0) return begin(photo);
  const mine = ++asked;
  const began = performance.now();
  const body = new FormData();
  body.append("image", photo);
  body.append("clicks", JSON.stringify(clicks));
  try {
    const response = await fetch("clicks?format=overlay", { method: "POST", headers: headers(), body });
    const content = await (await answered(response)).blob();
    if (mine !== asked) return;
    urls.slice(1).forEach((url) => URL.revokeObjectURL(url));
    urls = [urls[0], URL.createObjectURL(content)];
    at("overlay").src = at("download").href = urls[1];
    at("overlay").style.opacity = 1;
    at("overlay").hidden = false;
    say(`${clicks.length} clicks, ${Math.round(performance.now() - began)} ms`);
  } catch (error) {
    if (mine === asked) say(error.message, true);
  }
}

function mark(event) {
  if (model?.kind !== "clicks" || !photo) return;
  event.preventDefault();
  const box = at("image").getBoundingClientRect();
  const [height, width] = [at("image").naturalHeight, at("image").naturalWidth];
  const row = Math.floor(((event.clientY - box.top) / box.height) * height);
  const column = Math.floor(((event.clientX - box.left) / box.width) * width);
  const isBeside = event.type === "contextmenu" || event.shiftKey;
  clicks.push([Math.min(Math.max(row, 0), height - 1), Math.min(Math.max(column, 0), width - 1), isBeside ? 0 : 1]);
  ask();
}

function fade() {
  at("overlay").style.opacity = at("opacity").value / 100;
}

at("file").addEventListener("change", () => at("file").files[0] && show(at("file").files[0]));
at("opacity").addEventListener("input", fade);
at("views").addEventListener("click", mark);
at("views").addEventListener("contextmenu", mark);
at("undo").addEventListener("click", () => {
  clicks.pop();
  ask();
});
at("again").addEventListener("click", () => begin(photo));
at("token-row").addEventListener("submit", (event) => {
  event.preventDefault();
  start();
});
for (const kind of ["dragover", "dragleave", "drop"]) {
  document.addEventListener(kind, (event) => {
    event.preventDefault();
    at("drop").classList.toggle("over", kind === "dragover");
    if (kind === "drop" && event.dataTransfer.files[0]) show(event.dataTransfer.files[0]);
  });
}
fade();
start();
