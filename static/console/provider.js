// Forms of providers and alert channels: fields that only matter for one choice appear with it (data-when="field=value", or
// "field=one|other").

for (const part of document.querySelectorAll("[data-when]")) {
  const [name, value] = part.dataset.when.split("=");
  const field = document.querySelector(`[name="${name}"]`);
  if (!field) continue;
  const show = () => {
    part.hidden = !value.split("|").includes(field.value);
  };
  field.addEventListener("change", show);
  show();
}
