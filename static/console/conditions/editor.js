// The tree as a whole: builds it from JSON, hands it back as JSON, adds and removes nodes, puts errors at the clause
// that has them. The page around it (text of the JSON, sentence, buttons) is conditions.js.

import { build, Group } from "./nodes.js";

export class Editor {
  constructor(place, catalogue, templates, onChange) {
    this.place = place;
    this.catalogue = catalogue;
    this.templates = templates;
    this.onChange = onChange;
    this.root = null;
  }

  template(name) {
    return this.templates[name].content.firstElementChild.cloneNode(true);
  }

  load(tree) {
    this.show(build(tree, this));
  }

  show(root) {
    root.parent = null;
    this.root = root;
    this.place.replaceChildren(root.element);
    this.number();
  }

  tree() {
    return this.root.tree();
  }

  changed() {
    this.number();
    this.onChange();
  }

  number() {
    this.root.describe("");
    this.place.classList.toggle("conditions-single", !(this.root instanceof Group) || this.root.nots > 0);
  }

  newClause() {
    return structuredClone(this.catalogue.first);
  }

  // -- structure -------------------------------------------------------------------------------------------------
  add(group, tree) {
    const node = build(tree, this);
    group.append(node);
    this.changed();
    node.focus();
  }

  // A clause that stands alone becomes the first of a group.
  addToRoot(tree) {
    if (!(this.root instanceof Group) || this.root.nots) this.show(build({ all: [this.root.tree()] }, this));
    this.add(this.root, tree);
  }

  remove(node) {
    const group = node.parent;
    if (!group) {
      this.show(build({ all: [] }, this));
    } else {
      const place = group.children.indexOf(node);
      node.element.remove();
      const next = group.children[place] ?? group.children[place - 1];
      if (next) next.focus();
      else group.part("add-clause").focus();
    }
    this.changed();
  }

  // -- errors ----------------------------------------------------------------------------------------------------
  // `errors`: [{path, message}]; returns those that no node could show.
  showErrors(errors) {
    const places = [...this.root.places("when")];
    for (const [, node] of places) node.clearErrors();
    return errors.filter(({ path, message }) => {
      let best = null;
      for (const [place, node] of places) {
        const inside = path.startsWith(place) && /^($|[.[])/.test(path.slice(place.length));
        if (inside && (!best || place.length > best[0].length)) best = [place, node];
      }
      best?.[1].showError(path.slice(best[0].length), message);
      return !best;
    });
  }
}
