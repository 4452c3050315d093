// The provider form: fields that only matter for one choice appear with it (data-when="field=value").

for (const part of document.querySelectorAll("[data-when]")) {
  const [name, value] = part.dataset.when.split("=");
  const field = document.querySelector(`[name="${name}"]`);
  if (!field) continue;
  const show = () => {
    part.hidden = field.value !== value;
  };
  field.addEventListener("change", show);
  show();
}
