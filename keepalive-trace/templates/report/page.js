/* The page reads well without this: it sorts, and filters. */
"use strict";
(() => {
  const table = document.querySelector("table");
  const rows = [...table.tBodies];
  const form = document.querySelector(".find");
  const search = form.querySelector("input");
  const boxes = [...document.querySelectorAll(".ends input")];
  const heads = [...table.tHead.rows[0].cells];
  const shown = form.querySelector(".shown");
  const none = document.querySelector(".none");
  const texts = new WeakMap();

  const text = (row) => {
    if (!texts.has(row)) texts.set(row, row.textContent.toLowerCase());
    return texts.get(row);
  };

  const filter = () => {
    const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    const verdicts = new Set(boxes.filter((box) => box.checked).map((box) => box.value));
    let count = 0;
    for (const row of rows) {
      const fits = verdicts.has(row.dataset.v) && (words.length === 0 || words.every((word) => text(row).includes(word)));
      if (row.hidden === fits) row.hidden = !fits;
      if (fits) count += 1;
    }
    shown.textContent = `${count} of ${rows.length} shown`;
    none.hidden = count > 0;
  };

  const number = (row, place) => Number(row.dataset.k.split(" ")[place]);

  /* By a column of numbers, the largest first; by one of words, in their order. Once more turns it round. */
  const sort = (head) => {
    const before = head ? head.getAttribute("aria-sort") : null;
    heads.forEach((other) => other.removeAttribute("aria-sort"));
    const order = [...rows];
    const rank = (a, b) => number(a, 0) - number(b, 0);
    if (!head) {
      order.sort(rank);
    } else {
      const place = head.dataset.k;
      const down = place ? before !== "descending" : before === "ascending";
      const column = heads.indexOf(head);
      const key = new Map(rows.map((row) => [row, place ? number(row, place) : row.rows[0].cells[column].textContent]));
      const compare = place ? (a, b) => a - b : new Intl.Collator("en", { numeric: true }).compare;
      const turn = down ? -1 : 1;
      order.sort((a, b) => turn * compare(key.get(a), key.get(b)) || rank(a, b));
      head.setAttribute("aria-sort", down ? "descending" : "ascending");
    }
    table.append(...order);
  };

  for (const head of heads) {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => sort(head));
  }
  let soon = 0;
  search.addEventListener("input", () => {
    clearTimeout(soon);
    soon = setTimeout(filter, 120);
  });
  boxes.forEach((box) => box.addEventListener("change", filter));
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("reset", () => {
    boxes.forEach((box) => { box.checked = true; });
    setTimeout(() => { sort(null); filter(); });
  });
  document.querySelectorAll(".js").forEach((control) => { control.hidden = false; });
  filter();
})();
