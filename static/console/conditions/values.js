// The typed input for a clause's value, by what the operator is given. Each is {element, value}: a function asked for
// the value as JSON once somebody has edited it. What cannot be read is null, and the server says what is wrong.

let serial = 0;

function make(tag, properties = {}, children = []) {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
}

function textInput(label, value, properties = {}) {
  const input = make("input", { className: "input", autocomplete: "off", spellcheck: false, ...properties });
  input.value = value ?? "";
  input.setAttribute("aria-label", label);
  return input;
}

function numberInput(label, value, spec) {
  const input = textInput(label, value, { type: "number", step: "any", min: "0" });
  input.inputMode = "decimal";
  if (spec.maximum !== null) input.max = String(spec.maximum);
  return input;
}

const numberOf = (input) => (input.value === "" ? null : Number(input.value));

function choiceInput(label, options, value) {
  const select = make("select", { className: "input" });
  select.setAttribute("aria-label", label);
  for (const [word, choice] of options) select.add(new Option(word, choice, false, choice === value));
  select.value = value;
  return select;
}

function linesInput(label, value, spec) {
  const lines = Array.isArray(value) ? value : value == null ? [] : [value];
  const area = make("textarea", { className: "input", rows: Math.min(8, Math.max(2, lines.length + 1)) });
  area.value = lines.join("\n");
  area.spellcheck = false;
  area.placeholder = Array.isArray(spec.example) ? spec.example.join("\n") : String(spec.example);
  area.setAttribute("aria-label", `${label}, one per line`);
  return area;
}

const linesOf = (area) => area.value.split("\n").map((line) => line.trim()).filter(Boolean);

function checks(label, choices, chosen) {
  const boxes = choices.map(([word, choice]) => {
    const box = make("input", { type: "checkbox", value: choice, checked: chosen.includes(choice) });
    return { box, element: make("label", { className: "pill" }, [box, make("span", { textContent: word })]) };
  });
  const element = make("span", { className: "pills" }, boxes.map((entry) => entry.element));
  element.setAttribute("role", "group");
  element.setAttribute("aria-label", label);
  return { element, chosen: () => boxes.filter(({ box }) => box.checked).map(({ box }) => box.value) };
}

const humane = (word) => word.replaceAll("_", " ");

// -- one builder per kind of operand ---------------------------------------------------------------------------------
function string({ spec, op, value }) {
  // Parts of a choice (prefix, contains) are typed, whole ones chosen.
  if (spec.choices.length && (op === "eq" || op === "ne")) {
    const known = spec.choices.includes(value) ? spec.choices : [value, ...spec.choices];
    const select = choiceInput("Value", known.map((choice) => [humane(String(choice)), choice]), value);
    return { element: select, value: () => select.value };
  }
  const input = textInput("Value", value, { placeholder: String(spec.example) });
  return { element: input, value: () => input.value };
}

function pattern({ spec, op, value }) {
  const sample = String(spec.samples[op]);
  const input = textInput(op === "regex" ? "Regular expression" : "Glob", value, { placeholder: sample });
  input.classList.add("code");
  return { element: input, value: () => input.value };
}

function strings({ spec, value }) {
  if (spec.choices.length) {
    const known = [...new Set([...spec.choices, ...(value ?? [])])];
    const group = checks("Values", known.map((choice) => [humane(choice), choice]), value ?? []);
    return { element: group.element, value: group.chosen };
  }
  const area = linesInput("Values", value, spec);
  return { element: area, value: () => linesOf(area) };
}

function networks({ spec, value }) {
  const area = linesInput("Networks", value, spec);
  const read = () => {
    const lines = linesOf(area);
    // One network may be written either way: it stays as it was.
    return lines.length === 1 && !Array.isArray(value) ? lines[0] : lines;
  };
  return { element: area, value: read };
}

function withUnit(spec, ...parts) {
  const unit = spec.unit ? [make("span", { className: "unit", textContent: spec.unit })] : [];
  return make("span", { className: "with-unit" }, [...parts, ...unit]);
}

function number({ spec, value }) {
  const input = numberInput(spec.unit ? `Value in ${spec.unit}` : "Value", value, spec);
  return { element: withUnit(spec, input), value: () => numberOf(input) };
}

function pair({ spec, value }) {
  const [low, high] = Array.isArray(value) ? value : [];
  const first = numberInput("From", low, spec);
  const last = numberInput("To", high, spec);
  const and = make("span", { textContent: "and" });
  return { element: withUnit(spec, first, and, last), value: () => [numberOf(first), numberOf(last)] };
}

function flag({ op, value }) {
  const words = op === "exists" ? ["present", "absent"] : ["yes", "no"];
  const select = choiceInput("Value", [[words[0], "true"], [words[1], "false"]], String(value));
  return { element: select, value: () => select.value === "true" };
}

const DAYS = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];
const DAY_WORDS = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"];

function timeInput(label, value) {
  return textInput(label, value, { placeholder: "HH:MM", maxLength: 5, className: "input clock" });
}

function window_({ value }) {
  const given = value && typeof value === "object" ? value : {};
  const start = timeInput("From, HH:MM", given.start);
  const end = timeInput("Until, HH:MM", given.end);
  const list = `zones-${++serial}`;
  const zone = textInput("Time zone", given.timezone ?? "UTC", { placeholder: "Europe/Berlin" });
  zone.setAttribute("list", list);
  const zones = make("datalist", { id: list }, ["UTC", ...Intl.supportedValuesOf("timeZone")].map((name) => new Option(name, name)));
  const days = checks("Days; for a window over midnight, the day it begins", DAYS.map((day, place) => [DAY_WORDS[place], day]), given.days ?? DAYS);
  const outside = make("input", { type: "checkbox", checked: given.outside === true });
  const until = make("span", { textContent: "until" });
  const element = make("span", { className: "time-window" }, [
    make("span", { className: "with-unit" }, [start, until, end]),
    zone,
    zones,
    days.element,
    make("label", { className: "pill" }, [outside, make("span", { textContent: "outside of it" })]),
  ]);
  const read = () => {
    const next = { ...given, start: start.value.trim(), end: end.value.trim(), timezone: zone.value.trim() };
    next.days = days.chosen();
    next.outside = outside.checked;
    // What says nothing is left out, as the server writes it.
    if (next.days.length === DAYS.length) delete next.days;
    if (!next.outside) delete next.outside;
    return next;
  };
  return { element, value: read };
}

const BUILDERS = { string, strings, glob: pattern, regex: pattern, number, pair, flag, networks, window: window_ };

// Whether the editor can show this value without changing what it says; if not, it is shown as JSON.
export function fits(operand, value) {
  const isText = (item) => typeof item === "string" && !/[\n\r]/.test(item);
  // A list is edited as lines, so an entry must survive being one.
  const isLine = (item) => isText(item) && item === item.trim() && item !== "";
  switch (operand) {
    case "string":
    case "glob":
    case "regex":
      return isText(value);
    case "strings":
      return Array.isArray(value) && value.every(isLine);
    case "networks":
      return isLine(value) || (Array.isArray(value) && value.every(isLine));
    case "number":
      return typeof value === "number" || value === null;
    case "pair":
      return Array.isArray(value) && value.length === 2 && value.every((item) => typeof item === "number" || item === null);
    case "flag":
      return typeof value === "boolean";
    case "window":
      return value !== null && typeof value === "object" && !Array.isArray(value);
    default:
      return false;
  }
}

export function valueInput(operand, context) {
  return BUILDERS[operand](context);
}
