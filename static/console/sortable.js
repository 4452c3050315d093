// Ordering by dragging the handle of an item. Buttons and keys are the list's own business.

export function sortable(list, items, onDrop) {
  let dragged = null;
  let before = null;

  list.addEventListener("dragstart", (event) => {
    if (!event.target.closest(".drag-handle")) return;
    dragged = event.target.closest(items);
    before = dragged.nextElementSibling;
    dragged.setAttribute("data-dragging", "");
    event.dataTransfer.effectAllowed = "move";
    event.dataTransfer.setDragImage(dragged, 20, 20);
  });

  list.addEventListener("dragover", (event) => {
    const over = event.target.closest(items);
    if (!dragged || !over || !list.contains(over)) return;
    event.preventDefault();
    if (over === dragged) return;
    const box = over.getBoundingClientRect();
    if (event.clientY < box.top + box.height / 2) over.before(dragged);
    else over.after(dragged);
  });

  list.addEventListener("drop", (event) => event.preventDefault());

  list.addEventListener("dragend", () => {
    if (!dragged) return;
    dragged.removeAttribute("data-dragging");
    const [item, moved] = [dragged, dragged.nextElementSibling !== before];
    dragged = null;
    if (moved) onDrop(item);
  });
}
