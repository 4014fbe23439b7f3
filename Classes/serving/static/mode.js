// What the images show: one cell each, or photographed fields with many cells. The choice is remembered.

import { byId } from "./dom.js";

export const CELLS = "cells";
export const FIELDS = "fields";

const REMEMBERED = "image.kind";

export const mode = { kind: CELLS };

// `onChange` is called when the other kind is chosen.
export function listenForMode(onChange) {
  for (const kind of [CELLS, FIELDS]) {
    byId(`mode-${kind}`).addEventListener("change", () => {
      setMode(kind);
      onChange();
    });
  }
  setMode(remembered());
}

function setMode(kind) {
  mode.kind = kind;
  byId(`mode-${kind}`).checked = true;
  document.body.classList.toggle("fields", kind === FIELDS);
  try {
    localStorage.setItem(REMEMBERED, kind);
  } catch {
    // The storage is switched off.
  }
}

function remembered() {
  try {
    return localStorage.getItem(REMEMBERED) === FIELDS ? FIELDS : CELLS;
  } catch {
    return CELLS;
  }
}
