// Zoom and pan of a picture by wheel, mouse, touch, keyboard and the buttons in `toolbar` (zoom_buttons of index.html).
// `canvas` fills `stage` as far as the picture's shape allows; `apply({scale, x, y})` moves what is on it from there, in
// pixels of the screen.

import { setText } from "./dom.js";
import { formatNumber } from "./translation.js";

const STEP = 1.3;
const PAN_STEP = 60;

// Pixels that a finger or mouse moves before a press becomes a drag; less is a click on what is below.
const DRAG_FROM = 4;

export function createZoom(stage, canvas, toolbar, apply, maximum = 16) {
  let zoom = { scale: 1, x: 0, y: 0 };
  const pointers = new Map();

  function set(changed) {
    const scale = Math.max(1, Math.min(changed.scale, maximum));
    const [width, height] = [canvas.offsetWidth, canvas.offsetHeight];
    // No edge of the picture comes further in than at the start.
    const within = (value, size) => Math.min(0, Math.max(size * (1 - scale), value));
    zoom = { scale, x: within(changed.x, width), y: within(changed.y, height) };
    stage.classList.toggle("zoomed", scale > 1);
    setText(toolbar.querySelector("output"), `${formatNumber(Math.round(100 * scale))} %`);
    apply(zoom);
  }

  // Zooms around a point of the window; by default around the middle of the stage.
  function by(factor, x, y) {
    const box = stage.getBoundingClientRect();
    const [fromLeft, fromTop] = [x ?? box.left + box.width / 2, y ?? box.top + box.height / 2];
    const scale = Math.max(1, Math.min(zoom.scale * factor, maximum));
    const ratio = scale / zoom.scale;
    const [left, top] = [fromLeft - box.left - canvas.offsetLeft, fromTop - box.top - canvas.offsetTop];
    set({ scale, x: left - (left - zoom.x) * ratio, y: top - (top - zoom.y) * ratio });
  }

  const pan = (x, y) => set({ ...zoom, x: zoom.x + x, y: zoom.y + y });
  const reset = () => set({ scale: 1, x: 0, y: 0 });

  // Fits a picture of this size into the stage.
  function place(width, height) {
    const fit = Math.min(stage.clientWidth / width, stage.clientHeight / height);
    canvas.style.width = `${width * fit}px`;
    canvas.style.height = `${height * fit}px`;
    canvas.style.left = `${(stage.clientWidth - width * fit) / 2}px`;
    canvas.style.top = `${(stage.clientHeight - height * fit) / 2}px`;
    set(zoom);
    return fit;
  }

  // Moves a point of the picture, in shares of its width and height, to the middle of the stage.
  function center(x, y, scale) {
    const [width, height] = [canvas.offsetWidth, canvas.offsetHeight];
    const left = stage.clientWidth / 2 - canvas.offsetLeft - x * width * scale;
    const top = stage.clientHeight / 2 - canvas.offsetTop - y * height * scale;
    set({ scale, x: left, y: top });
  }

  const buttons = { larger: () => by(STEP), smaller: () => by(1 / STEP), reset };
  for (const button of toolbar.querySelectorAll("button")) {
    button.addEventListener("click", buttons[button.dataset.action]);
  }
  listenForPointers(stage, pointers, by, pan, () => zoom.scale > 1);
  const actions = { "+": buttons.larger, "=": buttons.larger, "-": buttons.smaller, 0: reset };
  const moves = { ArrowLeft: [1, 0], ArrowRight: [-1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] };
  return {
    reset, place, center, actions,
    scale: () => zoom.scale,
    // Pans by an arrow key; returns whether there was somewhere to go.
    panByKey(key) {
      if (!(key in moves) || zoom.scale === 1) return false;
      pan(...moves[key].map((step) => step * PAN_STEP));
      return true;
    },
    forgetPointers: () => pointers.clear(),
  };
}

function listenForPointers(stage, pointers, by, pan, isZoomed) {
  let moved = 0;
  stage.addEventListener(
    "wheel",
    (event) => {
      event.preventDefault();
      by(Math.exp(-event.deltaY / 400), event.clientX, event.clientY);
    },
    { passive: false },
  );
  stage.addEventListener("pointerdown", (event) => {
    if (!pointers.size) moved = 0;
    pointers.set(event.pointerId, event);
  });
  stage.addEventListener("pointermove", (event) => {
    const before = pointers.get(event.pointerId);
    if (!before) return;
    const other = [...pointers.values()].find((each) => each.pointerId !== event.pointerId);
    pointers.set(event.pointerId, event);
    moved += Math.hypot(event.clientX - before.clientX, event.clientY - before.clientY);
    // Only now, because a captured pointer clicks nothing.
    if (moved > DRAG_FROM && !stage.hasPointerCapture(event.pointerId)) stage.setPointerCapture(event.pointerId);
    if (other) {
      const distance = (one) => Math.hypot(one.clientX - other.clientX, one.clientY - other.clientY);
      by(distance(event) / (distance(before) || 1), (event.clientX + other.clientX) / 2, (event.clientY + other.clientY) / 2);
    } else if (isZoomed()) {
      pan(event.clientX - before.clientX, event.clientY - before.clientY);
    }
  });
  for (const name of ["pointerup", "pointercancel"]) {
    stage.addEventListener(name, (event) => pointers.delete(event.pointerId));
  }
}
