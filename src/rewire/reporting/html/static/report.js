"use strict";
// Shared by the scripts of the page: elements, data, switches.

const element = (name, attributes = {}, ...children) => {
  const node = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith("on")) node.addEventListener(key.slice(2), value);
    else if (value !== null && value !== undefined) node.setAttribute(key, value);
  }
  node.append(...children);
  return node;
};

const data = (name) => {
  const found = document.getElementById(`data-${name}`);
  return found ? JSON.parse(found.textContent) : null;
};

// A choice between names: buttons while they are few and short, else a list.
const choice = (label, names, chosen, change) => {
  const wide = names.length > 6 || names.join("").length > 60;
  const holder = element("span", { class: "choice" });
  if (label) holder.append(`${label} `);
  if (wide) {
    const list = element("select", { "aria-label": label || "choice", onchange: () => change(list.value) });
    for (const name of names) list.append(element("option", name === chosen ? { selected: "" } : {}, name));
    holder.append(list);
  } else {
    const buttons = element("span", { class: "segments", role: "group", "aria-label": label || "choice" });
    for (const name of names) {
      buttons.append(element("button", { type: "button", "aria-pressed": String(name === chosen), onclick: (event) => {
        for (const other of buttons.children) other.setAttribute("aria-pressed", String(other === event.currentTarget));
        change(name);
      } }, name));
    }
    holder.append(buttons);
  }
  return holder;
};

// Tables: a click on a header sorts, a second click turns the order round.
const leading = (text) => {
  const match = /^[<\s]*([-+]?[\d,]*\.?\d+(?:e[-+]?\d+)?)(?=$|[\s%:])/i.exec(text.replace("−", "-"));
  return match ? Number(match[1].replaceAll(",", "")) : null;
};

const sortTable = (table, header, key) => {
  const rising = header.getAttribute("aria-sort") !== "ascending";
  for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
  header.setAttribute("aria-sort", rising ? "ascending" : "descending");
  const rows = [...table.tBodies[0].rows].map((row) => ({ row, value: key(row) }));
  const empty = (value) => value === null || value === "";
  rows.sort((a, b) => {
    if (empty(a.value) || empty(b.value)) return empty(a.value) - empty(b.value); // what is missing stays last
    const order = typeof a.value === "number" && typeof b.value === "number" ? a.value - b.value : String(a.value).localeCompare(String(b.value));
    return rising ? order : -order;
  });
  table.tBodies[0].append(...rows.map(({ row }) => row));
};

for (const table of document.querySelectorAll("table.numbers")) {
  const by = table.closest("figure").querySelector(".by");
  const key = (column) => (row) => {
    if (column === "label") return row.cells[0].textContent.trim();
    const value = row.cells[Number(column) + 1].dataset[by.value];
    return value === "" ? null : Number(value);
  };
  for (const header of table.tHead.rows[0].cells) {
    header.querySelector("button").addEventListener("click", (event) => sortTable(table, header, key(event.currentTarget.dataset.sort)));
  }
  by.addEventListener("change", () => {
    const header = table.querySelector("[aria-sort]");
    if (!header) return;
    header.removeAttribute("aria-sort");
    header.querySelector("button").click();
  });
}

// Long tables show their first rows.
const SHOWN = 6;
for (const table of document.querySelectorAll("table.numbers")) {
  const count = table.tBodies[0].rows.length;
  if (count <= SHOWN + 2) continue;
  table.classList.add("folded");
  const button = element("button", { type: "button", class: "more", "aria-expanded": "false", onclick: () => {
    const folded = table.classList.toggle("folded");
    button.textContent = folded ? `all ${count} rows` : `the first ${SHOWN} rows`;
    button.setAttribute("aria-expanded", String(!folded));
  } }, `all ${count} rows`);
  table.after(button);
}

for (const table of document.querySelectorAll("table.plain")) {
  const rows = [...table.tBodies[0].rows];
  [...table.tHead.rows[0].cells].forEach((header, column) => {
    const texts = rows.map((row) => row.cells[column].textContent.trim()).filter((text) => text !== "-");
    const numeric = texts.every((text) => leading(text) !== null);
    if (!numeric) for (const row of rows) row.cells[column].classList.toggle("long", column > 0 && row.cells[column].textContent.trim().length > 24);
    if (numeric) [header, ...rows.map((row) => row.cells[column])].forEach((cell) => cell.classList.add("right"));
    header.querySelector("button").addEventListener("click", () => sortTable(table, header, (row) => {
      const text = row.cells[column].textContent.trim();
      return text === "-" ? null : numeric ? leading(text) : text;
    }));
  });
}

// A click on a number explains it.
const dialog = document.getElementById("explain");
document.addEventListener("click", (event) => {
  const number = event.target.closest("[data-explain]");
  if (number) {
    dialog.querySelector(".body").replaceChildren(document.getElementById(`x-${number.dataset.explain}`).content.cloneNode(true));
    dialog.showModal();
    dialog.scrollTop = 0;
  } else if (event.target === dialog || event.target.closest("#explain .close")) dialog.close();
});

// What a link points to may be folded away.
const unfold = () => {
  const target = location.hash.length > 1 && document.getElementById(decodeURIComponent(location.hash.slice(1)));
  if (!target) return;
  for (let node = target; node; node = node.parentElement) if (node.tagName === "DETAILS") node.open = true;
  const own = target.querySelector(":scope > details");
  if (own) own.open = true;
  target.scrollIntoView();
};
addEventListener("hashchange", unfold);
addEventListener("load", unfold);

document.getElementById("theme").addEventListener("click", () => {
  const root = document.documentElement;
  const dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  root.dataset.theme = dark ? "light" : "dark";
  dispatchEvent(new Event("themechange"));
});
