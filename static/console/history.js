// History: addresses without what was left empty, and the export menu, which counts its rows when it is opened.

document.getElementById("filters")?.addEventListener("formdata", ({ formData }) => {
  if (formData.get("range") !== "between") {
    formData.delete("from");
    formData.delete("to");
  } else if (formData.get("from") || formData.get("to")) {
    formData.delete("range"); // the moments say it
  }
  for (const [name, value] of [...formData]) {
    if (value.trim() === "") formData.delete(name);
  }
});

for (const menu of document.querySelectorAll("[data-menu]")) {
  menu.addEventListener("toggle", async () => {
    const said = menu.querySelector("[data-count-here]");
    if (!menu.open || !menu.dataset.count || said.textContent) return;
    said.textContent = "Counting…";
    try {
      const response = await fetch(menu.dataset.count);
      if (!response.ok || response.redirected) throw new Error(response.statusText);
      said.textContent = await response.text();
    } catch {
      said.textContent = "Could not be counted";
    }
  });
  menu.addEventListener("keydown", (event) => {
    if (event.key !== "Escape" || !menu.open) return;
    menu.open = false;
    menu.querySelector("summary").focus();
  });
  document.addEventListener("click", (event) => {
    if (!menu.contains(event.target)) menu.open = false;
  });
}
