// The dialog with one image, large: heat map over it, zoom, previous and next.

import { canHaveHeatMap, requestHeatMap } from "./classify.js";
import { byId, element, setText } from "./dom.js";
import { outcomeOf } from "./images.js";
import { classTitle, conditionOf, hasTypes, modelOf } from "./models.js";
import { formatPercent, groupText, leaningText, positiveProbability, reasonText, resultText, typeText } from "./results.js";
import { focusImage } from "./rows.js";
import { formatNumber, t } from "./translation.js";

const MAX_ZOOM = 16;
const ZOOM_STEP = 1.3;
// Of the heat map, if the dialog opens from it.
const USUAL_OPACITY = 60;
// Classes with a bar of their own; the others are added up.
const MAX_BARS = 12;

const dialog = byId("viewer");
const stage = byId("stage");
const canvas = byId("canvas");
const picture = byId("viewer-image");
const opacity = byId("opacity");

let list = [];
let index = 0;
let url;
let zoom = { scale: 1, x: 0, y: 0 };
const pointers = new Map();

const shown = () => list[index];

// `images` are those that previous and next go through.
export function openViewer(images, image, withHeatMap) {
  list = images;
  if (withHeatMap && Number(opacity.value) === 0) opacity.value = USUAL_OPACITY;
  show(list.indexOf(image));
  dialog.showModal();
  stage.focus();
  place();
}

// Called when images changed: a result or a heat map may have arrived.
export function refreshViewer(changedImages) {
  if (dialog.open && changedImages.includes(shown())) render();
}

function show(position) {
  index = Math.max(0, Math.min(position, list.length - 1));
  if (url) URL.revokeObjectURL(url);
  const { file, thumbnail } = shown();
  url = file ? URL.createObjectURL(file) : undefined;
  picture.removeAttribute("src");
  picture.hidden = !url && !thumbnail;
  if (!picture.hidden) picture.src = url ?? thumbnail;
  resetZoom();
  render();
}

function render() {
  const image = shown();
  setText(byId("viewer-title"), image.name);
  setText(byId("viewer-position"), t("{number} of {total}", { number: formatNumber(index + 1), total: formatNumber(list.length) }));
  byId("previous").disabled = index === 0;
  byId("next").disabled = index === list.length - 1;
  byId("viewer-result").className = outcomeOf(image);
  byId("viewer-result").replaceChildren(...resultParts(image));
  byId("viewer-facts").replaceChildren(...facts(image));
  renderBars(image.result);
  renderHeatMap(image);
}

function resultParts(image) {
  const outcome = outcomeOf(image);
  const label = element("strong", outcome ? resultText(image, outcome) : t("No result yet"), { className: "outcome" });
  if (!image.result) return [label, element("p", image.text)];
  const parts = [label];
  const type = hasTypes(modelOf(image.result)) && image.result.detected !== null ? typeText(image.result) : undefined;
  if (type && outcome !== "review") parts.push(element("p", type, { className: "leaning" }));
  if (outcome === "review") parts.push(element("p", leaningText(image.result), { className: "leaning" }));
  const reasons = image.result.reasons.map((code) => element("li", reasonText(code, modelOf(image.result))));
  if (reasons.length) parts.push(element("ul", reasons, { className: "reasons" }));
  return parts;
}

function facts(image) {
  const { result } = image;
  const found = [];
  if (result) {
    found.push(...probabilityFacts(result));
    const { width, height, format } = result.image;
    found.push([t("Image"), t("{format}, {width} × {height} pixels", { format, width, height })]);
  }
  found.push([t("File size"), t("{size} kB", { size: formatNumber(Math.max(1, Math.round(image.size / 1000))) })]);
  return found.flatMap(([name, value]) => [element("dt", name), element("dd", value)]);
}

function probabilityFacts(result) {
  const found = [];
  if (result.detected !== null) {
    found.push([t("Confidence"), formatPercent(result.confidence)], [t("Probability of {condition}", conditionOf(modelOf(result))), formatPercent(positiveProbability(result))]);
  }
  if (!hasTypes(modelOf(result))) return found;
  found.push([t("Class"), t("{type}, {percent}", { type: typeText(result), percent: formatPercent(result.class_confidence) })]);
  const group = groupText(result);
  if (group) found.push([t("Group"), t("{type}, {percent}", { type: group, percent: formatPercent(result.group_confidence) })]);
  return found;
}

// Probabilities of all classes, the most likely first; for a model of two classes the facts say it all.
function renderBars(result) {
  const model = modelOf(result);
  byId("bars").hidden = !result || !hasTypes(model);
  if (byId("bars").hidden) return;
  const sorted = Object.entries(result.probabilities).sort(([, one], [, other]) => other - one);
  const rest = sorted.slice(MAX_BARS).reduce((sum, [, probability]) => sum + probability, 0);
  const lines = sorted.slice(0, MAX_BARS).map(([name, probability]) => bar(classTitle(name, model), probability, name === result.class));
  if (sorted.length > MAX_BARS) lines.push(bar(t("Other classes"), rest, false));
  byId("bar-lines").replaceChildren(...lines);
}

function bar(title, probability, isPredicted) {
  const meter = element("meter", "", { min: 0, max: 1, value: probability });
  meter.setAttribute("aria-hidden", "true");
  const percent = element("span", formatPercent(probability), { className: "percent" });
  return element("li", [element("span", title), percent, meter], { className: isPredicted ? "predicted" : "" });
}

// Heat map

function renderHeatMap(image) {
  const wanted = Number(opacity.value) > 0;
  const map = byId("viewer-map");
  setText(byId("opacity-value"), `${formatNumber(Number(opacity.value))} %`);
  map.style.opacity = Number(opacity.value) / 100;
  map.hidden = !image.heatMap || !wanted;
  if (image.heatMap && map.src !== image.heatMap) map.src = image.heatMap;
  const state = !image.file ? t("Add the file again to see its heat map.") : (image.heatMapError ?? "");
  setText(byId("map-help"), mapHelp(image));
  setText(byId("map-state"), wanted && !image.heatMap ? state || t("Drawing the heat map…") : "");
  if (wanted && image.state === "done" && canHaveHeatMap(image) && !image.heatMapRequested) {
    image.heatMapRequested = true;
    requestHeatMap(image).finally(() => {
      image.heatMapRequested = false;
    });
  }
}

// What red and blue mean: the class that the map is for.
export function mapHelp(image) {
  const model = modelOf(image?.result);
  if (!hasTypes(model)) {
    return t("Red areas pushed the result towards {condition}, blue areas away from it. Stronger color means stronger influence.", conditionOf(model));
  }
  if (!image?.heatMapClass) {
    return t("Red areas pushed the result towards the class of the result, blue areas away from it. Stronger color means stronger influence.");
  }
  return t("Red areas pushed the result towards {type}, blue areas away from it. Stronger color means stronger influence.", {
    type: classTitle(image.heatMapClass, model),
  });
}

// Zoom: `canvas` fills the stage as far as the image's shape allows, and is scaled from there.

function place() {
  const [width, height] = [picture.naturalWidth || 1, picture.naturalHeight || 1];
  const fit = Math.min(stage.clientWidth / width, stage.clientHeight / height);
  // The model sees the central square only, and the heat map covers just that.
  const side = Math.min(width, height) * fit * (modelOf(shown().result)?.input_crop ?? 1);
  canvas.style.width = `${width * fit}px`;
  canvas.style.height = `${height * fit}px`;
  canvas.style.left = `${(stage.clientWidth - width * fit) / 2}px`;
  canvas.style.top = `${(stage.clientHeight - height * fit) / 2}px`;
  byId("viewer-map").style.width = byId("viewer-map").style.height = `${side}px`;
  transform();
}

function transform() {
  canvas.style.transform = `translate(${zoom.x}px, ${zoom.y}px) scale(${zoom.scale})`;
  setText(byId("zoom"), `${formatNumber(Math.round(100 * zoom.scale))} %`);
  stage.classList.toggle("zoomed", zoom.scale > 1);
}

function resetZoom() {
  zoom = { scale: 1, x: 0, y: 0 };
  transform();
}

// Zooms around a point of the window; by default around the middle of the stage.
function zoomBy(factor, x, y) {
  const box = stage.getBoundingClientRect();
  const [fromLeft, fromTop] = [x ?? box.left + box.width / 2, y ?? box.top + box.height / 2];
  const scale = Math.max(1, Math.min(zoom.scale * factor, MAX_ZOOM));
  const ratio = scale / zoom.scale;
  const [left, top] = [fromLeft - box.left - canvas.offsetLeft, fromTop - box.top - canvas.offsetTop];
  zoom = { scale, x: left - (left - zoom.x) * ratio, y: top - (top - zoom.y) * ratio };
  if (scale === 1) zoom.x = zoom.y = 0;
  transform();
}

stage.addEventListener(
  "wheel",
  (event) => {
    event.preventDefault();
    zoomBy(Math.exp(-event.deltaY / 400), event.clientX, event.clientY);
  },
  { passive: false },
);

stage.addEventListener("pointerdown", (event) => {
  pointers.set(event.pointerId, event);
  stage.setPointerCapture(event.pointerId);
});
stage.addEventListener("pointermove", (event) => {
  const before = pointers.get(event.pointerId);
  if (!before) return;
  const other = [...pointers.values()].find((each) => each.pointerId !== event.pointerId);
  pointers.set(event.pointerId, event);
  if (other) {
    const distance = (one) => Math.hypot(one.clientX - other.clientX, one.clientY - other.clientY);
    zoomBy(distance(event) / (distance(before) || 1), (event.clientX + other.clientX) / 2, (event.clientY + other.clientY) / 2);
  } else if (zoom.scale > 1) {
    zoom.x += event.clientX - before.clientX;
    zoom.y += event.clientY - before.clientY;
    transform();
  }
});
for (const name of ["pointerup", "pointercancel"]) {
  stage.addEventListener(name, (event) => pointers.delete(event.pointerId));
}

// Buttons and keys

byId("previous").addEventListener("click", () => show(index - 1));
byId("next").addEventListener("click", () => show(index + 1));
byId("zoom-in").addEventListener("click", () => zoomBy(ZOOM_STEP));
byId("zoom-out").addEventListener("click", () => zoomBy(1 / ZOOM_STEP));
byId("fit").addEventListener("click", resetZoom);
opacity.addEventListener("input", () => renderHeatMap(shown()));
picture.addEventListener("load", place);
picture.addEventListener("error", () => {
  picture.hidden = true;
});
new ResizeObserver(() => dialog.open && place()).observe(stage);

dialog.addEventListener("keydown", (event) => {
  // The arrow keys move the slider if it has the focus.
  const isSlider = event.target === opacity;
  const actions = {
    ArrowLeft: isSlider ? undefined : () => show(index - 1),
    ArrowRight: isSlider ? undefined : () => show(index + 1),
    "+": () => zoomBy(ZOOM_STEP),
    "=": () => zoomBy(ZOOM_STEP),
    "-": () => zoomBy(1 / ZOOM_STEP),
    0: resetZoom,
  };
  const action = event.ctrlKey || event.altKey || event.metaKey ? undefined : actions[event.key];
  if (!action) return;
  event.preventDefault();
  action();
});

dialog.addEventListener("close", () => {
  picture.removeAttribute("src");
  if (url) URL.revokeObjectURL(url);
  url = undefined;
  pointers.clear();
  focusImage(shown());
});
