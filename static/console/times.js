// Moments in the reader's own time zone, as the title of every <time>.

export function localTimes(part) {
  for (const element of part.querySelectorAll("time[datetime]")) {
    const local = new Date(element.dateTime).toLocaleString(undefined, { dateStyle: "medium", timeStyle: "long" });
    element.title = element.title ? `${element.title}\n${local}` : local;
  }
}
