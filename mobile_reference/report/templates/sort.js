"use strict";
// Headings become buttons that sort their column: numbers as numbers, what is not one comes last.
const value = (row, place) => row.cells[place].textContent.trim();
const number = (text) => parseFloat(text.replaceAll(",", ""));
function compare(a, b, sign) {
  const [x, y] = [number(a), number(b)];
  if (Number.isNaN(x) !== Number.isNaN(y)) return Number.isNaN(x) - Number.isNaN(y);
  return sign * (Number.isNaN(x) ? a.localeCompare(b) : x - y);
}
function sort(heading) {
  const body = heading.closest("table").tBodies[0];
  const upward = heading.getAttribute("aria-sort") !== "ascending";
  for (const other of heading.parentNode.cells) other.removeAttribute("aria-sort");
  heading.setAttribute("aria-sort", upward ? "ascending" : "descending");
  const rows = Array.from(body.rows, (row) => [value(row, heading.cellIndex), row]);
  rows.sort((a, b) => compare(a[0], b[0], upward ? 1 : -1));
  body.append(...rows.map((pair) => pair[1]));
}
for (const heading of document.querySelectorAll("thead th")) {
  if (!heading.textContent) continue;
  const button = document.createElement("button");
  button.append(...heading.childNodes);
  heading.append(button);
  button.addEventListener("click", () => sort(heading));
}
