// The page of a channel: what becomes of a test that is under way. Asks the API once a second, a minute at most.

const waiting = document.querySelector("[data-delivery]");

async function pending(id) {
  const answer = await fetch(`/api/v1/alerts/deliveries/${id}/`, { headers: { Accept: "application/json" } });
  return answer.ok && (await answer.json()).status === "pending";
}

async function watch(id) {
  for (let look = 0; look < 60; look += 1) {
    await new Promise((resolve) => setTimeout(resolve, 1000));
    try {
      if (await pending(id)) continue;
    } catch {
      continue; // The console was away for a moment.
    }
    // What somebody is typing into the form is not thrown away for the sake of news.
    if (!document.querySelector("form[data-edited]")) location.reload();
    return;
  }
}

if (waiting) {
  const form = document.querySelector("form[data-guard]");
  form?.addEventListener("input", () => {
    form.dataset.edited = "";
  });
  watch(waiting.dataset.delivery);
}
