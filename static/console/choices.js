// Choices that bring fields of their own (strategies, failover modes): only the chosen one's are shown, and what is
// chosen is named where the choices are folded away.

function show(form, name) {
  const chosen = form.querySelector(`[name="${name}"]:checked`);
  for (const part of form.querySelectorAll(`[data-choice="${name}"]`)) part.hidden = part.dataset.choiceValue !== (chosen?.value ?? null);
  const now = form.querySelector(`[data-chosen-of="${name}"]`);
  const card = chosen?.closest(".choice");
  if (now && card) {
    now.querySelector("strong").textContent = card.querySelector("strong").textContent;
    now.querySelector("span").textContent = card.querySelector("span").textContent;
  }
}

for (const name of new Set([...document.querySelectorAll("[data-choice]")].map((part) => part.dataset.choice))) {
  const form = document.querySelector(`[data-choice="${name}"]`).closest("form");
  form.addEventListener("input", (event) => {
    if (event.target.name === name) show(form, name);
  });
  show(form, name);
}
