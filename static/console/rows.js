// Rows of inputs (model names, headers, prices): add and remove. Without scripts the spare row does the same.

for (const rows of document.querySelectorAll("[data-rows]")) {
  const list = rows.querySelector(".rows");
  const blank = rows.querySelector("template");
  const add = rows.querySelector("[data-add-row]");
  if (!add) continue;
  add.hidden = false;
  for (const button of rows.querySelectorAll("[data-remove-row]")) button.hidden = false;

  add.addEventListener("click", () => {
    const row = blank.content.firstElementChild.cloneNode(true);
    row.querySelector("[data-remove-row]").hidden = false;
    list.append(row);
    row.querySelector("input").focus();
  });

  rows.addEventListener("click", (event) => {
    const button = event.target.closest("[data-remove-row]");
    if (!button) return;
    const row = button.closest(".row");
    const next = row.nextElementSibling?.querySelector("input") ?? add;
    row.remove();
    next.focus();
  });
}
