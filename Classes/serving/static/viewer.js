// The dialog with one image, large: heat map over it, zoom, previous and next.

import { canHaveHeatMap, requestHeatMap } from "./classify.js";
import { byId, element, setText } from "./dom.js";
import { outcomeOf } from "./images.js";
import { classTitle, conditionOf, hasTypes, modelOf } from "./models.js";
import { formatPercent, groupText, leaningText, positiveProbability, reasonText, resultText, typeText } from "./results.js";
import { focusImage } from "./rows.js";
import { formatNumber, t } from "./translation.js";
import { createZoom } from "./zoom.js";

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
  zoom.reset();
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

// Zoom

const zoom = createZoom(stage, canvas, byId("viewer-zoom"), ({ scale, x, y }) => {
  canvas.style.transform = `translate(${x}px, ${y}px) scale(${scale})`;
});

function place() {
  const [width, height] = [picture.naturalWidth || 1, picture.naturalHeight || 1];
  const fit = zoom.place(width, height);
  // The model sees the central square only, and the heat map covers just that.
  const side = Math.min(width, height) * fit * (modelOf(shown().result)?.input_crop ?? 1);
  byId("viewer-map").style.width = byId("viewer-map").style.height = `${side}px`;
}

// Buttons and keys

byId("previous").addEventListener("click", () => show(index - 1));
byId("next").addEventListener("click", () => show(index + 1));
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
    ...zoom.actions,
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
  zoom.forgetPointers();
  focusImage(shown());
});
