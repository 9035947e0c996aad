// A click on a heading sorts its table by that column, a second click the other way round.
const read = (row, column) => row.cells[column].textContent.trim();
const compare = (a, b) => {
  const [x, y] = [a, b].map((text) => Number(text.replaceAll(",", "") || -Infinity));
  return x < y ? -1 : x > y ? 1 : x === y ? 0 : a.localeCompare(b);
};
document.addEventListener("click", (event) => {
  const heading = event.target.closest("table.docutils th");
  if (!heading) return;
  const body = heading.closest("table").tBodies[0];
  const sign = heading.ariaSort === "descending" ? 1 : -1;
  for (const other of heading.parentNode.cells) other.ariaSort = null;
  heading.ariaSort = sign > 0 ? "ascending" : "descending";
  const column = heading.cellIndex;
  body.append(...[...body.rows].sort((a, b) => sign * compare(read(a, column), read(b, column))));
});
