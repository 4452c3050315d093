// Leaving a form that was edited and not saved asks first.

for (const form of document.querySelectorAll("form[data-guard]:not([data-read-only])")) {
  let edited = false;
  const touched = (event) => {
    if (event.target.name !== "probe") edited = true;
  };
  form.addEventListener("input", touched);
  form.addEventListener("change", touched);
  form.addEventListener("submit", () => {
    edited = false;
  });
  window.addEventListener("beforeunload", (event) => {
    if (edited) event.preventDefault();
  });
}
