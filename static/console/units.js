// Numbers with their units, as the console's templates write them.

const SPACE = "\u00a0"; // before units
const NARROW = "\u202f"; // within numbers

export function grouped(value) {
  return String(value).replace(/\B(?=(\d{3})+$)/g, NARROW);
}

// 850 -> "850 ms", 1240 -> "1.24 s", 95000 -> "1 min 35 s"
export function milliseconds(value) {
  if (value === null || value === undefined) return "–";
  if (value >= 60_000) {
    const whole = Math.round(value / 1000);
    const seconds = whole % 60;
    const minutes = `${Math.floor(whole / 60)}${SPACE}min`;
    return seconds ? `${minutes} ${seconds}${SPACE}s` : minutes;
  }
  return value >= 1000 ? `${(value / 1000).toFixed(2)}${SPACE}s` : `${value}${SPACE}ms`;
}
