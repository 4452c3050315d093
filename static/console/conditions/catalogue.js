// What conditions can ask about: the engine's own table of facts and operators, handed over by the page.
// Nothing here knows a fact by name. No DOM.

export class Catalogue {
  constructor({ facts, operators }) {
    this.facts = facts;
    this.operators = operators;
    this.byName = new Map(facts.filter((fact) => !fact.parameter).map((fact) => [fact.name, fact]));
    this.families = facts.filter((fact) => fact.parameter);
  }

  // {spec, parameter}: the fact, and what follows the dot of a family ("x-team" of "header.x-team").
  find(name) {
    if (typeof name !== "string") return null;
    const spec = this.byName.get(name);
    if (spec) return { spec, parameter: "" };
    const family = this.families.find((fact) => name.startsWith(fact.prefix));
    return family ? { spec: family, parameter: name.slice(family.prefix.length) } : null;
  }

  // What an operator is given: string, strings, glob, regex, number, pair, flag, networks or window.
  operand(op) {
    return this.operators[op]?.operand;
  }

  // A value for another operator or fact: what was typed where it still fits, else the fact's example.
  convert(value, from, to) {
    const [before, after] = [this.operand(from.op), this.operand(to.op)];
    const words = new Set(["string", "glob", "regex"]);
    const alike = from.spec.kind === to.spec.kind && !from.spec.choices.length && !to.spec.choices.length;
    if (from.spec === to.spec || alike) {
      if (before === after || (words.has(before) && words.has(after))) return value;
      if (words.has(before) && after === "strings" && value) return [value];
      if (before === "strings" && words.has(after) && value?.length) return value[0];
      if (before === "number" && after === "pair" && value !== null) return [0, value];
      if (before === "pair" && after === "number") return value?.[1] ?? null;
    }
    return structuredClone(to.spec.samples[to.op]);
  }
}
