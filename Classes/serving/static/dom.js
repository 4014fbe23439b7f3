// Shorthands for the document.

export const byId = (id) => document.getElementById(id);

export function element(name, content = "", fields = {}) {
  const made = Object.assign(document.createElement(name), fields);
  if (content !== "") made.append(...[content].flat());
  return made;
}

// Setting the same text again would make screen readers repeat it, and the browser lay out the page.
export function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}
