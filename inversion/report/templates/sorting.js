"use strict";
// A click on a column's head sorts each group of rows by it: numbers by what stands behind them, texts as they read.
for (const table of document.querySelectorAll("table.sortable")) {
  const heads = table.querySelectorAll("thead th");
  heads.forEach((head, column) => {
    const button = head.querySelector("button");
    if (!button) return;
    button.addEventListener("click", () => {
      const down = head.getAttribute("aria-sort") === "ascending";
      heads.forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", down ? "descending" : "ascending");
      for (const body of table.querySelectorAll("tbody.rows")) {
        const rows = Array.from(body.rows);
        const key = (row) => row.cells[column].dataset.value;
        const text = (row) => row.cells[column].textContent.trim();
        const numeric = rows.some((row) => key(row) !== undefined);
        rows.sort((one, other) => {
          if (!numeric) return (down ? -1 : 1) * text(one).localeCompare(text(other), document.documentElement.lang);
          const a = key(one), b = key(other);
          if (a === undefined || b === undefined) return (a === undefined) - (b === undefined); // empty ones last
          return (down ? -1 : 1) * (Number(a) - Number(b));
        });
        body.append(...rows);
      }
    });
  });
}
