"use strict";
// Sorts, filters and copies the rows of the one table on the page. The rows are plain HTML: without this script
// everything can still be read. Text only ever goes back onto the page as text.
const table = document.querySelector("table"), body = table.tBodies[0];
const heads = [...table.tHead.rows[0].cells], search = document.getElementById("search");
const smilesColumn = Number(table.dataset.smiles);

// A number shown in few digits has all of them in data-v; a missing one is NaN.
const rows = [...body.rows].map((element, order) => {
  const texts = [...element.cells].map(cell => cell.dataset.v ?? cell.textContent);
  return {element, order, texts, numbers: texts.map(text => text === "" ? NaN : Number(text)),
          pick: element.querySelector("input"), lower: texts.join("\n").toLowerCase()};
});
const shown = () => rows.filter(row => !row.element.hidden);
const picked = () => shown().filter(row => row.pick.checked);

// -- sort: up, down, then the order of the file; rows without a value come last either way
const collator = new Intl.Collator(undefined, {numeric: true});
function sort(column, direction) {
  const number = heads[column].classList.contains("n");
  const missing = row => number ? Number.isNaN(row.numbers[column]) : row.texts[column] === "";
  const compare = (a, b) => number ? a.numbers[column] - b.numbers[column]
                                   : collator.compare(a.texts[column], b.texts[column]);
  rows.sort((a, b) => direction && (missing(a) - missing(b) || (missing(a) ? 0 : direction * compare(a, b)))
                      || a.order - b.order);
  heads.forEach(head => head.removeAttribute("aria-sort"));
  if (direction) heads[column].setAttribute("aria-sort", direction > 0 ? "ascending" : "descending");
  body.append(...rows.map(row => row.element));
}
heads.forEach((head, column) => head.querySelector("button")?.addEventListener("click", () => {
  const now = head.getAttribute("aria-sort");
  sort(column, now === "ascending" ? -1 : now === "descending" ? 0 : 1);
}));

// -- filter: every bound holds and the text occurs (in SMILES with its case: c is not C)
function filter() {
  const text = search.value.trim(), bounds = [];
  for (const input of table.tHead.querySelectorAll("input"))
    if (input.value !== "") bounds.push([input.closest("th").cellIndex, input.name, Number(input.value)]);
  for (const row of rows) {
    const smiles = row.texts[smilesColumn], rest = row.lower.replace(smiles.toLowerCase(), "");
    row.element.hidden = !(smiles.includes(text) || rest.includes(text.toLowerCase())) ||
      !bounds.every(([column, end, bound]) => end === "min" ? row.numbers[column] >= bound : row.numbers[column] <= bound);
  }
  count();
}
function count() {
  const all = rows.length, seen = shown().length, chosen = picked().length;
  document.getElementById("count").textContent = (seen < all ? `${seen} of ${all} shown` : `${all} rows`) +
    (chosen ? `, ${chosen} picked` : "");
}
document.addEventListener("input", event => event.target.type === "checkbox" ? count() : filter());
document.getElementById("reset").addEventListener("click", () => {
  for (const input of document.querySelectorAll("input")) { input.value = ""; input.checked = false; }
  filter();
  sort(0, 0);
});

// -- copy
async function copy(button, text) {
  try {
    await navigator.clipboard.writeText(text);
  } catch {  // a browser that keeps the clipboard from pages on disk
    const area = document.createElement("textarea");
    area.value = text;
    document.body.append(area);
    area.select();
    document.execCommand("copy");
    area.remove();
  }
  const label = button.textContent;
  button.textContent = "Copied";
  setTimeout(() => { button.textContent = label; }, 900);
}
const wanted = () => picked().length ? picked() : shown();
document.getElementById("smiles").addEventListener("click", event =>
  copy(event.target, wanted().map(row => row.texts[smilesColumn]).join("\n")));
document.getElementById("rows").addEventListener("click", event => {
  const line = texts => texts.slice(1).map(text => text.replace(/\s/g, " ")).join("\t");
  const names = heads.map(head => head.querySelector("button")?.textContent ?? "");
  copy(event.target, [names, ...wanted().map(row => row.texts)].map(line).join("\n"));
});
count();
