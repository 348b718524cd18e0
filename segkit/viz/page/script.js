"use strict";
// Sorting: each name of a column becomes a button; rows without a value stay at the end in both directions.
for (const table of document.querySelectorAll("table.sortable")) {
  for (const head of table.querySelectorAll("th[data-sort]")) {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => sort(table, head));
  }
}

function sort(table, head) {
  const column = [...head.parentNode.children].indexOf(head);
  const isNumber = head.classList.contains("number");
  const before = head.getAttribute("aria-sort");
  const isUp = before ? before === "descending" : !isNumber;
  for (const other of head.parentNode.children) other.removeAttribute("aria-sort");
  head.setAttribute("aria-sort", isUp ? "ascending" : "descending");
  const value = (row) => row.children[column].dataset.v ?? row.children[column].textContent;
  const compare = (a, b) => (isNumber ? a - b : a.localeCompare(b, undefined, { numeric: true }));
  const body = table.tBodies[0];
  const rows = [...body.rows];
  const known = rows.filter((row) => value(row) !== "");
  const unknown = rows.filter((row) => value(row) === "");
  known.sort((a, b) => (isUp ? 1 : -1) * compare(value(a), value(b)));
  body.append(...known, ...unknown);
}

// Copying works from disk, too: where a browser has no clipboard for files, the text is selected and copied.
for (const command of document.querySelectorAll(".command")) {
  const button = document.createElement("button");
  button.type = "button";
  button.textContent = "Copy";
  command.append(button);
  button.addEventListener("click", async () => {
    const code = command.querySelector("code");
    try {
      await navigator.clipboard.writeText(code.textContent);
    } catch {
      getSelection().selectAllChildren(code);
      document.execCommand("copy");
    }
    button.textContent = "Copied";
    setTimeout(() => { button.textContent = "Copy"; }, 1500);
  });
}

// Pictures open large; Escape or a click closes them, the arrow keys go on to the next.
const dialog = document.querySelector("dialog");
const pictures = [...document.querySelectorAll(".pictures img")];
let shown = 0;
function show(k) {
  shown = (k + pictures.length) % pictures.length;
  const picture = pictures[shown];
  const large = dialog.querySelector("img");
  const factor = Math.max(1, Math.min((innerWidth * 0.94) / picture.naturalWidth, (innerHeight * 0.84) / picture.naturalHeight));
  large.className = picture.className;
  large.src = picture.src;
  large.alt = picture.alt;
  large.width = Math.round(picture.naturalWidth * factor);
  dialog.querySelector("p").textContent = picture.alt;
}
for (const [k, picture] of pictures.entries()) {
  const button = document.createElement("button");
  button.type = "button";
  button.setAttribute("aria-label", "Enlarge: " + picture.alt);
  picture.replaceWith(button);
  button.append(picture);
  button.addEventListener("click", () => { show(k); dialog.showModal(); });
}
if (dialog) {
  dialog.addEventListener("click", () => dialog.close());
  dialog.addEventListener("keydown", (event) => {
    if (event.key === "ArrowRight") show(shown + 1);
    if (event.key === "ArrowLeft") show(shown - 1);
  });
}

// Filters: a button for each kind shows the cards of that kind alone.
for (const bar of document.querySelectorAll(".filters")) {
  const cards = [...bar.parentNode.querySelectorAll("[data-kind]")];
  for (const button of bar.querySelectorAll("button")) {
    button.addEventListener("click", () => {
      for (const other of bar.querySelectorAll("button")) other.setAttribute("aria-pressed", other === button);
      for (const card of cards) card.hidden = button.value !== "" && card.dataset.kind !== button.value;
    });
  }
  bar.hidden = false;
}

// Paper cannot be unfolded.
addEventListener("beforeprint", () => {
  for (const details of document.querySelectorAll("details")) details.open = true;
});
