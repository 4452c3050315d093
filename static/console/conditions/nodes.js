// The nodes of a condition tree on the page: a clause, a group, and whatever the editor does not know, as JSON.
//
// Every node keeps what it was made from and hands exactly that back until somebody edits it, so that opening the
// editor never changes a rule. `{not: …}` is a switch on the node inside it; `nots` counts how many stand around it.

import { fits, valueInput } from "./values.js";

const hasExactly = (node, ...keys) =>
  Object.keys(node).length === keys.length && keys.every((key) => Object.hasOwn(node, key));

const isObject = (node) => node !== null && typeof node === "object" && !Array.isArray(node);

export function build(tree, editor) {
  let nots = 0;
  let inner = tree;
  while (isObject(inner) && hasExactly(inner, "not")) {
    nots += 1;
    inner = inner.not;
  }
  const node = kindOf(inner, editor.catalogue);
  return new node(inner, nots, editor);
}

function kindOf(tree, catalogue) {
  if (!isObject(tree)) return Raw;
  for (const kind of ["all", "any"]) if (hasExactly(tree, kind)) return Array.isArray(tree[kind]) ? Group : Raw;
  if (!hasExactly(tree, "fact", "op", "value")) return Raw;
  const found = catalogue.find(tree.fact);
  return found && found.spec.ops.includes(tree.op) && fits(catalogue.operand(tree.op), tree.value) ? Clause : Raw;
}

class Node {
  constructor(nots, editor, template) {
    this.nots = nots;
    this.editor = editor;
    this.element = editor.template(template);
    this.element.node = this;
    this.parent = null;
    this.not = this.part("not");
    this.not.addEventListener("click", () => {
      this.nots = this.nots ? this.nots - 1 : 1;
      this.showNot();
      editor.changed();
    });
    this.part("remove").addEventListener("click", () => editor.remove(this));
    this.showNot();
  }

  part(name) {
    return this.element.querySelector(`:scope > [data-part="${name}"], :scope > .node-head [data-part="${name}"]`);
  }

  showNot() {
    this.not.setAttribute("aria-pressed", String(this.nots > 0));
    this.not.textContent = Array(Math.max(1, this.nots)).fill("not").join(" ");
    this.element.classList.toggle("negated", this.nots > 0);
  }

  tree() {
    let tree = this.inner();
    for (let count = 0; count < this.nots; count++) tree = { not: tree };
    return tree;
  }

  // Every node with its path, as the server names places: when.all[0].not.value
  *places(path) {
    yield [path + ".not".repeat(this.nots), this];
  }

  // Its name for those who hear the page: "Condition 2.1" is the first of the second.
  describe(place) {
    this.element.setAttribute("aria-label", `Condition ${place}`.trim());
  }

  clearErrors() {
    this.part("errors").replaceChildren();
    for (const field of this.element.querySelectorAll('[aria-invalid="true"]')) field.removeAttribute("aria-invalid");
  }

  showError(rest, message) {
    const item = document.createElement("li");
    const entry = /^\.value\[(\d+)\]/.exec(rest);
    item.textContent = entry ? `No. ${Number(entry[1]) + 1} ${message}` : message;
    this.part("errors").append(item);
    for (const field of this.fieldsAt(rest)) field.setAttribute("aria-invalid", "true");
  }

  fieldsAt() {
    return [];
  }

  focus() {
    this.element.querySelector("select, input, textarea, button")?.focus();
  }
}

export class Clause extends Node {
  constructor(tree, nots, editor) {
    super(nots, editor, "clause");
    this.current = tree;
    this.fact = this.part("fact");
    this.name = this.part("name");
    this.op = this.part("op");
    this.fact.addEventListener("change", () => this.chooseFact());
    this.op.addEventListener("change", () => this.chooseOp());
    this.name.addEventListener("input", () => this.edit({ fact: this.spec.prefix + this.name.value.trim() }));
    this.part("value").addEventListener("input", () => this.edit({ value: this.read() }));
    this.show();
  }

  inner() {
    return this.current;
  }

  edit(changes) {
    this.current = { ...this.current, ...changes };
    this.editor.changed();
  }

  show() {
    const { spec, parameter } = this.editor.catalogue.find(this.current.fact);
    this.spec = spec;
    this.fact.value = spec.name;
    this.name.hidden = !spec.parameter;
    this.name.value = parameter;
    this.name.setAttribute("aria-label", `Name of the ${spec.label}`);
    this.name.placeholder = spec.prefix === "header." ? "x-team" : "user_id";
    this.op.replaceChildren(
      ...spec.ops.map((op) => new Option(this.editor.catalogue.operators[op].label, op, false, op === this.current.op)),
    );
    this.op.value = this.current.op;
    this.part("help").textContent = spec.description;
    this.showValue();
  }

  showValue() {
    const { op, value } = this.current;
    const input = valueInput(this.editor.catalogue.operand(op), { spec: this.spec, op, value });
    this.read = input.value;
    this.part("value").replaceChildren(input.element);
  }

  chooseFact() {
    const spec = this.editor.catalogue.facts.find((fact) => fact.name === this.fact.value);
    const op = spec.ops.includes(this.current.op) ? this.current.op : spec.ops[0];
    const value = this.editor.catalogue.convert(this.current.value, { spec: this.spec, op: this.current.op }, { spec, op });
    this.current = { fact: spec.parameter ? spec.prefix : spec.name, op, value };
    this.show();
    if (spec.parameter) this.name.focus();
    this.editor.changed();
  }

  chooseOp() {
    const before = { spec: this.spec, op: this.current.op };
    const after = { spec: this.spec, op: this.op.value };
    const value = this.editor.catalogue.convert(this.current.value, before, after);
    this.current = { ...this.current, op: after.op, value };
    this.showValue();
    this.editor.changed();
  }

  fieldsAt(rest) {
    if (rest.startsWith(".fact")) return [this.spec.parameter ? this.name : this.fact];
    if (rest.startsWith(".op")) return [this.op];
    return this.part("value").querySelectorAll("input:not([type=checkbox]), select, textarea");
  }
}

export class Group extends Node {
  constructor(tree, nots, editor) {
    super(nots, editor, "group");
    this.body = this.part("body");
    this.kind = this.part("kind");
    this.kind.value = Object.hasOwn(tree, "all") ? "all" : "any";
    this.kind.addEventListener("change", () => editor.changed());
    this.part("add-clause").addEventListener("click", () => editor.add(this, editor.newClause()));
    this.part("add-group").addEventListener("click", () =>
      editor.add(this, { [this.kind.value === "all" ? "any" : "all"]: [editor.newClause()] }),
    );
    for (const child of tree[this.kind.value]) this.append(build(child, editor));
  }

  part(name) {
    return super.part(name) ?? this.element.querySelector(`:scope > .node-foot > [data-part="${name}"]`);
  }

  get children() {
    return [...this.body.children].map((element) => element.node);
  }

  append(child) {
    child.parent = this;
    this.body.append(child.element);
  }

  inner() {
    return { [this.kind.value]: this.children.map((child) => child.tree()) };
  }

  *places(path) {
    yield* super.places(path);
    const inside = `${path}${".not".repeat(this.nots)}.${this.kind.value}`;
    for (const [index, child] of this.children.entries()) yield* child.places(`${inside}[${index}]`);
  }

  describe(place) {
    super.describe(place);
    this.children.forEach((child, index) => child.describe(place ? `${place}.${index + 1}` : `${index + 1}`));
  }
}

export class Raw extends Node {
  constructor(tree, nots, editor) {
    super(nots, editor, "raw");
    this.current = tree;
    const area = this.part("json");
    area.value = JSON.stringify(tree, null, 2);
    area.addEventListener("input", () => {
      try {
        this.current = JSON.parse(area.value);
        area.setCustomValidity("");
        area.removeAttribute("aria-invalid");
        editor.changed();
      } catch (error) {
        // Until it is JSON again the node keeps what it was.
        area.setCustomValidity(error.message);
        area.setAttribute("aria-invalid", "true");
      }
    });
  }

  inner() {
    return this.current;
  }

  fieldsAt() {
    return [this.part("json")];
  }
}
