// Tables inside <div class="table-tools"> are sorted by a click on a heading and filtered by text and by chosen columns.
// data-filters names the columns that get a list of their values.
(function () {
  "use strict";

  function textOf(row, column) {
    return row.cells[column] ? row.cells[column].textContent.trim() : "";
  }

  function numberOf(text) {
    const found = text.replace(/,/g, "").match(/-?\d+(\.\d+)?/);
    return found ? parseFloat(found[0]) : NaN;
  }

  // what a list of values offers for a cell: "clicks"; "mmseg" and "smp" of "mmseg_context, smp_dpt"; "outputs" of
  // "outputs (mmseg)"
  function keysOf(text) {
    if (text === "" || text === "-") return [];
    const plain = text.replace(/[(:;].*/, "").trim();
    return plain.split(/,\s*/).map((key) => key.replace(/_.*/, "")).filter(Boolean);
  }

  // "-" and empty cells go last, whichever way the table is sorted
  function compare(left, right, sign) {
    const isEmpty = (text) => text === "" || text === "-";
    if (isEmpty(left) || isEmpty(right)) return Number(isEmpty(left)) - Number(isEmpty(right));
    const areNumbers = /^[\d.,]/.test(left) && /^[\d.,]/.test(right);
    const order = areNumbers ? numberOf(left) - numberOf(right) : left.localeCompare(right, "en", { sensitivity: "base" });
    return sign * order;
  }

  function makeSortable(table, body) {
    Array.from(table.tHead.rows[0].cells).forEach(function (head, column) {
      head.classList.add("sortable");
      head.tabIndex = 0;
      function sort() {
        const goesUp = head.getAttribute("aria-sort") !== "ascending";
        Array.from(table.tHead.rows[0].cells).forEach((other) => other.removeAttribute("aria-sort"));
        head.setAttribute("aria-sort", goesUp ? "ascending" : "descending");
        Array.from(body.rows)
          .sort((a, b) => compare(textOf(a, column), textOf(b, column), goesUp ? 1 : -1))
          .forEach((row) => body.appendChild(row));
      }
      head.addEventListener("click", sort);
      head.addEventListener("keydown", (event) => { if (event.key === "Enter") sort(); });
    });
  }

  function makeFilters(holder, table, body) {
    const bar = document.createElement("div");
    bar.className = "table-search";
    const input = document.createElement("input");
    input.type = "search";
    input.placeholder = "Filter: words that a row holds";
    input.setAttribute("aria-label", "Filter the table");
    bar.appendChild(input);
    const heads = Array.from(table.tHead.rows[0].cells).map((head) => head.textContent.trim());
    const choices = (holder.dataset.filters || "").split(",").filter((name) => heads.includes(name)).map(function (name) {
      const column = heads.indexOf(name);
      const select = document.createElement("select");
      select.setAttribute("aria-label", name);
      const values = new Set(Array.from(body.rows).flatMap((row) => keysOf(textOf(row, column))));
      select.add(new Option(name + ": all", ""));
      Array.from(values).sort().forEach((value) => select.add(new Option(value, value)));
      bar.appendChild(select);
      return { column: column, select: select };
    });
    const count = document.createElement("output");
    bar.appendChild(count);
    // rows with all words, or, as of a pasted sentence that holds values, those with the most
    function filter() {
      const words = input.value.toLowerCase().split(/\s+/).filter(Boolean);
      const rows = Array.from(body.rows).filter((row) => {
        row.hidden = true;
        return choices.every((c) => !c.select.value || keysOf(textOf(row, c.column)).includes(c.select.value));
      });
      const found = rows.map((row) => words.filter((word) => row.textContent.toLowerCase().includes(word)).length);
      const most = Math.max(0, ...found);
      const shown = rows.filter((row, i) => found[i] === most && (most > 0 || !words.length));
      shown.forEach((row) => { row.hidden = false; });
      count.textContent = shown.length + " of " + body.rows.length;
    }
    bar.addEventListener("input", filter);
    filter();
    const frame = table.closest(".md-typeset__scrollwrap") || table;
    frame.parentNode.insertBefore(bar, frame);
  }

  function start() {
    document.querySelectorAll(".table-tools").forEach(function (holder) {
      const table = holder.querySelector("table");
      if (!table || !table.tHead || !table.tBodies.length || holder.querySelector(".table-search")) return;
      makeSortable(table, table.tBodies[0]);
      makeFilters(holder, table, table.tBodies[0]);
    });
  }

  if (window.document$ && window.document$.subscribe) window.document$.subscribe(start);
  else document.addEventListener("DOMContentLoaded", start);
})();
